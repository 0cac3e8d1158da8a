//! Titles of conversations.

use crate::platform::error::{Error, Reason, Result};

/// Length limit of a title, in characters.
const MAX_TITLE: usize = 100;

/// A title that a client sets: trimmed, 1 to 100 characters, without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// # Errors
    /// [`Error::Invalid`] if the title is empty, too long or contains NUL.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::invalid("title", Reason::Empty));
        }
        if text.chars().count() > MAX_TITLE {
            return Err(Error::invalid("title", Reason::TooLong(MAX_TITLE)));
        }
        if text.contains('\0') {
            return Err(Error::invalid("title", Reason::Nul));
        }
        Ok(Self(text.to_owned()))
    }

    /// The trimmed title.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
