//! Reads a stream of server-sent events.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct SseEvent {
    pub name: String,
    pub id: String,
    pub data: Value,
}

/// An event stream that is read chunk by chunk.
pub struct EventStream {
    response: reqwest::Response,
    buffer: Vec<u8>,
    /// SSE comment lines received so far.
    pub comments: Vec<String>,
    /// All bytes received so far.
    pub bytes: Vec<u8>,
}

impl EventStream {
    pub fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            buffer: Vec::new(),
            comments: Vec::new(),
            bytes: Vec::new(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next event. `None` at the end of the body.
    pub async fn next(&mut self) -> Option<SseEvent> {
        self.next_unless_broken().await.unwrap()
    }

    /// Like [`Self::next`], but returns an error if the connection breaks.
    pub async fn next_unless_broken(&mut self) -> reqwest::Result<Option<SseEvent>> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = self.frame(&String::from_utf8(frame).unwrap()) {
                    return Ok(Some(event));
                }
            }
            let Some(chunk) = self.response.chunk().await? else {
                assert!(self.buffer.is_empty(), "the stream ends inside a frame");
                return Ok(None);
            };
            self.bytes.extend_from_slice(&chunk);
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Reads the next event and checks its name.
    pub async fn expect(&mut self, name: &str) -> SseEvent {
        let event = self.next().await.unwrap();
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// All remaining events.
    pub async fn rest(&mut self) -> Vec<SseEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    fn frame(&mut self, frame: &str) -> Option<SseEvent> {
        let mut event = SseEvent {
            name: String::new(),
            id: String::new(),
            data: Value::Null,
        };
        for line in frame.lines() {
            match line.split_once(':') {
                Some(("", comment)) => self.comments.push(comment.trim().to_owned()),
                Some(("event", value)) => value.trim().clone_into(&mut event.name),
                Some(("id", value)) => value.trim().clone_into(&mut event.id),
                Some(("data", value)) => event.data = serde_json::from_str(value.trim()).unwrap(),
                _ => assert_eq!(line, "", "a line of no known field"),
            }
        }
        (!event.name.is_empty()).then_some(event)
    }
}

/// The text of all `message` events.
pub fn text(events: &[SseEvent]) -> String {
    events
        .iter()
        .filter(|event| event.name == "message")
        .map(|event| event.data["token"].as_str().unwrap())
        .collect()
}

/// Checks the rules for every stream and returns its last event. `start` comes first, `progress`
/// only before the text, `references` only before the end. There is exactly one end, and ids count
/// the characters.
#[track_caller]
pub fn terminal(events: &[SseEvent]) -> &SseEvent {
    assert_eq!(events[0].name, "start");
    let message_id = events[0].data["messageId"].as_i64().unwrap();
    let (last, rest) = events.split_last().unwrap();
    assert!(matches!(&*last.name, "done" | "error"), "{last:?}");
    let mut between = rest[1..].iter().map(|event| &*event.name).peekable();
    while between.next_if_eq(&"progress").is_some() {}
    while between.next_if_eq(&"message").is_some() {}
    between.next_if_eq(&"references");
    assert_eq!(between.next(), None, "{events:?}");
    let mut chars = 0;
    for event in events {
        if event.name == "message" {
            chars += event.data["token"].as_str().unwrap().chars().count();
        }
        // The position after a blocked reply tells the client to remove the text.
        if event.data["code"] == "content_blocked" {
            chars = 0;
        }
        assert_eq!(event.id, format!("{message_id}-{chars}"));
    }
    assert_eq!(last.data["messageId"], message_id);
    last
}
