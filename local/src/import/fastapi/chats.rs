//! Conversations and messages of the mini-program.

use serde_json::Value;

use super::super::{
    Kind,
    chats::{self, CONVERSATIONS, Chat, Chats, MESSAGES, Message},
    row::{Issue, Row},
    users::Users,
};

/// Length limit of `context_id`, in characters.
const MAX_CONTEXT: usize = 64;

pub(super) struct FastApi;

impl Chats for FastApi {
    const CHAT: &'static Kind = &Kind {
        name: "conversation",
        count: "select count(*) as rows, count(distinct id) as ids,
                       max(case when id::text ~ '^[0-9]{1,18}$' then id::text::bigint end) as highest from ai_conversations",
        numbers: Some(CONVERSATIONS),
    };
    const MESSAGE: &'static Kind = &Kind {
        name: "message",
        count: "select count(*) as rows, count(distinct id) as ids,
                       max(case when id::text ~ '^[0-9]{1,18}$' then id::text::bigint end) as highest from ai_messages",
        numbers: Some(MESSAGES),
    };
    const SELECT: &'static str = include_str!("chats.sql");

    fn chat(&self, row: &mut Row, users: &Users) -> Result<Chat, Issue> {
        let site_id = users.site(row.required_integer("site_id")?)?;
        let earlier_user = row.text("user_id").ok_or("it has no user")?;
        let user = users.find(&earlier_user, Some(site_id))?;
        let known = |word: &str| {
            let words = ["general", "task", "customer", "coach", "board"];
            words.into_iter().find(|known| *known == word)
        };
        let mut context_type = row.word(
            "context_type",
            known,
            "general",
            "unknown context_type: stored as general",
        );
        if row.flag("is_duplicate") && ["task", "board"].contains(&context_type) {
            chats::duplicate(row);
            context_type = "general";
        }
        let mut context_id = row.text("context_id").unwrap_or_default();
        if context_id.chars().count() > MAX_CONTEXT {
            row.change("context_id is longer than 64 characters: cut");
            context_id = context_id.chars().take(MAX_CONTEXT).collect();
        }
        Ok(Chat {
            site_id,
            user_id: user.id,
            context_type,
            context_id,
            channel_type: "miniprogram".to_owned(),
            title: row.text("title"),
            status: "active",
            dashscope_session_id: row.text("session_id"),
            created_at: row.required_time("created_at")?,
            ..Chat::default()
        })
    }

    fn message(&self, row: &mut Row) -> Result<Message, Issue> {
        let word = row.text("role").unwrap_or_default();
        let words = ["user", "assistant", "system"];
        let role = words.into_iter().find(|known| *known == word);
        let role = role.ok_or_else(|| Issue::with("unknown role", &word))?;
        let mut message = Message::new(role, row.text("content"), row.required_time("created_at")?);
        // Those of the message were a count of characters.
        message.tokens_used = row.integer("tokens_of_run").filter(|tokens| *tokens >= 0);
        if let Some(card) = row.json("reference_card") {
            if !is_card(&card) {
                row.change("reference_card has not the form that clients know: null");
            } else if !message.content.is_empty() {
                message.reference_card = Some(card);
            }
        }
        Ok(message)
    }
}

/// Clients read `type` and `title` of a card.
fn is_card(value: &Value) -> bool {
    let texts = [value.get("type"), value.get("title")];
    texts.iter().all(|text| text.is_some_and(Value::is_string))
}
