//! Feedback of users on replies, and what admins see of it.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{Answer, COACH, Parlor, STAFF},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const LIST: &str = "/api/admin/ai/feedback";

impl Parlor {
    async fn rate(&self, user: i64, message: &Value, body: &Value) -> Answer {
        let path = format!("/api/xcx/chat/messages/{message}/feedback");
        self.call(user, "PUT", &path, body).await
    }
}

/// Asks in a conversation about a task. Returns the ids of the message and of its reply.
async fn ask(parlor: &Parlor, user: i64, task: &str, content: &str) -> (Value, Value) {
    let chat = parlor.open(user, task).await;
    let sent = parlor.send(user, chat, content).await;
    let id = |name: &str| sent.ok()[name]["id"].clone();
    (id("userMessage"), id("aiReply"))
}

#[tokio::test]
async fn a_reply_is_rated_and_the_rating_is_replaced_and_removed() {
    let parlor = Parlor::start().await;
    let (_, reply) = ask(&parlor, COACH, "t", "你好").await;
    let chat = parlor.open(COACH, "t").await;
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["feedback"],
        json!(null)
    );

    for _ in 0..2 {
        let rated = parlor.rate(COACH, &reply, &json!({ "rating": "up" })).await;
        assert_eq!(
            rated.ok(),
            &json!({ "rating": "up", "reasons": [], "comment": null })
        );
    }
    let body = json!({
        "rating": "down", "reasons": ["unhelpful", "other", "other"], "comment": " 答非所问 ",
    });
    let rated = parlor.rate(COACH, &reply, &body).await;
    assert_eq!(
        rated.ok(),
        &json!({ "rating": "down", "reasons": ["unhelpful", "other"], "comment": "答非所问" })
    );
    let listed = parlor.messages(COACH, chat).await;
    assert_eq!(listed[0]["feedback"], json!(null));
    assert_eq!(listed[1]["feedback"], json!({ "rating": "down" }));

    for _ in 0..2 {
        let removed = parlor.rate(COACH, &reply, &json!({ "rating": null })).await;
        assert_eq!(removed.ok()["rating"], json!(null));
    }
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["feedback"],
        json!(null)
    );
    let left: i64 = sqlx::query_scalar("select count(*) from biz.ai_feedback")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn invalid_feedback_is_refused_with_its_field() {
    let parlor = Parlor::start().await;
    let (message, reply) = ask(&parlor, COACH, "t", "你好").await;
    for (body, field) in [
        (json!({}), "rating"),
        (json!({ "rating": "sideways" }), "rating"),
        (json!({ "rating": 1 }), "rating"),
        (json!({ "rating": "down", "reasons": ["rude"] }), "reasons"),
        (json!({ "rating": "down", "reasons": "other" }), "reasons"),
        (
            json!({ "rating": "up", "comment": "字".repeat(2_001) }),
            "comment",
        ),
        (json!({ "rating": "up", "comment": "a\0" }), "comment"),
    ] {
        let refused = parlor.rate(COACH, &reply, &body).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
    let up = json!({ "rating": "up" });
    let own_message = parlor.rate(COACH, &message, &up).await;
    own_message.refused(404, "not_found");
    let unknown = parlor.rate(COACH, &json!(999_999), &up).await;
    unknown.refused(404, "not_found");
}

#[tokio::test]
async fn admins_see_feedback_with_question_answer_and_run() {
    let parlor = Parlor::start().await;
    let (_, first) = ask(&parlor, COACH, "t", "今天先做什么？").await;
    let run = parlor.last_run().await;
    parlor
        .rate(COACH, &first, &json!({ "rating": "up" }))
        .await
        .ok();
    let session = parlor.begin_session(STAFF).await;
    parlor.create_message(STAFF, &session, "谁最忙？").await;
    parlor.work().await;
    let bot_run = parlor.last_run().await;
    let messages = parlor.session_messages(STAFF, &session, "limit=1").await;
    let second = &messages["messages"][0]["id"];
    let body = json!({ "rating": "down", "reasons": ["inaccurate"], "comment": "不对" });
    parlor.rate(STAFF, second, &body).await.ok();

    let page = parlor.get(SITE_ADMIN, LIST).await;
    let page = page.ok();
    assert_eq!(
        (
            &page["total"],
            &page["total_is_estimate"],
            &page["next_cursor"]
        ),
        (&json!(2), &json!(false), &json!(null))
    );
    let [down, up] = [&page["items"][0], &page["items"][1]];
    assert_eq!(
        (&down["subject_type"], &down["subject_id"], &down["user_id"]),
        (&json!("message"), second, &json!(STAFF))
    );
    assert_eq!(
        (&down["rating"], &down["reasons"], &down["comment"]),
        (&json!("down"), &json!(["inaccurate"]), &json!("不对"))
    );
    assert_eq!(
        (&down["question"], &down["run_id"], &down["prompt_version"]),
        (
            &json!("谁最忙？"),
            &bot_run["id"],
            &bot_run["prompt_version"]
        )
    );
    assert_eq!(down["answer"], bot_run["response_text"]);
    assert_eq!(
        (&up["question"], &up["answer"], &up["run_id"]),
        (&json!("今天先做什么？"), &run["response_text"], &run["id"])
    );
    assert_eq!(up["app_type"], "app1_chat");

    let version = run["prompt_version"].as_str().unwrap();
    for (filter, count) in [
        ("rating=down", 1),
        ("app_type=app1_chat", 2),
        ("app_type=app3_clue", 0),
        (&*format!("prompt_version={version}"), 2),
        ("prompt_version=none", 0),
        ("date_from=2020-01-01&date_to=2020-01-02", 0),
    ] {
        let page = parlor.get(SITE_ADMIN, &format!("{LIST}?{filter}")).await;
        assert_eq!(page.ok()["total"], count, "{filter}");
        assert_eq!(
            page.body["items"].as_array().unwrap().len(),
            count,
            "{filter}"
        );
    }
    let other = parlor.get(OTHER_SITE_ADMIN, LIST).await;
    assert_eq!(other.ok()["total"], 0);
    let all = parlor.get(PLATFORM_ADMIN, LIST).await;
    assert_eq!(all.ok()["total"], 2);
    let refused = parlor.get(SITE_ADMIN, &format!("{LIST}?rating=so")).await;
    refused.refused_at(LIST, 422, "invalid_request");

    let dashboard = parlor.get(SITE_ADMIN, "/api/admin/ai/dashboard").await;
    assert_eq!(
        dashboard.ok()["thumbs"],
        json!([{ "app_type": "app1_chat", "prompt_version": version, "up": 1, "down": 1 }])
    );
    let dashboard = parlor
        .get(OTHER_SITE_ADMIN, "/api/admin/ai/dashboard")
        .await;
    assert_eq!(dashboard.ok()["thumbs"], json!([]));
}

#[tokio::test]
async fn pages_of_feedback_are_followed_by_cursor() {
    let parlor = Parlor::start().await;
    for task in 0..3 {
        let (_, reply) = ask(&parlor, COACH, &format!("t{task}"), "你好").await;
        parlor
            .rate(COACH, &reply, &json!({ "rating": "up" }))
            .await
            .ok();
    }
    let first = parlor.get(SITE_ADMIN, &format!("{LIST}?page_size=2")).await;
    let cursor = first.ok()["next_cursor"].as_str().unwrap();
    let second = parlor
        .get(SITE_ADMIN, &format!("{LIST}?page_size=2&cursor={cursor}"))
        .await;
    let rest = second.ok()["items"].as_array().unwrap();
    assert_eq!((rest.len(), &second.body["next_cursor"]), (1, &json!(null)));
    let of_other_filter = parlor
        .get(SITE_ADMIN, &format!("{LIST}?rating=up&cursor={cursor}"))
        .await;
    of_other_filter.refused_at(LIST, 422, "invalid_request");
}

#[tokio::test]
async fn the_table_of_feedback_carries_the_label_in_its_last_column() {
    let parlor = Parlor::start().await;
    let (_, reply) = ask(&parlor, COACH, "t", "=1+1").await;
    let body = json!({ "rating": "down", "reasons": ["unsafe", "other"] });
    parlor.rate(COACH, &reply, &body).await.ok();
    let table = parlor
        .request_as(SITE_ADMIN, "GET", LIST)
        .header("accept", "text/csv")
        .send()
        .await
        .unwrap();
    assert_eq!(table.status(), 200);
    assert_eq!(table.headers()["content-type"], "text/csv; charset=utf-8");
    let table = table.text().await.unwrap();
    // The answer has several lines.
    let (head, row) = table.split_once("\r\n").unwrap();
    assert!(head.ends_with(",created_at,label"), "{table}");
    assert!(row.contains(",down,unsafe other,,1001,"), "{table}");
    assert!(row.contains(",'=1+1,"), "{table}");
    assert!(row.ends_with(",内容由 AI 生成，仅供参考\r\n"), "{table}");

    let paged = parlor
        .request_as(SITE_ADMIN, "GET", &format!("{LIST}?page=1"))
        .header("accept", "text/csv")
        .send()
        .await
        .unwrap();
    assert_eq!(paged.status(), 422);
}
