//! Exports all conversations of a user, in parts.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use futures_util::Stream;
use uuid::Uuid;

use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
        export::parts,
    },
};

/// Conversations per statement.
const CONVERSATIONS: i64 = 100;
/// Messages per statement. Only these are in memory, however long a conversation is.
const MESSAGES: i64 = 50;

/// A part of the export: a conversation, then its messages in order, then its end.
#[derive(Debug)]
#[expect(missing_docs, reason = "plain data")]
pub enum Part {
    Conversation(ExportedConversation),
    Messages(Vec<ExportedMessage>),
    End,
}

/// A conversation, without its messages.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ExportedConversation {
    pub id: i64,
    /// The session id of the session API.
    pub public_id: Uuid,
    pub title: String,
    pub context_type: String,
    pub context_id: String,
    pub pinned: bool,
    pub created_at: DateTime<Utc>,
}

/// A message of an exported conversation.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ExportedMessage {
    pub id: i64,
    /// `user`, `assistant` or `system`.
    pub role: String,
    pub content: String,
    /// `complete`, `streaming`, `stopped`, `interrupted` or `failed`.
    pub state: String,
    pub created_at: DateTime<Utc>,
    seq: i64,
}

/// Where the export is.
struct Position {
    /// Conversations that were read and are still to be exported.
    waiting: VecDeque<ExportedConversation>,
    /// The id of the last conversation that was read. `None` after the last one.
    after: Option<i64>,
    /// The conversation whose messages are exported, and the sequence number of the last one.
    current: Option<(i64, i64)>,
}

/// Exports the caller's conversations that have messages, oldest first.
///
/// The first conversations are read before this returns, so that an error still becomes an error
/// response. Everything else is read when it is needed. No database connection is held between
/// parts. The stream ends after its first error.
pub async fn export(db: Db, caller: Caller) -> Result<impl Stream<Item = Result<Part>> + Send> {
    let mut start = Position {
        waiting: VecDeque::new(),
        after: Some(0),
        current: None,
    };
    start.read_conversations(&db, &caller).await?;
    Ok(parts(start, move |mut position| {
        let (db, caller) = (db.clone(), caller.clone());
        async move {
            let part = position.next(&db, &caller).await?;
            Ok(part.map(|part| (part, position)))
        }
    }))
}

impl Position {
    async fn next(&mut self, db: &Db, caller: &Caller) -> Result<Option<Part>> {
        if let Some((conversation_id, seq)) = self.current {
            let messages = messages(db, caller, conversation_id, seq).await?;
            let Some(last) = messages.last() else {
                self.current = None;
                return Ok(Some(Part::End));
            };
            self.current = Some((conversation_id, last.seq));
            return Ok(Some(Part::Messages(messages)));
        }
        if self.waiting.is_empty() {
            self.read_conversations(db, caller).await?;
        }
        Ok(self.waiting.pop_front().map(|conversation| {
            self.current = Some((conversation.id, 0));
            Part::Conversation(conversation)
        }))
    }

    async fn read_conversations(&mut self, db: &Db, caller: &Caller) -> Result<()> {
        let Some(after) = self.after else {
            return Ok(());
        };
        let found = sqlx::query_as!(
            ExportedConversation,
            r#"
            select c.id, c.public_id, coalesce(c.title, '') as "title!", c.context_type as "context_type: String",
                   c.context_id as "context_id: String", c.pinned, c.created_at
            from biz.ai_conversations c
            where c.site_id = $1 and c.user_id = $2 and c.message_count > 0 and c.id > $3
            order by c.id limit $4
            "#,
            caller.site_id,
            caller.user_id,
            after,
            CONVERSATIONS,
        )
        .fetch_all(db)
        .with_statement_timeout()
        .await?;
        self.after = found.last().map(|conversation| conversation.id);
        self.waiting.extend(found);
        Ok(())
    }
}

async fn messages(
    db: &Db,
    caller: &Caller,
    conversation_id: i64,
    after: i64,
) -> Result<Vec<ExportedMessage>> {
    sqlx::query_as!(
        ExportedMessage,
        r#"
        select m.id, m.role as "role: String", visible_text(reply_text(m), m.blocked_at) as "content!", m.state as "state: String", m.created_at, m.seq
        from biz.ai_messages m
        where m.conversation_id = $3 and m.site_id = $1 and m.user_id = $2 and m.seq > $4
        order by m.seq limit $5
        "#,
        caller.site_id,
        caller.user_id,
        conversation_id,
        after,
        MESSAGES,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}
