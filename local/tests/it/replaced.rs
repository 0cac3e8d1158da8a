//! The last exchange is replaced: the question is answered again, or edited.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, terminal, text},
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup},
};

impl Parlor {
    fn again(&self, user: i64, chat: i64, body: &Value) -> reqwest::RequestBuilder {
        let path = format!("/api/xcx/chat/{chat}/regenerate");
        self.request_as(user, "POST", &path).json(body)
    }

    /// Asks the last question again. Returns all events.
    async fn regenerate(&self, user: i64, chat: i64, body: &Value) -> Vec<SseEvent> {
        let response = self.again(user, chat, body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream::new(response).rest().await
    }

    async fn refuse_to_regenerate(&self, user: i64, chat: i64) -> Answer {
        crate::harness::parlor::answer(self.again(user, chat, &json!({}))).await
    }

    /// Replaces the last question.
    async fn edit(&self, user: i64, chat: i64, message: &Value, content: &str) -> Answer {
        let body = json!({ "chatId": chat, "content": content, "edits": message });
        self.post(user, "/api/xcx/chat/stream", &body).await
    }

    async fn edit_to_end(&self, chat: i64, message: &Value, content: &str) -> Vec<SseEvent> {
        let body = json!({ "chatId": chat, "content": content, "edits": message });
        self.stream_body(COACH, &body).await.rest().await
    }
}

/// A conversation with two exchanges. Returns it and its four messages.
async fn conversation(parlor: &Parlor) -> (i64, Vec<Value>) {
    let chat = parlor.open(COACH, "t").await;
    parlor
        .stream_to_end(COACH, chat, "[[sim:echo]]第一问")
        .await;
    parlor
        .stream_to_end(COACH, chat, "[[sim:echo]]第二问")
        .await;
    (chat, parlor.messages(COACH, chat).await)
}

/// The id, role and content of messages.
fn shown(messages: &[Value]) -> Vec<[Value; 3]> {
    let fields = |message: &Value| ["id", "role", "content"].map(|name| message[name].clone());
    messages.iter().map(fields).collect()
}

#[tokio::test]
async fn the_last_question_is_answered_again_and_the_old_reply_is_in_no_list() {
    let parlor = Parlor::start().await;
    let (chat, before) = conversation(&parlor).await;
    let old = &before[3]["id"];
    let rate = format!("/api/xcx/chat/messages/{old}/feedback");
    parlor
        .call(COACH, "PUT", &rate, &json!({ "rating": "down" }))
        .await
        .ok();

    let events = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(events[0].data["userMessageId"], before[2]["id"]);
    assert_eq!(terminal(&events).name, "done");
    // The simulator repeats the prompt, which has the history now.
    let answer = text(&events);
    assert_ne!(json!(answer), before[3]["content"]);
    let new = &events[0].data["messageId"];
    assert_ne!(new, old);

    let after = parlor.messages(COACH, chat).await;
    assert_eq!(shown(&after[..3]), shown(&before[..3]));
    assert_eq!(
        shown(&after[3..]),
        [[new.clone(), json!("assistant"), json!(answer)]]
    );
    let page = parlor
        .get(COACH, &format!("/api/xcx/chat/{chat}/messages?order=desc"))
        .await;
    assert_eq!(
        (&page.ok()["total"], &page.body["items"][0]["id"]),
        (&json!(4), new)
    );
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    let item = &history.ok()["items"][0];
    assert_eq!(
        (&item["messageCount"], &item["lastMessage"]),
        (
            &json!(4),
            &json!(answer.chars().take(100).collect::<String>())
        )
    );
    let export = parlor.request_as(COACH, "GET", "/api/xcx/chat/export");
    let export: Value = export.send().await.unwrap().json().await.unwrap();
    assert_eq!(export["messages"].as_array().unwrap().len(), 4);

    // The prompt has the turns before the question, and no session.
    let calls = parlor.simulator.calls();
    let call = calls.last().unwrap();
    assert_eq!(call.session_id(), None);
    let prompt = call.prompt();
    assert_eq!(
        (
            prompt.matches("第一问").count(),
            prompt.matches("第二问").count()
        ),
        (2, 1),
        "{prompt}"
    );
    // The next question uses the new session again.
    parlor.stream_to_end(COACH, chat, "第三问").await;
    assert!(
        parlor
            .simulator
            .calls()
            .last()
            .unwrap()
            .session_id()
            .is_some()
    );

    // The old reply can still be read by its id, and its thumb still counts.
    let resumed = parlor.request_as(COACH, "GET", &format!("/api/xcx/chat/stream/{old}"));
    let resumed = EventStream::new(resumed.send().await.unwrap()).rest().await;
    assert_eq!(json!(text(&resumed)), before[3]["content"]);
    let thumbs: i64 = sqlx::query_scalar("select count(*) from biz.ai_feedback")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(thumbs, 1);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn an_edit_replaces_question_and_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let first = parlor
        .stream_to_end(COACH, chat, "[[sim:echo]]错别字")
        .await;
    let question = &first[0].data["userMessageId"];
    let events = parlor
        .edit_to_end(chat, question, "[[sim:echo]]改好了")
        .await;
    assert_eq!(terminal(&events).name, "done");
    assert_ne!(&events[0].data["userMessageId"], question);

    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["content"], "[[sim:echo]]改好了");
    assert_eq!(messages[1]["id"], events[0].data["messageId"]);
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    let item = &history.ok()["items"][0];
    assert_eq!(
        (&item["title"], &item["messageCount"]),
        (&json!("[[sim:echo]]改好了"), &json!(2))
    );
    let search = parlor
        .get(COACH, "/api/xcx/chat/search?q=%E9%94%99%E5%88%AB%E5%AD%97")
        .await;
    assert_eq!(search.ok()["items"], json!([]));

