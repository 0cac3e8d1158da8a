//! Reports of users, answers of admins, and blocked messages.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, terminal, text},
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    sessions::MANAGER,
};

const OWN: &str = "/api/xcx/reports";
const LIST: &str = "/api/admin/ai/reports";
const HIDDEN: &str = "该内容已被屏蔽";

/// Asks in a conversation about a task. Returns the conversation, and the ids of message and reply.
async fn ask(parlor: &Parlor, task: &str, content: &str) -> (i64, Value, Value) {
    let chat = parlor.open(COACH, task).await;
    let sent = parlor.send(COACH, chat, content).await;
    let id = |name: &str| sent.ok()[name]["id"].clone();
    (chat, id("userMessage"), id("aiReply"))
}

impl Parlor {
    async fn report(&self, user: i64, message: &Value, text: &str) -> Answer {
        let body = json!({
            "subjectType": "message", "subjectId": message, "reason": "illegal", "text": text,
        });
        self.post(user, OWN, &body).await
    }

    /// `verb` is `block` or `unblock`.
    async fn block(&self, admin: i64, message: &Value, verb: &str) -> Answer {
        let path = format!("/api/admin/ai/messages/{message}/{verb}");
        self.post(admin, &path, &json!({})).await
    }

    async fn audit_entries(&self) -> Vec<Value> {
        let page = self.get(SITE_ADMIN, "/api/admin/ai/audit").await;
        let items = page.ok()["items"].as_array().unwrap().iter();
        items
            .map(|item| json!([item["action"], item["object_id"]]))
            .collect()
    }
}

#[tokio::test]
async fn a_report_is_answered_by_an_admin() {
    let parlor = Parlor::start().await;
    let (_, _, reply) = ask(&parlor, "t", "你好").await;
    let reported = parlor.report(COACH, &reply, " 内容违规 ").await;
    let id = &reported.created()["reportId"];
    let days: i64 = sqlx::query_scalar(
        "select round(extract(epoch from $1::timestamptz - now()) / 86400)::int8",
    )
    .bind(reported.body["dueAt"].as_str().unwrap())
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(days, 15);

    let listed = parlor.get(SITE_ADMIN, &format!("{LIST}?state=open")).await;
    let item = &listed.ok()["items"][0];
    assert_eq!(
        (&item["id"], &item["user_id"], &item["state"], &item["text"]),
        (id, &json!(COACH), &json!("open"), &json!("内容违规"))
    );
    assert_eq!(
        (&item["subject_type"], &item["subject_id"], &item["reason"]),
        (&json!("message"), &reply, &json!("illegal"))
    );
    assert!(item["content"].as_str().unwrap().contains("阿杰"));

    let path = format!("{LIST}/{id}/resolve");
    let resolved = parlor
        .post(SITE_ADMIN, &path, &json!({ "answer": "已处理" }))
        .await;
    assert_eq!(
        (&resolved.ok()["state"], &resolved.body["answer"]),
        (&json!("resolved"), &json!("已处理"))
    );
    let again = parlor
        .post(SITE_ADMIN, &path, &json!({ "answer": "再次" }))
        .await;
    again.refused_at(&path, 409, "conflict");
    let open = parlor.get(SITE_ADMIN, &format!("{LIST}?state=open")).await;
    assert_eq!(open.ok()["total"], 0);

    let own = parlor.get(COACH, OWN).await;
    let item = &own.ok()["items"][0];
    assert_eq!(
        (
            &item["reportId"],
            &item["state"],
            &item["answer"],
            &item["text"]
        ),
        (id, &json!("resolved"), &json!("已处理"), &json!("内容违规"))
    );
    assert!(item["resolvedAt"].is_string() && item["dueAt"] == reported.body["dueAt"]);
    assert_eq!(own.body["nextCursor"], json!(null));
    assert_eq!(parlor.get(STAFF, OWN).await.ok()["items"], json!([]));
    assert_eq!(
        parlor.audit_entries().await,
        [json!(["report.resolve", id.to_string()])]
    );
}

