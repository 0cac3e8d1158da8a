//! A question on a page: the ready results of the page are in its prompt, and its reply has a card.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, terminal},
    jobs::{SITE_ADMIN, consumption},
    parlor::{COACH, OTHER_SITE, Parlor, Setup},
    routes::MANAGER,
};

/// A member of site 1.
const MEMBER: i64 = 10_001;
const HEADING: &str = "[分析结果]\n";

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

impl Parlor {
    async fn make_results_of_member(&self) {
        self.trigger_accepted(&consumption(MEMBER, 1)).await;
        self.work_until_done().await;
    }

    async fn make_finance(&self) {
        let page = json!({ "sourcePage": "board-finance", "period": "this_month" });
        self.post(MANAGER, "/api/xcx/insights/refresh", &page).await;
        self.work_until_done().await;
    }

    async fn ask_on(&self, user: i64, chat: i64, page: &str, context: Value) -> Vec<SseEvent> {
        let body = json!({
            "chatId": chat, "content": "怎么样？", "sourcePage": page, "pageContext": context,
        });
        let events = self.stream_body(user, &body).await.rest().await;
        assert_eq!(terminal(&events).name, "done");
        events
    }

    async fn ask_about_member(&self, user: i64, chat: i64) -> Vec<SseEvent> {
        let context = json!({ "contextId": MEMBER });
        self.ask_on(user, chat, "customer-detail", context).await
    }

    fn last_prompt(&self) -> String {
        self.simulator.calls().last().unwrap().prompt().to_owned()
    }
}

/// The card of the last event. Null if there is none.
fn card(events: &[SseEvent]) -> &Value {
    &terminal(events).data["referenceCard"]
}

#[tokio::test]
async fn a_reply_about_a_member_has_the_card_of_the_analysis() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let page = format!("/api/xcx/insights?sourcePage=customer-detail&contextId={MEMBER}");
    let insights = parlor.get(COACH, &page).await;
    let analysis = &insights.ok()["items"][2];

    let chat = parlor.open(COACH, "t").await;
    let events = parlor.ask_about_member(COACH, chat).await;
    let expected = json!({
        "type": "insight",
        "title": analysis["result"]["strategies"][0]["title"],
        "summary": analysis["result"]["summary"],
        "data": {
            "insightId": analysis["id"],
            "app": "app7_customer_analysis",
            "target": analysis["target"],
        },
    });
    assert_eq!(card(&events), &expected);
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(messages[0]["referenceCard"], Value::Null);
    assert_eq!(messages[1]["referenceCard"], expected);
}

#[tokio::test]
async fn the_text_of_the_results_is_between_facts_and_question() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.ask_about_member(COACH, chat).await;
    let prompt = parlor.last_prompt();
    assert!(prompt.starts_with("[页面上下文: customer-detail]\n"));
    let (facts, rest) = prompt.split_once(HEADING).unwrap();
    assert!(facts.ends_with("\n\n"), "{prompt}");
    let (results, question) = rest.split_once("\n\n").unwrap();
    assert_eq!(question, "[当前问题]\n怎么样？");
    assert!(results.starts_with("【客户分析】\n- "), "{results}");
    assert!(results.contains("\n【线索汇总】\n- "), "{results}");
    assert!(results.chars().count() <= 2_000, "{results}");
}

#[tokio::test]
async fn long_results_are_cut_at_2000_characters() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    sqlx::query(
        "update biz.ai_cache set result_json = jsonb_set(result_json, '{summary}', to_jsonb(repeat('🎱', 5000)))
         where cache_type = 'app7_customer_analysis'",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.ask_about_member(COACH, chat).await;
    let prompt = parlor.last_prompt();
    let (_, results) = prompt.split_once(HEADING).unwrap();
    let (results, _) = results.split_once("\n\n[当前问题]").unwrap();
    assert_eq!(results.chars().count(), 2_000);
    assert!(results.ends_with("🎱…"));
    let summary = card(&events)["summary"].as_str().unwrap();
    assert_eq!(summary.chars().count(), 200);
}

#[tokio::test]
async fn the_card_is_repeated_by_a_resume_and_by_a_repeated_message() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({
        "chatId": chat, "content": "怎么样？", "clientMessageId": "m-1",
        "sourcePage": "customer-detail", "pageContext": { "contextId": MEMBER },
    });
    let first = parlor.stream_body(COACH, &body).await.rest().await;
    let expected = card(&first);
    assert_eq!(expected["type"], "insight");

    let repeated = parlor.stream_body(COACH, &body).await.rest().await;
    assert_eq!(card(&repeated), expected);
    let path = format!("/api/xcx/chat/stream/{}", first[0].data["messageId"]);
    let resumed = parlor.request_as(COACH, "GET", &path).send().await.unwrap();
    assert_eq!(card(&EventStream::new(resumed).rest().await), expected);
    let path = format!("/api/xcx/chat/{chat}/messages");
    let body = json!({ "content": "怎么样？", "clientMessageId": "m-1" });
    let whole = parlor.post(COACH, &path, &body).await;
    assert_eq!(&whole.ok()["aiReply"]["referenceCard"], expected);
}

