//! The functions' real binaries in the emulator, next to a `Parlor`. Both use the same database and
//! the same simulator.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::Path;

use axum::body::Body;
use axum::http::Response;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use common::{governance::apps::App, platform::env::Env};
use local::{
    cloud,
    emulator::{Emulator, FunctionSpec, Outcome, binaries},
};
use serde_json::{Value, json};

use super::{
    events::EventStream,
    parlor::{Answer, Parlor, SECRET, token},
};

/// A `Parlor` and the emulator on one database, so that a test can read through one what the other
/// wrote.
pub struct Cloud {
    pub parlor: Parlor,
    pub emulator: Emulator,
}

impl Cloud {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// `change` may edit the function specs before the start.
    pub async fn start_with(change: impl Fn(&mut FunctionSpec)) -> Self {
        let parlor = Parlor::start().await;
        let mut specs = specs(&parlor).await;
        specs.iter_mut().for_each(change);
        Self {
            emulator: Emulator::start(specs).unwrap(),
            parlor,
        }
    }

    pub async fn invoke(&self, function: &str, event: &Value) -> Outcome {
        self.emulator.invoke(function, event).await.unwrap()
    }

    /// Invokes an HTTP function and reads its whole response.
    pub async fn answer(&self, function: &str, event: &Value) -> Answer {
        let response = self.response(function, event).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    /// Invokes a function that does not serve HTTP and returns its result.
    pub async fn report(&self, function: &str, event: &Value) -> Value {
        let outcome = self.invoke(function, event).await;
        let Outcome::Response(report) = outcome else {
            panic!("{function}: {outcome:?}")
        };
        serde_json::from_slice(&report).unwrap()
    }

    /// Invokes an HTTP function and returns its response as an event stream.
    pub async fn stream(&self, function: &str, event: &Value) -> EventStream {
        let response = self.response(function, event).await;
        assert_eq!(response.status(), 200);
        EventStream::new(reqwest::Response::from(
            response.map(|body| reqwest::Body::wrap_stream(body.into_data_stream())),
        ))
    }

    pub async fn response(&self, function: &str, event: &Value) -> Response<Body> {
        let outcome = self.invoke(function, event).await;
        assert!(matches!(outcome, Outcome::Stream(_)), "{outcome:?}");
        outcome.into_http().await.unwrap()
    }

    /// Waits until the function has logged a line for which `find` returns `Some`.
    pub async fn logged<T>(&self, function: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        super::until("it is in the log", async || {
            let lines = self.emulator.logs(function).unwrap();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find_map(|line| find(&line))
        })
        .await
    }

    /// Waits for a log line with this `message`.
    pub async fn log_line(&self, function: &str, message: &str) -> Value {
        self.logged(function, |line| {
            (line["message"] == message).then(|| line.clone())
        })
        .await
    }
}

/// The functions as `template.yaml` configures them.
pub async fn specs(parlor: &Parlor) -> Vec<FunctionSpec> {
    let env = Env::from_pairs([
        ("DASHSCOPE_API_KEY", "sk-for-tests"),
        ("DASHSCOPE_BASE_URL", &parlor.simulator.base_url()),
        ("CHAT_RATE_PER_MINUTE", "10000"),
        ("CHAT_MAX_STREAMS", "1000"),
    ]);
    let env = App::ALL
        .into_iter()
        .fold(env, |env, app| env.with(&app.variable(), app.name()));
    // `.ci/artifacts` sets `PARLOR_ARTIFACTS` to test the output of `sam build`.
    let process = Env::from_process();
    let artifacts = process.text("PARLOR_ARTIFACTS").map(Path::new);
    let directory = match artifacts {
        Some(directory) => directory.to_owned(),
        None => binaries::build().await.unwrap(),
    };
    let mut specs = cloud::specs(
        &directory,
        &env,
        &parlor.database.url().into(),
        &SECRET.into(),
    );
    for spec in specs.iter_mut().filter(|_| artifacts.is_some()) {
        spec.binary = directory.join(logical_id(&spec.name)).join("bootstrap");
    }
    specs
}

/// The logical id in `template.yaml`: `ChatStreamFunction` for `chat-stream`.
fn logical_id(function: &str) -> String {
    let words = function.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<String>() + "Function"
}

/// A recorded event from API Gateway (REST), SQS, EventBridge or a schedule.
pub fn recorded(name: &str) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/events/");
    let text = std::fs::read(format!("{path}{name}.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A recorded event with the token of `user`.
pub fn recorded_of(name: &str, user: i64) -> Value {
    let mut event = recorded(name);
    let bearer = format!("Bearer {}", token(user));
    event["multiValueHeaders"]["Authorization"] = json!([bearer]);
    event["headers"]["Authorization"] = bearer.into();
    event
}

/// Changes the conversation in the event's path.
pub fn about(mut event: Value, chat: i64) -> Value {
    event["path"] = format!("/api/xcx/chat/{chat}/messages").into();
    event["requestContext"]["path"] = format!("/prod/api/xcx/chat/{chat}/messages").into();
    event["pathParameters"]["chatId"] = chat.to_string().into();
    event
}

/// Changes the session in the event's path.
pub fn about_session(mut event: Value, id: &str) -> Value {
    event["path"] = format!("/api/chat/sessions/{id}/messages").into();
    event["requestContext"]["path"] = format!("/prod/api/chat/sessions/{id}/messages").into();
    event["pathParameters"]["id"] = id.into();
    event
}

/// Replaces the body. It is encoded in base64 if the event's body is.
pub fn with_body(mut event: Value, body: &Value) -> Value {
    event["body"] = match event["isBase64Encoded"].as_bool() {
        Some(true) => BASE64_STANDARD.encode(body.to_string()).into(),
        _ => body.to_string().into(),
    };
    event
}
