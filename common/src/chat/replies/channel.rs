//! From the task that makes a reply to the one client that reads it as it is made.
//!
//! What the client has not yet taken waits as one text: a client that keeps up takes piece by
//! piece, one that does not takes more at once, and one that reads hardly at all is let go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::stream::Event;

/// What may wait for a client, in bytes: more is never held for it.
const MOST_UNHEARD: usize = 64 * 1024;
/// The most that is handed out at once, in bytes.
const MOST_AT_ONCE: usize = 8 * 1024;

pub(super) fn channel() -> (Sender, Receiver) {
    let line = Arc::new(Channel::default());
    (Sender(Arc::downgrade(&line)), Receiver(line))
}

#[derive(Default)]
struct Channel {
    unheard: Mutex<Unheard>,
    news: Notify,
}

#[derive(Default)]
struct Unheard {
    text: String,
    end: Option<Event>,
    /// Nothing comes after what is here.
    is_cut: bool,
}

impl Channel {
    fn unheard(&self) -> MutexGuard<'_, Unheard> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maker's end. Dropped without an end, it tells the client to look in the database.
pub(super) struct Sender(Weak<Channel>);

impl Sender {
    /// Lets a client that is too far behind go; of one that has left nothing is known, and nothing is kept.
    pub fn text(&mut self, text: &str) {
        let Some(line) = self.0.upgrade() else {
            return;
        };
        let mut unheard = line.unheard();
        if unheard.text.len() + text.len() > MOST_UNHEARD {
            unheard.is_cut = true;
            self.0 = Weak::new();
        } else {
            unheard.text.push_str(text);
        }
        drop(unheard);
        line.news.notify_one();
    }

    pub fn end(self, event: Event) {
        if let Some(line) = self.0.upgrade() {
            line.unheard().end = Some(event);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(line) = self.0.upgrade() {
            line.unheard().is_cut = true;
            line.news.notify_one();
        }
    }
}

/// The client's end.
pub(super) struct Receiver(Arc<Channel>);

impl Receiver {
    /// What has not been heard: text, then the end. None where the database knows the rest.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut unheard = self.0.unheard();
                if !unheard.text.is_empty() {
                    let most = unheard.text.floor_char_boundary(MOST_AT_ONCE);
                    let rest = unheard.text.split_off(most);
                    let text = std::mem::replace(&mut unheard.text, rest);
                    return Some(Event::Text(text));
                }
                if let Some(end) = unheard.end.take() {
                    return Some(end);
                }
                if unheard.is_cut {
                    return None;
                }
            }
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::chat::replies::State;

    fn end() -> Event {
        Event::Done {
            state: State::Complete,
            tokens_used: None,
        }
    }

    /// All that can be heard now, and whether the line is cut after it.
    fn hear(receiver: &mut Receiver) -> (Vec<Event>, bool) {
        let mut heard = Vec::new();
        loop {
            match receiver.next().now_or_never() {
                Some(Some(event)) => heard.push(event),
                Some(None) => return (heard, true),
                None => return (heard, false),
            }
        }
    }

    fn text(text: &str) -> Event {
        Event::Text(text.to_owned())
    }

    #[test]
    fn who_keeps_up_hears_piece_by_piece_and_who_does_not_hears_them_joined() {
        let (mut sender, mut receiver) = channel();
        for piece in ["今", "天"] {
            sender.text(piece);
            assert_eq!(hear(&mut receiver), (vec![text(piece)], false));
        }
        sender.text("生意");
        sender.text("好");
        sender.end(end());
        assert_eq!(hear(&mut receiver), (vec![text("生意好"), end()], true));
    }

    #[test]
    fn much_is_handed_out_in_parts_that_end_between_characters() {
        let (mut sender, mut receiver) = channel();
        let long = "台".repeat(MOST_AT_ONCE);
        sender.text(&long);
        let (heard, is_cut) = hear(&mut receiver);
        let parts: Vec<_> = heard
            .into_iter()
            .map(|event| match event {
                Event::Text(part) => part,
                end => panic!("{end:?}"),
            })
            .collect();
        assert!(parts.iter().all(|part| part.len() <= MOST_AT_ONCE));
        assert_eq!((parts.concat(), is_cut), (long, false));
    }

    #[test]
    fn who_hardly_reads_is_let_go_with_what_waits_and_hears_no_end() {
        let (mut sender, mut receiver) = channel();
        let piece = "台".repeat(100);
        for _ in 0..=MOST_UNHEARD / piece.len() {
            sender.text(&piece);
        }
        sender.text("more");
        sender.end(end());
        let (heard, is_cut) = hear(&mut receiver);
        let kept = MOST_UNHEARD / piece.len() * piece.len();
        let bytes = heard.iter().map(|event| match event {
            Event::Text(part) => part.len(),
            end => panic!("{end:?}"),
        });
        assert_eq!((bytes.sum::<usize>(), is_cut), (kept, true));
    }

    #[test]
    fn what_a_dead_maker_said_is_heard_before_the_silence() {
        let (mut sender, mut receiver) = channel();
        sender.text("今天");
        drop(sender);
        assert_eq!(hear(&mut receiver), (vec![text("今天")], true));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (mut sender, mut receiver) = channel();
        let speaking = async {
            tokio::task::yield_now().await;
            sender.text("今天");
        };
        let (heard, ()) = tokio::join!(receiver.next(), speaking);
        assert_eq!(heard, Some(text("今天")));
    }

    #[test]
    fn nothing_is_kept_for_who_has_left() {
        let (mut sender, receiver) = channel();
        drop(receiver);
        sender.text("今天");
        sender.end(end());
    }
}
