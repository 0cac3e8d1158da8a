//! A row of an earlier table. Types differ between installations, so each value is read from JSON
//! and converted.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

/// Length limit of an example in a report, in characters.
const MAX_WORD: usize = 40;

/// Why a row is changed or not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issue {
    pub reason: &'static str,
    /// The value that is to blame. Never a text of a user.
    pub word: Option<String>,
}

impl From<&'static str> for Issue {
    fn from(reason: &'static str) -> Self {
        Self { reason, word: None }
    }
}

impl Issue {
    pub(super) fn with(reason: &'static str, word: impl Into<String>) -> Self {
        let word = word.into().replace(char::is_control, " ");
        Self {
            reason,
            word: Some(word.chars().take(MAX_WORD).collect()),
        }
    }
}

/// The values of a row by column. A missing column is null.
#[derive(Debug, Default)]
pub(super) struct Row {
    values: Map<String, Value>,
    /// What was changed so far.
    pub changes: Vec<Issue>,
}

impl Row {
    pub(super) fn parse(text: &str) -> Result<Self, Issue> {
        let mut values = serde_json::from_str(text).map_err(|_| {
            Issue::from("the row has a character or a depth that JSON does not allow")
        })?;
        let mut row = Self::default();
        if let Value::Object(object) = &mut values {
            let mut has_nul = false;
            for value in object.values_mut() {
                replace_nul(value, &mut has_nul);
            }
            row.values = std::mem::take(object);
            if has_nul {
                row.change(
                    "NUL characters, which PostgreSQL does not store as text: replaced by U+FFFD",
                );
            }
        }
        Ok(row)
    }

    pub(super) fn change(&mut self, issue: impl Into<Issue>) {
        self.changes.push(issue.into());
    }

    /// Null and the empty text are `None`.
    pub(super) fn text(&self, column: &str) -> Option<String> {
        let text = match self.values.get(column)? {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// An integer. A value that is none is changed to null.
    pub(super) fn integer(&mut self, column: &str) -> Option<i64> {
        let text = self.text(column)?;
        let number = parse_integer(&text);
        if number.is_none() {
            self.change(Issue::with(
                "a value is not an integer: null",
                format!("{column} {text}"),
            ));
        }
        number
    }

    pub(super) fn required_integer(&self, column: &str) -> Result<i64, Issue> {
        let text = self.text(column);
        text.as_deref().and_then(parse_integer).ok_or_else(|| {
            let text = text.unwrap_or_else(|| "null".to_owned());
            Issue::with(
                "a required value is not an integer",
                format!("{column} {text}"),
            )
        })
    }

    /// A time without a zone is UTC. A value that is no time is changed to null.
    pub(super) fn time(&mut self, column: &str) -> Option<DateTime<Utc>> {
        let text = self.text(column)?;
        let time = parse_time(&text);
        if time.is_none() {
            self.change(Issue::with(
                "a value is not a time: null",
                format!("{column} {text}"),
            ));
        }
        time
    }

    pub(super) fn required_time(&self, column: &str) -> Result<DateTime<Utc>, Issue> {
        let text = self.text(column);
        text.as_deref().and_then(parse_time).ok_or_else(|| {
            let text = text.unwrap_or_else(|| "null".to_owned());
            Issue::with("a required value is not a time", format!("{column} {text}"))
        })
    }

    /// A JSON value. Text is parsed as JSON, and is itself the value if it is none.
    pub(super) fn json(&self, column: &str) -> Option<Value> {
        match self.values.get(column)? {
            Value::Null => None,
            Value::String(text) => {
                let mut value = serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
                replace_nul(&mut value, &mut false);
                Some(value).filter(|value| !value.is_null())
            }
            value => Some(value.clone()),
        }
    }

    pub(super) fn flag(&self, column: &str) -> bool {
        matches!(self.text(column).as_deref(), Some("true" | "t" | "1"))
    }

    /// A word that Parlor knows, or `default` with a note. Null is `default` without one.
    pub(super) fn word<T>(
        &mut self,
        column: &str,
        known: impl Fn(&str) -> Option<T>,
        default: T,
        reason: &'static str,
    ) -> T {
        let Some(word) = self.text(column) else {
            return default;
        };
        known(&word).unwrap_or_else(|| {
            self.change(Issue::with(reason, word));
            default
        })
    }
}

/// Also an integer that is written with decimals, such as `7.0`.
fn parse_integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    };
    whole.trim().parse().ok()
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    let unzoned = || {
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let mut times = formats
            .iter()
            .map(|format| NaiveDateTime::parse_from_str(text, format));
        Some(times.find_map(Result::ok)?.and_utc())
    };
    let spaced = || {
        Some(
            DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z")
                .ok()?
                .to_utc(),
        )
    };
    zoned.ok().or_else(unzoned).or_else(spaced)
}

fn replace_nul(value: &mut Value, found: &mut bool) {
    match value {
        Value::String(text) if text.contains('\0') => {
            *found = true;
            *text = text.replace('\0', "\u{fffd}");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_nul(item, found)),
        Value::Object(object) => {
            let keys = object.keys().filter(|key| key.contains('\0')).cloned();
            for key in keys.collect::<Vec<_>>() {
                *found = true;
                let value = object.remove(&key).unwrap_or_default();
                object.insert(key.replace('\0', "\u{fffd}"), value);
            }
            object
                .values_mut()
                .for_each(|value| replace_nul(value, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(text: &str) -> Row {
        Row::parse(text).unwrap()
    }

    #[test]
    fn values_are_converted_or_changed_to_null_with_a_note() {
        let mut row = row(
            r#"{"a": 7, "b": "8", "c": 9.0, "d": "many", "e": null, "f": "2026-05-01T10:00:00.5"}"#,
        );
        let numbers = ["a", "b", "c", "d", "e", "x"].map(|column| row.integer(column));
        assert_eq!(numbers, [Some(7), Some(8), Some(9), None, None, None]);
        let word = Issue::with("a value is not an integer: null", "d many");
        assert_eq!(row.changes, [word]);
        assert_eq!(row.time("f").unwrap().timestamp_millis(), 1_777_629_600_500);
        assert!(row.required_integer("e").is_err());
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let expected = parse_time("2026-05-01T02:00:00Z");
        assert!(expected.is_some());
        for text in [
            "2026-05-01T10:00:00+08:00",
            "2026-05-01 10:00:00+08",
            "2026-05-01 02:00:00",
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert_eq!(parse_time("infinity"), None);
    }

    #[test]
    fn nul_is_replaced_in_texts_and_keys_of_any_depth() {
        let row = row(r#"{"a": "x\u0000", "b": {"k\u0000": ["\u0000"]}}"#);
        assert_eq!(row.text("a").unwrap(), "x\u{fffd}");
        assert_eq!(
            row.json("b").unwrap(),
            serde_json::json!({"k\u{fffd}": ["\u{fffd}"]})
        );
        assert_eq!(row.changes.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_at_random(text in any::<String>()) {
            Row::parse(&text).ok();
            parse_time(&text);
            parse_integer(&text);
        }
    }
}
