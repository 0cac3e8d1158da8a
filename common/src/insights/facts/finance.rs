//! Finance facts of a site or of one area, for a period.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::{Days, Period, found};
use crate::platform::{db::Db, error::Result};

/// Finance of one site, in yuan.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct FinanceFacts {
    #[serde(rename(serialize = "门店"))]
    site: String,
    #[serde(flatten)]
    days: Days,
    #[serde(rename(serialize = "合计"))]
    total: Totals,
    /// The same number of days before the period. Zeros if there is no data.
    #[serde(rename(serialize = "上一周期"))]
    before: Totals,
    #[serde(rename(serialize = "各区域"))]
    areas: Vec<Area>,
    /// At most the newest 31 days.
    #[serde(rename(serialize = "每日"))]
    daily: Vec<Day>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Totals {
    #[serde(rename(serialize = "营收"))]
    revenue: f64,
    #[serde(rename(serialize = "订单数"))]
    orders: i64,
    #[serde(rename(serialize = "会员订单数"))]
    member_orders: i64,
    #[serde(rename(serialize = "开台小时"))]
    table_hours: f64,
    #[serde(rename(serialize = "新增会员"))]
    new_members: i64,
    #[serde(rename(serialize = "储值充值"))]
    recharged: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Area {
    #[serde(rename(serialize = "区域"))]
    name: String,
    #[serde(rename(serialize = "营收"))]
    revenue: f64,
    #[serde(rename(serialize = "订单数"))]
    orders: i64,
    #[serde(rename(serialize = "上一周期营收"))]
    revenue_before: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Day {
    #[serde(rename(serialize = "日期"))]
    date: NaiveDate,
    #[serde(rename(serialize = "星期"))]
    weekday: String,
    #[serde(rename(serialize = "营收"))]
    revenue: f64,
    #[serde(rename(serialize = "订单数"))]
    orders: i64,
}

/// Finance of a site for a period, of all areas or of one.
///
/// # Errors
/// [`crate::Error::NotFound`] if there is no such site.
pub async fn finance(
    db: &Db,
    site_id: i64,
    period: Period,
    area: Option<&str>,
) -> Result<FinanceFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        with span as (
            select s.name, d.first_day, d.last_day, d.first_day - (d.last_day - d.first_day + 1) as first_before
            from biz.sites s cross join lateral period_days($2, site_today(s.id)) d
            where s.id = $1
        ), taken as (
            select f.*, f.business_date >= span.first_day as now
            from dws.finance_area_daily f join span on f.business_date between span.first_before and span.last_day
            where f.site_id = $1 and ($3::text is null or f.area = $3)
        ), totals as (
            select n.now, jsonb_build_object(
                'revenue', coalesce(sum(revenue), 0), 'orders', coalesce(sum(orders), 0),
                'member_orders', coalesce(sum(member_orders), 0),
                'table_hours', round(coalesce(sum(table_minutes), 0) / 60.0, 1),
                'new_members', coalesce(sum(new_members), 0), 'recharged', coalesce(sum(recharged), 0)) as row
            from (values (true), (false)) n (now) left join taken using (now) group by n.now
        ), areas as (
            select area, jsonb_build_object(
                'name', area, 'revenue', coalesce(sum(revenue) filter (where now), 0),
                'orders', coalesce(sum(orders) filter (where now), 0),
                'revenue_before', coalesce(sum(revenue) filter (where not now), 0)) as row
            from taken group by area
        ), daily as (
            select business_date, jsonb_build_object(
                'date', business_date, 'revenue', sum(revenue), 'orders', sum(orders),
                'weekday', '周' || (array['一', '二', '三', '四', '五', '六', '日'])[extract(isodow from business_date)::integer]) as row
            from taken where now group by business_date order by business_date desc limit 31
        )
        select jsonb_build_object(
            'site', name, 'first_day', first_day, 'last_day', last_day,
            'total', (select row from totals where now), 'before', (select row from totals where not now),
            'areas', (select coalesce(jsonb_agg(row order by area), '[]') from areas),
            'daily', (select coalesce(jsonb_agg(row order by business_date), '[]') from daily)) as "facts!: Json<FinanceFacts>"
        from span
        "#,
        site_id,
        period.name(),
        area,
    );
    found(facts.fetch_optional(db)).await
}
