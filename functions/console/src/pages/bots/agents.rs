//! `/console/bots/agents`: the DashScope applications of bots.

use askama::Template;
use axum::{extract::State, response::Response};
use common::{
    Error, Result,
    chat::agents::{self, Agent, AgentChange},
    governance::auth::PlatformAdmin,
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};

use super::{PAGE_SIZE, id, tabs};
use crate::{
    desk::{Desk, Place},
    format::{self, filters},
    frame::Frame,
    pages::forms::{self, Sent},
    session::redirect,
    texts::BotsTexts,
};

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BotsTexts,
    tabs: Vec<Place>,
    found: Page<Agent>,
    sent: &'a Sent,
}

impl AgentsPage<'_> {
    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn version(&self, agent: &Agent) -> String {
        version(agent)
    }
}

fn version(agent: &Agent) -> String {
    format::version(&(
        &agent.name,
        &agent.application_id_hint,
        &agent.fallback_hint,
    ))
}

/// Lists agents, newest first.
pub(super) async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, agents::LIST_SCOPE)?;
    let found = agents::list(db, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&AgentsPage {
        frame: &desk.frame,
        t: BotsTexts::of(desk.language),
        tabs: tabs(desk, "bots/agents"),
        found,
        sent,
        desk,
    })
}

/// Creates, changes or deletes an agent.
pub(super) async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: PlatformAdmin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form)).await
        }
    }
}

async fn apply(db: &Db, admin: &PlatformAdmin, form: &FormText) -> Result<()> {
    match form.text("do")? {
        Some("create") => {
            agents::create(db, admin, parse(form)?).await?;
        }
        Some("set") => {
            let seen = form.text("version")?.unwrap_or_default();
            let may_replace = |stored: &Agent| version(stored) == seen;
            agents::set(db, admin, id(form)?, parse(form)?, may_replace).await?;
        }
        Some("delete") => agents::delete(db, admin, id(form)?).await?,
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    }
    Ok(())
}

/// Reads the fields. An empty id keeps the stored one.
fn parse(form: &FormText) -> Result<AgentChange> {
    AgentChange::parse(
        form.text("name")?,
        application(form, "application_id", "remove_application")?,
        application(form, "fallback_application_id", "remove_fallback")?,
    )
}

#[expect(clippy::option_option, reason = "an id is kept, removed or replaced")]
fn application(
    form: &FormText,
    name: &'static str,
    remove: &'static str,
) -> Result<Option<Option<String>>> {
    if forms::is_checked(form, remove)? {
        return Ok(Some(None));
    }
    Ok(form.text(name)?.map(|id| Some(id.trim().to_owned())))
}
