//! `GET` and `PUT /api/admin/ai/quotas`.

use axum::{
    extract::State,
    http::header::ETAG,
    response::{IntoResponse as _, Response},
};
use common::{
    Result,
    governance::{
        auth::{Admin, SiteScope},
        quotas::{self, Limits, Quota, Subject},
    },
    platform::{
        db::Db,
        error::{Error, Reason},
    },
    web::{AdminProblem, BodyFailures, HeaderText, IfMatch, ItemFailures, Json, Versioned},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Limits of tokens for a user, for each user of a role, or for a bot of a site.
#[derive(Serialize, ToSchema)]
#[schema(as = Quota)]
pub(crate) struct QuotaView {
    site_id: i64,
    /// `user`, `role` or `bot`.
    subject_type: String,
    /// The id of the user or bot, or the role.
    subject_id: String,
    /// Null: no limit.
    #[schema(required)]
    daily_limit: Option<i64>,
    /// Null: no limit.
    #[schema(required)]
    monthly_limit: Option<i64>,
}

/// A quota with what counts for it: charged tokens, and the reservations of running calls. Of a
/// role: those of the user who has used most.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuotaItem {
    #[serde(flatten)]
    quota: Versioned<QuotaView>,
    daily_used: i64,
    monthly_used: i64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct QuotaList {
    items: Vec<QuotaItem>,
}

impl From<&Quota> for QuotaView {
    fn from(quota: &Quota) -> Self {
        Self {
            site_id: quota.site_id,
            subject_type: quota.subject_type.clone(),
            subject_id: quota.subject_id.clone(),
            daily_limit: quota.daily_limit,
            monthly_limit: quota.monthly_limit,
        }
    }
}

impl From<Quota> for QuotaItem {
    fn from(quota: Quota) -> Self {
        Self {
            quota: Versioned::new(QuotaView::from(&quota)),
            daily_used: quota.daily_used,
            monthly_used: quota.monthly_used,
        }
    }
}

/// Lists quotas by site and subject. Without a quota, tokens are limited only by the budget.
#[utoipa::path(
    get, path = "/api/admin/ai/quotas", tag = "admin", security(("bearer" = [])),
    params(("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1)),
    responses(
        (status = 200, body = QuotaList),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_quotas(State(db): State<Db>, scope: SiteScope) -> Result<Json<QuotaList>> {
    let found = quotas::list(&db, scope).await?;
    let items = found.into_iter().map(QuotaItem::from).collect();
    Ok(Json(QuotaList { items }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = QuotaBody)]
pub(crate) struct Body {
    /// Default: the site admin's own site; required for a platform admin.
    #[schema(minimum = 1)]
    site_id: Option<i64>,
    /// `user`, `role` or `bot`.
    #[schema(required, example = "role")]
    subject_type: Option<String>,
    /// The id of the user or bot, or the role. The id of a user may also be a number.
    #[schema(required, value_type = Option<String>, example = "coach")]
    subject_id: Option<Value>,
    /// Null or left out: no limit. Without both limits, the quota is removed.
    #[schema(minimum = 0)]
    daily_limit: Option<i64>,
    #[schema(minimum = 0)]
    monthly_limit: Option<i64>,
}

impl Body {
    fn parse(self) -> Result<(Subject, Limits)> {
        let id = match self.subject_id {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(_) => return Err(Error::invalid("subject_id", Reason::Type)),
        };
        let subject = Subject::parse(self.subject_type.as_deref(), id.as_deref())?;
        let limits = Limits {
            daily: self.daily_limit,
            monthly: self.monthly_limit,
        };
        Ok((subject, limits.checked()?))
    }
}

/// Sets or removes a quota. It applies to the next call of users; background jobs have no quota.
#[utoipa::path(
    put, path = "/api/admin/ai/quotas", tag = "admin", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "`etag` of the version to replace")),
    request_body = Body,
    responses(
        (status = 200, body = QuotaItem, headers(("ETag" = String))),
        BodyFailures<AdminProblem>, (status = 412, body = AdminProblem),
    ),
)]
pub(crate) async fn set_quota(
    State(db): State<Db>,
    admin: Admin,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let site_id = admin.site(body.site_id)?;
    let if_match = IfMatch::of(&headers)?;
    let (subject, limits) = body.parse()?;
    let stored = quotas::set(&db, &admin, site_id, subject, limits, |stored| {
        if_match.allows_object(&QuotaView::from(stored))
    });
    let item = QuotaItem::from(stored.await?);
    let etag = [(ETAG, item.quota.etag().to_owned())];
    Ok((etag, Json(item)).into_response())
}
