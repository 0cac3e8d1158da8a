//! `GET /api/admin/ai/users` and `PUT /api/admin/ai/users/{id}`.

use axum::{extract::State, response::Response};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        users::{self, Change, User},
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, BodyFailures, HeaderText, IfMatch, Json, PathText, QueryFailures,
        QueryText, Versioned, json_with_version,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A user. The operator's own system creates users.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminUser)]
pub(crate) struct UserView {
    id: i64,
    /// Null for a platform admin.
    #[schema(required)]
    site_id: Option<i64>,
    nickname: String,
    /// `coach`, `staff`, `manager`, `site_admin`, or `admin` of the platform.
    role: String,
    /// `pending`, `approved` or `disabled`.
    status: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            site_id: user.site_id,
            nickname: user.nickname,
            role: user.role,
            status: user.status,
        }
    }
}

/// Lists users, ordered by id.
#[utoipa::path(
    get, path = "/api/admin/ai/users", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<Versioned<UserView>>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_users(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<Versioned<UserView>>>> {
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &users::list_scope(scope))?;
    let found = users::list(&db, scope, &paging).await?;
    let items = found.map(|user| Versioned::new(UserView::from(user)));
    Ok(Json(AdminPage::of(items, &paging)?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = UserBody)]
pub(crate) struct Body {
    /// `coach`, `staff`, `manager` or `site_admin`.
    #[schema(required)]
    role: Option<String>,
    /// `pending`, `approved` or `disabled`. A disabled user has no access after 30 seconds.
    #[schema(required)]
    status: Option<String>,
}

/// Changes role and status of a user. Admins cannot change themselves.
#[utoipa::path(
    put, path = "/api/admin/ai/users/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "`etag` of the version to replace"),
    ),
    request_body = Body,
    responses(
        (status = 200, body = UserView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem), (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_user(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let (site_id, id) = (admin.site_in(&query)?, path.id("id")?);
    let if_match = IfMatch::of(&headers)?;
    let change = Change::parse(body.role.as_deref(), body.status.as_deref())?;
    let user = users::set(&db, &admin, site_id, id, change, |stored| {
        if_match.allows_object(&UserView::from(stored.clone()))
    });
    Ok(json_with_version(&UserView::from(user.await?)))
}
