//! Token counts reported by the service.

use serde::Deserialize;
use serde_json::{Number, value::RawValue};

use super::json::members;

/// The tokens of one answer, summed over all models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens: prompt, history and additions of the application.
    pub input_tokens: i64,
    /// Output tokens, including thinking.
    pub output_tokens: i64,
}

#[derive(Deserialize)]
struct Reported<'a> {
    #[serde(borrow, default)]
    models: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: Count,
    output_tokens: Count,
}

/// A count that is not negative.
#[derive(Deserialize)]
#[serde(try_from = "Number")]
struct Count(i64);

impl TryFrom<Number> for Count {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        let is_large = number.as_f64().is_some_and(|number| number >= 1e9);
        match number.as_i64() {
            Some(count) if count >= 0 => Ok(Self(count)),
            // Too large for the integer.
            _ if is_large => Ok(Self(i64::MAX)),
            _ => Err("not a count"),
        }
    }
}

/// Most tokens that one call can use. No model has so large a context; a greater count is an error
/// of the service, which must not close a site's budget.
const MAX_TOKENS: i64 = 2_000_000;

impl Usage {
    /// Input and output tokens.
    pub fn total(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The sum over two tries. An unknown usage counts as zero; two unknown ones give `None`.
    fn sum(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self {
                input_tokens: one.input_tokens.saturating_add(other.input_tokens),
                output_tokens: one.output_tokens.saturating_add(other.output_tokens),
            }),
            (one, other) => other.or(one),
        }
    }

    /// Parses a `usage` value of any documented shape. Returns `None` for `{}`, null, or if a count
    /// is missing. It does not estimate.
    pub(super) fn parse(usage: &RawValue) -> Option<Self> {
        let reported: Reported = members(usage).ok()?;
        let models: Option<Vec<&RawValue>> = match reported.models {
            Some(models) => serde_json::from_str(models.get()).ok()?,
            None => None,
        };
        let each = match models {
            Some(models) if !models.is_empty() => models,
            _ => vec![usage],
        };
        let counts: Vec<Counts> = each
            .into_iter()
            .map(members)
            .collect::<Result<_, _>>()
            .ok()?;
        let sum = |count: fn(&Counts) -> &Count| {
            let counts = counts.iter().map(count);
            counts.fold(0_i64, |sum, count| sum.saturating_add(count.0))
        };
        Some(Self {
            input_tokens: sum(|each| &each.input_tokens),
            output_tokens: sum(|each| &each.output_tokens),
        })
    }

    fn is_plausible(self) -> bool {
        self.total() <= MAX_TOKENS
    }
}

/// What the tries of a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// The sum of the tries that reported usage.
    pub usage: Option<Usage>,
    /// Number of tries that may have used tokens but reported no usage.
    pub unknown: u32,
    /// True if a try reported more tokens than a model can use. It counts as unknown.
    pub is_implausible: bool,
}

impl Spent {
    /// A call that was cancelled before its answer began.
    pub const CANCELLED: Self = Self {
        usage: None,
        unknown: 1,
        is_implausible: false,
    };

    /// One try, with the usage that it reported last.
    pub(super) fn of_try(reported: Option<Usage>, may_have_cost: bool) -> Self {
        let usage = reported.filter(|usage| usage.is_plausible());
        Self {
            usage,
            unknown: (usage.is_none() && (may_have_cost || reported.is_some())).into(),
            is_implausible: usage != reported,
        }
    }

    /// Adds the tries of another call.
    pub fn add(&mut self, other: Self) {
        self.usage = Usage::sum(self.usage, other.usage);
        self.unknown += other.unknown;
        self.is_implausible |= other.is_implausible;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<Usage> {
        Usage::parse(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn usage_is_summed_over_models() {
        let usage = parse(
            r#"{"models":[{"model_id":"a","input_tokens":31,"output_tokens":5},{"input_tokens":9,"output_tokens":2}]}"#,
        )
        .unwrap();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens, usage.total()),
            (40, 7, 47)
        );
    }

    #[test]
    fn implausible_usage_is_unknown() {
        for count in ["2000000", "170000000000000", "1e30", "18446744073709551615"] {
            let usage = parse(&format!(r#"{{"input_tokens":1,"output_tokens":{count}}}"#));
            let spent = Spent::of_try(usage, false);
            let expected = Spent {
                usage: None,
                unknown: 1,
                is_implausible: true,
            };
            assert_eq!(spent, expected, "{count}");
        }
        let most = parse(r#"{"input_tokens":1,"output_tokens":1999999}"#);
        assert_eq!(Spent::of_try(most, true).usage, most);
    }

    #[test]
    fn tries_are_summed() {
        let usage = |input_tokens, output_tokens| {
            Some(Usage {
                input_tokens,
                output_tokens,
            })
        };
        let mut spent = Spent::of_try(usage(3, 4), true);
        spent.add(Spent::of_try(None, false));
        spent.add(Spent::of_try(None, true));
        spent.add(Spent::of_try(usage(5, 6), true));
        assert_eq!((spent.usage, spent.unknown), (usage(8, 10), 1));
    }

    #[test]
    fn counts_without_models_are_read() {
        for json in [
            r#"{"input_tokens":3,"output_tokens":4,"total_tokens":7}"#,
            r#"{"models":null,"input_tokens":3,"output_tokens":4}"#,
            r#"{"models":[],"input_tokens":3,"output_tokens":4}"#,
        ] {
            assert_eq!(parse(json).map(|usage| usage.total()), Some(7), "{json}");
        }
    }

    #[test]
    fn missing_count_is_not_estimated() {
        for json in [
            "null",
            "{}",
            "[]",
            "7",
            r#"{"total_tokens":7}"#,
            r#"{"input_tokens":3}"#,
            r#"{"models":[{"model_id":"qwen-plus"}]}"#,
            r#"{"models":[{"input_tokens":3,"output_tokens":4},{"output_tokens":4}]}"#,
            r#"{"models":[{"input_tokens":-3,"output_tokens":4}]}"#,
            r#"{"models":"none","input_tokens":3,"output_tokens":4}"#,
            r#"{"models":[[3,4]]}"#,
            "[[[3,4]]]",
        ] {
            assert_eq!(parse(json), None, "{json}");
        }
    }
}
