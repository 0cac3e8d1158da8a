//! Runs as a list, the newest first.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    governance::{apps::App, auth::SiteScope},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        paging::{MAX_COUNTED, Page, Paging, Start, TimeKey, page},
        words::words,
    },
};

words! {
    /// Status of a run, as clients and the column `status` spell it.
    pub enum Status {
        Running = "running",
        Success = "success",
        Failed = "failed",
        Timeout = "timeout",
        CircuitOpen = "circuit_open",
        BudgetExceeded = "budget_exceeded",
        Stopped = "stopped",
    }
}

words! {
    /// What a run is made for, as clients and the column `trigger_type` spell it.
    pub enum Trigger {
        Chat = "chat",
        Session = "session",
        Event = "event",
        Prewarm = "prewarm",
        Batch = "batch",
        Manual = "manual",
    }
}

/// How many rows PostgreSQL thinks that a list has. It plans with the parameters as they are, so that the absent ones do not count.
const ESTIMATE: &str = "explain (format json) select from biz.ai_run_logs r \
    where ($1::bigint is null or r.site_id = $1) and ($2::text is null or r.app_type = $2) \
      and ($3::text is null or r.status = $3) and ($4::text is null or r.trigger_type = $4) \
      and ($5::timestamptz is null or r.created_at >= $5) and ($6::timestamptz is null or r.created_at < $6)";

/// One run, without what was asked and said.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Id.
    pub id: i64,
    /// Where.
    pub site_id: i64,
    /// Which app was asked, by its name.
    pub app_type: String,
    /// A word of [`Trigger`].
    pub trigger_type: String,
    /// Of whom, where it was about a member.
    pub member_id: Option<i64>,
    /// A word of [`Status`].
    pub status: String,
    /// As DashScope said.
    pub tokens_used: Option<i64>,
    /// What the budget and the dashboard count: the reservation, where the service did not say.
    pub tokens_charged: i64,
    /// Until the answer was whole.
    pub latency_ms: Option<i64>,
    /// Until it began.
    pub first_token_ms: Option<i64>,
    /// Why it failed, for programs.
    pub error_code: Option<String>,
    /// Why it failed, for people.
    pub error_message: Option<String>,
    /// When it began.
    pub created_at: DateTime<Utc>,
}

impl Entry {
    /// Where it stands in the list.
    pub(super) fn key(&self) -> TimeKey {
        (self.created_at.timestamp_micros(), self.id)
    }
}

/// What is common to the runs of a list; anything, where it is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunFilters {
    /// The app.
    pub app: Option<App>,
    /// Its status.
    pub status: Option<Status>,
    /// What it was made for.
    pub trigger: Option<Trigger>,
}

impl RunFilters {
    /// For each column the words to look for, where there is anything to be looked for.
    fn words(self) -> Option<[Vec<&'static str>; 3]> {
        let app = self.app.map(App::name);
        let status = self.status.map(Status::name);
        let trigger = self.trigger.map(Trigger::name);
        app.or(status).or(trigger)?;
        let only = |word: Option<&'static str>, all: &[&'static str]| {
            word.map_or_else(|| all.to_vec(), |word| vec![word])
        };
        Some([
            only(app, &App::ALL.map(App::name)),
            only(status, &Status::ALL.map(Status::name)),
            only(trigger, &Trigger::ALL.map(Trigger::name)),
        ])
    }
}

/// Which runs are listed.
#[derive(Clone, Copy, Debug)]
pub struct RunQuery {
    /// Of one site, or of all.
    pub scope: SiteScope,
    /// Those that are like this.
    pub filters: RunFilters,
    /// Begun in these days.
    pub dates: DateRange,
}

impl RunQuery {
    /// What a cursor of this list is bound to.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            filters,
            dates,
        } = self;
        format!("runs/{scope:?}/{filters:?}/{dates}")
    }
}

/// Lists runs. At a cost that does not depend on how many there are, nor on how few of them match.
///
/// More than [`MAX_COUNTED`] are not counted: their number is what PostgreSQL estimates.
pub async fn list(db: &Db, query: &RunQuery, paging: &Paging<TimeKey>) -> Result<Page<Entry>> {
    let start = Start::of(paging.from);
    let found = read(db, query, &start, paging.size + 1, MAX_COUNTED + 1).await?;
    let total_is_estimate = found.counted > MAX_COUNTED;
    let total = if total_is_estimate {
        estimate(db, query, &found).await?.max(found.counted)
    } else {
        found.counted
    };
    let entries = found.entries.into_iter().map(|entry| (entry.key(), entry));
    let (items, next_cursor) = page(entries, paging.size, &query.cursor_scope());
    Ok(Page {
        items,
        total,
        total_is_estimate,
        next_cursor,
    })
}

