//! The job queue (moto): messages that a function sends, and failures to send them.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode};
use local::emulator::{Emulator, FunctionSpec, Outcome, binaries};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{
    collector::Collector,
    moto::{self, Moto},
    parlor::serve,
    until,
};

/// A function that wakes workers, with these variables.
async fn function(env: &[(String, String)]) -> Emulator {
    let examples = binaries::build_examples().await.unwrap();
    let spec = FunctionSpec {
        name: "wake".to_owned(),
        binary: examples.join("wake_function"),
        env: env.to_vec(),
        timeout: Duration::from_mins(1),
        memory_mb: 512,
        max_instances: 1,
        max_concurrency: 1,
    };
    Emulator::start(vec![spec]).unwrap()
}

/// A function whose messages go to this queue.
async fn function_with_queue(aws: [(String, String); 4], queue: &str) -> Emulator {
    let queue = ("JOB_QUEUE_URL".to_owned(), queue.to_owned());
    function(&[&aws[..], &[queue]].concat()).await
}

/// Invokes the function. It never fails.
async fn wake(emulator: &Emulator, event: Value) {
    let outcome = emulator.invoke("wake", &event).await.unwrap();
    let Outcome::Response(answer) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(answer, "null");
}

/// Waits for warnings of a function.
async fn warnings(emulator: &Emulator) -> Vec<Value> {
    until("the warning is logged", async || {
        let warnings = warnings_so_far(emulator);
        (!warnings.is_empty()).then_some(warnings)
    })
    .await
}

fn warnings_so_far(emulator: &Emulator) -> Vec<Value> {
    let lines = emulator.logs("wake").unwrap().into_iter();
    lines
        .filter_map(|line| serde_json::from_str(&line).ok())
        .filter(|line: &Value| line["level"] == "WARN" || line["level"] == "ERROR")
        .collect()
}

/// Checks the only warning: of `jobs` messages, `unsent` were not sent, with this cause.
async fn assert_warned(emulator: &Emulator, jobs: u32, unsent: u32, cause: &str) {
    let warnings = warnings(emulator).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = &warnings[0];
    assert_eq!(warning["message"], "job workers could not be woken");
    assert_eq!(
        (&warning["jobs"], &warning["unsent"]),
        (&json!(jobs), &json!(unsent))
    );
    assert!(
        warning["cause"].as_str().unwrap().contains(cause),
        "{warning}"
    );
    assert!(!warning["span"]["request_id"].is_null(), "{warning}");
}

