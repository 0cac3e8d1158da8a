//! The table of jobs: enqueue, claim, advance, renew, release. Each change of a running job checks
//! the number of the claim. If it finds no row, the worker has lost the job.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgExecutor, types::Json};

use super::{
    MAX_REPLY_TRIES, MAX_TRIES, chain,
    event::{EventType, NewEvent},
    list::Status,
};
use crate::{
    governance::{
        apps::{App, AppIds},
        audit::{self, Action},
        auth::Actor,
    },
    insights::{
        apps::Validity,
        results::{Lease, Target},
    },
    platform::{
        db::{Db, StatementTimeout, SweptRows},
        error::{Error, Result},
        words::words,
    },
};

/// Lease of a job and of the entry that it fills, counted from the last renewal.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

/// The way in which a job was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// Amazon EventBridge.
    EventBus,
    /// `POST /api/admin/ai/trigger-jobs`, by an admin or a machine key.
    AdminApi(Actor),
    /// The daily schedule.
    Schedule,
    /// The command line.
    Command,
    /// Another job.
    Job,
}

impl Connector {
    /// The value of the column `connector_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventBus => "event_bus",
            Self::AdminApi(_) => "admin_api",
            Self::Schedule => "schedule",
            Self::Command => "command",
            Self::Job => "job",
        }
    }
}

/// Result of queueing an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Enqueued {
    pub id: i64,
    /// [`Status::Pending`], or [`Status::SkippedDuplicate`] if the same event came earlier on the
    /// same business date. For a repeated delivery, the current status of its job.
    pub status: Status,
}

impl Enqueued {
    /// True if the job waits for a worker.
    pub fn is_pending(self) -> bool {
        self.status == Status::Pending
    }
}

/// Queues the job of an event. `event_id` is the id from EventBridge; a repeated delivery has the
/// same id and creates no second job.
///
/// # Errors
/// [`Error::NotFound`] if there is no such site.
pub async fn enqueue(
    db: &Db,
    event: &NewEvent,
    connector: Connector,
    event_id: Option<&str>,
) -> Result<Enqueued> {
    let Connector::AdminApi(actor) = connector else {
        return store(db, event, connector, event_id).await;
    };
    let mut tx = db.transaction().await?;
    let job = store(&mut *tx, event, connector, event_id).await?;
    if job.is_pending() {
        let (action, object_id) = (Action::CreateTriggerJob, job.id.to_string());
        let details = json!({
            "event_type": event.kind.name(),
            "member_id": event.member_id,
            "is_forced": event.is_forced,
        });
        audit::record(
            &mut tx,
            action,
            event.site_id,
            actor,
            Some(&object_id),
            details,
        )
        .await?;
    }
    tx.commit().await?;
    Ok(job)
}

async fn store(
    db: impl PgExecutor<'_>,
    event: &NewEvent,
    connector: Connector,
    event_id: Option<&str>,
) -> Result<Enqueued> {
    let chain: Vec<String> = chain::of(event.kind, &event.payload)
        .into_iter()
        .map(|app| app.name().to_owned())
        .collect();
    let row = sqlx::query!(
        "select id, status from enqueue_job($1, $2, $3, $4, 'event', $5, $6, $7, $8, $9)",
        event.site_id,
        event.kind.name(),
        event_id,
        connector.name(),
        event.member_id,
        event.payload,
        &chain,
        event.subject(),
        event.is_forced,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    let (id, status) = row.id.zip(row.status).ok_or(Error::NotFound)?;
    let status = Status::from_sql(&status, "enqueue_job")?;
    Ok(Enqueued { id, status })
}

/// The claim of a worker on a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub site_id: i64,
    pub job_id: i64,
    /// The number of the claim. It increases with each claim, so older claims cannot change the
    /// job.
    pub fence: i32,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: i64,
    pub site_id: i64,
    /// The number of the claim. If the row has another number, another worker has the job.
    pub fence: i32,
    pub event: EventType,
    pub member_id: Option<i64>,
    pub payload: Value,
    pub chain: Vec<App>,
    pub is_forced: bool,
    /// Number of tries, including this one.
    pub attempts: i32,
}

