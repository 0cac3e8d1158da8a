//! Batches: the same apps asked about many members, once it was seen what that costs.
//!
//! An estimate is a row, which expires; confirming it queues one job for each member, in the same statement, so
//! that it is done once whoever presses the button how often (`confirm_batch`).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    governance::{apps::App, auth::SiteScope},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The apps that need to know of nothing but a member, each after those whose results it reads.
const APPS: [App; 5] = [
    App::Clue,
    App::ClueConsolidated,
    App::CustomerAnalysis,
    App::Analysis,
    App::Tactics,
];
/// The most members of a batch.
pub const MAX_MEMBERS: usize = 2_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewBatch {
    apps: Vec<App>,
    member_ids: Vec<i64>,
}

impl NewBatch {
    /// Checks that it can be asked for, and puts the apps into their order.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the field.
    pub fn parse(app_types: &[String], member_ids: Vec<i64>) -> Result<Self> {
        if app_types.is_empty() {
            return Err(Error::invalid("app_types", Reason::Empty));
        }
        let position = |name: &String| APPS.iter().position(|app| app.name() == name);
        let mut chosen: Vec<usize> = app_types
            .iter()
            .map(|name| position(name).ok_or(Error::invalid("app_types", Reason::Unknown)))
            .collect::<Result<_>>()?;
        chosen.sort_unstable();
        if chosen.is_sorted_by(|a, b| a < b) {
            check_members(&member_ids)?;
            let apps = chosen.into_iter().map(|position| APPS[position]).collect();
            Ok(Self { apps, member_ids })
        } else {
            Err(Error::invalid("app_types", Reason::Repeated))
        }
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

/// What a batch would cost.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The batch.
    pub batch_id: Uuid,
    /// Apps times members.
    pub estimated_calls: i64,
    /// By what each app has taken of late at the site.
    pub estimated_tokens: i64,
    /// Of the day or of the month, whichever is less.
    pub budget_left: i64,
    /// Until when it can be confirmed.
    pub expires_at: DateTime<Utc>,
}

/// Says what a batch would cost, and remembers it for ten minutes.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site, [`Error::Invalid`] where one is not a member of it.
pub async fn estimate(db: &Db, site_id: i64, user_id: i64, batch: &NewBatch) -> Result<Estimate> {
    let apps: Vec<String> = batch.apps.iter().map(|app| app.name().to_owned()).collect();
    let row = sqlx::query!(
        r#"
        select outcome as "outcome!", batch_id, estimated_calls, estimated_tokens, budget_left, expires_at
        from estimate_batch($1, $2, $3, $4)
        "#,
        site_id,
        user_id,
        &apps,
        &batch.member_ids,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match &*row.outcome {
        "not_found" => return Err(Error::NotFound),
        "unknown_members" => return Err(Error::invalid("member_ids", Reason::Unknown)),
        _ => {}
    }
    let estimate = || {
        Some(Estimate {
            batch_id: row.batch_id?,
            estimated_calls: row.estimated_calls?,
            estimated_tokens: row.estimated_tokens?,
            budget_left: row.budget_left?,
            expires_at: row.expires_at?,
        })
    };
    estimate().ok_or(Error::internal("unknown outcome of estimate_batch"))
}

/// Queues the jobs of an estimate, once; answers how many.
///
/// # Errors
/// [`Error::NotFound`], also for a batch of another site; [`Error::Conflict`] where it was confirmed or cancelled
/// before, or costs more than is left; [`Error::Gone`] where it has expired.
pub async fn confirm(db: &Db, site_id: i64, user_id: i64, id: Uuid) -> Result<i64> {
    let row = sqlx::query!(
        r#"select outcome as "outcome!", jobs from confirm_batch($1, $2, $3)"#,
        site_id,
        user_id,
        id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match (&*row.outcome, row.jobs) {
        ("confirmed", Some(jobs)) => Ok(jobs),
        ("not_found", _) => Err(Error::NotFound),
        ("confirmed_before", _) => Err(Error::Conflict("The batch was confirmed before")),
        ("cancelled", _) => Err(Error::Conflict("The batch was cancelled")),
        ("over_budget", _) => Err(Error::Conflict("The batch costs more than is left")),
        ("expired", _) => Err(Error::Gone),
        _ => Err(Error::internal("unknown outcome of confirm_batch")),
    }
}

/// A batch as it stands.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Id.
    pub id: Uuid,
    /// Where.
    pub site_id: i64,
    /// `estimated`, `expired`, `running`, `done` or `cancelled`.
    pub status: String,
    /// The apps, in the order in which they are asked.
    pub app_types: Vec<String>,
    /// Apps times members.
    pub estimated_calls: i64,
    /// What it was thought to cost.
    pub estimated_tokens: i64,
    /// Of the calls, those that have a result.
    pub done: i64,
    /// Those that will have none, since their job has failed.
    pub failed: i64,
    /// Those that were taken back.
    pub cancelled: i64,
    /// Until when it could be confirmed.
    pub expires_at: DateTime<Utc>,
    /// When it was.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// By whom it was asked for.
    pub created_by: i64,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Finds a batch.
///
/// # Errors
/// [`Error::NotFound`], also for one of a site that is not asked about.
pub async fn find(db: &Db, scope: SiteScope, id: Uuid) -> Result<Batch> {
    let batch = sqlx::query_as!(
        Batch,
        r#"
        select b.id, b.site_id, batch_status(b) as "status!", b.app_types, b.estimated_calls, b.estimated_tokens,
               progress.done as "done!", progress.failed as "failed!", progress.cancelled as "cancelled!",
               b.expires_at, b.confirmed_at, b.created_by, b.created_at
        from biz.ai_batches b cross join lateral (
            select coalesce(sum(j.step), 0) as done,
                   coalesce(sum(cardinality(j.app_chain) - j.step) filter (where j.status = 'failed'), 0) as failed,
                   coalesce(sum(cardinality(j.app_chain) - j.step) filter (where j.status = 'cancelled'), 0) as cancelled
            from biz.ai_trigger_jobs j where j.batch_id = b.id and j.site_id = b.site_id
        ) progress
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

/// What became of a batch that was taken back.
#[derive(Clone, Debug)]
pub struct Cancelled {
    /// As in [`Batch`].
    pub status: String,
    /// Jobs that will not run.
    pub cancelled: i64,
}

/// Takes back what is not running of a batch; one that was not confirmed never can be. Safe to repeat.
///
/// # Errors
/// [`Error::NotFound`], also for a batch of another site.
pub async fn cancel(db: &Db, site_id: i64, user_id: i64, id: Uuid) -> Result<Cancelled> {
    let row = sqlx::query!(
        "select status, cancelled from cancel_batch($1, $2, $3)",
        site_id,
        user_id,
        id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    match (row.status, row.cancelled) {
        (Some(status), Some(cancelled)) => Ok(Cancelled { status, cancelled }),
        _ => Err(Error::NotFound),
    }
}

/// Deletes estimates that expired more than a day ago and were never confirmed; returns how many.
pub async fn sweep(db: &Db) -> Result<i32> {
    sqlx::query_scalar!(r#"select sweep_batches() as "estimates!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(apps: &[App], member_ids: &[i64]) -> Result<NewBatch> {
        let names: Vec<String> = apps.iter().map(|app| app.name().to_owned()).collect();
        NewBatch::parse(&names, member_ids.to_vec())
    }

    #[test]
    fn apps_are_asked_after_those_whose_results_they_read() {
        let mut backwards = APPS;
        backwards.reverse();
        assert_eq!(parse(&backwards, &[7]).unwrap().apps, APPS);
        let two = parse(&[App::Tactics, App::Clue], &[9, 7]).unwrap();
        assert_eq!(two.apps, [App::Clue, App::Tactics]);
        assert_eq!(two.member_ids, [9, 7]);
    }

    #[test]
    fn what_cannot_be_asked_about_a_member_alone_is_refused() {
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
                field: told,
                reason: why,
            }) = parse(apps, members)
            else {
                panic!("{apps:?} {members:?}")
            };
            assert_eq!((&*told, why), (field, reason));
        }
        assert!(parse(&[App::Clue], &many[..2_000]).is_ok());
    }
}
