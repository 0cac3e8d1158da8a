//! Bots and openers in the mini-program.

use serde_json::json;

use crate::harness::{
    events::text,
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF},
    sessions::{AGENT_GONE, BOT, DISABLED, GRANTED, MANAGER, OTHER_SITES, WITHOUT_AGENT},
};

impl Parlor {
    async fn open_bot(&self, user: i64, bot: &str) -> Answer {
        let path = format!("/api/xcx/chat/messages?contextType=bot&contextId={bot}");
        self.get(user, &path).await
    }

    async fn openers(&self, user: i64, query: &str) -> Answer {
        self.get(user, &format!("/api/xcx/chat/openers?{query}"))
            .await
    }
}

#[tokio::test]
async fn the_mini_program_lists_the_bots_that_the_caller_may_use() {
    let parlor = Parlor::start().await;
    let listed = parlor.get(COACH, "/api/xcx/chat/bots").await;
    let bots = listed.ok()["items"].as_array().unwrap();
    assert_eq!(
        bots[..],
        [
            json!({ "id": BOT, "name": "xiaotai", "displayName": "小台", "avatar": null, "status": "active" })
        ]
    );
    let of_manager = parlor.get(MANAGER, "/api/xcx/chat/bots").await;
    assert_eq!(of_manager.ok()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_conversation_with_a_bot_is_found_or_created_and_answered_by_the_bot() {
    let parlor = Parlor::start().await;
    let opened = parlor.open_bot(COACH, BOT).await;
    let chat = opened.ok()["chatId"].as_i64().unwrap();
    assert_eq!(opened.body["items"], json!([]));
    assert_eq!(parlor.open_bot(COACH, BOT).await.ok()["chatId"], chat);
    assert_ne!(parlor.open_bot(STAFF, BOT).await.ok()["chatId"], chat);

    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    assert!(!text(&events).is_empty());
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    let item = &history.ok()["items"][0];
    assert_eq!(
        (
            &item["id"],
            &item["contextType"],
            &item["contextId"],
            &item["title"]
        ),
        (&json!(chat), &json!("bot"), &json!(BOT), &json!("你好"))
    );
    let sessions = parlor.get(COACH, "/api/chat/sessions").await;
    assert_eq!(
        (&sessions.ok()["total"], &sessions.body["sessions"][0]["id"]),
        (&json!(1), &item["sessionId"])
    );
    // A closed session is not reused.
    let session = item["sessionId"].as_str().unwrap();
    let close = parlor.request_as(COACH, "DELETE", &format!("/api/chat/sessions/{session}"));
    assert_eq!(close.send().await.unwrap().status(), 200);
    assert_ne!(parlor.open_bot(COACH, BOT).await.ok()["chatId"], chat);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn simultaneous_calls_get_the_same_conversation_with_a_bot() {
    let parlor = Parlor::start().await;
    let [a, b, c] = [
        parlor.open_bot(COACH, BOT),
        parlor.open_bot(COACH, BOT),
        parlor.open_bot(COACH, BOT),
    ];
    let (a, b, c) = tokio::join!(a, b, c);
    assert_eq!(
        (a.ok()["chatId"].clone(), &b.ok()["chatId"]),
        (c.ok()["chatId"].clone(), &a.body["chatId"])
    );
}

#[tokio::test]
async fn a_bot_that_the_caller_may_not_use_is_refused_and_creates_nothing() {
    let parlor = Parlor::start().await;
    for (bot, status, code) in [
        (GRANTED, 403, "forbidden"),
        (DISABLED, 403, "forbidden"),
        (OTHER_SITES, 404, "not_found"),
        (AGENT_GONE, 404, "not_found"),
        ("00000000-0000-4000-8000-0000000000ff", 404, "not_found"),
    ] {
        parlor.open_bot(COACH, bot).await.refused(status, code);
    }
    for bot in [WITHOUT_AGENT, "", "7", "00000000000040008000000000000001"] {
        let refused = parlor.open_bot(COACH, bot).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "contextId",
            "{bot}"
        );
    }
    let left: i64 = sqlx::query_scalar("select count(*) from biz.ai_conversations")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(left, 0);
    parlor.open_bot(MANAGER, GRANTED).await.ok();
}

#[tokio::test]
async fn openers_of_the_site_come_before_those_of_all_sites() {
    let parlor = Parlor::start().await;
    assert_eq!(parlor.openers(COACH, "").await.ok()["items"], json!([]));
    sqlx::query(
        "insert into biz.openers (site_id, source_page, bot_id, texts) values
             (null, null, null, '{默认}'), (1, null, null, '{一店,二}'),
             (null, 'board-finance', null, '{财务}'),
             (null, null, $1::uuid, '{机器人}'), (null, null, $2::uuid, '{别店的机器人}')",
    )
    .bind(BOT)
    .bind(OTHER_SITES)
    .execute(&parlor.db)
    .await
    .unwrap();
    let other_sites = format!("botId={OTHER_SITES}");
    let bot = format!("botId={BOT}");
    for (user, query, items) in [
        (COACH, "", json!(["一店", "二"])),
        (OTHER_SITE, "", json!(["默认"])),
        (COACH, "sourcePage=board-finance", json!(["财务"])),
        (COACH, "sourcePage=performance", json!([])),
        (COACH, &*bot, json!(["机器人"])),
        (COACH, &*other_sites, json!([])),
    ] {
        assert_eq!(
            parlor.openers(user, query).await.ok()["items"],
            items,
            "{query}"
        );
    }
    for (query, field) in [
        ("sourcePage=home", "sourcePage"),
        ("botId=7", "botId"),
        (&*format!("{bot}&sourcePage=performance"), "botId"),
    ] {
        let refused = parlor.openers(COACH, query).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
}
