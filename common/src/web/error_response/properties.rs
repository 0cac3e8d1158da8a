//! Every error has its documented form in every format, and shows no internals.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use proptest::{prelude::*, sample::select};

use super::*;
use crate::properties::{cases, text};

const FORMATS: [ErrorFormat; 3] = [
    ErrorFormat::MiniProgram,
    ErrorFormat::Admin,
    ErrorFormat::Session,
];

/// The documented status, code and additional body fields of an error, spelled as for the
/// mini-program. On the session API, an invalid field gives 400 instead.
fn documented(error: &Error) -> (u16, &'static str, &'static [&'static str]) {
    match error {
        Error::Unauthorized(_) => (401, "unauthorized", &[]),
        Error::NotApproved => (403, "not_approved", &[]),
        Error::Forbidden => (403, "forbidden", &[]),
        Error::NotGranted => (403, "not_granted", &[]),
        Error::NotOwner => (403, "not_owner", &[]),
        Error::NotFound => (404, "not_found", &[]),
        Error::MethodNotAllowed => (405, "method_not_allowed", &[]),
        Error::InvalidJson => (400, "invalid_json", &[]),
        Error::Invalid { .. } => (422, "invalid_request", &["field"]),
        Error::PayloadTooLarge => (413, "payload_too_large", &[]),
        Error::UnsupportedMediaType => (415, "unsupported_media_type", &[]),
        Error::Busy {
            message_id: Some(_),
        } => (409, "busy", &["messageId"]),
        Error::Busy { message_id: None } => (409, "busy", &[]),
        Error::Conflict(_) => (409, "conflict", &[]),
        Error::Outdated => (412, "conflict", &[]),
        Error::ContentBlocked => (422, "content_blocked", &[]),
        Error::OtherNumber { .. } => (409, "conflict", &["matching"]),
        Error::Gone => (410, "gone", &[]),
        Error::KeyReused => (422, "invalid_request", &[]),
        Error::RateLimited { .. } => (429, "rate_limited", &["retryAfter"]),
        Error::BudgetExceeded { .. } => (429, "budget_exceeded", &["retryAfter"]),
        Error::QuotaExceeded { .. } => (429, "quota_exceeded", &["quota", "retryAfter"]),
        Error::CircuitOpen { .. } => (503, "circuit_open", &["retryAfter"]),
        Error::AppDisabled(_) | Error::Unavailable(_) => (503, "unavailable", &["retryAfter"]),
        Error::Internal(..) => (500, "internal", &[]),
    }
}

/// Every variant. `inner` is the text of everything internal.
fn errors(inner: &str, number: i64, seconds: i32, reason: Reason) -> Vec<Error> {
    let cause = || Box::<dyn std::error::Error + Send + Sync>::from(inner.to_owned());
    vec![
        Error::Unauthorized("token is invalid"),
        Error::NotApproved,
        Error::Forbidden,
        Error::NotGranted,
        Error::NotOwner,
        Error::NotFound,
        Error::MethodNotAllowed,
        Error::InvalidJson,
        Error::invalid("content", reason),
        Error::invalid(inner.to_owned(), reason),
        Error::PayloadTooLarge,
        Error::UnsupportedMediaType,
        Error::Busy {
            message_id: Some(number),
        },
        Error::Busy { message_id: None },
        Error::Conflict("Session is closed"),
        Error::Outdated,
        Error::ContentBlocked,
        Error::OtherNumber { matching: 7 },
        Error::Gone,
        Error::KeyReused,
        Error::RateLimited {
            retry_after: seconds,
        },
        Error::BudgetExceeded {
            retry_after: seconds,
        },
        Error::QuotaExceeded {
            retry_after: seconds,
            quota: ExceededQuota {
                subject_type: "bot".into(),
                subject_id: "1".into(),
                period: "month".into(),
            },
        },
        Error::CircuitOpen {
            retry_after: seconds,
        },
        Error::AppDisabled(inner.to_owned()),
        Error::Unavailable(sqlx::Error::Protocol(inner.to_owned())),
        Error::Unavailable(sqlx::Error::Io(std::io::Error::other(inner.to_owned()))),
        Error::Unavailable(sqlx::Error::Tls(cause())),
        Error::Internal(inner.to_owned().into(), None),
        Error::Internal(inner.to_owned().into(), Some(cause())),
        Error::from(sqlx::Error::Decode(cause())),
        Error::from(sqlx::Error::ColumnNotFound(inner.to_owned())),
        Error::from(sqlx::Error::Protocol(inner.to_owned())),
    ]
}

fn reason() -> impl Strategy<Value = Reason> {
    select(vec![
        Reason::Missing,
        Reason::Type,
        Reason::Empty,
        Reason::TooLong(8_000),
        Reason::TooLarge(4_096),
        Reason::TooMany(2_000),
        Reason::OutOfRange(1, 100),
        Reason::Unknown,
        Reason::Nul,
        Reason::Cursor,
        Reason::TooDeep,
        Reason::NotADate,
        Reason::Past,
        Reason::Backwards,
        Reason::TooManyDays(31),
        Reason::Exclusive("page"),
        Reason::ContentDiffers,
        Reason::Repeated,
        Reason::NotAnAmount,
        Reason::Tiers,
        Reason::NotAnId,
        Reason::NotPrintable,
        Reason::NotABot,
        Reason::NoAgent,
        Reason::NotOfThisSession,
        Reason::NotHttps,
        Reason::NotOfService,
        Reason::NotPublic,
        Reason::Closed,
        Reason::Paused,
    ])
}

fn rendered(
    format: ErrorFormat,
    error: &Error,
    request_id: &str,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert(ALLOW, HeaderValue::from_static("GET"));
    let (parts, body) = format.render(error, request_id, &headers).into_parts();
    let body = body.collect().now_or_never().unwrap().unwrap();
    (parts.status, parts.headers, body.to_bytes().into())
}

fn snake(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        'A'..='Z' => format!("_{}", letter.to_ascii_lowercase()),
        _ => letter.to_string(),
    });
    letters.collect()
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn every_error_has_the_documented_status_and_fields_in_every_format(
        inner in text(),
        number in any::<i64>(),
        seconds in any::<i32>(),
        reason in reason(),
        request_id in prop_oneof!["[0-9a-f-]{36}", text()],
    ) {
        for error in errors(&inner, number, seconds, reason) {
            let (status, code, more) = documented(&error);
            for format in FORMATS {
                let (response, headers, body) = rendered(format, &error, &request_id);
                let is_400 = format == ErrorFormat::Session && matches!(error, Error::Invalid { .. });
                let expected = if is_400 { 400 } else { status };
                prop_assert_eq!(response.as_u16(), expected, "{:?} {}", format, error);
                prop_assert_eq!(&headers["content-type"], "application/json");
                prop_assert_eq!(&headers[ALLOW], "GET");
                prop_assert_eq!(headers.contains_key(WWW_AUTHENTICATE), status == 401);

                let body: Map<String, Value> = serde_json::from_slice(&body).unwrap();
                let spelt = |name: &str| if format == ErrorFormat::MiniProgram { name.to_owned() } else { snake(name) };
                let sentence = if format == ErrorFormat::Session { "error" } else { "detail" };
                let members: BTreeSet<String> = [sentence.to_owned(), "code".to_owned()]
                    .into_iter()
                    .chain(more.iter().chain(&["requestId"]).map(|name| spelt(name)))
                    .collect();
                prop_assert_eq!(body.keys().cloned().collect::<BTreeSet<_>>(), members, "{:?} {}", format, error);
                prop_assert_eq!(&body["code"], code);
                prop_assert_eq!(&body[&spelt("requestId")], &request_id);
                prop_assert!(body[sentence].as_str().is_some_and(|sentence| !sentence.is_empty()));

                prop_assert_eq!(headers.contains_key(RETRY_AFTER), more.contains(&"retryAfter"));
                match &error {
                    Error::Invalid { field, .. } => prop_assert_eq!(&body["field"], &**field),
                    Error::Busy { message_id: Some(id) } => prop_assert_eq!(&body[&spelt("messageId")], *id),
                    Error::RateLimited { retry_after }
                    | Error::BudgetExceeded { retry_after }
                    | Error::QuotaExceeded { retry_after, .. }
                    | Error::CircuitOpen { retry_after } => {
                        prop_assert_eq!(&body[&spelt("retryAfter")], *retry_after);
                        prop_assert_eq!(&headers[RETRY_AFTER], &*retry_after.to_string());
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn server_error_shows_no_internal_text(
        one in text(),
        other in text(),
        number in any::<i64>(),
        reason in reason(),
    ) {
        let pairs = errors(&one, number, 1, reason).into_iter().zip(errors(&other, number, 1, reason));
        for (one, other) in pairs {
            for format in FORMATS {
                let response = rendered(format, &one, "id");
                if response.0.is_server_error() {
                    prop_assert_eq!(&response, &rendered(format, &other, "id"), "{:?}", one);
                }
            }
        }
    }

    #[test]
    fn format_depends_on_whole_segments_of_the_path(
        prefix in select(vec!["/api/xcx", "/api/chat", "/api/admin", "/api", "/API/xcx", "//api/xcx", ""]),
        rest in prop_oneof![Just(String::new()), text().prop_map(|text| format!("/{text}")), text()],
    ) {
        let path = format!("{prefix}{rest}");
        let words: Vec<&str> = path.split('/').collect();
        let expected = match &*words {
            ["", "api", "xcx", ..] => ErrorFormat::MiniProgram,
            ["", "api", "chat", ..] => ErrorFormat::Session,
            _ => ErrorFormat::Admin,
        };
        prop_assert_eq!(ErrorFormat::of(&path), expected);
    }
}
