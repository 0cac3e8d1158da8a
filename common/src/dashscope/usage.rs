//! Token counts reported by the service.

use serde::Deserialize;
use serde_json::value::RawValue;

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
    input_tokens: u32,
    output_tokens: u32,
}

impl Usage {
    /// Input and output tokens.
    pub fn total(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The sum over two calls. An unknown usage counts as zero; two unknown ones give `None`.
    pub fn sum(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self {
                input_tokens: one.input_tokens + other.input_tokens,
                output_tokens: one.output_tokens + other.output_tokens,
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
        Some(Self {
            input_tokens: counts.iter().map(|each| i64::from(each.input_tokens)).sum(),
            output_tokens: counts
                .iter()
                .map(|each| i64::from(each.output_tokens))
                .sum(),
        })
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
