//! Retries or cancels all jobs of a site that match a filter.
//!
//! The work is split into short transactions of [`STEP`] jobs each, so that no lock is held for
//! long. Each step writes its own row of the audit log.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    event::EventType,
    list::{Status, event_names},
};
use crate::{
    governance::audit::{self, Action},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// The most jobs of one request.
const MAX_JOBS: i64 = 100_000;
/// Jobs of one transaction. It took at most 0.4 s to retry them, with 100,000 jobs in all.
const STEP: usize = 2_000;
/// When no further step begins. API Gateway waits 29 s for a response.
const TIME: Duration = Duration::from_secs(20);

/// Selects jobs of a site.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct JobFilter {
    pub event_type: Option<EventType>,
    pub status: Option<Status>,
    /// Only jobs of this batch, without their retries.
    pub batch_id: Option<Uuid>,
    /// Dates on which the jobs were created.
    pub dates: DateRange,
}

/// What is done with each job.
#[derive(Clone, Copy)]
enum Change {
    Cancel,
    Retry,
}

impl Change {
    const fn action(self) -> Action {
        match self {
            Self::Cancel => Action::CancelTriggerJobs,
            Self::Retry => Action::RetryTriggerJobs,
        }
    }

    /// The statuses of the jobs to change. Nobody retries jobs that succeeded or were duplicates
    /// without naming that status.
    fn statuses(self, only: Option<Status>) -> Vec<String> {
        let (possible, usual): (&[Status], &[Status]) = match self {
            Self::Cancel => {
                let open = &[Status::Pending, Status::Running];
                (open, open)
            }
            Self::Retry => (
                &[
                    Status::Succeeded,
                    Status::Failed,
                    Status::SkippedDuplicate,
                    Status::Cancelled,
                ],
                &[Status::Failed],
            ),
        };
        let chosen = only.as_ref().map_or(usual, std::slice::from_ref);
        let chosen = chosen.iter().filter(|status| possible.contains(status));
        chosen.map(|status| status.name().to_owned()).collect()
    }
}

/// Cancels all pending and running jobs that match, as [`super::cancel`] does. Replies to messages
/// of sessions never match. Returns the number of jobs.
///
/// # Errors
/// [`Error::OtherNumber`] unless `expected` jobs match.
pub async fn cancel_all(
    db: &Db,
    site_id: i64,
    user_id: i64,
    filter: &JobFilter,
    expected: i64,
) -> Result<i64> {
    change_all(db, site_id, user_id, filter, expected, Change::Cancel).await
}

/// Queues all failed jobs again that match, or those of another final status if the filter names
/// it. Jobs with a retry never match, so a repeated request changes nothing. Returns the number of
/// jobs.
///
/// # Errors
/// [`Error::OtherNumber`] unless `expected` jobs match.
pub async fn retry_all(
    db: &Db,
    site_id: i64,
    user_id: i64,
    filter: &JobFilter,
    expected: i64,
) -> Result<i64> {
    change_all(db, site_id, user_id, filter, expected, Change::Retry).await
}

async fn change_all(
    db: &Db,
    site_id: i64,
    user_id: i64,
    filter: &JobFilter,
    expected: i64,
    change: Change,
) -> Result<i64> {
    let ends_at = Instant::now() + TIME;
    let ids = select(db, site_id, filter, expected, change).await?;
    let mut changed = 0;
    for ids in ids.chunks(STEP) {
        if Instant::now() > ends_at {
            break;
        }
        let mut tx = db.transaction().await?;
        let locked = lock(&mut tx, site_id, ids, &change.statuses(filter.status)).await?;
        let step = match change {
            Change::Cancel => cancel(&mut tx, site_id, &locked).await?,
            Change::Retry => retry(&mut tx, site_id, &locked).await?,
        };
        if step > 0 {
            let (action, details) = (change.action(), details(filter, expected, step));
            audit::record(&mut tx, action, site_id, user_id, None, details).await?;
            tx.commit().await?;
            changed += step;
        }
    }
    Ok(changed)
}

