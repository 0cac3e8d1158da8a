//! Lists the sessions of a user, with the last message of each.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Session, Status};
use crate::{
    chat::bots::Bot,
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
        paging::{PageStart, Start, TimeKey, page},
    },
};

/// The newest message of a session that has text.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct LastMessage {
    pub id: i64,
    /// The first 100 characters.
    pub content: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// When it was stored. For a reply, when it began.
    pub created_at: DateTime<Utc>,
}

/// Filter and page of a list of sessions.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct SessionQuery {
    pub status: Option<Status>,
    pub bot_id: Option<Uuid>,
    /// Sessions per page.
    pub limit: i64,
    /// Start of the page.
    pub from: PageStart<TimeKey>,
}

/// A page of sessions.
#[derive(Debug)]
pub struct Sessions {
    /// Newest activity first, ties by id.
    pub items: Vec<(Session, Option<LastMessage>)>,
    /// Number of sessions that match the filter.
    pub total: i64,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

impl SessionQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn scope(caller: &Caller, status: Option<Status>, bot_id: Option<Uuid>) -> String {
        format!(
            "sessions/{}/{}/{}",
            caller.user_id,
            status.map_or("", Status::name),
            bot_id.map(|id| id.to_string()).unwrap_or_default()
        )
    }
}

/// Lists the caller's sessions, with their bots and last messages, in one statement.
pub async fn list(db: &Db, caller: &Caller, query: &SessionQuery) -> Result<Sessions> {
    let Start {
        offset,
        before,
        before_id,
    } = Start::of(query.from);
    // Without a filter, the total is a counter of the user; with one, rows are counted. The join is
    // lateral so that an empty page still has the total. The query reads one row more than the page
    // to find out whether there is a next page.
    let mut rows = sqlx::query!(
        r#"
        select t.total as "total!", c.id as "number?", c.public_id as "id?", c.agent_id, c.title as "title?",
               c.channel_type as "channel_type?", c.status as "status?", c.message_count as "message_count?",
               c.unread_count as "unread_count?", c.created_at as "created_at?", c.updated_at as "updated_at?",
               c.last_active_at as "last_active_at?",
               b.id as "bot_id?", b.name as "bot_name?", coalesce(b.display_name, b.name) as bot_display_name,
               b.avatar as "bot_avatar?", b.status as "bot_status?",
               c.last_message_id, c.last_message_role, c.last_message_preview, c.last_message_at
        from (
            select case when $3::text is null and $4::uuid is null then u.listed_sessions else (
                select count(*) from biz.ai_conversations c
                where c.site_id = $1 and c.user_id = $2 and c.bot_id is not null
                  and ($3::text is null or c.status = $3) and ($4::uuid is null or c.bot_id = $4)
            ) end as total
            from biz.users u where u.id = $2 and u.site_id = $1
        ) t
        left join lateral (
            select * from biz.ai_conversations c
            where c.site_id = $1 and c.user_id = $2 and c.bot_id is not null
              and ($3::text is null or c.status = $3) and ($4::uuid is null or c.bot_id = $4)
              and (c.last_active_at, c.id) < (coalesce($5, 'infinity'::timestamptz), coalesce($6::bigint, 0))
            order by c.last_active_at desc, c.id desc
            limit $7 offset $8
        ) c on true
        left join biz.bots b on b.id = c.bot_id
        "#,
        caller.site_id,
        caller.user_id,
        query.status.map(Status::name),
        query.bot_id,
        before,
        before_id,
        query.limit + 1,
        offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;

    // The joins do not guarantee the order of the subquery.
    rows.sort_by_key(|row| Reverse((row.last_active_at, row.number)));

    let total = rows.first().map_or(0, |row| row.total);
    let rows = rows.into_iter().filter_map(|row| {
        let key = (row.last_active_at?.timestamp_micros(), row.number?);
        let session = Session {
            id: row.id?,
            user_id: caller.user_id,
            bot: Bot::joined(
                row.bot_id,
                row.bot_name,
                row.bot_display_name,
                row.bot_avatar,
                row.bot_status,
            )?,
            agent_id: row.agent_id,
            title: row.title.unwrap_or_default(),
            channel_type: row.channel_type?,
            status: row.status?,
            message_count: row.message_count?,
            unread_count: row.unread_count?,
            created_at: row.created_at?,
            updated_at: row.updated_at?,
            last_active_at: row.last_active_at?,
        };
        let last_message = row
            .last_message_id
            .zip(row.last_message_at)
            .map(|(id, created_at)| LastMessage {
                id,
                content: row.last_message_preview.unwrap_or_default(),
                role: row.last_message_role.unwrap_or_default(),
                created_at,
            });
        Some((key, (session, last_message)))
    });
    let scope = SessionQuery::scope(caller, query.status, query.bot_id);
    let (items, next_cursor) = page(rows, query.limit, &scope);
    Ok(Sessions {
        items,
        total,
        next_cursor,
    })
}
