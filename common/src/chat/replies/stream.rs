//! What a client sees of a reply.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{CHECKPOINT_EVERY, DEADLINE_MARGIN, Failure, LEASE, State, channel::Receiver};
use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// How long after a checkpoint is due it is looked for: it must have been written by then.
const LOOK_BEHIND: Duration = Duration::from_millis(50);
/// How soon a checkpoint that is late, or a database that is away, is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long the database may be away before a follower gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// The most characters that are read at once, so that a long reply is not held in memory.
const MOST_CHARS: usize = 8_192;

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
pub struct ReplyStream {
    db: Db,
    site_id: i64,
    user_id: i64,
    message_id: i64,
    chars: usize,
    until: Option<Instant>,
    source: Source,
}

enum Source {
    Live(Receiver),
    /// As stored: what is known of its end, or when to look again.
    Stored(Next),
    Ended,
}

enum Next {
    Look(Instant),
    End(Event),
}

/// One look at the table.
struct Seen {
    text: String,
    /// How much is stored in all, in characters, where the reader has all of it.
    chars: Option<usize>,
    end: Option<Event>,
    /// When the next checkpoint is due.
    due_in: Duration,
}

impl ReplyStream {
    pub(super) fn live(
        db: Db,
        caller: &Caller,
        message_id: i64,
        killed_at: Option<Instant>,
        receiver: Receiver,
    ) -> Self {
        Self {
            source: Source::Live(receiver),
            ..Self::stored(db, caller, message_id, killed_at, 0)
        }
    }

    /// Follows from the given character on, until the function that serves it ends.
    pub(super) fn stored(
        db: Db,
        caller: &Caller,
        message_id: i64,
        killed_at: Option<Instant>,
        chars: usize,
    ) -> Self {
        let now = Instant::now();
        Self {
            db,
            site_id: caller.site_id,
            user_id: caller.user_id,
            message_id,
            chars,
            // The maker of a reply needs its margin to store the end; a reader only to tell it.
            until: killed_at.map(|at| at.checked_sub(DEADLINE_MARGIN / 2).unwrap_or(now)),
            source: Source::Stored(Next::Look(now)),
        }
    }

    /// How many characters have been handed out; after the end, how many the reply has.
    pub fn chars(&self) -> usize {
        self.chars
    }

    /// What happens next. None after the end.
    pub async fn next(&mut self) -> Option<Event> {
        if let Source::Live(receiver) = &mut self.source {
            match receiver.next().await {
                Some(Event::Text(text)) => return Some(self.text(text)),
                Some(end) => return Some(self.end(end)),
                // We were too slow for the relay, or it died: the database knows the rest.
                None => self.source = Source::Stored(Next::Look(Instant::now())),
            }
        }
        self.follow().await
    }

    /// The whole reply, or as much of it as there is when patience runs out.
    pub async fn collect(mut self, patience: Duration) -> Reply {
        // The relay ends a reply when patience does; what it stores then is worth a moment more.
        let until = Instant::now() + patience + CHECKPOINT_EVERY;
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

    /// One look for each checkpoint, just after it is due.
    async fn follow(&mut self) -> Option<Event> {
        let mut answered = Instant::now();
        loop {
            let at = match &mut self.source {
                Source::Stored(Next::Look(at)) => *at,
                Source::Stored(Next::End(event)) => {
                    let event = event.clone();
                    return Some(self.end(event));
                }
                Source::Live(_) | Source::Ended => return None,
            };
            if let Some(until) = self.until.filter(|until| *until <= at) {
                sleep_until(until).await;
                return Some(self.end(Event::Broken {
                    state: State::Streaming,
                    failure: Failure::Deadline,
                }));
            }
            sleep_until(at).await;
            match self.look().await {
                Ok(seen) => {
                    answered = Instant::now();
                    if let Some(text) = self.take(seen) {
                        return Some(self.text(text));
                    }
                }
                Err(Error::Unavailable(_)) if answered.elapsed() < GIVE_UP_AFTER => {
                    self.source = Source::Stored(Next::Look(Instant::now() + LOOK_AGAIN));
                }
                Err(err) => {
                    tracing::warn!(message_id = self.message_id, cause = %err, "cannot follow the reply");
                    return Some(self.end(Event::Broken {
                        state: State::Interrupted,
                        failure: Failure::Unavailable,
                    }));
                }
            }
        }
    }

    /// The text that was seen, if there was some, and what comes after it.
    fn take(&mut self, seen: Seen) -> Option<String> {
        let next = match seen.end {
            // There may be more: it is read as soon as this has been handed on.
            _ if seen.text.chars().count() >= MOST_CHARS => Next::Look(Instant::now()),
            Some(end) => {
                // A reader may have heard more than a dead maker had stored.
                self.chars = seen.chars.map_or(self.chars, |chars| chars.min(self.chars));
                Next::End(end)
            }
            None => Next::Look(Instant::now() + seen.due_in),
        };
        self.source = Source::Stored(next);
        (!seen.text.is_empty()).then_some(seen.text)
    }

    async fn look(&self) -> Result<Seen> {
        let row = sqlx::query!(
            r#"
            select state, error_code, tokens_used, t.text as "text!",
                   -- To count a long text takes as long as to cut it, and so does cutting it twice: hence the offset.
                   case t.text when '' then char_length(content) end as chars,
                   extract(epoch from lease_until - clock_timestamp())::double precision as lease_seconds
            from biz.ai_messages
            cross join lateral (select substring(content from $4::integer for $5::integer) offset 0) t (text)
            where id = $2 and site_id = $1 and user_id = $3 and role = 'assistant'
            "#,
            self.site_id,
            self.message_id,
            self.user_id,
            i32::try_from(self.chars + 1).unwrap_or(i32::MAX),
            i32::try_from(MOST_CHARS).unwrap_or(i32::MAX),
        )
        .fetch_optional(&self.db)
        .with_statement_timeout()
        .await?
        .ok_or(Error::NotFound)?;

        let lease = row.lease_seconds.unwrap_or_default();
        let failure = Failure::from_column(row.error_code.as_deref());
        let end = match State::from_sql(&row.state, "biz.ai_messages")? {
            // Whoever made it is dead; the sweep will say so in the table.
            State::Streaming if lease < 0.0 => Some(Event::Broken {
                state: if row.chars == Some(0) {
                    State::Failed
                } else {
                    State::Interrupted
                },
                failure,
            }),
            State::Streaming => None,
            state @ (State::Complete | State::Stopped) => Some(Event::Done {
                state,
                tokens_used: row.tokens_used,
            }),
            state @ (State::Interrupted | State::Failed) => Some(Event::Broken { state, failure }),
        };
        // The lease was renewed by the last checkpoint, so it tells when that was.
        let age = LEASE.saturating_sub(Duration::try_from_secs_f64(lease).unwrap_or_default());
        let due_in = match CHECKPOINT_EVERY.checked_sub(age) {
            Some(left) => left + LOOK_BEHIND,
            None => LOOK_AGAIN,
        };
        Ok(Seen {
            text: row.text,
            chars: row.chars.and_then(|chars| usize::try_from(chars).ok()),
            end,
            due_in,
        })
    }
}
