//! Results of the applications, by target. A target has at most one valid result, and at most one
//! job that generates the next one.
//!
//! A job takes the lease of a target in `begin_generating` and stores the result in
//! `finalize_generating`. Statements of `jobs` call both functions.

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
        auth::{Caller, SiteScope},
    },
    insights::{
        access::{Subject, may_read},
        facts::Period,
    },
    platform::{
        db::{self, Db, SWEEP_LIMIT, StatementTimeout, SweptRows},
        error::{Error, Result},
        paging::{MAX_COUNTED, Page, PageStart, Paging},
        words::words,
    },
};

/// Number of results to keep per application and site. Older ones are deleted.
const KEPT: i64 = 20_000;

/// The subject of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A member.
    Member(i64),
    /// A coach's task.
    Task(i64),
    /// A note about a member.
    Note(i64),
    /// Finance of a period, of all areas or of one.
    Filter {
        /// The period.
        period: Period,
        /// The area. `None` means all areas together.
        area: Option<String>,
    },
    /// Finance of a period, compared by area.
    Areas(Period),
}

impl Target {
    /// The value of the column `target_id`.
    pub fn id(&self) -> String {
        match self {
            Self::Member(id) => format!("member:{id}"),
            Self::Task(id) => format!("task:{id}"),
            Self::Note(id) => format!("note:{id}"),
            Self::Filter { period, area } => {
                format!("{}:{}", period.name(), area.as_deref().unwrap_or(ALL_AREAS))
            }
            Self::Areas(period) => period.name().to_owned(),
        }
    }
}

impl Target {
    /// Whose figures it shows, for the rules of access.
    pub(crate) const fn subject(&self) -> Subject {
        match self {
            Self::Filter { .. } | Self::Areas(_) => Subject::Finance,
            Self::Member(_) | Self::Task(_) | Self::Note(_) => Subject::Member,
        }
    }

    /// Reads the column `target_id` of a result of an application.
    ///
    /// # Errors
    /// [`Error::Internal`] if it is not an id of [`Self::id`].
    pub(crate) fn parse(app: App, id: &str) -> Result<Self> {
        let number = |text: &str| text.parse().ok();
        let target = match id.split_once(':') {
            None => Period::parse(id).map(Self::Areas),
            Some(("member", id)) => number(id).map(Self::Member),
            Some(("task", id)) => number(id).map(Self::Task),
            Some(("note", id)) => number(id).map(Self::Note),
            Some((period, area)) => Period::parse(period).map(|period| Self::Filter {
                period,
                area: Some(area.to_owned()).filter(|area| area != ALL_AREAS),
            }),
        };
        target.ok_or_else(|| Error::internal(format!("a result of {} has no target", app.name())))
    }
}

/// A target as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct TargetView {
    /// `member`, `task`, `note` or `finance`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Id of the member, task or note.
    pub id: Option<i64>,
    pub period: Option<&'static str>,
    /// Area of finance, or `all`. `None` for the comparison of areas.
    pub area: Option<String>,
}

impl From<&Target> for TargetView {
    fn from(target: &Target) -> Self {
        let about = |kind, id: &i64| Self {
            kind,
            id: Some(*id),
            period: None,
            area: None,
        };
        let finance = |period: &Period, area: Option<&str>| Self {
            kind: "finance",
            id: None,
            period: Some(period.name()),
            area: area.map(str::to_owned),
        };
        match target {
            Target::Member(id) => about("member", id),
            Target::Task(id) => about("task", id),
            Target::Note(id) => about("note", id),
            Target::Filter { period, area } => {
                finance(period, Some(area.as_deref().unwrap_or(ALL_AREAS)))
            }
            Target::Areas(period) => finance(period, None),
        }
    }
}

/// The name of all areas together, in filters and target ids.
pub const ALL_AREAS: &str = "all";

/// The row that a job must fill with a result. A job that takes over an expired lease increases
/// `generation`, so that the earlier job can no longer write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub entry_id: i64,
    pub generation: i32,
}

/// A result.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Entry {
    pub id: i64,
    /// The checked answer of the application.
    pub result: Value,
    /// From 1 to 10. `None` if the application does not score.
    pub score: Option<i32>,
    /// When its generation started.
    pub created_at: DateTime<Utc>,
    /// True if a newer result is being generated.
    pub stale: bool,
}

