//! Budgets: how many tokens and yuan a site may use per day and per month, and how many it has
//! used.
//! The SQL function `admit_run` enforces them when a run begins.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgExecutor;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, PlatformAdmin, SiteScope},
        prices::Yuan,
        sites,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The largest limit that can be set, in tokens. No site reaches it.
const MAX_LIMIT: i64 = 1_000_000_000_000;

/// The largest limit of cost that can be set, in yuan.
const MAX_COST_LIMIT: i64 = 1_000_000_000;

/// Estimated tokens per character of a prompt. Qwen's tokenizer needs 0.59 for Chinese text, 0.46
/// for facts as JSON and 0.17 for English.
pub(crate) const TOKENS_PER_CHAR: f64 = 0.6;

/// Tokens and yuan used and allowed today and this month, for one site or for all sites together.
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
    /// Of the ended calls whose cost is known.
    pub daily_cost: Yuan,
    pub daily_cost_limit: Option<Yuan>,
    pub monthly_cost: Yuan,
    pub monthly_cost_limit: Option<Yuan>,
    /// `None` for all sites together.
    pub cap: Cap,
    /// The admin who set the limits. `None` for the default limits and for all sites together.
    pub updated_by: Option<i64>,
    pub updated_at: Option<DateTime<Utc>>,
}

/// The highest limits of tokens that may be set. Only platform admins change them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Cap {
    pub daily: Option<i64>,
    pub monthly: Option<i64>,
}

/// Limits as a client sends them. The outer `None`: the field is missing.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct NewLimits {
    pub daily: Option<i64>,
    pub monthly: Option<i64>,
    pub daily_cost: Option<Option<String>>,
    pub monthly_cost: Option<Option<String>>,
    pub cap: Option<Cap>,
}

/// Valid limits of a budget.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::option_option, reason = "null and a missing field differ")]
pub struct Limits {
    /// In tokens.
    daily: i64,
    monthly: i64,
    /// The outer `None`: unchanged.
    daily_cost: Option<Option<Yuan>>,
    monthly_cost: Option<Option<Yuan>>,
    cap: Option<Cap>,
}

impl Limits {
    /// Checks the limits per day and per month. A limit of 0 rejects every call of the site. With
    /// a limit of cost, the limit of tokens may be null. That is the largest one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn parse(new: NewLimits) -> Result<Self> {
        let cost = |field, limit: Option<Option<String>>| {
            let parse = |text: String| Yuan::parse(field, &text, MAX_COST_LIMIT);
            limit.map(|text| text.map(parse).transpose()).transpose()
        };
        let daily_cost = cost("daily_cost_limit", new.daily_cost)?;
        let monthly_cost = cost("monthly_cost_limit", new.monthly_cost)?;
        let limit = |field, tokens: Option<i64>, cost: Option<Option<Yuan>>| match tokens {
            None if cost.flatten().is_some() => Ok(MAX_LIMIT),
            None => Err(Error::invalid(field, Reason::Missing)),
            Some(tokens) => within(field, tokens, MAX_LIMIT),
        };
        if let Some(cap) = new.cap {
            for tokens in [cap.daily, cap.monthly].into_iter().flatten() {
                within("cap", tokens, MAX_LIMIT)?;
            }
        }
        Ok(Self {
            daily: limit("daily_limit", new.daily, daily_cost)?,
            monthly: limit("monthly_limit", new.monthly, monthly_cost)?,
            daily_cost,
            monthly_cost,
            cap: new.cap,
        })
    }

    /// Checks that no limit is above the cap.
    fn check(&self, cap: Cap) -> Result<()> {
        within("daily_limit", self.daily, cap.daily.unwrap_or(MAX_LIMIT))?;
        let most = cap.monthly.unwrap_or(MAX_LIMIT);
        within("monthly_limit", self.monthly, most)?;
        Ok(())
    }
}

/// Checks a limit of tokens.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub(super) fn check_tokens(field: &'static str, tokens: i64) -> Result<i64> {
    within(field, tokens, MAX_LIMIT)
}

