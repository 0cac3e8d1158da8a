//! Which request a line of the log, and a call of DashScope, belong to.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use serde_json::json;

use crate::harness::{
    cloud::{Cloud, about, recorded_of, with_body},
    parlor::{COACH, Parlor, answer},
};

const HEADER: &str = "x-amzn-trace-id";
const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// What DashScope was told last.
fn told(parlor: &Parlor) -> Option<String> {
    let calls = parlor.simulator.calls();
    calls.last().unwrap().header(HEADER).map(str::to_owned)
}

#[tokio::test]
async fn a_clients_trace_goes_on_to_dashscope_and_what_is_none_does_not() {
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
        told(&parlor)
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

    // A stream's reply is made by a task of its own.
    let stream = parlor.request_as(COACH, "POST", "/api/xcx/chat/stream");
    let stream = stream.header(HEADER, format!("Root={ROOT}"));
    let body = json!({ "chatId": chat, "content": "你好" });
    let response = stream.json(&body).send().await.unwrap();
    response.text().await.unwrap();
    assert_eq!(told(&parlor), Some(format!("Root={ROOT}")));
}

#[tokio::test]
async fn the_lines_of_a_request_have_its_ids_and_how_long_dashscope_took() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "你好" });
    let send = with_body(about(recorded_of("chat-send", COACH), chat), &body);
    cloud.answer("chat-messages", &send).await.ok();
    let answered = cloud.said("chat-messages", "request finished").await;
    let ended = cloud.said("chat-messages", "reply ended").await;
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
    // Lambda's own trace, and not the one of the event's header.
    let root = answered["span"]["trace_id"].as_str().unwrap();
    let header = told(&cloud.parlor).unwrap();
    assert_eq!(header, format!("Root={root};Sampled=0"));
    assert!(
        !send["headers"]["X-Amzn-Trace-Id"]
            .as_str()
            .unwrap()
            .contains(root)
    );

    // A stream is answered when its head is: its end is told later.
    let stream = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.parlor.simulator.hold_after(1);
    let mut events = cloud.stream("chat-stream", &stream).await;
    events.expect("start").await;
    let answered = cloud.said("chat-stream", "request finished").await;
    assert!(answered.get("upstream_latency_ms").is_none(), "{answered}");
    cloud.parlor.simulator.release();
    events.rest().await;
    let ended = cloud.said("chat-stream", "reply ended").await;
    assert!(ended["upstream_latency_ms"].is_u64(), "{ended}");
    assert_eq!(answered["span"]["trace_id"], ended["span"]["trace_id"]);
}
