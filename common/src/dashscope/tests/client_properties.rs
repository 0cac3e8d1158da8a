//! Properties of answers and error responses with any bytes, in chunks of any size. No server is
//! used.

use std::convert::Infallible;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::dashscope::answer::Event;
use crate::dashscope::tests::{golden, way};
use crate::dashscope::{BEIJING, Usage};
use crate::dashscope::{json::WORD_LENGTH, wire::MESSAGE_LENGTH};
use crate::properties::{cases, cuts, json, text};

const NAMES: &[&str] = &[
    "output",
    "text",
    "finish_reason",
    "session_id",
    "usage",
    "code",
    "message",
    "request_id",
    "error",
];

/// Codes of the service, and the error code that each one maps to.
const CODES: &[(&str, &str)] = &[
    ("Throttling", "throttled"),
    ("Throttling.RateQuota", "throttled"),
    ("Throttling.BurstRate", "throttled"),
    ("InvalidParameter", "refused"),
    ("DataInspectionFailed", "content_blocked"),
    ("InvalidApiKey", "misconfigured"),
    ("Arrearage", "misconfigured"),
    ("App.AccessDenied", "misconfigured"),
    ("PrepaidBillOverdue", "misconfigured"),
    ("InternalError.Algo", "unavailable"),
    ("SystemError", "unavailable"),
    ("ModelUnavailable", "unavailable"),
];

fn ready<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// A time limit that no test reaches.
fn far_end() -> End {
    End::of(
        Instant::now() + Duration::from_mins(1),
        Duration::from_mins(1),
    )
}

fn response(status: u16, headers: &[(&str, &[u8])], chunks: &[&[u8]]) -> Response {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk)))
        .collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap().into()
}

/// Everything that a caller receives from an answer.
#[derive(Debug, PartialEq)]
struct Received {
    pieces: Vec<String>,
    /// Code and details of the error that ended the answer.
    failure: Option<(&'static str, ErrorDetails)>,
    session_id: Option<String>,
    request_id: Option<String>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
}

fn received(chunks: &[&[u8]]) -> Received {
    ready(async {
        let mut received = Received {
            pieces: Vec::new(),
            failure: None,
            session_id: None,
            request_id: None,
            usage: None,
            finish_reason: None,
        };
        let failed = |error: Error| Some((error.code(), error.details().clone()));
        let body = Body {
            response: response(200, &[], chunks),
            connections: Connections::new(Duration::ZERO),
        };
        let limits = Limits {
            first_token: None,
            end: far_end(),
            idle: Duration::from_mins(1),
            bytes: usize::MAX,
        };
        let mut answer = match AnswerStream::begin(body, None, limits, None).await {
            Ok(answer) => answer,
            Err(error) => {
                received.failure = failed(error);
                return received;
            }
        };
        loop {
            match answer.next().await {
                Ok(Event::Text(piece)) => received.pieces.push(piece),
                Ok(Event::Done) => break,
                Err(error) => {
                    received.failure = failed(error);
                    break;
                }
            }
        }
        received.session_id = answer.session_id().map(str::to_owned);
        received.request_id = answer.request_id().map(str::to_owned);
        received.usage = answer.spent().usage;
        received.finish_reason = answer.finish_reason().map(str::to_owned);
        received
    })
}

fn error_of(status: u16, headers: &[(&str, &[u8])], chunks: &[&[u8]]) -> Error {
    ready(response_error(response(status, headers, chunks), far_end()))
}

/// The frames of an answer. Each one has a new piece (`incremental`), or the whole text so far.
fn frames(pieces: &[String], incremental: bool) -> Vec<(Option<u16>, Value)> {
    let mut so_far = String::new();
    let mut frames: Vec<_> = (1..)
        .zip(pieces)
        .map(|(number, piece)| {
            so_far.push_str(piece);
            let text = if incremental { piece } else { &so_far };
            let data = json!({
                "output": { "text": text, "session_id": "s", "finish_reason": "null" },
                "usage": { "models": [{ "input_tokens": 3, "output_tokens": number }] },
                "request_id": "r",
            });
            (None, data)
        })
        .collect();
    let text = if incremental { "" } else { &so_far };
    let end = json!({ "output": { "text": text, "session_id": "s", "finish_reason": "stop" }, "usage": {} });
    frames.push((None, end));
    frames
}

/// A status of a response with a body that is not a success.
fn status() -> impl Strategy<Value = u16> {
    prop_oneof![
        select(vec![
            300_u16, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503
        ]),
        300..600_u16,
    ]
}

/// The error code for a status without a known service code.
fn code_of_status(status: u16) -> &'static str {
    match status {
        429 => "throttled",
        408 => "unavailable",
        401 | 403 | 404 => "misconfigured",
        _ if status >= 500 => "unavailable",
        _ if status < 400 => "misconfigured",
        _ => "refused",
    }
}

