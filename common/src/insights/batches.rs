//! Batches: the same applications for many members. An admin gets an estimate, then confirms it.
//!
//! An estimate is a row that expires. [`confirm`] locks it and queues one job per member in one
//! transaction, so a batch starts only once.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::FutureExt as _;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
        auth::SiteScope,
        prices::Yuan,
    },
    insights::apps,
    platform::{
        db::{self, Db, SWEEP_LIMIT, StatementTimeout, SweptRows},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, Paging, Start},
    },
};

/// Largest number of members in a batch.
pub const MAX_MEMBERS: usize = 2_000;
/// How long an estimate can be confirmed.
const CONFIRMABLE: Duration = Duration::from_secs(600);
/// An application is estimated by its average of this many days, including today.
const RECENT_DAYS: i32 = 30;
/// Estimated tokens of a call if the application had no successful call in that time.
const TOKENS_PER_CALL: i64 = 2_000;
/// Within a site, jobs with a higher urgency run first. Jobs of events have 0.
const URGENCY: i16 = -1;
/// Days after which an estimate that was not confirmed is deleted, counted from its expiry.
const DELETED_AFTER_DAYS: i32 = 1;

/// The apps and members of a batch.
#[derive(Clone, Debug)]
pub struct NewBatch {
    apps: Vec<App>,
    member_ids: Vec<i64>,
}

impl NewBatch {
    /// Checks applications and members, and sorts the applications into the order of their calls.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn parse(app_types: &[String], member_ids: Vec<i64>) -> Result<Self> {
        if app_types.is_empty() {
            return Err(Error::invalid("app_types", Reason::Empty));
        }
        let unknown = |name: &String| apps::in_batches().all(|app| app.name() != name);
        if app_types.iter().any(unknown) {
            return Err(Error::invalid("app_types", Reason::Unknown));
        }
        let is_chosen = |app: &App| app_types.iter().any(|name| name == app.name());
        let apps: Vec<App> = apps::in_batches().filter(is_chosen).collect();
        if apps.len() < app_types.len() {
            return Err(Error::invalid("app_types", Reason::Repeated));
        }
        check_members(&member_ids)?;
        Ok(Self { apps, member_ids })
    }
}

fn check_members(member_ids: &[i64]) -> Result<()> {
    let wrong = |reason| Err(Error::invalid("member_ids", reason));
    if member_ids.is_empty() {
        return wrong(Reason::Empty);
    }
    if member_ids.len() > MAX_MEMBERS {
        return wrong(Reason::TooMany(MAX_MEMBERS));
    }
    if member_ids.iter().any(|id| *id < 1) {
        return wrong(Reason::Type);
    }
    let mut sorted = member_ids.to_vec();
    sorted.sort_unstable();
    if sorted.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        wrong(Reason::Repeated)
    }
}

/// Estimated cost of a batch.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Estimate {
    pub batch_id: Uuid,
    /// Number of applications times number of members.
    pub estimated_calls: i64,
    /// From the average tokens per call of each application in the last 30 days at the site.
    pub estimated_tokens: i64,
    /// From the average cost per call in the same days. `None` if an app had no successful call in
    /// them, or a call whose cost is not known.
    pub estimated_cost: Option<Yuan>,
    /// Tokens left of the daily or the monthly budget, the smaller of both, without those that
    /// confirmed batches have still to use.
    pub budget_left: i64,
    /// The estimate can be confirmed until then.
    pub expires_at: DateTime<Utc>,
}

