//! `GET /api/xcx/ai-notice`.

use axum::extract::State;
use common::{
    Result,
    governance::{
        auth::Caller,
        notice::{Model, Notice},
    },
    platform::db::Db,
    web::{Failures, Json, Problem},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What the operator publishes about the AI. A member is null if it is not configured.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AiNotice {
    /// To be shown next to each AI text.
    label: String,
    models: Vec<AiModel>,
    #[schema(required)]
    provider: Option<String>,
    #[schema(required)]
    agreement_url: Option<String>,
    complaint: Complaint,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AiModel {
    name: String,
    /// Null if the model needs none.
    #[schema(required)]
    filing_number: Option<String>,
}

/// How to complain, besides `POST /api/xcx/reports`.
#[derive(Serialize, ToSchema)]
struct Complaint {
    #[schema(required)]
    phone: Option<String>,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    url: Option<String>,
    /// Days until an answer is due.
    days: i32,
}

impl From<Model> for AiModel {
    fn from(model: Model) -> Self {
        Self {
            name: model.name,
            filing_number: model.filing_number,
        }
    }
}

impl From<Notice> for AiNotice {
    fn from(notice: Notice) -> Self {
        Self {
            label: notice.label.as_str().to_owned(),
            models: notice.models.into_iter().map(AiModel::from).collect(),
            provider: notice.provider,
            agreement_url: notice.agreement_url,
            complaint: Complaint {
                phone: notice.phone,
                email: notice.email,
                url: notice.url,
                days: notice.reports.days,
            },
        }
    }
}

/// Returns the label of AI texts, the models with their filing numbers, and how to complain.
#[utoipa::path(
    get, path = "/api/xcx/ai-notice", tag = "notice", security(("bearer" = [])),
    responses(
        (status = 200, body = AiNotice),
        Failures<Problem>,
    ),
)]
pub(crate) async fn show_notice(
    State(db): State<Db>,
    State(notice): State<Notice>,
    caller: Caller,
) -> Result<Json<AiNotice>> {
    Ok(Json(notice.of_site(&db, &caller).await?.into()))
}
