//! Trace and request ids in log lines and in calls to DashScope.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::json;

use crate::harness::{
    cloud::{Cloud, about, recorded_of, with_body},
    parlor::{COACH, Parlor, answer},
};

const HEADER: &str = "x-amzn-trace-id";
const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// The trace header of the last call to DashScope.
fn sent_trace(parlor: &Parlor) -> Option<String> {
    let calls = parlor.simulator.calls();
    calls.last().unwrap().header(HEADER).map(str::to_owned)
}

#[tokio::test]
async fn a_valid_client_trace_is_forwarded_to_dashscope() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let send = async |trace: Option<&str>| {
        let request = parlor.request_as(COACH, "POST", &path);
        let request = match trace {
            Some(trace) => request.header(HEADER, trace),
            None => request,
        };
        answer(request.json(&json!({ "content": "你好" })))
            .await
            .ok();
        sent_trace(&parlor)
    };
    let header = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0");
    let kept = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
    assert_eq!(send(Some(&header)).await, Some(kept));
    assert_eq!(send(None).await, None);
    for nonsense in [
        "",
        "Root=",
        "Root=1-x-y",
        &format!("{header};{}", "x".repeat(600)),
    ] {
        assert_eq!(send(Some(nonsense)).await, None, "{nonsense}");
    }

    // A streamed reply is made in a separate task.
    let stream = parlor.request_as(COACH, "POST", "/api/xcx/chat/stream");
    let stream = stream.header(HEADER, format!("Root={ROOT}"));
    let body = json!({ "chatId": chat, "content": "你好" });
    let response = stream.json(&body).send().await.unwrap();
    response.text().await.unwrap();
    assert_eq!(sent_trace(&parlor), Some(format!("Root={ROOT}")));
}

#[tokio::test]
async fn log_lines_have_the_request_ids_and_the_dashscope_time() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "你好" });
    let send = with_body(about(recorded_of("chat-send", COACH), chat), &body);
    cloud.answer("chat-messages", &send).await.ok();
    let answered = cloud.log_line("chat-messages", "request finished").await;
    let ended = cloud.log_line("chat-messages", "reply ended").await;
    for line in [&answered, &ended] {
        assert!(line["latency_ms"].is_u64(), "{line}");
        assert!(line["upstream_latency_ms"].is_u64(), "{line}");
        assert_eq!(line["span"]["site_id"], 1, "{line}");
        assert_eq!(line["span"]["user_id"], COACH, "{line}");
    }
    assert_eq!(answered["route"], "/api/xcx/chat/{chatId}/messages");
    assert!(ended["first_token_ms"].is_u64(), "{ended}");
    for id in ["request_id", "trace_id"] {
        assert!(answered["span"][id].is_string(), "{answered}");
        assert_eq!(answered["span"][id], ended["span"][id]);
    }
    // Lambda's own trace is used, not the one in the event's header.
    let root = answered["span"]["trace_id"].as_str().unwrap();
    let header = sent_trace(&cloud.parlor).unwrap();
    assert_eq!(header, format!("Root={root};Sampled=0"));
    assert!(
        !send["headers"]["X-Amzn-Trace-Id"]
            .as_str()
            .unwrap()
            .contains(root)
    );

    // For a stream, the request line is logged with the response head, and the reply line at its
    // end.
    let stream = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.parlor.simulator.hold_after(1);
    let mut events = cloud.stream("chat-stream", &stream).await;
    events.expect("start").await;
    let answered = cloud.log_line("chat-stream", "request finished").await;
    assert!(answered.get("upstream_latency_ms").is_none(), "{answered}");
    cloud.parlor.simulator.release();
    events.rest().await;
    let ended = cloud.log_line("chat-stream", "reply ended").await;
    assert!(ended["upstream_latency_ms"].is_u64(), "{ended}");
    assert_eq!(answered["span"]["trace_id"], ended["span"]["trace_id"]);
}
