//! AWS, played by moto: a server of the test's own, and what leads a function to it.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

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
    parlor::serve,
    python, until_within,
};

const MOTO: &str = "moto[server]==5.2.5";

/// A running server.
pub struct Moto {
    url: String,
    http: reqwest::Client,
    _server: Program,
}

impl Moto {
    pub async fn start() -> Self {
        let packages = python::packages("moto", &[MOTO]);
        let mut command = child::command("/usr/bin/env");
        command
            .args(["python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let server = Program::start(command);
        // A Python start on a busy machine may take longer than anything of ours.
        let url = until_within(
            Duration::from_mins(1),
            "moto says where it is",
            async || {
                let said = server.stderr();
                let (_, rest) = said.split_once("Running on http://127.0.0.1:")?;
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(format!("http://127.0.0.1:{port}"))
            },
        )
        .await;
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        Self {
            url,
            http: reqwest::Client::new(),
            _server: server,
        }
    }

    /// Calls an action of a service that speaks JSON, such as `secretsmanager.CreateSecret`.
    pub async fn ask(&self, action: &str, body: &Value) -> Value {
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

    /// A new queue; answers its address.
    pub async fn create_queue(&self, name: &str) -> String {
        let name = json!({ "QueueName": name });
        let queue = self.ask("AmazonSQS.CreateQueue", &name).await;
        queue["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// How many messages of a queue are waiting, and how many are held back.
    pub async fn counts(&self, queue: &str) -> (u32, u32) {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let asked = json!({ "QueueUrl": queue, "AttributeNames": names });
        let answer = self.ask("AmazonSQS.GetQueueAttributes", &asked).await;
        let [waiting, delayed] = names.map(|name| {
            answer["Attributes"][name]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        });
        (waiting, delayed)
    }

    /// Messages that are waiting, ten at most.
    pub async fn receive(&self, queue: &str) -> Vec<Value> {
        let asked =
            json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "AttributeNames": ["All"] });
        let answer = self.ask("AmazonSQS.ReceiveMessage", &asked).await;
        let messages = answer["Messages"].as_array();
        messages.cloned().unwrap_or_default()
    }

    /// What leads a function to it.
    pub fn variables(&self) -> [(String, String); 4] {
        variables(&self.url)
    }
}

/// Something between functions and their AWS: it counts what they ask, and holds it back.
pub struct Front {
    url: String,
    post: Arc<Post>,
}

struct Post {
    behind: String,
    http: reqwest::Client,
    asked: AtomicUsize,
    /// How many must have asked before any is answered.
    together: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
}

impl Front {
    pub async fn of(moto: &Moto) -> Self {
        let post = Arc::new(Post {
            behind: moto.url.clone(),
            http: reqwest::Client::new(),
            asked: AtomicUsize::new(0),
            together: watch::Sender::default(),
            waiting: watch::Sender::default(),
        });
        let app = Router::new()
            .fallback(hand_on)
            .with_state(Arc::clone(&post));
        let url = serve(app).await;
        Self { url, post }
    }

    /// What leads a function to it.
    pub fn variables(&self) -> [(String, String); 4] {
        variables(&self.url)
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.post.asked.load(Ordering::SeqCst)
    }

    /// Answers nobody until so many are waiting at once.
    pub fn answer_together(&self, requests: usize) {
        self.post.together.send_replace(requests);
    }

    /// Answers nobody.
    pub fn fall_silent(&self) {
        self.answer_together(usize::MAX);
    }
}

async fn hand_on(State(post): State<Arc<Post>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    post.asked.fetch_add(1, Ordering::SeqCst);
    post.waiting.send_modify(|waiting| *waiting += 1);
    loop {
        let (mut waiting, mut together) = (post.waiting.subscribe(), post.together.subscribe());
        if *waiting.borrow_and_update() >= *together.borrow_and_update() {
            break;
        }
        tokio::select! {
            _ = waiting.changed() => {}
            _ = together.changed() => {}
        }
    }
    // Those that waited together need no others any more.
    post.together.send_replace(0);
    let request = post.http.post(&post.behind).headers(headers).body(body);
    let response = request.send().await.unwrap();
    let status = response.status();
    let mut answer = Response::new(Body::from(response.bytes().await.unwrap()));
    *answer.status_mut() = status;
    answer
}

/// What leads a function to an AWS at this address.
pub fn variables(url: &str) -> [(String, String); 4] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("NO_PROXY", "127.0.0.1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// moto reads out of it which service is meant.
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
