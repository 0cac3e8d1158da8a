//! CORS: only configured origins may call, on every route, and may read errors, too.

use common::web::Cors;
use local::gateway;
use reqwest::{RequestBuilder, header::HeaderMap};

use crate::harness::{
    cloud::Cloud,
    parlor::{Answer, COACH, Parlor, Setup, answer, client, serve},
    routes,
};

const DESK: &str = "https://desk.example.com";
const TRIAL: &str = "http://127.0.0.1:8080";
/// Other origins that resemble the configured ones.
const STRANGERS: [&str; 8] = [
    "null",
    "https://desk.example.com.evil.example",
    "https://desk.example.co",
    "https://evil-desk.example.com",
    "http://desk.example.com",
    "https://desk.example.com:8443",
    "https://DESK.example.com",
    "*",
];

/// Parlor with two allowed origins.
async fn open() -> Parlor {
    Parlor::start_with(Setup {
        env: vec![("CORS_ALLOWED_ORIGINS", format!("{DESK}, {TRIAL}"))],
        ..Setup::default()
    })
    .await
}

/// A browser's preflight request.
fn preflight(parlor: &Parlor, origin: &str, method: &str, path: &str) -> RequestBuilder {
    parlor
        .request("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header(
            "access-control-request-headers",
            "authorization,content-type,idempotency-key,last-event-id",
        )
}

/// The items of a list header, in lower case.
fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).into_iter();
    let words = values.flat_map(|value| value.to_str().unwrap().split(','));
    words.map(|word| word.trim().to_lowercase()).collect()
}

/// The names of the CORS headers.
fn rules(headers: &HeaderMap) -> Vec<&str> {
    let names = headers.keys().map(reqwest::header::HeaderName::as_str);
    names
        .filter(|name| name.starts_with("access-control-"))
        .collect()
}

