//! `GET` and `PUT /api/admin/ai/openers`.

use axum::{extract::State, response::Response};
use common::{
    Error, Result,
    chat::openers::{self, Openers, Place},
    governance::auth::{Admin, SiteScope},
    insights::pages::Page,
    platform::{db::Db, error::Reason},
    web::{
        AdminProblem, BodyFailures, HeaderText, IfMatch, Json, QueryFailures, Versioned, given,
        json_with_version, uuid,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Questions with which a chat may begin. Without `source_page` and `bot_id`, they are for chats
/// that begin elsewhere.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminOpeners)]
pub(crate) struct OpenersView {
    /// Null: the default of all sites.
    #[schema(required)]
    site_id: Option<i64>,
    #[schema(required)]
    source_page: Option<String>,
    #[schema(required)]
    bot_id: Option<Uuid>,
    texts: Vec<String>,
}

impl From<Openers> for OpenersView {
    fn from(openers: Openers) -> Self {
        Self {
            site_id: openers.site_id,
            source_page: openers.source_page,
            bot_id: openers.bot_id,
            texts: openers.texts,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = AdminOpenersList)]
pub(crate) struct List {
    items: Vec<Versioned<OpenersView>>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OpenersBody)]
pub(crate) struct Body {
    /// Default: a site admin's own site. Required for a platform admin. Null: the default of all
    /// sites, only for a platform admin.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    site_id: Option<Option<i64>>,
    /// A page of the mini-program. Not with `bot_id`.
    #[schema(example = "board-finance")]
    source_page: Option<String>,
    #[schema(format = "uuid")]
    bot_id: Option<String>,
    /// Up to 200 characters each. An empty list removes the openers.
    #[schema(required, max_items = 6)]
    texts: Option<Vec<String>>,
}

impl Body {
    fn place(&self) -> Result<Place> {
        match (&self.source_page, &self.bot_id) {
            (None, None) => Ok(Place::Anywhere),
            (Some(page), None) => Page::parse(page)
                .map(Place::Page)
                .ok_or(Error::invalid("source_page", Reason::Unknown)),
            (None, Some(id)) => uuid("bot_id", id).map(Place::Bot),
            (Some(_), Some(_)) => Err(Error::invalid("bot_id", Reason::Exclusive("source_page"))),
        }
    }
}

/// Lists openers by site and place.
#[utoipa::path(
    get, path = "/api/admin/ai/openers", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = List),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_admin_openers(
    State(db): State<Db>,
    scope: SiteScope,
) -> Result<Json<List>> {
    let found = openers::list_settings(&db, scope).await?.into_iter();
    let items = found.map(|openers| Versioned::new(OpenersView::from(openers)));
    Ok(Json(List {
        items: items.collect(),
    }))
}

/// Replaces the openers of a page, of a bot, or of neither.
#[utoipa::path(
    put, path = "/api/admin/ai/openers", tag = "admin", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "`etag` of the version to replace")),
    request_body = Body,
    responses(
        (status = 200, body = OpenersView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_openers(
    State(db): State<Db>,
    admin: Admin,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let scope = admin.site_or_all(body.site_id)?;
    let if_match = IfMatch::of(&headers)?;
    let place = body.place()?;
    let texts = openers::parse_texts(body.texts.as_deref())?;
    let openers = openers::set(&db, &admin, scope, place, texts, |stored| {
        if_match.allows_object(&OpenersView::from(stored.clone()))
    });
    Ok(json_with_version(&OpenersView::from(openers.await?)))
}
