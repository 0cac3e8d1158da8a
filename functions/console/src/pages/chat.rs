//! `/console/chat`: the chat page. Its script calls the routes of the mini-program below
//! `/console/api`.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use common::{
    Result,
    governance::{
        auth::{Caller, User},
        notice::Notice,
    },
    insights::facts::Period,
    web::Json,
};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::{
    Parts, error_pages,
    frame::Frame,
    markdown,
    session::{SessionRules, may_read_desk},
    texts::ChatTexts,
    words,
};

/// Scenarios of the simulator that have a button. Their list is in `local/src/simulator`.
const SCENARIOS: [&str; 12] = [
    "slow",
    "long",
    "thoughts",
    "workflow",
    "recorded:references",
    "fail-first:9",
    "fail-mid",
    "cut",
    "inspection",
    "throttle",
    "unavailable",
    "echo",
];

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/chat", get(show))
        .route("/console/markdown", post(render))
}

#[derive(Template)]
#[template(path = "chat.html")]
struct ChatPage {
    frame: Frame,
    t: &'static ChatTexts,
    nickname: String,
    role: &'static str,
    /// True for users who may see the other pages.
    has_desk: bool,
    /// The label of texts by AI.
    label: String,
    /// Value and text of each period of the finance board.
    periods: [(&'static str, &'static str); 8],
    /// Value and text of each reason for a report. A thumb down has all but the last two.
    reasons: [(&'static str, &'static str); 6],
    /// Code and text of errors. The API has these texts only in Chinese.
    errors: Vec<(&'static str, &'static str)>,
    /// Empty if replies do not come from a laptop.
    scenarios: &'static [&'static str],
}

/// Shows the page to any user with a site.
async fn show(
    State(rules): State<SessionRules>,
    State(notice): State<Notice>,
    uri: Uri,
    headers: HeaderMap,
    user: User,
    caller: Caller,
) -> Result<Response> {
    let frame = Frame::of(&headers, uri.path());
    let (language, t) = (frame.language, ChatTexts::of(frame.language));
    let page = ChatPage {
        frame,
        t,
        nickname: caller.nickname,
        role: words::in_language(language, caller.role.name()),
        has_desk: may_read_desk(&user),
        label: notice.label.as_str().to_owned(),
        periods: Period::ALL
            .map(Period::name)
            .map(|period| (period, words::in_language(language, period))),
        reasons: [
            ("inaccurate", t.inaccurate),
            ("unhelpful", t.unhelpful),
            ("unsafe", t.unsafe_text),
            ("other", t.other),
            ("illegal", t.illegal),
            ("privacy", t.privacy),
        ],
        errors: errors(t),
        scenarios: if rules.is_local() { &SCENARIOS } else { &[] },
    };
    error_pages::html(StatusCode::OK, &page)
}

fn errors(t: &ChatTexts) -> Vec<(&'static str, &'static str)> {
    let same = |text, codes: &[&'static str]| -> Vec<_> {
        codes.iter().map(|code| (*code, text)).collect()
    };
    [
        same(t.lost, &["lost"]),
        same(t.busy, &["busy"]),
        same(t.content_blocked, &["content_blocked"]),
        same(
            t.limited,
            &["rate_limited", "budget_exceeded", "quota_exceeded"],
        ),
        same(
            t.unavailable,
            &[
                "unavailable",
                "circuit_open",
                "upstream_error",
                "upstream_timeout",
                "deadline",
            ],
        ),
    ]
    .concat()
}

#[derive(Deserialize)]
struct MarkdownBody {
    texts: Vec<String>,
}

#[derive(Serialize)]
struct Rendered {
    html: Vec<String>,
}

/// `POST /console/markdown`: renders texts of replies as HTML that is safe to insert.
async fn render(_: Caller, Json(body): Json<MarkdownBody>) -> Json<Rendered> {
    let html = body.texts.iter().map(|text| markdown::render(text));
    Json(Rendered {
        html: html.collect(),
    })
}
