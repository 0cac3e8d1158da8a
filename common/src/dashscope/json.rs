//! Objects of JSON, told from lists.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of an object.
pub(super) fn members<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> serde_json::Result<T> {
    is_object(raw.get().as_bytes())?;
    serde_json::from_str(raw.get())
}

/// Asked first, since serde takes an array's items for members, by their places.
pub(super) fn is_object(json: &[u8]) -> serde_json::Result<()> {
    if json.trim_ascii_start().starts_with(b"{") {
        Ok(())
    } else {
        Err(serde::de::Error::custom("not an object"))
    }
}
