//! Results of the apps, by target: what was answered last, for as long as it holds, and whose turn it is
//! to answer anew.
//!
//! Generators take their lease in `begin_generating` and give a result in `finalize_generating`;
//! both are parts of a job's statements (`jobs`), so nobody else can write.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    governance::{apps::App, audit::Action, auth::SiteScope},
    insights::facts::Period,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        paging::{MAX_COUNTED, Page, PageStart, Paging},
        words::words,
    },
};

/// What a result is about.
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
        /// When.
        period: Period,
        /// Where.
        area: Option<String>,
    },
    /// Finance of a period, area by area.
    Areas(Period),
}

impl Target {
    /// As in the column `target_id`.
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

/// All areas of a site together, as a filter spells them.
pub const ALL_AREAS: &str = "all";

/// The entry that its bearer is to fill, and its fence: who takes a dead lease over counts it up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub entry_id: i64,
    pub generation: i32,
}

/// A result.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Id.
    pub id: i64,
    /// As the app answered.
    pub result: Value,
    /// Where the app gives one.
    pub score: Option<i32>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Somebody is making a newer one.
    pub stale: bool,
}

/// The result of a target that holds. While a newer one is being made, the last there was, marked stale, unless
/// that was invalidated.
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
          and (making.newer or cache_holds(c, site_today($1)))
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

/// The last results of a target, the newest first, whether or not they still hold; none that was invalidated.
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

/// What holds of an app about a member, whatever the targets, the newest first.
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
          and cache_holds(c, site_today($1))
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

/// Says of results that they no longer hold: those of an app, about a member, or both, or all of a site.
/// One that is just being made was asked with what was known before: its generator loses its lease.
/// Answers how many results were invalidated.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site.
pub async fn invalidate(
    db: &Db,
    site_id: i64,
    user_id: i64,
    app: Option<App>,
    member_id: Option<i64>,
) -> Result<i64> {
    let affected = sqlx::query_scalar!(
        "select invalidate_cache($1, $2, $3, $4, $5)",
        site_id,
        user_id,
        Action::InvalidateCache.name(),
        app.map(App::name),
        member_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    affected.ok_or(Error::NotFound)
}

words! {
    /// Status of an entry, as clients and the column `status` spell it.
    pub enum Status {
        Generating = "generating",
        /// It is valid, unless it has expired since.
        Valid = "valid",
        /// Its time is over, or there is a newer one.
        Expired = "expired",
        /// An admin invalidated it.
        Invalidated = "invalidated",
    }
}

/// The apps whose answers are kept.
pub fn apps() -> impl Iterator<Item = App> {
    App::ALL.into_iter().filter(|app| app.validity().is_some())
}

/// Which entries are listed.
#[derive(Clone, Debug)]
pub struct ResultQuery {
    /// Of one site, or of all.
    pub scope: SiteScope,
    /// Of one app.
    pub app: Option<App>,
    /// About one target, as [`Target::id`] spells it.
    pub target_id: Option<String>,
    /// That stand so.
    pub status: Option<Status>,
}

impl ResultQuery {
    /// What a cursor of this list is bound to.
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

/// An entry as admins see it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Id.
    pub id: i64,
    /// Where.
    pub site_id: i64,
    /// The app, by its name.
    pub cache_type: String,
    /// What it is about.
    pub target_id: String,
    /// How it stands.
    pub status: String,
    /// As the app answered, once it has.
    pub result: Option<Value>,
    /// Where the app gives one.
    pub score: Option<i32>,
    /// What it was made for.
    pub triggered_by: String,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Until when it holds at most.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Lists entries, the newest first.
pub async fn list(db: &Db, query: &ResultQuery, paging: &Paging<i64>) -> Result<Page<Listing>> {
    let (before, offset) = match paging.from {
        PageStart::Offset(offset) => (None, offset),
        PageStart::Key(id) => (Some(id), 0),
    };
    let app_types: Vec<String> = apps()
        .filter(|app| query.app.is_none_or(|asked| asked == *app))
        .map(|app| app.name().to_owned())
        .collect();
    let statuses: Vec<String> = Status::ALL
        .into_iter()
        .filter(|status| query.status.is_none_or(|asked| asked == *status))
        .map(|status| status.name().to_owned())
        .collect();
    // Each site, app and status is read by itself, from its newest entry on and no further than the page goes. Of
    // one target there are few.
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
    let entries = rows.into_iter().filter_map(|row| {
        let entry = Listing {
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
        Some((entry.id, entry))
    });
    let scope = query.cursor_scope();
    Ok(Page::counted(total, entries, paging.size, &scope))
}

/// What a sweep of the results did.
#[derive(Clone, Copy, Debug)]
pub struct SweptResults {
    /// Results that were being generated by a worker that was killed: deleted.
    pub leases: i32,
    /// Results that are marked `expired` now.
    pub expired: i32,
    /// Results beyond the newest 20,000 of an app and site: deleted.
    pub removed: i32,
}

/// Expires and deletes a bounded number of results. Does nothing where another sweep is running.
pub async fn sweep(db: &Db) -> Result<SweptResults> {
    sqlx::query_as!(
        SweptResults,
        r#"select leases as "leases!", expired as "expired!", removed as "removed!" from sweep_cache()"#
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_and_a_task_of_the_same_number_are_two_targets() {
        assert_eq!(Target::Member(7).id(), "member:7");
        assert_eq!(Target::Task(7).id(), "task:7");
        let filter = |area: Option<&str>| Target::Filter {
            period: Period::Today,
            area: area.map(str::to_owned),
        };
        assert_eq!(filter(None).id(), "today:all");
        assert_eq!(filter(Some("包厢")).id(), "today:包厢");
        assert_eq!(Target::Areas(Period::LastWeek).id(), "last_week");
    }
}
