//! Budgets: how many tokens a site may use per day and per month, and how many it has used.
//! The SQL function `admit_run` enforces them when a run begins.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgExecutor;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The largest limit that can be set, in tokens.
const MAX_LIMIT: i64 = 1_000_000_000_000;

/// Estimated tokens per character of a prompt. Qwen's tokenizer needs 0.59 for Chinese text, 0.46
/// for facts as JSON and 0.17 for English.
pub(crate) const TOKENS_PER_CHAR: f64 = 0.6;

/// Tokens used and allowed today and this month, for one site or for all sites together.
///
/// Reservations of running calls count as used. Days are days of the site's time zone, or of
/// Shanghai for all sites together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Budget {
    pub daily_used: i64,
    pub daily_limit: i64,
    pub monthly_used: i64,
    pub monthly_limit: i64,
    /// The admin who set the limits. `None` for the default limits and for all sites together.
    pub updated_by: Option<i64>,
    pub updated_at: Option<DateTime<Utc>>,
}

/// Valid limits of a budget, in tokens.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    daily: i64,
    monthly: i64,
}

impl Limits {
    /// Checks the limits per day and per month. A limit of 0 rejects every call of the site.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn parse(daily: Option<i64>, monthly: Option<i64>) -> Result<Self> {
        let limit = |field, limit: Option<i64>| match limit {
            None => Err(Error::invalid(field, Reason::Missing)),
            Some(tokens @ 0..=MAX_LIMIT) => Ok(tokens),
            Some(_) => Err(Error::invalid(field, Reason::OutOfRange(0, MAX_LIMIT))),
        };
        Ok(Self {
            daily: limit("daily_limit", daily)?,
            monthly: limit("monthly_limit", monthly)?,
        })
    }
}

/// Returns the budget of a site, or of all sites together.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub async fn get(db: &Db, scope: SiteScope) -> Result<Budget> {
    read(db, scope.site_id()).await
}

async fn read(db: impl PgExecutor<'_>, site_id: Option<i64>) -> Result<Budget> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select daily_used, daily_limit, monthly_used, monthly_limit, updated_by, updated_at
        from budget_of($1)
        "#,
        site_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    row.try_into()
}

/// Sets the limits of a site. They apply to the next call; running calls finish.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub async fn set(db: &Db, admin: &Admin, site_id: i64, limits: Limits) -> Result<Budget> {
    let mut tx = db.transaction().await?;
    // `budget_room` takes the same lock, so no reservation runs at the same time.
    sqlx::query!(
        "select from biz.sites where id = $1 for no key update",
        site_id
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let before = read(&mut *tx, Some(site_id)).await?;
    sqlx::query!(
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit, updated_by, updated_at)
         values ($1, $2, $3, $4, clock_timestamp())
         on conflict on constraint ai_budgets_site_id_key do update set
             daily_limit = excluded.daily_limit, monthly_limit = excluded.monthly_limit,
             updated_by = excluded.updated_by, updated_at = excluded.updated_at",
        site_id,
        limits.daily,
        limits.monthly,
        admin.user_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({
        "before": { "daily_limit": before.daily_limit, "monthly_limit": before.monthly_limit },
        "after": { "daily_limit": limits.daily, "monthly_limit": limits.monthly },
    });
    audit::record(
        &mut tx,
        Action::SetBudget,
        site_id,
        admin.user_id,
        None,
        details,
    )
    .await?;
    let after = read(&mut *tx, Some(site_id)).await?;
    tx.commit().await?;
    Ok(after)
}

/// A row of `budget_of`. The limits are null if the site does not exist.
pub(crate) struct Row {
    pub daily_used: Option<i64>,
    pub daily_limit: Option<i64>,
    pub monthly_used: Option<i64>,
    pub monthly_limit: Option<i64>,
    pub updated_by: Option<i64>,
    pub updated_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Budget {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            daily_used: row.daily_used.unwrap_or_default(),
            daily_limit: row.daily_limit.ok_or(Error::NotFound)?,
            monthly_used: row.monthly_used.unwrap_or_default(),
            monthly_limit: row.monthly_limit.ok_or(Error::NotFound)?,
            updated_by: row.updated_by,
            updated_at: row.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_required_and_within_range() {
        let field = |daily, monthly| match Limits::parse(daily, monthly) {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(None, Some(1)), "daily_limit");
        assert_eq!(field(Some(1), None), "monthly_limit");
        assert_eq!(field(Some(-1), Some(1)), "daily_limit");
        assert_eq!(field(Some(1), Some(MAX_LIMIT + 1)), "monthly_limit");
        assert!(Limits::parse(Some(0), Some(0)).is_ok());
    }
}
