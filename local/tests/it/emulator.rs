//! The emulator, with real processes: every way in which a function can answer, and fail to.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use local::emulator::{Emulator, FunctionSpec, Outcome, Route, binaries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<F: Future>(what: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, what).await;
    waited.expect("it should have happened by now")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn spec(name: &str) -> FunctionSpec {
    let examples = binaries::build_examples().await.unwrap();
    FunctionSpec {
        name: name.to_owned(),
        binary: examples.join(format!("{name}_function")),
        env: Vec::new(),
        timeout: PATIENCE,
        memory_mb: 512,
        max_instances: 10,
    }
}

async fn echo() -> Emulator {
    Emulator::start(vec![spec("echo").await]).unwrap()
}

fn recorded(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/events");
    let text = std::fs::read(path.join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A recorded `GET`, sent to another path.
fn get_event(path: &str, dir: Option<&TempDir>) -> Value {
    let mut event = recorded("rest-stream.json");
    event["path"] = path.into();
    let dir = dir.map(|dir| dir.path().to_str().unwrap());
    event["queryStringParameters"] = json!({"dir": dir.unwrap_or_default()});
    event["multiValueQueryStringParameters"] = json!({"dir": [dir.unwrap_or_default()]});
    event
}

async fn invoke(emulator: &Emulator, event: &Value) -> Outcome {
    within(emulator.invoke("echo", event)).await.unwrap()
}

/// The status and the body of an answer in the form that HTTP functions give: a stream.
async fn answered(outcome: Outcome) -> (StatusCode, Bytes) {
    assert!(matches!(outcome, Outcome::Stream(_)), "{outcome:?}");
    let response = within(outcome.into_http()).await.unwrap();
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap();
    (status, body.to_bytes())
}

async fn answered_json(outcome: Outcome) -> Value {
    let (status, body) = answered(outcome).await;
    assert_eq!(status, 200);
    serde_json::from_slice(&body).unwrap()
}

fn open(dir: &TempDir, gate: impl ToString) {
    std::fs::write(dir.path().join(gate.to_string()), "").unwrap();
}

fn started(dir: &TempDir) -> usize {
    let names = std::fs::read_dir(dir.path()).unwrap();
    names
        .filter(|name| {
            let name = name.as_ref().unwrap().file_name();
            name.to_str().unwrap().starts_with("started-")
        })
        .count()
}

/// One connection and one request, as a client on the network makes it.
async fn send(address: SocketAddr, request: Request<Body>) -> Response<Incoming> {
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .unwrap();
    tokio::task::spawn_local(connection);
    within(sender.send_request(request)).await.unwrap()
}

fn request(method: Method, uri: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.header("host", "local").body(body.into()).unwrap()
}

fn get(uri: &str) -> Request<Body> {
    request(Method::GET, uri, Body::empty())
}

async fn serve(emulator: &Emulator) -> SocketAddr {
    let route = |method, path: &str, streaming| Route {
        method,
        path: path.to_owned(),
        function: "echo".to_owned(),
        streaming,
    };
    let routes = vec![
        route(Method::POST, "/echo/{id}", true),
        route(Method::GET, "/echo/{id}", true),
        route(Method::GET, "/stream", true),
        route(Method::GET, "/wait", true),
        route(Method::GET, "/panic", true),
        route(Method::GET, "/exit", true),
        route(Method::GET, "/empty", true),
        route(Method::GET, "/big", true),
        route(Method::GET, "/echo", false),
    ];
    let router = emulator.router(routes).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move { axum::serve(listener, router).await });
    address
}

async fn json_body(response: Response<Incoming>) -> Value {
    let body = within(response.into_body().collect()).await.unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

async fn chunk(
    body: &mut (impl hyper::body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin),
) -> String {
    let frame = within(body.frame()).await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// A test with clients and servers of its own beside the emulator's tasks.
macro_rules! local {
    ($body:block) => {
        tokio::task::LocalSet::new().run_until(async $body).await
    };
}

#[tokio::test]
async fn a_recorded_get_is_answered() {
    let answer = answered_json(invoke(&echo().await, &recorded("rest-get.json")).await).await;
    assert_eq!(answer["method"], "GET");
    assert_eq!(answer["path"], "/echo/42");
    assert_eq!(answer["query"], "page=1&page=2&q=%E5%8F%B0%E7%90%83");
    assert_eq!(answer["body"], "");
}

#[tokio::test]
async fn the_request_id_is_lambdas_whatever_the_client_sent() {
    let answer = answered_json(invoke(&echo().await, &recorded("rest-get.json")).await).await;
    let ids = answer["requestIds"].as_array().unwrap();
    assert_eq!(ids.len(), 1);
    assert!(uuid::Uuid::try_parse(ids[0].as_str().unwrap()).is_ok());
}

#[tokio::test]
async fn a_recorded_json_body_arrives() {
    let event = recorded("rest-post-json.json");
    let answer = answered_json(invoke(&echo().await, &event).await).await;
    assert_eq!(answer["body"], event["body"]);
}

#[tokio::test]
async fn a_recorded_base64_body_arrives_decoded() {
    let event = recorded("rest-post-base64.json");
    let answer = answered_json(invoke(&echo().await, &event).await).await;
    assert_eq!(answer["bodyBase64"], event["body"]);
}

#[tokio::test]
async fn a_stream_arrives_chunk_by_chunk() {
    let gates = tempfile::tempdir().unwrap();
    let outcome = invoke(&echo().await, &get_event("/stream", Some(&gates))).await;
    let response = within(outcome.into_http()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for number in 0..5 {
        if number > 0 {
            open(&gates, number);
        }
        assert_eq!(chunk(&mut body).await, format!("data: {number}\n\n"));
    }
    assert!(within(body.frame()).await.is_none());
}

#[tokio::test]
async fn an_event_of_the_wrong_shape_is_an_error_and_the_next_is_served() {
    let emulator = echo().await;
    for _ in 0..2 {
        let outcome = invoke(&emulator, &recorded("sqs.json")).await;
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(error.message.contains("expects a JSON payload"), "{error}");
    }
    let first = emulator.instances("echo").unwrap();
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap(), first);
    assert_eq!(first.len(), 1);
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_next_event_is_served() {
    let emulator = echo().await;
    let outcome = invoke(&emulator, &get_event("/panic", None)).await;
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.message, "Lambda panicked: as asked");
    let process = emulator.instances("echo").unwrap();
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap(), process);
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_cleanly_and_the_next_event_is_served() {
    let emulator = echo().await;
    let outcome = invoke(&emulator, &get_event("/panic-in-stream", None)).await;
    let (status, body) = answered(outcome).await;
    assert_eq!(status, 200);
    assert_eq!(body, "data: 0\n\n");
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_without_a_body_and_one_beyond_the_buffered_limit_are_answered() {
    let emulator = echo().await;
    let (status, body) = answered(invoke(&emulator, &get_event("/empty", None)).await).await;
    assert_eq!((status.as_u16(), body.len()), (204, 0));
    let (status, body) = answered(invoke(&emulator, &get_event("/big", None)).await).await;
    assert_eq!((status.as_u16(), body.len()), (200, 8 * 1024 * 1024));
}

#[tokio::test]
async fn the_deadline_is_the_timeout_from_now() {
    let mut spec = spec("echo").await;
    spec.timeout = Duration::from_secs(3000);
    let emulator = Emulator::start(vec![spec]).unwrap();
    let answer = answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    let remaining = answer["remainingMs"].as_u64().unwrap();
    assert!((2_900_000..=3_000_000).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn a_function_is_killed_at_its_deadline() {
    let gates = tempfile::tempdir().unwrap();
    let mut spec = spec("echo").await;
    spec.timeout = Duration::from_millis(300);
    let emulator = Emulator::start(vec![spec]).unwrap();
    let outcome = invoke(&emulator, &get_event("/wait", Some(&gates))).await;
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.kind, "Sandbox.Timedout");
    assert!(error.message.ends_with("Task timed out after 0.30 seconds"));
    until(|| emulator.instances("echo").unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_stream_is_cut_at_the_deadline() {
    let gates = tempfile::tempdir().unwrap();
    let mut spec = spec("echo").await;
    spec.timeout = Duration::from_secs(2);
    let emulator = Emulator::start(vec![spec]).unwrap();
    let outcome = invoke(&emulator, &get_event("/stream", Some(&gates))).await;
    let mut body = within(outcome.into_http()).await.unwrap().into_body();
    assert_eq!(chunk(&mut body).await, "data: 0\n\n");
    assert!(within(body.frame()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_crash_is_an_error_and_the_next_event_gets_a_new_process() {
    let emulator = echo().await;
    let outcome = invoke(&emulator, &get_event("/exit", None)).await;
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.kind, "Runtime.ExitError");
    assert!(error.message.contains("exit status: 3"), "{error}");
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
}

#[tokio::test]
async fn events_at_once_are_served_by_processes_of_their_own() {
    let gates = tempfile::tempdir().unwrap();
    let emulator = echo().await;
    let event = get_event("/wait", Some(&gates));
    let (first, second, ()) = tokio::join!(
        invoke(&emulator, &event),
        invoke(&emulator, &event),
        async {
            until(|| started(&gates) == 2).await;
            open(&gates, "go");
        }
    );
    let (first, second) = (answered(first).await.1, answered(second).await.1);
    assert_ne!(first, second);
    // Both are kept, and used again.
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap().len(), 2);
}

#[tokio::test]
async fn events_beyond_the_limit_wait_for_their_turn() {
    let gates = tempfile::tempdir().unwrap();
    let mut spec = spec("echo").await;
    spec.max_instances = 1;
    let emulator = Emulator::start(vec![spec]).unwrap();
    let event = get_event("/wait", Some(&gates));
    let (first, second, ()) = tokio::join!(
        invoke(&emulator, &event),
        invoke(&emulator, &event),
        async {
            until(|| started(&gates) == 1).await;
            open(&gates, "go");
        }
    );
    assert_eq!(answered(first).await, answered(second).await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_is_frozen_between_events() {
    let emulator = echo().await;
    let answer = answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    let stat = format!("/proc/{}/stat", answer["processId"]);
    let state = || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next()
    };
    until(|| state() == Some('T')).await;
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
}

#[tokio::test]
async fn an_idle_process_that_was_killed_is_replaced() {
    let emulator = echo().await;
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    let before = emulator.instances("echo").unwrap();
    assert_eq!(within(emulator.kill("echo")).await.unwrap(), 1);
    assert_eq!(emulator.instances("echo").unwrap(), []);
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_ne!(emulator.instances("echo").unwrap(), before);
}

#[tokio::test]
async fn the_processes_end_with_the_emulator() {
    let emulator = echo().await;
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    let process = emulator.instances("echo").unwrap()[0];
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    drop(emulator);
    until(|| rustix::process::test_kill_process(process).is_err()).await;
}

#[tokio::test]
async fn what_a_function_writes_is_kept() {
    let emulator = echo().await;
    invoke(&emulator, &get_event("/panic", None)).await;
    until(|| {
        let logs = emulator.logs("echo").unwrap();
        logs.iter().any(|line| line.contains("as asked"))
    })
    .await;
}

#[tokio::test]
async fn plain_events_are_served_and_failures_named() {
    let emulator = Emulator::start(vec![spec("plain").await]).unwrap();
    let sum = async |event: Value| within(emulator.invoke("plain", &event)).await.unwrap();
    let outcome = sum(json!({"a": 1, "b": 2})).await;
    let Outcome::Response(payload) = outcome else {
        panic!("{outcome:?}")
    };
    let answer: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(answer["total"], 3);
    assert!(uuid::Uuid::try_parse(answer["requestId"].as_str().unwrap()).is_ok());
    for (event, message) in [
        (json!({"a": u32::MAX, "b": 1}), "too large"),
        (json!({"a": 1}), "missing field `b`"),
        (json!("text"), "invalid type"),
    ] {
        let outcome = sum(event).await;
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(error.message.contains(message), "{error}");
    }
    assert_eq!(emulator.instances("plain").unwrap().len(), 1);
}

#[tokio::test]
async fn a_function_without_a_binary_is_refused() {
    let mut spec = spec("echo").await;
    spec.binary.set_extension("missing");
    let error = Emulator::start(vec![spec]).unwrap_err();
    assert!(error.to_string().contains("echo_function.missing"));
}

#[tokio::test]
async fn the_gateway_makes_events_of_requests_and_responses_of_answers() {
    local!({
        let address = serve(&echo().await).await;
        let body: &'static [u8] = &[0, 159, 255];
        let response = send(address, request(Method::POST, "/echo/a%20b?x=1&x=2", body)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let answer = json_body(response).await;
        assert_eq!(answer["path"], "/echo/a%20b");
        assert_eq!(answer["query"], "x=1&x=2");
        assert_eq!(answer["bodyBase64"], "AJ//");
        let response = send(address, get("/empty")).await;
        assert_eq!(response.status(), 204);
        let response = send(address, get("/big")).await;
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes().len(), 8 * 1024 * 1024);
    });
}

#[tokio::test]
async fn the_gateway_streams_chunk_by_chunk() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let address = serve(&echo().await).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut body = send(address, get(&uri)).await.into_body();
        for number in 0..5 {
            if number > 0 {
                open(&gates, number);
            }
            assert_eq!(chunk(&mut body).await, format!("data: {number}\n\n"));
        }
    });
}

#[tokio::test]
async fn the_gateway_answers_404_for_what_has_no_route() {
    local!({
        let address = serve(&echo().await).await;
        for request in [
            get("/nowhere"),
            get("/echo/1/2"),
            request(Method::DELETE, "/echo/1", ""),
            request(Method::HEAD, "/empty", ""),
        ] {
            assert_eq!(send(address, request).await.status(), 404);
        }
    });
}

#[tokio::test]
async fn the_gateway_answers_502_for_a_failed_function() {
    local!({
        let address = serve(&echo().await).await;
        for uri in ["/panic", "/exit"] {
            let response = send(address, get(uri)).await;
            assert_eq!(response.status(), 502, "{uri}");
            let answer = json_body(response).await;
            assert_eq!(answer, json!({"message": "Internal server error"}));
        }
    });
}

#[tokio::test]
async fn a_buffered_integration_takes_a_stream_for_malformed() {
    local!({
        let address = serve(&echo().await).await;
        assert_eq!(send(address, get("/echo")).await.status(), 502);
    });
}

#[tokio::test]
async fn a_kill_in_mid_stream_breaks_the_connection_and_the_next_request_works() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut body = send(address, get(&uri)).await.into_body();
        assert_eq!(chunk(&mut body).await, "data: 0\n\n");
        assert_eq!(within(emulator.kill("echo")).await.unwrap(), 1);
        assert!(within(body.frame()).await.unwrap().is_err());
        assert_eq!(send(address, get("/echo/1")).await.status(), 200);
    });
}

#[tokio::test]
async fn a_client_that_leaves_cancels_nothing() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut streaming = send(address, get(&uri)).await.into_body();
        assert_eq!(chunk(&mut streaming).await, "data: 0\n\n");
        drop(streaming);
        for number in 1..5 {
            open(&gates, number);
        }
        until(|| gates.path().join("done").exists()).await;
    });
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_nothing() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/wait?dir={}", gates.path().display());
        let client = tokio::task::spawn_local(send(address, get(&uri)));
        until(|| started(&gates) == 1).await;
        client.abort();
        open(&gates, "go");
        let process = emulator.instances("echo").unwrap()[0];
        let finished = gates.path().join(format!("finished-{process}"));
        until(|| finished.exists()).await;
    });
}
