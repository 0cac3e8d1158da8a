//! Conversations and their messages. A conversation is stored in the same transaction as its first
//! messages, and its messages are numbered in the order of their times.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Executor as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    BATCH_BYTES, BATCH_ROWS, Import, Kind, Numbers,
    plain::{NEW_ID, new_ids},
    progress::Progress,
    report::Report,
    row::{Issue, Row},
    target::{self, Target},
    users::Users,
};
use crate::command::AnyError;

pub(super) const CONVERSATIONS: Numbers = Numbers {
    table: "biz.ai_conversations",
    taken: "select id from biz.ai_conversations where id = any($1)",
};
pub(super) const MESSAGES: Numbers = Numbers {
    table: "biz.ai_messages",
    taken: "select id from biz.ai_messages where id = any($1)",
};

/// A conversation to store.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Chat {
    pub id: i64,
    pub public_id: Option<Uuid>,
    pub site_id: i64,
    pub user_id: i64,
    pub context_type: &'static str,
    pub context_id: String,
    pub channel_type: String,
    pub title: Option<String>,
    pub status: &'static str,
    pub dashscope_session_id: Option<String>,
    pub bot_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// A message to store.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Message {
    pub id: i64,
    pub conversation_id: i64,
    pub site_id: i64,
    pub user_id: i64,
    pub seq: i64,
    pub role: &'static str,
    pub content: String,
    pub content_type: &'static str,
    pub state: &'static str,
    pub error_code: Option<&'static str>,
    /// The new id of the message to which this one responds.
    pub reply_to: Option<i64>,
    /// Its earlier id.
    #[serde(skip)]
    pub replies_to: Option<String>,
    pub reference_card: Option<Value>,
    pub tokens_used: Option<i64>,
    pub created_at: DateTime<Utc>,
}

impl Message {
    /// A message without text is a reply that was never stored, so it has failed.
    pub(super) fn new(
        role: &'static str,
        content: Option<String>,
        created_at: DateTime<Utc>,
    ) -> Self {
        let has_failed = role == "assistant" && content.is_none();
        Self {
            id: 0,
            conversation_id: 0,
            site_id: 0,
            user_id: 0,
            seq: 0,
            role,
            content: content.unwrap_or_default(),
            content_type: "markdown",
            state: if has_failed { "failed" } else { "complete" },
            error_code: has_failed.then_some("interrupted"),
            reply_to: None,
            replies_to: None,
            reference_card: None,
            tokens_used: None,
            created_at,
        }
    }
}

/// The chats of a service.
pub(super) trait Chats {
    const CHAT: &'static Kind;
    const MESSAGE: &'static Kind;
    /// Returns the conversations with their messages: id and JSON of both. The JSON of a
    /// conversation is only in its first row. `$1` has the time zones of the sites.
    const SELECT: &'static str;

    /// Converts a conversation, without its id.
    fn chat(&self, row: &mut Row, users: &Users) -> Result<Chat, Issue>;

    /// Converts a message, without its ids and number.
    fn message(&self, row: &mut Row) -> Result<Message, Issue>;
}

/// A row of [`Chats::SELECT`].
#[derive(sqlx::FromRow)]
struct Line {
    chat_id: Option<String>,
    chat: Option<String>,
    message_id: Option<String>,
    message: Option<String>,
}

