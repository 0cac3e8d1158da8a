//! `GET` and `PUT /api/admin/ai/apps`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        apps::{self, App, AppChange, AppIds, AppSettings, FlowStreamMode},
        auth::{Admin, SiteScope},
    },
    platform::{
        db::Db,
        error::{Error, Reason},
    },
    web::{
        AdminProblem, AnyApp, BodyFailures, HeaderText, IfMatch, Json, QueryFailures, Versioned,
        given, json_with_version,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The settings of an app at a site. Null inherits: from the default of all sites, then from the
/// environment.
#[derive(Serialize, ToSchema)]
#[schema(as = AppSettings)]
pub(crate) struct AppView {
    /// Null: the default of all sites.
    #[schema(required)]
    site_id: Option<i64>,
    #[schema(value_type = AnyApp, inline)]
    app_type: String,
    /// The last 4 characters.
    #[schema(required)]
    application_id_hint: Option<String>,
    #[schema(required)]
    fallback_hint: Option<String>,
    #[schema(required)]
    enabled: Option<bool>,
    /// `parameters.rag_options` of each request.
    #[schema(required, value_type = Option<Object>)]
    rag_options: Option<Value>,
    /// `full_thoughts`, `agent_format`, `message_format` or `message_format_plus`.
    #[schema(required)]
    flow_stream_mode: Option<String>,
    #[schema(required)]
    has_thoughts: Option<bool>,
    /// Seconds until the first text of a streamed reply.
    #[schema(required)]
    first_token_seconds: Option<i32>,
    /// Calls in a second. Without any, DashScope's limit of 100 applies.
    #[schema(required)]
    max_per_second: Option<i32>,
    /// The last 4 characters of the application that is called. Null: the app is disabled.
    #[schema(required)]
    called_hint: Option<String>,
}

/// An app with the state of its application.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppItem {
    #[serde(flatten)]
    settings: Versioned<AppView>,
    /// `closed`, `open` or `half_open`.
    circuit: String,
    /// The newest call of the app at the site.
    #[schema(required)]
    last_call_at: Option<DateTime<Utc>>,
}

impl From<AppSettings> for AppItem {
    fn from(app: AppSettings) -> Self {
        Self {
            circuit: app.circuit.clone(),
            last_call_at: app.last_call_at,
            settings: Versioned::new(app.into()),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AppList {
    items: Vec<AppItem>,
}

impl From<AppSettings> for AppView {
    fn from(app: AppSettings) -> Self {
        Self {
            site_id: app.site_id,
            app_type: app.app_type,
            application_id_hint: app.application_id_hint,
            fallback_hint: app.fallback_hint,
            enabled: app.enabled,
            rag_options: app.rag_options,
            flow_stream_mode: app.flow_stream_mode,
            has_thoughts: app.has_thoughts,
            first_token_seconds: app.first_token_seconds,
            max_per_second: app.max_per_second,
            called_hint: app.called_hint,
        }
    }
}

/// Lists the apps of each site. A platform admin also gets the defaults of all sites.
#[utoipa::path(
    get, path = "/api/admin/ai/apps", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = AppList),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_apps(
    State(db): State<Db>,
    State(ids): State<Arc<AppIds>>,
    scope: SiteScope,
) -> Result<Json<AppList>> {
    let found = apps::list(&db, scope, &ids).await?;
    let items = found.into_iter().map(AppItem::from).collect();
    Ok(Json(AppList { items }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AppBody)]
#[expect(clippy::option_option, reason = "null and a missing field differ")]
pub(crate) struct Body {
    /// Default: a site admin's own site. For a platform admin, null means the default of all sites.
    site_id: Option<i64>,
    #[schema(required, value_type = Option<AnyApp>, inline)]
    app_type: Option<String>,
    /// Id in the DashScope console. Left out: unchanged. Null: removed.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    application_id: Option<Option<String>>,
    /// As `application_id`. Called once if the circuit is open or the application throttles.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    fallback_application_id: Option<Option<String>>,
    enabled: Option<bool>,
    #[schema(value_type = Option<Object>)]
    rag_options: Option<Value>,
    flow_stream_mode: Option<String>,
    has_thoughts: Option<bool>,
    #[schema(minimum = 1, maximum = 600)]
    first_token_seconds: Option<i32>,
    #[schema(minimum = 1, maximum = 100)]
    max_per_second: Option<i32>,
}

impl Body {
    fn parse(self) -> Result<(App, AppChange)> {
        let unknown = |field| Error::invalid(field, Reason::Unknown);
        let app = self.app_type.as_deref();
        let app = app.ok_or(Error::invalid("app_type", Reason::Missing))?;
        let mode = self
            .flow_stream_mode
            .map(|word| FlowStreamMode::parse(&word).ok_or_else(|| unknown("flow_stream_mode")));
        let change = AppChange {
            application_id: self.application_id,
            fallback_application_id: self.fallback_application_id,
            enabled: self.enabled,
            rag_options: self.rag_options,
            flow_stream_mode: mode.transpose()?,
            has_thoughts: self.has_thoughts,
            first_token_seconds: self.first_token_seconds,
            max_per_second: self.max_per_second,
        };
        Ok((
            App::parse(app).ok_or_else(|| unknown("app_type"))?,
            change.checked()?,
        ))
    }
}

/// Changes the settings of an app. They apply to the next call.
#[utoipa::path(
    put, path = "/api/admin/ai/apps", tag = "admin", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "`etag` of the version to replace")),
    request_body = Body,
    responses(
        (status = 200, body = AppView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_app(
    State(db): State<Db>,
    State(ids): State<Arc<AppIds>>,
    admin: Admin,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let site_id = admin.scope(body.site_id)?.site_id();
    let if_match = IfMatch::of(&headers)?;
    let (app, change) = body.parse()?;
    let stored = apps::set(&db, &admin, site_id, app, &change, &ids, |stored| {
        if_match.allows_object(&AppView::from(stored.clone()))
    });
    Ok(json_with_version(&AppView::from(stored.await?)))
}
