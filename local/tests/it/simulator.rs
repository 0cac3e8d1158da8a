//! The DashScope simulator: recorded bytes, the contract, every scenario, the official SDK.

mod contract;
mod recordings;
mod scenarios;
mod sdk;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use local::simulator::{Options, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Starts a simulator for one test.
async fn start(options: Options) -> Simulator {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Simulator::start(addr, options).await.expect("a free port")
}

/// A call to an app's completion endpoint, which can be changed before it is sent.
struct TestCall {
    app: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl TestCall {
    /// A plain call.
    fn new(app: &str, prompt: &str) -> Self {
        let body = json!({ "input": { "prompt": prompt }, "parameters": {} });
        let headers = vec![("authorization", "Bearer sk-test-000".to_owned())];
        Self {
            app: app.to_owned(),
            headers,
            body,
        }
    }

    /// A call with a stream of deltas.
    fn streaming(app: &str, prompt: &str) -> Self {
        let mut call = Self::new(app, prompt).header("x-dashscope-sse", "enable");
        call.body["parameters"]["incremental_output"] = true.into();
        call
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn input(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body["input"][key] = value.into();
        self
    }

    fn parameter(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body["parameters"][key] = value.into();
        self
    }

    /// Sends the call over its own connection, which closes when the response is dropped.
    async fn send(self, simulator: &Simulator) -> Response<Incoming> {
        let body = Bytes::from(self.body.to_string());
        let uri = format!("/api/v1/apps/{}/completion", self.app);
        let mut request = Request::post(uri).header("host", "localhost");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        send(simulator, request.body(Full::new(body)).expect("a request")).await
    }

    /// Sends the call and reads the whole response.
    async fn answer(self, simulator: &Simulator) -> Answer {
        let response = self.send(simulator).await;
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Answer { status, kind, body }
    }
}

async fn send(simulator: &Simulator, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let socket = TcpStream::connect(simulator.address())
        .await
        .expect("the simulator listens");
    let io = TokioIo::new(socket);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("a handshake");
    #[expect(
        clippy::disallowed_methods,
        reason = "the connection is driven in the background"
    )]
    tokio::spawn(connection);
    sender.send_request(request).await.expect("a response head")
}

/// A whole response.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// The `data:` of each frame.
    fn frames(&self) -> Vec<Value> {
        let lines = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        lines
            .map(|data| serde_json::from_str(data).expect("data is JSON"))
            .collect()
    }

    /// The text of all frames, joined.
    fn text(&self) -> String {
        let frames = self.frames();
        frames
            .iter()
            .filter_map(|frame| frame["output"]["text"].as_str())
            .collect()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().expect("an error").to_owned()
    }
}