#[tokio::test]
async fn finance_is_on_the_card_of_a_manager_only() {
    let parlor = parlor().await;
    parlor.make_finance().await;
    let chat = parlor.open(MANAGER, "t").await;
    let context = || json!({ "period": "this_month", "area": "all" });
    let events = parlor
        .ask_on(MANAGER, chat, "board-finance", context())
        .await;
    let data = &card(&events)["data"];
    assert_eq!(data["app"], "app2_finance");
    assert_eq!(
        data["target"],
        json!({ "type": "finance", "id": null, "period": "this_month", "area": "all" })
    );

    let chat = parlor.open(COACH, "t").await;
    let events = parlor.ask_on(COACH, chat, "board-finance", context()).await;
    assert_eq!(card(&events), &Value::Null);
    assert_eq!(parlor.last_prompt(), "怎么样？");
}

#[tokio::test]
async fn results_of_another_site_or_without_a_page_are_not_used() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(OTHER_SITE, "t").await;
    let events = parlor.ask_about_member(OTHER_SITE, chat).await;
    assert_eq!(card(&events), &Value::Null);
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "怎么样？").await;
    assert_eq!(card(&events), &Value::Null);
    assert!(!parlor.last_prompt().contains(HEADING));
}

#[tokio::test]
async fn only_ready_results_are_used() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    for change in [
        "update biz.ai_cache set status = 'invalidated' where cache_type = 'app7_customer_analysis'",
        "insert into biz.ai_apps (site_id, app_type, enabled) values (1, 'app8_clue_consolidated', false)",
        "insert into biz.ai_cache (site_id, cache_type, target_id, triggered_by, business_date, valid_days, lease_until)
         values (1, 'app3_clue', 'member:10001', 'event', current_date, 7, now() + interval '1 hour')",
    ] {
        assert_eq!(card(&parlor.ask_about_member(COACH, chat).await)["type"], "insight");
        sqlx::query(change).execute(&parlor.db).await.unwrap();
    }
    assert_eq!(
        card(&parlor.ask_about_member(COACH, chat).await),
        &Value::Null
    );
    assert!(!parlor.last_prompt().contains(HEADING));
}

#[tokio::test]
async fn a_blocked_reply_hides_its_card() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.ask_about_member(COACH, chat).await;
    let reply = &events[0].data["messageId"];
    let block = format!("/api/admin/ai/messages/{reply}/block");
    parlor.post(SITE_ADMIN, &block, &json!({})).await.ok();
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["referenceCard"],
        Value::Null
    );
    let path = format!("/api/xcx/chat/stream/{reply}");
    let resumed = parlor.request_as(COACH, "GET", &path).send().await.unwrap();
    assert_eq!(card(&EventStream::new(resumed).rest().await), &Value::Null);
}

#[tokio::test]
async fn a_reply_without_text_has_no_card() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    let body = json!({
        "chatId": chat, "content": "[[sim:inspection:3]]怎么样？",
        "sourcePage": "customer-detail", "pageContext": { "contextId": MEMBER },
    });
    let events = parlor.stream_body(COACH, &body).await.rest().await;
    assert_eq!(terminal(&events).name, "error");
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["referenceCard"],
        Value::Null
    );
}

#[tokio::test]
async fn a_question_that_is_edited_or_asked_again_gets_the_card_of_its_page() {
    let parlor = parlor().await;
    let chat = parlor.open(COACH, "t").await;
    let first = parlor.ask_about_member(COACH, chat).await;
    assert_eq!(card(&first), &Value::Null);
    parlor.make_results_of_member().await;
    let page = json!({ "sourcePage": "customer-detail", "pageContext": { "contextId": MEMBER } });

    let path = format!("/api/xcx/chat/{chat}/regenerate");
    let again = parlor.request_as(COACH, "POST", &path).json(&page);
    let again = EventStream::new(again.send().await.unwrap()).rest().await;
    assert_eq!(card(&again)["type"], "insight");

    let mut edit = page.clone();
    edit["chatId"] = chat.into();
    edit["content"] = "最近怎么样？".into();
    edit["edits"] = first[0].data["userMessageId"].clone();
    let edited = parlor.stream_body(COACH, &edit).await.rest().await;
    assert_eq!(card(&edited)["type"], "insight");
    let path = format!("/api/xcx/chat/{chat}/regenerate");
    let plain = parlor.request_as(COACH, "POST", &path).json(&json!({}));
    let plain = EventStream::new(plain.send().await.unwrap()).rest().await;
    assert_eq!(card(&plain), &Value::Null);
}

#[tokio::test]
async fn results_that_cannot_be_read_do_not_delay_or_fail_the_reply() {
    let parlor = parlor().await;
    parlor.make_results_of_member().await;
    let chat = parlor.open(COACH, "t").await;
    // The lock stops the reading of results, and not the reading of facts.
    #[expect(clippy::disallowed_methods, reason = "a lock needs a transaction")]
    let mut blocker = parlor.db.begin().await.unwrap();
    sqlx::query("lock table biz.ai_cache in access exclusive mode")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let events = parlor.ask_about_member(COACH, chat).await;
    assert_eq!(card(&events), &Value::Null);
    assert!(
        parlor
            .last_prompt()
            .starts_with("[页面上下文: customer-detail]\n")
    );
    assert!(!parlor.last_prompt().contains(HEADING));
    assert_eq!(parlor.last_run().await["error_code"], Value::Null);
    blocker.rollback().await.unwrap();
}
