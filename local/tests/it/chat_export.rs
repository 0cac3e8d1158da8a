//! The export of all conversations of a user.

use serde_json::{Value, json};

use crate::harness::parlor::{COACH, Parlor, STAFF};

const EXPORT: &str = "/api/xcx/chat/export";

/// The lines of the export.
async fn lines(parlor: &Parlor, user: i64) -> Vec<Value> {
    let response = parlor.request_as(user, "GET", EXPORT).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn each_conversation_is_a_line_with_its_messages_and_their_labels() {
    let parlor = Parlor::start().await;
    assert_eq!(lines(&parlor, COACH).await, [] as [Value; 0]);
    let mut chats = Vec::new();
    for task in ["a", "b"] {
        let chat = parlor.open(COACH, task).await;
        parlor
            .send(COACH, chat, &format!("问题 {task}\n\"第二行\""))
            .await
            .ok();
        parlor.send(COACH, chat, "[[sim:fail-first]]").await.ok();
        chats.push(chat);
    }
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    let other = parlor.open(STAFF, "a").await;
    parlor.send(STAFF, other, "同事").await.ok();

    let exported = lines(&parlor, COACH).await;
    assert_eq!(exported.len(), 3);
    for (line, chat) in exported.iter().zip(&chats) {
        assert_eq!(
            (&line["id"], &line["contextType"]),
            (&json!(chat), &json!("task"))
        );
        let listed = parlor.messages(COACH, *chat).await;
        let messages = line["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 4);
        for (message, listed) in messages.iter().zip(&listed) {
            for field in ["id", "role", "content", "status", "createdAt"] {
                assert_eq!(message[field], listed[field]);
            }
            let label = match message["role"].as_str() {
                Some("assistant") => json!("内容由 AI 生成，仅供参考"),
                _ => json!(null),
            };
            assert_eq!(message["label"], label);
        }
    }
    assert_eq!(
        (&exported[2]["contextType"], &exported[2]["sessionId"]),
        (&json!("bot"), &json!(session))
    );
    assert_eq!(lines(&parlor, STAFF).await.len(), 1);
}

#[tokio::test]
async fn long_conversations_and_many_conversations_are_exported_whole() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "insert into biz.ai_conversations (site_id, user_id, context_type, context_id, message_count)
         select 1, $1, 'customer', n::text, case n when 77 then 250 else 1 end from generate_series(1, 230) n",
    )
    .bind(COACH)
    .execute(&parlor.db)
    .await
    .unwrap();
    sqlx::query(
        "insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content)
         select c.id, 1, $1, n, 'user', 'm' || n from biz.ai_conversations c cross join lateral generate_series(1, c.message_count) n
         where c.user_id = $1",
    )
    .bind(COACH)
    .execute(&parlor.db)
    .await
    .unwrap();
    let exported = lines(&parlor, COACH).await;
    assert_eq!(exported.len(), 230);
    for line in &exported {
        let messages = line["messages"].as_array().unwrap();
        let count = if line["contextId"] == "77" { 250 } else { 1 };
        let expected: Vec<_> = (1..=count).map(|n| json!(format!("m{n}"))).collect();
        let contents: Vec<_> = messages
            .iter()
            .map(|message| message["content"].clone())
            .collect();
        assert_eq!(contents, expected);
    }
}
