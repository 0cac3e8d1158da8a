//! AWS in a test: a moto server, and the environment variables that direct a function to it.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    child::{self, Program},
    parlor::{client, serve},
    python, until_within,
};

/// `moto[server]` would add packages for services that the tests do not use. They are three
/// quarters of the time of the installation.
const MOTO: [&str; 3] = ["moto==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];

pub struct Moto {
    url: String,
    http: reqwest::Client,
    _server: Program,
}

impl Moto {
    pub async fn start() -> Self {
        let packages = python::packages("moto", &MOTO);
        let mut command = child::command("/usr/bin/env");
        command
            .args(["python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONPATH", packages);
        let server = Program::start(command);
        // Python may take long to start on a busy machine.
        let url = until_within(
            Duration::from_mins(1),
            "moto says where it is",
            async || {
                let output = server.stderr();
                let (_, rest) = output.split_once("Running on http://127.0.0.1:")?;
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(format!("http://127.0.0.1:{port}"))
            },
        )
        .await;
        Self {
            url,
            http: client(),
            _server: server,
        }
    }

    /// Calls an action of a service with a JSON protocol, such as `secretsmanager.CreateSecret`.
    pub async fn call(&self, action: &str, body: &Value) -> Value {
        let request = self
            .http
            .post(&self.url)
            .header("x-amz-target", action)
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", authorization(action))
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Creates a queue and returns its URL.
    pub async fn create_queue(&self, name: &str) -> String {
        let name = json!({ "QueueName": name });
        let queue = self.call("AmazonSQS.CreateQueue", &name).await;
        queue["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// The numbers of visible and of delayed messages in a queue.
    pub async fn counts(&self, queue: &str) -> (u32, u32) {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let request = json!({ "QueueUrl": queue, "AttributeNames": names });
        let answer = self.call("AmazonSQS.GetQueueAttributes", &request).await;
        let [waiting, delayed] = names.map(|name| {
            answer["Attributes"][name]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        });
        (waiting, delayed)
    }

    /// Receives at most ten messages.
    pub async fn receive(&self, queue: &str) -> Vec<Value> {
        let request =
            json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "AttributeNames": ["All"] });
        let answer = self.call("AmazonSQS.ReceiveMessage", &request).await;
        let messages = answer["Messages"].as_array();
        messages.cloned().unwrap_or_default()
    }

    /// The environment variables of a function that uses this server.
    pub fn variables(&self) -> [(String, String); 4] {
        variables(&self.url)
    }
}

/// A proxy between functions and moto. It counts requests and can delay the responses.
pub struct Front {
    url: String,
    post: Arc<Post>,
}

struct Post {
    behind: String,
    http: reqwest::Client,
    requests: AtomicUsize,
    /// No response is sent until this many requests are waiting.
    release_at: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
}

impl Front {
    pub async fn of(moto: &Moto) -> Self {
        let post = Arc::new(Post {
            behind: moto.url.clone(),
            http: client(),
            requests: AtomicUsize::new(0),
            release_at: watch::Sender::default(),
            waiting: watch::Sender::default(),
        });
        let app = Router::new()
            .fallback(forward)
            .with_state(Arc::clone(&post));
        let url = serve(app).await;
        Self { url, post }
    }

    /// The environment variables of a function that uses this proxy.
    pub fn variables(&self) -> [(String, String); 4] {
        variables(&self.url)
    }

    /// The number of requests so far.
    pub fn requests(&self) -> usize {
        self.post.requests.load(Ordering::SeqCst)
    }

    /// Sends no response until this many requests are waiting at once.
    pub fn respond_together(&self, requests: usize) {
        self.post.release_at.send_replace(requests);
    }

    /// Sends no responses.
    pub fn stop_responding(&self) {
        self.respond_together(usize::MAX);
    }
}

async fn forward(State(post): State<Arc<Post>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    post.requests.fetch_add(1, Ordering::SeqCst);
    post.waiting.send_modify(|waiting| *waiting += 1);
    loop {
        let (mut waiting, mut release_at) = (post.waiting.subscribe(), post.release_at.subscribe());
        if *waiting.borrow_and_update() >= *release_at.borrow_and_update() {
            break;
        }
        tokio::select! {
            _ = waiting.changed() => {}
            _ = release_at.changed() => {}
        }
    }
    // The requests that were released need not wait for others again.
    post.release_at.send_replace(0);
    let request = post.http.post(&post.behind).headers(headers).body(body);
    let response = request.send().await.unwrap();
    let status = response.status();
    let mut copy = Response::new(Body::from(response.bytes().await.unwrap()));
    *copy.status_mut() = status;
    copy
}

/// The environment variables of a function that uses AWS at `url`.
pub fn variables(url: &str) -> [(String, String); 4] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("NO_PROXY", "127.0.0.1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// moto derives the service from this header.
fn authorization(action: &str) -> String {
    let service = match action.split_once('.') {
        Some(("AmazonSQS", _)) => "sqs",
        Some((service, _)) => service,
        None => panic!("{action} names no service"),
    };
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20240101/ap-southeast-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}
