//! Every form of failure, by what the caller is told.

use std::error::Error as _;

use super::server::{head, json, response, sse};
use super::*;

const RATE: &str = include_str!("../testdata/error-429.json");
const KEY: &str = include_str!("../testdata/error-401.json");
const FIRST: &str = include_str!("../testdata/stream-error-first.sse");
const FRAMED: &str = include_str!("../testdata/error-400-framed.sse");

#[tokio::test]
async fn an_error_says_the_same_in_each_of_its_forms() {
    let data = r#"{"code":"DataInspectionFailed","message":"m","request_id":"r"}"#;
    let frame = format!("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{data}\n\n");
    for (form, response) in [
        ("plain", json(400, data)),
        ("framed", response(400, "text/event-stream", &*frame)),
        (
            "framed, mislabelled",
            response(400, "application/json", &*frame),
        ),
        (
            "plain, mislabelled",
            response(400, "text/event-stream", data),
        ),
        (
            "in an error object",
            json(400, format!(r#"{{"error":{data}}}"#)),
        ),
        ("first frame", sse(&*frame)),
        (
            "first frame, not called an error",
            sse(format!("data:{data}\n\n")),
        ),
        ("plain with 200", json(200, data)),
    ] {
        let error = error_of(response).await;
        assert!(matches!(error, Error::Refused { .. }), "{form}: {error}");
        assert_eq!(error.code(), "refused", "{form}");
        assert_eq!(error.request_id(), Some("r"), "{form}");
        assert_eq!(
            error.details().code.as_deref(),
            Some("DataInspectionFailed"),
            "{form}"
        );
        assert_eq!(error.details().message.as_deref(), Some("m"), "{form}");
        assert!(
            !error.is_retryable() && !error.counts_for_circuit() && !error.may_have_cost(),
            "{form}"
        );
    }
}

#[tokio::test]
async fn the_documented_errors_have_their_kinds() {
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
    assert!(error.is_retryable() && error.counts_for_circuit() && !error.may_have_cost());
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
async fn an_error_in_mid_stream_comes_after_the_text_and_may_have_cost() {
    let server = Server::start(vec![sse(ERROR_MID)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    let error = answer.unwrap_err();
    assert_eq!(text, "收到");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.may_have_cost());
    assert_eq!(
        error.details().usage,
        Some(Usage {
            input_tokens: 31,
            output_tokens: 2
        })
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn text_is_never_asked_for_twice() {
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
        assert!(error.is_retryable() && error.may_have_cost(), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_without_its_end_is_truncated_however_it_stops() {
    let text = &DELTA[..DELTA.find("id:5").unwrap()];
    let cut = &DELTA[..DELTA.len() - 20];
    for (way, response, has_source) in [
        ("closed in good order", sse(text), false),
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
async fn a_stop_that_came_whole_counts_though_the_connection_was_cut_after_it() {
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
async fn a_whole_answer_without_its_end_is_truncated_too() {
    let server = Server::start(vec![json(200, OK.replace("\"stop\"", "\"null\""))]).await;
    let error = client(&server).complete(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    let server = Server::start(vec![json(200, &OK[..60])]).await;
    let error = client(&server).complete(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_json_is_a_protocol_error() {
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
async fn a_gateways_page_is_judged_by_its_status() {
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
async fn the_body_of_an_error_is_read_as_far_as_it_is_useful() {
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
async fn a_line_without_an_end_is_refused() {
    let mut script = vec![head(200, "text/event-stream", "")];
    script.extend(vec![Step::Send(vec![b'x'; 1 << 20]); 9]);
    script.push(Step::Hang);
    let error = error_of(script).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_large_line_is_read() {
    let text = "图".repeat(1 << 20);
    let body =
        format!("data:{{\"output\":{{\"text\":\"{text}\",\"finish_reason\":\"stop\"}}}}\n\n");
    let server = Server::start(vec![sse(body)]).await;
    let (got, answer) = events(&client(&server), &call()).await;
    assert!(answer.is_ok());
    assert!(got == text);
}

#[tokio::test]
async fn a_service_that_gave_up_late_may_have_cost() {
    let error = error_of(json(500, r#"{"code":"RequestTimeOut","message":"m"}"#)).await;
    assert!(matches!(error, Error::Unavailable { .. }) && error.may_have_cost());
    let error = error_of(json(500, r#"{"code":"InternalError","message":"m"}"#)).await;
    assert!(matches!(error, Error::Unavailable { .. }) && !error.may_have_cost());
}