#[track_caller]
fn readable_by(origin: &str, answer: &Answer) {
    assert_eq!(answer.headers["access-control-allow-origin"], *origin);
    assert!(words(&answer.headers, "vary").contains(&"origin".to_owned()));
    let read = words(&answer.headers, "access-control-expose-headers");
    for header in ["x-request-id", "retry-after"] {
        assert!(read.contains(&header.to_owned()), "{read:?}");
    }
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_make_each_request() {
    let parlor = open().await;
    for route in routes::all() {
        for origin in [DESK, TRIAL] {
            let answer = answer(preflight(&parlor, origin, &route.method, &route.path)).await;
            let about = format!("{} {} {:?}", route.method, route.path, answer.headers);
            assert_eq!(answer.status, 200, "{about}");
            assert_eq!(
                answer.headers["access-control-allow-origin"], *origin,
                "{about}"
            );
            assert!(
                words(&answer.headers, "vary").contains(&"origin".to_owned()),
                "{about}"
            );
            let methods = words(&answer.headers, "access-control-allow-methods");
            assert!(methods.contains(&route.method.to_lowercase()), "{about}");
            let sent = words(&answer.headers, "access-control-allow-headers");
            for header in [
                "authorization",
                "content-type",
                "idempotency-key",
                "last-event-id",
            ] {
                assert!(sent.contains(&header.to_owned()), "{about}");
            }
            let remembered = answer.headers["access-control-max-age"].to_str().unwrap();
            assert!(remembered.parse::<u32>().unwrap() > 0, "{about}");
            assert!(
                !answer
                    .headers
                    .contains_key("access-control-allow-credentials"),
                "{about}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_read_responses_errors_and_streams() {
    let parlor = open().await;
    let history = "/api/xcx/chat/history";
    let from_desk = |request: RequestBuilder| answer(request.header("origin", DESK));

    let found = from_desk(parlor.request_as(COACH, "GET", history)).await;
    found.ok();
    readable_by(DESK, &found);

    for route in routes::all() {
        let refused = from_desk(route.request(&parlor)).await;
        assert_eq!(refused.status, 401, "{} {}", route.method, route.path);
        readable_by(DESK, &refused);
    }
    for (method, path, status) in [("GET", "/api/xcx/nowhere", 404), ("PUT", history, 405)] {
        let refused = from_desk(parlor.request_as(COACH, method, path)).await;
        assert_eq!(refused.status, status);
        readable_by(DESK, &refused);
    }

    let chat = parlor.open(COACH, "t").await;
    let send = parlor.request_as(COACH, "POST", "/api/xcx/chat/stream");
    let body = serde_json::json!({ "chatId": chat, "content": "[[sim:echo]]你好" });
    let streamed = from_desk(send.json(&body)).await;
    assert_eq!(streamed.status, 200, "{}", streamed.body);
    assert!(streamed.body.as_str().unwrap().contains("event: done"));
    readable_by(DESK, &streamed);
}

#[tokio::test]
async fn pages_of_other_origins_get_no_cors_headers() {
    let parlor = open().await;
    for origin in STRANGERS {
        let request = parlor.request_as(COACH, "GET", "/api/xcx/chat/history");
        let found = answer(request.header("origin", origin)).await;
        found.ok();
        assert!(
            rules(&found.headers).is_empty(),
            "{origin}: {:?}",
            found.headers
        );
        assert!(words(&found.headers, "vary").contains(&"origin".to_owned()));
    }
    for route in routes::all() {
        let refused = answer(preflight(&parlor, STRANGERS[1], &route.method, &route.path)).await;
        let about = format!("{} {} {:?}", route.method, route.path, refused.headers);
        assert!(rules(&refused.headers).is_empty(), "{about}");
        assert!(!refused.headers.contains_key("allow"), "{about}");
        assert_eq!(refused.body, "", "{about}");
    }
}

#[tokio::test]
async fn a_request_without_origin_is_unaffected() {
    let parlor = open().await;
    let found = parlor.get(COACH, "/api/xcx/chat/history").await;
    found.ok();
    assert!(rules(&found.headers).is_empty(), "{:?}", found.headers);
}

#[tokio::test]
async fn without_configured_origins_no_page_may_call() {
    let parlor = Parlor::start().await;
    for route in routes::all() {
        let refused = answer(preflight(&parlor, DESK, &route.method, &route.path)).await;
        assert_eq!(refused.status, 405, "{} {}", route.method, route.path);
        assert!(rules(&refused.headers).is_empty(), "{:?}", refused.headers);
        let refused = answer(route.request(&parlor).header("origin", DESK)).await;
        assert_eq!(refused.status, 401, "{} {}", route.method, route.path);
        assert!(rules(&refused.headers).is_empty(), "{:?}", refused.headers);
    }
}

#[tokio::test]
async fn a_csv_varies_by_origin_and_accept_in_one_header() {
    let parlor = open().await;
    let path = "/api/admin/ai/run-logs?site_id=1&date_from=2026-01-01&date_to=2026-01-02";
    let request = parlor.request_as(routes::SITE_ADMIN, "GET", path);
    let table = answer(request.header("accept", "text/csv").header("origin", DESK)).await;
    assert_eq!(table.status, 200, "{}", table.body);
    readable_by(DESK, &table);
    let values: Vec<_> = table.headers.get_all("vary").into_iter().collect();
    assert_eq!(values.len(), 1, "{values:?}");
    assert!(words(&table.headers, "vary").contains(&"accept".to_owned()));
}

#[tokio::test]
async fn cors_is_the_same_behind_the_gateway() {
    let cloud = Cloud::start_with(|spec| {
        let origins = ("CORS_ALLOWED_ORIGINS".to_owned(), DESK.to_owned());
        spec.env.push(origins);
    })
    .await;
    let routes = local::cloud::routes().unwrap();
    let twin = serve(cloud.emulator.router(routes).unwrap()).await;
    let http = client();
    let history = format!("{twin}/api/xcx/chat/history");
    let ask = |method: &str, origin: &'static str| {
        let request = http.request(method.parse().unwrap(), &history);
        answer(
            request
                .header("origin", origin)
                .header("access-control-request-method", "GET"),
        )
    };

    let allowed = ask("OPTIONS", DESK).await;
    assert_eq!(allowed.status, 200, "{}", allowed.body);
    assert_eq!(allowed.headers["access-control-allow-origin"], DESK);
    readable_by(DESK, &ask("GET", DESK).await);
    for method in ["OPTIONS", "GET"] {
        let refused = ask(method, STRANGERS[1]).await;
        assert!(rules(&refused.headers).is_empty(), "{:?}", refused.headers);
    }
}

#[tokio::test]
async fn every_function_allows_the_same_origins() {
    let env = common::platform::env::Env::from_pairs([("CORS_ALLOWED_ORIGINS", DESK)]);
    let cors = Cors::from_env(&env).unwrap();
    let parlor = Parlor::start().await;
    for (function, router) in gateway::functions(&parlor.tools) {
        let address = serve(lambda::app(router, &cors)).await;
        let request = client().get(format!("{address}/api/xcx/nowhere"));
        let refused = answer(request.header("origin", DESK)).await;
        assert_eq!(refused.status, 404, "{function}");
        readable_by(DESK, &refused);
    }
}