impl Line {
    fn size(&self) -> usize {
        let texts = [&self.chat, &self.message];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// The conversation to which the rows belong that are read.
struct Current {
    earlier_id: String,
    /// Replies that the user has not read.
    unread: i64,
    /// `None` if it is not imported.
    place: Option<Place>,
}

/// Where the next message of a conversation is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Place {
    id: i64,
    site_id: i64,
    user_id: i64,
    /// Number of its messages.
    message_count: i64,
    /// The last message, if the user wrote it.
    question: Option<i64>,
}

/// What a batch writes.
#[derive(Default)]
struct Batch {
    chats: Vec<Chat>,
    chat_ids: Vec<target::Remembered>,
    messages: Vec<Message>,
    message_ids: Vec<target::Remembered>,
    /// Unread replies by conversation, for those that get messages.
    unread: HashMap<i64, i64>,
    /// By user: new conversations with messages, and new sessions.
    listed: HashMap<i64, (i64, i64)>,
}

impl Import {
    pub(super) async fn chats<C: Chats>(&mut self, chats: &C) -> Result<(), AnyError> {
        let Self {
            source,
            target,
            users,
            report,
            ..
        } = self;
        for kind in [C::CHAT, C::MESSAGE] {
            let counted = source.count(kind).await?;
            target.keep_free(kind, &counted).await?;
            report.found(kind, counted.rows());
        }
        let total = source.count(C::MESSAGE).await?.rows();
        let mut progress = Progress::start(C::MESSAGE.name, total)?;
        let mut rows = sqlx::query_as::<_, Line>(C::SELECT)
            .bind(Json(&users.zones))
            .fetch(&mut source.connection);
        let mut writer = Writer {
            chats,
            target,
            users,
            report,
            current: None,
        };
        let (mut lines, mut bytes) = (Vec::new(), 0);
        loop {
            let line = rows.try_next().await?;
            let is_last = line.is_none();
            bytes += line.as_ref().map_or(0, Line::size);
            lines.extend(line);
            if is_last || lines.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                let messages = lines
                    .iter()
                    .filter(|line: &&Line| line.message.is_some())
                    .count();
                writer.write(std::mem::take(&mut lines)).await?;
                progress.advance(messages as u64);
                bytes = 0;
            }
            if is_last {
                break;
            }
        }
        drop(rows);
        progress.finish();
        self.check(C::CHAT).await?;
        self.check(C::MESSAGE).await
    }
}

struct Writer<'a, C> {
    chats: &'a C,
    target: &'a mut Target,
    users: &'a Users,
    report: &'a mut Report,
    current: Option<Current>,
}

