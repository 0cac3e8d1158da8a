//! The tables of the Flask service: bots and their agents, sessions and messages.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::{
    Import, Kind,
    chats::{Chat, Chats, Message},
    plain::Plain,
    row::{Issue, Row},
    source::Table,
    users::Users,
};
use crate::command::AnyError;

const TEXT: &str = "text";
const TIME: &str = "timestamp without time zone";

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "users",
        required: &[("id", TEXT), ("username", TEXT), ("nickname", TEXT)],
        optional: &[],
    },
    Table {
        name: "agents",
        required: &[("id", TEXT)],
        optional: &[("name", TEXT)],
    },
    Table {
        name: "bots",
        required: &[("id", TEXT), ("agent_id", TEXT)],
        optional: &[
            ("name", TEXT),
            ("display_name", TEXT),
            ("avatar", TEXT),
            ("status", TEXT),
        ],
    },
    Table {
        name: "sessions",
        required: &[
            ("id", TEXT),
            ("user_id", TEXT),
            ("bot_id", TEXT),
            ("created_at", TIME),
        ],
        optional: &[
            ("primary_agent_id", TEXT),
            ("title", TEXT),
            ("channel_type", TEXT),
            ("status", TEXT),
            ("message_count", "integer"),
            ("unread_count", "integer"),
            ("updated_at", TIME),
            ("last_active_at", TIME),
        ],
    },
    Table {
        name: "messages",
        required: &[
            ("id", TEXT),
            ("session_id", TEXT),
            ("sender_type", TEXT),
            ("content", TEXT),
            ("created_at", TIME),
        ],
        optional: &[
            ("content_type", TEXT),
            ("reply_to", TEXT),
            ("sender_id", TEXT),
            ("sender_name", TEXT),
            ("bot_id", TEXT),
            ("message_type", TEXT),
            ("status", TEXT),
            ("ack_status", TEXT),
        ],
    },
];

const AGENT: Kind = Kind {
    name: "agent",
    count: "select count(*) as rows, count(distinct id) as ids, null::bigint as highest from agents",
    numbers: None,
};
const BOT: Kind = Kind {
    name: "bot",
    count: "select count(*) as rows, count(distinct id) as ids, null::bigint as highest from bots",
    numbers: None,
};

pub(super) async fn import(import: &mut Import) -> Result<(), AnyError> {
    let agents: Vec<String> =
        sqlx::query_scalar("select id::text from agents where id is not null")
            .fetch_all(&mut import.source.connection)
            .await?;
    let bots: Vec<(String, Option<String>)> =
        sqlx::query_as("select id::text, agent_id::text from bots where id is not null")
            .fetch_all(&mut import.source.connection)
            .await?;
    let flask = Flask {
        agents: agents.into_iter().collect(),
        bots: bots.into_iter().collect(),
    };
    import
        .plain(Plain {
            kind: &AGENT,
            select: "select id::text, row_to_json(a)::text from agents a where $1::jsonb is not null order by id",
            convert: |row: &mut Row, _: &Users| agent(row),
            writes: &[include_str!("flask/insert_agents.sql")],
        })
        .await?;
    import
        .plain(Plain {
            kind: &BOT,
            select: "select id::text, row_to_json(b)::text from bots b where $1::jsonb is not null order by id",
            convert: |row: &mut Row, users: &Users| flask.bot(row, users),
            writes: &[include_str!("flask/insert_bots.sql")],
        })
        .await?;
    import.chats(&flask).await
}

