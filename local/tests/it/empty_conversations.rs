//! Conversations without a message: at most 50 of a user, deleted after a day.

use serde_json::{Value, json};
use sweep::Swept;

use crate::harness::{
    invariants,
    parlor::{COACH, Parlor, STAFF},
    sessions::SESSIONS,
    sweep,
};

impl Parlor {
    async fn conversations(&self) -> i64 {
        sqlx::query_scalar("select count(*) from biz.ai_conversations")
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn make_conversations_old(&self) {
        self.execute(
            "update biz.ai_conversations set last_active_at = now() - interval '25 hours'",
        )
        .await;
    }

    async fn sweep_empty(&self) -> i32 {
        let swept = sweep(&self.db, 90).await.unwrap();
        let expected = Swept {
            empty_conversations: swept.empty_conversations,
            ..Swept::default()
        };
        assert_eq!(swept, expected);
        swept.empty_conversations
    }

    async fn sessions_total(&self, user: i64) -> Value {
        self.get(user, SESSIONS).await.ok()["total"].clone()
    }
}

#[tokio::test]
async fn empty_conversations_are_deleted_a_day_after_they_were_last_opened() {
    let parlor = Parlor::start().await;
    let used = parlor.open(COACH, "used").await;
    parlor.send(COACH, used, "你好").await.ok();
    let empty = parlor.open(COACH, "empty").await;
    let session = parlor.begin_session(COACH).await;
    parlor.begin_session(STAFF).await;
    assert_eq!(parlor.sweep_empty().await, 0);

    parlor.make_conversations_old().await;
    // It is opened again, so it is kept.
    assert_eq!(parlor.open(COACH, "empty").await, empty);
    assert_eq!(parlor.sweep_empty().await, 2);
    parlor
        .get(COACH, &format!("{SESSIONS}/{session}"))
        .await
        .refused_at(SESSIONS, 404, "not_found");
    assert_eq!(parlor.sessions_total(COACH).await, 0);
    parlor.send(COACH, empty, "你好").await.ok();
    assert_eq!(parlor.messages(COACH, used).await.len(), 2);

    parlor.make_conversations_old().await;
    assert_eq!(parlor.sweep_empty().await, 0);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_user_has_at_most_fifty_empty_conversations() {
    let parlor = Parlor::start().await;
    let used = parlor.open(COACH, "used").await;
    parlor.send(COACH, used, "你好").await.ok();
    let other = parlor.open(STAFF, "t").await;
    let session = parlor.begin_session(COACH).await;
    let first = parlor.open(COACH, "0").await;
    for context in 1..50 {
        parlor.open(COACH, &context.to_string()).await;
    }
    // The oldest one was the session. The others, and those of other users, are kept.
    assert_eq!(parlor.conversations().await, 2 + 50);
    assert_eq!(parlor.sessions_total(COACH).await, 0);
    let path = format!("{SESSIONS}/{session}/messages");
    let refused = parlor
        .post(COACH, &path, &json!({ "content": "你好" }))
        .await;
    refused.refused_at(&path, 404, "not_found");
    parlor.send(STAFF, other, "你好").await.ok();

    // A session counts, too. An empty conversation that gets a message no longer counts.
    parlor.begin_session(COACH).await;
    let refused = parlor.send(COACH, first, "你好").await;
    refused.refused(404, "not_found");
    assert_eq!(parlor.conversations().await, 2 + 50);
    let last = parlor.open(COACH, "49").await;
    parlor.send(COACH, last, "你好").await.ok();
    parlor.open(COACH, "50").await;
    assert_eq!(parlor.conversations().await, 2 + 51);
    assert_eq!(parlor.sessions_total(COACH).await, 1);
    invariants::check_books(&parlor).await;
}