    // The edited message is the last one now, and the old one is not.
    parlor
        .edit(COACH, chat, question, "又改")
        .await
        .refused(409, "conflict");
    let edited = events[0].data["userMessageId"].clone();
    parlor.edit_to_end(chat, &edited, "[[sim:echo]]再改").await;
    let calls = parlor.simulator.calls();
    let prompt = calls.last().unwrap().prompt();
    assert!(
        !prompt.contains("错别字") && !prompt.contains("改好了"),
        "{prompt}"
    );
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_repeated_replacement_is_answered_and_billed_once() {
    let parlor = Parlor::start().await;
    let (chat, before) = conversation(&parlor).await;
    let calls = parlor.simulator.calls_count();
    let again = json!({ "clientMessageId": "again-1" });
    let first = parlor.regenerate(COACH, chat, &again).await;
    let second = parlor.regenerate(COACH, chat, &again).await;
    assert_eq!(first[0].data, second[0].data);
    assert_eq!(text(&first), text(&second));
    assert_eq!(parlor.simulator.calls_count(), calls + 1);
    // The id belongs to another kind of request.
    let body = json!({ "chatId": chat, "content": "第三问", "clientMessageId": "again-1" });
    let refused = parlor.post(COACH, "/api/xcx/chat/stream", &body).await;
    assert_eq!(
        refused.refused(422, "invalid_request")["field"],
        "clientMessageId"
    );

    let body = json!({
        "chatId": chat, "content": "[[sim:echo]]改", "edits": before[2]["id"], "clientMessageId": "edit-1",
    });
    let first = parlor.stream_body(COACH, &body).await.rest().await;
    let second = parlor.stream_body(COACH, &body).await.rest().await;
    assert_eq!(first[0].data, second[0].data);
    assert_eq!(parlor.simulator.calls_count(), calls + 2);
    let refused = parlor.again(COACH, chat, &json!({ "clientMessageId": "edit-1" }));
    crate::harness::parlor::answer(refused)
        .await
        .refused(422, "invalid_request");
    // The first regeneration is still found, although its reply is superseded.
    let repeated = parlor.regenerate(COACH, chat, &again).await;
    assert_eq!(terminal(&repeated).name, "done");
    assert_eq!(parlor.simulator.calls_count(), calls + 2);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn only_the_last_exchange_of_the_caller_is_replaced() {
    let parlor = Parlor::start().await;
    let (chat, messages) = conversation(&parlor).await;
    let before = shown(&messages);
    let id = |number: usize| &messages[number]["id"];
    parlor
        .edit(COACH, chat, &json!(999_999), "改")
        .await
        .refused(404, "not_found");
    let reply = parlor.edit(COACH, chat, id(3), "改").await;
    assert_eq!(reply.refused(422, "invalid_request")["field"], "edits");
    let zero = parlor.edit(COACH, chat, &json!(0), "改").await;
    assert_eq!(zero.refused(422, "invalid_request")["field"], "edits");
    parlor
        .edit(COACH, chat, id(0), "改")
        .await
        .refused(409, "conflict");
    let other = parlor.open(STAFF, "t").await;
    parlor
        .edit(STAFF, other, id(2), "改")
        .await
        .refused(403, "not_owner");
    let other = parlor.open(OTHER_SITE, "t").await;
    parlor
        .edit(OTHER_SITE, other, id(2), "改")
        .await
        .refused(404, "not_found");
    parlor
        .refuse_to_regenerate(STAFF, chat)
        .await
        .refused(403, "not_owner");
    parlor
        .refuse_to_regenerate(OTHER_SITE, chat)
        .await
        .refused(404, "not_found");
    let empty = parlor.open(COACH, "empty").await;
    parlor
        .refuse_to_regenerate(COACH, empty)
        .await
        .refused(409, "conflict");
    parlor
        .edit(COACH, empty, id(2), "改")
        .await
        .refused(409, "conflict");

    let path = format!("/api/admin/ai/messages/{}/block", id(2));
    parlor.post(1004, &path, &json!({})).await.ok();
    parlor
        .refuse_to_regenerate(COACH, chat)
        .await
        .refused(409, "conflict");
    let path = format!("/api/admin/ai/messages/{}/unblock", id(2));
    parlor.post(1004, &path, &json!({})).await.ok();

    let (mut stream, events) = parlor.stream_held(COACH, chat, "第三问", 1).await;
    let busy = parlor.refuse_to_regenerate(COACH, chat).await;
    assert_eq!(
        busy.refused(409, "busy")["messageId"],
        events[0].data["messageId"]
    );
    parlor.simulator.release();
    stream.rest().await;
    assert_eq!(shown(&parlor.messages(COACH, chat).await)[..4], before);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_refused_replacement_changes_nothing() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_RATE_PER_MINUTE", "3".to_owned())],
        ..Setup::default()
    })
    .await;
    let (chat, _) = conversation(&parlor).await;
    // A regeneration counts for the rate like a message.
    let events = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(terminal(&events).name, "done");
    let before = parlor.messages(COACH, chat).await;
    parlor
        .refuse_to_regenerate(COACH, chat)
        .await
        .refused(429, "rate_limited");
    parlor
        .edit(COACH, chat, &before[2]["id"], "改")
        .await
        .refused(429, "rate_limited");
    sqlx::query("update biz.ai_messages set created_at = created_at - interval '1 hour'")
        .execute(&parlor.db)
        .await
        .unwrap();
    sqlx::query(
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 0, 0)
                 on conflict (site_id) do update set daily_limit = 0",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor
        .refuse_to_regenerate(COACH, chat)
        .await
        .refused(429, "budget_exceeded");
    parlor
        .edit(COACH, chat, &before[2]["id"], "改")
        .await
        .refused(429, "budget_exceeded");
    assert_eq!(shown(&parlor.messages(COACH, chat).await), shown(&before));
}

