//! `/console/bots`: bots, and below it their agents, openers, and moderation words.

mod agents;
mod openers;
mod words;

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    chat::{
        agents::{self as stored_agents, Agent},
        bots::{self, Access, BotFields, BotSettings, Status},
    },
    governance::auth::{Admin, SITE_ID},
    platform::{
        db::Db,
        error::Reason,
        paging::{MAX_PAGE_SIZE, Page, PageStart, Paging},
    },
    web::FormText,
};
use uuid::Uuid;

use crate::{
    Parts,
    desk::{Desk, Place},
    format::{self, Choice, filters},
    frame::Frame,
    pages::forms::{self, Form, Sent},
    session::redirect,
    texts::BotsTexts,
};

/// Items on a page. Each has a form.
const PAGE_SIZE: i64 = 20;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/bots", get(list).post(change))
        .route(
            "/console/bots/agents",
            get(agents::list).post(agents::change),
        )
        .route(
            "/console/bots/openers",
            get(openers::list).post(openers::change),
        )
        .route("/console/bots/words", get(words::list).post(words::change))
}

/// The pages of this place. `current` is the path of one of them.
fn tabs(desk: &Desk, current: &str) -> Vec<Place> {
    let t = BotsTexts::of(desk.language);
    let tabs = [
        ("bots", desk.common.bots),
        ("bots/agents", t.agents),
        ("bots/openers", t.openers),
        ("bots/words", t.words),
    ];
    tabs.into_iter()
        .map(|(path, text)| Place {
            path,
            text,
            is_current: path == current,
        })
        .collect()
}

/// The first agents, for selections.
async fn first_agents(db: &Db) -> Result<Vec<Agent>> {
    let paging = Paging {
        page: 1,
        size: MAX_PAGE_SIZE,
        from: PageStart::Offset(0),
    };
    Ok(stored_agents::list(db, &paging).await?.items)
}

/// The first bots that the page may show, for selections.
async fn first_bots(db: &Db, desk: &Desk) -> Result<Vec<BotSettings>> {
    let paging = Paging {
        page: 1,
        size: MAX_PAGE_SIZE,
        from: PageStart::Offset(0),
    };
    Ok(bots::list_settings(db, desk.scope, &paging).await?.items)
}

/// Where the forms of an item are sent.
fn action(desk: &Desk, site_id: Option<i64>) -> String {
    match site_id {
        Some(site_id) => desk.with(SITE_ID, site_id),
        None => desk.with("", ""),
    }
}

/// True if the page may change an item of a site, or of all sites. With one site chosen, items of
/// all sites are not shown completely: a bot has users of other sites, too.
fn may_change(desk: &Desk, site_id: Option<i64>) -> bool {
    let is_whole = site_id.is_some() || (desk.is_of_platform() && desk.shows_all_sites());
    desk.may_change() && is_whole
}

#[derive(Template)]
#[template(path = "bots.html")]
struct BotsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BotsTexts,
    tabs: Vec<Place>,
    agents: Vec<Agent>,
    found: Page<BotSettings>,
    sent: &'a Sent,
}

impl BotsPage<'_> {
    fn statuses(&self, form: &Form<'_>, stored: &str) -> Vec<Choice> {
        form.choices(self.desk, "status", &Status::ALL.map(Status::name), stored)
    }

    fn accesses(&self, form: &Form<'_>, stored: &str) -> Vec<Choice> {
        form.choices(self.desk, "access", &Access::ALL.map(Access::name), stored)
    }

    fn agents(&self, form: &Form<'_>, stored: Option<Uuid>) -> Vec<Choice> {
        let current = form.optional("agent_id", stored.as_ref());
        let mut choices = vec![(String::new(), self.t.no_agent.to_owned())];
        // An agent that is not among the first ones is shown by its id, so that it is not removed.
        if let Some(id) = stored.filter(|id| self.agents.iter().all(|agent| agent.id != *id)) {
            choices.push((id.to_string(), id.to_string()));
        }
        let agents = self.agents.iter();
        choices.extend(agents.map(|agent| (agent.id.to_string(), agent.name.clone())));
        choices
            .into_iter()
            .map(|(value, text)| Choice {
                is_chosen: value == current,
                value,
                text,
            })
            .collect()
    }

    fn agent_name(&self, id: &Uuid) -> String {
        let agent = self.agents.iter().find(|agent| agent.id == *id);
        agent.map_or_else(|| id.to_string(), |agent| agent.name.clone())
    }

    fn action(&self, site_id: Option<i64>) -> String {
        action(self.desk, site_id)
    }

    fn may_change(&self, bot: &BotSettings) -> bool {
        may_change(self.desk, bot.site_id)
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn grants(&self, bot: &BotSettings) -> String {
        let ids = bot.grants.iter().map(ToString::to_string);
        ids.collect::<Vec<_>>().join(" ")
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn version(&self, bot: &BotSettings) -> String {
        version(bot)
    }
}

fn version(bot: &BotSettings) -> String {
    format::version(&(
        &bot.name,
        &bot.display_name,
        &bot.avatar,
        &bot.status,
        &bot.access,
        &bot.agent_id,
        &bot.grants,
    ))
}

/// Lists bots, newest first.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &bots::list_scope(desk.scope))?;
    let found = bots::list_settings(db, desk.scope, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&BotsPage {
        frame: &desk.frame,
        t: BotsTexts::of(desk.language),
        tabs: tabs(desk, "bots"),
        agents: first_agents(db).await?,
        found,
        sent,
        desk,
    })
}

/// Creates, changes or deletes a bot.
async fn change(
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
            bots::create(db, admin, scope, fields(form)?).await?;
        }
        Some("set") => {
            let seen = form.text("version")?.unwrap_or_default();
            let may_replace = |stored: &BotSettings| version(stored) == seen;
            let (id, fields) = (id(form)?, fields(form)?);
            bots::set(db, admin, desk.scope, id, None, fields, may_replace).await?;
        }
        Some("delete") => bots::delete(db, admin, desk.scope, id(form)?).await?,
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    }
    Ok(())
}

fn id(form: &FormText) -> Result<Uuid> {
    form.uuid("id")?
        .ok_or(Error::invalid("id", Reason::Missing))
}

fn fields(form: &FormText) -> Result<BotFields> {
    let text = |name| -> Result<Option<String>> { Ok(form.text(name)?.map(str::to_owned)) };
    let grants = form.text("grants")?.unwrap_or_default();
    let ids = grants.split(|letter: char| letter.is_whitespace() || letter == ',');
    let ids = ids.filter(|id| !id.is_empty());
    let grants: Result<Vec<i64>, _> = ids.map(str::parse).collect();
    Ok(BotFields {
        name: text("name")?,
        display_name: text("display_name")?,
        avatar: text("avatar")?,
        status: text("status")?,
        access: text("access")?,
        agent_id: form.uuid("agent_id")?,
        grants: grants.map_err(|_| Error::invalid("grants", Reason::Type))?,
    })
}
