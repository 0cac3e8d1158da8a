//! Signing in and out, and requests of other origins.

use reqwest::{RequestBuilder, Response};
use serde_json::json;

use super::{form, submit};
use crate::harness::parlor::{COACH, Parlor, Setup, token};

const SITE_ADMIN: i64 = 1004;
const DESK: &str = "https://desk.example.com";

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Posts the sign-in form.
async fn sign_in(parlor: &Parlor, token: &str, next: &str) -> Response {
    let request = parlor.request("POST", "/console/session");
    let fields = [("token", token), ("next", next)];
    form(request, &fields).send().await.unwrap()
}

fn with_cookie(request: RequestBuilder, token: &str) -> RequestBuilder {
    request.header("cookie", format!("parlor_token={token}"))
}

async fn actions(parlor: &Parlor) -> Vec<(String, i64)> {
    sqlx::query_as(
        "select action, user_id from biz.ai_admin_audit where action like 'console.%' order by id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_token_becomes_a_strict_cookie_and_signing_out_ends_it() {
    let parlor = Parlor::start().await;
    let admin = token(SITE_ADMIN);

    let first = parlor
        .request("GET", "/console/runs?status=failed&app_type=")
        .send()
        .await
        .unwrap();
    assert_eq!(first.status(), 303);
    let page = header(&first, "location");
    assert_eq!(page, "./sign-in?next=runs%3Fstatus%3Dfailed");
    let page = parlor
        .request("GET", "/console/sign-in?next=runs%3Fstatus%3Dfailed")
        .send()
        .await
        .unwrap();
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("value=\"runs?status=failed\"")
    );

    let signed_in = sign_in(&parlor, &format!(" {admin}\n"), "runs?status=failed").await;
    assert_eq!(signed_in.status(), 303);
    assert_eq!(header(&signed_in, "location"), "runs?status=failed");
    let cookie = header(&signed_in, "set-cookie");
    // Without a path, browsers use the folder of the request, which has the stage in front.
    assert_eq!(
        cookie,
        format!("parlor_token={admin}; HttpOnly; SameSite=Strict")
    );
    let page = with_cookie(parlor.request("GET", "/console"), &admin)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);

    let out = with_cookie(parlor.request("POST", "/console/sign-out"), &admin);
    let out = out
        .header("sec-fetch-site", "same-origin")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (out.status().as_u16(), header(&out, "location")),
        (303, "sign-in")
    );
    assert!(
        header(&out, "set-cookie").starts_with("parlor_token=; ")
            && header(&out, "set-cookie").ends_with("Max-Age=0")
    );
    let expected =
        ["console.sign_in", "console.sign_out"].map(|action| (action.to_owned(), SITE_ADMIN));
    assert_eq!(actions(&parlor).await, expected);
}

#[tokio::test]
async fn a_refused_token_shows_the_form_again() {
    let parlor = Parlor::start().await;
    for (token, status) in [
        ("nonsense", 401),
        ("", 422),
        (&*token(1005), 403),
        (&*token(1006), 403),
    ] {
        let refused = sign_in(&parlor, token, "https://evil.example/").await;
        assert_eq!(refused.status(), status);
        assert_eq!(header(&refused, "set-cookie"), "");
        let text = refused.text().await.unwrap();
        assert!(
            text.contains("role=\"alert\"") && text.contains("<textarea"),
            "{text}"
        );
        assert!(
            !text.contains("evil") && (token.is_empty() || !text.contains(token)),
            "{text}"
        );
    }
    let stranger = sign_in(&parlor, &token(SITE_ADMIN), "//evil.example").await;
    assert_eq!(header(&stranger, "location"), "../console");
    // Expired cookies lead to the sign-in page, too.
    let expired = with_cookie(parlor.request("GET", "/console/runs/7"), "nonsense")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (expired.status().as_u16(), header(&expired, "location")),
        (303, "../sign-in?next=runs%2F7")
    );
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CORS_ALLOWED_ORIGINS", DESK.into())],
        ..Setup::default()
    })
    .await;
    let admin = token(SITE_ADMIN);
    let post = |path: &str, headers: &[(&'static str, &'static str)]| {
        let request = with_cookie(form(parlor.request("POST", path), &[("to", "en")]), &admin);
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    };
    for path in [
        "/console/language",
        "/console/sign-out",
        "/console/api/xcx/reports",
    ] {
        for headers in [
            &[][..],
            &[("sec-fetch-site", "cross-site"), ("origin", DESK)],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
        ] {
            let refused = post(path, headers).send().await.unwrap();
            assert_eq!(refused.status(), 403, "{path} {headers:?}");
        }
    }
    let own = post("/console/language", &[("sec-fetch-site", "same-origin")])
        .send()
        .await
        .unwrap();
    assert_eq!(own.status(), 303);
    assert_eq!(
        header(&own, "set-cookie"),
        "parlor_language=en; Max-Age=31536000; HttpOnly; SameSite=Strict"
    );

    // A configured origin may sign its user in. Other origins may not.
    for (origin, status) in [(DESK, 200), ("https://evil.example", 403)] {
        let request = form(
            parlor.request("POST", "/console/session"),
            &[("token", &admin)],
        );
        let request = request
            .header("origin", origin)
            .header("sec-fetch-site", "cross-site");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
        assert_eq!(header(&answer, "set-cookie").is_empty(), status == 403);
        let links_on = answer.text().await.unwrap().contains("href=\"../console\"");
        assert_eq!(links_on, status == 200);
    }
    // A program with a token needs no headers of a browser.
    let (status, ..) = submit(&parlor, SITE_ADMIN, "/console/language", &[("to", "zh-CN")]).await;
    assert_eq!(status, 303);
}

#[tokio::test]
async fn the_cookie_calls_the_routes_of_the_chat() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let coach = token(COACH);
    let request = with_cookie(
        parlor.request(
            "GET",
            "/console/api/xcx/chat/messages?contextType=task&contextId=t",
        ),
        &coach,
    );
    let opened: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let stream = with_cookie(
        parlor.request("POST", "/console/api/xcx/chat/stream"),
        &coach,
    )
    .header("sec-fetch-site", "same-origin")
    .json(&json!({ "chatId": opened["chatId"], "content": "[[sim:echo]]你好" }))
    .send()
    .await
    .unwrap();
    assert_eq!(
        (stream.status().as_u16(), header(&stream, "content-type")),
        (200, "text/event-stream; charset=utf-8")
    );
    assert!(stream.text().await.unwrap().contains("event: done"));
    // Errors have the format of the mini-program.
    let refused = with_cookie(
        parlor.request("GET", "/console/api/xcx/chat/history?page=0"),
        &coach,
    );
    let refused: serde_json::Value = refused.send().await.unwrap().json().await.unwrap();
    assert!(refused["requestId"].is_string(), "{refused}");
    let nobody = parlor
        .request("GET", "/console/api/xcx/chat/history")
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 401);
}
