//! Budgets: what a site may use of tokens by day and by month, and what it has used. They are enforced where a
//! run is admitted, in `admit_run`.

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

/// Nobody's budget is larger, in tokens.
const MAX_LIMIT: i64 = 1_000_000_000_000;

/// What is used and what may be, in tokens, of a site today and this month; or of all sites together, by the
/// day of Shanghai. What runs under way hold is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Today.
    pub daily_used: i64,
    /// A day.
    pub daily_limit: i64,
    /// This month.
    pub monthly_used: i64,
    /// A month.
    pub monthly_limit: i64,
    /// Who set the limits last; nobody where they are the default.
    pub updated_by: Option<i64>,
    /// And when.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Limits that make sense.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    daily: i64,
    monthly: i64,
}

impl Limits {
    /// Tokens of a day and of a month; none at all keeps a site from asking anything.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the field.
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

/// The budget of a site, or of all sites together.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site.
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

/// Sets the limits of a site. They apply from the next call on; calls under way finish.
///
/// # Errors
/// [`Error::NotFound`] where there is no such site.
pub async fn set(db: &Db, admin: &Admin, site_id: i64, limits: Limits) -> Result<Budget> {
    let mut tx = db.transaction().await?;
    // The lock that a reservation takes, so that the two come one after the other.
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

/// As `budget_of` answers: nulls where there is no such site.
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
    fn a_limit_is_given_and_no_less_than_nothing() {
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
