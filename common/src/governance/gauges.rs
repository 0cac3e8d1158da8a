//! Current values that alarms watch, for all sites together.

use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
    metrics::{self, Gauges},
    telemetry,
};

/// Reads all gauges in one round trip. The cost does not depend on the number of past runs.
pub async fn read(db: &Db) -> Result<Gauges> {
    // One index lookup per site and urgency finds the oldest due job, however many jobs wait.
    // Only today's tokens are summed here: `sum_up` has stored the sum of the month's earlier days.
    // Just after midnight that sum is missing until `sum_up` has reached the site.
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
               (select count(*) from biz.ai_circuits where state <> 'closed' and app_id <> '') as "circuits_open!",
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

/// Stores the tokens of the month's earlier days, for sites where a new day has begun.
///
/// Handles at most 500 sites per call. Returns how many it handled.
pub async fn sum_up(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select sum_up_usage() as "sites!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

/// Reads the gauges and writes them as metrics. On failure it logs the error and writes none, so
/// that the alarms have no data.
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
