//! Facts about one member of a site, and about all members.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::{Days, Period, found};
use crate::platform::{db::Db, error::Result};

/// One member: profile, visits, consumption and notes of staff.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct MemberFacts {
    #[serde(rename(serialize = "会员姓名"))]
    name: String,
    #[serde(rename(serialize = "会员等级"))]
    level: String,
    #[serde(rename(serialize = "入会日期"))]
    joined_on: NaiveDate,
    #[serde(rename(serialize = "生日"))]
    birthday: Option<String>,
    #[serde(rename(serialize = "储值余额"))]
    balance: f64,
    #[serde(rename(serialize = "常去区域"))]
    favourite_area: Option<String>,
    #[serde(rename(serialize = "常来时段"))]
    favourite_time: Option<String>,
    #[serde(rename(serialize = "负责教练"))]
    coach: Option<String>,
    #[serde(rename(serialize = "距上次到店天数"))]
    days_since_visit: Option<i64>,
    #[serde(rename(serialize = "近30天到店次数"))]
    visits_30d: i64,
    #[serde(rename(serialize = "近30天消费"))]
    spent_30d: f64,
    #[serde(rename(serialize = "近90天到店次数"))]
    visits_90d: i64,
    #[serde(rename(serialize = "近90天消费"))]
    spent_90d: f64,
    /// The newest orders of the last 90 days, as many as requested.
    #[serde(rename(serialize = "消费明细"))]
    orders: Vec<Order>,
    /// The newest 5 notes.
    #[serde(rename(serialize = "备注"))]
    notes: Vec<Note>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Order {
    #[serde(rename(serialize = "日期"))]
    day: NaiveDate,
    #[serde(rename(serialize = "区域"))]
    area: String,
    #[serde(rename(serialize = "项目"))]
    item: String,
    #[serde(rename(serialize = "分钟"))]
    minutes: i64,
    #[serde(rename(serialize = "金额"))]
    amount: f64,
    #[serde(rename(serialize = "有教练"))]
    coached: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Note {
    #[serde(rename(serialize = "日期"))]
    day: NaiveDate,
    #[serde(rename(serialize = "记录人"))]
    author: String,
    #[serde(rename(serialize = "内容"))]
    content: String,
}

impl MemberFacts {
    /// Name of the member.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of orders in these facts.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// A copy with at most `most` orders, the newest ones.
    #[must_use]
    pub fn with_newest_orders(&self, most: usize) -> Self {
        let mut facts = self.clone();
        facts.orders.truncate(most);
        facts
    }
}

/// A member at the end of the site's business date, with at most `orders` orders.
///
/// # Errors
/// [`crate::Error::NotFound`] if the site has no such member.
pub async fn member(db: &Db, site_id: i64, member_id: i64, orders: i64) -> Result<MemberFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        with clock as (
            select s.timezone, site_today(s.id) as today from biz.sites s where s.id = $1
        ), orders as (
            select c.* from dws.member_consumption c cross join clock
            where c.site_id = $1 and c.member_id = $2 and c.business_date between clock.today - 89 and clock.today
        ), newest as (
            select paid_at, jsonb_build_object('day', business_date, 'area', area, 'item', item, 'minutes', minutes,
                                               'amount', amount, 'coached', coach_id is not null) as row
            from orders order by paid_at desc limit $3
        ), notes as (
            select n.written_at, jsonb_build_object('day', local_day(clock.timezone, n.written_at), 'author', n.author_name,
                                                    'content', n.content) as row
            from dws.member_note n cross join clock
            where n.site_id = $1 and n.member_id = $2 and local_day(clock.timezone, n.written_at) <= clock.today
            order by n.written_at desc limit 5
        )
        select jsonb_build_object(
            'name', p.name, 'level', p.level, 'joined_on', p.joined_on, 'birthday', p.birthday, 'balance', p.balance,
            'favourite_area', p.favourite_area, 'favourite_time', p.favourite_time,
            'coach', (select d.coach_name from dws.coach_daily d where d.site_id = $1 and d.coach_id = p.coach_id limit 1),
            'days_since_visit', (select clock.today - max(business_date) from orders),
            'visits_30d', (select count(distinct business_date) from orders where business_date > clock.today - 30),
            'spent_30d', (select coalesce(sum(amount), 0) from orders where business_date > clock.today - 30),
            'visits_90d', (select count(distinct business_date) from orders),
            'spent_90d', (select coalesce(sum(amount), 0) from orders),
            'orders', (select coalesce(jsonb_agg(row order by paid_at desc), '[]') from newest),
            'notes', (select coalesce(jsonb_agg(row order by written_at desc), '[]') from notes)) as "facts!: Json<MemberFacts>"
        from dws.member_profile p cross join clock
        where p.site_id = $1 and p.member_id = $2
        "#,
        site_id,
        member_id,
        orders,
    );
    found(facts.fetch_optional(db)).await
}

