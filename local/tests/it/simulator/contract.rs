//! The contract for requests and sessions.

use std::time::Duration;

use bytes::Bytes;
use common::insights::apps;
use http::Request;
use http_body_util::{BodyExt, Full};
use local::simulator::{Options, UnknownSession};
use serde_json::json;

use super::{TestCall, send, start};

#[tokio::test]
async fn any_body_with_a_prompt_gets_a_response() {
    let simulator = start(Options::default()).await;
    let bodies = [
        r#"{"input":{"prompt":"在吗"}}"#,
        r#"{"model":"","parameters":{},"input":{"prompt":"在吗"},"debug":{}}"#,
        r#"{"surprise":[1],"input":{"other":null,"prompt":"在吗"},"parameters":{"x":{}}}"#,
        r#"{"input":{"messages":[{"role":"user","content":"在吗"}]}}"#,
        r#"{"input":{"messages":[{"role":"user","content":[{"text":"在吗"}]}]}}"#,
    ];
    for body in bodies {
        let request = Request::post("/api/v1/apps/app1_chat/completion")
            .header("authorization", "Bearer sk-1")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = send(&simulator, request).await;
        assert_eq!(response.status(), 200, "{body}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("你问的是“在吗”"));
    }
}

#[tokio::test]
async fn the_headers_decide_on_streaming() {
    let simulator = start(Options::default()).await;
    let by_accept = TestCall::new("app1_chat", "在吗").header("accept", "text/event-stream");
    assert!(
        by_accept
            .answer(&simulator)
            .await
            .body
            .starts_with("id:1\nevent:result\n")
    );
    let by_body = TestCall::new("app1_chat", "在吗").parameter("stream", true);
    assert_eq!(by_body.answer(&simulator).await.kind, "application/json");
}

#[tokio::test]
async fn invalid_requests_are_refused_as_by_dashscope() {
    let simulator = start(Options {
        apps: Some(vec!["app1_chat".into()]),
        ..Options::default()
    })
    .await;
    let call = || TestCall::new("app1_chat", "在吗");
    let refusals = [
        (
            call().header("authorization", "Bearer "),
            401,
            "InvalidApiKey",
        ),
        (
            call().header("authorization", "sk-test"),
            401,
            "InvalidApiKey",
        ),
        (
            call().header("x-dashscope-async", "enable"),
            403,
            "AccessDenied",
        ),
        (
            call().header("x-dashscope-workspace", "-no"),
            400,
            "InvalidParameter",
        ),
        (
            call().header("x-sim-scenario", "typo"),
            400,
            "InvalidParameter",
        ),
        (call().input("prompt", 7), 400, "InvalidParameter"),
        (TestCall::new("stranger", "在吗"), 403, "App.AccessDenied"),
        (TestCall::new("", "在吗"), 403, "App.AccessDenied"),
    ];
    let count = refusals.len();
    for (call, status, code) in refusals {
        let answer = call.answer(&simulator).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    assert_eq!(simulator.calls_count(), count, "refused calls are calls");

    let long = "长".repeat(6 << 20);
    assert_eq!(
        call()
            .input("prompt", long.as_str())
            .answer(&simulator)
            .await
            .status,
        413
    );
    let picture = ["data:image/png;base64,", &long].concat();
    let with_picture = call().input("image_list", json!([picture]));
    assert_eq!(with_picture.answer(&simulator).await.status, 200);
}

#[tokio::test]
async fn a_known_session_continues_and_others_start_new() {
    let simulator = start(Options {
        session_rounds: 3,
        ..Options::default()
    })
    .await;
    let say = async |app: &str, session: &str| {
        let answer = TestCall::new(app, "在吗")
            .input("session_id", session)
            .answer(&simulator)
            .await;
        answer.json()["output"]["session_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let session = say("app1_chat", "").await;
    assert_eq!(session.len(), 32);
    assert_ne!(
        say("app1_chat", "7487614168b445b49049a89e3b55ac48").await,
        session
    );
    assert_ne!(say("another_app", &session).await, session);
    assert_eq!(say("app1_chat", &session).await, session);
    assert_eq!(say("app1_chat", &session).await, session);
    assert_ne!(
        say("app1_chat", &session).await,
        session,
        "the session has expired in the fourth round"
    );

    let young = say("app1_chat", "").await;
    simulator.expire_sessions();
    assert_ne!(say("app1_chat", &young).await, young);
}

#[tokio::test]
async fn an_expired_session_may_be_refused() {
    let options = Options {
        unknown_session: UnknownSession::Refuse,
        session_lifetime: Duration::ZERO,
        ..Options::default()
    };
    let simulator = start(options).await;
    let first = TestCall::new("app1_chat", "在吗")
        .answer(&simulator)
        .await
        .json();
    let again = TestCall::new("app1_chat", "在吗")
        .input("session_id", first["output"]["session_id"].clone());
    let answer = again.answer(&simulator).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "InvalidParameter")
    );
}

#[tokio::test]
async fn a_request_with_history_starts_no_session() {
    let simulator = start(Options::default()).await;
    let first = TestCall::new("app1_chat", "在吗")
        .answer(&simulator)
        .await
        .json();
    let session = &first["output"]["session_id"];
    let call = TestCall::new("app1_chat", "在吗")
        .input("session_id", session.clone())
        .input("messages", json!([{ "role": "user", "content": "你好" }]));
    assert_ne!(
        &call.answer(&simulator).await.json()["output"]["session_id"],
        session
    );
}

#[tokio::test]
async fn the_same_call_gets_the_same_response() {
    let simulator = start(Options::default()).await;
    let prompt = "[页面上下文: finance]\n今日营收：12,800 元\n\n[历史对话]\n用户: 你好\nAI: 在\n\n[当前问题]\n今天营收怎么样？";
    let first = TestCall::streaming("app1_chat", prompt)
        .answer(&simulator)
        .await
        .text();
    assert_eq!(
        TestCall::streaming("app1_chat", prompt)
            .answer(&simulator)
            .await
            .text(),
        first
    );
    assert!(first.contains("今日营收为12,800 元"), "{first}");
    assert!(first.contains("“今天营收怎么样？”"), "{first}");
    assert_ne!(
        TestCall::streaming("app1_chat", "会员呢？")
            .answer(&simulator)
            .await
            .text(),
        first
    );
}

#[tokio::test]
async fn json_apps_return_json() {
    let simulator = start(Options::default()).await;
    let prompt = r#"请分析：{"member": {"nickname": "李雷"}, "visits_30d": 3, "spent": 1280}"#;
    for app in apps::background() {
        let answer = TestCall::new(app.name(), prompt).answer(&simulator).await;
        let answer = answer.json();
        let text = answer["output"]["text"].as_str().unwrap();
        let checked = apps::check(app, text);
        assert!(checked.is_ok(), "{app:?}: {checked:?}");
    }
}

#[tokio::test]
async fn calls_are_recorded_up_to_the_limit() {
    let simulator = start(Options {
        record: 2,
        ..Options::default()
    })
    .await;
    for prompt in ["一", "二", "三"] {
        TestCall::streaming("app%31_chat", prompt)
            .answer(&simulator)
            .await;
    }
    let calls = simulator.calls();
    let prompts: Vec<_> = calls
        .iter()
        .map(local::simulator::RecordedCall::prompt)
        .collect();
    assert_eq!(prompts, ["二", "三"]);
    assert_eq!(simulator.calls_count(), 3);
    assert_eq!(calls[0].app_id, "app1_chat");
    assert_eq!(calls[0].header("authorization"), Some("Bearer sk-test-000"));
    assert!(calls[0].stream);
}