#[tokio::test]
async fn a_failed_stopped_or_dead_reply_is_made_again() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.stream_to_end(COACH, chat, "第一问").await;
    parlor
        .begin_and_die(COACH, chat, "第二问", "说到一半")
        .await;
    let events = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(terminal(&events).name, "done");
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(
        (messages.len(), &messages[2]["content"]),
        (4, &json!("第二问"))
    );
    assert_eq!(messages[3]["id"], events[0].data["messageId"]);
    let calls = parlor.simulator.calls();
    assert!(!calls.last().unwrap().prompt().contains("说到一半"));

    let (mut stream, events) = parlor.stream_held(COACH, chat, "第三问", 2).await;
    let path = format!("/api/xcx/chat/stream/{}/stop", events[0].data["messageId"]);
    parlor.post(COACH, &path, &Value::Null).await;
    stream.rest().await;
    parlor.simulator.release();
    parlor
        .simulator
        .set_scenario(None, Some("fail-first".parse().unwrap()));
    let failed = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(terminal(&failed).name, "error");
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    assert_eq!(history.ok()["items"][0]["lastMessage"], "第三问");
    parlor.simulator.set_scenario(None, None);
    let whole = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(terminal(&whole).name, "done");
    assert_eq!(parlor.messages(COACH, chat).await.len(), 6);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_reply_of_a_bot_is_made_again() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    let question = parlor.create_message(COACH, &session, "你好").await;
    parlor.work().await;
    let chat: i64 =
        sqlx::query_scalar("select id from biz.ai_conversations where public_id::text = $1")
            .bind(&session)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    let old = parlor.messages(COACH, chat).await[1]["id"].clone();
    let events = parlor.regenerate(COACH, chat, &json!({})).await;
    assert_eq!(events[0].data["userMessageId"], question);
    let listed = parlor.session_messages(COACH, &session, "limit=10").await;
    let ids: Vec<_> = listed["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    assert_eq!(ids, [json!(question), events[0].data["messageId"].clone()]);
    // A superseded message is no place in the session.
    let path = format!("/api/chat/sessions/{session}/messages?before={old}");
    parlor
        .get(COACH, &path)
        .await
        .refused_at(&path, 400, "invalid_request");
    invariants::check_books(&parlor).await;
}