fn check_kept(error: &Error) -> Result<(), TestCaseError> {
    let details = error.details();
    for (word, most) in [
        (&details.message, MESSAGE_LENGTH),
        (&details.code, WORD_LENGTH),
        (&details.request_id, WORD_LENGTH),
    ] {
        let Some(word) = word else { continue };
        prop_assert!(word.chars().count() <= most && !word.contains('\0'));
    }
    let text = error.to_string();
    prop_assert!(text.chars().count() <= 100 + MESSAGE_LENGTH + WORD_LENGTH);
    prop_assert!(!text.contains('\0'));
    Ok(())
}

#[test]
fn endless_line_after_the_end_of_an_answer_is_ignored() {
    let (_, body) = golden()
        .into_iter()
        .find(|(name, _)| name == "stream-delta.sse")
        .unwrap();
    let long = vec![b'x'; 8 * 1024 * 1024 - 10];
    let chunks: [&[u8]; 4] = [&body, &long, b"xxxxxxxxxxxxxxxxxxxx\n:more\n", b":more\n"];
    assert_eq!(received(&chunks), received(&[&body]));
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn bytes_after_the_end_of_an_answer_do_not_change_it(
        pieces in vec("[a-z]{1,5}", 0..4),
        tail in prop_oneof![
            vec(any::<u8>(), 0..200),
            json(NAMES).prop_map(|value| format!("\n\ndata:{value}\n\n").into_bytes()),
        ],
        way in way(),
        cuts in cuts(),
    ) {
        let mut body = way.write(&frames(&pieces, true));
        body.push(b'\n');
        let without = received(&[&body]);
        body.extend(tail);
        let with = received(&cuts.of(&body));
        prop_assert_eq!(Received { usage: None, ..with }, Received { usage: None, ..without });
    }

    #[test]
    fn recorded_payload_gives_the_same_events_for_any_cuts(
        (name, body) in select(golden()),
        cuts in cuts(),
    ) {
        prop_assert_eq!(received(&cuts.of(&body)), received(&[&body]), "{}", name);
    }

    #[test]
    fn answer_is_received_unchanged_for_any_format_and_cuts(
        // Without `<`, which may begin a mark and is then kept back.
        pieces in vec(text().prop_map(|text| text.replace('<', "")), 0..6),
        incremental in any::<bool>(),
        way in way(),
        cuts in cuts(),
    ) {
        // A first text that no piece repeats by chance.
        let pieces = [vec!["本月营业额排第一".to_owned()], pieces].concat();
        let body = way.write(&frames(&pieces, incremental));
        let received = received(&cuts.of(&body));
        prop_assert_eq!(received.failure, None);
        let sent: Vec<_> = pieces.iter().filter(|piece| !piece.is_empty()).collect();
        prop_assert_eq!(received.pieces.iter().collect::<Vec<_>>(), sent);
        prop_assert_eq!(received.finish_reason.as_deref(), Some("stop"));
        prop_assert_eq!(received.session_id.as_deref(), Some("s"));
        let tokens = received.usage.map(|usage| usage.output_tokens());
        prop_assert_eq!(tokens, i64::try_from(pieces.len()).ok().filter(|pieces| *pieces > 0));
    }

    #[test]
    fn answer_that_stops_in_the_middle_is_truncated(
        pieces in vec("[a-z]{1,5}", 1..5),
        way in way(),
        kept in any::<prop::sample::Index>(),
        cuts in cuts(),
    ) {
        let whole = way.write(&frames(&pieces, true));
        let end = whole.windows(4).rposition(|window| window == b"stop").unwrap();
        let received = received(&cuts.of(&whole[..kept.index(end)]));
        prop_assert_eq!(received.failure.map(|(code, _)| code), Some("truncated"));
        prop_assert!(pieces.concat().starts_with(&received.pieces.concat()));
    }

    #[test]
    fn error_in_mid_stream_is_returned_after_the_text(
        pieces in vec("[a-z]{1,5}", 0..5),
        (code, kind) in select(CODES),
        message in text(),
        status in 400..600_u16,
        way in way(),
        cuts in cuts(),
    ) {
        let mut frames = frames(&pieces, true);
        frames.pop();
        frames.push((Some(status), json!({ "code": code, "message": message, "request_id": "e" })));
        let received = received(&cuts.of(&way.write(&frames)));
        let (kind_found, details) = received.failure.unwrap();
        prop_assert_eq!(kind_found, kind);
        prop_assert_eq!(details.code.as_deref(), Some(code));
        prop_assert_eq!(details.request_id.as_deref(), Some("e"));
        prop_assert_eq!(details.may_have_cost, !pieces.is_empty());
        // A piece that repeats the first one is returned together with the next.
        prop_assert_eq!(received.pieces.concat(), pieces.concat());
    }

    #[test]
    fn any_bytes_end_an_answer_without_panic_or_timeout(chunks in vec(vec(any::<u8>(), 0..100), 0..10)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let received = received(&chunks);
        let (code, details) = received.failure.unwrap_or(("done", ErrorDetails::default()));
        prop_assert!(!code.starts_with("timeout") && code != "deadline");
        prop_assert!(details.message.is_none_or(|message| message.chars().count() <= MESSAGE_LENGTH));
    }

    #[test]
    fn any_json_in_frames_ends_an_answer_without_timeout(values in vec(json(NAMES), 0..4), way in way(), cuts in cuts()) {
        let frames: Vec<_> = values.into_iter().map(|value| (None, value)).collect();
        let body = way.write(&frames);
        let received = received(&cuts.of(&body));
        prop_assert!(received.failure.is_none_or(|(code, _)| !code.starts_with("timeout")));
    }

    #[test]
    fn error_response_of_any_bytes_is_mapped_by_status_and_cut(
        status in status(),
        body in vec(any::<u8>(), 0..2_000),
        request_id in vec(33..127_u8, 0..600),
        cuts in cuts(),
    ) {
        // Random bytes are almost never a JSON object with a code.
        let error = error_of(status, &[("x-request-id", &request_id)], &cuts.of(&body));
        prop_assert_eq!(error.code(), code_of_status(status));
        prop_assert_eq!(error.details().status, Some(status));
        check_kept(&error)?;
    }

    #[test]
    fn error_response_of_any_json_is_one_of_four_kinds_and_cut(
        status in status(),
        body in json(NAMES),
        times in 1..200_usize,
        cuts in cuts(),
    ) {
        let mut body = body;
        for name in ["code", "message", "request_id"] {
            if let Some(Value::String(word)) = body.get_mut(name) {
                *word = word.repeat(times);
            }
        }
        let body = body.to_string();
        let error = error_of(status, &[], &cuts.of(body.as_bytes()));
        prop_assert!(["throttled", "unavailable", "refused", "misconfigured"].contains(&error.code()));
        check_kept(&error)?;
    }

    #[test]
    fn known_code_decides_else_the_status(
        status in status(),
        (known, kind) in select(CODES),
        unknown in "[A-Z][a-z]{8}\\.[0-9]",
        message in "[a-z ]{0,20}",
        framed in any::<bool>(),
        way in way(),
        cuts in cuts(),
    ) {
        for (code, kind) in [(known, kind), (&*unknown, code_of_status(status))] {
            let data = json!({ "code": code, "message": message, "request_id": "e" });
            let body = if framed {
                way.write(&[(Some(status), data)])
            } else {
                data.to_string().into_bytes()
            };
            let error = error_of(status, &[], &cuts.of(&body));
            prop_assert_eq!(error.code(), kind, "{}", code);
            prop_assert_eq!(error.details().code.as_deref(), Some(code));
            prop_assert_eq!(error.request_id(), Some("e"));
        }
    }

    #[test]
    fn retry_after_is_read_and_any_other_text_is_none(
        seconds in 0..100_000_u64,
        any_value in vec(prop_oneof![32..127_u8, 128..=255_u8], 0..40),
        name in select(vec!["retry-after", "retry-after-ms", "date"]),
    ) {
        let header = seconds.to_string();
        let error = error_of(429, &[("retry-after", header.as_bytes())], &[]);
        prop_assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        let error = error_of(429, &[(name, &any_value), ("retry-after", b"soon")], &[]);
        let number = str::from_utf8(&any_value).ok().and_then(|text| text.trim().parse::<f64>().ok());
        prop_assert!(error.retry_after().is_none() || number.is_some());
    }

    #[test]
    fn application_id_stays_one_segment_of_the_path(app_id in prop_oneof![
        text(), "[./%\\\\?#a]{0,6}", select(vec!["", ".", "..", "%2e%2e", "..."]).prop_map(str::to_owned),
    ]) {
        let client = DashScope::new(Config::new("sk-test-000".into())).unwrap();
        let Ok(url) = client.url(&app_id) else {
            prop_assert!(["", ".", ".."].contains(&&*app_id));
            return Ok(());
        };
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        prop_assert_eq!(segments.len(), 5, "{}", url);
        let decoded = percent_encoding::percent_decode_str(segments[3]).decode_utf8().unwrap();
        prop_assert_eq!(decoded, app_id);
        prop_assert!(url.as_str().starts_with(BEIJING) && url.path().ends_with("/completion"));
        prop_assert_eq!((url.query(), url.fragment()), (None, None));
    }

    #[test]
    fn any_configuration_is_accepted_or_rejected(
        base_url in prop_oneof![text(), "https?://[a-z0-9.:/?#@-]{0,20}"],
        workspace in prop_oneof![text(), "[A-Za-z0-9._/@:-]{0,70}", "[A-Za-z0-9_-]{62,66}"],
        api_key in text(),
    ) {
        let fits = (1..=64).contains(&workspace.len())
            && workspace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !workspace.starts_with(['-', '_']);
        let config = Config { base_url, workspace: Some(workspace), ..Config::new(api_key.into()) };
        if let Ok(client) = DashScope::new(config) {
            prop_assert!(fits && client.url("a").is_ok());
        }
    }
}
