//! Direct invocations of a function.

use super::*;

#[tokio::test]
async fn a_recorded_get_gets_a_response() {
    let answer = answered_json(invoke(&echo().await, &recorded("rest-get.json")).await).await;
    assert_eq!(answer["method"], "GET");
    assert_eq!(answer["path"], "/echo/42");
    // The runtime keeps the order of a parameter's values, but not of the parameters.
    let mut query: Vec<_> = answer["query"].as_str().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["page=1", "page=2", "q=%E5%8F%B0%E7%90%83"]);
    assert_eq!(answer["body"], "");
}

#[tokio::test]
async fn the_request_id_comes_from_lambda_not_from_the_client() {
    let answer = answered_json(invoke(&echo().await, &recorded("rest-get.json")).await).await;
    assert!(uuid::Uuid::try_parse(answer["requestId"].as_str().unwrap()).is_ok());
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
            open(&gates, &number.to_string());
        }
        assert_eq!(chunk(&mut body).await, format!("data: {number}\n\n"));
    }
    assert!(within(body.frame()).await.is_none());
}

#[tokio::test]
async fn an_event_of_the_wrong_shape_is_an_error_and_the_next_is_served() {
    let emulator = echo_alone().await;
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
    let emulator = echo_alone().await;
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
    let emulator = echo_alone().await;
    let outcome = invoke(&emulator, &get_event("/panic-in-stream", None)).await;
    let process = emulator.instances("echo").unwrap();
    let (status, body) = answered(outcome).await;
    assert_eq!(status, 200);
    assert_eq!(body, "data: 0\n\n");
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap(), process);
}

#[tokio::test]
async fn an_empty_response_and_one_above_the_buffered_limit_arrive() {
    let emulator = echo().await;
    let (status, body) = answered(invoke(&emulator, &get_event("/empty", None)).await).await;
    assert_eq!((status.as_u16(), body.len()), (204, 0));
    let (status, body) = answered(invoke(&emulator, &get_event("/big", None)).await).await;
    assert_eq!((status.as_u16(), body.len()), (200, 8 * 1024 * 1024));
}

#[tokio::test]
async fn the_deadline_is_the_start_plus_the_timeout() {
    let mut spec = spec("echo").await;
    spec.timeout = Duration::from_mins(50);
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
async fn concurrent_events_are_served_by_separate_processes() {
    let gates = tempfile::tempdir().unwrap();
    let mut spec = spec("echo").await;
    spec.max_instances = 2;
    let emulator = Emulator::start(vec![spec]).unwrap();
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
    // Both processes are kept and reused.
    answered_json(invoke(&emulator, &recorded("rest-get.json")).await).await;
    assert_eq!(emulator.instances("echo").unwrap().len(), 2);
}

#[tokio::test]
async fn events_beyond_the_limit_are_queued() {
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
    assert!(emulator.instances("echo").unwrap().is_empty());
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
async fn the_output_of_a_function_is_kept() {
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
    let mut spec = spec("plain").await;
    spec.max_instances = 1;
    let emulator = Emulator::start(vec![spec]).unwrap();
    let sum = async |event: Value| within(emulator.invoke("plain", &event)).await.unwrap();
    let outcome = sum(json!({"a": 1, "b": 2})).await;
    let Outcome::Response(payload) = outcome else {
        panic!("{outcome:?}")
    };
    let answer: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(answer["total"], 3);
    let process = emulator.instances("plain").unwrap();
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
    assert_eq!(emulator.instances("plain").unwrap(), process);
}

#[tokio::test]
async fn a_plain_event_has_its_deadline_and_its_id_in_the_log() {
    let mut spec = spec("plain").await;
    spec.timeout = Duration::from_mins(50);
    let emulator = Emulator::start(vec![spec]).unwrap();
    let ids = async |expected: usize| {
        let event = json!({"a": 1, "b": 2});
        let outcome = within(emulator.invoke("plain", &event)).await.unwrap();
        let Outcome::Response(payload) = outcome else {
            panic!("{outcome:?}")
        };
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        let remaining = answer["remainingMs"].as_u64().unwrap();
        assert!((2_900_000..=3_000_000).contains(&remaining), "{remaining}");
        let ids = || -> Vec<String> {
            let lines = emulator.logs("plain").unwrap().into_iter();
            lines
                .filter_map(|line| serde_json::from_str(&line).ok())
                .filter(|line: &Value| line["message"] == "added")
                .map(|line| line["span"]["request_id"].as_str().unwrap().to_owned())
                .collect()
        };
        until(|| ids().len() == expected).await;
        ids()
    };
    let first = ids(1).await;
    let both = ids(2).await;
    assert_eq!(both[0], first[0]);
    assert!(!both[0].is_empty() && both[0] != both[1], "{both:?}");
}

#[tokio::test]
async fn a_function_without_a_binary_is_refused() {
    let mut spec = spec("echo").await;
    spec.binary.set_extension("missing");
    let error = Emulator::start(vec![spec]).unwrap_err();
    assert!(error.to_string().contains("echo_function.missing"));
}
