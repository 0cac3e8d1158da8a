//! Sessions: conversations with bots, as the session API shows them. They are the conversations of the
//! mini-program, found by another id.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    auth::Caller,
    bots::Bot,
    config::SendLimits,
    db::{Bounded, Db},
    error::{Error, Reason, Result},
    messages::Content,
    paging::{From, Start, TimeKey, write_cursor},
};

/// The longest title, in characters.
const MAX_TITLE: usize = 100;
/// The longest idempotency key, in characters.
const MAX_KEY: usize = 64;

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Messages can be sent.
    Active,
    /// Not for now.
    Paused,
    /// Never again.
    Closed,
}

impl Status {
    /// As clients and the column `status` spell them.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("active", Self::Active),
        ("paused", Self::Paused),
        ("closed", Self::Closed),
    ];

    /// As clients and the column `status` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

/// What somebody calls a session: trimmed, not empty, not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::invalid("title", Reason::Empty));
        }
        if text.chars().count() > MAX_TITLE {
            return Err(Error::invalid("title", Reason::TooLong(MAX_TITLE)));
        }
        if text.contains('\0') {
            return Err(Error::invalid("title", Reason::Nul));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `Idempotency-Key` of a message: sent again within a day, it is the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// 1 to 64 printable ASCII characters.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const FIELD: &str = "Idempotency-Key";
        if bytes.is_empty() {
            return Err(Error::invalid(FIELD, Reason::Empty));
        }
        if bytes.len() > MAX_KEY {
            return Err(Error::invalid(FIELD, Reason::TooLong(MAX_KEY)));
        }
        let printable = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        match std::str::from_utf8(bytes) {
            Ok(text) if printable => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid(FIELD, Reason::NotPrintable)),
        }
    }
}

/// How a message is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// The usual one.
    Markdown,
    /// As it is.
    Text,
}

impl ContentType {
    /// As clients and the column `content_type` spell them.
    pub const WORDS: [(&'static str, Self); 2] =
        [("markdown", Self::Markdown), ("text", Self::Text)];

    /// As clients and the column `content_type` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Text => "text",
        }
    }
}

/// A conversation with a bot.
#[derive(Clone, Debug)]
pub struct Session {
    /// What the session API knows it by.
    pub id: Uuid,
    /// Whose.
    pub user_id: i64,
    /// With whom.
    pub bot: Bot,
    /// The bot's agent when it was made.
    pub agent_id: Option<Uuid>,
    /// Set when it was made, or later.
    pub title: String,
    /// `api`, or `miniprogram`.
    pub channel_type: String,
    /// `active`, `paused` or `closed`.
    pub status: String,
    /// All messages.
    pub message_count: i64,
    /// Messages of the bot that were not read.
    pub unread_count: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When anything about it changed.
    pub updated_at: DateTime<Utc>,
    /// Its newest message, or when it was made.
    pub last_active_at: DateTime<Utc>,
}

/// The newest message of a session, in a list.
#[derive(Clone, Debug)]
pub struct LastMessage {
    /// Id.
    pub id: i64,
    /// At most 100 characters.
    pub content: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Which sessions are listed.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Of one status.
    pub status: Option<Status>,
    /// With one bot.
    pub bot_id: Option<Uuid>,
    /// Sessions on a page.
    pub limit: i64,
    /// Where it begins.
    pub from: From<TimeKey>,
}