/// Facts about all members of a site.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct MembersFacts {
    #[serde(flatten)]
    days: Days,
    #[serde(rename(serialize = "会员总数"))]
    members: i64,
    #[serde(rename(serialize = "期间新增会员"))]
    new_members: i64,
    #[serde(rename(serialize = "期间到店会员"))]
    visitors: i64,
    #[serde(rename(serialize = "期间会员消费"))]
    spent: f64,
    #[serde(rename(serialize = "30天以上未到店会员"))]
    sleeping: i64,
    /// The five members with the highest spending in the period.
    #[serde(rename(serialize = "消费最高的会员"))]
    best: Vec<Spender>,
    /// Up to ten members with at least 3 visits in 90 days and none in the last 30 days.
    #[serde(rename(serialize = "可能流失的会员"))]
    leaving: Vec<Leaver>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Spender {
    #[serde(rename(serialize = "会员姓名"))]
    name: String,
    #[serde(rename(serialize = "消费"))]
    spent: f64,
    #[serde(rename(serialize = "到店次数"))]
    visits: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Leaver {
    #[serde(rename(serialize = "会员姓名"))]
    name: String,
    #[serde(rename(serialize = "上次到店"))]
    last_visit: NaiveDate,
    #[serde(rename(serialize = "近90天到店次数"))]
    visits: i64,
}

/// Facts about the members of a site in a period.
///
/// # Errors
/// [`crate::Error::NotFound`] if there is no such site.
pub async fn members(db: &Db, site_id: i64, period: Period) -> Result<MembersFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        with span as (
            select site_today(s.id) as today, d.first_day, d.last_day
            from biz.sites s cross join lateral period_days($2, site_today(s.id)) d
            where s.id = $1
        ), bought as (
            select c.member_id, c.business_date, c.amount from dws.member_consumption c cross join span
            where c.site_id = $1 and c.business_date between least(span.first_day, span.today - 89) and span.today
        ), each as (
            select b.member_id, max(b.business_date) as last_visit,
                   count(distinct b.business_date) filter (where b.business_date > span.today - 90) as visits_90d,
                   count(distinct b.business_date) filter (where b.business_date between span.first_day and span.last_day) as visits,
                   sum(b.amount) filter (where b.business_date between span.first_day and span.last_day) as spent
            from bought b cross join span group by b.member_id
        ), best as (
            select p.name, e.spent, e.visits from each e
            join dws.member_profile p on p.site_id = $1 and p.member_id = e.member_id
            where e.spent > 0 order by e.spent desc, e.member_id limit 5
        ), leaving as (
            select p.name, e.last_visit, e.visits_90d as visits from each e cross join span
            join dws.member_profile p on p.site_id = $1 and p.member_id = e.member_id
            where e.last_visit <= span.today - 30 and e.visits_90d >= 3 order by e.visits_90d desc, e.member_id limit 10
        )
        select jsonb_build_object(
            'first_day', first_day, 'last_day', last_day,
            'members', (select count(*) from dws.member_profile p where p.site_id = $1 and p.joined_on <= today),
            'new_members', (select count(*) from dws.member_profile p
                            where p.site_id = $1 and p.joined_on between first_day and last_day),
            'visitors', (select count(*) from each where visits > 0),
            'spent', (select coalesce(sum(spent), 0) from each),
            'sleeping', (select count(*) from dws.member_profile p
                         where p.site_id = $1 and p.joined_on <= today - 30
                           and not exists (select from each e where e.member_id = p.member_id and e.last_visit > today - 30)),
            'best', (select coalesce(jsonb_agg(to_jsonb(best) order by spent desc), '[]') from best),
            'leaving', (select coalesce(jsonb_agg(to_jsonb(leaving) order by visits desc), '[]') from leaving)) as "facts!: Json<MembersFacts>"
        from span
        "#,
        site_id,
        period.name(),
    );
    found(facts.fetch_optional(db)).await
}
