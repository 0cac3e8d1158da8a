//! The console over HTTP.

mod browser;
mod chat;
mod jobs;
mod landing;
mod money;
mod pages;
mod people;
mod session;
mod stage;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, StatusCode};

use crate::harness::parlor::{COACH, Parlor, Setup};

/// Loads a page of the console as a demo user, in English.
async fn page(parlor: &Parlor, user: i64, path: &str) -> (StatusCode, String) {
    let request = parlor.request_as(user, "GET", path);
    let response = request
        .header("accept-language", "en")
        .send()
        .await
        .unwrap();
    (response.status(), response.text().await.unwrap())
}

/// Loads a page that must exist.
async fn shown(parlor: &Parlor, user: i64, path: &str) -> String {
    let (status, text) = page(parlor, user, path).await;
    assert_eq!(status, 200, "{path}: {text}");
    text
}

/// Sends a form as a demo user. Returns the status, the location and the text.
async fn submit(
    parlor: &Parlor,
    user: i64,
    path: &str,
    fields: &[(&str, &str)],
) -> (StatusCode, String, String) {
    let request = parlor.request_as(user, "POST", path);
    let response = form(request, fields).send().await.unwrap();
    let location = response.headers().get("location");
    let location = location.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
    (response.status(), location, response.text().await.unwrap())
}

fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    request
        .header("accept-language", "en")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(pairs.collect::<Vec<_>>().join("&"))
}

/// What a coach of site 1 asks.
const QUESTION: &str = "只有本店知道的事";

/// Chats that end well and badly, a job and its results.
async fn busy_parlor() -> Parlor {
    let parlor = Parlor::with_business(Setup::default()).await;
    for (context, scenario) in [
        ("a", "[[sim:echo]]"),
        ("b", "[[sim:unavailable]]"),
        ("c", "[[sim:fail-mid]]"),
    ] {
        let chat = parlor.open(COACH, context).await;
        parlor
            .send(COACH, chat, &format!("{scenario}{QUESTION}"))
            .await
            .ok();
    }
    parlor.settled().await;
    parlor.member_paid(10001, 1).await;
    parlor.work().await;
    parlor
}
