//! Prices of models, in yuan per million tokens. `finish_run.sql` applies them when a run ends.

use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use crate::{
    governance::{
        audit::{self, Action},
        auth::PlatformAdmin,
    },
    platform::{
        dates,
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        text,
    },
};

/// Characters of a model's name.
const MAX_MODEL: usize = 100;
/// Tiers of a price.
const MAX_TIERS: usize = 10;
/// The largest price per million tokens, in yuan. A run then costs less than `i64` can hold.
const MAX_PRICE: i64 = 100_000;
/// The largest bound of a tier, in tokens.
const MAX_TOKENS: i64 = 1_000_000_000;

/// An amount in millionths of a yuan. Its text has 6 decimals, such as `0.000800`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Yuan(pub i64);

impl Yuan {
    /// Parses a decimal number such as `12.5`, without sign, with at most 6 decimals and at most
    /// `most` yuan.
    ///
    /// # Errors
    /// [`Error::Invalid`] with `field`.
    pub fn parse(field: &'static str, text: &str, most: i64) -> Result<Self> {
        let amount = millionths(text).ok_or(Error::invalid(field, Reason::NotAnAmount))?;
        if amount > most.saturating_mul(1_000_000) {
            return Err(Error::invalid(field, Reason::OutOfRange(0, most)));
        }
        Ok(Self(amount))
    }

    /// Without zeros at the end, such as `0.0008`.
    pub fn short(self) -> String {
        let text = self.to_string();
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl fmt::Display for Yuan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Twelve digits before the point are far above every limit.
fn millionths(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str, most| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 12) || !is_number(decimals, 6) {
        return None;
    }
    let decimals: i64 = format!("{decimals:0<6}").parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000_000 + decimals)
}

/// A tier as a client sends it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct NewTier {
    pub up_to_input_tokens: Option<i64>,
    pub input_per_million: Option<String>,
    pub output_per_million: Option<String>,
}

/// The prices for calls whose input has at most this number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Inclusive. `None`: any number, in the last tier.
    pub up_to_input_tokens: Option<i64>,
    /// For a million input tokens.
    pub input_per_million: Yuan,
    /// For a million output tokens.
    pub output_per_million: Yuan,
}

/// The price of a model from a day on, until the day of its next price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// As DashScope reports it.
    pub model: String,
    /// The first day, in the time zone of each site.
    pub valid_from: NaiveDate,
    /// Ascending. Empty: the price is removed.
    pub tiers: Vec<Tier>,
}

impl Price {
    /// Checks a price that a client sent.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn parse(
        model: Option<&str>,
        valid_from: Option<&str>,
        tiers: Option<Vec<NewTier>>,
    ) -> Result<Self> {
        let missing = |field: &'static str| Error::invalid(field, Reason::Missing);
        let model = model.ok_or_else(|| missing("model"))?.trim();
        let model = text::checked("model", model, MAX_MODEL)?;
        let valid_from = valid_from.ok_or_else(|| missing("valid_from"))?;
        let valid_from =
            dates::day(valid_from).ok_or(Error::invalid("valid_from", Reason::NotADate))?;
        let tiers = tiers.ok_or_else(|| missing("tiers"))?;
        if tiers.len() > MAX_TIERS {
            return Err(Error::invalid("tiers", Reason::TooMany(MAX_TIERS)));
        }
        let tiers: Vec<Tier> = tiers
            .into_iter()
            .map(NewTier::parse)
            .collect::<Result<_>>()?;
        if !are_ordered(&tiers) {
            return Err(Error::invalid("tiers", Reason::Tiers));
        }
        Ok(Self {
            model,
            valid_from,
            tiers,
        })
    }

    /// Changes with each change of the price.
    pub fn version(&self) -> String {
        let text = format!("{self:?}");
        format!("{:x}", Sha256::digest(text))
    }

    fn bounds(&self) -> Vec<i64> {
        let bounds = self.tiers.iter().map(|tier| tier.up_to_input_tokens);
        bounds.flatten().collect()
    }

    fn amounts(&self, amount: fn(&Tier) -> Yuan) -> Vec<i64> {
        self.tiers.iter().map(|tier| amount(tier).0).collect()
    }

    fn details(&self) -> impl Serialize {
        let tiers = self.tiers.iter().map(|tier| {
            json!({
                "up_to_input_tokens": tier.up_to_input_tokens,
                "input_per_million": tier.input_per_million.short(),
                "output_per_million": tier.output_per_million.short(),
            })
        });
        tiers.collect::<Vec<_>>()
    }
}

impl NewTier {
    fn parse(self) -> Result<Tier> {
        let price = |field, text: Option<String>| {
            let text = text.ok_or(Error::invalid(field, Reason::Missing))?;
            Yuan::parse(field, &text, MAX_PRICE)
        };
        let bound = self.up_to_input_tokens;
        if bound.is_some_and(|bound| !(1..=MAX_TOKENS).contains(&bound)) {
            let reason = Reason::OutOfRange(1, MAX_TOKENS);
            return Err(Error::invalid("up_to_input_tokens", reason));
        }
        Ok(Tier {
            up_to_input_tokens: bound,
            input_per_million: price("input_per_million", self.input_per_million)?,
            output_per_million: price("output_per_million", self.output_per_million)?,
        })
    }
}

