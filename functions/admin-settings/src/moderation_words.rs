//! `GET` and `POST /api/admin/ai/moderation-words`, and `DELETE …/{id}`.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use common::{
    Result,
    governance::auth::{Admin, SITE_ID, SiteScope},
    moderation::{self, Word, WordQuery},
    platform::{db::Db, paging::Paging},
    web::{
        AdminPage, AdminProblem, BodyFailures, ItemFailures, Json, PathText, QueryFailures,
        QueryText, given,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PAGE_SIZE;

/// A word that blocks questions and replies.
#[derive(Serialize, ToSchema)]
#[schema(as = ModerationWord)]
pub(crate) struct WordView {
    id: i64,
    /// Null: in force at all sites.
    #[schema(required)]
    site_id: Option<i64>,
    word: String,
    /// The admin.
    created_by: i64,
    created_at: DateTime<Utc>,
}

impl From<Word> for WordView {
    fn from(word: Word) -> Self {
        Self {
            id: word.id,
            site_id: word.site_id,
            word: word.word,
            created_by: word.created_by,
            created_at: word.created_at,
        }
    }
}

/// Lists the words in force at the sites of the admin, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/moderation-words", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
        ("page" = Option<i64>, Query, description = "From 1, up to the 10,000th item", minimum = 1),
        ("page_size" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page; not with `page`"),
    ),
    responses(
        (status = 200, body = AdminPage<WordView>),
        QueryFailures<AdminProblem>,
    ),
)]
pub(crate) async fn list_moderation_words(
    State(db): State<Db>,
    scope: SiteScope,
    query: QueryText,
) -> Result<Json<AdminPage<WordView>>> {
    let list = WordQuery { scope };
    let paging = Paging::parse_bounded(&query, PAGE_SIZE, &list.cursor_scope())?;
    let found = moderation::list(&db, &list, &paging).await?;
    Ok(Json(AdminPage::of(found, &paging)?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ModerationWordBody)]
pub(crate) struct Body {
    /// Default: the site admin's own site. Required for a platform admin. Null: all sites, only for
    /// a platform admin.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    site_id: Option<Option<i64>>,
    /// At most 64 characters without spaces and punctuation, which are not compared.
    #[schema(required, min_length = 1, max_length = 200)]
    word: Option<String>,
}

/// Adds a word. It is in force within 30 s.
#[utoipa::path(
    post, path = "/api/admin/ai/moderation-words", tag = "admin", security(("bearer" = [])),
    request_body = Body,
    responses(
        (status = 201, body = WordView),
        BodyFailures<AdminProblem>,
        (status = 409, body = AdminProblem, description = "The list has the word, or 5,000 words"),
    ),
)]
pub(crate) async fn create_moderation_word(
    State(db): State<Db>,
    admin: Admin,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<WordView>)> {
    let scope = admin.site_or_all(body.site_id)?;
    let word = moderation::create(&db, &admin, scope, body.word.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(word.into())))
}

/// Deletes a word. It is no longer in force within 30 s.
#[utoipa::path(
    delete, path = "/api/admin/ai/moderation-words/{id}", tag = "admin", security(("bearer" = [])),
    params(
        ("id" = i64, Path, minimum = 1),
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin", minimum = 1),
    ),
    responses(
        (status = 204, description = "The word was deleted"),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn delete_moderation_word(
    State(db): State<Db>,
    admin: Admin,
    path: PathText,
    query: QueryText,
) -> Result<StatusCode> {
    let scope = admin.scope(query.integer(SITE_ID, 1, i64::MAX)?)?;
    moderation::delete(&db, &admin, scope, path.id("id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
