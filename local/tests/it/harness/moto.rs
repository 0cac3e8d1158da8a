//! AWS, played by moto: a server of the test's own, and what leads a function to it.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    child::{self, Program},
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
