//! CHAT-2a and CHAT-2b: reading the messages of a conversation, and opening the conversation of a
//! context.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::parlor::{COACH, OTHER_SITE, Parlor, STAFF};

async fn opened(parlor: &Parlor, user: i64, query: &str) -> i64 {
    parlor
        .get(user, &format!("/api/xcx/chat/messages?{query}"))
        .await
        .ok()["chatId"]
        .as_i64()
        .unwrap()
}

/// Sets the last activity of a conversation back by `interval`.
async fn silent_for(parlor: &Parlor, chat: i64, interval: &str) {
    sqlx::query(
        "update biz.ai_conversations set last_active_at = now() - $2::interval where id = $1",
    )
    .bind(chat)
    .bind(interval)
    .execute(&parlor.db)
    .await
    .unwrap();
}

#[tokio::test]
async fn messages_come_oldest_first_or_newest_first_by_page_and_by_cursor() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for number in 0..3 {
        parlor
            .send(COACH, chat, &format!("第{number}问"))
            .await
            .ok();
    }
    for order in ["asc", "desc"] {
        let all = parlor
            .get(
                COACH,
                &format!("/api/xcx/chat/{chat}/messages?order={order}"),
            )
            .await;
        let all: Vec<i64> = all.ok()["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_i64().unwrap())
            .collect();
        assert_eq!(all.len(), 6);
        assert!(
            all.is_sorted_by(|a, b| if order == "asc" { a < b } else { a > b }),
            "{order}: {all:?}"
        );

        let mut by_page = Vec::new();
        for page in 1..=4 {
            let answer = parlor
                .get(
                    COACH,
                    &format!("/api/xcx/chat/{chat}/messages?order={order}&page={page}&page_size=2"),
                )
                .await;
            assert_eq!(answer.ok()["total"], 6);
            assert_eq!(
                answer.body["nextCursor"].is_null(),
                page >= 3,
                "{order} {page}"
            );
            by_page.extend(
                answer.body["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_i64().unwrap()),
            );
        }
        assert_eq!(by_page, all, "{order}");

        let mut by_cursor = Vec::new();
        let mut path = format!("/api/xcx/chat/{chat}/messages?order={order}&page_size=4");
        loop {
            let answer = parlor.get(COACH, &path).await;
            by_cursor.extend(
                answer.ok()["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_i64().unwrap()),
            );
            let Some(cursor) = answer.body["nextCursor"].as_str() else {
                break;
            };
            path =
                format!("/api/xcx/chat/{chat}/messages?order={order}&page_size=4&cursor={cursor}");
        }
        assert_eq!(by_cursor, all, "{order}");
    }
}

#[tokio::test]
async fn a_cursor_is_valid_only_for_its_conversation_and_order() {
    let parlor = Parlor::start().await;
    let (chat, other) = (parlor.open(COACH, "a").await, parlor.open(COACH, "b").await);
    parlor.send(COACH, chat, "你好").await.ok();
    let page = parlor
        .get(COACH, &format!("/api/xcx/chat/{chat}/messages?page_size=1"))
        .await;
    let cursor = page.ok()["nextCursor"].as_str().unwrap();
    for path in [
        format!("/api/xcx/chat/{other}/messages?cursor={cursor}"),
        format!("/api/xcx/chat/{chat}/messages?order=desc&cursor={cursor}"),
    ] {
        assert_eq!(
            parlor
                .get(COACH, &path)
                .await
                .refused(422, "invalid_request")["field"],
            "cursor"
        );
    }
}

#[tokio::test]
async fn a_forged_cursor_or_a_distant_page_returns_no_foreign_data() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    for key in [i64::MIN, -1, 0, i64::MAX] {
        for order in ["Ascending", "Descending"] {
            let cursor = URL_SAFE_NO_PAD
                .encode(json!([format!("messages/{COACH}/{chat}/{order}"), key]).to_string());
            let word = if order == "Ascending" { "asc" } else { "desc" };
            parlor
                .get(
                    COACH,
                    &format!("/api/xcx/chat/{chat}/messages?order={word}&cursor={cursor}"),
                )
                .await
                .ok();
        }
        let cursor = URL_SAFE_NO_PAD
            .encode(json!([format!("history/{COACH}"), [true, key, key]]).to_string());
        parlor
            .get(COACH, &format!("/api/xcx/chat/history?cursor={cursor}"))
            .await
            .ok();
    }
    for order in ["asc", "desc"] {
        let far = parlor
            .get(
                COACH,
                &format!(
                    "/api/xcx/chat/{chat}/messages?page={}&order={order}",
                    i64::MAX
                ),
            )
            .await;
        assert_eq!(far.ok()["items"], json!([]));
    }
}

#[tokio::test]
async fn another_users_conversation_is_refused_and_another_sites_does_not_exist() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    let path = format!("/api/xcx/chat/{chat}/messages");
    parlor.get(STAFF, &path).await.refused(403, "not_owner");
    parlor
        .get(OTHER_SITE, &path)
        .await
        .refused(404, "not_found");
    parlor
        .send(STAFF, chat, "我来问")
        .await
        .refused(403, "not_owner");
    parlor
        .send(OTHER_SITE, chat, "我来问")
        .await
        .refused(404, "not_found");
    let body = json!({ "chatId": chat, "content": "我来问" });
    parlor
        .post(STAFF, "/api/xcx/chat/stream", &body)
        .await
        .refused(403, "not_owner");
    parlor
        .post(OTHER_SITE, "/api/xcx/chat/stream", &body)
        .await
        .refused(404, "not_found");
    assert_eq!(parlor.messages(COACH, chat).await.len(), 2);
}

