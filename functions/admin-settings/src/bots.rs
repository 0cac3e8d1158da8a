//! `/api/admin/ai/bots`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use common::{
    Result,
    chat::bots::{self, BotFields, BotSettings},
    governance::auth::{Admin, SITE_ID, SiteScope},
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, BodyFailures, HeaderText, IfMatch, ItemFailures, Json, PathText,
        QueryFailures, QueryText, Versioned, given, json_with_version, uuid,
    },
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::PAGE_SIZE;

/// A bot, as admins see it.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminBot)]
pub(crate) struct BotView {
    id: Uuid,
    /// Null: a bot of all sites, which only platform admins change.
    #[schema(required)]
    site_id: Option<i64>,
    name: String,
    /// Null: users see `name`.
    #[schema(required)]
    display_name: Option<String>,
    /// URL of a picture.
    #[schema(required)]
    avatar: Option<String>,
    /// `active` or `disabled`.
    status: String,
    /// `public`: all users of the site. `granted`: the users in `grants`.
    access: String,
    /// Null: the bot does not reply.
    #[schema(required)]
    agent_id: Option<Uuid>,
    /// Ids of users, ascending. In the list of one site, only its users.
    grants: Vec<i64>,
}

impl From<BotSettings> for BotView {
    fn from(bot: BotSettings) -> Self {
        Self {
            id: bot.id,
            site_id: bot.site_id,
            name: bot.name,
            display_name: bot.display_name,
            avatar: bot.avatar,
            status: bot.status,
            access: bot.access,
            agent_id: bot.agent_id,
            grants: bot.grants,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = BotBody)]
pub(crate) struct Body {
    /// Default for a new bot: a site admin's own site. Required for a platform admin. Null: all
    /// sites, only for a platform admin. The site of a bot cannot change.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    site_id: Option<Option<i64>>,
    #[schema(required, min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    display_name: Option<String>,
    #[schema(min_length = 1, max_length = 2000)]
    avatar: Option<String>,
    /// `active` or `disabled`. Default: `active`; in a change, the stored one.
    #[schema(example = "active")]
    status: Option<String>,
    /// `public` or `granted`. Default: `public`; in a change, the stored one.
    #[schema(example = "public")]
    access: Option<String>,
    #[schema(format = "uuid")]
    agent_id: Option<String>,
    /// Ids of users of the site. Default: none.
    #[schema(max_items = 1000)]
    grants: Option<Vec<i64>>,
}

impl Body {
    fn fields(self) -> Result<BotFields> {
        let agent_id = self.agent_id.as_deref();
        Ok(BotFields {
            agent_id: agent_id.map(|id| uuid("agent_id", id)).transpose()?,
            name: self.name,
            display_name: self.display_name,
            avatar: self.avatar,
            status: self.status,
            access: self.access,
            grants: self.grants.unwrap_or_default(),
        })
    }
}

/// Lists bots, newest first: those of the sites, and those of all sites.
#[utoipa::path(
    get, path = "/api/admin/ai/bots", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<Versioned<BotView>>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_admin_bots(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<Versioned<BotView>>>> {
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &bots::list_scope(scope))?;
    let found = bots::list_settings(&db, scope, &paging).await?;
    let items = found.map(|bot| Versioned::new(BotView::from(bot)));
    Ok(Json(AdminPage::of(items, &paging)?))
}

/// Creates a bot.
#[utoipa::path(
    post, path = "/api/admin/ai/bots", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = BotView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>,
    ),
)]
pub(crate) async fn create_bot(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<Response> {
    let scope = admin.site_or_all(body.site_id)?;
    let bot = bots::create(&db, &admin, scope, body.fields()?).await?;
    let view = json_with_version(&BotView::from(bot));
    Ok((StatusCode::CREATED, view).into_response())
}

/// Replaces the settings of a bot. They apply to the next message.
///
/// Missing members become null or empty, except `status` and `access`, which stay.
#[utoipa::path(
    put, path = "/api/admin/ai/bots/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "`etag` of the version to replace"),
    ),
    request_body = Body,
    responses(
        (status = 200, body = BotView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem), (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_bot(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let scope = admin.scope(query.integer(SITE_ID, 1, i64::MAX)?)?;
    let (id, site_id) = (path.uuid("id")?, body.site_id);
    let if_match = IfMatch::of(&headers)?;
    let bot = bots::set(&db, &admin, scope, id, site_id, body.fields()?, |stored| {
        if_match.allows_object(&BotView::from(stored.clone()))
    });
    Ok(json_with_version(&BotView::from(bot.await?)))
}

/// Deletes a bot. Its conversations remain and can be read, but get no more replies.
#[utoipa::path(
    delete, path = "/api/admin/ai/bots/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = Uuid, Path),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses((status = 204), ItemFailures<AdminProblem>),
)]
pub(crate) async fn delete_bot(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let scope = admin.scope(query.integer(SITE_ID, 1, i64::MAX)?)?;
    bots::delete(&db, &admin, scope, path.uuid("id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
