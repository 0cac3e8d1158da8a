//! What the apps that answer in JSON have said, read and checked.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    app2_finance, app2a_finance_area, app3_clue, app4_analysis, app5_tactics, app6_note_analysis,
    app7_customer_analysis, app8_clue_consolidated,
};
use crate::governance::apps::App;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Deeper than any answer is meant to be. What is stored must be readable again, wrapped in more
/// JSON, and `serde_json` gives up at 128.
const MAX_DEPTH: usize = 64;
/// Fences that are looked into.
const MAX_FENCES: usize = 16;

/// An answer that its app was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The object as it came, with what nobody asked for. PostgreSQL takes it as `jsonb`.
    pub json: Value,
    /// From 1 to 10, where the app is one that scores.
    pub score: Option<i32>,
}

/// Why an answer is not what was asked for. It holds nothing of the answer: it goes into the run log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Too long to be read.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// Not JSON, nor a fenced block of it.
    #[error("the answer is not JSON")]
    NotJson,
    /// JSON, but a number, say.
    #[error("the answer is JSON, but neither an object nor a list")]
    NotObject,
    /// More lists and objects within each other than can be stored.
    #[error("the answer is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A field is missing.
    #[error("the answer lacks a field: {missing} in {path}")]
    Missing {
        /// As `serde` says it.
        missing: String,
        /// The object that should have it.
        path: String,
    },
    /// A field is not of its type.
    #[error("{path} of the answer is not of its type")]
    Type {
        /// The field.
        path: String,
    },
    /// A list that must say something does not.
    #[error("{0} of the answer is empty")]
    Empty(&'static str),
    /// A score outside of 1 to 10.
    #[error("score of the answer is not from 1 to 10")]
    Score,
    /// The chat answers in text.
    #[error("the app is not one that answers in JSON")]
    Text,
}

/// The shape of an app's answers.
pub(super) trait Answer: DeserializeOwned {
    /// Checks what the types do not say.
    fn check(&self) -> Result<(), BadAnswer>;

    /// The score, where the app is one that scores.
    fn score(&self) -> Option<i32> {
        None
    }
}

/// Reads an answer of an app.
///
/// # Errors
/// [`BadAnswer`].
pub fn check(app: App, text: &str) -> Result<Checked, BadAnswer> {
    match app {
        App::Chat => Err(BadAnswer::Text),
        App::Finance => read::<app2_finance::Answer>(text),
        App::FinanceArea => read::<app2a_finance_area::Answer>(text),
        App::Clue => read::<app3_clue::Answer>(text),
        App::Analysis => read::<app4_analysis::Answer>(text),
        App::Tactics => read::<app5_tactics::Answer>(text),
        App::NoteAnalysis => read::<app6_note_analysis::Answer>(text),
        App::CustomerAnalysis => read::<app7_customer_analysis::Answer>(text),
        App::ClueConsolidated => read::<app8_clue_consolidated::Answer>(text),
    }
}

fn read<A: Answer>(text: &str) -> Result<Checked, BadAnswer> {
    if text.len() > MAX_ANSWER {
        return Err(BadAnswer::TooLong);
    }
    let json = match in_text(text).ok_or(BadAnswer::NotJson)? {
        Value::Array(list) => Value::from_iter([("insights", list)]),
        object @ Value::Object(_) => object,
        _ => return Err(BadAnswer::NotObject),
    };
    let json = storable(json, MAX_DEPTH).ok_or(BadAnswer::TooDeep)?;
    let answer: A = serde_path_to_error::deserialize(&json).map_err(|err| misfit(&err))?;
    answer.check()?;
    Ok(Checked {
        score: answer.score(),
        json,
    })
}

/// The whole text as JSON, or else what stands between fences.
fn in_text(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .ok()
        .or_else(|| {
            text.match_indices("```")
                .take(MAX_FENCES)
                .find_map(|(fence, _)| fenced(&text[fence + 3..]))
        })
}

/// A list or an object up to the closing fence. Fences inside its strings do not end it.
fn fenced(text: &str) -> Option<Value> {
    let text = text.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let ends = text[values.byte_offset()..].trim_start().starts_with("```");
    (ends && (value.is_object() || value.is_array())).then_some(value)
}

/// The value without NULs, which PostgreSQL refuses in `jsonb`; `None` if it is too deep.
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

/// Of what `serde` says, only what is not the answer's: the names of our own fields.
fn misfit(err: &serde_path_to_error::Error<serde_json::Error>) -> BadAnswer {
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

/// That a list has something in it.
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
