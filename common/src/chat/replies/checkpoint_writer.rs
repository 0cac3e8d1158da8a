//! Writes the text of a reply to the database while the relay reads more from DashScope.

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{CHECKPOINT_EVERY, LEASE};
use crate::{
    moderation::Guard,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// Bytes of text that may wait to be stored. When this is reached, the relay stops reading from
/// DashScope. It limits the memory of a reply, also while the database is unreachable.
pub(super) const MAX_UNSAVED: usize = 64 * 1024;

/// Result of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checkpoint {
    Saved,
    /// Stored. The client has requested a stop.
    StopRequested,
    /// Another session has ended the reply, because its lease had expired.
    Lost,
    /// Moderation blocked the text. It was not stored.
    Blocked,
}

/// Stores `unsaved` as the segment after the first `saved` characters, and renews the lease.
/// Idempotent, because the position is explicit.
///
/// A failed write is repeated at the same position, with at least the same text. It may have been
/// stored, or may be stored later. So of several texts at a position the longest is kept.
async fn checkpoint(
    db: &Db,
    site_id: i64,
    message_id: i64,
    saved: usize,
    unsaved: &str,
) -> Result<Checkpoint> {
    let stored = async {
        let mut connection = db.acquire_in_background().await?;
        sqlx::query_scalar!(
            r#"
            -- The lock on the message is the fence: after the end of the reply, no segment is added.
            with reply as (
                update biz.ai_messages set lease_until = now() + make_interval(secs => $5)
                where id = $2 and site_id = $1 and state = 'streaming'
                returning stop_requested_at
            ), stored as (
                insert into biz.ai_reply_segments as s (message_id, site_id, from_char, text)
                select $2, $1, $3, $4 from reply where $4 <> ''
                on conflict on constraint ai_reply_segments_pkey do update set text = excluded.text
                where char_length(s.text) < char_length(excluded.text)
            )
            select stop_requested_at is not null as "stop!" from reply
            "#,
            site_id,
            message_id,
            i32::try_from(saved).unwrap_or(i32::MAX),
            unsaved,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(&mut *connection)
        .await
    };
    let stop = stored.with_statement_timeout().await?;
    Ok(match stop {
        Some(false) => Checkpoint::Saved,
        Some(true) => Checkpoint::StopRequested,
        None => Checkpoint::Lost,
    })
}

/// Why a reply must end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The client has requested a stop.
    Stop,
    /// Another session has ended the reply.
    Lost,
    /// Moderation blocked the text.
    Blocked,
}

struct InFlight {
    bytes: usize,
    chars: usize,
    /// Gives the guard back.
    write: BoxFuture<'static, (Option<Box<Guard>>, Result<Checkpoint>)>,
}

/// The text of a reply that is not stored yet. Of the stored text, only the length is kept.
pub(super) struct CheckpointWriter {
    db: Db,
    site_id: i64,
    message_id: i64,
    saved_chars: usize,
    unsaved: String,
    tick: Interval,
    in_flight: Option<InFlight>,
    /// Checks text before it is stored, if moderation is configured.
    guard: Option<Box<Guard>>,
}

impl CheckpointWriter {
    pub fn new(db: Db, site_id: i64, message_id: i64, guard: Option<Box<Guard>>) -> Self {
        let mut tick = interval_at(Instant::now() + CHECKPOINT_EVERY, CHECKPOINT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            db,
            site_id,
            message_id,
            saved_chars: 0,
            unsaved: String::new(),
            tick,
            in_flight: None,
            guard,
        }
    }

    pub fn push(&mut self, text: &str) {
        self.unsaved.push_str(text);
    }

    pub fn has_text(&self) -> bool {
        self.saved_chars > 0 || !self.unsaved.is_empty()
    }

    /// True if the relay must not read more from DashScope until a checkpoint is stored.
    pub fn is_full(&self) -> bool {
        self.unsaved.len() >= MAX_UNSAVED
    }

    /// Writes checkpoints until one of them requires the reply to end.
    pub async fn watch(&mut self) -> Progress {
        loop {
            if let Some(progress) = self.step().await {
                return progress;
            }
        }
    }

    /// Waits until the next checkpoint is due, then writes it. Cancel-safe: a write in progress
    /// continues at the next call.
    pub async fn step(&mut self) -> Option<Progress> {
        if self.in_flight.is_none() {
            self.tick.tick().await;
            self.begin();
        }
        match self.finish_write().await {
            Some(Checkpoint::StopRequested) => Some(Progress::Stop),
            Some(Checkpoint::Lost) => Some(Progress::Lost),
            Some(Checkpoint::Blocked) => Some(Progress::Blocked),
            // If the write failed, the next one sends the same text again, at the same position.
            Some(Checkpoint::Saved) | None => None,
        }
    }

    fn begin(&mut self) {
        let (db, site_id, message_id, saved) = (
            self.db.clone(),
            self.site_id,
            self.message_id,
            self.saved_chars,
        );
        let text = self.unsaved.clone();
        let mut guard = self.guard.take();
        self.in_flight = Some(InFlight {
            bytes: text.len(),
            chars: text.chars().count(),
            write: Box::pin(async move {
                let is_blocked = match &mut guard {
                    Some(guard) => guard.blocks(saved, &text).await,
                    None => false,
                };
                let result = if is_blocked {
                    Ok(Checkpoint::Blocked)
                } else {
                    checkpoint(&db, site_id, message_id, saved, &text).await
                };
                (guard, result)
            }),
        });
    }

    /// Waits for the write in progress, if there is one.
    async fn finish_write(&mut self) -> Option<Checkpoint> {
        let in_flight = self.in_flight.as_mut()?;
        let (guard, result) = (&mut in_flight.write).await;
        let InFlight { bytes, chars, .. } = self.in_flight.take()?;
        self.guard = guard;
        match result {
            Ok(Checkpoint::Blocked) => Some(Checkpoint::Blocked),
            Ok(checkpoint) => {
                self.saved_chars += chars;
                self.unsaved.drain(..bytes);
                Some(checkpoint)
            }
            Err(err) => {
                tracing::warn!(message_id = self.message_id, cause = %err, "checkpoint failed");
                None
            }
        }
    }

    /// Checks the text that no checkpoint has stored. Returns true if moderation blocks it.
    pub async fn is_rest_blocked(&mut self) -> bool {
        if self.finish_write().await == Some(Checkpoint::Blocked) {
            return true;
        }
        match &mut self.guard {
            Some(guard) => guard.blocks(self.saved_chars, &self.unsaved).await,
            None => false,
        }
    }

    /// The guard with its verdicts.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_deref()
    }

    /// Returns the text that is not stored, and the number of stored characters before it.
    pub async fn take_rest(&mut self) -> (usize, String) {
        self.finish_write().await;
        (self.saved_chars, std::mem::take(&mut self.unsaved))
    }
}
