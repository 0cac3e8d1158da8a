//! The table of jobs: enqueued, claimed, moved on, given back. Every move of a running job names the claim
//! under which it runs; whoever finds no row is late.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgExecutor;

use super::{
    chain,
    event::{EventType, NewEvent},
    list::Status,
};
use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
    },
    insights::{
        apps::Validity,
        results::{Lease, Target},
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        words::words,
    },
};

/// How long a job, and the entry that it fills, belong to their worker, counted from its last sign of life.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(30);

/// By which way a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// Amazon EventBridge.
    EventBus,
    /// `POST /api/admin/ai/trigger-jobs`, called by this admin: a job that it makes is audited.
    AdminApi(i64),
    /// The daily schedule.
    Schedule,
    /// Somebody at a terminal.
    Command,
    /// Another job.
    Job,
}

impl Connector {
    /// As in the column `connector_type`.
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

/// The job of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Id of the job.
    pub id: i64,
    /// [`Status::Pending`], or [`Status::SkippedDuplicate`] where the same event came before on the same
    /// business date. An event that is delivered again finds its job, in any status.
    pub status: Status,
}

impl Enqueued {
    /// Whether there is something to do.
    pub fn is_pending(self) -> bool {
        self.status == Status::Pending
    }
}

/// Queues what an event sets off. `event_id` is the event bus's own id: a delivery that comes twice is one event.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site.
pub async fn enqueue(
    db: &Db,
    event: &NewEvent,
    connector: Connector,
    event_id: Option<&str>,
) -> Result<Enqueued> {
    let Connector::AdminApi(user_id) = connector else {
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
            user_id,
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

/// Under which claim a worker holds a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Tenant.
    pub site_id: i64,
    /// The job.
    pub job_id: i64,
    /// The fence: counted up by each claim, so that an older claim can change nothing.
    pub fence: i32,
}

/// A job as its worker knows it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: i64,
    pub site_id: i64,
    /// The fence: a job that was claimed again is somebody else's.
    pub fence: i32,
    pub event: EventType,
    pub member_id: Option<i64>,
    pub payload: Value,
    pub chain: Vec<App>,
    pub is_forced: bool,
    /// Tries that count, this one included.
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

    /// What each app of the chain answers about.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let target = |&app| chain::target(app, self.member_id, &self.payload);
        let targets: Option<_> = self.chain.iter().map(target).collect();
        targets.ok_or_else(|| Error::internal("a job does not say what it is about"))
    }
}

/// Takes jobs that are due, `most` at once. Sites take turns: who was served last comes last, however many
/// jobs another has queued. A message of a conversation waits until those before it are answered.
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
                status = 'running', attempts = j.attempts + 1, claims = j.claims + 1,
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
            // Of a newer Parlor, perhaps: its lease will run out, and its turn comes again.
            tracing::error!(job_id = row.id, "a job of an unknown kind");
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

/// What a job has to do next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// The step of that number, for that entry.
    Generate(usize, Lease),
    /// Another generates for the same target. The job is pending again, until then.
    Wait(DateTime<Utc>),
    /// Nothing: it has succeeded.
    Nothing,
    /// It is no longer the caller's.
    Lost,
}

words! {
    /// What `advance_job` returns.
    enum Advanced {
        Generate = "generate",
        Wait = "wait",
        Succeeded = "succeeded",
        Lost = "lost",
    }
}

/// Skips the steps that have a result, and makes the caller the generator of the first that has none.
pub(super) async fn advance(db: &Db, job: &Job, targets: &[Target]) -> Result<Next> {
    let ids: Vec<String> = targets.iter().map(Target::id).collect();
    let valid_days: Vec<i32> = job.chain.iter().map(|app| valid_days(*app)).collect();
    let row = sqlx::query!(
        r#"
        select outcome as "outcome!", step, entry_id, generation, retry_at
        from advance_job($1, $2, $3, $4, $5, $6, $7)
        "#,
        job.site_id,
        job.id,
        job.fence,
        &ids,
        job.member_id,
        &valid_days,
        LEASE.as_secs_f64(),
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(match Advanced::from_sql(&row.outcome, "advance_job")? {
        Advanced::Succeeded => Next::Nothing,
        Advanced::Lost => Next::Lost,
        Advanced::Wait => Next::Wait(row.retry_at.unwrap_or_default()),
        Advanced::Generate => {
            let (Some(step), Some(entry_id), Some(generation)) =
                (row.step, row.entry_id, row.generation)
            else {
                return Err(Error::internal("advance_job returned no entry"));
            };
            Next::Generate(
                usize::try_from(step).unwrap_or_default(),
                Lease {
                    entry_id,
                    generation,
                },
            )
        }
    })
}

/// As the column `valid_days` has it.
fn valid_days(app: App) -> i32 {
    match app.validity() {
        Some(Validity::Days(days)) => days,
        Some(Validity::Day) | None => 0,
    }
}

/// A sign of life: what the job, and the entry that it fills, are leased until is put off. False where one of
/// them is lost.
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

/// A job that is done otherwise than by its chain.
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

/// Why a job is given back.
#[derive(Clone, Debug)]
pub(super) enum Release {
    /// It could not go on before then, or not with this worker: that is no try.
    Wait(Option<DateTime<Utc>>),
    /// It may go better another time: in a while that doubles, five times in all.
    Retry,
    /// It never will.
    Fail,
}

/// Gives a job back, and the entry that it was to fill. Returns its status, [`Status::Pending`] or
/// [`Status::Failed`], and when it is due; `None` where it was lost.
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
    let row = sqlx::query!(
        r#"
        with moved as (
            select id, $4 = 'fail' or ($4 = 'retry' and attempts >= 5) as over,
                   case $4 when 'wait' then coalesce($5, clock_timestamp())
                           else clock_timestamp() + make_interval(secs => least(600, 10 * 2 ^ (attempts - 1)) * (1 + 0.5 * random())) end as due
            from biz.ai_trigger_jobs
            where id = $2 and site_id = $1 and claims = $3 and status = 'running' for no key update
        ), job as (
            update biz.ai_trigger_jobs j set
                status = case when moved.over then 'failed' else 'pending' end,
                attempts = j.attempts - case $4 when 'wait' then 1 else 0 end,
                run_after = moved.due,
                lease_until = null,
                error_code = $6,
                error_message = $7,
                finished_at = case when moved.over then clock_timestamp() end
            from moved where j.id = moved.id
            returning j.id, j.status, j.run_after
        ), abandoned as (
            delete from biz.ai_cache c using job where c.site_id = $1 and c.job_id = job.id and c.status = 'generating'
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

/// What a sweep of the jobs did.
#[derive(Clone, Copy, Debug)]
pub struct SweptJobs {
    /// Jobs whose worker was killed: they are `pending` again, or `failed` after the fifth time.
    pub jobs: i32,
    /// Runs of jobs that no worker settled.
    pub runs: i32,
}

/// Gives back a bounded number of jobs whose lease has run out, and settles their runs. Does nothing
/// where another sweep is running.
pub async fn sweep(db: &Db) -> Result<SweptJobs> {
    sqlx::query_as!(
        SweptJobs,
        r#"select jobs as "jobs!", runs as "runs!" from sweep_jobs()"#
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