impl Job {
    pub(super) fn claim(&self) -> Claim {
        Claim {
            site_id: self.site_id,
            job_id: self.id,
            fence: self.fence,
        }
    }

    /// False for events that are handled without the results of apps.
    pub fn has_chain(&self) -> bool {
        !matches!(
            self.event,
            EventType::EtlFinished | EventType::SessionMessage
        )
    }

    /// The target of each application of the chain.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let target = |&app| chain::target(app, self.member_id, &self.payload);
        let targets: Option<_> = self.chain.iter().map(target).collect();
        targets.ok_or_else(|| Error::internal("the payload of a job lacks a field of its chain"))
    }
}

/// Claims at most `most` jobs that are due. Sites alternate: the site whose last claim is oldest is
/// first, however many jobs another site has. A message of a conversation waits until the earlier
/// ones have a reply.
pub(super) async fn claim(db: &Db, most: usize) -> Result<Vec<Job>> {
    let rows = sqlx::query!(
        r#"
        with queues as materialized (
            select site_id, urgency from job_queues
        ), turns as (
            select q.site_id from queues q left join biz.ai_job_turns t on t.site_id = q.site_id
            where exists (select from biz.ai_trigger_jobs j
                          where j.site_id = q.site_id and j.urgency = q.urgency and j.status = 'pending' and j.run_after <= now()
                            and (j.conversation_id is null or not exists (
                                select from biz.ai_trigger_jobs e where e.conversation_id = j.conversation_id
                                  and e.message_id < j.message_id and e.status in ('pending', 'running'))))
            group by q.site_id, t.claimed_at
            order by t.claimed_at nulls first, q.site_id limit $1
        ), next as (
            select id from (
                select p.id, row_number() over (partition by q.site_id order by q.urgency desc, p.run_after, p.id) as place
                from turns join queues q on q.site_id = turns.site_id cross join lateral (
                    select p.id, p.run_after from biz.ai_trigger_jobs p
                    where p.site_id = q.site_id and p.urgency = q.urgency and p.status = 'pending' and p.run_after <= now()
                      and (p.conversation_id is null or not exists (
                          select from biz.ai_trigger_jobs e where e.conversation_id = p.conversation_id
                            and e.message_id < p.message_id and e.status in ('pending', 'running')))
                    order by p.run_after, p.id
                    limit ceil($1::numeric / (select count(*) from turns)) for no key update skip locked
                ) p
            ) due
            where place <= ceil($1::numeric / (select count(*) from turns)) limit $1
        ), claimed as (
            update biz.ai_trigger_jobs j set
                status = 'running', attempts = j.attempts + 1, claims = j.claims + 1, waits_for = null, waits_on = null,
                started_at = coalesce(j.started_at, clock_timestamp()), lease_until = clock_timestamp() + make_interval(secs => $2)
            from next where j.id = next.id
            returning j.id, j.site_id, j.claims, j.event_type, j.member_id, j.payload, j.app_chain, j.is_forced, j.run_after, j.urgency, j.attempts
        ), served as (
            insert into biz.ai_job_turns (site_id, claimed_at)
            select site_id, clock_timestamp() from claimed group by site_id order by site_id
            on conflict on constraint ai_job_turns_pkey do update set claimed_at = excluded.claimed_at
        )
        select id, site_id, claims, event_type, member_id, payload, app_chain, is_forced, attempts
        from claimed order by urgency desc, run_after, id
        "#,
        i64::try_from(most).unwrap_or(i64::MAX),
        LEASE.as_secs_f64(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let jobs = rows.into_iter().filter_map(|row| {
        let chain: Option<_> = row.app_chain.iter().map(|name| App::parse(name)).collect();
        let known = EventType::parse(&row.event_type).zip(chain);
        if known.is_none() {
            // A newer version may have written it. After its lease expires, it is claimed again.
            tracing::error!(job_id = row.id, "job has an unknown event type or app");
        }
        let (event, chain) = known?;
        Some(Job {
            id: row.id,
            site_id: row.site_id,
            fence: row.claims,
            event,
            member_id: row.member_id,
            payload: row.payload,
            chain,
            is_forced: row.is_forced,
            attempts: row.attempts,
        })
    });
    Ok(jobs.collect())
}

/// The next action for a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Run this step and fill this entry.
    Generate(usize, Lease),
    /// Another job generates for the same target, or the circuit of the application is open. The
    /// job is pending until this time.
    Wait(DateTime<Utc>),
    /// The app of this step has no application.
    Disabled(usize),
    /// The job has succeeded.
    Nothing,
    /// An admin cancelled the job.
    Cancelled,
    /// Another worker has the job.
    Lost,
}

words! {
    /// Result of `advance_job`.
    enum Advanced {
        Generate = "generate",
        Wait = "wait",
        AppDisabled = "app_disabled",
        Succeeded = "succeeded",
        Cancelled = "cancelled",
        Lost = "lost",
    }
}

/// A job as `advance` sends it.
#[derive(Serialize)]
struct Advancing<'a> {
    site_id: i64,
    id: i64,
    claim: i32,
    targets: Vec<String>,
    app_ids: Vec<Option<&'a str>>,
    member_id: Option<i64>,
    valid_days: Vec<i32>,
}

