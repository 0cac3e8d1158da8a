//! `/api/admin/ai/notification-channels`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        notifications::{
            Channel, ChannelQuery, Fields,
            channels::{self, LastDelivery},
        },
    },
    platform::{db::Db, paging::Paging, public_client::PublicClient},
    web::{
        AdminPage, AdminProblem, BodyFailures, HeaderText, IfMatch, ItemFailures, Json, PathText,
        QueryFailures, QueryText, etag_of, given,
    },
};
use http::{StatusCode, header::ETAG};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A robot or webhook that receives notifications. Address and secret are never shown.
#[derive(Serialize, ToSchema)]
#[schema(as = NotificationChannel)]
pub(crate) struct ChannelView {
    id: i64,
    site_id: i64,
    /// `wecom`, `dingtalk`, `feishu` or `webhook`.
    kind: String,
    name: String,
    /// Host and end of the address. Null: there is no address, and nothing is sent.
    #[schema(required)]
    url_hint: Option<String>,
    /// The least urgent level that is sent: `info`, `warning` or `critical`.
    level: String,
    /// Most notifications in 60 minutes. Those beyond are counted in a summary.
    hourly_cap: i32,
    #[schema(required)]
    muted_until: Option<DateTime<Utc>>,
    enabled: bool,
    #[schema(required)]
    last_delivery: Option<LastDeliveryView>,
    /// As in the header `ETag`. Deliveries do not change it.
    etag: String,
}

/// The newest try of any delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = LastDelivery)]
pub(crate) struct LastDeliveryView {
    at: DateTime<Utc>,
    ok: bool,
    /// A text for admins, in Chinese.
    detail: String,
}

impl From<LastDelivery> for LastDeliveryView {
    fn from(last: LastDelivery) -> Self {
        Self {
            at: last.at,
            ok: last.ok,
            detail: last.detail,
        }
    }
}

impl From<Channel> for ChannelView {
    fn from(channel: Channel) -> Self {
        Self {
            id: channel.id,
            site_id: channel.site_id,
            kind: channel.kind,
            name: channel.name,
            url_hint: channel.url_hint,
            level: channel.level,
            hourly_cap: channel.hourly_cap,
            muted_until: channel.muted_until,
            enabled: channel.enabled,
            last_delivery: channel.last_delivery.map(Into::into),
            etag: etag_of(&channel.version.to_string()),
        }
    }
}

impl ChannelView {
    /// Adds the header `ETag`.
    fn response(self, status: StatusCode) -> Response {
        let etag = self.etag.clone();
        (status, [(ETAG, etag)], Json(self)).into_response()
    }
}

/// Settings of a channel. `PUT` replaces all of them.
#[derive(Deserialize, ToSchema)]
#[schema(as = NotificationChannelBody)]
#[expect(clippy::option_option, reason = "null and a missing field differ")]
pub(crate) struct Body {
    /// `wecom`, `dingtalk`, `feishu` or `webhook`.
    #[schema(required)]
    kind: Option<String>,
    #[schema(required, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// The address, with HTTPS and without port. Write-only. `POST` requires it. In `PUT`, a
    /// missing one is unchanged, and null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only, max_length = 2000)]
    url: Option<Option<String>>,
    /// The key of the signature. Write-only. In `PUT`, a missing one is unchanged, and null removes
    /// it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only, max_length = 2000)]
    secret: Option<Option<String>>,
    /// `info`, `warning` or `critical`. Default: `warning`.
    level: Option<String>,
    /// Default: 20.
    #[schema(minimum = 1, maximum = 1000)]
    hourly_cap: Option<i32>,
    muted_until: Option<DateTime<Utc>>,
    /// Default: true.
    enabled: Option<bool>,
}

impl From<Body> for Fields {
    fn from(body: Body) -> Self {
        Self {
            kind: body.kind,
            name: body.name,
            url: body.url,
            secret: body.secret,
            level: body.level,
            hourly_cap: body.hourly_cap,
            muted_until: body.muted_until,
            enabled: body.enabled,
        }
    }
}

/// Lists channels, ordered by site and id.
#[utoipa::path(
    get, path = "/api/admin/ai/notification-channels", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<ChannelView>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_channels(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<ChannelView>>> {
    let list = ChannelQuery { scope };
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = channels::list(&db, &list, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

/// Creates a channel. A site has at most 50.
#[utoipa::path(
    post, path = "/api/admin/ai/notification-channels", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    request_body = Body,
    responses(
        (status = 201, body = ChannelView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn create_channel(
    State(db): State<Db>,
    admin: Admin,
    query: QueryText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let site_id = admin.site_in(&query)?;
    let channel = channels::create(&db, site_id, admin.user_id, body.into()).await?;
    Ok(ChannelView::from(channel).response(StatusCode::CREATED))
}

/// Replaces the settings of a channel.
#[utoipa::path(
    put, path = "/api/admin/ai/notification-channels/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
        ("If-Match" = Option<String>, Header, description = "`etag` of the version to replace"),
    ),
    request_body = Body,
    responses(
        (status = 200, body = ChannelView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_channel(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let (site_id, id) = (admin.site_in(&query)?, path.id("id")?);
    let if_match = IfMatch::of(&headers)?;
    let may_replace = |version: i64| if_match.allows(Some(&version.to_string()));
    let fields = body.into();
    let channel = channels::set(&db, site_id, admin.user_id, id, fields, may_replace).await?;
    Ok(ChannelView::from(channel).response(StatusCode::OK))
}

/// Deletes a channel with its waiting notifications.
#[utoipa::path(
    delete, path = "/api/admin/ai/notification-channels/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses((status = 204), ItemFailures<AdminProblem>),
)]
pub(crate) async fn delete_channel(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let (site_id, id) = (admin.site_in(&query)?, path.id("id")?);
    channels::delete(&db, site_id, admin.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A queued test message.
#[derive(Serialize, ToSchema)]
#[schema(as = TestDelivery)]
pub(crate) struct TestView {
    /// `last_delivery` of the channel shows its result within two minutes.
    delivery_id: i64,
}

/// Checks the address of a channel, and queues a test message.
///
/// All addresses that are not public have the same error, so that the route is no port scanner.
#[utoipa::path(
    post, path = "/api/admin/ai/notification-channels/{id}/test", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: the site admin's own site; required for a platform admin", minimum = 1),
    ),
    responses(
        (status = 202, body = TestView),
        ItemFailures<AdminProblem>, (status = 409, body = AdminProblem),
    ),
)]
pub(crate) async fn test_channel(
    State(db): State<Db>,
    State(client): State<PublicClient>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<(StatusCode, Json<TestView>)> {
    let (site_id, id) = (admin.site_in(&query)?, path.id("id")?);
    let delivery_id = channels::test(&db, &client, site_id, admin.user_id, id).await?;
    Ok((StatusCode::ACCEPTED, Json(TestView { delivery_id })))
}
