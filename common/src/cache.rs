//! Results of the apps, by target: what was answered last, for as long as it holds, and whose turn it is
//! to answer anew.
//!
//! Generators take their lease in `biz.begin_generating` and give a result in `biz.finalize_generating`;
//! both are parts of a job's statements (`jobs`), so nobody else can write.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    apps::App,
    db::{Bounded, Db},
    error::Result,
    facts::Period,
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
          and (making.newer or biz.cache_holds(c, biz.site_today($1)))
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
    .bounded()
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
    .bounded()
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
          and biz.cache_holds(c, biz.site_today($1))
        order by c.id desc limit $4
        "#,
        site_id,
        member_id,
        app.name(),
        most,
    )
    .fetch_all(db)
    .bounded()
    .await
}

/// Says of results that they no longer hold: those of an app, about a member, or both, or all of a site.
/// One that is just being made was asked with what was known before: its generator loses its lease.
/// Answers how many results were invalidated.
pub async fn invalidate(
    db: &Db,
    site_id: i64,
    app: Option<App>,
    member_id: Option<i64>,
) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        with being_made as (
            update biz.ai_cache set generation = generation + 1, lease_until = '-infinity'
            where site_id = $1 and status = 'generating'
              and ($2::text is null or cache_type = $2) and ($3::bigint is null or member_id = $3)
        ), invalidated as (
            update biz.ai_cache set status = 'invalidated'
            where site_id = $1 and status = 'valid'
              and ($2::text is null or cache_type = $2) and ($3::bigint is null or member_id = $3)
            returning id
        )
        select count(*) as "affected!" from invalidated
        "#,
        site_id,
        app.map(App::name),
        member_id,
    )
    .fetch_one(db)
    .bounded()
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
