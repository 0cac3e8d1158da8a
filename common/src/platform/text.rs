//! Short texts that admins write: names, addresses.

use super::error::{Error, Reason, Result};

/// Checks a text that was trimmed. `most` is its limit in characters.
///
/// # Errors
/// [`Error::Invalid`] if it is empty, too long or contains NUL.
pub(crate) fn checked(field: &'static str, text: &str, most: usize) -> Result<String> {
    let reason = if text.is_empty() {
        Reason::Empty
    } else if text.contains('\0') {
        Reason::Nul
    } else if text.chars().count() > most {
        Reason::TooLong(most)
    } else {
        return Ok(text.to_owned());
    };
    Err(Error::invalid(field, reason))
}
