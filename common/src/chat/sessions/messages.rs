//! Lists the messages of a session.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::owned_bot;
use crate::{
    dashscope::Reference,
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// One message of a session.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct SessionMessage {
    pub id: i64,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The user's nickname, or the display name of the bot.
    pub sender_name: String,
    pub content: String,
    /// `markdown` or `text`.
    pub content_type: String,
    /// The message to which this one responds.
    pub reply_to: Option<i64>,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    pub state: String,
    /// The cited documents.
    pub references: Vec<Reference>,
    /// For a reply of the bot: the user has read it. For a message of the user: it has a reply.
    pub seen: bool,
    /// When it was stored. For a streamed reply, when it began.
    pub created_at: DateTime<Utc>,
}

/// Which messages of a session to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest messages.
    Newest,
    /// Messages older than the message with this id.
    Before(i64),
    /// Messages newer than the message with this id.
    After(i64),
}

/// A page of a session's messages.
#[derive(Debug)]
pub struct SessionMessages {
    /// The bot of the session.
    pub bot_id: Uuid,
    /// Oldest first.
    pub items: Vec<SessionMessage>,
    /// True if there are more messages in the requested direction.
    pub has_more: bool,
}

/// Reads messages of one of the caller's sessions. Sequence numbers have no gaps. So each page is a
/// range of them, and the range shows whether more messages follow.
///
/// # Errors
/// The errors of [`super::find`]. [`Error::Invalid`] if the message in `range` is not in this
/// session.
pub async fn messages(
    db: &Db,
    caller: &Caller,
    id: Uuid,
    range: Range,
    limit: i64,
) -> Result<SessionMessages> {
    let (before, after) = match range {
        Range::Newest => (None, None),
        Range::Before(message_id) => (Some(message_id), None),
        Range::After(message_id) => (None, Some(message_id)),
    };
    let rows = sqlx::query!(
        r#"
        with session as (
            select c.id, c.user_id, c.bot_id, c.message_count, c.read_seq, u.nickname,
                   (select a.seq from biz.ai_messages a
                    where a.id = coalesce($4::bigint, $5) and a.conversation_id = c.id and a.site_id = $1 and a.seq > 0) as anchor
            from biz.ai_conversations c join biz.users u on u.id = c.user_id
            where c.public_id = $2 and c.site_id = $1
        ), page as (
            select s.*, case when $5::bigint is not null then s.anchor + 1
                             else greatest(1, coalesce(s.anchor, s.message_count + 1) - $6) end as first_seq,
                   case when $5::bigint is not null then least(s.anchor + $6, s.message_count)
                        else coalesce(s.anchor, s.message_count + 1) - 1 end as last_seq
            from session s
        )
        select p.user_id as owner, p.bot_id, ($4::bigint is null and $5::bigint is null or p.anchor is not null) as "is_known!",
               case when $5::bigint is not null then p.last_seq < p.message_count else p.first_seq > 1 end as "has_more!",
               p.nickname, coalesce(b.display_name, b.name, '') as "bot_name!",
               m.id as "id?", m.role as "role?", m.text as "content?", m.content_type as "content_type?", m.reply_to,
               m.state as "state?",
               case when m.blocked_at is null then m.doc_references end as "references?: Json<Vec<Reference>>", m.created_at as "created_at?",
               case m.role when 'user' then exists (
                        select from biz.ai_messages a
                        where a.conversation_id = p.id and a.site_id = $1 and a.seq > m.seq and a.role = 'assistant' and a.reply_to = m.id)
                    else m.seq <= p.read_seq end as seen
        from page p
        left join biz.bots b on b.id = p.bot_id
        left join lateral (
            select *, visible_text(reply_text(m), m.blocked_at) as text from biz.ai_messages m
            where m.conversation_id = p.id and m.site_id = $1 and m.seq between p.first_seq and p.last_seq and p.user_id = $3
            -- For the planner, as in chat::messages::list: the range has at most $6 rows.
            order by m.seq limit $6
        ) m on true
        order by m.seq
        "#,
        caller.site_id,
        id,
        caller.user_id,
        before,
        after,
        limit,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;

    let first = rows.first().ok_or(Error::NotFound)?;
    let bot_id = owned_bot(caller, first.owner, first.bot_id)?;
    if !first.is_known {
        let field = if before.is_some() { "before" } else { "after" };
        return Err(Error::invalid(field, Reason::NotOfThisSession));
    }
    let has_more = first.has_more;
    let items = rows.into_iter().filter_map(|row| {
        let role = row.role?;
        Some(SessionMessage {
            id: row.id?,
            sender_name: if role == "user" {
                row.nickname
            } else {
                row.bot_name
            },
            role,
            content: row.content?,
            content_type: row.content_type?,
            reply_to: row.reply_to,
            state: row.state?,
            references: row
                .references
                .map(|Json(references)| references)
                .unwrap_or_default(),
            seen: row.seen.unwrap_or_default(),
            created_at: row.created_at?,
        })
    });
    Ok(SessionMessages {
        bot_id,
        items: items.collect(),
        has_more,
    })
}
