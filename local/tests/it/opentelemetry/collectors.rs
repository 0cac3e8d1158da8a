//! A collector that fails, or none at all: replies are as without traces.

use super::*;

/// The warnings about lost spans.
fn warnings(log: &[Value]) -> Vec<&Value> {
    let lines = log.iter();
    lines
        .filter(|line| line["message"] == "spans could not be exported")
        .collect()
}

/// Serves a chat with traces to `url`, and returns the log.
async fn served_with(url: &str) -> Vec<Value> {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("RUN_BACKGROUND", "false"),
    ];
    let server = Server::start_with(&parlor, &[], &variables).await;
    let id = parlor.open(COACH, "t").await;
    for _ in 0..2 {
        chat(&server, id, QUESTION).await;
    }
    end(server).await
}

#[tokio::test]
async fn a_refusing_collector_changes_no_reply_and_is_one_warning() {
    let collector = Collector::refusing().await;
    let log = served_with(&collector.url).await;
    assert_eq!(collector.requests(), 1);
    let warnings = warnings(&log);
    assert_eq!(warnings.len(), 1, "{log:?}");
    let lost = warnings[0]["lost"].as_u64().unwrap();
    assert_eq!(lost, u64::try_from(collector.spans().len()).unwrap());
}

#[tokio::test]
async fn a_hanging_collector_changes_no_reply_and_the_server_ends() {
    let collector = Collector::hanging().await;
    let log = served_with(&collector.url).await;
    assert_eq!(warnings(&log).len(), 1, "{log:?}");
}

#[tokio::test]
async fn an_absent_collector_changes_no_reply() {
    let log = served_with("http://127.0.0.1:1").await;
    assert_eq!(warnings(&log).len(), 1, "{log:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_valid_turns_traces_off_and_is_not_shown() {
    let log = served_with("http://name:secret@ host").await;
    let error = log.iter().find(|line| line["message"] == "traces are off");
    let cause = error.unwrap()["cause"].as_str().unwrap();
    assert!(
        cause.contains("OTEL_EXPORTER_OTLP_… is not valid"),
        "{cause}"
    );
    assert!(!format!("{log:?}").contains("secret@"), "{log:?}");
}

#[tokio::test]
async fn without_the_variable_nothing_is_exported() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let collector = Collector::start().await;
    let endpoint = format!("{}/v1/traces", collector.url);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("RUN_BACKGROUND", "false"),
    ];
    let server = Server::start_with(&parlor, &[], &variables).await;
    let id = parlor.open(COACH, "t").await;
    chat(&server, id, QUESTION).await;
    let log = end(server).await;
    assert_eq!(collector.requests(), 0);
    let line = log
        .iter()
        .find(|line| line["message"] == "request finished");
    assert!(line.unwrap()["span"].get("trace_id").is_none());
}