impl<C: Chats> Writer<'_, C> {
    async fn write(&mut self, lines: Vec<Line>) -> Result<(), AnyError> {
        // The conversations are locked from here on. If a statement fails, the command ends, and
        // the server rolls back.
        self.target.connection.execute("begin").await?;
        let mut batch = Batch::default();
        let mut places = self.places(&lines, &mut batch).await?;
        self.messages(lines, &mut places, &mut batch).await?;
        let Target {
            connection,
            service,
            dry_run,
            ..
        } = &mut *self.target;
        if !*dry_run {
            batch.write(connection).await?;
            target::remember(connection, *service, C::CHAT.name, batch.chat_ids).await?;
            target::remember(connection, *service, C::MESSAGE.name, batch.message_ids).await?;
        }
        connection.execute("commit").await?;
        Ok(())
    }

    /// Converts the conversations that begin in this batch, and returns the places of all, by
    /// earlier id.
    async fn places(
        &mut self,
        lines: &[Line],
        batch: &mut Batch,
    ) -> Result<HashMap<String, Current>, AnyError> {
        let first = lines
            .iter()
            .filter_map(|line| Some((line.chat_id.as_ref()?, line.chat.as_ref()?)));
        let first: Vec<(&String, &String)> = first.collect();
        let mut ids: Vec<String> = first.iter().map(|(id, _)| (*id).clone()).collect();
        ids.extend(
            self.current
                .iter()
                .map(|current| current.earlier_id.clone()),
        );
        let known = self.target.known(C::CHAT.name, &ids).await?;
        let stored = stored_places(self.target, &known).await?;
        let mut places = HashMap::new();
        if let Some(mut current) = self.current.take() {
            if let Some(id) = known.get(&current.earlier_id) {
                current.place = stored.get(id).cloned();
            }
            places.insert(current.earlier_id.clone(), current);
        }
        let mut new = Vec::new();
        for (id, text) in first {
            let row = Row::parse(text);
            let unread = row
                .as_ref()
                .ok()
                .and_then(|row| row.text("unread_count")?.parse().ok());
            let mut current = Current {
                earlier_id: id.clone(),
                unread: unread.unwrap_or(0).max(0),
                place: None,
            };
            if let Some(new_id) = known.get(id) {
                self.report.imported_before(C::CHAT);
                current.place = stored.get(new_id).cloned();
            } else {
                let converted = row
                    .and_then(|mut row| Ok((self.chats.chat(&mut row, self.users)?, row.changes)));
                match converted {
                    Ok((chat, changes)) => new.push((id.clone(), chat, changes)),
                    Err(issue) => self.report.not_imported(C::CHAT, id, &issue)?,
                }
            }
            places.insert(id.clone(), current);
        }
        self.new_chats(new, &mut places, batch).await?;
        Ok(places)
    }

    async fn new_chats(
        &mut self,
        mut new: Vec<(String, Chat, Vec<Issue>)>,
        places: &mut HashMap<String, Current>,
        batch: &mut Batch,
    ) -> Result<(), AnyError> {
        let conflicts = conflicts(self.target, &new).await?;
        let ids = new_ids(C::CHAT, self.target, new.iter().map(|(id, ..)| id.as_str())).await?;
        // The ids of sessions are no numbers.
        let unnumbered = ids.iter().filter(|id| id.is_none()).count();
        let mut next = self
            .target
            .next_ids(CONVERSATIONS, unnumbered)
            .await?
            .into_iter();
        for (at, ((earlier_id, chat, changes), id)) in new.iter_mut().zip(ids).enumerate() {
            let conflict = conflicts
                .iter()
                .find(|(place, ..)| usize::try_from(*place) == Ok(at));
            if let Some((_, has_key, has_public_id)) = conflict {
                if *has_key {
                    chat.context_type = "general";
                    changes.push(DUPLICATE.into());
                }
                if *has_public_id {
                    chat.public_id = None;
                    changes.push(NEW_ID.into());
                }
            }
            if id.is_some_and(|id| id.is_new) {
                changes.push(NEW_ID.into());
            }
            chat.id = id
                .map(|id| id.id)
                .or_else(|| next.next())
                .unwrap_or_default();
            self.report.imported(C::CHAT, earlier_id, changes)?;
            if let Some(current) = places.get_mut(earlier_id) {
                current.place = Some(Place {
                    id: chat.id,
                    site_id: chat.site_id,
                    user_id: chat.user_id,
                    message_count: 0,
                    question: None,
                });
            }
            if chat.bot_id.is_some() {
                batch.listed.entry(chat.user_id).or_default().1 += 1;
            }
        }
        for (earlier_id, chat, _) in new {
            batch.chat_ids.push((earlier_id, chat.id.to_string(), None));
            batch.chats.push(chat);
        }
        Ok(())
    }

    /// Converts the messages and gives them their numbers. The last conversation continues in the
    /// next batch.
    async fn messages(
        &mut self,
        lines: Vec<Line>,
        places: &mut HashMap<String, Current>,
        batch: &mut Batch,
    ) -> Result<(), AnyError> {
        let last_chat = lines.iter().rev().find_map(|line| line.chat_id.clone());
        let ids: Vec<String> = lines
            .iter()
            .filter_map(|line| line.message_id.clone())
            .collect();
        let known = self.target.known(C::MESSAGE.name, &ids).await?;
        let mut new = Vec::new();
        for line in lines {
            let (Some(id), Some(text)) = (line.message_id, line.message) else {
                continue;
            };
            if known.contains_key(&id) {
                self.report.imported_before(C::MESSAGE);
                continue;
            }
            match self.message(line.chat_id.as_deref(), &text, places) {
                Ok((chat_id, message, changes)) => new.push((id, chat_id, message, changes)),
                Err(issue) => self.report.not_imported(C::MESSAGE, &id, &issue)?,
            }
        }
        let replied: Vec<String> = new
            .iter()
            .filter_map(|(_, _, message, _)| message.replies_to.clone())
            .collect();
        let mut by_earlier = self.target.known(C::MESSAGE.name, &replied).await?;
        let ids = new_ids(
            C::MESSAGE,
            self.target,
            new.iter().map(|(id, ..)| id.as_str()),
        )
        .await?;
        let unnumbered = ids.iter().filter(|id| id.is_none()).count();
        let mut next = self
            .target
            .next_ids(MESSAGES, unnumbered)
            .await?
            .into_iter();
        for ((earlier_id, chat_id, mut message, mut changes), id) in new.into_iter().zip(ids) {
            if id.is_some_and(|id| id.is_new) {
                changes.push(NEW_ID.into());
            }
            self.report.imported(C::MESSAGE, &earlier_id, &changes)?;
            message.id = id
                .map(|id| id.id)
                .or_else(|| next.next())
                .unwrap_or_default();
            let replied = message
                .replies_to
                .as_ref()
                .and_then(|id| by_earlier.get(id)?.parse().ok());
            by_earlier.insert(earlier_id.clone(), message.id.to_string());
            batch
                .message_ids
                .push((earlier_id, message.id.to_string(), None));
            if let Some(current) = places.get_mut(&chat_id) {
                current.append(message, replied, batch);
            }
        }
        self.current = last_chat.and_then(|id| places.remove(&id));
        Ok(())
    }

    fn message(
        &self,
        chat_id: Option<&str>,
        text: &str,
        places: &HashMap<String, Current>,
    ) -> Result<(String, Message, Vec<Issue>), Issue> {
        let chat_id = chat_id.ok_or("its conversation does not exist")?;
        let current = places.get(chat_id);
        if current.is_none_or(|current| current.place.is_none()) {
            return Err("its conversation is not imported, or was deleted in Parlor".into());
        }
        let mut row = Row::parse(text)?;
        let message = self.chats.message(&mut row)?;
        Ok((chat_id.to_owned(), message, row.changes))
    }
}