#[tokio::test]
async fn as_many_messages_are_sent_as_there_are_jobs() {
    let moto = Moto::start().await;
    let queue = moto.create_queue("jobs").await;
    let emulator = function_with_queue(moto.variables(), &queue).await;
    let mut sent = 0;
    for jobs in [0, 1, 10, 11, 40] {
        wake(&emulator, json!({ "jobs": jobs })).await;
        sent += jobs;
        assert_eq!(moto.counts(&queue).await, (sent, 0), "{jobs}");
    }
    let messages = moto.receive(&queue).await;
    assert_eq!(messages.len(), 10);
    for message in messages {
        assert_eq!(message["Body"], r#"{"wake":"job-worker"}"#);
    }
    assert!(warnings_so_far(&emulator).is_empty());
}

/// moto drops the trace header of messages sent in a batch, so this test reads the request to SQS.
#[tokio::test]
async fn each_message_has_the_trace_and_the_span_of_its_sender() {
    let (asked, mut entries) = tokio::sync::mpsc::unbounded_channel();
    let url = serve(Router::new().fallback(async move |body: String| {
        asked.send(body).unwrap();
        let kind = [("content-type", "application/x-amz-json-1.0")];
        (kind, taken(0..2, 0..0).1.to_string())
    }))
    .await;
    let queue = format!("{url}/123456789012/jobs");
    let collector = Collector::start().await;
    let (name, endpoint) = collector.variable();
    let variables = [
        &moto::variables(&url)[..],
        &[("JOB_QUEUE_URL".to_owned(), queue)],
        &[(name.to_owned(), endpoint.to_owned())],
    ];
    let emulator = function(&variables.concat()).await;
    wake(&emulator, json!({ "jobs": 2 })).await;
    let request: Value = serde_json::from_str(&entries.recv().await.unwrap()).unwrap();
    let headers = [0, 1].map(|entry| {
        let attributes = &request["Entries"][entry]["MessageSystemAttributes"];
        let header = &attributes["AWSTraceHeader"];
        assert_eq!(header["DataType"], "String", "{request}");
        header["StringValue"].as_str().unwrap()
    });
    assert_eq!(headers[0], headers[1]);
    assert!(headers[0].starts_with("Root=1-"), "{request}");
    let spans = collector.spans();
    let sender = spans.iter().find(|span| span.name == "wake").unwrap();
    let expected = format!("00-{}-{}-01", sender.trace, sender.id);
    let attribute = &request["Entries"][1]["MessageAttributes"]["traceparent"];
    assert_eq!(attribute["StringValue"], expected, "{request}");
    assert!(warnings_so_far(&emulator).is_empty());
}

#[tokio::test]
async fn message_delays_are_capped_at_the_limit_of_sqs() {
    let moto = Moto::start().await;
    let queue = moto.create_queue("jobs").await;
    let emulator = function_with_queue(moto.variables(), &queue).await;
    let hour = 3_600_000;
    wake(&emulator, json!({ "jobs": 2, "delay_ms": 600_000 })).await;
    wake(&emulator, json!({ "jobs": 11, "delay_ms": hour })).await;
    assert_eq!(moto.counts(&queue).await, (0, 13));
    wake(&emulator, json!({ "jobs": 1, "delay_ms": 0 })).await;
    assert_eq!(moto.counts(&queue).await, (1, 13));
    assert!(warnings_so_far(&emulator).is_empty());
}

#[tokio::test]
async fn without_a_queue_nothing_is_sent_or_logged() {
    let emulator = function(&moto::variables("http://127.0.0.1:1")).await;
    wake(&emulator, json!({ "jobs": 11 })).await;
    assert!(warnings_so_far(&emulator).is_empty());
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_a_warning_and_no_failure() {
    let moto = Moto::start().await;
    let queue = "https://sqs.ap-southeast-1.amazonaws.com/123456789012/nowhere";
    let emulator = function_with_queue(moto.variables(), queue).await;
    wake(&emulator, json!({ "jobs": 11 })).await;
    assert_warned(&emulator, 11, 11, "a batch could not be sent").await;
}

#[tokio::test]
async fn an_unreachable_or_silent_aws_is_a_warning_and_no_failure() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for (url, cause) in [
        ("http://127.0.0.1:1", "a batch could not be sent"),
        (&silent, "did not respond in time"),
    ] {
        let queue = format!("{url}/123456789012/jobs");
        let emulator = function_with_queue(moto::variables(url), &queue).await;
        wake(&emulator, json!({ "jobs": 11 })).await;
        assert_warned(&emulator, 11, 11, cause).await;
    }
}

/// An SQS whose nth response is `answer(n)`.
async fn scripted(
    answer: impl Fn(usize) -> (StatusCode, Value) + Clone + Send + Sync + 'static,
) -> String {
    let asked = Arc::new(AtomicUsize::new(0));
    serve(Router::new().fallback(async move || {
        let (status, body) = answer(asked.fetch_add(1, Ordering::Relaxed));
        let kind = [("content-type", "application/x-amz-json-1.0")];
        (status, kind, body.to_string())
    }))
    .await
}

fn taken(ids: Range<u32>, refused: Range<u32>) -> (StatusCode, Value) {
    let taken: Vec<_> = ids
        .map(|id| json!({ "Id": id.to_string(), "MessageId": "m", "MD5OfMessageBody": "" }))
        .collect();
    let refused: Vec<_> = refused
        .map(|id| json!({ "Id": id.to_string(), "SenderFault": false, "Code": "InternalError" }))
        .collect();
    let body = json!({ "Successful": taken, "Failed": refused });
    (StatusCode::OK, body)
}

#[tokio::test]
async fn a_short_failure_of_sqs_is_retried() {
    let url = scripted(|asked| match asked {
        0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        _ => taken(0..3, 0..0),
    })
    .await;
    let queue = format!("{url}/123456789012/jobs");
    let emulator = function_with_queue(moto::variables(&url), &queue).await;
    wake(&emulator, json!({ "jobs": 3 })).await;
    assert_eq!(warnings_so_far(&emulator), [] as [Value; 0]);
}

#[tokio::test]
async fn rejected_messages_are_counted() {
    let part = scripted(|asked| match asked {
        0 => taken(0..7, 7..10),
        _ => taken(0..1, 0..0),
    })
    .await;
    let then_ill = scripted(|asked| match asked {
        0 => taken(0..10, 0..0),
        _ => (StatusCode::FORBIDDEN, json!({ "__type": "AccessDenied" })),
    })
    .await;
    for (url, unsent, cause) in [
        (part, 3, "rejected part of a batch: InternalError"),
        (then_ill, 1, "AccessDenied"),
    ] {
        let queue = format!("{url}/123456789012/jobs");
        let emulator = function_with_queue(moto::variables(&url), &queue).await;
        wake(&emulator, json!({ "jobs": 11 })).await;
        assert_warned(&emulator, 11, unsent, cause).await;
    }
}
