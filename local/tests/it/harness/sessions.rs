//! Helpers for the session API: begin sessions, send messages, store replies.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::{Value, json};

use super::parlor::{Answer, Parlor, answer};

pub const SESSIONS: &str = "/api/chat/sessions";

/// The demo's bots. `BOT` is open to all users of site 1, `GRANTED` only to the manager. `DISABLED`
/// is switched off, `WITHOUT_AGENT` has no agent, `OTHER_SITES` is of site 2, and the agent of
/// `AGENT_GONE` was deleted.
pub const BOT: &str = "00000000-0000-4000-8000-000000000001";
pub const GRANTED: &str = "00000000-0000-4000-8000-000000000002";
pub const DISABLED: &str = "00000000-0000-4000-8000-000000000003";
pub const WITHOUT_AGENT: &str = "00000000-0000-4000-8000-000000000004";
pub const OTHER_SITES: &str = "00000000-0000-4000-8000-000000000005";
pub const AGENT_GONE: &str = "00000000-0000-4000-8000-000000000006";

/// The user who may use the bot `GRANTED`.
pub const MANAGER: i64 = 1003;

impl Parlor {
    /// Begins a session with `BOT`. Returns its id.
    pub async fn begin_session(&self, user: i64) -> String {
        self.begin_session_with(user, BOT).await
    }

    pub async fn begin_session_with(&self, user: i64, bot: &str) -> String {
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
    pub async fn post_message(&self, user: i64, session: &str, content: &str) -> Answer {
        let path = format!("{SESSIONS}/{session}/messages");
        self.post(user, &path, &json!({ "content": content })).await
    }

    /// Sends a message that is accepted. Returns its id.
    pub async fn create_message(&self, user: i64, session: &str, content: &str) -> i64 {
        let answer = self.post_message(user, session, content).await;
        answer.created()["message"]["id"].as_i64().unwrap()
    }

    /// Sends a message with an idempotency key.
    pub async fn post_message_with_key(
        &self,
        user: i64,
        session: &str,
        key: &str,
        body: &Value,
    ) -> Answer {
        let path = format!("{SESSIONS}/{session}/messages");
        let request = self.request_as(user, "POST", &path);
        answer(request.header("Idempotency-Key", key).json(body)).await
    }

    pub async fn session(&self, user: i64, id: &str) -> Value {
        let found = self.get(user, &format!("{SESSIONS}/{id}")).await;
        found.ok()["session"].clone()
    }

    /// A page of a session's messages.
    pub async fn session_messages(&self, user: i64, session: &str, query: &str) -> Value {
        let path = format!("{SESSIONS}/{session}/messages?{query}");
        self.get(user, &path).await.ok().clone()
    }

    pub async fn mark_read(&self, user: i64, session: &str) -> Answer {
        let path = format!("{SESSIONS}/{session}/read");
        answer(self.request_as(user, "PUT", &path)).await
    }

    /// Stores a reply, or a failed reply, as a worker would. Tests of sessions decide themselves
    /// when a reply comes; the worker has its own tests.
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