/// Why a conversation about a task or board becomes a general one.
const DUPLICATE: &str =
    "its user has a newer conversation with the same subject: stored as general";

impl Current {
    /// Adds a message at the end of the conversation. A reply responds to the question before it,
    /// unless it names another message.
    fn append(&mut self, mut message: Message, replied: Option<i64>, batch: &mut Batch) {
        let Some(place) = &mut self.place else {
            return;
        };
        if place.message_count == 0 {
            batch.listed.entry(place.user_id).or_default().0 += 1;
        }
        place.message_count += 1;
        message.reply_to = match message.role {
            "assistant" => replied.or(place.question),
            _ => replied,
        };
        place.question = (message.role == "user").then_some(message.id);
        message.conversation_id = place.id;
        message.site_id = place.site_id;
        message.user_id = place.user_id;
        message.seq = place.message_count;
        batch.unread.insert(place.id, self.unread);
        batch.messages.push(message);
    }
}

impl Batch {
    async fn write(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.chats.is_empty() {
            sqlx::query(include_str!("chats/insert_chats.sql"))
                .bind(Json(&self.chats))
                .execute(&mut *tx)
                .await?;
        }
        if !self.messages.is_empty() {
            sqlx::query(include_str!("chats/insert_messages.sql"))
                .bind(Json(&self.messages))
                .execute(&mut *tx)
                .await?;
            let (chats, unread): (Vec<i64>, Vec<i64>) = self.unread.iter().unzip();
            sqlx::query(include_str!("chats/count_messages.sql"))
                .bind(chats)
                .bind(unread)
                .execute(&mut *tx)
                .await?;
        }
        let mut listed: Vec<_> = self
            .listed
            .iter()
            .map(|(user, (chats, sessions))| (*user, *chats, *sessions))
            .collect();
        listed.sort_unstable();
        for (user, chats, sessions) in listed {
            sqlx::query(
                "update biz.users set listed_conversations = listed_conversations + $2, listed_sessions = listed_sessions + $3
                 where id = $1",
            )
            .bind(user)
            .bind(chats)
            .bind(sessions)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }
}

/// The places of conversations that were imported earlier, by id. One that was deleted since is
/// missing.
async fn stored_places(
    target: &mut Target,
    known: &HashMap<String, String>,
) -> Result<HashMap<String, Place>, sqlx::Error> {
    let ids: HashSet<i64> = known.values().filter_map(|id| id.parse().ok()).collect();
    let places: Vec<Place> = sqlx::query_as(include_str!("chats/places.sql"))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut target.connection)
        .await?;
    Ok(places
        .into_iter()
        .map(|place| (place.id.to_string(), place))
        .collect())
}

/// Conversations that would have the same subject or public id as one of Parlor: the position, and
/// which of the two.
async fn conflicts(
    target: &mut Target,
    new: &[(String, Chat, Vec<Issue>)],
) -> Result<Vec<(i64, bool, bool)>, sqlx::Error> {
    let chats: Vec<&Chat> = new.iter().map(|(_, chat, _)| chat).collect();
    sqlx::query_as(include_str!("chats/conflicts.sql"))
        .bind(Json(chats))
        .fetch_all(&mut target.connection)
        .await
}

/// The note for a conversation that the service itself has twice.
pub(super) fn duplicate(row: &mut Row) {
    row.change(DUPLICATE);
}
