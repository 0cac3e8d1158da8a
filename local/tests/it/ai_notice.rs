//! The label of AI texts, why a reply ended, and the notice about the AI.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, terminal},
    parlor::{COACH, OTHER_SITE, Parlor, Setup},
    routes::SITE_ADMIN,
};

const NOTICE: &str = "/api/xcx/ai-notice";
const LABEL: &str = "内容由 AI 生成，仅供参考";

/// Reads a reply again, from its start.
async fn resumed(parlor: &Parlor, message: &Value) -> Vec<SseEvent> {
    let path = format!("/api/xcx/chat/stream/{message}");
    let response = parlor.request_as(COACH, "GET", &path).send().await.unwrap();
    EventStream::new(response).rest().await
}

fn with_notice() -> Setup {
    let env = [
        ("AI_LABEL", "AI 生成"),
        (
            "AI_MODELS",
            "通义千问=ZheJiang-TongYiQianWen-20230901;内部模型=",
        ),
        ("AI_PROVIDER", "某某科技"),
        ("AI_AGREEMENT_URL", "https://example.com/agreement"),
        ("COMPLAINT_PHONE", "0571-8888 0000"),
        ("COMPLAINT_EMAIL", "help@example.com"),
        ("COMPLAINT_DAYS", "7"),
    ];
    Setup {
        env: env.map(|(name, value)| (name, value.to_owned())).to_vec(),
        ..Setup::default()
    }
}

#[tokio::test]
async fn the_first_and_the_last_event_have_the_label() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    let again = resumed(&parlor, &events[0].data["messageId"]).await;
    for events in [&events, &again] {
        assert_eq!(events[0].data["label"], LABEL);
        assert_eq!(terminal(events).data["label"], LABEL);
    }
}

#[tokio::test]
async fn only_messages_of_the_assistant_are_marked_as_generated() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let sent = parlor.send(COACH, chat, "你好").await;
    assert_eq!(sent.ok()["aiReply"]["aiGenerated"], true);
    assert_eq!(sent.body["aiReply"]["finishReason"], "stop");
    let messages = parlor.messages(COACH, chat).await;
    let marks: Vec<_> = messages.iter().map(|it| &it["aiGenerated"]).collect();
    assert_eq!(marks, [&json!(false), &json!(true)]);
}

#[tokio::test]
async fn the_end_says_why_the_model_stopped_also_after_a_resume() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    for (question, reason) in [
        ("你好", "stop"),
        ("[[sim:recorded:length-limit]]怎么跟进？", "length"),
    ] {
        let events = parlor.stream_to_end(COACH, chat, question).await;
        let again = resumed(&parlor, &events[0].data["messageId"]).await;
        for events in [&events, &again] {
            assert_eq!(terminal(events).data["finishReason"], reason);
        }
    }
}

#[tokio::test]
async fn a_stopped_reply_has_no_finish_reason_and_neither_has_an_older_one() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream(COACH, chat, "[[sim:echo]]停一下").await;
    let message = stream.expect("start").await.data["messageId"].clone();
    stream.expect("message").await;
    let stop = format!("/api/xcx/chat/stream/{message}/stop");
    parlor.post(COACH, &stop, &json!({})).await;
    let events = stream.rest().await;
    parlor.simulator.release();
    let stopped = &events.last().unwrap().data;
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(stopped["finishReason"], Value::Null);

    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    sqlx::query("update biz.ai_messages set is_cut = null")
        .execute(&parlor.db)
        .await
        .unwrap();
    let again = resumed(&parlor, &events[0].data["messageId"]).await;
    assert_eq!(terminal(&again).data["finishReason"], Value::Null);
}

#[tokio::test]
async fn a_deployment_without_a_notice_has_label_and_days() {
    let parlor = Parlor::start().await;
    let notice = parlor.get(COACH, NOTICE).await;
    assert_eq!(
        notice.ok(),
        &json!({
            "label": LABEL, "models": [], "provider": null, "agreementUrl": null,
            "complaint": { "phone": null, "email": null, "url": null, "days": 15 },
        })
    );
}

#[tokio::test]
async fn a_site_replaces_parts_of_the_notice_of_the_deployment() {
    let parlor = Parlor::start_with(with_notice()).await;
    let deployment = json!({
        "label": "AI 生成",
        "models": [
            { "name": "通义千问", "filingNumber": "ZheJiang-TongYiQianWen-20230901" },
            { "name": "内部模型", "filingNumber": null },
        ],
        "provider": "某某科技",
        "agreementUrl": "https://example.com/agreement",
        "complaint": { "phone": "0571-8888 0000", "email": "help@example.com", "url": null, "days": 7 },
    });
    assert_eq!(parlor.get(COACH, NOTICE).await.ok(), &deployment);

    sqlx::query(
        "insert into biz.ai_notices (site_id, models, complaint_url)
         values (1, '[{\"name\": \"通义千问\", \"filing_number\": \"B-1\"}]', 'https://example.com/help')",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let mut own = deployment.clone();
    own["models"] = json!([{ "name": "通义千问", "filingNumber": "B-1" }]);
    own["complaint"]["url"] = "https://example.com/help".into();
    assert_eq!(parlor.get(COACH, NOTICE).await.ok(), &own);
    assert_eq!(parlor.get(OTHER_SITE, NOTICE).await.ok(), &deployment);
}

#[tokio::test]
async fn a_row_that_clients_could_not_show_is_refused() {
    let parlor = Parlor::start().await;
    for values in [
        "'{\"name\": \"通义千问\"}', null, null",
        "'[\"通义千问\"]', null, null",
        "'[{\"name\": 1}]', null, null",
        "'[{\"filing_number\": \"B-1\"}]', null, null",
        "'[{\"name\": \"通义千问\", \"filing_number\": 1}]', null, null",
        "null, 'example.com', null",
        "null, null, 'help'",
    ] {
        let insert = format!(
            "insert into biz.ai_notices (site_id, models, agreement_url, complaint_email) values (1, {values})"
        );
        let refused = sqlx::query(sqlx::AssertSqlSafe(insert))
            .execute(&parlor.db)
            .await;
        let code = refused.unwrap_err().into_database_error().unwrap();
        assert_eq!(code.code().as_deref(), Some("23514"), "{values}");
    }
}

#[tokio::test]
async fn exports_have_the_label_of_the_deployment() {
    let parlor = Parlor::start_with(with_notice()).await;
    let chat = parlor.open(COACH, "t").await;
    let sent = parlor.send(COACH, chat, "你好").await;
    let reply = &sent.ok()["aiReply"]["id"];
    let path = format!("/api/xcx/chat/messages/{reply}/feedback");
    parlor
        .call(COACH, "PUT", &path, &json!({ "rating": "up" }))
        .await
        .ok();

    let export = parlor.request_as(COACH, "GET", "/api/xcx/chat/export");
    let export = export.send().await.unwrap().text().await.unwrap();
    let line: Value = serde_json::from_str(export.lines().next().unwrap()).unwrap();
    assert_eq!(line["messages"][0]["label"], Value::Null);
    assert_eq!(line["messages"][1]["label"], "AI 生成");

    let table = parlor
        .request_as(SITE_ADMIN, "GET", "/api/admin/ai/feedback")
        .header("accept", "text/csv");
    let table = table.send().await.unwrap().text().await.unwrap();
    assert!(table.ends_with(",AI 生成\r\n"), "{table}");
}
