//! JSON objects.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Deserializes a JSON object. Returns an error for other JSON.
pub(super) fn members<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> serde_json::Result<T> {
    is_object(raw.get().as_bytes())?;
    serde_json::from_str(raw.get())
}

/// Returns an error if the JSON is not an object. Without this check, serde would also accept an
/// array, and take its items as fields in order.
pub(super) fn is_object(json: &[u8]) -> serde_json::Result<()> {
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(())
    } else {
        Err(serde::de::Error::custom("not an object"))
    }
}
