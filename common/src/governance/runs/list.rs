//! The list of runs, newest first.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    governance::{apps::App, auth::SiteScope, prices::Yuan},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        paging::{MAX_COUNTED_ON_DESK, Page, Paging, Start, TimeKey, page, write_cursor},
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

/// The most runs that one page reads, if no index has all filters.
const READ: i64 = 1_000;

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
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct RunFilters {
    pub app: Option<App>,
    pub status: Option<Status>,
    pub trigger: Option<Trigger>,
    pub user_id: Option<i64>,
    pub member_id: Option<i64>,
    pub bot_id: Option<Uuid>,
    pub error_code: Option<String>,
    pub prompt_version: Option<String>,
    /// The model that used most tokens.
    pub model_id: Option<String>,
    pub min_latency_ms: Option<i64>,
}

impl RunFilters {
    /// The SQL type `run_filters` as JSON. A column of words without a filter gets all its words.
    fn to_json(&self) -> Value {
        let only = |word: Option<&'static str>, all: &[&'static str]| {
            word.map_or_else(|| all.to_vec(), |word| vec![word])
        };
        json!({
            "apps": only(self.app.map(App::name), &App::ALL.map(App::name)),
            "statuses": only(self.status.map(Status::name), &Status::ALL.map(Status::name)),
            "triggers": only(self.trigger.map(Trigger::name), &Trigger::ALL.map(Trigger::name)),
            "user_id": self.user_id,
            "member_id": self.member_id,
            "bot_id": self.bot_id,
            "error_code": self.error_code,
            "prompt_version": self.prompt_version,
            "model_id": self.model_id,
            "min_latency_ms": self.min_latency_ms,
        })
    }
}

/// Selects the runs of a list.
#[derive(Clone, Debug)]
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
/// If no index has all filters, a page reads a bounded number of runs. It may then have fewer runs
/// than its size, or none, and a cursor to continue.
pub async fn list(db: &Db, query: &RunQuery, paging: &Paging<TimeKey>) -> Result<Page<Entry>> {
    let start = Start::of(paging.from);
    let found = read(
        db,
        query,
        &start,
        paging.size + 1,
        READ,
        MAX_COUNTED_ON_DESK,
    )
    .await?;
    let entries = found.entries.into_iter().map(|entry| (entry.key(), entry));
    let scope = query.cursor_scope();
    let (items, next_cursor) = page(entries, paging.size, &scope);
    Ok(Page {
        items,
        total: found.total,
        total_is_estimate: found.total_is_estimate,
        next_cursor: next_cursor.or_else(|| write_cursor(&found.end?, &scope)),
    })
}

/// The result of one round trip.
pub(super) struct Found {
    pub entries: Vec<Entry>,
    /// The last run that was read, if the search ended there with too few entries.
    pub end: Option<TimeKey>,
    /// Number of matching runs.
    total: i64,
    /// There may be more than `total`.
    total_is_estimate: bool,
}

/// Returns at most `limit` runs from `start`, of at most `max_read` that it reads. Counts at most
/// `max_counted` matching runs.
pub(super) async fn read(
    db: &Db,
    query: &RunQuery,
    start: &Start,
    limit: i64,
    max_read: i64,
    max_counted: i64,
) -> Result<Found> {
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at, f from date_range($1, $2, $3, $4, $5), jsonb_populate_record(null::run_filters, $6) f
        )
        select counted.total as "total!", counted.is_estimate as "total_is_estimate!", r.is_end as "is_end?",
               r.id as "id?", r.site_id as "site_id?", r.app_type as "app_type?", r.trigger_type as "trigger_type?", r.member_id,
               r.status as "status?", r.tokens_used,
               coalesce(r.tokens_charged, r.tokens_used, case when r.tokens_estimated then r.reserved_tokens else 0 end) as "tokens_charged!",
               r.latency_ms, r.first_token_ms, r.error_code, r.error_message, r.refusals, r.user_id, r.bot_id, r.model_id, r.finish_reason, r.cost, r.created_at as "created_at?"
        from days cross join count_runs(
            $1, days.began_at, days.ended_at, case when $3 is null and $5 is null then daterange($2, $4, '[]') end, days.f, $7, $8
        ) counted left join lateral (
            select k.is_end, r.* from find_runs(
                $1, days.began_at, days.ended_at, days.f, coalesce($9, 'infinity'::timestamptz), coalesce($10::bigint, 0), $11, $12, $8
            ) k, lateral (
                select * from biz.ai_run_logs r where r.site_id = k.site_id and r.created_at = k.created_at and r.id = k.id limit 1
            ) r
        ) r on true
        order by r.is_end, r.created_at desc, r.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.filters.to_json(),
        max_counted,
        max_read,
        start.before,
        start.before_id,
        limit,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let (total, total_is_estimate) = rows
        .first()
        .map_or((0, false), |row| (row.total, row.total_is_estimate));
    let has_end = rows.last().is_some_and(|row| row.is_end == Some(true));
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
    let mut entries: Vec<Entry> = entries.collect();
    let end = entries.pop_if(|_| has_end).map(|entry| entry.key());
    Ok(Found {
        entries,
        end,
        total,
        total_is_estimate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_without_a_filter_matches_all_words() {
        let filters = RunFilters {
            status: Some(Status::Failed),
            ..RunFilters::default()
        };
        let json = filters.to_json();
        assert_eq!(json["apps"], json!(App::ALL.map(App::name)));
        assert_eq!(json["statuses"], json!(["failed"]));
        assert_eq!(json["triggers"], json!(Trigger::ALL.map(Trigger::name)));
        assert!(json["user_id"].is_null());
    }
}
