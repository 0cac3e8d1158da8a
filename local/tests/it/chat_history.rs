//! CHAT-1: the history, by page and by cursor.

use serde_json::json;

use crate::harness::parlor::{COACH, OTHER_SITE, Parlor, STAFF};

const HISTORY: &str = "/api/xcx/chat/history";

async fn with_chats(count: usize) -> Parlor {
    let parlor = Parlor::start().await;
    for number in 0..count {
        let chat = parlor.open(COACH, &format!("t{number}")).await;
        parlor
            .send(COACH, chat, &format!("第{number}个问题"))
            .await
            .ok();
    }
    parlor
}

#[tokio::test]
async fn the_history_lists_conversations_that_have_messages() {
    let parlor = Parlor::start().await;
    parlor.open(COACH, "empty").await;
    let chat = parlor.open(COACH, "t").await;
    let long = "问".repeat(150);
    let sent = parlor
        .send(COACH, chat, &format!("[[sim:echo]]{long}"))
        .await;
    let page = parlor.get(COACH, HISTORY).await;
    let page = page.ok();
    assert_eq!(
        (
            &page["total"],
            &page["page"],
            &page["pageSize"],
            &page["nextCursor"]
        ),
        (&json!(1), &json!(1), &json!(20), &json!(null))
    );
    let item = &page["items"][0];
    assert_eq!(item["id"], chat);
    assert_eq!(
        (&item["contextType"], &item["contextId"]),
        (&json!("task"), &json!("t"))
    );
    assert_eq!(
        (&item["messageCount"], &item["unreadCount"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(item["lastMessage"].as_str().unwrap().chars().count(), 100);
    assert!(
        sent.body["aiReply"]["content"]
            .as_str()
            .unwrap()
            .starts_with(item["lastMessage"].as_str().unwrap())
    );
    assert!(
        item["title"]
            .as_str()
            .unwrap()
            .starts_with("[[sim:echo]]问")
    );
    assert!(item["lastMessageAt"].as_str().unwrap().ends_with('Z'));
    assert!(uuid::Uuid::parse_str(item["sessionId"].as_str().unwrap()).is_ok());
}

#[tokio::test]
async fn pages_and_cursors_list_the_same_items_newest_first() {
    let parlor = with_chats(5).await;
    let mut by_page = Vec::new();
    for page in 1..=4 {
        let answer = parlor
            .get(COACH, &format!("{HISTORY}?page={page}&page_size=2"))
            .await;
        assert_eq!(answer.ok()["total"], 5);
        by_page.extend(
            answer.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["contextId"].clone()),
        );
    }
    assert_eq!(by_page, ["t4", "t3", "t2", "t1", "t0"]);

    let mut by_cursor = Vec::new();
    let mut path = format!("{HISTORY}?pageSize=2");
    loop {
        let answer = parlor.get(COACH, &path).await;
        by_cursor.extend(
            answer.ok()["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["contextId"].clone()),
        );
        let Some(cursor) = answer.body["nextCursor"].as_str() else {
            break;
        };
        path = format!("{HISTORY}?pageSize=2&cursor={cursor}");
    }
    assert_eq!(by_cursor, by_page);
}

#[tokio::test]
async fn a_full_last_page_has_no_next_cursor() {
    let parlor = with_chats(4).await;
    let answer = parlor
        .get(COACH, &format!("{HISTORY}?page=2&page_size=2"))
        .await;
    assert_eq!(answer.ok()["items"].as_array().unwrap().len(), 2);
    assert_eq!(answer.body["nextCursor"], json!(null));
    let past = parlor
        .get(COACH, &format!("{HISTORY}?page=99&page_size=2"))
        .await;
    assert_eq!(
        (
            &past.ok()["items"],
            &past.body["total"],
            &past.body["nextCursor"]
        ),
        (&json!([]), &json!(4), &json!(null))
    );
}

#[tokio::test]
async fn conversations_of_the_same_instant_are_neither_skipped_nor_repeated() {
    let parlor = with_chats(4).await;
    sqlx::query("update biz.ai_conversations set last_active_at = '2026-01-01'")
        .execute(&parlor.db)
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut path = format!("{HISTORY}?page_size=1");
    loop {
        let answer = parlor.get(COACH, &path).await;
        seen.extend(
            answer.ok()["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_i64().unwrap()),
        );
        let Some(cursor) = answer.body["nextCursor"].as_str() else {
            break;
        };
        path = format!("{HISTORY}?page_size=1&cursor={cursor}");
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), seen), (4, sorted));
}

#[tokio::test]
async fn a_user_sees_only_own_conversations() {
    let parlor = with_chats(1).await;
    for user in [STAFF, OTHER_SITE] {
        assert_eq!(parlor.get(user, HISTORY).await.ok()["items"], json!([]));
    }
}

#[tokio::test]
async fn invalid_pages_and_foreign_cursors_are_refused_by_field() {
    let parlor = with_chats(3).await;
    let cursor = parlor
        .get(COACH, &format!("{HISTORY}?page_size=1"))
        .await
        .body["nextCursor"]
        .as_str()
        .unwrap()
        .to_owned();
    parlor
        .send(STAFF, parlor.open(STAFF, "t").await, "你好")
        .await
        .ok();
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=abc", "page"),
        ("page=99999999999999999999", "page"),
        ("page=1&page=2", "page"),
        ("page=%00", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("pageSize=1.5", "pageSize"),
        ("cursor=xyz", "cursor"),
        ("cursor=", "cursor"),
        (&format!("cursor={cursor}&page=1"), "cursor"),
    ] {
        let refused = parlor.get(COACH, &format!("{HISTORY}?{query}")).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    parlor
        .get(STAFF, &format!("{HISTORY}?cursor={cursor}"))
        .await
        .refused(422, "invalid_request");
    parlor
        .get(COACH, &format!("{HISTORY}?page={}", i64::MAX))
        .await
        .ok();
}
