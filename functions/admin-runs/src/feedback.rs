//! `GET /api/admin/ai/feedback`: a page of feedback as JSON, or all feedback as CSV.

use axum::{
    extract::State,
    http::header::VARY,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::{
        auth::SiteScope,
        feedback::{self, Entry, FeedbackQuery},
        notice::AiLabel,
    },
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, AnyApp, Json, LabelledFeedback, ListFormat, QueryFailures,
        QueryText, Texts, table,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// Feedback of a user on an AI text.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackItem {
    id: i64,
    site_id: i64,
    /// `message` or `insight`.
    subject_type: String,
    subject_id: i64,
    /// `up` or `down`.
    rating: String,
    /// Any of `inaccurate`, `unhelpful`, `unsafe` and `other`.
    reasons: Vec<String>,
    #[schema(required)]
    comment: Option<String>,
    user_id: i64,
    app_type: String,
    /// Version of the prompt that made the text.
    #[schema(required)]
    prompt_version: Option<String>,
    /// The message of the user, or the prompt of the app.
    #[schema(required)]
    question: Option<String>,
    /// The reply, or the result as JSON.
    #[schema(required)]
    answer: Option<String>,
    /// The run that made the text.
    #[schema(required)]
    run_id: Option<i64>,
    /// When the user first gave feedback on the text.
    created_at: DateTime<Utc>,
}

impl From<Entry> for FeedbackItem {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            site_id: entry.site_id,
            subject_type: entry.subject_type,
            subject_id: entry.subject_id,
            rating: entry.rating,
            reasons: entry.reasons,
            comment: entry.comment,
            user_id: entry.user_id,
            app_type: entry.app_type,
            prompt_version: entry.prompt_version,
            question: entry.question,
            answer: entry.answer,
            run_id: entry.run_id,
            created_at: entry.created_at,
        }
    }
}

/// Lists feedback, newest first.
///
/// With `Accept: text/csv`, returns all feedback as CSV. The columns are the fields of an item and,
/// because the table contains AI text, the label of such texts.
#[utoipa::path(
    get, path = "/api/admin/ai/feedback", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("rating" = Option<String>, Query, description = "`up` or `down`"),
        ("app_type" = inline(Option<AnyApp>), Query),
        ("prompt_version" = Option<String>, Query, description = "Such as `app1_chat/1`"),
        ("user_id" = Option<i64>, Query, description = "Who gave the feedback", minimum = 1),
        ("date_from" = Option<String>, Query, description = "First day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("date_to" = Option<String>, Query, description = "Last day (`YYYY-MM-DD` in the site's time zone) or RFC 3339 instant, inclusive"),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item; not with CSV", minimum = 1),
        ("page_size" = Option<i64>, Query, description = "Not with CSV", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page` or CSV"),
    ),
    responses(
        (status = 200, content((AdminPage<FeedbackItem> = "application/json"), (String = "text/csv"))),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_feedback(
    State(db): State<Db>,
    State(label): State<AiLabel>,
    scope: SiteScope,
    query: QueryText,
    format: ListFormat,
    texts: Texts,
) -> Result<Response> {
    if format == ListFormat::Csv {
        texts.require()?;
    }
    let list = FeedbackQuery::parse(scope, &query)?;
    if format == ListFormat::Csv {
        table::check(&query)?;
        let pages = feedback::export(db, list, texts.user_id).await?;
        return Ok(table::respond(LabelledFeedback::all(pages, label)));
    }
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = feedback::list(&db, &list, &paging).await?;
    let page: AdminPage<FeedbackItem> = AdminPage::of(found, &paging)?;
    Ok(([(VARY, "accept")], Json(page)).into_response())
}
