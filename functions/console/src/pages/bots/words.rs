//! `/console/bots/words`: words that block questions and replies.

use askama::Template;
use axum::{extract::State, response::Response};
use common::{
    Error, Result,
    governance::auth::Admin,
    moderation::{self, Word, WordQuery},
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};

use super::{action, tabs};
use crate::{
    desk::{Desk, Place},
    format::filters,
    frame::Frame,
    pages::forms::{self, Sent},
    session::redirect,
    texts::BotsTexts,
};

/// Words on a page.
const PAGE_SIZE: i64 = 50;

#[derive(Template)]
#[template(path = "words.html")]
struct WordsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BotsTexts,
    tabs: Vec<Place>,
    found: Page<Word>,
    sent: &'a Sent,
}

impl WordsPage<'_> {
    fn action(&self, word: &Word) -> String {
        action(self.desk, word.site_id)
    }

    fn may_change(&self, word: &Word) -> bool {
        super::may_change(self.desk, word.site_id)
    }
}

/// Lists words, newest first.
pub(super) async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let list = WordQuery { scope: desk.scope };
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = moderation::list(db, &list, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&WordsPage {
        frame: &desk.frame,
        t: BotsTexts::of(desk.language),
        tabs: tabs(desk, "bots/words"),
        found,
        sent,
        desk,
    })
}

/// Adds or deletes a word.
pub(super) async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form)).await
        }
    }
}

async fn apply(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<()> {
    match form.text("do")? {
        Some("create") => {
            let scope = forms::scope(desk, admin)?;
            moderation::create(db, admin, scope, form.text("word")?).await?;
            Ok(())
        }
        Some("delete") => moderation::delete(db, admin, desk.scope, forms::id(form, "id")?).await,
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}
