//! `/api/admin/ai/agents`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    Result,
    chat::agents::{self, Agent, AgentChange},
    governance::auth::{PlatformAdmin, SiteScope},
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, BodyFailures, HeaderText, IfMatch, ItemFailures, Json, PathText,
        QueryFailures, QueryText, Versioned, given, json_with_version,
    },
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::PAGE_SIZE;

/// A DashScope application of bots. It belongs to no site.
#[derive(Serialize, ToSchema)]
#[schema(as = Agent)]
pub(crate) struct AgentView {
    id: Uuid,
    name: String,
    /// The last 4 characters. Null: bots with this agent do not reply.
    #[schema(required)]
    application_id_hint: Option<String>,
    #[schema(required)]
    fallback_hint: Option<String>,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id,
            name: agent.name,
            application_id_hint: agent.application_id_hint,
            fallback_hint: agent.fallback_hint,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AgentBody)]
#[expect(clippy::option_option, reason = "null and a missing field differ")]
pub(crate) struct Body {
    #[schema(required, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Id in the DashScope console. Left out: unchanged. Null: removed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only, min_length = 1, max_length = 128)]
    application_id: Option<Option<String>>,
    /// As `application_id`. Called once if the circuit is open or the application throttles.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only, min_length = 1, max_length = 128)]
    fallback_application_id: Option<Option<String>>,
}

impl Body {
    fn parse(self) -> Result<AgentChange> {
        AgentChange::parse(
            self.name.as_deref(),
            self.application_id,
            self.fallback_application_id,
        )
    }
}

/// Lists agents, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/agents", tag = "admin", security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<Versioned<AgentView>>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_agents(
    State(db): State<Db>,
    _: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<Versioned<AgentView>>>> {
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, agents::LIST_SCOPE)?;
    let found = agents::list(&db, &paging).await?;
    let items = found.map(|agent| Versioned::new(AgentView::from(agent)));
    Ok(Json(AdminPage::of(items, &paging)?))
}

/// Creates an agent. Only for platform admins.
#[utoipa::path(
    post, path = "/api/admin/ai/agents", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = AgentView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn create_agent(
    State(db): State<Db>,
    admin: PlatformAdmin,
    Json(body): Json<Body>,
) -> Result<Response> {
    let agent = agents::create(&db, &admin, body.parse()?).await?;
    let view = json_with_version(&AgentView::from(agent));
    Ok((StatusCode::CREATED, view).into_response())
}

/// Changes an agent. The change applies to the next reply. Only for platform admins.
#[utoipa::path(
    put, path = "/api/admin/ai/agents/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "`etag` of the version to replace"),
    ),
    request_body = Body,
    responses(
        (status = 200, body = AgentView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_agent(
    State(db): State<Db>,
    admin: PlatformAdmin,
    path: PathText,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let id = path.uuid("id")?;
    let if_match = IfMatch::of(&headers)?;
    let agent = agents::set(&db, &admin, id, body.parse()?, |stored| {
        if_match.allows_object(&AgentView::from(stored.clone()))
    });
    Ok(json_with_version(&AgentView::from(agent.await?)))
}

/// Deletes an agent that no bot uses. Only for platform admins.
#[utoipa::path(
    delete, path = "/api/admin/ai/agents/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 204),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem, description = "Bots use the agent"),
    ),
)]
pub(crate) async fn delete_agent(
    State(db): State<Db>,
    admin: PlatformAdmin,
    path: PathText,
) -> Result<StatusCode> {
    agents::delete(&db, &admin, path.uuid("id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
