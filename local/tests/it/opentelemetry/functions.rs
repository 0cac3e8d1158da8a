//! Lambda functions: Lambda freezes the process when the response ends, so the spans are exported
//! before.

use super::*;
use crate::harness::cloud::{Cloud, about, recorded, recorded_of, with_body};

/// The functions, which export to `collector`.
async fn traced(collector: &Collector) -> Cloud {
    let (name, value) = collector.variable();
    Cloud::start_with(|spec| {
        spec.env.push((name.to_owned(), value.to_owned()));
        spec.max_instances = 1;
    })
    .await
}

#[tokio::test]
async fn a_streaming_function_exports_before_its_response_ends() {
    let collector = Collector::start().await;
    let cloud = traced(&collector).await;
    let id = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "chatId": id, "content": format!("[[sim:echo]]{QUESTION}") });
    let event = with_body(recorded_of("chat-stream", COACH), &body);
    let events = cloud.stream("chat-stream", &event).await.rest().await;
    assert_eq!(text(&events), format!("[[sim:echo]]{QUESTION}"));
    let spans = collector.spans();
    let request = only(&spans, "POST /api/xcx/chat/stream");
    for name in [
        "invoke_agent app1_chat",
        "SELECT begin_reply",
        "SELECT finish_reply",
    ] {
        assert!(only(&spans, name).is_child_of(request), "{spans:?}");
    }
    assert!(request.get("aws.xray.trace_id").starts_with("1-"));
    assert_eq!(collector.resource()["faas.name"], "chat-stream");
    assert!(!collector.has_text("生日"));
}

#[tokio::test]
async fn a_json_function_and_a_schedule_export_before_they_end() {
    let collector = Collector::start().await;
    let cloud = traced(&collector).await;
    let id = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "content": QUESTION });
    let event = with_body(about(recorded_of("chat-send", COACH), id), &body);
    cloud.answer("chat-messages", &event).await.ok();
    only(&collector.spans(), "POST /api/xcx/chat/{chatId}/messages");
    cloud.report("sweep", &recorded("schedule")).await;
    let spans = collector.spans();
    let sweep = only(&spans, "sweep");
    let mut below = spans.iter().filter(|span| span.is_child_of(sweep));
    assert!(below.any(|span| span.name == "SELECT take_sweep_lock"));
    assert!(!sweep.get("faas.invocation_id").is_empty());
}

#[tokio::test]
async fn a_worker_is_linked_to_the_requests_that_woke_it() {
    let collector = Collector::start().await;
    let cloud = traced(&collector).await;
    let (trace, sender) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut event = recorded("sqs");
    event["Records"][0]["messageAttributes"] = json!({
        "traceparent": { "stringValue": format!("00-{trace}-{sender}-01"), "dataType": "String" }
    });
    cloud.report("job-worker", &event).await;
    let spans = collector.spans();
    let worker = only(&spans, "job-worker");
    assert_eq!(worker.links, [(trace.to_owned(), sender.to_owned())]);
    assert_eq!(worker.parent, "", "its jobs may be of several requests");
}

#[tokio::test]
async fn a_hanging_collector_does_not_fail_a_function() {
    let collector = Collector::hanging().await;
    let cloud = traced(&collector).await;
    let id = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "chatId": id, "content": QUESTION });
    let event = with_body(recorded_of("chat-stream", COACH), &body);
    for _ in 0..2 {
        let events = cloud.stream("chat-stream", &event).await.rest().await;
        assert_eq!(terminal(&events).name, "done");
    }
    assert_eq!(collector.requests(), 1, "after a failure it pauses");
    let warning = cloud
        .log_line("chat-stream", "spans could not be exported")
        .await;
    assert_eq!(warning["cause"], "the collector did not respond in time");
    assert_eq!(
        warning["lost"].as_u64(),
        u64::try_from(collector.spans().len()).ok()
    );
}
