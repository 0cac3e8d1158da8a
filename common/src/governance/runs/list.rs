//! The list of runs, newest first.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    governance::{apps::App, auth::SiteScope, prices::Yuan},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        paging::{MAX_COUNTED, Page, Paging, Start, TimeKey, page},
        words::words,
    },
};

words! {
    /// The status of a run, as in the API and the column `status`.
    pub enum Status {
        Running = "running",
        Success = "success",
        Failed = "failed",
        Timeout = "timeout",
        CircuitOpen = "circuit_open",
        BudgetExceeded = "budget_exceeded",
        QuotaExceeded = "quota_exceeded",
        Stopped = "stopped",
    }
}

words! {
    /// What started a run, as in the API and the column `trigger_type`.
    pub enum Trigger {
        Chat = "chat",
        Session = "session",
        Event = "event",
        Prewarm = "prewarm",
        Batch = "batch",
        Manual = "manual",
    }
}

/// Asks PostgreSQL for the estimated number of rows of a list. The planner knows the values of the
/// parameters, so it ignores the conditions of null parameters.
const ESTIMATE: &str = "explain (format json) select from biz.ai_run_logs r \
    where ($1::bigint is null or r.site_id = $1) and ($2::text is null or r.app_type = $2) \
      and ($3::text is null or r.status = $3) and ($4::text is null or r.trigger_type = $4) \
      and ($5::timestamptz is null or r.created_at >= $5) and ($6::timestamptz is null or r.created_at < $6)";

/// A run, without its prompt and response.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Entry {
    pub id: i64,
    pub site_id: i64,
    /// A word of [`App`].
    pub app_type: String,
    /// A word of [`Trigger`].
    pub trigger_type: String,
    /// The member that the call is about, if any.
    pub member_id: Option<i64>,
    /// A word of [`Status`].
    pub status: String,
    /// Tokens that DashScope reported. `None` if it reported none.
    pub tokens_used: Option<i64>,
    /// Tokens that the budget and the dashboard count: `tokens_used`, and the reservation for each
    /// try that may have cost tokens but reported no usage.
    pub tokens_charged: i64,
    /// Until the response was complete.
    pub latency_ms: Option<i64>,
    /// Until the first text of the response.
    pub first_token_ms: Option<i64>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// Refusals that this row counts. `None` if the run was not refused.
    pub refusals: Option<i64>,
    /// The user who made the call. `None` if no user did.
    pub user_id: Option<i64>,
    /// The bot of the chat or session.
    pub bot_id: Option<Uuid>,
    /// The model that used most tokens.
    pub model_id: Option<String>,
    /// Why DashScope ended the answer, such as `stop`. `None` if it did not end.
    pub finish_reason: Option<String>,
    /// `None` if a model has no price, or the usage of a try is not known.
    pub cost: Option<Yuan>,
    /// When the run began.
    pub created_at: DateTime<Utc>,
}

impl Entry {
    /// The sort key in the list.
    pub(super) fn key(&self) -> TimeKey {
        (self.created_at.timestamp_micros(), self.id)
    }
}

/// Filters by column. `None` matches every value.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct RunFilters {
    pub app: Option<App>,
    pub status: Option<Status>,
    pub trigger: Option<Trigger>,
}

impl RunFilters {
    /// The words to match in each of the three columns. A column without a filter gets all of its
    /// words. Returns `None` if no column has a filter.
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

/// Selects the runs of a list.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct RunQuery {
    pub scope: SiteScope,
    pub filters: RunFilters,
    /// When the run began.
    pub dates: DateRange,
}

impl RunQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            filters,
            dates,
        } = self;
        format!("runs/{scope:?}/{filters:?}/{dates}")
    }
}

/// Lists runs. The cost does not depend on the number of runs, nor on how few of them match.
///
/// Up to [`MAX_COUNTED`] runs are counted. Above that, the total is PostgreSQL's estimate.
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

/// The result of one round trip.
pub(super) struct Found {
    pub entries: Vec<Entry>,
    /// Number of matching runs, counted up to the limit.
    pub counted: i64,
    /// The dates of the query as instants, in the site's time zone. `None` means open.
    began_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// Reads at most `limit` runs from `start`, and counts at most `max_counted` matching runs.
pub(super) async fn read(
    db: &Db,
    query: &RunQuery,
    start: &Start,
    limit: i64,
    max_counted: i64,
) -> Result<Found> {
    let words = query.filters.words();
    let words = |column: usize| words.as_ref().map(|words| words[column].clone());
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        )
        select counted.total as "total!", nullif(days.began_at, '-infinity') as began_at, nullif(days.ended_at, 'infinity') as ended_at,
               r.id as "id?", r.site_id as "site_id?", r.app_type as "app_type?", r.trigger_type as "trigger_type?", r.member_id,
               r.status as "status?", r.tokens_used,
               coalesce(r.tokens_charged, r.tokens_used, case when r.tokens_estimated then r.reserved_tokens else 0 end) as "tokens_charged!",
               r.latency_ms, r.first_token_ms, r.error_code, r.error_message, r.refusals, r.user_id, r.bot_id, r.model_id, r.finish_reason, r.cost, r.created_at as "created_at?"
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
        max_counted,
        start.before,
        start.before_id,
        limit,
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
            refusals: row.refusals,
            user_id: row.user_id,
            bot_id: row.bot_id,
            model_id: row.model_id,
            finish_reason: row.finish_reason,
            cost: row.cost.map(Yuan),
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

/// Estimates the number of matching runs. PostgreSQL only plans the statement and reads no run.
async fn estimate(db: &Db, query: &RunQuery, found: &Found) -> Result<i64> {
    // Not checked at compile time, because PostgreSQL cannot describe `explain`.
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
    fn a_column_without_a_filter_matches_all_words() {
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
