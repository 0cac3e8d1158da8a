//! Users rename, pin and delete their conversations.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{
    events::{EventStream, text},
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup, answer},
};

const HISTORY: &str = "/api/xcx/chat/history";
/// A text that is nowhere else.
const MARK: &str = "蓝色大象七号";

impl Parlor {
    async fn change_chat(&self, user: i64, chat: i64, body: &Value) -> Answer {
        let path = format!("/api/xcx/chat/{chat}");
        self.call(user, "PATCH", &path, body).await
    }

    async fn delete_chat(&self, user: i64, chat: i64) -> Answer {
        answer(self.request_as(user, "DELETE", &format!("/api/xcx/chat/{chat}"))).await
    }

    /// The ids of a user's history, page by page.
    async fn history_by_cursor(&self, user: i64, page_size: i64) -> Vec<Value> {
        let mut ids = Vec::new();
        let mut path = format!("{HISTORY}?page_size={page_size}");
        loop {
            let page = self.get(user, &path).await;
            let items = page.ok()["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].clone()));
            let Some(cursor) = page.body["nextCursor"].as_str() else {
                return ids;
            };
            path = format!("{HISTORY}?page_size={page_size}&cursor={cursor}");
        }
    }
}

/// The tables that contain a text in any column.
pub async fn tables_with(parlor: &Parlor, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select oid::regclass::text from pg_class
         where relnamespace = to_regnamespace('biz') and relkind in ('r', 'p') and not relispartition",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert!(tables.len() > 20, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let query = format!("select exists (select from {table} t where strpos(t::text, $1) > 0)");
        let has: bool = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(text)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        if has {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn put_changes_a_conversation_like_patch() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    let path = format!("/api/xcx/chat/{chat}");
    let put = async |user: i64, body: Value| parlor.call(user, "PUT", &path, &body).await;

    let changed = put(COACH, json!({ "title": "回访" })).await;
    assert_eq!(changed.ok()["title"], "回访");
    let changed = put(COACH, json!({ "pinned": true })).await;
    // A member that is left out is not changed, as with PATCH.
    assert_eq!(
        (&changed.ok()["title"], &changed.ok()["pinned"]),
        (&json!("回访"), &json!(true))
    );
    put(COACH, json!({})).await.refused(422, "invalid_request");
    put(STAFF, json!({ "pinned": false }))
        .await
        .refused(403, "not_owner");
    put(OTHER_SITE, json!({ "pinned": false }))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_conversation_is_renamed_and_pinned() {
    let parlor = Parlor::start().await;
    let mut chats = Vec::new();
    for task in ["a", "b", "c", "d"] {
        let chat = parlor.open(COACH, task).await;
        parlor.send(COACH, chat, "你好").await.ok();
        chats.push(chat);
    }
    for _ in 0..2 {
        let changed = parlor
            .change_chat(
                COACH,
                chats[0],
                &json!({ "title": " 排班 ", "pinned": true }),
            )
            .await;
        let item = changed.ok();
        assert_eq!(
            (&item["title"], &item["pinned"]),
            (&json!("排班"), &json!(true))
        );
        assert_eq!(
            (&item["id"], &item["contextId"], &item["messageCount"]),
            (&json!(chats[0]), &json!("a"), &json!(2))
        );
    }
    let listed = parlor.get(COACH, HISTORY).await;
    let first = &listed.ok()["items"][0];
    assert_eq!(
        (&first["title"], &first["pinned"]),
        (&json!("排班"), &json!(true))
    );

    parlor
        .change_chat(COACH, chats[1], &json!({ "pinned": true }))
        .await
        .ok();
    let expected = [chats[1], chats[0], chats[3], chats[2]].map(Value::from);
    for page_size in [1, 2, 3, 100] {
        assert_eq!(parlor.history_by_cursor(COACH, page_size).await, expected);
    }
    // A message moves its conversation among the pinned ones.
    parlor.send(COACH, chats[0], "你好").await.ok();
    let unpinned = parlor
        .change_chat(COACH, chats[1], &json!({ "pinned": false }))
        .await;
    assert_eq!(unpinned.ok()["title"], "你好");
    let expected = [chats[0], chats[3], chats[2], chats[1]].map(Value::from);
    assert_eq!(parlor.history_by_cursor(COACH, 2).await, expected);
}

#[tokio::test]
async fn an_invalid_change_of_a_conversation_is_refused_with_its_field() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for (body, field) in [
        (json!({}), "title"),
        (json!({ "title": " " }), "title"),
        (json!({ "title": "长".repeat(101) }), "title"),
        (json!({ "title": "a\0" }), "title"),
        (json!({ "pinned": "yes" }), "pinned"),
    ] {
        let refused = parlor.change_chat(COACH, chat, &body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
}

#[tokio::test]
async fn no_table_contains_the_texts_of_a_deleted_conversation() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let echo = format!("[[sim:echo]]{MARK}");
    let sent = parlor.send(COACH, chat, &echo).await;
    let reply = &sent.ok()["aiReply"]["id"];
    let body = json!({ "rating": "down", "comment": MARK });
    let path = format!("/api/xcx/chat/messages/{reply}/feedback");
    parlor.call(COACH, "PUT", &path, &body).await.ok();
    parlor
        .change_chat(COACH, chat, &json!({ "title": MARK }))
        .await
        .ok();
    parlor
        .send(COACH, chat, &format!("[[sim:fail-first]]{MARK}"))
        .await
        .ok();
    parlor.begin_and_die(COACH, chat, MARK, MARK).await;
    // A refused message is only in the run log.
    sqlx::query(
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 0, 0)
                 on conflict (site_id) do update set daily_limit = 0",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let refused = parlor.open(COACH, "other").await;
    let refused_message = parlor.send(COACH, refused, MARK).await;
    refused_message.refused(429, "budget_exceeded");
    let runs = count_runs(&parlor).await;
    assert!(tables_with(&parlor, MARK).await.len() >= 4);

    for chat in [chat, refused] {
        let deleted = parlor.delete_chat(COACH, chat).await;
        assert_eq!(deleted.status, 204, "{}", deleted.body);
        parlor
            .delete_chat(COACH, chat)
            .await
            .refused(404, "not_found");
    }
    assert_eq!(tables_with(&parlor, MARK).await, [] as [String; 0]);
    assert_eq!(
        count_runs(&parlor).await,
        runs,
        "the runs stay for the figures"
    );
    assert_eq!(parlor.get(COACH, HISTORY).await.ok()["total"], 0);
    invariants::check_books(&parlor).await;
    // The context begins a new conversation.
    assert_ne!(parlor.open(COACH, "t").await, chat);
}

/// The number of runs.
async fn count_runs(parlor: &Parlor) -> i64 {
    sqlx::query_scalar("select count(*) from biz.ai_run_logs")
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_deleted_session_leaves_neither_texts_nor_jobs() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    let body = json!({ "content": format!("[[sim:echo]]{MARK}") });
    parlor
        .post_message_with_key(COACH, &session, "k", &body)
        .await
        .created();
    parlor.work().await;
    parlor.create_message(COACH, &session, MARK).await;
    let chat: i64 =
        sqlx::query_scalar("select id from biz.ai_conversations where public_id::text = $1")
            .bind(&session)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(parlor.delete_chat(COACH, chat).await.status, 204);
    assert_eq!(tables_with(&parlor, MARK).await, [] as [String; 0]);
    parlor.work().await;
    assert_eq!(tables_with(&parlor, MARK).await, [] as [String; 0]);
    let path = format!("/api/chat/sessions/{session}");
    parlor
        .get(COACH, &path)
        .await
        .refused_at(&path, 404, "not_found");
    let sessions = parlor.get(COACH, "/api/chat/sessions").await;
    assert_eq!(sessions.ok()["total"], 0);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_conversation_is_not_deleted_while_its_reply_is_made() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let (mut stream, events) = parlor.stream_held(COACH, chat, "你好", 1).await;
    let refused = parlor.delete_chat(COACH, chat).await;
    assert_eq!(
        refused.refused(409, "busy")["messageId"],
        events[0].data["messageId"]
    );
    parlor.simulator.release();
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
    invariants::check(&parlor, COACH, chat).await;
    assert_eq!(parlor.delete_chat(COACH, chat).await.status, 204);
    let stream = format!("/api/xcx/chat/stream/{}", events[0].data["messageId"]);
    parlor.get(COACH, &stream).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_conversation_is_not_deleted_while_a_worker_makes_its_reply() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    let chat: i64 = sqlx::query_scalar(
        "update biz.ai_trigger_jobs set status = 'running', lease_until = now() + interval '1 minute', claims = 1
         returning conversation_id",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    let refused = parlor.delete_chat(COACH, chat).await;
    assert_eq!(refused.refused(409, "busy")["messageId"], json!(null));
}

#[tokio::test]
async fn a_reader_of_a_deleted_reply_gets_a_clean_end() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let reply = parlor.begin_and_die(COACH, chat, "你好", "回复").await;
    sqlx::query("update biz.ai_messages set lease_until = now() + interval '30 seconds' where state = 'streaming'")
        .execute(&parlor.db)
        .await
        .unwrap();
    let request = parlor.request_as(COACH, "GET", &format!("/api/xcx/chat/stream/{reply}"));
    let mut reader = EventStream::new(request.send().await.unwrap());
    reader.expect("start").await;
    assert_eq!(reader.expect("message").await.data["token"], "回复");
    // The next read is due 1.5 s after this one.
    sqlx::query("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
        .execute(&parlor.db)
        .await
        .unwrap();
    assert_eq!(parlor.delete_chat(COACH, chat).await.status, 204);
    let end = reader.rest().await;
    assert_eq!(text(&end), "");
    let end = end.last().unwrap();
    assert_eq!(
        (&*end.name, &end.data["code"], &end.data["retryable"]),
        ("error", &json!("gone"), &json!(false))
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_deletion_is_repeated_after_a_lost_response() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    for task in ["a", "b"] {
        let chat = parlor.open(COACH, task).await;
        parlor.send(COACH, chat, MARK).await.ok();
        if task == "b" {
            wire.drop_responses();
            parlor
                .delete_chat(COACH, chat)
                .await
                .refused(503, "unavailable");
        }
        let again = parlor.delete_chat(COACH, chat).await;
        assert!(matches!(again.status.as_u16(), 204 | 404), "{}", again.body);
        parlor
            .delete_chat(COACH, chat)
            .await
            .refused(404, "not_found");
    }
    assert_eq!(tables_with(&parlor, MARK).await, [] as [String; 0]);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn another_users_conversation_is_neither_changed_nor_deleted() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    for (user, status, code) in [(STAFF, 403, "not_owner"), (OTHER_SITE, 404, "not_found")] {
        parlor.delete_chat(user, chat).await.refused(status, code);
        let changed = parlor
            .change_chat(user, chat, &json!({ "title": "我的" }))
            .await;
        changed.refused(status, code);
    }
    assert_eq!(
        parlor.get(COACH, HISTORY).await.ok()["items"][0]["title"],
        "你好"
    );
}
