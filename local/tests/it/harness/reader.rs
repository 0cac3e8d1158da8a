//! A client that reads a stream in the background. Its connection can be cut.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::events::{EventStream, SseEvent, text};

/// Sends a request in the background and collects the response.
pub struct Reader {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

/// What the client has received.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `None` if the connection broke before the response began.
    pub status: Option<u16>,
    /// The body of a response that is not a stream.
    pub body: Value,
    pub events: Vec<SseEvent>,
    /// True if the response has ended or the connection broke.
    pub over: bool,
}

impl Reader {
    pub fn of(request: RequestBuilder) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        #[expect(
            clippy::disallowed_methods,
            reason = "the client runs in the background"
        )]
        let task = tokio::spawn(async move {
            read(request, &sender).await.ok();
            sender.send_modify(|seen| seen.over = true);
        });
        Self { seen, task }
    }

    /// Waits until `enough` returns true.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&Seen) -> bool) -> Seen {
        let waiting = self.seen.wait_for(|seen| enough(seen) || seen.over);
        let in_time = timeout(Duration::from_secs(30), waiting).await.is_ok();
        let seen = self.seen.borrow().clone();
        assert!(in_time, "timeout while waiting for {what}: {seen:?}");
        assert!(enough(&seen), "{what}: {seen:?}");
        seen
    }

    /// Waits until the text received so far begins with `text`.
    pub async fn read(&mut self, text: &str) -> Seen {
        self.until(text, |seen| seen.text().starts_with(text)).await
    }

    /// Waits for the end and returns everything received.
    pub async fn finish(mut self) -> Seen {
        self.until("the end", |seen| seen.over).await
    }

    /// Cuts the connection and returns what was received.
    pub async fn cut(mut self) -> Seen {
        self.task.abort();
        (&mut self.task).await.ok();
        self.seen.borrow().clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(request: RequestBuilder, seen: &watch::Sender<Seen>) -> reqwest::Result<()> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    seen.send_modify(|seen| seen.status = Some(status));
    if status != 200 {
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        seen.send_modify(|seen| seen.body = body);
        return Ok(());
    }
    let mut events = EventStream::new(response);
    while let Some(event) = events.next_unless_broken().await? {
        seen.send_modify(|seen| seen.events.push(event));
    }
    Ok(())
}

impl Seen {
    /// The `start` event.
    pub fn start(&self) -> Option<&SseEvent> {
        self.events.first()
    }

    pub fn text(&self) -> String {
        text(&self.events)
    }

    /// The `done` or `error` event.
    pub fn end(&self) -> Option<&SseEvent> {
        let last = self.events.last();
        last.filter(|event| matches!(&*event.name, "done" | "error"))
    }
}