/// For each job, skips the steps that have a result, and makes the caller the generator of the next
/// step. They are changed together: if the statement fails, no job has changed. With several jobs,
/// it waits for a lock only for a moment.
pub(super) async fn advance(
    db: &Db,
    jobs: &[(&Job, &[Target])],
    app_ids: &AppIds,
) -> Result<Vec<Next>> {
    let advancing = jobs.iter().map(|(job, targets)| Advancing {
        site_id: job.site_id,
        id: job.id,
        claim: job.fence,
        targets: targets.iter().map(Target::id).collect(),
        app_ids: job.chain.iter().map(|app| app_ids.find(*app)).collect(),
        member_id: job.member_id,
        valid_days: job.chain.iter().map(|app| valid_days(*app)).collect(),
    });
    let advancing: Vec<_> = advancing.collect();
    let rows = sqlx::query_as!(
        AdvancedJob,
        r#"
        select outcome as "outcome!", step, entry_id, generation, retry_at from advance_jobs($1, $2)
        "#,
        Json(&advancing) as _,
        LEASE.as_secs_f64(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    rows.into_iter().map(AdvancedJob::next).collect()
}

/// A row of `advance_job`.
struct AdvancedJob {
    outcome: String,
    step: Option<i32>,
    entry_id: Option<i64>,
    generation: Option<i32>,
    retry_at: Option<DateTime<Utc>>,
}

impl AdvancedJob {
    fn next(self) -> Result<Next> {
        let step = usize::try_from(self.step.unwrap_or_default()).unwrap_or_default();
        Ok(match Advanced::from_sql(&self.outcome, "advance_job")? {
            Advanced::Succeeded => Next::Nothing,
            Advanced::Cancelled => Next::Cancelled,
            Advanced::Lost => Next::Lost,
            Advanced::Wait => Next::Wait(self.retry_at.unwrap_or_default()),
            Advanced::AppDisabled => Next::Disabled(step),
            Advanced::Generate => {
                let (Some(entry_id), Some(generation)) = (self.entry_id, self.generation) else {
                    return Err(Error::internal("advance_job returned no entry"));
                };
                let lease = Lease {
                    entry_id,
                    generation,
                };
                Next::Generate(step, lease)
            }
        })
    }
}

/// The value of the column `valid_days`. 0 means the business date only.
fn valid_days(app: App) -> i32 {
    match app.definition().map(|definition| definition.validity) {
        Some(Validity::Days(days)) => days,
        Some(Validity::Day) | None => 0,
    }
}

/// Renews the leases of the job and of the entry that it fills. Returns false if one of them is
/// lost.
pub(super) async fn renew_lease(db: &Db, job: &Job, lease: Option<Lease>) -> Result<bool> {
    let row = sqlx::query!(
        r#"
        with job as (
            update biz.ai_trigger_jobs set lease_until = clock_timestamp() + make_interval(secs => $6)
            where id = $2 and site_id = $1 and claims = $3 and status = 'running' returning 1
        ), entry as (
            update biz.ai_cache set lease_until = clock_timestamp() + make_interval(secs => $6)
            where id = $4 and site_id = $1 and generation = $5 and status = 'generating' returning 1
        )
        select exists (select from job) and ($4::bigint is null or exists (select from entry)) as "alive!"
        "#,
        job.site_id,
        job.id,
        job.fence,
        lease.map(|lease| lease.entry_id),
        lease.map(|lease| lease.generation),
        LEASE.as_secs_f64(),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(row.alive)
}

/// Ends a job that has no chain.
pub(super) async fn succeed(db: &Db, job: &Job) -> Result<()> {
    sqlx::query!(
        "update biz.ai_trigger_jobs set status = 'succeeded', lease_until = null, finished_at = clock_timestamp()
         where id = $2 and site_id = $1 and claims = $3 and status = 'running'",
        job.site_id,
        job.id,
        job.fence,
    )
    .execute(db)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// Why a job is released.
#[derive(Clone, Debug)]
pub(super) enum Release {
    /// It must wait, until this time or for another worker. This does not count as a try.
    Wait(Option<DateTime<Utc>>),
    /// A retry may succeed. The delay starts at 10 s and doubles up to 10 minutes, plus up to 50%
    /// at random. At most [`MAX_TRIES`] tries.
    Retry,
    /// A retry would fail, too.
    Fail,
}

words! {
    /// What a pending job waits for, as in the column `waits_for`.
    pub(super) enum WaitsFor {
        /// Room in the budget of its site.
        Budget = "budget",
        /// The circuit of the application that it calls next.
        Circuit = "circuit",
        /// A result that another job generates.
        Result = "result",
        /// The end of a streamed reply in its conversation.
        Reply = "reply",
        /// The pause before its next try, also if its application has no call left in this second.
        Retry = "retry",
    }
}

impl WaitsFor {
    fn of(how: &Release, code: Option<&str>) -> Option<Self> {
        match (how, code?) {
            (Release::Wait(_), "budget_exceeded") => Some(Self::Budget),
            (Release::Wait(_), "circuit_open") => Some(Self::Circuit),
            (Release::Wait(_), "busy") => Some(Self::Reply),
            (Release::Wait(_), "rate_limited" | "quota_exceeded") | (Release::Retry, _) => {
                Some(Self::Retry)
            }
            _ => None,
        }
    }
}

/// The most jobs of a site that one worker wakes. If more jobs wait for the budget than it has room
/// for, only these are tried.
const MAX_WOKEN: i64 = 100;

/// Makes jobs due that waited for the budget or for a circuit, if the site has room for the tokens
/// that the job needs, or the circuit is closed or due for a probe.
pub(super) async fn wake(db: &Db) -> Result<()> {
    sqlx::query!(
        "with waiting as materialized (
             select s.id from biz.sites s
             where exists (select from biz.ai_trigger_jobs j
                           where j.status = 'pending' and j.waits_for = 'budget' and j.site_id = s.id and j.run_after > now())
         ), sites as materialized (
             select w.id, tokens_left(w.id) as tokens from waiting w
         ), woken as materialized (
             select j.id from sites cross join lateral (
                 select j.id from biz.ai_trigger_jobs j
                 where j.status = 'pending' and j.waits_for = 'budget' and j.site_id = sites.id and j.run_after > now()
                   and coalesce(j.waits_tokens, 0) <= sites.tokens
                 order by j.urgency desc, j.id limit $1
             ) j
             union all
             select j.id from biz.ai_trigger_jobs j
             where j.status = 'pending' and j.waits_for = 'circuit' and j.run_after > now()
               and not exists (select from biz.ai_circuits k where k.app_id = j.waits_on and k.retry_at > now())
         )
         update biz.ai_trigger_jobs set run_after = now(), waits_for = null, waits_on = null
         where id = any (array(
             select j.id from biz.ai_trigger_jobs j join woken on woken.id = j.id
             where j.status = 'pending' for no key update of j skip locked))",
        MAX_WOKEN,
    )
    .execute(db)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// Releases a job and deletes the entry that it did not finish. Returns the new status,
/// [`Status::Pending`], [`Status::Failed`] or [`Status::Cancelled`], and the time of the next try.
/// Returns `None` if another worker has the job.
pub(super) async fn release(
    db: &Db,
    job: &Job,
    how: &Release,
    error: Option<(&'static str, String)>,
) -> Result<Option<(Status, DateTime<Utc>)>> {
    let (word, until) = match how {
        Release::Wait(until) => ("wait", *until),
        Release::Retry => ("retry", None),
        Release::Fail => ("fail", None),
    };
    let (code, message) = error.unzip();
    let waits_for = WaitsFor::of(how, code);
    let row = sqlx::query!(
        r#"
        with moved as (
            select id,
                   case when $4 = 'fail' or ($4 = 'retry' and attempts >= $8) then 'failed'
                        when cancel_requested_at is not null then 'cancelled' else 'pending' end as status,
                   case $4 when 'wait' then coalesce($5, clock_timestamp())
                           else clock_timestamp() + make_interval(secs => least(600, 10 * 2 ^ (attempts - 1)) * (1 + 0.5 * random())) end as due
            from biz.ai_trigger_jobs
            where id = $2 and site_id = $1 and claims = $3 and status = 'running' for no key update
        ), job as (
            update biz.ai_trigger_jobs j set
                status = moved.status,
                attempts = j.attempts - case $4 when 'wait' then 1 else 0 end,
                run_after = moved.due,
                waits_for = case moved.status when 'pending' then $9::text end,
                lease_until = null,
                error_code = $6,
                error_message = $7,
                finished_at = case when moved.status <> 'pending' then clock_timestamp() end
            from moved where j.id = moved.id
            returning j.id, j.status, j.run_after
        ), abandoned as (
            delete from biz.ai_cache c using job where c.site_id = $1 and c.job_id = job.id and c.status = 'generating'
            returning c.cache_type, c.target_id
        ), failed as (
            insert into biz.ai_result_failures as f (site_id, cache_type, target_id, job_id, error_code)
            select $1, abandoned.cache_type, abandoned.target_id, job.id, $6::text from abandoned, job where job.status = 'failed'
            on conflict on constraint ai_result_failures_pkey do update set
                job_id = excluded.job_id, error_code = excluded.error_code, failed_at = excluded.failed_at
        )
        select status, run_after from job
        "#,
        job.site_id,
        job.id,
        job.fence,
        word,
        until,
        code,
        message,
        MAX_TRIES,
        waits_for.map(WaitsFor::name),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    row.map(|row| {
        let status = Status::from_sql(&row.status, "biz.ai_trigger_jobs")?;
        Ok((status, row.run_after))
    })
    .transpose()
}

/// Counts of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweptJobs {
    /// Jobs whose worker was killed. They are `pending` again, or `failed` after the last try.
    pub jobs: SweptRows,
    /// Runs that no worker settled.
    pub runs: SweptRows,
}

/// Releases a limited number of jobs whose lease has expired, and settles their runs. Does nothing
/// if another sweep is running.
pub async fn sweep(db: &Db) -> Result<SweptJobs> {
    let swept = sqlx::query!(
        r#"
        select jobs as "jobs!", runs as "runs!", skipped_jobs as "skipped_jobs!", skipped_runs as "skipped_runs!"
        from sweep_jobs($1, $2)
        "#,
        MAX_TRIES,
        MAX_REPLY_TRIES,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(SweptJobs {
        jobs: SweptRows::of_function("jobs", swept.jobs, &swept.skipped_jobs),
        runs: SweptRows::of_function("runs", swept.runs, &swept.skipped_runs),
    })
}
