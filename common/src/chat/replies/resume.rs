//! A reply read on, from any instance, while it is made and long after.

use std::fmt;

use chrono::{DateTime, Utc};

use super::{Start, checkpoint_writer::MOST_UNSAVED};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The id of an event: which reply, and how many of its characters have been said by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The reply.
    pub message_id: i64,
    /// Unicode scalar values, from its beginning.
    pub chars: usize,
}

impl EventId {
    /// Reads `<messageId>-<n>` as it was written, and in no other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let (message_id, chars) = text.split_once('-')?;
        let id = Self {
            message_id: message_id.parse().ok()?,
            chars: chars.parse().ok()?,
        };
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.message_id, self.chars)
    }
}

/// Where a client wants to read on.
#[derive(Clone, Copy, Debug)]
pub struct ResumePoint {
    at: EventId,
    /// What the client named it by.
    field: &'static str,
}

impl ResumePoint {
    /// From what a client may say. A browser that reconnects repeats its URL, so the header,
    /// which is newer, counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the event is of another reply, or is none.
    pub fn parse(
        message_id: i64,
        last_event_id: Option<&[u8]>,
        after: Option<i64>,
    ) -> Result<Self> {
        const HEADER: &str = "Last-Event-ID";
        if let Some(text) = last_event_id {
            let at = std::str::from_utf8(text).ok().and_then(EventId::parse);
            let at = at
                .filter(|at| at.message_id == message_id)
                .ok_or(Error::invalid(HEADER, Reason::EventId))?;
            return Ok(Self { at, field: HEADER });
        }
        let chars = usize::try_from(after.unwrap_or_default()).unwrap_or(usize::MAX);
        Ok(Self {
            at: EventId { message_id, chars },
            field: "after",
        })
    }

    /// After how many characters.
    pub fn chars(self) -> usize {
        self.at.chars
    }
}

/// What a client is told first of a reply that it reads on.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHeader {
    /// Where.
    pub conversation_id: i64,
    /// The message that is answered. None where the reply answers none.
    pub user_message_id: Option<i64>,
    /// The reply.
    pub message_id: i64,
    /// When it began.
    pub created_at: DateTime<Utc>,
}

impl From<&Start> for ReplyHeader {
    fn from(start: &Start) -> Self {
        Self {
            conversation_id: start.conversation_id,
            user_message_id: Some(start.user_message_id),
            message_id: start.message_id,
            created_at: start.created_at,
        }
    }
}

/// Finds a reply of the caller, if it can be read on there.
pub(super) async fn find(db: &Db, caller: &Caller, place: ResumePoint) -> Result<ReplyHeader> {
    let row = sqlx::query!(
        r#"
        select user_id, conversation_id, reply_to, created_at, char_length(content) as "chars!",
               -- Being made, or left by a maker that died.
               (state = 'streaming' or error_code is not distinct from 'interrupted') as "ahead!"
        from biz.ai_messages
        where id = $2 and site_id = $1 and role = 'assistant'
        "#,
        caller.site_id,
        place.at.message_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if row.user_id != caller.user_id {
        return Err(Error::NotOwner);
    }
    // Who reads a reply live is ahead of its last checkpoint, by what its maker may hold back;
    // and stays so if the maker dies.
    let ahead = if row.ahead { MOST_UNSAVED } else { 0 };
    let most = usize::try_from(row.chars).unwrap_or_default() + ahead;
    if place.at.chars > most {
        return Err(Error::invalid(place.field, Reason::BeyondEnd));
    }
    Ok(ReplyHeader {
        conversation_id: row.conversation_id,
        user_message_id: row.reply_to,
        message_id: place.at.message_id,
        created_at: row.created_at,
    })
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::properties::cases(256))]

        #[test]
        fn an_event_id_reads_back_as_it_was_written(message_id in 0_i64.., chars in 0_usize..) {
            let id = EventId { message_id, chars };
            prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn an_event_id_has_one_spelling(text in "[-+ 0-9]{0,24}|.*") {
            if let Some(id) = EventId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
