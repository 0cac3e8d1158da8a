//! Resumes a reply on any instance, while it is made or later.

use std::fmt;

use chrono::{DateTime, Utc};

use super::{Start, checkpoint_writer::MAX_UNSAVED};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The id of a stream event: the reply, and the number of characters up to this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct EventId {
    pub message_id: i64,
    /// Unicode scalar values since the start of the reply.
    pub chars: usize,
}

impl EventId {
    /// Parses `<messageId>-<n>`. Rejects any other spelling, such as leading zeros.
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

/// The position from which a client resumes a reply.
#[derive(Clone, Copy, Debug)]
pub struct ResumePoint {
    at: EventId,
    /// The header or parameter that gave the position, for errors.
    field: &'static str,
}

impl ResumePoint {
    /// Parses the header `Last-Event-ID` and the parameter `after`. The header has priority: a
    /// browser that reconnects repeats the URL, so `after` may be old.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the event id is malformed or belongs to another reply.
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
}

/// The first event of a resumed reply.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ReplyHeader {
    pub conversation_id: i64,
    /// The message to which the reply responds, if any.
    pub user_message_id: Option<i64>,
    /// Id of the reply.
    pub message_id: i64,
    /// Start of the reply.
    pub created_at: DateTime<Utc>,
    /// True if the reply had ended when it was found.
    pub is_ended: bool,
}

impl From<&Start> for ReplyHeader {
    fn from(start: &Start) -> Self {
        Self {
            conversation_id: start.conversation_id,
            user_message_id: Some(start.user_message_id),
            message_id: start.message_id,
            created_at: start.created_at,
            is_ended: start.is_ended,
        }
    }
}

/// Finds a reply of the caller and checks the position.
///
/// Returns the number of characters that the client keeps: those that it has, or none if the text
/// of the reply was replaced by another.
pub(super) async fn find(
    db: &Db,
    caller: &Caller,
    place: ResumePoint,
) -> Result<(ReplyHeader, usize)> {
    let row = sqlx::query!(
        r#"
        select user_id, conversation_id, reply_to, created_at, char_length(reply_text(m)) as "chars!",
               (blocked_at is not null or error_code is not distinct from 'content_blocked') as "replaced!",
               state <> 'streaming' as "is_ended!",
               -- In progress, or ended by the sweep because its function was killed.
               (state = 'streaming' or error_code is not distinct from 'interrupted') as "ahead!"
        from biz.ai_messages m
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
    let header = ReplyHeader {
        conversation_id: row.conversation_id,
        user_message_id: row.reply_to,
        message_id: place.at.message_id,
        created_at: row.created_at,
        is_ended: row.is_ended,
    };
    if row.replaced {
        return Ok((header, 0));
    }
    // A live client may have received text that is not stored yet, up to `MAX_UNSAVED` bytes. This
    // remains so if the function was killed.
    let ahead = if row.ahead { MAX_UNSAVED } else { 0 };
    let most = usize::try_from(row.chars).unwrap_or_default() + ahead;
    if place.at.chars > most {
        return Err(Error::invalid(place.field, Reason::BeyondEnd));
    }
    Ok((header, place.at.chars))
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::properties::cases(256))]

        #[test]
        fn an_event_id_survives_a_round_trip(message_id in 0_i64.., chars in 0_usize..) {
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