#[tokio::test]
async fn only_a_text_that_the_caller_may_read_is_reported() {
    let parlor = Parlor::start().await;
    let (_, _, reply) = ask(&parlor, "t", "你好").await;
    parlor
        .report(STAFF, &reply, "x")
        .await
        .refused(403, "not_owner");
    parlor
        .report(OTHER_SITE, &reply, "x")
        .await
        .refused(404, "not_found");
    for (app, target) in [("app3_clue", "member:10001"), ("app2_finance", "today:all")] {
        let id: i64 = sqlx::query_scalar(
            "insert into biz.ai_cache (site_id, cache_type, target_id, status, triggered_by, business_date, valid_days, result_json, expires_at)
             values (1, $1, $2, 'valid', 'event', current_date, 7, '{}', now() + interval '1 day') returning id",
        )
        .bind(app)
        .bind(target)
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let body = json!({ "subjectType": "insight", "subjectId": id, "reason": "inaccurate" });
        let of_coach = parlor.post(COACH, OWN, &body).await;
        if app == "app2_finance" {
            of_coach.refused(403, "forbidden");
        } else {
            of_coach.created();
        }
        parlor.post(MANAGER, OWN, &body).await.created();
        parlor
            .post(OTHER_SITE, OWN, &body)
            .await
            .refused(404, "not_found");
    }
    for (body, field) in [
        (json!({}), "subjectType"),
        (
            json!({ "subjectType": "chat", "subjectId": 1, "reason": "other" }),
            "subjectType",
        ),
        (
            json!({ "subjectType": "message", "reason": "other" }),
            "subjectId",
        ),
        (
            json!({ "subjectType": "message", "subjectId": 0, "reason": "other" }),
            "subjectId",
        ),
        (
            json!({ "subjectType": "message", "subjectId": reply }),
            "reason",
        ),
        (
            json!({ "subjectType": "message", "subjectId": reply, "reason": "rude" }),
            "reason",
        ),
        (
            json!({ "subjectType": "message", "subjectId": reply, "reason": "other", "text": "长".repeat(2_001) }),
            "text",
        ),
    ] {
        let refused = parlor.post(COACH, OWN, &body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
}

#[tokio::test]
async fn overdue_reports_come_first_on_every_page() {
    let parlor = Parlor::start().await;
    let mut ids = Vec::new();
    for task in ["a", "b", "c", "d"] {
        let (_, _, reply) = ask(&parlor, task, "你好").await;
        let reported = parlor.report(COACH, &reply, "x").await;
        ids.push(reported.created()["reportId"].clone());
    }
    sqlx::query("update biz.ai_reports set due_at = now() - interval '1 day' where id = any ($1)")
        .bind([ids[0].as_i64().unwrap(), ids[1].as_i64().unwrap()])
        .execute(&parlor.db)
        .await
        .unwrap();
    let path = format!("{LIST}/{}/resolve", ids[1]);
    parlor
        .post(SITE_ADMIN, &path, &json!({ "answer": "已处理" }))
        .await
        .ok();

    let mut found = Vec::new();
    let mut path = format!("{LIST}?page_size=1");
    loop {
        let page = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(page.ok()["total"], 4);
        found.push(page.body["items"][0]["id"].clone());
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("{LIST}?page_size=1&cursor={cursor}");
    }
    assert_eq!(
        found,
        [&ids[0], &ids[3], &ids[2], &ids[1]].map(Clone::clone)
    );
    let other = parlor.get(OTHER_SITE_ADMIN, LIST).await;
    assert_eq!(other.ok()["total"], 0);
    let all = parlor.get(PLATFORM_ADMIN, LIST).await;
    assert_eq!(all.ok()["total"], 4);
}

#[tokio::test]
async fn a_blocked_reply_is_hidden_everywhere_until_it_is_unblocked() {
    let parlor = Parlor::start().await;
    let (chat, _, reply) = ask(&parlor, "t", "[[sim:echo]]秘密配方").await;
    let rate = format!("/api/xcx/chat/messages/{reply}/feedback");
    parlor
        .call(COACH, "PUT", &rate, &json!({ "rating": "down" }))
        .await
        .ok();
    let original = parlor.messages(COACH, chat).await[1]["content"].clone();
    for _ in 0..2 {
        let blocked = parlor.block(SITE_ADMIN, &reply, "block").await;
        assert_eq!(blocked.ok(), &json!({ "id": reply, "blocked": true }));
    }
    let listed = parlor.messages(COACH, chat).await;
    assert_eq!(
        (
            &listed[1]["content"],
            &listed[1]["blocked"],
            &listed[1]["status"]
        ),
        (&json!(HIDDEN), &json!(true), &json!("complete"))
    );
    assert_eq!(listed[0]["blocked"], json!(false));
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    assert_eq!(history.ok()["items"][0]["lastMessage"], HIDDEN);
    for after in ["", "?after=3", "?after=100000"] {
        let path = format!("/api/xcx/chat/stream/{reply}{after}");
        let response = parlor.request_as(COACH, "GET", &path).send().await.unwrap();
        let events = EventStream::new(response).rest().await;
        assert_eq!(
            (text(&events), &*terminal(&events).name),
            (HIDDEN.to_owned(), "done")
        );
    }
    let export = parlor.request_as(COACH, "GET", "/api/xcx/chat/export");
    let export: Value = export.send().await.unwrap().json().await.unwrap();
    assert_eq!(export["messages"][1]["content"], HIDDEN);
    let search = parlor
        .get(
            COACH,
            "/api/xcx/chat/search?q=%E7%A7%98%E5%AF%86%E9%85%8D%E6%96%B9",
        )
        .await;
    assert_eq!(
        search.ok()["items"].as_array().unwrap().len(),
        1,
        "the question"
    );
    let feedback = parlor.get(SITE_ADMIN, "/api/admin/ai/feedback").await;
    assert_eq!(feedback.ok()["items"][0]["answer"], HIDDEN);

    parlor.send(COACH, chat, "继续").await.ok();
    let calls = parlor.simulator.calls();
    let last = calls.last().unwrap();
    assert_eq!(last.session_id(), None, "the session is dropped");
    assert!(!last.prompt().contains(HIDDEN));
    assert_eq!(
        last.prompt().matches("秘密配方").count(),
        1,
        "{}",
        last.prompt()
    );

    for _ in 0..2 {
        let unblocked = parlor.block(SITE_ADMIN, &reply, "unblock").await;
        assert_eq!(unblocked.ok(), &json!({ "id": reply, "blocked": false }));
    }
    assert_eq!(parlor.messages(COACH, chat).await[1]["content"], original);
    let id = reply.to_string();
    assert_eq!(
        parlor.audit_entries().await,
        [json!(["message.unblock", id]), json!(["message.block", id])]
    );
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_blocked_first_question_also_hides_the_title() {
    let parlor = Parlor::start().await;
    let (chat, question, _) = ask(&parlor, "t", "秘密配方").await;
    parlor.block(SITE_ADMIN, &question, "block").await.ok();
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    assert_eq!(history.ok()["items"][0]["title"], HIDDEN);
    assert_eq!(parlor.messages(COACH, chat).await[0]["content"], HIDDEN);
    parlor.block(SITE_ADMIN, &question, "unblock").await.ok();
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    assert_eq!(history.ok()["items"][0]["title"], "秘密配方");
}

#[tokio::test]
async fn a_message_of_a_bot_is_blocked_by_the_answer_to_a_report() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    let messages = parlor.session_messages(COACH, &session, "limit=1").await;
    let reply = messages["messages"][0]["id"].clone();
    let reported = parlor.report(COACH, &reply, "x").await;
    let path = format!("{LIST}/{}/resolve", reported.created()["reportId"]);
    let body = json!({ "answer": "已屏蔽", "block": true });
    parlor.post(SITE_ADMIN, &path, &body).await.ok();
    let messages = parlor.session_messages(COACH, &session, "limit=1").await;
    assert_eq!(messages["messages"][0]["content"], HIDDEN);
    let sessions = parlor.get(COACH, "/api/chat/sessions").await;
    assert_eq!(
        sessions.ok()["sessions"][0]["last_message"]["content"],
        HIDDEN
    );
    assert_eq!(parlor.audit_entries().await.len(), 2);
}

#[tokio::test]
async fn a_reply_in_progress_is_not_blocked_and_drops_its_session_for_an_earlier_block() {
    let parlor = Parlor::start().await;
    let (chat, _, first) = ask(&parlor, "t", "你好").await;
    let (mut stream, events) = parlor.stream_held(COACH, chat, "第二问", 1).await;
    let second = &events[0].data["messageId"];
    let path = format!("/api/admin/ai/messages/{second}/block");
    let busy = parlor.block(SITE_ADMIN, second, "block").await;
    busy.refused_at(&path, 409, "busy");
    parlor.block(SITE_ADMIN, &first, "block").await.ok();
    parlor.simulator.release();
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
    parlor.send(COACH, chat, "第三问").await.ok();
    let calls = parlor.simulator.calls();
    assert_eq!(calls.last().unwrap().session_id(), None);
    parlor.send(COACH, chat, "第四问").await.ok();
    let calls = parlor.simulator.calls();
    assert!(calls.last().unwrap().session_id().is_some());
}

#[tokio::test]
async fn a_report_on_a_deleted_conversation_keeps_its_dates_and_loses_its_text() {
    let parlor = Parlor::start().await;
    let (chat, _, reply) = ask(&parlor, "t", "你好").await;
    let reported = parlor.report(COACH, &reply, "内容违规").await;
    let id = reported.created()["reportId"].clone();
    let request = parlor.request_as(COACH, "DELETE", &format!("/api/xcx/chat/{chat}"));
    assert_eq!(request.send().await.unwrap().status(), 204);
    let own = parlor.get(COACH, OWN).await;
    let item = &own.ok()["items"][0];
    assert_eq!(
        (&item["text"], &item["reason"], &item["dueAt"]),
        (&json!(null), &json!("illegal"), &reported.body["dueAt"])
    );
    let listed = parlor.get(SITE_ADMIN, LIST).await;
    assert_eq!(listed.ok()["items"][0]["content"], json!(null));
    let body = json!({ "answer": "已处理", "block": true });
    parlor
        .post(SITE_ADMIN, &format!("{LIST}/{id}/resolve"), &body)
        .await
        .ok();
}
