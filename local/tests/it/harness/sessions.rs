//! Verbs of the session API: a session is begun, something is said, the bot replies.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use serde_json::{Value, json};

use super::parlor::{Answer, Parlor, answer};

/// Where sessions are.
pub const SESSIONS: &str = "/api/chat/sessions";

/// The demo's bots: everybody's, one that is granted to the manager alone, one that is switched off, one
/// that has no agent, one of the other site, one whose agent is gone.
pub const BOT: &str = "00000000-0000-4000-8000-000000000001";
pub const GRANTED: &str = "00000000-0000-4000-8000-000000000002";
pub const DISABLED: &str = "00000000-0000-4000-8000-000000000003";
pub const WITHOUT_AGENT: &str = "00000000-0000-4000-8000-000000000004";
pub const OTHER_SITES: &str = "00000000-0000-4000-8000-000000000005";
pub const AGENT_GONE: &str = "00000000-0000-4000-8000-000000000006";

/// Who may use what is granted.
pub const MANAGER: i64 = 1003;

impl Parlor {
    /// Begins a session with everybody's bot, and answers its id.
    pub async fn begin_session(&self, user: i64) -> String {
        self.begin_with(user, BOT).await
    }

    pub async fn begin_with(&self, user: i64, bot: &str) -> String {
        let begun = self.post(user, SESSIONS, &json!({ "bot_id": bot })).await;
        begun.created()["session"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub async fn call(&self, user: i64, method: &str, path: &str, body: &Value) -> Answer {
        answer(self.request_as(user, method, path).json(body)).await
    }

    /// Sends a message to the bot.
    pub async fn say(&self, user: i64, session: &str, content: &str) -> Answer {
        let path = format!("{SESSIONS}/{session}/messages");
        self.post(user, &path, &json!({ "content": content })).await
    }

    /// Sends one that is taken, and answers its id.
    pub async fn said(&self, user: i64, session: &str, content: &str) -> i64 {
        let answer = self.say(user, session, content).await;
        answer.created()["message"]["id"].as_i64().unwrap()
    }

    /// Sends one under an idempotency key.
    pub async fn say_once(&self, user: i64, session: &str, key: &str, body: &Value) -> Answer {
        let path = format!("{SESSIONS}/{session}/messages");
        let request = self.request_as(user, "POST", &path);
        answer(request.header("Idempotency-Key", key).json(body)).await
    }

    pub async fn session(&self, user: i64, id: &str) -> Value {
        let found = self.get(user, &format!("{SESSIONS}/{id}")).await;
        found.ok()["session"].clone()
    }

    /// A page of a session's messages.
    pub async fn heard(&self, user: i64, session: &str, query: &str) -> Value {
        let path = format!("{SESSIONS}/{session}/messages?{query}");
        self.get(user, &path).await.ok().clone()
    }

    pub async fn mark_read(&self, user: i64, session: &str) -> Answer {
        let path = format!("{SESSIONS}/{session}/read");
        answer(self.request_as(user, "PUT", &path)).await
    }

    /// As if a worker had made the reply to a message, or had failed to. Whether one does is a matter of other
    /// tests; here replies come when a test says so.
    pub async fn reply(&self, message: i64, state: &str, content: &str) {
        sqlx::query(
            "with c as materialized (
                 select c.* from biz.ai_conversations c
                 where c.id = (select conversation_id from biz.ai_messages where id = $1) for no key update
             ), said as (
                 insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, state, reply_to, error_code, finished_at)
                 select id, site_id, user_id, message_count + 1, 'assistant', $3, $2, $1,
                        case $2 when 'failed' then 'upstream_error' end, now()
                 from c
                 returning id, created_at
             ), done as (
                 update biz.ai_trigger_jobs set status = 'succeeded', finished_at = now() where message_id = $1
             )
             select count_messages(c.site_id, c.id, 1, said.id, 'assistant', $3, said.created_at, 1, false) from c cross join said",
        )
        .bind(message)
        .bind(state)
        .bind(content)
        .execute(&self.db)
        .await
        .unwrap();
    }
}

/// The ids of messages or sessions.
pub fn ids(items: &Value) -> Vec<Value> {
    let items = items.as_array().unwrap().iter();
    items.map(|item| item["id"].clone()).collect()
}
