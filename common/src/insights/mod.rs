//! Insights: facts of a site, prompts made from them, results, and the jobs that generate results.

use serde_json::Value;

mod access;
pub mod apps;
pub mod batches;
pub mod facts;
pub mod insight;
pub mod jobs;
pub mod pages;
pub mod results;

/// True if a string or a key anywhere in `value` contains a NUL, which PostgreSQL cannot store.
/// Searching the serialized text for `\u0000` does not work: there it may also be the end of
/// `\\u0000`, an escaped backslash and text.
pub(crate) fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || contains_nul(value)),
        _ => false,
    }
}
