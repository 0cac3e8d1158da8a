//! Passes events from the task that makes a reply to the client connected to the same instance.
//!
//! Text that the client has not read is buffered as one string. A slow client receives several
//! pieces as one. If the buffer is full, the channel closes and the client reads the database.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::{driver::Driver, stream::Event};
use crate::dashscope::{Progress, Reference};

/// Size limit of the buffered text, in bytes.
const MAX_PENDING: usize = 64 * 1024;
/// Size limit of one piece, in bytes.
const MAX_PIECE: usize = 8 * 1024;

pub(super) fn channel() -> (Sender, Receiver) {
    let channel = Arc::new(Channel::default());
    let sender = Sender(Arc::downgrade(&channel));
    let receiver = Receiver {
        channel,
        driver: None,
    };
    (sender, receiver)
}

#[derive(Default)]
struct Channel {
    pending: Mutex<Pending>,
    /// The client, while it waits.
    client: AtomicWaker,
}

#[derive(Default)]
struct Pending {
    /// Only before the first text, so it is older than `text`.
    progress: Option<Progress>,
    text: String,
    references: Vec<Reference>,
    end: Option<Event>,
    /// True if no more events follow the buffered ones.
    is_closed: bool,
}

impl Channel {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next buffered event, or the end of the channel.
    fn take(&self) -> Poll<Option<Event>> {
        let mut pending = self.pending();
        if let Some(progress) = pending.progress.take() {
            return Poll::Ready(Some(Event::Progress(progress)));
        }
        if !pending.text.is_empty() {
            let end_of_piece = pending.text.floor_char_boundary(MAX_PIECE);
            let rest = pending.text.split_off(end_of_piece);
            let text = std::mem::replace(&mut pending.text, rest);
            return Poll::Ready(Some(Event::Text(text)));
        }
        if !pending.references.is_empty() {
            let references = std::mem::take(&mut pending.references);
            return Poll::Ready(Some(Event::References(references)));
        }
        match pending.end.take() {
            Some(end) => Poll::Ready(Some(end)),
            None if pending.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// The end of the task. If it is dropped without an end event, the client reads the database.
pub(super) struct Sender(Weak<Channel>);

impl Sender {
    /// Replaces a progress that the client has not read.
    pub fn progress(&self, progress: Progress) {
        if let Some(channel) = self.0.upgrade() {
            channel.pending().progress = Some(progress);
            channel.client.wake();
        }
    }

    /// Buffers text. Closes the channel if the buffer is full. Does nothing if the client has left.
    pub fn text(&mut self, text: &str) {
        let Some(channel) = self.0.upgrade() else {
            return;
        };
        let mut pending = channel.pending();
        if pending.text.len() + text.len() > MAX_PENDING {
            pending.is_closed = true;
            self.0 = Weak::new();
        } else {
            pending.text.push_str(text);
        }
        drop(pending);
        channel.client.wake();
    }

    pub fn end(self, references: Vec<Reference>, event: Event) {
        if let Some(channel) = self.0.upgrade() {
            let mut pending = channel.pending();
            if event.is_blocked() {
                pending.text.clear();
            }
            pending.references = references;
            pending.end = Some(event);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(channel) = self.0.upgrade() {
            channel.pending().is_closed = true;
            channel.client.wake();
        }
    }
}

/// The end of the client.
pub(super) struct Receiver {
    channel: Arc<Channel>,
    driver: Option<Driver>,
}

impl Receiver {
    /// Polls the relay while it waits for events.
    pub fn driving(self, driver: Driver) -> Self {
        let driver = Some(driver);
        Self { driver, ..self }
    }

    /// The next event: progress, text, references, end. `None` if the rest must be read from the
    /// database. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(driver) = &mut self.driver {
            // What the relay sends during this poll need not wake the client.
            self.channel.client.take();
            driver.poll(cx);
        }
        if let ready @ Poll::Ready(_) = self.channel.take() {
            return ready;
        }
        self.channel.client.register(cx.waker());
        // A task that has taken over may have sent something meanwhile.
        self.channel.take()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{chat::replies::State, dashscope::ProgressKind};

    fn end() -> Event {
        Event::Done {
            state: State::Complete,
            tokens_used: None,
            finish_reason: None,
            card: None,
        }
    }

    /// All events that can be read now, and whether the channel is closed after them.
    fn read_all(receiver: &mut Receiver) -> (Vec<Event>, bool) {
        let mut events = Vec::new();
        loop {
            match receiver.next().now_or_never() {
                Some(Some(event)) => events.push(event),
                Some(None) => return (events, true),
                None => return (events, false),
            }
        }
    }

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    #[test]
    fn a_slow_client_receives_several_pieces_as_one() {
        let (mut sender, mut receiver) = channel();
        for piece in ["今", "天"] {
            sender.text(piece);
            assert_eq!(read_all(&mut receiver), (vec![text(piece)], false));
        }
        sender.text("生意");
        sender.text("好");
        sender.end(Vec::new(), end());
        assert_eq!(read_all(&mut receiver), (vec![text("生意好"), end()], true));
    }

    #[test]
    fn long_text_is_split_between_characters() {
        let (mut sender, mut receiver) = channel();
        let long = "台".repeat(MAX_PIECE);
        sender.text(&long);
        let (events, is_closed) = read_all(&mut receiver);
        let parts: Vec<_> = events
            .into_iter()
            .map(|event| match event {
                Event::Text(part) => part,
                end => panic!("{end:?}"),
            })
            .collect();
        assert!(parts.iter().all(|part| part.len() <= MAX_PIECE));
        assert_eq!((parts.concat(), is_closed), (long, false));
    }

    #[test]
    fn a_full_buffer_closes_the_channel_without_an_end() {
        let (mut sender, mut receiver) = channel();
        let piece = "台".repeat(100);
        for _ in 0..=MAX_PENDING / piece.len() {
            sender.text(&piece);
        }
        sender.text("more");
        sender.end(Vec::new(), end());
        let (events, is_closed) = read_all(&mut receiver);
        let kept = MAX_PENDING / piece.len() * piece.len();
        let bytes = events.iter().map(|event| match event {
            Event::Text(part) => part.len(),
            end => panic!("{end:?}"),
        });
        assert_eq!((bytes.sum::<usize>(), is_closed), (kept, true));
    }

    #[test]
    fn buffered_text_is_received_after_the_sender_was_dropped() {
        let (mut sender, mut receiver) = channel();
        sender.text("今天");
        drop(sender);
        assert_eq!(read_all(&mut receiver), (vec![text("今天")], true));
    }

    #[test]
    fn the_newest_progress_comes_before_the_text() {
        let (mut sender, mut receiver) = channel();
        let progress = |name: &str| Progress {
            kind: ProgressKind::Node,
            name: name.to_owned(),
        };
        sender.progress(progress("a"));
        sender.progress(progress("b"));
        assert_eq!(
            read_all(&mut receiver),
            (vec![Event::Progress(progress("b"))], false)
        );
        sender.progress(progress("c"));
        sender.text("今天");
        assert_eq!(
            read_all(&mut receiver),
            (vec![Event::Progress(progress("c")), text("今天")], false)
        );
    }

    #[test]
    fn references_come_between_the_text_and_the_end() {
        let (mut sender, mut receiver) = channel();
        let references = vec![Reference {
            index: 1,
            title: "会员手册".to_owned(),
            url: None,
            page: None,
        }];
        sender.text("今天");
        sender.end(references.clone(), end());
        assert_eq!(
            read_all(&mut receiver),
            (
                vec![text("今天"), Event::References(references), end()],
                true
            )
        );
    }

    #[tokio::test]
    async fn a_waiting_client_is_woken() {
        let (mut sender, mut receiver) = channel();
        let sending = async {
            tokio::task::yield_now().await;
            sender.text("今天");
        };
        let (event, ()) = tokio::join!(receiver.next(), sending);
        assert_eq!(event, Some(text("今天")));
    }

    #[test]
    fn sending_to_a_client_that_left_does_nothing() {
        let (mut sender, receiver) = channel();
        drop(receiver);
        sender.text("今天");
        sender.end(Vec::new(), end());
    }
}
