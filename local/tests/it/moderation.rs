//! Moderation: words, WeChat and a service of the operator check questions and replies.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod admin;
mod services;
mod standins;
mod words;

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, terminal, text},
    invariants,
    parlor::{COACH, Parlor, Setup},
};

const SENTENCE: &str = "内容未通过安全检查，请换个说法";

/// Starts Parlor with these variables.
async fn started(env: &[(&'static str, &str)]) -> Parlor {
    Parlor::start_with(setup(env)).await
}

fn setup(env: &[(&'static str, &str)]) -> Setup {
    let env = env.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Setup {
        env: env.collect(),
        ..Setup::default()
    }
}

impl Parlor {
    /// Sets the text of the next answers. A vertical bar separates the pieces.
    fn answers(&self, text: &str) {
        let scenario = format!("say:{text}").parse().unwrap();
        self.simulator.set_scenario(None, Some(scenario));
    }

    fn answers_as_usual(&self) {
        self.simulator.set_scenario(None, None);
    }

    /// The tables in whose rows a text occurs.
    async fn tables_with(&self, text: &str) -> Vec<String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_class where relnamespace = 'biz'::regnamespace
             and relkind in ('r', 'p') order by 1",
        )
        .fetch_all(&self.db)
        .await
        .unwrap();
        let mut found = Vec::new();
        for table in tables {
            let statement = format!(
                "select exists (select from biz.{table} t where position($1 in t::text) > 0)"
            );
            let exists: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
                .bind(text)
                .fetch_one(&self.db)
                .await
                .unwrap();
            if exists {
                found.push(table);
            }
        }
        found
    }

    /// The stored verdicts on a message.
    async fn verdicts(&self, message: &Value) -> Value {
        sqlx::query_scalar::<_, Option<Value>>(
            "select moderation from biz.ai_messages where id = $1",
        )
        .bind(message.as_i64().unwrap())
        .fetch_one(&self.db)
        .await
        .unwrap()
        .unwrap_or_default()
    }

    /// Checks that a reply ended blocked, and that no part of its text is anywhere.
    async fn is_hidden(&self, chat: i64, events: &[SseEvent], part: &str) {
        let end = terminal(events);
        assert_eq!(
            (
                &end.data["code"],
                &end.data["message"],
                &end.data["retryable"]
            ),
            (&json!("content_blocked"), &json!(SENTENCE), &json!(false))
        );
        let message = &events[0].data["messageId"];
        assert_eq!(end.id, format!("{message}-0"));
        assert_eq!(self.tables_with(part).await, [] as [&str; 0]);

        let path = format!("/api/xcx/chat/stream/{message}?after=1");
        let response = self.request_as(COACH, "GET", &path).send().await.unwrap();
        let again = EventStream::new(response).rest().await;
        assert_eq!(
            (text(&again), &terminal(&again).data),
            (String::new(), &end.data)
        );
        for path in [
            format!("/api/xcx/chat/{chat}/messages"),
            "/api/xcx/chat/history".to_owned(),
            "/api/xcx/chat/export".to_owned(),
        ] {
            let shown = self.get(COACH, &path).await;
            assert_eq!(shown.status, 200);
            assert!(
                !shown.body.to_string().contains(part),
                "{path}: {}",
                shown.body
            );
        }
        let run = self.last_run().await;
        assert_eq!(
            (&run["status"], &run["error_code"], &run["alert_status"]),
            (&json!("failed"), &json!("content_blocked"), &json!(null))
        );
        invariants::check(self, COACH, chat).await;
    }

    /// Asks, is answered, and checks that the prompt has none of the texts.
    async fn continues_without(&self, chat: i64, texts: &[&str]) {
        self.answers_as_usual();
        let sent = self.send(COACH, chat, "下一个问题").await;
        assert_eq!(sent.ok()["aiReply"]["status"], "complete");
        let calls = self.simulator.calls();
        let prompt = calls.last().unwrap().prompt();
        for text in texts {
            assert!(!prompt.contains(text), "{text}: {prompt}");
        }
    }
}