/// A page of sessions.
#[derive(Debug)]
pub struct Sessions {
    /// Newest activity first, ties by number.
    pub items: Vec<(Session, Option<LastMessage>)>,
    /// All that fit.
    pub total: i64,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

impl ListQuery {
    /// What a cursor of this list is bound to.
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
pub async fn list(db: &Db, caller: &Caller, query: &ListQuery) -> Result<Sessions> {
    let Start {
        offset,
        before,
        before_id,
    } = Start::of(query.from);
    // The join is lateral so that an empty page still has its total. One more than asked for is fetched, so
    // that a page that happens to be full is not taken for the last but one.
    let rows = sqlx::query!(
        r#"
        select t.total as "total!", c.id as "number?", c.public_id as "id?", c.agent_id, c.title as "title?",
               c.channel_type as "channel_type?", c.status as "status?", c.message_count as "message_count?",
               c.unread_count as "unread_count?", c.created_at as "created_at?", c.updated_at as "updated_at?",
               c.last_active_at as "last_active_at?",
               b.id as "bot_id?", b.name as "bot_name?", coalesce(b.display_name, b.name) as bot_display_name,
               b.avatar as "bot_avatar?", b.status as "bot_status?",
               m.id as "last_id?", left(m.content, 100) as last_content, m.role as "last_role?", m.created_at as "last_at?"
        from (
            select count(*) as total from biz.ai_conversations c
            where c.site_id = $1 and c.user_id = $2 and c.bot_id is not null
              and ($3::text is null or c.status = $3) and ($4::uuid is null or c.bot_id = $4)
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
        left join biz.ai_messages m on m.conversation_id = c.id and m.site_id = $1 and m.seq = c.message_count
        order by c.last_active_at desc, c.id desc
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
    .bounded()
    .await?;

    let total = rows.first().map_or(0, |row| row.total);
    let page = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = rows.len() > page;
    let mut last = None;
    let mut items = Vec::with_capacity(rows.len().min(page));
    for row in rows.into_iter().take(page) {
        let (Some(number), Some(last_active_at)) = (row.number, row.last_active_at) else {
            break;
        };
        last = Some((last_active_at.timestamp_micros(), number));
        let session = Session {
            id: row.id.unwrap_or_default(),
            user_id: caller.user_id,
            bot: Bot {
                id: row.bot_id.unwrap_or_default(),
                name: row.bot_name.unwrap_or_default(),
                display_name: row.bot_display_name.unwrap_or_default(),
                avatar: row.bot_avatar,
                status: row.bot_status.unwrap_or_default(),
            },
            agent_id: row.agent_id,
            title: row.title.unwrap_or_default(),
            channel_type: row.channel_type.unwrap_or_default(),
            status: row.status.unwrap_or_default(),
            message_count: row.message_count.unwrap_or_default(),
            unread_count: row.unread_count.unwrap_or_default(),
            created_at: row.created_at.unwrap_or_default(),
            updated_at: row.updated_at.unwrap_or_default(),
            last_active_at,
        };
        let last_message = row
            .last_id
            .zip(row.last_at)
            .map(|(message_id, created_at)| LastMessage {
                id: message_id,
                content: row.last_content.unwrap_or_default(),
                role: row.last_role.unwrap_or_default(),
                created_at,
            });
        items.push((session, last_message));
    }
    let scope = ListQuery::scope(caller, query.status, query.bot_id);
    let next_cursor = last
        .filter(|_| more)
        .and_then(|key| write_cursor(&key, &scope));
    Ok(Sessions {
        items,
        total,
        next_cursor,
    })
}

/// Begins a session with a bot.
///
/// # Errors
/// [`Error::NotFound`] where there is no such bot for the caller's site, or its agent is gone;
/// [`Error::Forbidden`] where the caller may not use it, [`Error::Invalid`] where it has no agent.
pub async fn create(
    db: &Db,
    caller: &Caller,
    bot_id: Uuid,
    title: Option<&Title>,
) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        select outcome as "outcome!", session_id from biz.create_session($1, $2, $3, $4)
        "#,
        caller.site_id,
        caller.user_id,
        bot_id,
        title.map(Title::as_str),
    )
    .fetch_one(db)
    .bounded()
    .await?;
    match (&*row.outcome, row.session_id) {
        ("created", Some(id)) => find(db, caller, id).await,
        ("bot_unknown" | "agent_gone", _) => Err(Error::NotFound),
        ("bot_forbidden", _) => Err(Error::Forbidden),
        ("no_agent", _) => Err(Error::invalid("bot_id", Reason::NoAgent)),
        _ => Err(Error::internal("unknown outcome of biz.create_session")),
    }
}

/// What a session that was asked for says of itself before it says anything else.
fn own(caller: &Caller, owner: i64, is_with_a_bot: bool) -> Result<()> {
    if owner != caller.user_id {
        return Err(Error::NotOwner);
    }
    if !is_with_a_bot {
        return Err(Error::invalid("id", Reason::NotABot));
    }
    Ok(())
}

/// One of the caller's sessions.
///
/// # Errors
/// [`Error::NotFound`] also for another site's, [`Error::NotOwner`] for another user's, [`Error::Invalid`] for a
/// conversation that is not with a bot.
pub async fn find(db: &Db, caller: &Caller, id: Uuid) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        select c.user_id, c.agent_id, coalesce(c.title, '') as "title!", c.channel_type, c.status, c.message_count, c.unread_count,
               c.created_at, c.updated_at, c.last_active_at,
               b.id as "bot_id?", b.name as "bot_name?", coalesce(b.display_name, b.name) as bot_display_name,
               b.avatar as "bot_avatar?", b.status as "bot_status?"
        from biz.ai_conversations c
        left join biz.bots b on b.id = c.bot_id
        where c.public_id = $2 and c.site_id = $1
        "#,
        caller.site_id,
        id,
    )
    .fetch_optional(db)
    .bounded()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id.is_some())?;
    Ok(Session {
        id,
        user_id: row.user_id,
        bot: Bot {
            id: row.bot_id.unwrap_or_default(),
            name: row.bot_name.unwrap_or_default(),
            display_name: row.bot_display_name.unwrap_or_default(),
            avatar: row.bot_avatar,
            status: row.bot_status.unwrap_or_default(),
        },
        agent_id: row.agent_id,
        title: row.title,
        channel_type: row.channel_type,
        status: row.status,
        message_count: row.message_count,
        unread_count: row.unread_count,
        created_at: row.created_at,
        updated_at: row.updated_at,
        last_active_at: row.last_active_at,
    })
}

