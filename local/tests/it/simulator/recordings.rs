//! The simulator sends the same bytes as the recordings.

use local::simulator::{Ids, Options, Simulator};

use super::{TestCall, start};

/// Counts as 31 tokens, like the recorded prompt.
const PROMPT: &str = "请帮我看一下今天的店务安排";

async fn start_with_recorded_ids() -> Simulator {
    let ids = Ids::Fixed {
        session_id: "0f3a9c5d7e2b48c19a6d4e8f7b1c2d30".into(),
        request_id: "4c1f7b52-0d0e-9a6b-8f53-2b7c9d1e0a11".into(),
    };
    start(Options {
        ids,
        ..Options::default()
    })
    .await
}

/// The response body of a scenario with the recorded ids.
async fn answer(scenario: &str, call: TestCall) -> String {
    let simulator = start_with_recorded_ids().await;
    simulator.set_scenario(None, Some(scenario.parse().expect("a scenario")));
    call.answer(&simulator).await.body
}

#[tokio::test]
async fn a_stream_of_deltas_is_written_as_recorded() {
    let body = answer("say:收到|，请|继续。", TestCall::streaming("ok", PROMPT)).await;
    assert_eq!(body, include_str!("../golden/stream-delta.sse"));
}

#[tokio::test]
async fn a_cumulative_stream_is_written_as_recorded() {
    let call = TestCall::streaming("ok", PROMPT).parameter("incremental_output", false);
    let body = answer("say:收到|，请|继续。", call).await;
    assert_eq!(body, include_str!("../golden/stream-cumulative.sse"));
}

#[tokio::test]
async fn a_plain_answer_is_written_as_recorded() {
    let body = answer("say:收到|，请|继续。", TestCall::new("ok", PROMPT)).await;
    assert_eq!(body, include_str!("../golden/ok.json"));
}

#[tokio::test]
async fn an_error_in_the_middle_is_written_as_recorded() {
    let body = answer("inspection+say:收到", TestCall::streaming("ok", PROMPT)).await;
    assert_eq!(body, include_str!("../golden/stream-error-mid.sse"));
}

#[tokio::test]
async fn an_error_at_the_start_is_written_as_recorded() {
    let body = answer("app-denied", TestCall::streaming("ok", PROMPT)).await;
    assert_eq!(body, include_str!("../golden/stream-error-first.sse"));
}

#[tokio::test]
async fn workflow_messages_are_written_as_recorded() {
    let call = TestCall::streaming("ok", PROMPT).parameter("flow_stream_mode", "message_format");
    let body = answer("say:收到", call).await;
    assert_eq!(body, include_str!("../golden/stream-workflow.sse"));
}

#[tokio::test]
async fn refusals_are_written_as_recorded() {
    let simulator = start_with_recorded_ids().await;
    let stranger = TestCall::new("ok", PROMPT).header("authorization", "Bearer nonsense");
    let unauthorized = stranger.answer(&simulator).await;
    assert_eq!(unauthorized.status, 401);
    assert_eq!(unauthorized.body, include_str!("../golden/error-401.json"));

    let throttled = TestCall::streaming("sim-throttle", PROMPT)
        .answer(&simulator)
        .await;
    assert_eq!(throttled.status, 429);
    assert_eq!(throttled.body, include_str!("../golden/error-429.json"));

    let framed = TestCall::streaming("ok", "").answer(&simulator).await;
    assert_eq!(
        (framed.status, framed.kind.as_str()),
        (400, "text/event-stream;charset=UTF-8")
    );
    assert_eq!(framed.body, include_str!("../golden/error-400-framed.sse"));
}
