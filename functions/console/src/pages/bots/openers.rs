//! `/console/bots/openers`: questions with which a chat may begin.

use askama::Template;
use axum::{extract::State, response::Response};
use common::{
    Error, Result,
    chat::{
        bots::BotSettings,
        openers::{self, Openers, Place as Entrance},
    },
    governance::auth::Admin,
    insights::pages::Page,
    platform::{db::Db, error::Reason},
    web::{FormText, uuid},
};

use super::{action, first_bots, may_change, tabs};
use crate::{
    desk::{Desk, Place},
    format::{self, Choice},
    frame::Frame,
    pages::forms::{self, Form, Sent},
    session::redirect,
    texts::BotsTexts,
};

/// The value of the choice for chats that begin on no page and with no bot.
const ANYWHERE: &str = "anywhere";

#[derive(Template)]
#[template(path = "openers.html")]
struct OpenersPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BotsTexts,
    tabs: Vec<Place>,
    bots: Vec<BotSettings>,
    found: Vec<Openers>,
    sent: &'a Sent,
}

impl OpenersPage<'_> {
    /// The choices of a place: the pages of the mini-program, and bots.
    fn places(&self, form: &Form<'_>) -> Vec<Choice> {
        let current = form.value("place", ANYWHERE);
        let pages = Page::ALL.map(Page::name);
        let pages = pages.map(|page| (page.to_owned(), self.desk.word(page).to_owned()));
        let bots = self.bots.iter().map(|bot| {
            let text = format!("{}: {}", self.desk.common.bot, bot.name);
            (bot.id.to_string(), text)
        });
        let anywhere = (ANYWHERE.to_owned(), self.t.anywhere.to_owned());
        [anywhere]
            .into_iter()
            .chain(pages)
            .chain(bots)
            .map(|(value, text)| Choice {
                is_chosen: value == current,
                value,
                text,
            })
            .collect()
    }

    /// A place in words.
    fn place(&self, openers: &Openers) -> String {
        let place = place_of(openers);
        match openers.bot_id {
            Some(id) => {
                let bot = self.bots.iter().find(|bot| bot.id == id);
                let name = bot.map_or(place, |bot| bot.name.clone());
                format!("{}: {name}", self.desk.common.bot)
            }
            None if place == ANYWHERE => self.t.anywhere.to_owned(),
            None => self.desk.word(&place).to_owned(),
        }
    }

    fn action(&self, openers: &Openers) -> String {
        action(self.desk, openers.site_id)
    }

    fn may_change(&self, openers: &Openers) -> bool {
        may_change(self.desk, openers.site_id)
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn value(&self, openers: &Openers) -> String {
        place_of(openers)
    }

    /// Tells openers of the same place at different sites apart.
    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn id(&self, openers: &Openers) -> String {
        let site = openers.site_id.unwrap_or_default();
        format!("{site}/{}", place_of(openers))
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn version(&self, openers: &Openers) -> String {
        version(openers)
    }
}

/// The value of a place in forms.
fn place_of(openers: &Openers) -> String {
    let bot = openers.bot_id.map(|id| id.to_string());
    bot.or_else(|| openers.source_page.clone())
        .unwrap_or_else(|| ANYWHERE.to_owned())
}

fn version(openers: &Openers) -> String {
    format::version(&openers.texts)
}

/// Lists openers by site and place.
pub(super) async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    desk.show(&OpenersPage {
        frame: &desk.frame,
        t: BotsTexts::of(desk.language),
        tabs: tabs(desk, "bots/openers"),
        bots: first_bots(db, desk).await?,
        found: openers::list_settings(db, desk.scope).await?,
        sent,
        desk,
    })
}

/// Replaces the openers of a place.
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
    let scope = forms::scope(desk, admin)?;
    let place = place(form)?;
    let lines = form.text("texts")?.unwrap_or_default().lines();
    let lines: Vec<String> = lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    let texts = openers::parse_texts(Some(&lines))?;
    // The form for new openers has no version, and replaces nothing.
    let may_replace = match (form.text("do")?, form.text("version")?) {
        (Some("create"), _) if texts.is_empty() => {
            return Err(Error::invalid("texts", Reason::Empty));
        }
        (Some("create"), _) => None,
        (Some("set"), Some(seen)) => Some(seen),
        (Some("set"), None) => return Err(Error::invalid("version", Reason::Missing)),
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    };
    let may_replace = |stored: &Openers| match may_replace {
        Some(seen) => version(stored) == seen,
        None => stored.texts.is_empty(),
    };
    openers::set(db, admin, scope, place, texts, may_replace).await?;
    Ok(())
}

fn place(form: &FormText) -> Result<Entrance> {
    let place = form.text("place")?;
    let place = place.ok_or(Error::invalid("place", Reason::Missing))?;
    if place == ANYWHERE {
        return Ok(Entrance::Anywhere);
    }
    match Page::parse(place) {
        Some(page) => Ok(Entrance::Page(page)),
        None => uuid("place", place).map(Entrance::Bot),
    }
}