fn within(field: &'static str, tokens: i64, most: i64) -> Result<i64> {
    if (0..=most).contains(&tokens) {
        Ok(tokens)
    } else {
        Err(Error::invalid(field, Reason::OutOfRange(0, most)))
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
        select daily_used, daily_limit, monthly_used, monthly_limit, daily_cost, daily_cost_limit, monthly_cost, monthly_cost_limit,
               daily_cap, monthly_cap, updated_by, updated_at
        from budget_of($1)
        "#,
        site_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    row.try_into()
}

/// Sets the limits of a site. They apply to the next call; running calls finish. `may_replace` sees
/// the stored budget.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist. [`Error::Forbidden`] if a site admin sets the
/// cap. [`Error::Invalid`] if a limit is above it. [`Error::Outdated`] if `may_replace` returns
/// false.
pub async fn set(
    db: &Db,
    admin: &Admin,
    site_id: i64,
    limits: Limits,
    may_replace: impl FnOnce(&Budget) -> bool + Send,
) -> Result<Budget> {
    if limits.cap.is_some() {
        PlatformAdmin::of(admin)?;
    }
    let mut tx = db.transaction().await?;
    // `budget_room` takes the same lock, so no reservation runs at the same time.
    sites::lock(&mut tx, site_id).await?;
    let before = read(&mut *tx, Some(site_id)).await?;
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    let cap = limits.cap.unwrap_or(before.cap);
    limits.check(cap)?;
    let daily_cost = limits.daily_cost.unwrap_or(before.daily_cost_limit);
    let monthly_cost = limits.monthly_cost.unwrap_or(before.monthly_cost_limit);
    sqlx::query!(
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit, daily_cost_limit, monthly_cost_limit,
                                     daily_cap, monthly_cap, updated_by, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
         on conflict on constraint ai_budgets_site_id_key do update set
             daily_limit = excluded.daily_limit, monthly_limit = excluded.monthly_limit,
             daily_cost_limit = excluded.daily_cost_limit, monthly_cost_limit = excluded.monthly_cost_limit,
             daily_cap = excluded.daily_cap, monthly_cap = excluded.monthly_cap,
             updated_by = excluded.updated_by, updated_at = excluded.updated_at",
        site_id,
        limits.daily,
        limits.monthly,
        daily_cost.map(|cost| cost.0),
        monthly_cost.map(|cost| cost.0),
        cap.daily,
        cap.monthly,
        admin.user_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let after = read(&mut *tx, Some(site_id)).await?;
    let details = json!({ "before": before.limits(), "after": after.limits() });
    audit::record(
        &mut tx,
        Action::SetBudget,
        site_id,
        admin.user_id,
        None,
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(after)
}

impl Budget {
    /// For the audit log.
    fn limits(&self) -> Value {
        let cost = |limit: Option<Yuan>| limit.map(|limit| limit.to_string());
        json!({
            "daily_limit": self.daily_limit,
            "monthly_limit": self.monthly_limit,
            "daily_cost_limit": cost(self.daily_cost_limit),
            "monthly_cost_limit": cost(self.monthly_cost_limit),
            "cap": { "daily_limit": self.cap.daily, "monthly_limit": self.cap.monthly },
        })
    }
}

/// A row of `budget_of`. The limits are null if the site does not exist.
pub(crate) struct Row {
    pub daily_used: Option<i64>,
    pub daily_limit: Option<i64>,
    pub monthly_used: Option<i64>,
    pub monthly_limit: Option<i64>,
    pub daily_cost: Option<i64>,
    pub daily_cost_limit: Option<i64>,
    pub monthly_cost: Option<i64>,
    pub monthly_cost_limit: Option<i64>,
    pub daily_cap: Option<i64>,
    pub monthly_cap: Option<i64>,
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
            daily_cost: Yuan(row.daily_cost.unwrap_or_default()),
            daily_cost_limit: row.daily_cost_limit.map(Yuan),
            monthly_cost: Yuan(row.monthly_cost.unwrap_or_default()),
            monthly_cost_limit: row.monthly_cost_limit.map(Yuan),
            cap: Cap {
                daily: row.daily_cap,
                monthly: row.monthly_cap,
            },
            updated_by: row.updated_by,
            updated_at: row.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(daily: Option<i64>, monthly: Option<i64>, cost: Option<&str>) -> Result<Limits> {
        Limits::parse(NewLimits {
            daily,
            monthly,
            daily_cost: cost.map(|cost| Some(cost.to_owned())),
            ..NewLimits::default()
        })
    }

    fn field(parsed: Result<Limits>) -> String {
        match parsed {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_limits_are_required_and_within_range() {
        assert_eq!(field(parse(None, Some(1), None)), "daily_limit");
        assert_eq!(field(parse(Some(1), None, None)), "monthly_limit");
        assert_eq!(field(parse(Some(-1), Some(1), None)), "daily_limit");
        let above = Some(MAX_LIMIT + 1);
        assert_eq!(field(parse(Some(1), above, None)), "monthly_limit");
        assert!(parse(Some(0), Some(0), None).is_ok());
    }

    #[test]
    fn a_limit_of_cost_replaces_that_of_tokens_for_the_same_period() {
        assert_eq!(parse(None, Some(1), Some("0.5")).unwrap().daily, MAX_LIMIT);
        assert_eq!(field(parse(None, None, Some("0.5"))), "monthly_limit");
        assert_eq!(
            field(parse(Some(1), Some(1), Some("1e3"))),
            "daily_cost_limit"
        );
    }

    #[test]
    fn a_limit_above_the_cap_is_refused() {
        let cap = Cap {
            daily: Some(5),
            monthly: None,
        };
        let limits = |daily| parse(Some(daily), Some(9), None).unwrap();
        assert!(limits(5).check(cap).is_ok());
        let refused = limits(6).check(cap).unwrap_err();
        assert!(matches!(refused, Error::Invalid { field, .. } if field == "daily_limit"));
    }
}
