//! Requests a job for insights that are missing or expired.

use serde_json::Value;
use sqlx::PgConnection;

use super::{Insight, Selection, State, list, selection};
use crate::{
    governance::{
        apps::{App, AppIds},
        auth::Caller,
    },
    insights::{jobs::EventType, results::Target},
    platform::{
        clock,
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Requests of a user per minute that queue a job.
const MOST_PER_MINUTE: i64 = 6;

/// What a user requests.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The insights.
    pub selection: Selection,
    /// Generate valid ones again, too. Managers only.
    pub is_forced: bool,
}

/// Result of a request.
#[derive(Clone, Copy, Debug)]
pub struct Refreshed {
    /// The job that generates the insights. `None` if there is nothing to generate.
    pub job_id: Option<i64>,
    /// [`State::Ready`] or [`State::Disabled`] if there is nothing to generate, otherwise
    /// [`State::Generating`].
    pub state: State,
    /// True if the job was queued by this request.
    pub(super) is_new: bool,
}

pub(super) async fn refresh(
    db: &Db,
    caller: &Caller,
    request: &Refresh,
    app_ids: &AppIds,
    reserved_tokens: i64,
) -> Result<Refreshed> {
    if request.is_forced && !caller.role.is_manager() {
        return Err(Error::Forbidden);
    }
    let items = request.selection.readable_by(caller)?;
    let mut tx = db.transaction().await?;
    lock_user(&mut tx, caller.user_id).await?;
    let insights = list::list(&mut *tx, caller, &items, app_ids).await?;
    let wanted = match wanted(insights, request.is_forced) {
        Wanted::Nothing(done) => return Ok(done),
        Wanted::Generate(wanted) => wanted,
    };
    let site_id = caller.site_id;
    let member_id = member(&mut tx, site_id, &wanted).await?;
    let key = key(&wanted);
    if let Some(job_id) = queued(&mut tx, site_id, &key).await? {
        return Ok(Refreshed::generating(job_id, false));
    }
    check_rate(&mut tx, caller.user_id).await?;
    check_budget(&mut tx, site_id, reserved_tokens).await?;
    let job = NewJob {
        member_id,
        targets: &wanted,
        key: &key,
        is_forced: request.is_forced,
    };
    let job_id = enqueue(&mut tx, caller, &job).await?;
    forget_failures(&mut tx, site_id, &wanted).await?;
    tx.commit().await?;
    Ok(Refreshed::generating(job_id, true))
}

impl Refreshed {
    const fn generating(job_id: i64, is_new: bool) -> Self {
        Self {
            job_id: Some(job_id),
            state: State::Generating,
            is_new,
        }
    }
}

enum Wanted {
    Nothing(Refreshed),
    /// Never empty.
    Generate(Vec<(App, Target)>),
}

/// The insights that need a job: neither disabled, nor being generated, nor valid.
fn wanted(insights: Vec<Insight>, is_forced: bool) -> Wanted {
    let running = insights.iter().find_map(|insight| insight.job_id);
    let is_disabled = |insight: &Insight| insight.state == State::Disabled;
    let all_disabled = !insights.is_empty() && insights.iter().all(is_disabled);
    let wanted: Vec<_> = insights
        .into_iter()
        .filter(|insight| match insight.state {
            State::Disabled | State::Generating => false,
            State::Ready => is_forced,
            State::Missing | State::Failed => true,
        })
        .map(|insight| (insight.app, insight.target))
        .collect();
    if !wanted.is_empty() {
        return Wanted::Generate(wanted);
    }
    Wanted::Nothing(match running {
        Some(job_id) => Refreshed::generating(job_id, false),
        None => Refreshed {
            job_id: None,
            state: if all_disabled {
                State::Disabled
            } else {
                State::Ready
            },
            is_new: false,
        },
    })
}

/// Serializes the requests of a user, so that the rate is exact.
async fn lock_user(tx: &mut PgConnection, user_id: i64) -> Result<()> {
    sqlx::query!(
        "select from biz.users where id = $1 for no key update",
        user_id
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// The member of the targets, if they have one.
///
/// # Errors
/// [`Error::NotFound`] if the site has no such member, task, note or area.
async fn member(
    tx: &mut PgConnection,
    site_id: i64,
    wanted: &[(App, Target)],
) -> Result<Option<i64>> {
    let (mut member_id, mut task_id, mut note_id, mut area) = (None, None, None, None);
    for (_, target) in wanted {
        match target {
            Target::Member(id) => member_id = Some(*id),
            Target::Task(id) => task_id = Some(*id),
            Target::Note(id) => note_id = Some(*id),
            Target::Filter { area: named, .. } => area = named.as_deref(),
            Target::Areas(_) => {}
        }
    }
    let row = sqlx::query!(
        r#"
        select
            case when $2::bigint is not null then (select m.member_id from dws.member_profile m where m.site_id = $1 and m.member_id = $2)
                 when $3::bigint is not null then (select t.member_id from dws.coach_task t where t.site_id = $1 and t.task_id = $3)
                 when $4::bigint is not null then (select n.member_id from dws.member_note n where n.site_id = $1 and n.note_id = $4)
            end as member_id,
            case when $3::bigint is not null then exists (select from dws.coach_task t where t.site_id = $1 and t.task_id = $3)
                 when $5::text is not null then exists (select from dws.finance_area_daily f
                    where f.site_id = $1 and f.area = $5 and f.business_date > site_today($1) - 400)
                 else $2::bigint is null and $4::bigint is null
            end as "exists!"
        "#,
        site_id,
        member_id,
        task_id,
        note_id,
        area,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await?;
    if row.exists || row.member_id.is_some() {
        Ok(row.member_id)
    } else {
        Err(Error::NotFound)
    }
}

/// Identifies requests of the same insights on one business date.
fn key(wanted: &[(App, Target)]) -> String {
    let names = wanted
        .iter()
        .map(|(app, target)| format!("{}/{}", app.name(), target.id()));
    names.collect::<Vec<_>>().join("/")
}

/// A job of the same insights that has not ended.
async fn queued(tx: &mut PgConnection, site_id: i64, key: &str) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "select id from biz.ai_trigger_jobs
         where site_id = $1 and dedup_key = concat_ws('/', site_today($1), $2::text, $3::text)
           and not is_forced and status in ('pending', 'running')",
        site_id,
        EventType::InsightRefresh.name(),
        key,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await
}

async fn check_rate(tx: &mut PgConnection, user_id: i64) -> Result<()> {
    let recent = sqlx::query!(
        r#"
        select count(*) as "count!",
               ceil(extract(epoch from min(created_at) + interval '1 minute' - now()))::integer as free_in
        from biz.ai_trigger_jobs where requested_by = $1 and created_at > now() - interval '1 minute'
        "#,
        user_id,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await?;
    if recent.count < MOST_PER_MINUTE {
        return Ok(());
    }
    let retry_after = recent.free_in.unwrap_or(1).max(1);
    Err(Error::RateLimited { retry_after })
}

async fn check_budget(tx: &mut PgConnection, site_id: i64, reserved_tokens: i64) -> Result<()> {
    let retry_at = sqlx::query_scalar!(
        "select retry_at from budget_room($1, $2)",
        site_id,
        reserved_tokens
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await?;
    let Some(retry_at) = retry_at else {
        return Ok(());
    };
    let seconds = (retry_at - clock::now()).num_seconds();
    let retry_after = i32::try_from(seconds).unwrap_or(i32::MAX).max(1);
    Err(Error::BudgetExceeded { retry_after })
}

struct NewJob<'a> {
    member_id: Option<i64>,
    targets: &'a [(App, Target)],
    key: &'a str,
    is_forced: bool,
}

/// Inserts the job. If another user has just requested the same, returns that job.
async fn enqueue(tx: &mut PgConnection, caller: &Caller, job: &NewJob<'_>) -> Result<i64> {
    let (chain, _) = list::columns(job.targets);
    let payload: Value = selection::payload(job.targets);
    let id = sqlx::query_scalar!(
        "insert into biz.ai_trigger_jobs
             (site_id, event_type, connector_type, trigger_type, member_id, payload, app_chain, is_forced, urgency, requested_by, dedup_key)
         values ($1, $2, 'insights_api', 'manual', $3, $4, $5, $6, 1, $7, concat_ws('/', site_today($1), $2::text, $8::text))
         on conflict do nothing
         returning id",
        caller.site_id,
        EventType::InsightRefresh.name(),
        job.member_id,
        payload,
        &chain,
        job.is_forced,
        caller.user_id,
        job.key,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?;
    match id {
        Some(id) => Ok(id),
        None => queued(tx, caller.site_id, job.key)
            .await?
            .ok_or(Error::Conflict("another request has just ended")),
    }
}

/// A new job has been queued, so the last one is no longer the failed one.
async fn forget_failures(
    tx: &mut PgConnection,
    site_id: i64,
    wanted: &[(App, Target)],
) -> Result<()> {
    let (apps, targets) = list::columns(wanted);
    sqlx::query!(
        "delete from biz.ai_result_failures f using unnest($2::text[], $3::text[]) asked (app, target)
         where f.site_id = $1 and f.cache_type = asked.app and f.target_id = asked.target",
        site_id,
        &apps,
        &targets,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}