/// The valid result of a target. While a newer one is being generated, returns the last result,
/// marked stale, even if it has expired. Never returns results older than an invalidated one.
pub async fn latest(db: &Db, site_id: i64, app: App, target: &Target) -> Result<Option<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select c.id, c.result_json as "result!", c.score, c.created_at, making.newer as "stale!"
        from biz.ai_cache c
        cross join lateral (select exists (
            select from biz.ai_cache g
            where g.site_id = c.site_id and g.cache_type = c.cache_type and g.target_id = c.target_id and g.status = 'generating')) making (newer)
        where c.site_id = $1 and c.cache_type = $2 and c.target_id = $3 and c.status in ('valid', 'expired')
          and (making.newer or is_result_valid(c, site_today($1)))
          and not exists (
            select from biz.ai_cache i
            where i.site_id = c.site_id and i.cache_type = c.cache_type and i.target_id = c.target_id and i.id > c.id and i.status = 'invalidated')
        order by c.id desc limit 1
        "#,
        site_id,
        app.name(),
        target.id(),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await
}

/// The last `most` results of a target, newest first, valid or expired. Skips invalidated ones.
pub async fn history(
    db: &Db,
    site_id: i64,
    app: App,
    target: &Target,
    most: i64,
) -> Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select id, result_json as "result!", score, created_at, false as "stale!"
        from biz.ai_cache
        where site_id = $1 and cache_type = $2 and target_id = $3 and status in ('valid', 'expired')
        order by id desc limit $4
        "#,
        site_id,
        app.name(),
        target.id(),
        most,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// At most `most` valid results of an application about a member, for all targets, newest first.
pub async fn about_member(
    db: &Db,
    site_id: i64,
    app: App,
    member_id: i64,
    most: i64,
) -> Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select c.id, c.result_json as "result!", c.score, c.created_at, false as "stale!"
        from biz.ai_cache c
        where c.site_id = $1 and c.member_id = $2 and c.cache_type = $3 and c.status = 'valid'
          and is_result_valid(c, site_today($1))
        order by c.id desc limit $4
        "#,
        site_id,
        member_id,
        app.name(),
        most,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Invalidates results of one application, of one member, of both, or of the whole site. A job that
/// is generating such a result loses its lease, because its prompt has older facts. Returns the
/// number of valid results that were invalidated.
///
/// # Errors
/// [`Error::NotFound`] if there is no such site. [`Error::OtherNumber`] if another number than the
/// expected one would be invalidated.
pub async fn invalidate(
    db: &Db,
    site_id: i64,
    user_id: i64,
    app: Option<App>,
    member_id: Option<i64>,
    expected: Option<i64>,
) -> Result<i64> {
    let app_types = names(app);
    let mut tx = db.transaction().await?;
    sqlx::query!("select from biz.sites where id = $1", site_id)
        .fetch_optional(&mut *tx)
        .with_statement_timeout()
        .await?
        .ok_or(Error::NotFound)?;
    take_leases(&mut tx, site_id, &app_types, member_id).await?;
    let affected = match member_id {
        Some(member_id) => invalidate_about(&mut tx, site_id, &app_types, member_id).await?,
        None => invalidate_all(&mut tx, site_id, &app_types).await?,
    };
    let affected = i64::try_from(affected).unwrap_or(i64::MAX);
    Error::unless_expected(affected, expected)?;
    let details = json!({
        "app_type": app.map(App::name),
        "member_id": member_id,
        "affected": affected,
    });
    audit::record(
        &mut tx,
        Action::InvalidateCache,
        site_id,
        user_id,
        None,
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(affected)
}

/// The result that a run made, and the previous one of the same target.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ResultOfRun {
    /// Name of the application.
    pub cache_type: String,
    /// See [`Target::id`].
    pub target_id: String,
    pub result: Value,
    pub previous: Option<Value>,
    /// The run that made the previous result.
    pub previous_run_id: Option<i64>,
}

