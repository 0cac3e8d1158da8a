//! Feedback for admins: a list and an export.

use chrono::{DateTime, Utc};
use futures_util::Stream;
use serde_json::json;

use super::Rating;
use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
        auth::SiteScope,
    },
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        export::{self, Rows},
        paging::{MAX_COUNTED, Page, Paging, Start, TimeKey},
    },
};

/// Rows per page of an export. A row has a question and an answer, which may be long.
const PAGE: i64 = 200;

/// Feedback of one user on one text. It has no `Debug`, which would print questions and answers.
#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct Entry {
    pub id: i64,
    pub site_id: i64,
    pub user_id: i64,
    /// A word of [`super::SubjectType`].
    pub subject_type: String,
    pub subject_id: i64,
    /// A word of [`Rating`].
    pub rating: String,
    /// Words of [`super::Fault`].
    pub reasons: Vec<String>,
    pub comment: Option<String>,
    pub app_type: String,
    pub prompt_version: Option<String>,
    pub run_id: Option<i64>,
    /// The message of the user, or the prompt of the app. `None` if the run log has dropped it.
    pub question: Option<String>,
    /// The reply, or the result as JSON. `None` if the result was deleted.
    pub answer: Option<String>,
    /// When the user first gave feedback on the text.
    pub created_at: DateTime<Utc>,
}

impl Entry {
    fn key(&self) -> TimeKey {
        (self.created_at.timestamp_micros(), self.id)
    }
}

/// Filters of the list.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct FeedbackQuery {
    pub scope: SiteScope,
    pub rating: Option<Rating>,
    pub app: Option<App>,
    pub prompt_version: Option<String>,
    /// Who gave the feedback.
    pub user_id: Option<i64>,
    /// When the user first gave feedback on the text.
    pub dates: DateRange,
}

impl FeedbackQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            rating,
            app,
            prompt_version,
            user_id,
            dates,
        } = self;
        format!("feedback/{scope:?}/{rating:?}/{app:?}/{prompt_version:?}/{user_id:?}/{dates}")
    }
}

/// Lists feedback, newest first.
pub async fn list(db: &Db, query: &FeedbackQuery, paging: &Paging<TimeKey>) -> Result<Page<Entry>> {
    let start = Start::of(paging.from);
    let (total, entries) = read(db, query, &start, paging.size + 1, MAX_COUNTED + 1).await?;
    let keyed = entries.into_iter().map(|entry| (entry.key(), entry));
    Ok(Page::counted(
        total,
        keyed,
        paging.size,
        &query.cursor_scope(),
    ))
}

/// Exports all feedback of `query`, newest first. Feedback that is given during the export is not
/// included. The audit log records the user.
pub async fn export(
    db: Db,
    query: FeedbackQuery,
    user_id: i64,
) -> Result<impl Stream<Item = Result<Vec<Entry>>> + Send> {
    let (action, details) = (
        Action::ExportFeedback,
        json!({ "dates": query.dates.to_string() }),
    );
    audit::record_export(&db, action, query.scope, user_id, details).await?;
    let next = move |start| {
        let (db, query) = (db.clone(), query.clone());
        async move {
            let (_, entries) = read(&db, &query, &start, PAGE, 0).await?;
            Ok(Rows::of(entries, PAGE, Entry::key))
        }
    };
    export::pages(next).await
}

/// Reads at most `limit` rows from `start`, and counts at most `max_counted` matching rows.
async fn read(
    db: &Db,
    query: &FeedbackQuery,
    start: &Start,
    limit: i64,
    max_counted: i64,
) -> Result<(i64, Vec<Entry>)> {
    // The left join returns one row with the total even if the page is empty. The limits of 1 make
    // the plan look up the texts of the page by their keys.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        ), sites (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1
        ), counted (total) as (
            select count(*) from (
                select from sites s cross join lateral (
                    select from biz.ai_feedback f
                    where f.site_id = s.id and ($6::text is null or f.rating = $6) and ($7::text is null or f.app_type = $7)
                      and ($8::text is null or f.prompt_version = $8) and ($14::bigint is null or f.user_id = $14)
                      and f.created_at >= (select began_at from days) and f.created_at < (select ended_at from days)
                    order by f.created_at desc limit $9
                ) each
                limit $9
            ) few
        )
        select counted.total as "total!", f.id as "id?", f.site_id as "site_id?", f.user_id as "user_id?",
               f.subject_type::text as subject_type, f.subject_id as "subject_id?", f.rating::text as rating, f.reasons as "reasons?",
               f.comment, f.app_type::text as app_type, f.prompt_version, f.run_id, f.created_at as "created_at?",
               coalesce(question.content, (
                   select r.request_prompt from biz.ai_run_logs r
                   where f.subject_type = 'insight' and r.id = f.run_id and r.site_id = f.site_id limit 1)) as question,
               coalesce(answer.content, (
                   select c.result_json::text from biz.ai_cache c
                   where f.subject_type = 'insight' and c.id = f.subject_id and c.site_id = f.site_id limit 1)) as answer
        from counted left join lateral (
            select each.* from sites s cross join lateral (
                select * from biz.ai_feedback f
                where f.site_id = s.id and ($6::text is null or f.rating = $6) and ($7::text is null or f.app_type = $7)
                  and ($8::text is null or f.prompt_version = $8) and ($14::bigint is null or f.user_id = $14)
                  and f.created_at >= (select began_at from days) and f.created_at < (select ended_at from days)
                  and (f.created_at, f.id) < (coalesce($10, 'infinity'::timestamptz), coalesce($11::bigint, 0))
                order by f.created_at desc, f.id desc limit $12::bigint + $13::bigint
            ) each
            order by each.created_at desc, each.id desc limit $12 offset $13
        ) f on true
        left join lateral (
            select visible_text(reply_text(m), m.blocked_at) as content, m.reply_to from biz.ai_messages m
            where f.subject_type = 'message' and m.id = f.subject_id and m.site_id = f.site_id limit 1
        ) answer on true
        left join lateral (
            select visible_text(q.content, q.blocked_at) as content from biz.ai_messages q where q.id = answer.reply_to and q.site_id = f.site_id limit 1
        ) question on true
        order by f.created_at desc, f.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.rating.map(Rating::name),
        query.app.map(App::name),
        query.prompt_version,
        max_counted,
        start.before,
        start.before_id,
        limit,
        start.offset,
        query.user_id,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let entries = rows.into_iter().filter_map(|row| {
        Some(Entry {
            id: row.id?,
            site_id: row.site_id?,
            user_id: row.user_id?,
            subject_type: row.subject_type?,
            subject_id: row.subject_id?,
            rating: row.rating?,
            reasons: row.reasons?,
            comment: row.comment,
            app_type: row.app_type?,
            prompt_version: row.prompt_version,
            run_id: row.run_id,
            question: row.question,
            answer: row.answer,
            created_at: row.created_at?,
        })
    });
    Ok((total, entries.collect()))
}
