//! The HTTP client for Parlor and for the simulator.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;

use crate::{Result, bench_database::Person};

/// The format in which text frames are recognized.
#[derive(Clone, Copy)]
pub enum Wire {
    /// Events of Parlor.
    Parlor,
    /// Frames of DashScope. The first one has no text.
    DashScope,
}

impl Wire {
    /// Counts the text frames in these bytes.
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

/// A message to Parlor (CHAT-4).
pub fn ask_parlor(http: &Client, base: &str, person: &Person, content: &str) -> RequestBuilder {
    http.post(format!("{base}/api/xcx/chat/stream"))
        .bearer_auth(&person.token)
        .json(&json!({ "chatId": person.chat_id, "content": content }))
}

/// The request that Parlor sends to DashScope.
pub fn ask_upstream(http: &Client, base: &str, content: &str) -> RequestBuilder {
    http.post(format!("{base}/apps/app1_chat/completion"))
        .bearer_auth("sk-benchmark")
        .header("x-dashscope-sse", "enable")
        .json(&json!({ "input": { "prompt": content }, "parameters": { "incremental_output": true } }))
}

/// An open stream, with the bytes received so far.
pub struct Stream {
    response: Response,
    wire: Wire,
    bytes: Vec<u8>,
}

impl Stream {
    /// Sends the request and waits for the response head.
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

    /// Reads until `tokens` tokens were received. Returns false if the stream ended earlier.
    pub async fn reach(&mut self, tokens: usize) -> Result<bool> {
        let mut seen = self.wire.tokens(&self.bytes);
        while seen < tokens {
            let from = self.bytes.len().saturating_sub(16);
            let Some(chunk) = self.response.chunk().await? else {
                return Ok(false);
            };
            // A frame can be split between two chunks. It is counted when it is complete.
            let before = self.wire.tokens(&self.bytes[from..]);
            self.bytes.extend_from_slice(&chunk);
            seen += self.wire.tokens(&self.bytes[from..]) - before;
        }
        Ok(true)
    }

    /// Reads to the end and returns the number of tokens.
    pub async fn finish(mut self) -> Result<usize> {
        while let Some(chunk) = self.response.chunk().await? {
            self.bytes.extend_from_slice(&chunk);
        }
        Ok(self.wire.tokens(&self.bytes))
    }
}

/// Time from sending the request to the first text. Reads and drops the rest.
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
