//! A reply as its client receives it.

use std::{mem, time::Duration};

use sqlx::types::Json;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    CHECKPOINT_EVERY, DEADLINE_MARGIN, Failure, FinishReason, LEASE, State, channel::Receiver,
    readers::READER_LEASE,
};
use crate::{
    dashscope::{Progress, Reference},
    governance::auth::Caller,
    insights::insight::ReferenceCard,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
        time_limit::TimeLimit,
    },
};

/// Delay of a read after the checkpoint is due, so that the checkpoint has been written.
const READ_DELAY: Duration = Duration::from_millis(50);
/// Delay before the next read if a checkpoint is late or the database is unreachable.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long the database may be unreachable before the stream ends with an error.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// Characters per read. Limits the memory for a long reply.
const MAX_CHARS: usize = 8_192;

/// Events of a reply: any number of texts, at most one list of references, then exactly one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the application does before its first text. Not sent to a client that resumes.
    Progress(Progress),
    /// The next piece of text.
    Text(String),
    /// The cited documents, at least one.
    References(Vec<Reference>),
    /// The end of the reply. Sent after it is committed.
    Done {
        /// `Complete` or `Stopped`.
        state: State,
        /// From DashScope, if it reported usage.
        tokens_used: Option<i64>,
        /// `None` if the reply was stopped, or if an older version stored it.
        finish_reason: Option<FinishReason>,
        /// The insight that the prompt contained.
        card: Option<ReferenceCard>,
    },
    /// The end of a reply that failed or was interrupted.
    Broken {
        /// `Failed` or `Interrupted`.
        state: State,
        /// The cause.
        failure: Failure,
    },
}

impl Event {
    /// True for the end of a reply whose text was blocked.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(
            self,
            Self::Broken {
                failure: Failure::ContentBlocked,
                ..
            }
        )
    }
}

/// A reply as one text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Reply {
    pub text: String,
    pub references: Vec<Reference>,
    pub card: Option<ReferenceCard>,
    pub finish_reason: Option<FinishReason>,
    /// `Streaming` if the reply has not ended yet.
    pub state: State,
    pub failure: Option<Failure>,
}

/// Follows a reply. Reads from memory while the client is fast enough and the reply is made on this
/// instance. Otherwise reads from the database.
pub struct ReplyStream {
    db: Db,
    site_id: i64,
    user_id: i64,
    message_id: i64,
    chars: usize,
    /// The counted reader. `None` if the stream is not counted.
    reader: Option<i64>,
    until: TimeLimit,
    source: Source,
}

enum Source {
    Live(Receiver),
    /// From the database: the end, or the time of the next read.
    Stored(Next),
    Ended,
}

enum Next {
    ReadAt(Instant),
    End(Vec<Reference>, Event),
}

/// Result of one read from the database.
struct Snapshot {
    text: String,
    /// Length of the stored text in characters. Only set if there was no new text.
    chars: Option<usize>,
    references: Vec<Reference>,
    end: Option<Event>,
    /// Time until the next checkpoint can be read.
    due_in: Duration,
}

impl ReplyStream {
    pub(super) fn live(
        db: Db,
        caller: &Caller,
        message_id: i64,
        limit: TimeLimit,
        receiver: Receiver,
    ) -> Self {
        Self {
            source: Source::Live(receiver),
            ..Self::stored(db, caller, message_id, limit, 0, None)
        }
    }

    /// Follows from character `chars` on, until the function or server that serves the stream ends.
    pub(super) fn stored(
        db: Db,
        caller: &Caller,
        message_id: i64,
        limit: TimeLimit,
        chars: usize,
        reader: Option<i64>,
    ) -> Self {
        Self {
            db,
            site_id: caller.site_id,
            user_id: caller.user_id,
            message_id,
            chars,
            reader,
            // The relay needs the whole margin to store the end. A stream only has to send it.
            until: limit.earlier_by(DEADLINE_MARGIN / 2),
            source: Source::Stored(Next::ReadAt(Instant::now())),
        }
    }

    /// Number of characters returned so far. After the end: length of the reply.
    pub fn chars(&self) -> usize {
        self.chars
    }

    /// The next event. `None` after the end.
    pub async fn next(&mut self) -> Option<Event> {
        if let Source::Live(receiver) = &mut self.source {
            match receiver.next().await {
                Some(Event::Text(text)) => return Some(self.text(text)),
                Some(event @ (Event::Progress(_) | Event::References(_))) => return Some(event),
                Some(end) => return Some(self.end(end)),
                // The channel was full, or the relay died. The database has the rest.
                None => self.source = Source::Stored(Next::ReadAt(Instant::now())),
            }
        }
        self.follow().await
    }

    /// Collects the whole reply, or the text up to the time limit.
    pub async fn collect(mut self, patience: Duration) -> Reply {
        // The relay stops at the time limit, too. Wait one checkpoint longer for the stored end.
        let until = Instant::now() + patience + CHECKPOINT_EVERY;
        let mut reply = Reply {
            text: String::new(),
            references: Vec::new(),
            card: None,
            finish_reason: None,
            state: State::Streaming,
            failure: None,
        };
        while let Ok(Some(event)) = timeout_at(until, self.next()).await {
            match event {
                Event::Progress(_) => {}
                Event::Text(more) => reply.text.push_str(&more),
                Event::References(references) => reply.references = references,
                Event::Done {
                    state,
                    finish_reason,
                    card,
                    ..
                } => {
                    reply.state = state;
                    reply.finish_reason = finish_reason;
                    reply.card = card;
                }
                Event::Broken { state, failure } => {
                    reply.state = state;
                    reply.failure = Some(failure);
                }
            }
        }
        reply
    }

