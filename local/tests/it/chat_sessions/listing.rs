//! `GET /api/chat/sessions`: order, filters, pages and number of statements.

use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::{
    harness::{
        parlor::{COACH, Parlor, STAFF, Setup},
        sessions::{BOT, SESSIONS, WITHOUT_AGENT, ids},
        until,
    },
    session_replies::chat_of,
};

#[tokio::test]
async fn sessions_are_listed_by_newest_activity_without_gaps() {
    let parlor = Parlor::start().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, parlor.begin_session(COACH).await);
    }
    parlor.begin_session(STAFF).await;
    // Conversations of the mini-program and of other users are not sessions of the user.
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    let oldest = expected.pop().unwrap();
    parlor.create_message(COACH, &oldest, "还在吗").await;
    expected.insert(0, oldest);
    let expected: Vec<Value> = expected.into_iter().map(Value::from).collect();

    let all = parlor.get(COACH, SESSIONS).await;
    assert_eq!(ids(&all.ok()["sessions"]), expected);
    assert_eq!(
        (&all.body["total"], &all.body["limit"], &all.body["offset"]),
        (&json!(5), &json!(20), &json!(0))
    );
    assert!(all.body["next_cursor"].is_null());
    for limit in 1..=6 {
        let (mut by_offset, mut by_cursor) = (Vec::new(), Vec::new());
        let mut cursor = String::new();
        loop {
            let path = format!("{SESSIONS}?limit={limit}&offset={}", by_offset.len());
            let page = parlor.get(COACH, &path).await;
            assert_eq!(page.ok()["total"], 5);
            by_offset.extend(ids(&page.body["sessions"]));
            // A full last page has no next cursor.
            assert_eq!(page.body["next_cursor"].is_null(), by_offset.len() == 5);

            let path = format!("{SESSIONS}?limit={limit}{cursor}");
            let page = parlor.get(COACH, &path).await;
            assert_eq!(
                (&page.ok()["total"], &page.body["offset"]),
                (&json!(5), &json!(0))
            );
            by_cursor.extend(ids(&page.body["sessions"]));
            let Some(next) = page.body["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((&by_offset, &by_cursor), (&expected, &expected), "{limit}");
    }
    let beyond = parlor.get(COACH, &format!("{SESSIONS}?offset=5")).await;
    assert_eq!(
        (&beyond.ok()["sessions"], &beyond.body["total"]),
        (&json!([]), &json!(5))
    );
    let far = format!("{SESSIONS}?offset={}", i64::MAX);
    assert_eq!(parlor.get(COACH, &far).await.ok()["sessions"], json!([]));
}

#[tokio::test]
async fn sessions_of_the_same_instant_are_neither_skipped_nor_repeated() {
    let parlor = Parlor::start().await;
    for _ in 0..5 {
        parlor.begin_session(COACH).await;
    }
    parlor
        .execute("update biz.ai_conversations set last_active_at = '2026-01-01 00:00:00.000001Z'")
        .await;
    let all = ids(&parlor.get(COACH, SESSIONS).await.ok()["sessions"]);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..5 {
        let page = parlor
            .get(COACH, &format!("{SESSIONS}?limit=1{cursor}"))
            .await;
        seen.extend(ids(&page.ok()["sessions"]));
        cursor = format!(
            "&cursor={}",
            page.body["next_cursor"].as_str().unwrap_or("-")
        );
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn status_and_bot_filter_the_list_and_cursors_require_the_same_filters() {
    let parlor = Parlor::start().await;
    let mut begun = Vec::new();
    for status in ["active", "active", "paused", "closed"] {
        let id = parlor.begin_session(COACH).await;
        sqlx::query("update biz.ai_conversations set status = $2 where public_id = $1::uuid")
            .bind(&id)
            .bind(status)
            .execute(&parlor.db)
            .await
            .unwrap();
        begun.push(Value::from(id));
    }
    for (query, total) in [
        ("status=active", 2),
        ("status=paused", 1),
        ("status=closed", 1),
        (&format!("bot_id={BOT}"), 4),
        (&format!("bot_id={}", BOT.to_uppercase()), 4),
        (&format!("bot_id={BOT}&status=active"), 2),
        (&format!("bot_id={WITHOUT_AGENT}"), 0),
    ] {
        let page = parlor.get(COACH, &format!("{SESSIONS}?{query}")).await;
        assert_eq!(page.ok()["total"], total, "{query}");
        assert_eq!(page.body["sessions"].as_array().unwrap().len(), total);
    }
    let paused = parlor
        .get(COACH, &format!("{SESSIONS}?status=paused"))
        .await;
    assert_eq!(ids(&paused.ok()["sessions"]), [begun[2].clone()]);

    let page = parlor.get(COACH, &format!("{SESSIONS}?limit=1")).await;
    let cursor = page.ok()["next_cursor"].as_str().unwrap();
    for (user, query) in [
        (COACH, format!("status=active&cursor={cursor}")),
        (COACH, format!("bot_id={BOT}&cursor={cursor}")),
        (STAFF, format!("cursor={cursor}")),
    ] {
        let refused = parlor.get(user, &format!("{SESSIONS}?{query}")).await;
        refused.refused_at(SESSIONS, 400, "invalid_request");
        assert_eq!(refused.body["field"], "cursor", "{query}");
    }
}

#[tokio::test]
async fn a_last_message_is_cut_between_characters() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let list = parlor.get(COACH, SESSIONS).await;
    assert!(list.ok()["sessions"][0]["last_message"].is_null());
    parlor.create_message(COACH, &id, &"🎱".repeat(200)).await;
    let list = parlor.get(COACH, SESSIONS).await;
    let shown = &list.ok()["sessions"][0]["last_message"];
    assert_eq!(
        (&shown["content"], &shown["sender_type"]),
        (&json!("🎱".repeat(100)), &json!("user"))
    );
}

#[tokio::test]
async fn the_last_message_is_the_newest_with_text_even_if_a_reply_ends_later() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(STAFF).await;
    let last = async || {
        let list = parlor.get(STAFF, SESSIONS).await;
        list.ok()["sessions"][0]["last_message"].clone()
    };
    let chat = chat_of(&parlor).await;
    parlor.simulator.hold_after(0);
    let mut stream = parlor.stream(STAFF, chat, "[[sim:long:8]]问").await;
    let start = stream.expect("start").await;
    assert_eq!(last().await["id"], start.data["userMessageId"]);

    // The end of the reply waits for a transaction that is about to store a message.
    let mut meanwhile = parlor.db.acquire().await.unwrap();
    meanwhile.execute("begin").await.unwrap();
    sqlx::query("select from biz.ai_conversations where id = $1 for no key update")
        .bind(chat)
        .execute(&mut *meanwhile)
        .await
        .unwrap();
    parlor.simulator.release();
    until("the end waits for a lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    let newest: i64 = sqlx::query_scalar(
        "select message_id from send_session_message(1, $1, $2::uuid, '同时在别处问', 'text', null, null, 0, 100, row(0.6, 30000, 0, 1))",
    )
    .bind(STAFF)
    .bind(&id)
    .fetch_one(&mut *meanwhile)
    .await
    .unwrap();
    meanwhile.execute("commit").await.unwrap();
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
    let last = last().await;
    assert_eq!(
        (&last["id"], &last["content"]),
        (&json!(newest), &json!("同时在别处问"))
    );
}

/// The list must not run three queries for each row.
#[tokio::test]
async fn a_list_of_any_length_is_one_statement() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    let mut newest = String::new();
    for _ in 0..8 {
        newest = parlor.begin_session(COACH).await;
        parlor.create_message(COACH, &newest, "你好").await;
    }
    for path in [
        SESSIONS.to_owned(),
        format!("{SESSIONS}?limit=3&offset=2"),
        format!("{SESSIONS}/{newest}"),
        format!("{SESSIONS}/{newest}/messages"),
        format!("{SESSIONS}/{newest}/messages?limit=1"),
        "/api/chat/bots".to_owned(),
    ] {
        // A new connection of the pool must first prepare its statements.
        let mut fewest = usize::MAX;
        for _ in 0..5 {
            let before = wire.round_trips();
            parlor.get(COACH, &path).await.ok();
            fewest = fewest.min(wire.round_trips() - before);
        }
        assert_eq!(fewest, 1, "{path}");
    }
    let mut fewest = usize::MAX;
    for _ in 0..5 {
        let before = wire.round_trips();
        parlor.create_message(COACH, &newest, "你好").await;
        fewest = fewest.min(wire.round_trips() - before);
    }
    assert_eq!(
        fewest, 1,
        "the message and its job are stored in one statement"
    );
}
