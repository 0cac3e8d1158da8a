//! A client that reads a stream for as long as there is one, and can be cut.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::events::{EventStream, SseEvent, text};

/// Sends a request by itself, and keeps what comes of it.
pub struct Reader {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

/// What a client has got.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// None where the connection broke before there was an answer.
    pub status: Option<u16>,
    /// Of an answer that is no stream.
    pub body: Value,
    pub events: Vec<SseEvent>,
    /// Nothing more will come.
    pub over: bool,
}

impl Reader {
    pub fn of(request: RequestBuilder) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        #[expect(clippy::disallowed_methods, reason = "a client goes by itself")]
        let task = tokio::spawn(async move {
            read(request, &sender).await.ok();
            sender.send_modify(|seen| seen.over = true);
        });
        Self { seen, task }
    }

    /// Waits until it has seen so much.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&Seen) -> bool) -> Seen {
        let waiting = self.seen.wait_for(|seen| enough(seen) || seen.over);
        let in_time = timeout(Duration::from_secs(30), waiting).await.is_ok();
        let seen = self.seen.borrow().clone();
        assert!(in_time, "waited in vain for {what}: {seen:?}");
        assert!(enough(&seen), "{what}: {seen:?}");
        seen
    }

    /// Waits until it has read this, in however many events.
    pub async fn read(&mut self, text: &str) -> Seen {
        self.until(text, |seen| seen.text().starts_with(text)).await
    }

    /// All that it gets.
    pub async fn finish(mut self) -> Seen {
        self.until("the end", |seen| seen.over).await
    }

    /// What it has got by now. Its connection is cut.
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
    /// `start`, once it has come.
    pub fn start(&self) -> Option<&SseEvent> {
        self.events.first()
    }

    pub fn text(&self) -> String {
        text(&self.events)
    }

    /// `done` or `error`, where one has come.
    pub fn end(&self) -> Option<&SseEvent> {
        let last = self.events.last();
        last.filter(|event| matches!(&*event.name, "done" | "error"))
    }
}