/// Returns the result that a run made. `None` if it made none, or if the result was deleted.
pub async fn of_run(db: &Db, site_id: i64, run_id: i64) -> Result<Option<ResultOfRun>> {
    sqlx::query_as!(
        ResultOfRun,
        r#"
        select c.cache_type, c.target_id, c.result_json as "result!", p.result_json as "previous?", p.run_id as "previous_run_id?"
        from biz.ai_cache c left join lateral (
            select p.result_json, p.run_id from biz.ai_cache p
            where p.site_id = c.site_id and p.cache_type = c.cache_type and p.target_id = c.target_id and p.id < c.id
              and p.result_json is not null
            order by p.id desc limit 1
        ) p on true
        where c.run_id = $2 and c.site_id = $1 and c.result_json is not null
        order by c.id desc limit 1
        "#,
        site_id,
        run_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await
}

/// Counts the results about a member that [`invalidate`] would invalidate.
pub async fn count_about_member(
    db: &Db,
    site_id: i64,
    app: Option<App>,
    member_id: i64,
) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from biz.ai_cache
        where site_id = $1 and member_id = $3 and cache_type = any ($2) and status = 'valid'
        "#,
        site_id,
        &names(app),
        member_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// The name of `app`, or the names of all applications.
fn names(app: Option<App>) -> Vec<String> {
    let apps = app.map_or(App::ALL.to_vec(), |app| vec![app]);
    apps.iter().map(|app| app.name().to_owned()).collect()
}

/// Ends the leases on such results. Another job may take them immediately.
async fn take_leases(
    tx: &mut PgConnection,
    site_id: i64,
    app_types: &[String],
    member_id: Option<i64>,
) -> Result<()> {
    sqlx::query!(
        "update biz.ai_cache set generation = generation + 1, lease_until = '-infinity'
         where site_id = $1 and cache_type = any ($2) and status = 'generating' and ($3::bigint is null or member_id = $3)",
        site_id,
        app_types,
        member_id,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// Invalidates the results about one member.
async fn invalidate_about(
    tx: &mut PgConnection,
    site_id: i64,
    app_types: &[String],
    member_id: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        "update biz.ai_cache set status = 'invalidated'
         where site_id = $1 and member_id = $3 and cache_type = any ($2) and status = 'valid'",
        site_id,
        app_types,
        member_id,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(done.rows_affected())
}

/// Invalidates the results of all members and other targets. A separate statement, because it uses
/// another index.
async fn invalidate_all(tx: &mut PgConnection, site_id: i64, app_types: &[String]) -> Result<u64> {
    let done = sqlx::query!(
        "update biz.ai_cache set status = 'invalidated'
         where site_id = $1 and cache_type = any ($2) and status = 'valid'",
        site_id,
        app_types,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(done.rows_affected())
}

words! {
    /// The status of a result.
    pub enum Status {
        /// A job is generating it.
        Generating = "generating",
        /// The newest result of its target. Shown until `expires_at`.
        Valid = "valid",
        /// Replaced by a newer result, or marked by the sweep after `expires_at`.
        Expired = "expired",
        /// Invalidated by an admin.
        Invalidated = "invalidated",
    }
}

/// Filter of a list of results.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ResultQuery {
    /// One site, or all sites.
    pub scope: SiteScope,
    pub app: Option<App>,
    /// A target id, see [`Target::id`].
    pub target_id: Option<String>,
    pub status: Option<Status>,
}

impl ResultQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            app,
            target_id,
            status,
        } = self;
        format!("cache/{scope:?}/{app:?}/{status:?}/{target_id:?}")
    }
}

/// A result on which the caller gives feedback or makes a report.
#[derive(Debug)]
pub(crate) struct ReadableResult {
    pub app: App,
    pub prompt_version: Option<String>,
    /// The run that made it.
    pub run_id: Option<i64>,
}