/// One message of a session.
#[derive(Clone, Debug)]
pub struct SessionMessage {
    /// Id.
    pub id: i64,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The user's nickname, or what people call the bot.
    pub sender_name: String,
    /// What was said.
    pub content: String,
    /// `markdown` or `text`.
    pub content_type: String,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    pub state: String,
    /// Of the bot's: whether the user has read it. Of the user's: whether the bot has answered it.
    pub seen: bool,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Which messages of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest.
    Newest,
    /// Those before that message.
    Before(i64),
    /// Those after that message.
    After(i64),
}

/// A page of a session's messages.
#[derive(Debug)]
pub struct SessionMessages {
    /// With whom.
    pub bot_id: Uuid,
    /// Oldest first.
    pub items: Vec<SessionMessage>,
    /// Whether there are more in the direction that was asked for.
    pub has_more: bool,
}

/// Reads messages of one of the caller's sessions. Sequence numbers have no gaps, so that every page is a range
/// of them, and what lies beyond it is known without looking.
///
/// # Errors
/// As [`find`]; and [`Error::Invalid`] where the message that is named is none of this session.
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
                    where a.id = coalesce($4::bigint, $5) and a.conversation_id = c.id and a.site_id = $1) as anchor
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
               m.id as "id?", m.role as "role?", m.content as "content?", m.content_type as "content_type?", m.reply_to,
               m.state as "state?", m.created_at as "created_at?",
               case m.role when 'user' then exists (
                        select from biz.ai_messages a
                        where a.conversation_id = p.id and a.site_id = $1 and a.seq > m.seq and a.role = 'assistant' and a.reply_to = m.id)
                    else m.seq <= p.read_seq end as seen
        from page p
        left join biz.bots b on b.id = p.bot_id
        left join biz.ai_messages m
            on m.conversation_id = p.id and m.site_id = $1 and m.seq between p.first_seq and p.last_seq and p.user_id = $3
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
    .bounded()
    .await?;

    let first = rows.first().ok_or(Error::NotFound)?;
    own(caller, first.owner, first.bot_id.is_some())?;
    if !first.is_known {
        let field = if before.is_some() { "before" } else { "after" };
        return Err(Error::invalid(field, Reason::NotOfThisSession));
    }
    let (bot_id, has_more) = (first.bot_id.unwrap_or_default(), first.has_more);
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

/// A message that is sent to a bot.
#[derive(Clone, Debug)]
pub struct NewSessionMessage {
    /// What.
    pub content: Content,
    /// How it is to be shown.
    pub content_type: ContentType,
    /// Which message it answers.
    pub reply_to: Option<i64>,
    /// So that a repeat can be told.
    pub key: Option<IdempotencyKey>,
}

/// What was stored.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Id.
    pub id: i64,
    /// Who will answer it.
    pub bot_id: Uuid,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// Whether its reply was queued just now.
    pub is_new: bool,
}