/// True if the bounds ascend and only the last tier has none.
fn are_ordered(tiers: &[Tier]) -> bool {
    let Some((last, bounded)) = tiers.split_last() else {
        return true;
    };
    let bounds: Vec<_> = bounded.iter().map(|tier| tier.up_to_input_tokens).collect();
    last.up_to_input_tokens.is_none()
        && bounds.iter().all(Option::is_some)
        && bounds.is_sorted_by(|one, next| one < next)
}

struct Row {
    model: String,
    valid_from: NaiveDate,
    bounds: Vec<i64>,
    input: Vec<i64>,
    output: Vec<i64>,
}

impl From<Row> for Price {
    fn from(row: Row) -> Self {
        let bounds = row.bounds.into_iter().map(Some).chain([None]);
        let prices = row.input.into_iter().zip(row.output);
        let tiers = bounds.zip(prices).map(|(bound, (input, output))| Tier {
            up_to_input_tokens: bound,
            input_per_million: Yuan(input),
            output_per_million: Yuan(output),
        });
        Self {
            model: row.model,
            valid_from: row.valid_from,
            tiers: tiers.collect(),
        }
    }
}

/// Lists all prices by model, newest first.
pub async fn list(db: &Db) -> Result<Vec<Price>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select model, valid_from, up_to_input_tokens as bounds, input_per_million as input,
               output_per_million as output
        from biz.ai_prices order by model, valid_from desc
        "#
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    Ok(rows.into_iter().map(Price::from).collect())
}

async fn lock(tx: &mut PgConnection, key: &Price) -> Result<Option<Price>> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select model, valid_from, up_to_input_tokens as bounds, input_per_million as input,
               output_per_million as output
        from biz.ai_prices where model = $1 and valid_from = $2 for update
        "#,
        key.model,
        key.valid_from,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?;
    Ok(row.map(Price::from))
}

/// Sets or removes a price, if `may_replace` accepts the version of the current one, or `None` if
/// there is none. Costs of runs that have ended do not change.
///
/// # Errors
/// [`Error::Outdated`] if `may_replace` returns false.
pub async fn set(
    db: &Db,
    admin: &PlatformAdmin,
    price: &Price,
    may_replace: impl Fn(Option<&str>) -> bool + Send,
) -> Result<()> {
    let mut tx = db.transaction().await?;
    let before = lock(&mut tx, price).await?;
    if !may_replace(before.as_ref().map(Price::version).as_deref()) {
        return Err(Error::Outdated);
    }
    if price.tiers.is_empty() {
        sqlx::query!(
            "delete from biz.ai_prices where model = $1 and valid_from = $2",
            price.model,
            price.valid_from,
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    } else {
        sqlx::query!(
            "insert into biz.ai_prices (model, valid_from, up_to_input_tokens, input_per_million, output_per_million)
             values ($1, $2, $3, $4, $5)
             on conflict on constraint ai_prices_pkey do update set
                 up_to_input_tokens = excluded.up_to_input_tokens, input_per_million = excluded.input_per_million,
                 output_per_million = excluded.output_per_million, updated_at = excluded.updated_at",
            price.model,
            price.valid_from,
            &price.bounds(),
            &price.amounts(|tier| tier.input_per_million),
            &price.amounts(|tier| tier.output_per_million),
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    }
    let details = json!({
        "model": price.model,
        "valid_from": price.valid_from,
        "before": before.as_ref().map(Price::details),
        "after": price.details(),
    });
    audit::record(
        &mut tx,
        Action::SetPrice,
        None,
        admin.user_id,
        Some(&price.model),
        details,
    )
    .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_at_most_six_decimals() {
        for (text, amount) in [
            ("0", "0.000000"),
            ("0.8", "0.800000"),
            ("12.345678", "12.345678"),
            ("000.0", "0.000000"),
            ("100000", "100000.000000"),
        ] {
            let parsed = Yuan::parse("x", text, MAX_PRICE).unwrap();
            assert_eq!(parsed.to_string(), amount);
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1.1234567",
            "1,5",
            " 1",
            "100000.000001",
            "１",
            "9999999999999",
        ] {
            assert!(Yuan::parse("x", text, MAX_PRICE).is_err(), "{text}");
        }
        assert_eq!(Yuan(2_400_000).short(), "2.4");
        assert_eq!(Yuan(20_000_000).short(), "20");
    }

    #[test]
    fn tiers_ascend_and_only_the_last_is_open() {
        let tiers = |bounds: &[Option<i64>]| {
            let tier = |bound: &Option<i64>| NewTier {
                up_to_input_tokens: *bound,
                input_per_million: Some("1".to_owned()),
                output_per_million: Some("2".to_owned()),
            };
            let tiers = bounds.iter().map(tier).collect();
            Price::parse(Some("m"), Some("2026-11-29"), Some(tiers)).is_ok()
        };
        for accepted in [&[][..], &[None], &[Some(1), Some(2), None]] {
            assert!(tiers(accepted), "{accepted:?}");
        }
        for refused in [
            &[Some(1)][..],
            &[None, None],
            &[Some(2), Some(2), None],
            &[Some(3), Some(2), None],
            &[Some(0), None],
        ] {
            assert!(!tiers(refused), "{refused:?}");
        }
    }
}
