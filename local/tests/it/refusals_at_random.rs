//! Random requests get documented responses.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use local::gateway;
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use tower::ServiceExt as _;

use crate::harness::{
    faces,
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, token},
    routes::{self, PLATFORM_ADMIN, SITE_ADMIN},
};

/// Any bytes in a request line, escaped where necessary.
fn escaped() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "1",
            "2",
            "0",
            "-1",
            "%00",
            "%FF",
            "%zz",
            "%",
            "99999999999999999999",
            "9223372036854775807",
            "true",
            "task",
            "general",
            "asc",
            "desc",
            "stream",
            "messages",
            "history",
            "00000000-0000-4000-8000-000000000001",
            "active",
            "%F0%9F%8E%B1",
            "'--",
            "a+b",
            "1e9",
        ])
        .prop_map(str::to_owned),
        "[!$-;=?-Z_a-z~]{0,12}".prop_map(|text| text.replace(['/', '?'], "%2F")),
        ".{0,6}".prop_map(|text| {
            percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        }),
    ]
}

fn path(templates: Vec<String>) -> impl Strategy<Value = String> {
    let known = (select(templates), escaped()).prop_map(|(template, value)| {
        let parts = template.split('/').map(|part| {
            if part.starts_with('{') {
                value.as_str()
            } else {
                part
            }
        });
        parts.collect::<Vec<_>>().join("/")
    });
    let prefixes = select(vec![
        "",
        "/api/xcx",
        "/api/xcx/chat",
        "/api/admin/ai",
        "/api/chat",
        "/api/chat/sessions",
    ]);
    let unknown = (prefixes, prop::collection::vec(escaped(), 0..4))
        .prop_map(|(prefix, parts)| format!("{prefix}/{}", parts.join("/")));
    prop_oneof![4 => known, 1 => unknown]
}

fn query() -> impl Strategy<Value = String> {
    let name = select(vec![
        "page",
        "page_size",
        "pageSize",
        "cursor",
        "order",
        "contextType",
        "contextId",
        "ascii",
        "after",
        "before",
        "limit",
        "offset",
        "status",
        "bot_id",
        "%FF",
    ]);
    prop::collection::vec((name, escaped()), 0..4).prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("&")
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        select(vec![
            "1",
            "2",
            "0",
            "-1",
            "1e400",
            "1e30",
            "9223372036854775808",
            "null",
            "true",
            "[]",
            "{}",
            "\"\"",
            "\" \"",
            "\"你好\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"00000000-0000-4000-8000-000000000001\"",
            "\"paused\"",
            "\"board-finance\"",
            "\"etl.finished\"",
            "\"note.created\"",
            "{\"note_id\":1}",
            "{\"a\":[1]}",
            "{\"a\":\"\\u0000\"}",
        ])
        .prop_map(str::to_owned),
        ".{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let field = select(vec![
        "chatId",
        "content",
        "clientMessageId",
        "sourcePage",
        "pageContext",
        "title",
        "bot_id",
        "status",
        "reply_to",
        "content_type",
        "event_type",
        "site_id",
        "member_id",
        "payload",
        "is_forced",
    ]);
    let object = prop::collection::vec((field, value), 0..5).prop_map(|fields| {
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![
        6 => object,
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..200_000_usize).prop_map(|length| vec![b'['; length]),
    ]
}

fn authorization() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        token(COACH),
        token(STAFF),
        token(OTHER_SITE),
        token(1005),
        token(SITE_ADMIN),
        token(PLATFORM_ADMIN),
    ])
    .prop_map(|token| format!("Bearer {token}").into_bytes());
    let odd = prop::collection::vec(prop_oneof![32..127_u8, 128..=255_u8], 0..40);
    prop_oneof![9 => known, 1 => odd]
}

fn last_event_id() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "1-0", "1-1", "2-1", "4-99999", "1-", "-", "1-1-1", "１-１",
    ]);
    let odd = prop::collection::vec(
        any::<u8>().prop_filter("a header", |byte| *byte >= 32 && *byte != 127),
        0..40,
    );
    prop_oneof![3 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => odd]
}

fn request(templates: Vec<String>) -> impl Strategy<Value = (String, Request<Body>)> {
    let method = select(vec![
        "GET", "POST", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW",
    ]);
    let kind = select(vec![
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "",
        "\u{ff}",
    ]);
    (
        method,
        path(templates),
        query(),
        authorization(),
        kind,
        body(),
        prop::option::weighted(0.3, last_event_id()),
    )
        .prop_filter_map(
            "a request line",
            |(method, path, query, authorization, kind, body, last_event_id)| {
                let mut request = Request::builder();
                if let Some(id) = last_event_id {
                    request = request.header("last-event-id", id);
                }
                let request = request
                    .method(method)
                    .uri(format!("{path}?{query}"))
                    .header("authorization", authorization)
                    .header("content-type", kind.as_bytes())
                    .body(Body::from(body));
                Some((path, request.ok()?))
            },
        )
        .no_shrink()
}

#[test]
fn random_requests_get_documented_responses() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A dropped connection returns to the pool through a spawned task, which needs the runtime.
    let _entered = runtime.enter();
    let parlor = runtime.block_on(Parlor::start());
    parlor
        .simulator
        .set_scenario(None, Some("say:好".parse().unwrap()));
    runtime.block_on(parlor.open(COACH, "t"));
    runtime.block_on(parlor.open(STAFF, "t"));
    let app = gateway::app(&parlor.tools);
    let templates = routes::all()
        .into_iter()
        .map(|route| route.template)
        .collect();
    let config = ProptestConfig {
        cases: crate::harness::cases(600),
        max_local_rejects: u32::MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&request(templates), |(path, request)| {
        let what = format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.headers()
        );
        let head = request.method() == "HEAD";
        let (parts, body) = runtime.block_on(async {
            let response = app.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        });
        prop_assert!(parts.headers.contains_key("x-request-id"), "{}", what);
        let status = parts.status.as_u16();
        prop_assert!(status < 500 || status == 503, "{}: {}", what, status);
        if matches!(status, 200..=202) || head {
            return Ok(());
        }
        let body: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|err| TestCaseError::fail(format!("{what}: {status} without JSON: {err}")))?;
        let code = body["code"].as_str().unwrap_or_default();
        prop_assert!(
            faces::DOCUMENTED.contains(&(status, code)),
            "{}: {} {}",
            what,
            status,
            body
        );
        prop_assert!(
            status != 405 || parts.headers.contains_key("allow"),
            "{}",
            what
        );
        // An unknown path has the format of API Gateway's response.
        let is_unknown = status == 404 && body["requestId"].is_string();
        let path = if is_unknown { "/api/xcx" } else { &*path };
        faces::check(path, &parts.headers, &body);
        Ok(())
    });
    result.unwrap();
}