    fn text(&mut self, text: String) -> Event {
        self.chars += text.chars().count();
        Event::Text(text)
    }

    fn end(&mut self, event: Event) -> Event {
        // Blocked text is not stored. The position tells clients to remove what they have shown.
        if event.is_blocked() {
            self.chars = 0;
        }
        self.source = Source::Ended;
        event
    }

    /// Reads the database once per checkpoint, shortly after it is due.
    async fn follow(&mut self) -> Option<Event> {
        let mut last_read = Instant::now();
        loop {
            let at = match &mut self.source {
                Source::Stored(Next::ReadAt(at)) => *at,
                Source::Stored(Next::End(references, event)) => {
                    if !references.is_empty() {
                        return Some(Event::References(mem::take(references)));
                    }
                    let event = event.clone();
                    return Some(self.end(event));
                }
                Source::Live(_) | Source::Ended => return None,
            };
            if let Some(until) = self.until.at().filter(|until| *until <= at) {
                sleep_until(until).await;
                return Some(self.end(Event::Broken {
                    state: State::Streaming,
                    failure: Failure::Deadline,
                }));
            }
            sleep_until(at).await;
            match self.read().await {
                Ok(snapshot) => {
                    last_read = Instant::now();
                    if let Some(text) = self.take(snapshot) {
                        return Some(self.text(text));
                    }
                }
                Err(Error::Unavailable(_)) if last_read.elapsed() < GIVE_UP_AFTER => {
                    self.source = Source::Stored(Next::ReadAt(Instant::now() + READ_AGAIN_AFTER));
                }
                Err(Error::NotFound) => {
                    return Some(self.end(Event::Broken {
                        state: State::Failed,
                        failure: Failure::Deleted,
                    }));
                }
                Err(err) => {
                    tracing::warn!(message_id = self.message_id, cause = %err, "the reply could not be read");
                    return Some(self.end(Event::Broken {
                        state: State::Interrupted,
                        failure: Failure::Unavailable,
                    }));
                }
            }
        }
    }

    /// The new text, if any. Also schedules the next read or the end.
    fn take(&mut self, snapshot: Snapshot) -> Option<String> {
        let next = match snapshot.end {
            // There may be more text. Read it immediately after this piece.
            _ if snapshot.text.chars().count() >= MAX_CHARS => Next::ReadAt(Instant::now()),
            Some(end) => {
                // If the function was killed, the client may have received text that was not
                // stored.
                self.chars = snapshot
                    .chars
                    .map_or(self.chars, |chars| chars.min(self.chars));
                Next::End(snapshot.references, end)
            }
            None => Next::ReadAt(Instant::now() + snapshot.due_in),
        };
        self.source = Source::Stored(next);
        (!snapshot.text.is_empty()).then_some(snapshot.text)
    }

    async fn read(&self) -> Result<Snapshot> {
        let row = sqlx::query!(
            r#"
            with reader as (
                update biz.ai_reply_readers
                set lease_until = clock_timestamp() + make_interval(secs => $7)
                where id = $6 and site_id = $1 and not is_replaced returning 1
            ), ended as (
                delete from biz.ai_reply_readers where id = $6 and site_id = $1 and is_replaced
            )
            select $6::bigint is not null and not exists (select from reader) as "is_replaced!",
                   state, error_code, tokens_used, t.text as "text!",
                   case when blocked_at is null then doc_references end as "references: Json<Vec<Reference>>",
                   case when blocked_at is null then reference_card end as "card: Json<ReferenceCard>", is_cut,
                   -- Counting a long text takes as long as cutting it, so it is counted only if there is
                   -- nothing new. `offset 0` keeps the planner from cutting the text twice.
                   case t.text when '' then char_length(visible_text(reply_text(m), blocked_at)) end as chars,
                   extract(epoch from lease_until - clock_timestamp())::double precision as lease_seconds
            from biz.ai_messages m
            cross join lateral (select substring(visible_text(reply_text(m), blocked_at) from $4::integer for $5::integer) offset 0) t (text)
            where id = $2 and site_id = $1 and user_id = $3 and role = 'assistant'
            "#,
            self.site_id,
            self.message_id,
            self.user_id,
            i32::try_from(self.chars + 1).unwrap_or(i32::MAX),
            i32::try_from(MAX_CHARS).unwrap_or(i32::MAX),
            self.reader,
            READER_LEASE.as_secs_f64(),
        )
        .fetch_optional(&self.db)
        .with_statement_timeout()
        .await?
        .ok_or(Error::NotFound)?;

        let lease = row.lease_seconds.unwrap_or_default();
        let failure = Failure::from_column(row.error_code.as_deref());
        let end = match State::from_sql(&row.state, "biz.ai_messages")? {
            State::Streaming if row.is_replaced => Some(Event::Broken {
                state: State::Streaming,
                failure: Failure::Replaced,
            }),
            // The lease has expired: the function was killed. The sweep will store this state.
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
                finish_reason: row.is_cut.map(FinishReason::of_column),
                card: row.card.map(|Json(card)| card),
            }),
            state @ (State::Interrupted | State::Failed) => Some(Event::Broken { state, failure }),
        };
        // Each checkpoint renews the lease, so the remaining lease gives the time of the last one.
        let age = LEASE.saturating_sub(Duration::try_from_secs_f64(lease).unwrap_or_default());
        let due_in = match CHECKPOINT_EVERY.checked_sub(age) {
            Some(left) => left + READ_DELAY,
            None => READ_AGAIN_AFTER,
        };
        Ok(Snapshot {
            text: row.text,
            chars: row.chars.and_then(|chars| usize::try_from(chars).ok()),
            references: row
                .references
                .map(|Json(references)| references)
                .unwrap_or_default(),
            end,
            due_in,
        })
    }
}