/// Stores an estimate. It can be confirmed for ten minutes.
///
/// # Errors
/// [`Error::NotFound`] if there is no such site. [`Error::Invalid`] if the site has not all of the
/// members.
pub async fn estimate(db: &Db, site_id: i64, user_id: i64, batch: &NewBatch) -> Result<Estimate> {
    let apps: Vec<String> = batch.apps.iter().map(|app| app.name().to_owned()).collect();
    let members = count(batch.member_ids.len());
    let estimated_calls = count(apps.len()) * members;
    let mut tx = db.transaction().await?;
    let today = check_site(&mut tx, site_id, &batch.member_ids).await?;
    let cost = estimate_cost(&mut tx, site_id, today, &apps, members).await?;
    let row = sqlx::query!(
        "insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, estimated_cost, expires_at, created_by)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7), $8)
         returning id, expires_at",
        site_id,
        &apps,
        &batch.member_ids,
        estimated_calls,
        cost.tokens,
        cost.amount,
        CONFIRMABLE.as_secs_f64(),
        user_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({ "app_types": apps, "members": members, "estimated_tokens": cost.tokens });
    let id = row.id.to_string();
    audit::record(
        &mut tx,
        Action::EstimateBatch,
        site_id,
        user_id,
        Some(&id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(Estimate {
        batch_id: row.id,
        estimated_calls,
        estimated_tokens: cost.tokens,
        estimated_cost: cost.amount.map(Yuan),
        budget_left: cost.left,
        expires_at: row.expires_at,
    })
}

fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}

/// Returns the site's current date, if all of these are members of the site. `dws.member_profile`
/// may be a view without keys, in which a member has several rows.
async fn check_site(tx: &mut PgConnection, site_id: i64, member_ids: &[i64]) -> Result<NaiveDate> {
    let row = sqlx::query!(
        r#"
        select local_day(s.timezone, clock_timestamp()) as "today!", (
            select count(distinct p.member_id) from dws.member_profile p where p.site_id = $1 and p.member_id = any ($2)
        ) as "members!"
        from biz.sites s where s.id = $1
        "#,
        site_id,
        member_ids,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if row.members < count(member_ids.len()) {
        return Err(Error::invalid("member_ids", Reason::Unknown));
    }
    Ok(row.today)
}

struct Cost {
    /// Estimated tokens of the batch.
    tokens: i64,
    /// Estimated cost in millionths of a yuan.
    amount: Option<i64>,
    /// Tokens left in the budget.
    left: i64,
}

async fn estimate_cost(
    tx: &mut PgConnection,
    site_id: i64,
    today: NaiveDate,
    apps: &[String],
    members: i64,
) -> Result<Cost> {
    sqlx::query_as!(
        Cost,
        r#"
        select sum(ceil($4::bigint * coalesce(recent.tokens, $6::bigint)))::bigint as "tokens!",
               case when bool_and(recent.amount is not null) then sum(ceil($4::bigint * recent.amount))::bigint end as amount,
               greatest(0, tokens_left($1) - tokens_of_batches($1)) as "left!"
        from unnest($3::text[]) app (name) cross join lateral (
            select nullif(sum(u.tokens), 0) / nullif(sum(u.successes), 0) as tokens,
                   case sum(u.unpriced_calls) when 0 then sum(u.cost) / nullif(sum(u.successes), 0) end as amount
            from biz.ai_usage_daily u
            where u.site_id = $1 and u.app_type = app.name and u.day > $2::date - $5::integer and u.day <= $2
        ) recent
        "#,
        site_id,
        today,
        apps,
        members,
        RECENT_DAYS,
        TOKENS_PER_CALL,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}

/// Queues the jobs of an estimate once. Returns the number of jobs.
///
/// # Errors
/// [`Error::NotFound`], also for a batch of another site. [`Error::Conflict`] if it was already
/// confirmed or cancelled, or costs more than the budget has left. [`Error::Gone`] if it has
/// expired.
pub async fn confirm(db: &Db, site_id: i64, user_id: i64, id: Uuid) -> Result<i64> {
    let mut tx = db.transaction().await?;
    let batch = sqlx::query_as!(
        Confirmable,
        "select confirmed_at, cancelled_at, expires_at, estimated_tokens
         from biz.ai_batches where id = $2 and site_id = $1 for no key update",
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    // Two batches of a site that are confirmed at once see each other's tokens.
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(format('batches/%s', $1::bigint), 0))",
        site_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    // A separate statement after the locks, because waiting for them may have taken time.
    let now = sqlx::query!(
        r#"select $2 <= clock_timestamp() as "is_expired!", tokens_left($1) - tokens_of_batches($1) as tokens_left"#,
        site_id,
        batch.expires_at,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    batch.check(now.is_expired, now.tokens_left)?;
    let jobs = enqueue(&mut tx, site_id, id).await?;
    let details = json!({ "jobs": jobs, "estimated_tokens": batch.estimated_tokens });
    let object_id = id.to_string();
    audit::record(
        &mut tx,
        Action::ConfirmBatch,
        site_id,
        user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(jobs)
}

/// The columns that decide whether a batch can be confirmed.
struct Confirmable {
    confirmed_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    estimated_tokens: i64,
}

impl Confirmable {
    fn check(&self, is_expired: bool, tokens_left: Option<i64>) -> Result<()> {
        if self.confirmed_at.is_some() {
            return Err(Error::Conflict("The batch was already confirmed"));
        }
        if self.cancelled_at.is_some() {
            return Err(Error::Conflict("The batch was cancelled"));
        }
        if is_expired {
            return Err(Error::Gone);
        }
        if tokens_left.is_some_and(|left| self.estimated_tokens > left) {
            return Err(Error::Conflict(
                "The batch costs more than the budget has left",
            ));
        }
        Ok(())
    }
}

/// Marks a batch as confirmed and queues one job per member. Returns the number of jobs.
async fn enqueue(tx: &mut PgConnection, site_id: i64, id: Uuid) -> Result<i64> {
    sqlx::query!(
        "update biz.ai_batches set confirmed_at = clock_timestamp() where id = $2 and site_id = $1",
        site_id,
        id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let queued = sqlx::query!(
        "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, is_forced, batch_id, urgency)
         select b.site_id, 'batch', 'batch', 'batch', m.id, b.app_types, true, b.id, $3
         from biz.ai_batches b cross join unnest(b.member_ids) with ordinality m (id, place)
         where b.id = $2 and b.site_id = $1
         order by m.place",
        site_id,
        id,
        URGENCY,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(i64::try_from(queued.rows_affected()).unwrap_or(i64::MAX))
}

/// A batch and its progress.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Batch {
    pub id: Uuid,
    pub site_id: i64,
    /// `estimated`, `expired`, `running`, `done` or `cancelled`.
    pub status: String,
    /// Names of the applications, in the order of their calls.
    pub app_types: Vec<String>,
    /// Number of applications times number of members.
    pub estimated_calls: i64,
    pub estimated_tokens: i64,
    /// See [`Estimate::estimated_cost`].
    pub estimated_cost: Option<Yuan>,
    /// Number of calls that have a result.
    pub done: i64,
    /// Number of calls without a result because their job failed.
    pub failed: i64,
    /// Number of calls that were cancelled.
    pub cancelled: i64,
    /// The estimate could be confirmed until then.
    pub expires_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The admin who requested the estimate.
    pub created_by: i64,
    pub created_at: DateTime<Utc>,
}

/// Reads a batch.
///
/// # Errors
/// [`Error::NotFound`], also for a batch outside of `scope`.
pub async fn find(db: &Db, scope: SiteScope, id: Uuid) -> Result<Batch> {
    let batch = sqlx::query_as!(
        Batch,
        r#"
        select b.id, b.site_id, batch_status(b) as "status!", b.app_types, b.estimated_calls, b.estimated_tokens, b.estimated_cost as "estimated_cost: Yuan",
               progress.done as "done!", progress.failed as "failed!", progress.cancelled as "cancelled!",
               b.expires_at, b.confirmed_at, b.created_by, b.created_at
        from biz.ai_batches b cross join batch_progress(b) progress
        where b.id = $2 and ($1::bigint is null or b.site_id = $1)
        "#,
        scope.site_id(),
        id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    batch.ok_or(Error::NotFound)
}

/// What the ended calls of a batch have cost.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Tokens that were charged to the budget.
    pub tokens: i64,
    /// Sum of the known costs.
    pub cost: Yuan,
    /// Calls whose cost is not known.
    pub unpriced_calls: i64,
}

/// Adds up what the calls of a batch have cost so far, from the runs of its jobs. Runs older than
/// the run log's retention are not included.
pub async fn spent(db: &Db, batch: &Batch) -> Result<Spent> {
    // The limit makes the plan look up the runs of each job by the index.
    sqlx::query_as!(
        Spent,
        r#"
        select coalesce(sum(r.tokens_charged), 0)::bigint as "tokens!", coalesce(sum(r.cost), 0)::bigint as "cost!: Yuan",
               count(*) filter (where r.tokens_charged is not null and r.cost is null) as "unpriced_calls!"
        from biz.ai_trigger_jobs j cross join lateral (
            select r.tokens_charged, r.cost from biz.ai_run_logs r
            where r.job_id = j.id and r.created_at >= j.created_at
            order by r.created_at, r.id limit 1000
        ) r
        where j.batch_id = $2 and j.site_id = $1
        "#,
        batch.site_id,
        batch.id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// Tokens that a new batch of the site may cost: the rest of the budget without what the confirmed
/// batches have still to use. [`confirm`] compares an estimate with this number.
pub async fn budget_left(db: &Db, site_id: i64) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select greatest(0, tokens_left($1) - tokens_of_batches($1)) as "left!""#,
        site_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// The sort key of the list: microseconds since 1970, and id.
pub type BatchKey = (i64, Uuid);

/// The scope of cursors of the list of batches. A cursor is valid only in its own scope.
pub fn cursor_scope(scope: SiteScope) -> String {
    format!("batches/{scope:?}")
}

/// Lists batches, newest first.
pub async fn list(db: &Db, scope: SiteScope, requested: &Paging<BatchKey>) -> Result<Page<Batch>> {
    let start = Start::of(requested.from);
    let rows = sqlx::query!(
        r#"
        with sites (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1
        ), counted (total) as (
            select count_batches($1, $2::bigint + 1)
        ), page as (
            select each.id from sites s cross join lateral (
                select b.id, b.created_at from biz.ai_batches b
                where b.site_id = s.id
                  and (b.created_at, b.id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4, '00000000-0000-0000-0000-000000000000'::uuid))
                order by b.created_at desc, b.id desc limit $5::bigint + $6::bigint
            ) each
            order by each.created_at desc, each.id desc limit $5 offset $6
        )
        select counted.total as "total!", b.id as "id?", b.site_id as "site_id?", batch_status(b.batch) as status, b.app_types as "app_types?",
               b.estimated_calls as "estimated_calls?", b.estimated_tokens as "estimated_tokens?", b.estimated_cost as "estimated_cost: Yuan",
               progress.done, progress.failed, progress.cancelled,
               b.expires_at as "expires_at?", b.confirmed_at, b.created_by as "created_by?", b.created_at as "created_at?"
        from counted left join (page cross join lateral (select b.*, b as batch from biz.ai_batches b where b.id = page.id limit 1) b) on true
             left join lateral batch_progress(b.batch) progress on true
        order by b.created_at desc, b.id desc
        "#,
        scope.site_id(),
        MAX_COUNTED,
        start.before,
        start.before_id,
        requested.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let batches = rows.into_iter().filter_map(|row| {
        let batch = Batch {
            id: row.id?,
            site_id: row.site_id?,
            status: row.status?,
            app_types: row.app_types?,
            estimated_calls: row.estimated_calls?,
            estimated_tokens: row.estimated_tokens?,
            estimated_cost: row.estimated_cost,
            done: row.done?,
            failed: row.failed?,
            cancelled: row.cancelled?,
            expires_at: row.expires_at?,
            confirmed_at: row.confirmed_at,
            created_by: row.created_by?,
            created_at: row.created_at?,
        };
        Some(((batch.created_at.timestamp_micros(), batch.id), batch))
    });
    Ok(Page::counted(
        total,
        batches,
        requested.size,
        &cursor_scope(scope),
    ))
}

/// Result of cancelling a batch.
#[derive(Clone, Debug)]
pub struct Cancelled {
    /// See [`Batch::status`].
    pub status: String,
    /// Number of cancelled jobs.
    pub cancelled: i64,
}

/// Cancels the pending jobs of a batch. An estimate can no longer be confirmed afterwards. A batch
/// that has ended does not change. Idempotent.
///
/// # Errors
/// [`Error::NotFound`], also for a batch of another site.
pub async fn cancel(db: &Db, site_id: i64, user_id: i64, id: Uuid) -> Result<Cancelled> {
    let mut tx = db.transaction().await?;
    let status = lock(&mut tx, site_id, id).await?;
    if !["estimated", "running"].contains(&&*status) {
        let cancelled = sqlx::query_scalar!(
            r#"
            select count(*) as "cancelled!" from biz.ai_trigger_jobs
            where batch_id = $2 and site_id = $1 and status = 'cancelled'
            "#,
            site_id,
            id,
        )
        .fetch_one(&mut *tx)
        .with_statement_timeout()
        .await?;
        return Ok(Cancelled { status, cancelled });
    }
    let cancelled = cancel_jobs(&mut tx, site_id, id).await?;
    let details = json!({ "cancelled": cancelled });
    let object_id = id.to_string();
    audit::record(
        &mut tx,
        Action::CancelBatch,
        site_id,
        user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    let status = "cancelled".to_owned();
    Ok(Cancelled { status, cancelled })
}

/// Locks a batch and returns its status.
async fn lock(tx: &mut PgConnection, site_id: i64, id: Uuid) -> Result<String> {
    sqlx::query!(
        "select from biz.ai_batches where id = $2 and site_id = $1 for no key update",
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    // A separate statement after the lock, so that it sees everything that was committed before.
    sqlx::query_scalar!(
        r#"select batch_status(b) as "status!" from biz.ai_batches b where b.id = $2 and b.site_id = $1"#,
        site_id,
        id,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}

/// Marks a batch and its pending jobs as cancelled. Returns the number of jobs.
async fn cancel_jobs(tx: &mut PgConnection, site_id: i64, id: Uuid) -> Result<i64> {
    sqlx::query!(
        "update biz.ai_batches set cancelled_at = clock_timestamp() where id = $2 and site_id = $1",
        site_id,
        id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let cancelled = sqlx::query!(
        "update biz.ai_trigger_jobs set status = 'cancelled', finished_at = clock_timestamp()
         where batch_id = $2 and site_id = $1 and status = 'pending'",
        site_id,
        id,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(i64::try_from(cancelled.rows_affected()).unwrap_or(i64::MAX))
}

/// Deletes a limited number of estimates that expired more than a day ago and were not confirmed.
pub async fn sweep(db: &Db) -> Result<SweptRows> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(SweptRows::default());
    };
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_batches where confirmed_at is null and expires_at < now() - make_interval(days => $1)
         order by expires_at limit $2 for update skip locked",
        DELETED_AFTER_DAYS,
        SWEEP_LIMIT,
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    let deleted = db::sweep_rows(&mut tx, "estimates", &ids, |tx, ids| {
        sqlx::query!("delete from biz.ai_batches where id = any ($1)", ids)
            .execute(tx)
            .boxed()
    })
    .await?;
    tx.commit().await?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(apps: &[App], member_ids: &[i64]) -> Result<NewBatch> {
        let names: Vec<String> = apps.iter().map(|app| app.name().to_owned()).collect();
        NewBatch::parse(&names, member_ids.to_vec())
    }

    #[test]
    fn apps_are_sorted_after_those_whose_results_they_read() {
        let apps: Vec<App> = apps::in_batches().collect();
        let backwards: Vec<App> = apps.iter().rev().copied().collect();
        assert_eq!(parse(&backwards, &[7]).unwrap().apps, apps);
        let two = parse(&[App::Tactics, App::Clue], &[9, 7]).unwrap();
        assert_eq!(two.apps, [App::Clue, App::Tactics]);
        assert_eq!(two.member_ids, [9, 7]);
    }

    #[test]
    fn invalid_apps_and_members_are_rejected() {
        let many: Vec<i64> = (1..=2_001).collect();
        for (apps, members, field, reason) in [
            (&[][..], &[7][..], "app_types", Reason::Empty),
            (&[App::Chat], &[7], "app_types", Reason::Unknown),
            (&[App::Finance], &[7], "app_types", Reason::Unknown),
            (&[App::FinanceArea], &[7], "app_types", Reason::Unknown),
            (&[App::NoteAnalysis], &[7], "app_types", Reason::Unknown),
            (&[App::Clue, App::Clue], &[7], "app_types", Reason::Repeated),
            (&[App::Clue], &[], "member_ids", Reason::Empty),
            (&[App::Clue], &[7, 8, 7], "member_ids", Reason::Repeated),
            (&[App::Clue], &[7, 0], "member_ids", Reason::Type),
            (&[App::Clue], &many, "member_ids", Reason::TooMany(2_000)),
        ] {
            let Err(Error::Invalid {
                field: actual_field,
                reason: actual_reason,
            }) = parse(apps, members)
            else {
                panic!("{apps:?} {members:?}")
            };
            assert_eq!((&*actual_field, actual_reason), (field, reason));
        }
        assert!(parse(&[App::Clue], &many[..2_000]).is_ok());
    }
}
