//! Tests of all kinds of errors.

use std::error::Error as _;

use super::server::{head, json, response, sse};
use super::*;

const RATE: &str = include_str!("../testdata/error-429.json");
const KEY: &str = include_str!("../testdata/error-401.json");
const FIRST: &str = include_str!("../testdata/stream-error-first.sse");
const FRAMED: &str = include_str!("../testdata/error-400-framed.sse");

#[tokio::test]
async fn error_is_the_same_in_each_form() {
    let data = r#"{"code":"DataInspectionFailed","message":"m","request_id":"r"}"#;
    let frame = format!("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{data}\n\n");
    for (form, response) in [
        ("plain", json(400, data)),
        ("framed", response(400, "text/event-stream", &*frame)),
        (
            "framed, wrong content type",
            response(400, "application/json", &*frame),
        ),
        (
            "plain, wrong content type",
            response(400, "text/event-stream", data),
        ),
        (
            "in an error object",
            json(400, format!(r#"{{"error":{data}}}"#)),
        ),
        ("first frame", sse(&*frame)),
        (
            "first frame, not marked as an error",
            sse(format!("data:{data}\n\n")),
        ),
        ("plain with 200", json(200, data)),
    ] {
        let error = error_of(response).await;
        assert!(matches!(error, Error::Blocked { .. }), "{form}: {error}");
        assert_eq!(error.code(), "content_blocked", "{form}");
        assert_eq!(error.request_id(), Some("r"), "{form}");
        assert_eq!(
            error.details().code.as_deref(),
            Some("DataInspectionFailed"),
            "{form}"
        );
        assert_eq!(error.details().message.as_deref(), Some("m"), "{form}");
        assert!(
            !error.is_retryable() && !error.counts_for_circuit() && !may_have_cost(&error),
            "{form}"
        );
    }
}

#[tokio::test]
async fn documented_errors_have_their_kinds() {
    let error = error_of(json(401, KEY)).await;
    assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "DashScope rejects the key, the application or the account: InvalidApiKey: Invalid API-key provided. (HTTP 401)"
    );
    let error = error_of(json(429, RATE)).await;
    assert!(
        matches!(
            error,
            Error::Throttled {
                retry_after: None,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable() && error.counts_for_circuit() && !may_have_cost(&error));
    let error = error_of(sse(FIRST)).await;
    assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
    assert_eq!(
        error.details().status,
        Some(403),
        "the frame's status counts"
    );
    let error = error_of(sse(FRAMED)).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn error_in_mid_stream_is_returned_after_the_text_and_may_have_cost() {
    let server = Server::start(vec![sse(ERROR_MID)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    let error = answer.unwrap_err();
    assert_eq!(text, "收到");
    assert!(matches!(error, Error::Blocked { .. }), "{error}");
    assert!(may_have_cost(&error));
    assert_eq!(
        error.details().usage,
        Some(Usage::of_model("qwen-plus", 31, 2))
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failure_after_the_first_text_is_not_retried() {
    let frame = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    for end in [
        "event:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\"}\n\n",
        "event:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling\"}\n\n",
        "",
    ] {
        let server = Server::start(vec![sse(format!("{frame}{end}"))]).await;
        let (text, answer) = events(&client(&server), &call()).await;
        let error = answer.unwrap_err();
        assert_eq!(text, "收到");
        assert!(error.is_retryable() && may_have_cost(&error), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn stream_without_finish_reason_is_truncated() {
    let text = &DELTA[..DELTA.find("id:5").unwrap()];
    let cut = &DELTA[..DELTA.len() - 20];
    for (way, response, has_source) in [
        ("closed normally", sse(text), false),
        ("closed in mid-frame", sse(cut), false),
        (
            "fewer bytes than promised",
            vec![
                head(200, "text/event-stream", "content-length: 99999\r\n"),
                Step::Send(text.into()),
            ],
            true,
        ),
    ] {
        let server = Server::start(vec![response]).await;
        let (got, answer) = events(&client(&server), &call()).await;
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{way}: {error}");
        assert_eq!(error.source().is_some(), has_source, "{way}");
        assert_eq!(got, "收到，请继续。", "{way}");
    }
}

#[tokio::test]
async fn complete_stop_counts_even_if_the_connection_is_cut_after_it() {
    let body = DELTA.trim_end();
    let script = vec![
        head(200, "text/event-stream", "content-length: 99999\r\n"),
        Step::Send(body.into()),
    ];
    let server = Server::start(vec![script]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!(text, "收到，请继续。");
    assert_eq!(answer.unwrap().attempts(), 1);
}

#[tokio::test]
async fn whole_answer_without_finish_reason_is_truncated() {
    let server = Server::start(vec![json(200, OK.replace("\"stop\"", "\"null\""))]).await;
    let error = client(&server)
        .complete(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    let server = Server::start(vec![json(200, &OK[..60])]).await;
    let error = client(&server)
        .complete(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

#[tokio::test]
async fn invalid_json_is_a_protocol_error() {
    for body in [
        "data:{\"output\":oops}\n\n",
        "data:oops\n\n",
        "data:{\"output\":{\"text\":\"\u{0}\"}}\n\n",
    ] {
        let error = error_of(sse(body)).await;
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        assert!(error.source().is_some() && !error.is_retryable());
    }
    let mut broken = b"data:{\"output\":{\"text\":\"".to_vec();
    broken.extend(b"\xE6\x94\"}}\n\n");
    assert!(matches!(
        error_of(sse(broken)).await,
        Error::Protocol { .. }
    ));
}

#[tokio::test]
async fn page_of_a_gateway_is_mapped_by_its_status() {
    let error = error_of(response(502, "text/html", "<html>bad gateway</html>")).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(
        error.details().message.as_deref(),
        Some("<html>bad gateway</html>")
    );
    let error = error_of(response(413, "text/html", "")).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn only_the_start_of_an_error_body_is_read() {
    let mut huge = RATE.as_bytes().to_vec();
    huge.extend(std::iter::repeat_n(b'\n', 20 << 20));
    let error = error_of(response(429, "application/json", huge)).await;
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    let page = vec![
        head(500, "text/html", ""),
        Step::Send(vec![b'x'; 1 << 20]),
        Step::Hang,
    ];
    let error = error_of(page).await;
    assert!(error.details().message.as_ref().unwrap().len() <= 500);
}

#[tokio::test]
async fn endless_line_is_a_protocol_error() {
    let mut script = vec![head(200, "text/event-stream", "")];
    script.extend(vec![Step::Send(vec![b'x'; 1 << 20]); 9]);
    script.push(Step::Hang);
    let error = error_of(script).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn line_of_three_megabytes_is_read() {
    let text = "图".repeat(1 << 20);
    let body =
        format!("data:{{\"output\":{{\"text\":\"{text}\",\"finish_reason\":\"stop\"}}}}\n\n");
    let server = Server::start(vec![sse(body)]).await;
    let client = DashScope::new(Config {
        max_answer: text.len(),
        ..config(&server)
    })
    .unwrap();
    let (got, answer) = events(&client, &call()).await;
    assert!(answer.is_ok());
    assert!(got == text);
}

#[tokio::test]
async fn timeout_of_the_service_may_have_cost() {
    let error = error_of(json(500, r#"{"code":"RequestTimeOut","message":"m"}"#)).await;
    assert!(matches!(error, Error::Unavailable { .. }) && may_have_cost(&error));
    let error = error_of(json(500, r#"{"code":"InternalError","message":"m"}"#)).await;
    assert!(matches!(error, Error::Unavailable { .. }) && !may_have_cost(&error));
}
