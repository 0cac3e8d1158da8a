//! Usage by day, app, user, bot or model, and of one user.

use serde_json::json;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Actor, Caller, SiteScope},
        prices::Yuan,
    },
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

/// The most days that one list may cover.
const MOST_DAYS: i32 = 400;

words! {
    /// What the items of a list are.
    pub enum GroupBy {
        Day = "day",
        App = "app",
        User = "user",
        Bot = "bot",
        Model = "model",
    }
}

/// Selects the usage of a list.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct UsageQuery {
    /// One site or all sites together.
    pub scope: SiteScope,
    pub group_by: GroupBy,
    /// Open ends are today and the first day of the month of the last day. At most 400 days.
    pub dates: DateRange,
}

/// Usage of one day, app, user, bot or model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `None` for runs without a user, bot or model.
    pub key: Option<String>,
    /// The name for people.
    pub label: Option<String>,
    /// Calls that have ended. A call with several models counts for the one with most tokens.
    pub calls: i64,
    /// Calls that ended as `success` or `stopped`.
    pub successes: i64,
    /// The other calls.
    pub failures: i64,
    /// Input tokens that DashScope reported.
    pub tokens_in: i64,
    /// Output tokens that DashScope reported.
    pub tokens_out: i64,
    /// Tokens charged to the budget. More than in and out, if DashScope did not report some.
    pub tokens: i64,
    /// Of the calls whose cost is known.
    pub cost: Yuan,
    /// Calls whose cost is not known.
    pub unpriced_calls: i64,
}

/// Exports usage, as [`by`] lists it. The audit log records the user or the machine key.
///
/// # Errors
/// As [`by`].
pub async fn export(db: &Db, query: UsageQuery, actor: impl Into<Actor>) -> Result<Vec<Item>> {
    let items = by(db, query).await?;
    let details = json!({
        "group_by": query.group_by.name(),
        "dates": query.dates.to_string(),
    });
    audit::record_export(db, Action::ExportUsage, query.scope, actor, details).await?;
    Ok(items)
}

/// Lists usage. Days are in ascending order, with those without a call; others have most tokens
/// first.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist, [`Error::Invalid`] if the range is too long.
pub async fn by(db: &Db, query: UsageQuery) -> Result<Vec<Item>> {
    // The left join returns one row with the length of the range even if there was no call.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select first_day, last_day, last_day - first_day + 1 as length
            from zone_of($1) zone
            cross join date_range($1, $2, $3, $4, $5) asked
            cross join lateral (select least(local_day(zone, asked.ended_at - interval '1 microsecond'), local_day(zone)) as last_day) ended
            cross join lateral (
                select case when isfinite(asked.began_at) then local_day(zone, asked.began_at) else date_trunc('month', last_day)::date end as first_day
            ) began
            where $1::bigint is null or exists (select from biz.sites s where s.id = $1)
        )
        select days.length as "length!", u.key, u.label, u.calls as "calls?", u.successes, u.failures, u.tokens_in, u.tokens_out,
               u.tokens, u.cost, u.unpriced_calls
        from days left join lateral usage_by($1, $6, days.first_day, days.last_day) u on days.length <= $7
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.group_by.name(),
        MOST_DAYS,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first().ok_or(Error::NotFound)?;
    if first.length > MOST_DAYS {
        let reason = Reason::TooManyDays(i64::from(MOST_DAYS));
        return Err(Error::invalid("date_from", reason));
    }
    let items = rows.into_iter().filter_map(|row| {
        Some(Item {
            key: row.key,
            label: row.label,
            calls: row.calls?,
            successes: row.successes.unwrap_or_default(),
            failures: row.failures.unwrap_or_default(),
            tokens_in: row.tokens_in.unwrap_or_default(),
            tokens_out: row.tokens_out.unwrap_or_default(),
            tokens: row.tokens.unwrap_or_default(),
            cost: Yuan(row.cost.unwrap_or_default()),
            unpriced_calls: row.unpriced_calls.unwrap_or_default(),
        })
    });
    Ok(items.collect())
}

/// Tokens of a user, of the calls that have ended. The limits are the lower ones of the quotas of
/// the user and of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct OwnUsage {
    pub today: i64,
    pub daily_limit: Option<i64>,
    /// With today.
    pub this_month: i64,
    pub monthly_limit: Option<i64>,
}

/// Returns the tokens of the caller on the site's calendar day and in its month. Also those of
/// conversations that were deleted since.
pub async fn own(db: &Db, caller: &Caller) -> Result<OwnUsage> {
    let used = sqlx::query_as!(
        OwnUsage,
        r#"
        select charged.daily as "today!", charged.monthly as "this_month!", most.daily as daily_limit, most.monthly as monthly_limit
        from local_day(zone_of($1)) today
        cross join charged_to_user($1, $2, today) charged
        cross join user_limits($1, $2) most
        "#,
        caller.site_id,
        caller.user_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(used)
}