/// What one round trip brings.
pub(super) struct Found {
    pub entries: Vec<Entry>,
    /// How many match, as far as was counted.
    pub counted: i64,
    /// What the dates are at the site, where they are not open.
    began_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// Reads so many from there on, and counts so many.
pub(super) async fn read(
    db: &Db,
    query: &RunQuery,
    start: &Start,
    most: i64,
    most_counted: i64,
) -> Result<Found> {
    let words = query.filters.words();
    let words = |column: usize| words.as_ref().map(|words| words[column].clone());
    // The join is lateral so that an empty page still has its total.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        )
        select counted.total as "total!", nullif(days.began_at, '-infinity') as began_at, nullif(days.ended_at, 'infinity') as ended_at,
               r.id as "id?", r.site_id as "site_id?", r.app_type as "app_type?", r.trigger_type as "trigger_type?", r.member_id,
               r.status as "status?", r.tokens_used,
               coalesce(r.tokens_used, case when r.tokens_estimated then r.reserved_tokens else 0 end) as "tokens_charged!",
               r.latency_ms, r.first_token_ms, r.error_code, r.error_message, r.created_at as "created_at?"
        from days cross join count_runs($1, days.began_at, days.ended_at, $6, $7, $8, $9) counted (total) left join lateral (
            select r.* from find_runs(
                $1, days.began_at, days.ended_at, $6, $7, $8, coalesce($10, 'infinity'::timestamptz), coalesce($11::bigint, 0), $12, $13
            ) k, lateral (
                select * from biz.ai_run_logs r where r.site_id = k.site_id and r.created_at = k.created_at and r.id = k.id limit 1
            ) r
        ) r on true
        order by r.created_at desc, r.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        words(0) as _,
        words(1) as _,
        words(2) as _,
        most_counted,
        start.before,
        start.before_id,
        most,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first();
    let (began_at, ended_at) = first.map_or((None, None), |row| (row.began_at, row.ended_at));
    let counted = first.map_or(0, |row| row.total);
    let entries = rows.into_iter().filter_map(|row| {
        Some(Entry {
            id: row.id?,
            site_id: row.site_id?,
            app_type: row.app_type?,
            trigger_type: row.trigger_type?,
            member_id: row.member_id,
            status: row.status?,
            tokens_used: row.tokens_used,
            tokens_charged: row.tokens_charged,
            latency_ms: row.latency_ms,
            first_token_ms: row.first_token_ms,
            error_code: row.error_code,
            error_message: row.error_message,
            created_at: row.created_at?,
        })
    });
    Ok(Found {
        entries: entries.collect(),
        counted,
        began_at,
        ended_at,
    })
}

/// How many PostgreSQL thinks that there are; it only plans, and reads none.
async fn estimate(db: &Db, query: &RunQuery, found: &Found) -> Result<i64> {
    // Not checked when it is compiled: `explain` cannot be described.
    let plan: Value = sqlx::query_scalar(ESTIMATE)
        .bind(query.scope.site_id())
        .bind(query.filters.app.map(App::name))
        .bind(query.filters.status.map(Status::name))
        .bind(query.filters.trigger.map(Trigger::name))
        .bind(found.began_at)
        .bind(found.ended_at)
        .fetch_one(db)
        .with_statement_timeout()
        .await?;
    Ok(plan[0]["Plan"]["Plan Rows"].as_i64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_not_filtered_by_may_hold_anything_and_no_filter_is_none() {
        assert!(RunFilters::default().words().is_none());
        let filters = RunFilters {
            status: Some(Status::Failed),
            ..RunFilters::default()
        };
        let [apps, statuses, triggers] = filters.words().unwrap();
        assert_eq!(apps, App::ALL.map(App::name));
        assert_eq!(statuses, ["failed"]);
        assert_eq!(triggers, Trigger::ALL.map(Trigger::name));
    }
}
