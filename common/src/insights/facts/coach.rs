//! Facts about one coach of a site, and a ranking of all coaches.

use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::{Days, Period, found};
use crate::platform::{db::Db, error::Result};

/// Results of one coach in a period.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct CoachFacts {
    #[serde(rename(serialize = "教练"))]
    name: String,
    #[serde(flatten)]
    days: Days,
    #[serde(rename(serialize = "本期"))]
    now: Results,
    /// The same number of days before the period.
    #[serde(rename(serialize = "上一周期"))]
    before: Results,
    #[serde(rename(serialize = "负责会员数"))]
    members: i64,
    #[serde(rename(serialize = "未完成任务数"))]
    open_tasks: i64,
    #[serde(rename(serialize = "逾期任务数"))]
    late_tasks: i64,
    #[serde(rename(serialize = "期间完成任务数"))]
    done_tasks: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Results {
    #[serde(rename(serialize = "课时数"))]
    lessons: i64,
    #[serde(rename(serialize = "上课小时"))]
    hours: f64,
    #[serde(rename(serialize = "业绩"))]
    revenue: f64,
    #[serde(rename(serialize = "出勤天数"))]
    days_worked: i64,
}

/// The results of a coach of a site in a period.
///
/// # Errors
/// [`crate::Error::NotFound`] if the site has no such coach.
pub async fn coach(db: &Db, site_id: i64, coach_id: i64, period: Period) -> Result<CoachFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        with span as (
            select site_today(s.id) as today, d.first_day, d.last_day, d.first_day - (d.last_day - d.first_day + 1) as first_before
            from biz.sites s cross join lateral period_days($3, site_today(s.id)) d
            where s.id = $1
        ), worked as (
            select c.*, c.business_date >= span.first_day as now
            from dws.coach_daily c join span on c.business_date between span.first_before and span.last_day
            where c.site_id = $1 and c.coach_id = $2
        ), results as (
            select n.now, jsonb_build_object(
                'lessons', coalesce(sum(lessons), 0), 'hours', round(coalesce(sum(lesson_minutes), 0) / 60.0, 1),
                'revenue', coalesce(sum(revenue), 0), 'days_worked', count(business_date)) as row
            from (values (true), (false)) n (now) left join worked using (now) group by n.now
        )
        select jsonb_build_object(
            'name', who.name, 'first_day', first_day, 'last_day', last_day,
            'now', (select row from results where now), 'before', (select row from results where not now),
            'members', (select count(*) from dws.member_profile p where p.site_id = $1 and p.coach_id = $2),
            'open_tasks', t.open, 'late_tasks', t.late, 'done_tasks', t.done) as "facts!: Json<CoachFacts>"
        from span
        cross join lateral (
            select c.coach_name as name from dws.coach_daily c where c.site_id = $1 and c.coach_id = $2
            union all
            select nickname from biz.users where site_id = $1 and id = $2
            limit 1
        ) who
        cross join lateral (
            select count(*) filter (where k.status = 'open') as open,
                   count(*) filter (where k.status = 'open' and k.due_on < span.today) as late,
                   count(*) filter (where k.done_on between span.first_day and span.last_day) as done
            from dws.coach_task k where k.site_id = $1 and k.coach_id = $2 and k.assigned_on <= span.today
        ) t
        "#,
        site_id,
        coach_id,
        period.name(),
    );
    found(facts.fetch_optional(db)).await
}

/// A ranking of the coaches of a site.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct CoachesFacts {
    #[serde(flatten)]
    days: Days,
    /// The twenty coaches with the highest revenue.
    #[serde(rename(serialize = "教练排名"))]
    coaches: Vec<Rank>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
struct Rank {
    #[serde(rename(serialize = "教练"))]
    name: String,
    #[serde(rename(serialize = "课时数"))]
    lessons: i64,
    #[serde(rename(serialize = "上课小时"))]
    hours: f64,
    #[serde(rename(serialize = "业绩"))]
    revenue: f64,
    #[serde(rename(serialize = "上一周期业绩"))]
    revenue_before: f64,
}

/// The ranking of a site's coaches by revenue in a period.
///
/// # Errors
/// [`crate::Error::NotFound`] if there is no such site.
pub async fn coaches(db: &Db, site_id: i64, period: Period) -> Result<CoachesFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        with span as (
            select d.first_day, d.last_day, d.first_day - (d.last_day - d.first_day + 1) as first_before
            from biz.sites s cross join lateral period_days($2, site_today(s.id)) d
            where s.id = $1
        ), ranked as (
            select max(c.coach_name) as name,
                   coalesce(sum(c.lessons) filter (where c.business_date >= span.first_day), 0) as lessons,
                   round(coalesce(sum(c.lesson_minutes) filter (where c.business_date >= span.first_day), 0) / 60.0, 1) as hours,
                   coalesce(sum(c.revenue) filter (where c.business_date >= span.first_day), 0) as revenue,
                   coalesce(sum(c.revenue) filter (where c.business_date < span.first_day), 0) as revenue_before
            from dws.coach_daily c join span on c.business_date between span.first_before and span.last_day
            where c.site_id = $1
            group by c.coach_id order by revenue desc, c.coach_id limit 20
        )
        select jsonb_build_object(
            'first_day', first_day, 'last_day', last_day,
            'coaches', (select coalesce(jsonb_agg(to_jsonb(ranked) order by revenue desc), '[]') from ranked)) as "facts!: Json<CoachesFacts>"
        from span
        "#,
        site_id,
        period.name(),
    );
    found(facts.fetch_optional(db)).await
}
