//! `/console/feedback`: feedback of users.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Result,
    governance::{
        apps::App,
        feedback::{self, Entry, FeedbackQuery, Rating},
    },
    platform::{
        db::Db,
        paging::{Page, Paging},
    },
};

use crate::{
    Parts,
    desk::Desk,
    format::{Choice, filters},
    frame::Frame,
    names::Names,
    pages::{
        exports,
        forms::{choices_or, filter_or},
    },
    texts::FeedbackTexts,
};

/// Entries on a page. Each has a question and an answer.
const PAGE_SIZE: i64 = 20;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/feedback", get(list))
}

#[derive(Template)]
#[template(path = "feedback.html")]
struct FeedbackPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static FeedbackTexts,
    ratings: Vec<Choice>,
    apps: Vec<Choice>,
    found: Page<Entry>,
    names: Names,
    csv: String,
}

/// Reads the filters. Without a rating, only thumbs down.
pub(crate) fn query(desk: &Desk) -> Result<FeedbackQuery> {
    let rating = filter_or(desk, "rating", Rating::parse, Rating::Down)?;
    Ok(FeedbackQuery {
        rating,
        ..FeedbackQuery::parse(desk.scope, &desk.query.without("rating"))?
    })
}

/// Lists feedback, newest first.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let list = query(&desk)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = feedback::list(&db, &list, &paging).await?;
    paging.reaches(&found)?;
    let names = Names::load(&db, found.items.iter().map(|entry| entry.user_id)).await?;
    let ratings = Rating::ALL.map(Rating::name);
    desk.show(&FeedbackPage {
        frame: &desk.frame,
        t: FeedbackTexts::of(desk.language),
        ratings: choices_or(&desk, "rating", &ratings, Rating::Down.name()),
        apps: desk.choices("app_type", App::ALL.map(App::name)),
        found,
        names,
        csv: exports::link(&desk, "feedback.csv", &[]),
        desk: &desk,
    })
}