fn details(filter: &JobFilter, expected: i64, changed: i64) -> Value {
    json!({
        "event_type": filter.event_type.map(EventType::name),
        "status": filter.status.map(Status::name),
        "batch_id": filter.batch_id,
        "dates": filter.dates.to_string(),
        "expected": expected,
        "changed": changed,
    })
}

/// The ids of the jobs that match, if their number is the expected one.
async fn select(
    db: &Db,
    site_id: i64,
    filter: &JobFilter,
    expected: i64,
    change: Change,
) -> Result<Vec<i64>> {
    let found = sqlx::query!(
        r#"
        with found as materialized (
            select j.id from date_range($1, $2, $3, $4, $5) days, unnest($6::text[]) e (name), unnest($7::text[]) t (name), lateral (
                select j.id from biz.ai_trigger_jobs j
                where j.site_id = $1 and j.event_type = e.name and j.status = t.name
                  and j.created_at >= days.began_at and j.created_at < days.ended_at
                  and ($11::uuid is null or j.batch_id = $11)
                  and j.message_id is null and (j.cancel_requested_at is null or $8)
                  and not ($8 and exists (select from biz.ai_trigger_jobs r where r.retry_of = j.id))
                limit $9::bigint + 1
            ) j
            limit $9::bigint + 1
        ), counted (matching) as (
            select count(*) from found
        )
        select matching as "matching!", array(select id from found where matching = $10 order by id) as "ids!" from counted
        "#,
        site_id,
        filter.dates.from_day(),
        filter.dates.from_at(),
        filter.dates.to_day(),
        filter.dates.to_at(),
        &event_names(filter.event_type),
        &change.statuses(filter.status),
        matches!(change, Change::Retry),
        MAX_JOBS,
        expected,
        filter.batch_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    if found.matching == expected {
        Ok(found.ids)
    } else {
        let matching = found.matching;
        Err(Error::OtherNumber { matching })
    }
}

/// Locks the jobs that still have one of these statuses. Jobs that another transaction has locked
/// are skipped: a worker is claiming them, or another admin is changing them.
async fn lock(
    tx: &mut PgConnection,
    site_id: i64,
    ids: &[i64],
    statuses: &[String],
) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select id from biz.ai_trigger_jobs
         where id = any ($2) and site_id = $1 and status = any ($3) and (cancel_requested_at is null or status <> 'running')
         order by id for no key update skip locked",
        site_id,
        ids,
        statuses,
    )
    .fetch_all(tx)
    .with_statement_timeout()
    .await
}

async fn cancel(tx: &mut PgConnection, site_id: i64, ids: &[i64]) -> Result<i64> {
    let cancelled = sqlx::query!(
        "update biz.ai_trigger_jobs set
             status = case status when 'pending' then 'cancelled' else status end,
             finished_at = case status when 'pending' then clock_timestamp() end,
             cancel_requested_at = case status when 'running' then clock_timestamp() end
         where id = any ($2) and site_id = $1",
        site_id,
        ids,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(i64::try_from(cancelled.rows_affected()).unwrap_or(i64::MAX))
}

/// Inserts the new jobs, which are as urgent as a batch. Retries that were committed before the
/// lock was taken are visible only to this second statement.
async fn retry(tx: &mut PgConnection, site_id: i64, ids: &[i64]) -> Result<i64> {
    let queued = sqlx::query!(
        "insert into biz.ai_trigger_jobs
             (site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, step, is_forced, retry_of, urgency)
         select j.site_id, j.event_type, 'admin_api', 'manual', j.member_id, j.payload, j.app_chain,
                case j.status when 'failed' then j.step else 0 end, true, j.id, -1
         from biz.ai_trigger_jobs j
         where j.id = any ($2) and j.site_id = $1
           and not exists (select from biz.ai_trigger_jobs r where r.retry_of = j.id)
         order by j.created_at, j.id",
        site_id,
        ids,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(i64::try_from(queued.rows_affected()).unwrap_or(i64::MAX))
}