/// A UUID is kept. Any other id becomes a UUID that only depends on it.
fn id_of(kind: &str, earlier: &str) -> Uuid {
    earlier.parse().unwrap_or_else(|_| {
        let hash = Sha256::digest(format!("parlor import {kind} {earlier}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Builder::from_custom_bytes(bytes).into_uuid()
    })
}

fn agent(row: &mut Row) -> Result<Map<String, Value>, Issue> {
    let earlier = row.text("id").ok_or("it has no id")?;
    let values = json!({
        "id": id_of("agent", &earlier),
        "name": row.text("name").unwrap_or(earlier),
    });
    Ok(values.as_object().cloned().unwrap_or_default())
}

/// What sessions need to know about the other tables.
struct Flask {
    agents: HashSet<String>,
    /// Agents by bot.
    bots: HashMap<String, Option<String>>,
}

impl Flask {
    fn agent_id(&self, earlier: Option<&String>) -> Option<Uuid> {
        let known = earlier.filter(|id| self.agents.contains(*id));
        known.map(|id| id_of("agent", id))
    }

    /// Bots had no site. If all users are of one site, so are the bots.
    fn bot(&self, row: &mut Row, users: &Users) -> Result<Map<String, Value>, Issue> {
        let earlier = row.text("id").ok_or("it has no id")?;
        let known = |word: &str| {
            let words = ["active", "disabled"];
            words.into_iter().find(|known| *known == word)
        };
        let status = row.word(
            "status",
            known,
            "disabled",
            "unknown status: stored as disabled",
        );
        let status = if row.text("status").is_none() {
            "active"
        } else {
            status
        };
        let agent = row.text("agent_id");
        if agent.is_some() && self.agent_id(agent.as_ref()).is_none() {
            row.change("its agent does not exist: null");
        }
        let values = json!({
            "id": id_of("bot", &earlier),
            "site_id": users.only_site(),
            "name": row.text("name").unwrap_or(earlier),
            "display_name": row.text("display_name"),
            "avatar": row.text("avatar"),
            "status": status,
            "agent_id": self.agent_id(agent.as_ref()),
        });
        Ok(values.as_object().cloned().unwrap_or_default())
    }
}

impl Chats for Flask {
    const CHAT: &'static Kind = &Kind {
        name: "session",
        count: "select count(*) as rows, count(distinct id) as ids, null::bigint as highest from sessions",
        numbers: None,
    };
    const MESSAGE: &'static Kind = &Kind {
        name: "message",
        count: "select count(*) as rows, count(distinct id) as ids, null::bigint as highest from messages",
        numbers: None,
    };
    const SELECT: &'static str = include_str!("flask/sessions.sql");

    fn chat(&self, row: &mut Row, users: &Users) -> Result<Chat, Issue> {
        let earlier = row.text("id").ok_or("it has no id")?;
        let user = row.text("user_id").ok_or("it has no user")?;
        let user = users.find(&user, None)?;
        let bot = row.text("bot_id").ok_or("it has no bot")?;
        let agent = self
            .bots
            .get(&bot)
            .ok_or_else(|| Issue::with("its bot does not exist", &bot))?;
        let bot_id = id_of("bot", &bot);
        let agent = row.text("primary_agent_id").or_else(|| agent.clone());
        let known = |word: &str| {
            let words = ["active", "paused", "closed"];
            words.into_iter().find(|known| *known == word)
        };
        let status = row.word(
            "status",
            known,
            "closed",
            "unknown status: stored as closed",
        );
        let status = if row.text("status").is_none() {
            "active"
        } else {
            status
        };
        Ok(Chat {
            public_id: Some(id_of("session", &earlier)),
            site_id: user.site_id,
            user_id: user.id,
            context_type: "bot",
            context_id: bot_id.to_string(),
            channel_type: row.text("channel_type").unwrap_or_else(|| "web".to_owned()),
            title: row.text("title"),
            status,
            bot_id: Some(bot_id),
            agent_id: self.agent_id(agent.as_ref()),
            created_at: row.required_time("created_at")?,
            ..Chat::default()
        })
    }

    fn message(&self, row: &mut Row) -> Result<Message, Issue> {
        let word = row.text("sender_type").unwrap_or_default();
        let role = match word.as_str() {
            "user" => "user",
            "bot" | "assistant" | "agent" => "assistant",
            "system" => "system",
            _ => return Err(Issue::with("unknown sender_type", word)),
        };
        let known = |word: &str| {
            let words = ["markdown", "text"];
            words.into_iter().find(|known| *known == word)
        };
        let mut message = Message::new(role, row.text("content"), row.required_time("created_at")?);
        message.content_type = row.word(
            "content_type",
            known,
            "text",
            "unknown content_type: stored as text",
        );
        message.replies_to = row.text("reply_to");
        Ok(message)
    }
}
