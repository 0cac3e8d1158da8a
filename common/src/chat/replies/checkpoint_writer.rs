//! Keeps what has been said: from memory into the database, off the relay's path.

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{CHECKPOINT_EVERY, LEASE};
use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
};

/// How much may wait to be stored, in bytes, before DashScope is made to wait. It bounds
/// the memory of a reply whatever its length, and however long the database is away.
pub(super) const MOST_UNSAVED: usize = 64 * 1024;

/// What a checkpoint found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checkpoint {
    /// Stored.
    Saved,
    /// Stored; and the reader wants no more.
    StopRequested,
    /// The reply has been ended by somebody else: its lease had run out.
    Lost,
}

/// Stores the text so far: the first `saved` characters are there already, `unsaved`
/// follows them. Safe to repeat, since it says where the text goes, and safe to overtake: one
/// that was given up may still be on its way when a later one is stored.
async fn checkpoint(
    db: &Db,
    site_id: i64,
    message_id: i64,
    saved: usize,
    unsaved: &str,
) -> Result<Checkpoint> {
    let stop = sqlx::query_scalar!(
        r#"
        update biz.ai_messages set
            -- The text only grows: a checkpoint that arrives late takes nothing back.
            content = case when $4 = '' or char_length(content) >= $3 + char_length($4) then content
                           else left(content, $3) || $4 end,
            lease_until = now() + make_interval(secs => $5)
        where id = $2 and site_id = $1 and state = 'streaming'
        returning stop_requested_at is not null as "stop!"
        "#,
        site_id,
        message_id,
        i32::try_from(saved).unwrap_or(i32::MAX),
        unsaved,
        LEASE.as_secs_f64(),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    Ok(match stop {
        Some(false) => Checkpoint::Saved,
        Some(true) => Checkpoint::StopRequested,
        None => Checkpoint::Lost,
    })
}

/// Why a reply must end before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its reader wants no more.
    Stop,
    /// Somebody else has ended it.
    Lost,
}

struct InFlight {
    bytes: usize,
    chars: usize,
    write: BoxFuture<'static, Result<Checkpoint>>,
}

/// The text of a reply between DashScope and the database. Of what is stored, only the
/// length is remembered.
pub(super) struct CheckpointWriter {
    db: Db,
    site_id: i64,
    message_id: i64,
    saved_chars: usize,
    unsaved: String,
    tick: Interval,
    in_flight: Option<InFlight>,
}

impl CheckpointWriter {
    pub fn new(db: Db, site_id: i64, message_id: i64) -> Self {
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
        }
    }

    pub fn push(&mut self, text: &str) {
        self.unsaved.push_str(text);
    }

    pub fn has_text(&self) -> bool {
        self.saved_chars > 0 || !self.unsaved.is_empty()
    }

    /// Whether DashScope should be left waiting until something is stored.
    pub fn is_full(&self) -> bool {
        self.unsaved.len() >= MOST_UNSAVED
    }

    /// Makes checkpoints until one of them says that the reply must end.
    pub async fn watch(&mut self) -> Progress {
        loop {
            if let Some(progress) = self.step().await {
                return progress;
            }
        }
    }

    /// Makes the next checkpoint, when it is due. May be dropped at any time and called
    /// again: the write under way is kept.
    pub async fn step(&mut self) -> Option<Progress> {
        if self.in_flight.is_none() {
            self.tick.tick().await;
            self.begin();
        }
        match self.settle().await {
            Some(Checkpoint::StopRequested) => Some(Progress::Stop),
            Some(Checkpoint::Lost) => Some(Progress::Lost),
            // Not stored: the next one writes it all again, at the same place.
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
        self.in_flight = Some(InFlight {
            bytes: text.len(),
            chars: text.chars().count(),
            write: Box::pin(
                async move { checkpoint(&db, site_id, message_id, saved, &text).await },
            ),
        });
    }

    /// Waits for the write under way, if there is one.
    async fn settle(&mut self) -> Option<Checkpoint> {
        let in_flight = self.in_flight.as_mut()?;
        let result = (&mut in_flight.write).await;
        let InFlight { bytes, chars, .. } = self.in_flight.take()?;
        match result {
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

    /// What is left to store, and after how many characters it goes.
    pub async fn take_rest(&mut self) -> (usize, String) {
        self.settle().await;
        (self.saved_chars, std::mem::take(&mut self.unsaved))
    }
}
