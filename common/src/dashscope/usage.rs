//! Token counts reported by the service.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use serde_json::{Number, value::RawValue};

use super::json::{Object, WORD_LENGTH, word};

/// The tokens of one or more answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Never empty. Most tokens first.
    models: Vec<ModelUsage>,
}

/// The tokens that one model used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelUsage {
    /// `None` if the service did not name the model.
    pub model_id: Option<String>,
    /// Input tokens: prompt, history and additions of the application.
    pub input_tokens: i64,
    /// Output tokens, including thinking.
    pub output_tokens: i64,
}

/// A `usage` value of any documented shape, or an item of its `models`.
#[derive(Debug, Deserialize)]
pub(super) struct Reported<'a> {
    #[serde(borrow, default)]
    models: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
}

impl Reported<'_> {
    /// The counts without `models`. `None` if a count is missing.
    fn model_usage(&self) -> Option<ModelUsage> {
        Some(ModelUsage {
            model_id: word(self.model_id, WORD_LENGTH),
            input_tokens: count(self.input_tokens?)?,
            output_tokens: count(self.output_tokens?)?,
        })
    }
}

/// A count that is not negative. One that is too large for the integer is the largest integer.
fn count(raw: &RawValue) -> Option<i64> {
    let number: Number = serde_json::from_str(raw.get()).ok()?;
    let is_large = number.as_f64().is_some_and(|number| number >= 1e9);
    match number.as_i64() {
        Some(count) => (count >= 0).then_some(count),
        None => is_large.then_some(i64::MAX),
    }
}

/// Most tokens that one call can use. No model has so large a context; a greater count is an error
/// of the service, which must not close a site's budget.
const MAX_TOKENS: i64 = 2_000_000;

impl ModelUsage {
    fn total(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl Usage {
    /// Adds up the counts of each model.
    fn of(counts: impl IntoIterator<Item = ModelUsage>) -> Self {
        let mut models: Vec<ModelUsage> = Vec::new();
        for one in counts {
            match models.iter_mut().find(|sum| sum.model_id == one.model_id) {
                Some(sum) => {
                    sum.input_tokens = sum.input_tokens.saturating_add(one.input_tokens);
                    sum.output_tokens = sum.output_tokens.saturating_add(one.output_tokens);
                }
                None => models.push(one),
            }
        }
        models.sort_by_key(|model| Reverse(model.total()));
        Self { models }
    }

    /// The tokens of each model, most tokens first.
    pub fn models(&self) -> &[ModelUsage] {
        &self.models
    }

    /// Input tokens of all models.
    pub fn input_tokens(&self) -> i64 {
        self.sum(|model| model.input_tokens)
    }

    /// Output tokens of all models.
    pub fn output_tokens(&self) -> i64 {
        self.sum(|model| model.output_tokens)
    }

    /// Input and output tokens.
    pub fn total(&self) -> i64 {
        self.sum(ModelUsage::total)
    }

    fn sum(&self, count: impl Fn(&ModelUsage) -> i64) -> i64 {
        let counts = self.models.iter().map(count);
        counts.fold(0, i64::saturating_add)
    }

    /// The sum over two tries. An unknown usage counts as zero; two unknown ones give `None`.
    fn add(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self::of(one.models.into_iter().chain(other.models))),
            (one, other) => other.or(one),
        }
    }

    /// Returns `None` for `{}`, or if a count is missing. It does not estimate.
    pub(super) fn parse(reported: &Reported<'_>) -> Option<Self> {
        let models: Option<Vec<Object<Reported>>> = match reported.models {
            Some(models) => serde_json::from_str(models.get()).ok()?,
            None => None,
        };
        let models: Option<Vec<_>> = match models {
            Some(models) if !models.is_empty() => models
                .into_iter()
                .map(|model| model.0?.model_usage())
                .collect(),
            _ => reported.model_usage().map(|usage| vec![usage]),
        };
        models.map(Self::of)
    }

    /// The usage of one model.
    #[cfg(test)]
    pub(super) fn of_model(model_id: &str, input_tokens: i64, output_tokens: i64) -> Self {
        Self::of([ModelUsage {
            model_id: Some(model_id.to_owned()).filter(|id| !id.is_empty()),
            input_tokens,
            output_tokens,
        }])
    }

    fn is_plausible(&self) -> bool {
        self.total() <= MAX_TOKENS
    }
}

/// What the tries of a call used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
        let was_reported = reported.is_some();
        let usage = reported.filter(Usage::is_plausible);
        Self {
            unknown: (usage.is_none() && (may_have_cost || was_reported)).into(),
            is_implausible: was_reported && usage.is_none(),
            usage,
        }
    }

    /// Adds the tries of another call.
    pub fn add(&mut self, other: Self) {
        self.usage = Usage::add(self.usage.take(), other.usage);
        self.unknown += other.unknown;
        self.is_implausible |= other.is_implausible;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<Usage> {
        let reported: Object<Reported> = serde_json::from_str(json).unwrap();
        Usage::parse(&reported.0?)
    }

    fn model(model_id: Option<&str>, input_tokens: i64, output_tokens: i64) -> ModelUsage {
        ModelUsage {
            model_id: model_id.map(str::to_owned),
            input_tokens,
            output_tokens,
        }
    }

    #[test]
    fn usage_is_summed_over_models() {
        let usage = parse(
            r#"{"models":[{"model_id":"a","input_tokens":31,"output_tokens":5},{"input_tokens":9,"output_tokens":2}]}"#,
        )
        .unwrap();
        assert_eq!(
            (usage.input_tokens(), usage.output_tokens(), usage.total()),
            (40, 7, 47)
        );
        assert_eq!(usage.models(), [model(Some("a"), 31, 5), model(None, 9, 2)]);
    }

    #[test]
    fn counts_of_the_same_model_are_added_up_and_most_tokens_come_first() {
        let usage = parse(
            r#"{"models":[{"model_id":"a","input_tokens":3,"output_tokens":1},{"model_id":"b","input_tokens":9,"output_tokens":2},{"model_id":"a","input_tokens":4,"output_tokens":1}]}"#,
        );
        let models = [model(Some("b"), 9, 2), model(Some("a"), 7, 2)];
        assert_eq!(usage.unwrap().models(), models);
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
        assert_eq!(Spent::of_try(most.clone(), true).usage, most);
    }

    #[test]
    fn tries_are_summed() {
        let usage = |input, output| Some(Usage::of([model(Some("a"), input, output)]));
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
