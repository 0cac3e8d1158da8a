//! What a client sees of a reply.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Failure, State,
    relay::{Piece, Receiver},
};
use crate::{
    auth::Caller,
    db::{Bounded, Db},
    error::{Error, Result},
};

/// How often a reply is looked up that is being made elsewhere: about once a checkpoint.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the database may be away before a follower gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// The most characters that are read at once, so that a long reply is not held in memory.
const MOST_CHARS: i32 = 8_192;

/// What happens to a reply, in order: any number of texts, then exactly one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What comes next.
    Text(String),
    /// The end, once it is committed.
    Done {
        /// `Complete` or `Stopped`.
        state: State,
        /// As DashScope said, if it did.
        tokens_used: Option<i64>,
    },
    /// The end of a reply that broke off.
    Broken {
        /// `Failed` or `Interrupted`.
        state: State,
        /// Why.
        failure: Failure,
    },
}

/// A reply in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was said.
    pub text: String,
    /// How it ended; `Streaming` where it has not.
    pub state: State,
}

/// Follows a reply: live while its reader keeps up with it, from the database after that,
/// or when it is made elsewhere.
pub struct Watch {
    db: Db,
    site_id: i64,
    user_id: i64,
    message_id: i64,
    chars: usize,
    source: Source,
}

enum Source {
    Live(Receiver),
    Stored,
    Ended,
}

impl Watch {
    pub(super) fn live(db: Db, caller: &Caller, message_id: i64, receiver: Receiver) -> Self {
        Self {
            source: Source::Live(receiver),
            ..Self::stored(db, caller, message_id, 0)
        }
    }

    /// Follows from the given character on.
    pub(super) fn stored(db: Db, caller: &Caller, message_id: i64, chars: usize) -> Self {
        Self {
            db,
            site_id: caller.site_id,
            user_id: caller.user_id,
            message_id,
            chars,
            source: Source::Stored,
        }
    }

    /// How many characters have been handed out.
    pub fn chars(&self) -> usize {
        self.chars
    }

    /// What happens next. None after the end.
    pub async fn next(&mut self) -> Option<Event> {
        if let Source::Live(receiver) = &mut self.source {
            match receiver.recv().await {
                Some(Piece::Text(text)) => return Some(self.text(text)),
                Some(Piece::End(event)) => return Some(self.end(event)),
                // We were too slow for the relay, or it died: the database knows the rest.
                None => self.source = Source::Stored,
            }
        }
        if matches!(self.source, Source::Ended) {
            return None;
        }
        Some(match self.follow().await {
            Event::Text(text) => self.text(text),
            end => self.end(end),
        })
    }

    /// The whole reply, or as much of it as there is when patience runs out.
    pub async fn collect(mut self, patience: Duration) -> Reply {
        // The relay ends a reply when patience does; what it stores then is worth a moment more.
        let until = Instant::now() + patience + LOOK_EVERY;
        let mut text = String::new();
        loop {
            match timeout_at(until, self.next()).await {
                Ok(Some(Event::Text(more))) => text.push_str(&more),
                Ok(Some(Event::Done { state, .. } | Event::Broken { state, .. })) => {
                    return Reply { text, state };
                }
                Ok(None) | Err(_) => {
                    return Reply {
                        text,
                        state: State::Streaming,
                    };
                }
            }
        }
    }

    fn text(&mut self, text: String) -> Event {
        self.chars += text.chars().count();
        Event::Text(text)
    }

    fn end(&mut self, event: Event) -> Event {
        self.source = Source::Ended;
        event
    }

    async fn follow(&self) -> Event {
        let mut answered = Instant::now();
        loop {
            match self.look().await {
                Ok(Some(event)) => return event,
                Ok(None) => answered = Instant::now(),
                Err(Error::Unavailable(_)) if answered.elapsed() < GIVE_UP_AFTER => {}
                Err(err) => {
                    tracing::warn!(message_id = self.message_id, cause = %err, "cannot follow the reply");
                    return Event::Broken {
                        state: State::Interrupted,
                        failure: Failure::Unavailable,
                    };
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// What there is beyond the characters that were handed out. None while nothing is.
    async fn look(&self) -> Result<Option<Event>> {
        let row = sqlx::query!(
            r#"
            select state, error_code, tokens_used, coalesce(lease_until < now(), false) as "abandoned!",
                   substring(content from $4::integer for $5::integer) as "text!"
            from biz.ai_messages
            where id = $2 and site_id = $1 and user_id = $3 and role = 'assistant'
            "#,
            self.site_id,
            self.message_id,
            self.user_id,
            i32::try_from(self.chars + 1).unwrap_or(i32::MAX),
            MOST_CHARS,
        )
        .fetch_optional(&self.db)
        .bounded()
        .await?
        .ok_or(Error::NotFound)?;

        if !row.text.is_empty() {
            return Ok(Some(Event::Text(row.text)));
        }
        let failure = Failure::from_code(row.error_code.as_deref());
        Ok(match State::parse(&row.state)? {
            // Whoever made it is dead; the sweep will say so in the table.
            State::Streaming if row.abandoned => Some(Event::Broken {
                state: State::Interrupted,
                failure,
            }),
            State::Streaming => None,
            state @ (State::Complete | State::Stopped) => Some(Event::Done {
                state,
                tokens_used: row.tokens_used,
            }),
            state @ (State::Interrupted | State::Failed) => Some(Event::Broken { state, failure }),
        })
    }
}
