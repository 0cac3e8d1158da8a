//! `/api/admin/ai/api-keys`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        api_keys::{self, ApiKey, NewKey},
        auth::{Admin, SITE_ID, SiteScope},
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, BodyFailures, ItemFailures, Json, PathText, QueryFailures,
        QueryText, given,
    },
};
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A machine key. The key itself is never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    id: i64,
    /// Null: a key for all sites.
    #[schema(required)]
    site_id: Option<i64>,
    name: String,
    /// `jobs:write`, `usage:read`.
    scopes: Vec<String>,
    /// The last 4 characters of the key.
    key_hint: String,
    /// The admin.
    created_by: i64,
    created_at: DateTime<Utc>,
    /// Null: the key does not expire.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// Up to a minute late. Null: the key was not used.
    #[schema(required)]
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            site_id: key.site_id,
            name: key.name,
            scopes: key.scopes,
            key_hint: key.key_hint,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A new machine key.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedApiKey)]
pub(crate) struct CreatedKey {
    id: i64,
    #[schema(required)]
    site_id: Option<i64>,
    name: String,
    scopes: Vec<String>,
    /// The bearer token of the program. No other response contains it.
    key: String,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

impl From<(ApiKey, SecretString)> for CreatedKey {
    fn from((created, key): (ApiKey, SecretString)) -> Self {
        Self {
            id: created.id,
            site_id: created.site_id,
            name: created.name,
            scopes: created.scopes,
            key: key.expose_secret().to_owned(),
            expires_at: created.expires_at,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ApiKeyBody)]
pub(crate) struct Body {
    /// Default: the site admin's own site. Required for a platform admin. Null: all sites, only for
    /// a platform admin.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    site_id: Option<Option<i64>>,
    #[schema(required, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// `jobs:write`: `POST /trigger-jobs`. `usage:read`: `GET /usage`, `GET /latency`.
    #[schema(required, min_items = 1, max_items = 2)]
    scopes: Option<Vec<String>>,
    /// In the future. Default: the key does not expire.
    expires_at: Option<DateTime<Utc>>,
}

/// Lists machine keys, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/api-keys", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<KeyView>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_api_keys(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<KeyView>>> {
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &api_keys::list_scope(scope))?;
    let found = api_keys::list(&db, scope, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

/// Creates a machine key. A site has at most 50.
#[utoipa::path(
    post, path = "/api/admin/ai/api-keys", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = CreatedKey),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn create_api_key(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<CreatedKey>)> {
    let scope = admin.site_or_all(body.site_id)?;
    let new = NewKey::parse(
        body.name.as_deref(),
        body.scopes.as_deref(),
        body.expires_at,
    )?;
    let created = api_keys::create(&db, &admin, scope, new).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Revokes a machine key. The next request with it is refused.
#[utoipa::path(
    delete, path = "/api/admin/ai/api-keys/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses((status = 204), ItemFailures<AdminProblem>),
)]
pub(crate) async fn delete_api_key(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let scope = admin.scope(query.integer(SITE_ID, 1, i64::MAX)?)?;
    api_keys::delete(&db, &admin, scope, path.id("id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
