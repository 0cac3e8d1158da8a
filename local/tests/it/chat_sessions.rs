//! The session API: conversations with bots.

mod idempotency;
mod listing;
mod reading;
mod refusals;
mod sending;

use serde_json::{Value, json};

use crate::harness::{
    jobs::PLATFORM_ADMIN,
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, answer},
    sessions::{BOT, GRANTED, MANAGER, OTHER_SITES, SESSIONS, ids},
};

/// The names of an object's fields.
fn members(object: &Value) -> Vec<&str> {
    let members = object.as_object().unwrap().keys();
    members.map(String::as_str).collect()
}

const SESSION: [&str; 13] = [
    "bot",
    "bot_id",
    "channel_type",
    "created_at",
    "id",
    "last_active_at",
    "message_count",
    "primary_agent_id",
    "status",
    "title",
    "unread_count",
    "updated_at",
    "user_id",
];

#[tokio::test]
async fn a_whole_conversation() {
    let parlor = Parlor::start().await;
    let bots = parlor.get(COACH, "/api/chat/bots").await;
    let bots = bots.ok()["bots"].as_array().unwrap().clone();
    let bot = json!({ "id": BOT, "name": "xiaotai", "display_name": "小台", "avatar": null, "status": "active" });
    assert!(bots.contains(&bot), "{bots:?}");

    let body = json!({ "bot_id": BOT });
    let begun = parlor.post(COACH, SESSIONS, &body).await;
    let session = &begun.created()["session"];
    assert_eq!(members(&begun.body), ["message", "session"]);
    assert_eq!(members(session), SESSION);
    assert_eq!(session["bot"], bot);
    for (name, value) in [
        ("user_id", json!(COACH)),
        ("bot_id", json!(BOT)),
        (
            "primary_agent_id",
            json!("00000000-0000-4000-8000-00000000a001"),
        ),
        ("title", json!("Chat with 小台")),
        ("channel_type", json!("api")),
        ("status", json!("active")),
        ("message_count", json!(0)),
        ("unread_count", json!(0)),
    ] {
        assert_eq!(session[name], value, "{name}");
    }
    let id = session["id"].as_str().unwrap();

    // The message is stored, and a reply is queued.
    let sent = parlor.post_message(COACH, id, " 今天谁最忙？ ").await;
    let message = &sent.created()["message"];
    let question = message["id"].as_i64().unwrap();
    assert_eq!(sent.body["session_id"], id);
    let mut expected = json!({
        "id": question, "session_id": id, "sender_type": "user", "sender_id": "1001", "sender_name": "阿杰", "bot_id": BOT,
        "message_type": "text", "content": "今天谁最忙？", "content_type": "markdown", "references": [], "reply_to": null, "status": "sent",
        "ack_status": "pending", "created_at": message["created_at"],
    });
    assert_eq!(*message, expected);
    let page = parlor.session_messages(COACH, id, "").await;
    assert_eq!(
        page,
        json!({ "messages": [expected], "count": 1, "has_more": false })
    );
    let job: Value = sqlx::query_scalar("select to_jsonb(j) from biz.ai_trigger_jobs j")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(
        (&job["event_type"], &job["status"], &job["message_id"]),
        (
            &json!("chat.session_message"),
            &json!("pending"),
            &json!(question)
        )
    );

    // The reply arrives unread.
    parlor.reply(question, "complete", "阿豪，七桌。").await;
    let news = parlor
        .session_messages(COACH, id, &format!("after={question}"))
        .await;
    assert_eq!(
        (&news["count"], &news["has_more"]),
        (&json!(1), &json!(false))
    );
    let reply = &news["messages"][0];
    assert_eq!(
        *reply,
        json!({
            "id": reply["id"], "session_id": id, "sender_type": "bot", "sender_id": BOT, "sender_name": "小台", "bot_id": BOT,
            "message_type": "text", "content": "阿豪，七桌。", "content_type": "markdown", "references": [], "reply_to": question,
            "status": "delivered", "ack_status": "pending", "created_at": reply["created_at"],
        })
    );
    expected["ack_status"] = "acked".into();
    assert_eq!(
        parlor.session_messages(COACH, id, "").await["messages"][0],
        expected
    );

    let list = parlor.get(COACH, SESSIONS).await;
    let listed = &list.ok()["sessions"][0];
    assert_eq!(
        members(&list.body),
        ["limit", "next_cursor", "offset", "sessions", "total"]
    );
    assert_eq!(
        (&listed["message_count"], &listed["unread_count"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        listed["last_message"],
        json!({ "id": reply["id"], "content": "阿豪，七桌。", "sender_type": "bot", "created_at": reply["created_at"] })
    );
    let read = parlor.mark_read(COACH, id).await;
    assert_eq!(*read.ok(), json!({ "session_id": id, "marked_read": 1 }));
    let reply = &parlor.session_messages(COACH, id, "").await["messages"][1];
    assert_eq!(
        (&reply["status"], &reply["ack_status"]),
        (&json!("read"), &json!("acked"))
    );
    assert_eq!(parlor.session(COACH, id).await["unread_count"], 0);
}

#[tokio::test]
async fn a_session_is_renamed_paused_resumed_and_closed() {
    let parlor = Parlor::start().await;
    let id = &parlor.begin_session(COACH).await;
    parlor.create_message(COACH, id, "你好").await;
    let path = format!("{SESSIONS}/{id}");
    let change = json!({ "title": " 排班 ", "status": "paused" });
    let changed = parlor.call(COACH, "PATCH", &path, &change).await;
    let changed = &changed.ok()["session"];
    assert_eq!(members(changed), SESSION);
    assert_eq!(
        (&changed["title"], &changed["status"]),
        (&json!("排班"), &json!("paused"))
    );
    let refused = parlor.post_message(COACH, id, "还有").await;
    refused.refused_at(&path, 400, "invalid_request");
    assert_eq!(refused.body["error"], "Session is paused");
    let change = json!({ "status": "active" });
    let changed = parlor.call(COACH, "PATCH", &path, &change).await;
    assert_eq!(changed.ok()["session"]["title"], "排班");
    parlor.create_message(COACH, id, "还有").await;
    for _ in 0..2 {
        let closed = answer(parlor.request_as(COACH, "DELETE", &path)).await;
        assert_eq!(
            *closed.ok(),
            json!({ "session_id": id, "status": "closed", "message": "Session closed" })
        );
    }
    let refused = parlor.post_message(COACH, id, "还在吗").await;
    refused.refused_at(&path, 400, "invalid_request");
    assert_eq!(refused.body["error"], "Session is closed");
    parlor
        .call(COACH, "PATCH", &path, &change)
        .await
        .refused_at(&path, 409, "conflict");
    // The messages are kept.
    assert_eq!(parlor.session_messages(COACH, id, "").await["count"], 2);
    assert_eq!(parlor.session(COACH, id).await["status"], "closed");
}

#[tokio::test]
async fn a_change_without_effect_keeps_the_update_time() {
    let parlor = Parlor::start().await;
    let id = &parlor.begin_session(COACH).await;
    let path = format!("{SESSIONS}/{id}");
    let before = parlor.session(COACH, id).await;
    for nothing in [
        json!({}),
        json!({ "title": null, "status": null }),
        json!({ "title": before["title"], "status": "active" }),
    ] {
        let same = parlor.call(COACH, "PATCH", &path, &nothing).await;
        assert_eq!(same.ok()["session"], before, "{nothing}");
    }
    for change in [json!({ "title": "排班" }), json!({ "status": "paused" })] {
        let changed = parlor.call(COACH, "PATCH", &path, &change).await;
        assert_ne!(changed.ok()["session"]["updated_at"], before["updated_at"]);
    }
    // An empty change of a closed session is an error, too.
    answer(parlor.request_as(COACH, "DELETE", &path)).await.ok();
    parlor
        .call(COACH, "PATCH", &path, &json!({}))
        .await
        .refused_at(&path, 409, "conflict");
}

#[tokio::test]
async fn a_user_sees_only_usable_bots() {
    let parlor = Parlor::start().await;
    // The other bots are disabled, without an agent, or of another site.
    let anybody = [BOT];
    for (user, more) in [
        (COACH, None),
        (STAFF, None),
        (MANAGER, Some(GRANTED)),
        (OTHER_SITE, Some(OTHER_SITES)),
    ] {
        let bots = parlor.get(user, "/api/chat/bots").await;
        let mut found = ids(&bots.ok()["bots"]);
        let mut expected: Vec<Value> = anybody.into_iter().chain(more).map(Value::from).collect();
        found.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(found, expected, "{user}");
    }
    // A grant applies to one bot only.
    let granted = parlor.begin_session_with(MANAGER, GRANTED).await;
    assert_eq!(
        parlor.session(MANAGER, &granted).await["title"],
        "Chat with 店长助手"
    );
    let admin = parlor.get(PLATFORM_ADMIN, "/api/chat/bots").await;
    admin.refused_at("/api/chat", 403, "forbidden");
}

#[tokio::test]
async fn a_bot_without_a_display_name_uses_its_name() {
    let parlor = Parlor::start().await;
    parlor
        .execute("update biz.bots set display_name = null where name = 'xiaotai'")
        .await;
    let id = parlor.begin_session(COACH).await;
    let session = parlor.session(COACH, &id).await;
    assert_eq!(session["title"], "Chat with xiaotai");
    assert_eq!(session["bot"]["display_name"], "xiaotai");
}

#[tokio::test]
async fn the_mini_program_lists_a_session_as_a_chat_of_a_bot() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let question = parlor.create_message(COACH, &id, "你好").await;
    parlor.reply(question, "complete", "你好！").await;
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    let item = &history.ok()["items"][0];
    assert_eq!(
        (
            &item["contextType"],
            &item["contextId"],
            &item["unreadCount"]
        ),
        (&json!("bot"), &json!(BOT), &json!(1))
    );
    let chat = item["id"].as_i64().unwrap();
    assert_eq!(parlor.messages(COACH, chat).await.len(), 2);
}