#[tokio::test]
async fn each_context_reuses_its_conversation_for_the_documented_time() {
    let parlor = Parlor::start().await;
    for (query, within, beyond) in [
        (
            "contextType=general&contextId=",
            "29 minutes",
            Some("31 minutes"),
        ),
        (
            "contextType=customer&contextId=10001",
            "71 hours",
            Some("73 hours"),
        ),
        (
            "contextType=coach&contextId=1001",
            "71 hours",
            Some("73 hours"),
        ),
        ("contextType=task&contextId=7", "300 days", None),
        ("contextType=board&contextId=finance", "300 days", None),
    ] {
        let chat = opened(&parlor, COACH, query).await;
        silent_for(&parlor, chat, within).await;
        assert_eq!(opened(&parlor, COACH, query).await, chat, "{query}");
        if let Some(beyond) = beyond {
            silent_for(&parlor, chat, beyond).await;
            assert_ne!(opened(&parlor, COACH, query).await, chat, "{query}");
        }
        assert_ne!(opened(&parlor, STAFF, query).await, chat, "{query}");
    }
    // The id is part of the key, also if it is empty.
    assert_ne!(
        opened(&parlor, COACH, "contextType=general&contextId=").await,
        opened(&parlor, COACH, "contextType=general&contextId=x").await
    );
}

#[tokio::test]
async fn a_board_has_one_conversation_for_each_business_date_of_the_site() {
    let parlor = Parlor::start().await;
    let query = "contextType=board&contextId=finance";
    let today = opened(&parlor, COACH, query).await;
    for (date, at) in [("2026-03-01", 1), ("2026-03-02", 2)] {
        sqlx::query(
            "update biz.sites set runtime_mode = 'sandbox', sandbox_date = $1::date where id = 1",
        )
        .bind(date)
        .execute(&parlor.db)
        .await
        .unwrap();
        assert_eq!(opened(&parlor, COACH, query).await, today + at);
    }
    sqlx::query("update biz.sites set runtime_mode = 'live' where id = 1")
        .execute(&parlor.db)
        .await
        .unwrap();
    assert_eq!(opened(&parlor, COACH, query).await, today);
}

#[tokio::test]
async fn simultaneous_calls_get_the_same_conversation() {
    let parlor = Parlor::start().await;
    for query in [
        "contextType=general&contextId=",
        "contextType=customer&contextId=1",
        "contextType=task&contextId=1",
        "contextType=board&contextId=",
    ] {
        let chats = join_all((0..8).map(|_| opened(&parlor, COACH, query))).await;
        assert!(
            chats.iter().all(|chat| *chat == chats[0]),
            "{query}: {chats:?}"
        );
    }
}

#[tokio::test]
async fn an_invalid_context_is_refused_by_field() {
    let parlor = Parlor::start().await;
    let long = "长".repeat(65);
    for (query, field) in [
        ("contextId=1", "contextType"),
        ("contextType=robot&contextId=1", "contextType"),
        ("contextType=bot&contextId=1", "contextId"),
        ("contextType=&contextId=1", "contextType"),
        ("contextType=task", "contextId"),
        ("contextType=task&contextId=", "contextId"),
        ("contextType=task&contextId=%00", "contextId"),
        (&format!("contextType=task&contextId={long}"), "contextId"),
        ("contextType=task&contextId=1&order=up", "order"),
        ("contextType=task&contextId=1&page_size=0", "page_size"),
    ] {
        let refused = parlor
            .get(COACH, &format!("/api/xcx/chat/messages?{query}"))
            .await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    let longest = "长".repeat(64);
    parlor
        .get(
            COACH,
            &format!("/api/xcx/chat/messages?contextType=task&contextId={longest}"),
        )
        .await
        .ok();
}

#[tokio::test]
async fn messages_of_the_same_instant_are_neither_skipped_nor_repeated() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for number in 0..3 {
        parlor
            .send(COACH, chat, &format!("第{number}问"))
            .await
            .ok();
    }
    sqlx::query("update biz.ai_messages set created_at = '2026-01-01'")
        .execute(&parlor.db)
        .await
        .unwrap();
    for order in ["asc", "desc"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/xcx/chat/{chat}/messages?order={order}&page_size=1{cursor}");
            let page = parlor.get(COACH, &path).await;
            let items = page.ok()["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["id"].as_i64().unwrap()));
            let Some(next) = page.body["nextCursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!(seen.len(), 6, "{order}");
        assert!(seen.is_sorted_by(|a, b| a < b), "{order}: {seen:?}");
    }
}
