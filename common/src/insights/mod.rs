//! What the apps find out: prompts made of a site's facts, results, and the jobs that make them.

use serde_json::Value;

pub mod apps;
pub mod batches;
pub mod facts;
pub mod jobs;
pub mod pages;
pub mod results;

/// True if a string or a key anywhere in `value` contains a NUL, which PostgreSQL cannot store.
/// The serialized text does not tell: `\u0000` may also be the six characters of an escape.
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