/// Finds a result that the caller's role may read, and keeps it from being deleted until the
/// transaction ends.
///
/// # Errors
/// [`Error::NotFound`], also for a result of another site. [`Error::Forbidden`] for figures of the
/// site, which only managers may read.
pub(crate) async fn find_readable(
    tx: &mut PgConnection,
    caller: &Caller,
    id: i64,
) -> Result<ReadableResult> {
    let row = sqlx::query!(
        r#"
        select cache_type::text as "app!", target_id, prompt_version, run_id from biz.ai_cache
        where id = $2 and site_id = $1 and result_json is not null for key share
        "#,
        caller.site_id,
        id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let app = App::from_sql(&row.app, "biz.ai_cache")?;
    if !may_read(caller, Target::parse(app, &row.target_id)?.subject()) {
        return Err(Error::Forbidden);
    }
    Ok(ReadableResult {
        app,
        prompt_version: row.prompt_version,
        run_id: row.run_id,
    })
}

/// A result in the list for admins.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ResultItem {
    pub id: i64,
    pub site_id: i64,
    /// Name of the application.
    pub cache_type: String,
    /// See [`Target::id`].
    pub target_id: String,
    /// See [`Status`].
    pub status: String,
    /// The checked answer of the application. `None` while it is being generated.
    pub result: Option<Value>,
    /// From 1 to 10. `None` if the application does not score.
    pub score: Option<i32>,
    /// The trigger of the job, such as `event`.
    pub triggered_by: String,
    /// When its generation started.
    pub created_at: DateTime<Utc>,
    /// End of its validity. `None` while it is being generated.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Lists results, newest first.
pub async fn list(db: &Db, query: &ResultQuery, paging: &Paging<i64>) -> Result<Page<ResultItem>> {
    let (before, offset) = match paging.from {
        PageStart::Offset(offset) => (None, offset),
        PageStart::Key(id) => (Some(id), 0),
    };
    let app_types = names(query.app);
    let statuses: Vec<String> = Status::ALL
        .into_iter()
        .filter(|status| query.status.is_none_or(|asked| asked == *status))
        .map(|status| status.name().to_owned())
        .collect();
    // Each site, application and status is read separately, newest first, and only as many rows as
    // the page needs. One target has few rows.
    let rows = sqlx::query!(
        r#"
        with kinds (site_id, cache_type, status) as materialized (
            select s.id, a.name, t.name from biz.sites s cross join unnest($2::text[]) a (name) cross join unnest($4::text[]) t (name)
            where $1::bigint is null or s.id = $1
        ), counted (total) as (
            select count(*) from (
                select 1 from kinds k cross join lateral (
                    select from biz.ai_cache c
                    where $3::text is null and c.site_id = k.site_id and c.cache_type = k.cache_type and c.status = k.status
                    order by c.id desc limit $5::bigint + 1
                ) each
                union all
                select 1 from kinds k cross join lateral (
                    select from biz.ai_cache c
                    where c.site_id = k.site_id and c.cache_type = k.cache_type and c.target_id = $3 and c.status = k.status
                    order by c.id desc limit $5::bigint + 1
                ) each
                limit $5::bigint + 1
            ) few
        ), page (site_id, id) as (
            select site_id, id from (
                select k.site_id, each.id from kinds k cross join lateral (
                    select c.id from biz.ai_cache c
                    where $3::text is null and c.site_id = k.site_id and c.cache_type = k.cache_type and c.status = k.status
                      and ($6::bigint is null or c.id < $6)
                    order by c.id desc limit $7::bigint + $8::bigint
                ) each
                union all
                select k.site_id, each.id from kinds k cross join lateral (
                    select c.id from biz.ai_cache c
                    where c.site_id = k.site_id and c.cache_type = k.cache_type and c.target_id = $3 and c.status = k.status
                      and ($6::bigint is null or c.id < $6)
                    order by c.id desc limit $7::bigint + $8::bigint
                ) each
            ) found
            order by id desc limit $7 offset $8
        )
        select counted.total as "total!", c.id as "id?", c.site_id as "site_id?", c.cache_type as "cache_type?", c.target_id as "target_id?",
               c.status as "status?", c.result_json, c.score, c.triggered_by as "triggered_by?", c.created_at as "created_at?", c.expires_at
        from counted left join (
            select each.* from page cross join lateral (
                select * from biz.ai_cache c where c.id = page.id and c.site_id = page.site_id limit 1
            ) each
        ) c on true
        order by c.id desc
        "#,
        query.scope.site_id(),
        &app_types,
        query.target_id,
        &statuses,
        MAX_COUNTED,
        before,
        paging.size + 1,
        offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let items = rows.into_iter().filter_map(|row| {
        let item = ResultItem {
            id: row.id?,
            site_id: row.site_id?,
            cache_type: row.cache_type?,
            target_id: row.target_id?,
            status: row.status?,
            result: row.result_json,
            score: row.score,
            triggered_by: row.triggered_by?,
            created_at: row.created_at?,
            expires_at: row.expires_at,
        };
        Some((item.id, item))
    });
    let scope = query.cursor_scope();
    Ok(Page::counted(total, items, paging.size, &scope))
}

/// Counts of a sweep.
#[derive(Clone, Copy, Debug, Default)]
pub struct SweptResults {
    /// Results that were deleted because the worker that generated them was killed.
    pub leases: SweptRows,
    /// Results that were marked `expired`.
    pub expired: SweptRows,
    /// Results that were deleted because an application and site had more than 20,000.
    pub removed: SweptRows,
}

/// Expires and deletes a limited number of results. Does nothing if another sweep is running.
pub async fn sweep(db: &Db) -> Result<SweptResults> {
    let Some(mut tx) = db.sweep_transaction().await? else {
        return Ok(SweptResults::default());
    };
    let swept = SweptResults {
        leases: delete_leases(&mut tx).await?,
        expired: expire(&mut tx).await?,
        removed: delete_oldest(&mut tx).await?,
    };
    tx.commit().await?;
    Ok(swept)
}

// The statements of the sweep select ids first. So the planner uses the primary key at any limit.

/// Deletes unfinished results whose lease has expired.
async fn delete_leases(tx: &mut PgConnection) -> Result<SweptRows> {
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_cache where status = 'generating' and lease_until < now()
         order by lease_until limit $1 for update skip locked",
        SWEEP_LIMIT,
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    delete(tx, "cache_leases", &ids).await
}

async fn delete(tx: &mut PgConnection, what: &str, ids: &[i64]) -> Result<SweptRows> {
    db::sweep_rows(tx, what, ids, |tx, ids| {
        sqlx::query!("delete from biz.ai_cache where id = any ($1)", ids)
            .execute(tx)
            .boxed()
    })
    .await
}

/// Marks valid results as expired after their `expires_at`.
async fn expire(tx: &mut PgConnection) -> Result<SweptRows> {
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_cache where status = 'valid' and expires_at <= now()
         order by expires_at limit $1 for update skip locked",
        SWEEP_LIMIT,
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    db::sweep_rows(tx, "cache_expired", &ids, |tx, ids| {
        sqlx::query!(
            "update biz.ai_cache set status = 'expired' where id = any ($1)",
            ids
        )
        .execute(tx)
        .boxed()
    })
    .await
}

/// Deletes the oldest results of the application and site with the most results above [`KEPT`].
async fn delete_oldest(tx: &mut PgConnection) -> Result<SweptRows> {
    // The literal 20000 is the condition of the partial index; a parameter cannot match it. It must
    // not be larger than `KEPT`.
    let largest = sqlx::query!(
        "select site_id, cache_type, entries from biz.ai_cache_sizes
         where entries > 20000 and entries > $1 order by entries desc limit 1",
        KEPT,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?;
    let Some(largest) = largest else {
        return Ok(SweptRows::default());
    };
    let ids = sqlx::query_scalar!(
        "select id from biz.ai_cache where site_id = $1 and cache_type = $2 order by id limit $3",
        largest.site_id,
        largest.cache_type,
        SWEEP_LIMIT.min(largest.entries - KEPT),
    )
    .fetch_all(&mut *tx)
    .with_statement_timeout()
    .await?;
    delete(tx, "cache_removed", &ids).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_and_a_task_with_the_same_id_are_two_targets() {
        assert_eq!(Target::Member(7).id(), "member:7");
        assert_eq!(Target::Task(7).id(), "task:7");
        let filter = |area: Option<&str>| Target::Filter {
            period: Period::Today,
            area: area.map(str::to_owned),
        };
        assert_eq!(filter(None).id(), "today:all");
        assert_eq!(filter(Some("包厢")).id(), "today:包厢");
        assert_eq!(Target::Areas(Period::LastWeek).id(), "last_week");
        for target in [
            Target::Member(7),
            Target::Note(9),
            filter(None),
            filter(Some("包厢")),
            Target::Areas(Period::LastWeek),
        ] {
            assert_eq!(Target::parse(App::Finance, &target.id()).unwrap(), target);
        }
    }
}
