//! Searches the caller's messages and titles for a text.
//!
//! There is no text index: it would need an extension that not every PostgreSQL has. So a request
//! reads a bounded number of messages, newest first, and its cursor continues there. The collation
//! of the database decides which letters have upper and lower case; `C` knows those of ASCII.

use chrono::{DateTime, Utc};

use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{PageStart, Paging, write_cursor},
    },
};

/// The most messages that one request reads.
const MAX_READ: i64 = 20_000;
/// Length limit of the text, in characters.
const MAX_TEXT: usize = 64;
/// Length of a snippet, in characters, and how many of them are before the match.
const SNIPPET: i32 = 60;
const BEFORE_MATCH: i32 = 20;

/// The text to search for: trimmed, 1 to 64 characters.
#[derive(Clone, Debug)]
pub struct SearchText(String);

impl SearchText {
    /// # Errors
    /// [`Error::Invalid`] if the text is missing, empty or too long.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        const FIELD: &str = "q";
        let text = text.ok_or(Error::invalid(FIELD, Reason::Missing))?.trim();
        if text.is_empty() {
            return Err(Error::invalid(FIELD, Reason::Empty));
        }
        if text.chars().count() > MAX_TEXT {
            return Err(Error::invalid(FIELD, Reason::TooLong(MAX_TEXT)));
        }
        Ok(Self(text.to_owned()))
    }

    /// The scope of cursors of this search. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self, caller: &Caller) -> String {
        format!("search/{}/{}", caller.user_id, self.0)
    }

    /// False for Chinese: then the search need not convert each message to lower case, which takes
    /// most of its time.
    fn has_case(&self) -> bool {
        self.0.to_lowercase() != self.0.to_uppercase()
    }
}

/// A message that contains the text.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Hit {
    pub conversation_id: i64,
    pub message_id: i64,
    /// The title of the conversation.
    pub title: String,
    /// A part of the message, with the text in it.
    pub snippet: String,
    pub created_at: DateTime<Utc>,
}

/// A page of hits, newest first.
#[derive(Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Hits {
    pub items: Vec<Hit>,
    /// Cursor of the next page. A page without hits may have one, because a request reads a bounded
    /// number of messages.
    pub next_cursor: Option<String>,
}

/// Searches the caller's conversations. The first message of a conversation is a hit if the title
/// contains the text, too.
pub async fn search(
    db: &Db,
    caller: &Caller,
    text: &SearchText,
    paging: &Paging<i64>,
) -> Result<Hits> {
    let before = match paging.from {
        PageStart::Offset(_) => i64::MAX,
        PageStart::Key(id) => id,
    };
    // The left join returns one row with the range even if there is no hit. The title is read by a
    // subquery for first messages alone, because a join would read it for every message.
    let rows = sqlx::query!(
        r#"
        with range as materialized (
            select min(r.id) as first, count(*) as messages from (
                select m.id from biz.ai_messages m where m.user_id = $2 and m.id < $3 order by m.id desc limit $6
            ) r
        ), text (sought) as materialized (
            select case when $5 then lower($4) else $4 end
        )
        select range.first, range.messages as "messages!", m.id as "id?", m.conversation_id as "conversation_id?",
               m.created_at as "created_at?",
               substr(m.text, greatest(1, strpos(case when $5 then lower(m.text) else m.text end, sought) - $8), $9) as snippet,
               (select c.title from biz.ai_conversations c where c.id = m.conversation_id and c.site_id = $1) as title
        from range cross join text left join lateral (
            select m.*, v.text from biz.ai_messages m cross join lateral (
                select visible_text(reply_text(m), m.blocked_at) as text) v
            where m.user_id = $2 and m.site_id = $1 and m.id < $3 and m.id >= range.first and m.seq > 0 and m.role <> 'system'
              and (strpos(case when $5 then lower(v.text) else v.text end, text.sought) > 0
                   or m.seq = 1 and strpos((
                       select case when $5 then lower(c.title) else c.title end from biz.ai_conversations c
                       where c.id = m.conversation_id and c.site_id = $1), text.sought) > 0)
            order by m.id desc limit $7
        ) m on true
        order by m.id desc
        "#,
        caller.site_id,
        caller.user_id,
        before,
        text.0,
        text.has_case(),
        MAX_READ,
        paging.size + 1,
        BEFORE_MATCH,
        SNIPPET,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let range = rows.first().map(|row| (row.first, row.messages));
    let hits = rows.into_iter().filter_map(|row| {
        Some(Hit {
            conversation_id: row.conversation_id?,
            message_id: row.id?,
            title: row.title.unwrap_or_default(),
            snippet: row.snippet.unwrap_or_default(),
            created_at: row.created_at?,
        })
    });
    let mut items: Vec<Hit> = hits.collect();
    let size = usize::try_from(paging.size).unwrap_or(usize::MAX);
    let is_cut = items.len() > size;
    items.truncate(size);
    let next = match range {
        _ if is_cut => items.last().map(|hit| hit.message_id),
        Some((first, MAX_READ)) => first,
        _ => None,
    };
    Ok(Hits {
        items,
        next_cursor: next.and_then(|id| write_cursor(&id, &text.cursor_scope(caller))),
    })
}
