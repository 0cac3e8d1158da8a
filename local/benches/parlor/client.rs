//! The one client, for Parlor and for the simulator alike.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;

use crate::{Result, bench_database::Person};

/// How a text frame is told from the others.
#[derive(Clone, Copy)]
pub enum Wire {
    /// Parlor's events.
    Parlor,
    /// DashScope's frames, of which the first has no text.
    DashScope,
}

impl Wire {
    /// Text frames in these bytes.
    pub fn tokens(self, bytes: &[u8]) -> usize {
        match self {
            Self::Parlor => count(bytes, b"event: message\n", |_| true),
            Self::DashScope => count(bytes, b"\"text\":\"", |after| {
                after.is_some_and(|byte| *byte != b'"')
            }),
        }
    }
}

fn count(bytes: &[u8], what: &[u8], is_one: impl Fn(Option<&u8>) -> bool) -> usize {
    let places = bytes.windows(what.len()).enumerate();
    places
        .filter(|(at, window)| *window == what && is_one(bytes.get(at + what.len())))
        .count()
}

/// CHAT-4.
pub fn ask_parlor(http: &Client, base: &str, person: &Person, content: &str) -> RequestBuilder {
    http.post(format!("{base}/api/xcx/chat/stream"))
        .bearer_auth(&person.token)
        .json(&json!({ "chatId": person.chat_id, "content": content }))
}

/// What Parlor would ask.
pub fn ask_upstream(http: &Client, base: &str, content: &str) -> RequestBuilder {
    http.post(format!("{base}/apps/app1_chat/completion"))
        .bearer_auth("sk-benchmark")
        .header("x-dashscope-sse", "enable")
        .json(&json!({ "input": { "prompt": content }, "parameters": { "incremental_output": true } }))
}

/// A stream under way, with what has come of it.
pub struct Stream {
    response: Response,
    wire: Wire,
    bytes: Vec<u8>,
}

impl Stream {
    /// Sends the request.
    pub async fn open(request: RequestBuilder, wire: Wire) -> Result<Self> {
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(format!("{}: {}", response.status(), response.text().await?).into());
        }
        Ok(Self {
            response,
            wire,
            bytes: Vec::new(),
        })
    }

    /// Reads on until there are so many tokens; false when the stream ended before that.
    pub async fn reach(&mut self, tokens: usize) -> Result<bool> {
        let mut seen = self.wire.tokens(&self.bytes);
        while seen < tokens {
            let from = self.bytes.len().saturating_sub(16);
            let Some(chunk) = self.response.chunk().await? else {
                return Ok(false);
            };
            // What lies across the seam was counted only if it was whole.
            let before = self.wire.tokens(&self.bytes[from..]);
            self.bytes.extend_from_slice(&chunk);
            seen += self.wire.tokens(&self.bytes[from..]) - before;
        }
        Ok(true)
    }

    /// Reads to the end, and tells how many tokens there were.
    pub async fn finish(mut self) -> Result<usize> {
        while let Some(chunk) = self.response.chunk().await? {
            self.bytes.extend_from_slice(&chunk);
        }
        Ok(self.wire.tokens(&self.bytes))
    }
}

/// From sending to the first text; the rest is read and forgotten.
pub async fn time_to_first_token(request: RequestBuilder, wire: Wire) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = Stream::open(request, wire).await?;
    if !stream.reach(1).await? {
        return Err("a stream ended without text".into());
    }
    let first = began.elapsed();
    stream.finish().await?;
    Ok(first)
}
