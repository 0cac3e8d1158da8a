//! How Parlor is at this minute, all sites together: what alarms watch.

use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
    metrics::{self, Gauges},
    telemetry,
};

/// Looks, in one round trip, which does not grow with the runs that were.
pub async fn read(db: &Db) -> Result<Gauges> {
    // Each kind of a site's due jobs, and its first, is one step in the index, however many wait; and of a month only
    // today is added up. The days before are not, just after midnight, while they are being summed up.
    let row = sqlx::query!(
        r#"
        with oldest (due) as (
            select min(first.run_after) from job_queues q cross join lateral (
                select j.run_after from biz.ai_trigger_jobs j
                where j.status = 'pending' and j.site_id = q.site_id and j.urgency = q.urgency and j.run_after <= now()
                order by j.run_after limit 1
            ) first
        ), budgets (site_id, percent) as (
            select s.id, 100.0 * greatest(
                       used.tokens / nullif(coalesce(b.daily_limit, standard.daily_limit), 0),
                       (coalesce(before.tokens, 0) + used.tokens) / nullif(coalesce(b.monthly_limit, standard.monthly_limit), 0))
            from biz.sites s
            cross join lateral (select local_day(s.timezone) as day) today
            left join biz.ai_budgets b on b.site_id = s.id
            cross join (select daily_limit, monthly_limit from biz.ai_budgets where site_id is null) standard
            left join biz.ai_usage_before before on before.site_id = s.id and before.day = today.day
            cross join lateral (
                select sum(d.tokens) as tokens from biz.ai_usage_days d where d.site_id = s.id and d.day = today.day
            ) used
        ), fullest as (
            select site_id, percent from budgets where percent is not null order by percent desc, site_id limit 1
        )
        select coalesce(extract(epoch from clock_timestamp() - oldest.due), 0)::double precision as "queue_age!",
               (select count(*) from biz.ai_circuits where state <> 'closed') as "circuits_open!",
               coalesce(fullest.percent, 0)::double precision as "budget_used!", fullest.site_id as "site_id?"
        from oldest left join fullest on true
        "#
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(Gauges {
        queue_age: row.queue_age,
        circuits_open: row.circuits_open,
        budget_used: row.budget_used,
        site_id: row.site_id,
    })
}

/// Sums up what some of the sites used this month whose day has begun.
///
/// Answers how many.
pub async fn sum_up(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select sum_up_usage() as "sites!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

/// Looks, and counts what it sees as metrics. Where it cannot look it says so, and an alarm finds no data.
pub async fn write(db: &Db) {
    let gauges = async {
        sum_up(db).await?;
        read(db).await
    };
    match gauges.await {
        Ok(gauges) => metrics::gauges(&gauges),
        Err(err) => {
            tracing::error!(
                cause = telemetry::chain(&err),
                "the gauges could not be read"
            );
        }
    }
}