/// Stores a message and queues its reply, in one statement.
///
/// # Errors
/// As [`find`]; [`Error::Invalid`] also where the session takes no messages, and where `reply_to` is no message of
/// this session; [`Error::KeyReused`]; [`Error::RateLimited`] and [`Error::BudgetExceeded`].
pub async fn send(
    db: &Db,
    caller: &Caller,
    id: Uuid,
    message: &NewSessionMessage,
    limits: SendLimits,
) -> Result<Sent> {
    let row = sqlx::query!(
        r#"
        select s.outcome as "outcome!", s.message_id, s.message_at, s.retry_after, c.bot_id as "bot_id?"
        from biz.send_session_message($1, $2, $3, $4, $5, $6, $7, $8, $9) s
        left join biz.ai_conversations c on c.id = s.conversation_id and c.site_id = $1
        "#,
        caller.site_id,
        caller.user_id,
        id,
        message.content.as_str(),
        message.content_type.name(),
        message.reply_to,
        message.key.as_ref().map(|key| &*key.0),
        limits.rate_per_minute,
        limits.reserved_tokens,
    )
    .fetch_one(db)
    .bounded()
    .await?;
    let retry_after = row.retry_after.unwrap_or(1);
    match (&*row.outcome, row.message_id, row.message_at) {
        (outcome @ ("sent" | "repeat"), Some(message_id), Some(created_at)) => Ok(Sent {
            id: message_id,
            bot_id: row.bot_id.unwrap_or_default(),
            created_at,
            is_new: outcome == "sent",
        }),
        ("not_found", ..) => Err(Error::NotFound),
        ("not_owner", ..) => Err(Error::NotOwner),
        ("not_a_bot", ..) => Err(Error::invalid("id", Reason::NotABot)),
        ("closed", ..) => Err(Error::invalid("id", Reason::Closed)),
        ("paused", ..) => Err(Error::invalid("id", Reason::Paused)),
        ("reply_to", ..) => Err(Error::invalid("reply_to", Reason::NotOfThisSession)),
        ("key_reused", ..) => Err(Error::KeyReused),
        ("rate_limited", ..) => Err(Error::RateLimited { retry_after }),
        ("budget_exceeded", ..) => Err(Error::BudgetExceeded { retry_after }),
        _ => Err(Error::internal(
            "unknown outcome of biz.send_session_message",
        )),
    }
}

/// What is to be changed of a session.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Its title.
    pub title: Option<Title>,
    /// Active or paused.
    pub status: Option<Status>,
}

/// Renames a session, pauses it or has it go on.
///
/// # Errors
/// As [`find`]; [`Error::Conflict`] where it is closed.
pub async fn change(db: &Db, caller: &Caller, id: Uuid, change: &Change) -> Result<Session> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id, c.status from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), changed as (
            update biz.ai_conversations c set
                title = coalesce($4, c.title), status = coalesce($5, c.status), updated_at = clock_timestamp()
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null and f.status <> 'closed'
        )
        select user_id, bot_id, status from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
        change.title.as_ref().map(Title::as_str),
        change.status.map(Status::name),
    )
    .fetch_optional(db)
    .bounded()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id.is_some())?;
    if row.status == Status::Closed.name() {
        return Err(Error::Conflict("Session is closed"));
    }
    find(db, caller, id).await
}

/// Marks what the bot has said so far as read; what it says meanwhile stays unread. Answers how many messages
/// that were.
///
/// # Errors
/// As [`find`].
pub async fn mark_read(db: &Db, caller: &Caller, id: Uuid) -> Result<i64> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id, c.unread_count from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), marked as (
            update biz.ai_conversations c set read_seq = c.message_count, unread_count = 0
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null
        )
        select user_id, bot_id, unread_count from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
    )
    .fetch_optional(db)
    .bounded()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id.is_some())?;
    Ok(row.unread_count)
}

/// Closes a session for good. A reply that is just being made is kept. Closing twice is closing.
///
/// # Errors
/// As [`find`].
pub async fn close(db: &Db, caller: &Caller, id: Uuid) -> Result<()> {
    let row = sqlx::query!(
        r#"
        with found as (
            select c.id, c.user_id, c.bot_id from biz.ai_conversations c
            where c.public_id = $2 and c.site_id = $1 for no key update
        ), closed as (
            update biz.ai_conversations c set status = 'closed', updated_at = clock_timestamp()
            from found f where c.id = f.id and f.user_id = $3 and f.bot_id is not null and c.status <> 'closed'
        )
        select user_id, bot_id from found
        "#,
        caller.site_id,
        id,
        caller.user_id,
    )
    .fetch_optional(db)
    .bounded()
    .await?
    .ok_or(Error::NotFound)?;
    own(caller, row.user_id, row.bot_id.is_some())
}

#[cfg(test)]
mod properties;
