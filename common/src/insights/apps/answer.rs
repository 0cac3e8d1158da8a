//! Parses and checks the answers of the applications that return JSON.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::governance::apps::App;

/// Size limit of an answer, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Depth limit of an answer. Far more than a valid answer needs. A stored answer must stay readable
/// when it is part of other JSON, and `serde_json` fails at 128 levels.
const MAX_DEPTH: usize = 64;
/// Number of fences that are tried as the start of a JSON block.
const MAX_FENCES: usize = 16;

/// A valid answer of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The object as it was received, including unknown fields, without NULs. Valid as `jsonb`.
    pub json: Value,
    /// From 1 to 10. `None` if the application does not score.
    pub score: Option<i32>,
}

/// Why an answer is invalid. The text contains nothing of the answer, because it is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Longer than `MAX_ANSWER`.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// Neither JSON nor text with a fenced block of JSON.
    #[error("the answer is not JSON")]
    NotJson,
    /// JSON, but neither an object nor a list; a number, for example.
    #[error("the answer is JSON, but neither an object nor a list")]
    NotObject,
    /// Nested deeper than `MAX_DEPTH`.
    #[error("the answer is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A field is missing.
    #[error("the answer lacks a field: {missing} in {path}")]
    Missing {
        /// The name of the field, from `serde`.
        missing: String,
        /// The object that should have it.
        path: String,
    },
    /// A field has the wrong type.
    #[error("{path} of the answer has the wrong type")]
    Type {
        /// The path of the field.
        path: String,
    },
    /// A list is empty that must have an item.
    #[error("{0} of the answer is empty")]
    Empty(&'static str),
    /// The score is not from 1 to 10.
    #[error("score of the answer is not from 1 to 10")]
    Score,
    /// The application returns text, not JSON.
    #[error("the app does not return JSON")]
    Text,
}

/// The structure of an application's answers.
pub(super) trait Answer: DeserializeOwned {
    /// Checks conditions that the types do not express.
    fn check(&self) -> Result<(), BadAnswer>;

    /// The score, if the application scores.
    fn score(&self) -> Option<i32> {
        None
    }

    /// The answer as text for people, most important first.
    fn sections(&self) -> Vec<Section>;
}

/// A part of an answer as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// One line. May be empty.
    pub title: String,
    /// Text of any length.
    pub body: String,
}

impl Section {
    pub(super) fn new(title: &str, body: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// The `sections` of a definition: those of a stored result. Empty if it has another structure,
/// which an older release may have stored.
pub(super) fn sections<A: Answer>(result: &Value) -> Vec<Section> {
    A::deserialize(result).map_or_else(|_| Vec::new(), |answer| answer.sections())
}

/// Parses and checks an answer of an application.
///
/// # Errors
/// [`BadAnswer`], if the answer is invalid.
pub fn check(app: App, text: &str) -> Result<Checked, BadAnswer> {
    let definition = app.definition().ok_or(BadAnswer::Text)?;
    (definition.check)(text)
}

/// The `check` of a definition.
pub(super) fn read<A: Answer>(text: &str) -> Result<Checked, BadAnswer> {
    if text.len() > MAX_ANSWER {
        return Err(BadAnswer::TooLong);
    }
    let json = match parse_text(text).ok_or(BadAnswer::NotJson)? {
        Value::Array(list) => Value::from_iter([("insights", list)]),
        object @ Value::Object(_) => object,
        _ => return Err(BadAnswer::NotObject),
    };
    let json = storable(json, MAX_DEPTH).ok_or(BadAnswer::TooDeep)?;
    let answer: A = serde_path_to_error::deserialize(&json).map_err(|err| bad_answer(&err))?;
    answer.check()?;
    Ok(Checked {
        score: answer.score(),
        json,
    })
}

/// Parses the whole text as JSON; otherwise the first fenced block with a list or an object.
fn parse_text(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .ok()
        .or_else(|| {
            text.match_indices("```")
                .take(MAX_FENCES)
                .find_map(|(fence, _)| fenced(&text[fence + 3..]))
        })
}

/// Parses a list or an object up to the closing fence. Fences inside its strings do not end it.
fn fenced(text: &str) -> Option<Value> {
    let text = text.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let ends = text[values.byte_offset()..].trim_start().starts_with("```");
    (ends && (value.is_object() || value.is_array())).then_some(value)
}

/// Removes NULs, which PostgreSQL rejects in `jsonb`. `None` if the value is nested too deep.
fn storable(value: Value, levels: usize) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::String(without_nul(text)),
        Value::Array(items) => {
            let levels = levels.checked_sub(1)?;
            let items = items.into_iter().map(|item| storable(item, levels));
            items.collect::<Option<_>>().map(Value::Array)?
        }
        Value::Object(members) => {
            let levels = levels.checked_sub(1)?;
            let members = members
                .into_iter()
                .map(|(name, value)| Some((without_nul(name), storable(value, levels)?)));
            members.collect::<Option<_>>().map(Value::Object)?
        }
        other => other,
    })
}

fn without_nul(mut text: String) -> String {
    text.retain(|character| character != '\0');
    text
}

/// Keeps only names of our own fields from the message of `serde`, nothing of the answer.
fn bad_answer(err: &serde_path_to_error::Error<serde_json::Error>) -> BadAnswer {
    let path = match err.path().to_string().as_str() {
        "." => "the object itself".to_owned(),
        path => path.to_owned(),
    };
    let message = err.inner().to_string();
    match message.strip_prefix("missing field ") {
        Some(missing) => BadAnswer::Missing {
            missing: missing.to_owned(),
            path,
        },
        None => BadAnswer::Type { path },
    }
}

/// Checks that a list is not empty.
pub(super) fn filled<T>(name: &'static str, list: &[T]) -> Result<(), BadAnswer> {
    if list.is_empty() {
        Err(BadAnswer::Empty(name))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
