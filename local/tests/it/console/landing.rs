//! The landing page of `serve`, its links, and the API reference.

use local::{
    gateway,
    landing::{self, Landing, SignInCodes},
};
use reqwest::{Response, header::HeaderMap};

use crate::harness::parlor::{COACH, Parlor, SECRET, client, serve};

const SITE_ADMIN: i64 = 1004;

/// The pages of `serve`, on a port of their own.
async fn landing(parlor: &Parlor) -> (String, SignInCodes) {
    let codes = SignInCodes::default();
    let openapi = gateway::openapi(&parlor.tools).to_json().unwrap();
    let landing = Landing {
        db: parlor.tools.db.clone(),
        secret: SECRET.into(),
        session: parlor.tools.session.clone(),
        codes: codes.clone(),
        openapi: openapi.into(),
        is_simulated: true,
        is_emulated: false,
        has_schedules: true,
    };
    (serve(landing::router(landing)).await, codes)
}

async fn get(url: &str) -> Response {
    client().get(url).send().await.unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let parlor = Parlor::start().await;
    let (address, codes) = landing(&parlor).await;
    for (user, status, next) in [(SITE_ADMIN, 200, ""), (COACH, 303, "console/chat")] {
        let link = format!("{address}/console/code/{}", codes.make(user));
        let signed_in = get(&link).await;
        assert_eq!(signed_in.status(), 303);
        assert_eq!(header(signed_in.headers(), "location"), "../../console");
        let cookie = header(signed_in.headers(), "set-cookie").to_owned();
        assert!(
            cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/console"),
            "{cookie}"
        );
        let pair = cookie.split(';').next().unwrap();
        let request = parlor.request("GET", "/console").header("cookie", pair);
        let page = request.send().await.unwrap();
        assert_eq!(
            (page.status().as_u16(), header(page.headers(), "location")),
            (status, next)
        );

        let again = get(&link).await;
        assert_eq!(header(again.headers(), "location"), "../../?code=old");
        assert_eq!(header(again.headers(), "set-cookie"), "");
    }
    let sign_ins: i64 = sqlx::query_scalar(
        "select count(*) from biz.ai_admin_audit where action = 'console.sign_in'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(sign_ins, 2);
    let page = get(&format!("{address}/?code=old")).await;
    assert!(page.text().await.unwrap().contains("role=\"alert\""));
}

#[tokio::test]
async fn the_landing_page_has_a_link_for_each_approved_user() {
    let parlor = Parlor::start().await;
    let (address, _) = landing(&parlor).await;
    let page = get(&address).await;
    assert!(header(page.headers(), "content-security-policy").starts_with("default-src 'none'"));
    let html = page.text().await.unwrap();
    let links: Vec<&str> = html
        .split("href=\"console/code/")
        .skip(1)
        .map(|rest| &rest[..32])
        .collect();
    assert_eq!(links.len(), 8, "{html}");
    assert!(html.contains("陈管理") && !html.contains("离职员工"));
    assert!(html.contains("<code>slow:SECONDS</code>") && !html.contains("role=\"alert\""));
    let style = html.split("href=\"console/assets/").nth(1).unwrap();
    let style = style.split('"').next().unwrap();
    let style = parlor.request("GET", &format!("/console/assets/{style}"));
    assert_eq!(style.send().await.unwrap().status(), 200);
    let signed_in = get(&format!("{address}/console/code/{}", links[7])).await;
    assert_ne!(header(signed_in.headers(), "set-cookie"), "");
}

#[tokio::test]
async fn the_api_reference_is_complete_and_loads_nothing_from_elsewhere() {
    let parlor = Parlor::start().await;
    let (address, _) = landing(&parlor).await;
    let page = get(&format!("{address}/docs")).await;
    let policy = header(page.headers(), "content-security-policy").to_owned();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("http"), "{html}");
    for (place, kind) in [
        ("docs/openapi.json", "application/json"),
        ("docs/rapidoc-min.js", "text/javascript; charset=utf-8"),
    ] {
        assert!(html.contains(&format!("=\"{place}\"")), "{place}");
        let file = get(&format!("{address}/{place}")).await;
        assert_eq!(header(file.headers(), "content-type"), kind);
    }
    let document = get(&format!("{address}/docs/openapi.json")).await;
    let document: serde_json::Value = document.json().await.unwrap();
    assert!(document["paths"]["/api/xcx/chat/stream"].is_object());
}

#[tokio::test]
async fn another_host_name_is_refused_and_keeps_the_code_valid() {
    let parlor = Parlor::start().await;
    let (address, codes) = landing(&parlor).await;
    let link = format!("{address}/console/code/{}", codes.make(COACH));
    for place in [&*link, &address, &format!("{address}/docs")] {
        let request = client().get(place).header("host", "evil.example:9000");
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 403, "{place}");
        assert_eq!(header(refused.headers(), "set-cookie"), "");
    }
    assert_ne!(header(get(&link).await.headers(), "set-cookie"), "");
}
