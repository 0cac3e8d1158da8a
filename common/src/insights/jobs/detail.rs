//! One job with its runs.

use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::list::{JobItem, WaitingFor};
use crate::{
    governance::auth::SiteScope,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Limit of listed runs. A job that waited for long has many refused runs.
const MAX_RUNS: i64 = 100;

/// A job with its runs.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct JobWithRuns {
    pub summary: JobItem,
    /// Payload of the event.
    pub payload: Value,
    /// Number of steps of the chain that are done.
    pub step: i32,
    /// Number of tries. Waiting does not count as a try.
    pub attempts: i32,
    /// Why the job failed or waits.
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// The way in which the event arrived.
    pub connector_type: String,
    /// The job of which this one is a retry.
    pub retry_of: Option<i64>,
    pub batch_id: Option<Uuid>,
    /// The job of the same event, if this one was skipped as a duplicate.
    pub duplicate_of: Option<i64>,
    /// Oldest first, at most 100.
    pub runs: Vec<RunOfJob>,
}

/// A run of a job.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct RunOfJob {
    pub app_type: String,
    pub run_id: i64,
    pub status: String,
}

/// Reads a job.
///
/// # Errors
/// [`Error::NotFound`], also for a job outside of `scope`.
pub async fn find(db: &Db, scope: SiteScope, id: i64) -> Result<JobWithRuns> {
    let row = sqlx::query!(
        r#"
        select j.id, j.site_id, j.event_type, j.member_id, j.status, j.app_chain, j.is_forced, j.started_at, j.finished_at, j.created_at,
               j.payload, j.step, j.attempts, j.error_code, j.error_message, j.connector_type, j.retry_of, j.batch_id, j.duplicate_of,
               j.cancel_requested_at is not null and j.status = 'running' as "cancel_requested!",
               case j.status when 'pending' then j.run_after end as run_after,
               case when j.status = 'pending' and j.run_after > now() then j.waits_for::text end as waits_for,
               asked.runs as "runs!: Json<Vec<RunOfJob>>"
        from biz.ai_trigger_jobs j cross join lateral (
            select coalesce(jsonb_agg(jsonb_build_object('app_type', r.app_type, 'run_id', r.id, 'status', r.status)
                                      order by r.created_at, r.id), '[]') as runs
            from (
                select l.app_type, l.id, l.status, l.created_at from biz.ai_run_logs l
                where l.job_id = j.id and l.site_id = j.site_id and l.created_at >= j.created_at
                order by l.created_at, l.id limit $3
            ) r
        ) asked
        where j.id = $2 and ($1::bigint is null or j.site_id = $1)
        "#,
        scope.site_id(),
        id,
        MAX_RUNS,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    Ok(JobWithRuns {
        summary: JobItem {
            id: row.id,
            site_id: row.site_id,
            event_type: row.event_type,
            member_id: row.member_id,
            status: row.status,
            app_chain: row.app_chain,
            is_forced: row.is_forced,
            started_at: row.started_at,
            finished_at: row.finished_at,
            cancel_requested: row.cancel_requested,
            run_after: row.run_after,
            waiting_for: WaitingFor::of(row.waits_for.as_deref(), row.error_code.as_deref()),
            created_at: row.created_at,
        },
        payload: row.payload,
        step: row.step,
        attempts: row.attempts,
        error_code: row.error_code,
        error_message: row.error_message,
        connector_type: row.connector_type,
        retry_of: row.retry_of,
        batch_id: row.batch_id,
        duplicate_of: row.duplicate_of,
        runs: row.runs.0,
    })
}
