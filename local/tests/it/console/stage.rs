//! The console behind API Gateway, which has the name of the stage in front of each path.

use std::collections::{BTreeSet, VecDeque};

use axum::Router;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::{form, pages::values};
use crate::harness::{
    cloud::Cloud,
    jobs::SITE_ADMIN,
    parlor::{COACH, client, serve, token},
};

const STAGE: &str = "/local";

/// A browser that is signed in.
struct Browser {
    http: Client,
    cookie: String,
}

impl Browser {
    fn get(&self, url: &Url) -> RequestBuilder {
        self.request("GET", url)
    }

    fn request(&self, method: &str, url: &Url) -> RequestBuilder {
        let request = self.http.request(method.parse().unwrap(), url.clone());
        request
            .header("accept-language", "en")
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin")
    }

    async fn shown(&self, url: &Url) -> String {
        let response = self.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        response.text().await.unwrap()
    }
}

/// The target of a link or a form. It must stay below the stage.
fn target(page: &Url, link: &str) -> Url {
    let target = page.join(link).unwrap();
    let console = format!("{STAGE}/console");
    assert!(
        target.path().starts_with(&console) && target.host() == page.host(),
        "{page}: {link}"
    );
    target
}

/// The target of a redirect after a form or without a session.
fn redirected(response: &Response) -> Url {
    assert_eq!(response.status(), 303, "{}", response.url());
    let location = response.headers()["location"].to_str().unwrap();
    target(response.url(), location)
}

/// Signs in by the form. Returns the browser and the page that follows.
async fn sign_in(http: Client, home: &Url) -> (Browser, Url) {
    let stranger = http.get(home.clone()).send().await.unwrap();
    let page = redirected(&stranger);
    let html = http.get(page.clone()).send().await.unwrap().text().await;
    let action = &values(&html.unwrap(), "action")[0];
    let fields = [("token", &*token(SITE_ADMIN)), ("next", "../console")];
    let request = form(http.post(target(&page, action)), &fields);
    let signed_in = request.send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    // Without a path, browsers use the folder of the request.
    assert!(!cookie.contains("Path="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
    assert_eq!(
        signed_in.url().path(),
        format!("{STAGE}/console/session"),
        "the folder of the cookie"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (Browser { http, cookie }, redirected(&signed_in))
}

/// Loads one page of each shape, and each asset. Returns the pages and other files with their
/// texts.
async fn follow_links(browser: &Browser, home: &Url) -> Vec<(Url, String)> {
    let mut waiting = VecDeque::from([home.clone()]);
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(url) = waiting.pop_front() {
        let names: BTreeSet<String> = url
            .query_pairs()
            .map(|(name, _)| name.into_owned())
            .collect();
        let is_digit = |letter: char| letter.is_ascii_digit();
        let path = if url.path().contains("/assets/") {
            url.path().to_owned()
        } else {
            url.path().replace(is_digit, "")
        };
        if !seen.insert((path, names)) {
            continue;
        }
        let response = browser.get(&url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        let kind = response.headers()["content-type"].to_str().unwrap();
        let is_page = kind.starts_with("text/html");
        let text = response.text().await.unwrap();
        if is_page {
            let links = [values(&text, "href"), values(&text, "src")].concat();
            let links = links.iter().filter(|link| !link.starts_with("data:"));
            waiting.extend(links.map(|link| target(&url, link)));
            for action in values(&text, "action") {
                target(&url, &action);
            }
        }
        found.push((url, text));
    }
    found
}

/// Acknowledges the first alert by its form.
async fn acknowledge(browser: &Browser, home: &Url) {
    let page = home.join("console/alerts").unwrap();
    let html = browser.shown(&page).await;
    let (_, row) = html.split_once("<td><details>").unwrap();
    let fields = [("id", &*values(row, "value")[0]), ("do", "acknowledge")];
    let action = target(&page, &values(row, "action")[0]);
    let changed = form(browser.request("POST", &action), &fields);
    let next = redirected(&changed.send().await.unwrap());
    assert!(!browser.shown(&next).await.contains("<td><details>"));
}

/// Chats as the chat page does: relative to the folder of the page.
async fn chat(browser: &Browser, page: &Url) {
    let base = page.join("api/xcx/chat/").unwrap();
    let at = |path: &str| base.join(path).unwrap();
    let open = browser.get(&at("messages?contextType=general&contextId="));
    let open: Value = open.send().await.unwrap().json().await.unwrap();
    let question = json!({ "chatId": open["chatId"], "content": "[[sim:echo]]你好" });
    let stream = browser.request("POST", &at("stream")).json(&question);
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert!(stream.text().await.unwrap().contains("event: done"));
}

#[tokio::test]
async fn every_address_of_the_console_stays_below_the_stage() {
    let cloud = Cloud::start().await;
    let failing = cloud.parlor.open(COACH, "a").await;
    cloud
        .parlor
        .send(COACH, failing, "[[sim:unavailable]]")
        .await;
    let gateway = cloud.emulator.router(local::cloud::routes().unwrap());
    let address = serve(Router::new().nest(STAGE, gateway.unwrap())).await;
    let home = Url::parse(&format!("{address}{STAGE}/console")).unwrap();
    let (browser, first) = sign_in(client(), &home).await;
    assert_eq!(first, home);

    let found = follow_links(&browser, &home).await;
    let paths: BTreeSet<&str> = found.iter().map(|(url, _)| url.path()).collect();
    for name in ["runs", "alerts", "chat", "audit", "usage", "runs.csv"] {
        let path = format!("{STAGE}/console/{name}");
        assert!(paths.contains(&*path), "{name} is missing: {paths:?}");
    }
    assert!(found.len() > 25, "{paths:?}");
    // Relative imports of the scripts stay below the stage, too.
    let script = found
        .iter()
        .find(|(url, _)| url.path().ends_with("/chat.js"));
    let client = target(&script.unwrap().0, "./browser/chat.js");
    browser.shown(&client).await;
    browser.shown(&target(&client, "../core.js")).await;

    acknowledge(&browser, &home).await;
    chat(&browser, &home.join("console/chat").unwrap()).await;
    let out = browser.request("POST", &home.join("console/sign-out").unwrap());
    let out = out.send().await.unwrap();
    assert_eq!(redirected(&out).path(), format!("{STAGE}/console/sign-in"));
    let cookie = out.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.ends_with("Max-Age=0"), "{cookie}");
}
