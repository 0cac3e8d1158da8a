//! Feedback of users on insights.

use reqwest::{StatusCode, header::ETAG};
use serde_json::{Value, json};

use crate::harness::{
    jobs::{SITE_ADMIN, consumption},
    parlor::{Answer, COACH, Parlor, STAFF, Setup, answer},
    routes::{MANAGER, OTHER_SITE_ADMIN},
};

const MEMBER: i64 = 10_001;
const ANALYSIS: &str = "/api/xcx/insights?app=app7_customer_analysis&memberId=10001";
const FINANCE: &str = "/api/xcx/insights?sourcePage=board-finance&period=this_month";

impl Parlor {
    async fn rate_insight(&self, user: i64, id: &Value, body: &Value) -> Answer {
        let path = format!("/api/xcx/insights/{id}/feedback");
        self.call(user, "PUT", &path, body).await
    }

    /// The first insight of a list.
    async fn insight(&self, user: i64, path: &str) -> Value {
        self.get(user, path).await.ok()["items"][0].clone()
    }
}

async fn with_analysis() -> (Parlor, Value) {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor.trigger_accepted(&consumption(MEMBER, 1)).await;
    parlor.work_until_done().await;
    let id = parlor.insight(COACH, ANALYSIS).await["id"].clone();
    (parlor, id)
}

#[tokio::test]
async fn an_insight_is_rated_and_only_its_user_sees_the_rating() {
    let (parlor, id) = with_analysis().await;
    assert_eq!(
        parlor.insight(COACH, ANALYSIS).await["feedback"],
        Value::Null
    );
    let body = json!({ "rating": "down", "reasons": ["inaccurate"], "comment": "不对" });
    for _ in 0..2 {
        let rated = parlor.rate_insight(COACH, &id, &body).await;
        assert_eq!(rated.ok(), &body);
    }
    let down = json!({ "rating": "down" });
    assert_eq!(parlor.insight(COACH, ANALYSIS).await["feedback"], down);
    assert_eq!(
        parlor.insight(STAFF, ANALYSIS).await["feedback"],
        Value::Null
    );

    let up = json!({ "rating": "up" });
    parlor.rate_insight(MANAGER, &id, &up).await.ok();
    let history = format!("/api/xcx/insights/{id}/history");
    assert_eq!(parlor.insight(MANAGER, &history).await["feedback"], up);

    parlor
        .rate_insight(COACH, &id, &json!({ "rating": null }))
        .await
        .ok();
    assert_eq!(
        parlor.insight(COACH, ANALYSIS).await["feedback"],
        Value::Null
    );
}

#[tokio::test]
async fn own_feedback_changes_the_etag_of_the_list() {
    let (parlor, id) = with_analysis().await;
    let list = async |user: i64, etag: Option<&str>| {
        let request = parlor.request_as(user, "GET", ANALYSIS);
        let request = match etag {
            Some(etag) => request.header("if-none-match", etag),
            None => request,
        };
        let response = request.send().await.unwrap();
        let etag = response.headers()[ETAG].to_str().unwrap().to_owned();
        (response.status(), etag)
    };
    let (_, own) = list(COACH, None).await;
    let (_, others) = list(STAFF, None).await;
    parlor
        .rate_insight(COACH, &id, &json!({ "rating": "up" }))
        .await
        .ok();
    assert_eq!(list(COACH, Some(&own)).await.0, StatusCode::OK);
    assert_eq!(list(STAFF, Some(&others)).await.0, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn feedback_and_reports_follow_the_access_to_results() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let page = json!({ "sourcePage": "board-finance", "period": "this_month" });
    parlor
        .post(MANAGER, "/api/xcx/insights/refresh", &page)
        .await;
    parlor.work_until_done().await;
    let finance = parlor.insight(MANAGER, FINANCE).await["id"].clone();
    let up = json!({ "rating": "up" });
    let report =
        |id: &Value| json!({ "subjectType": "insight", "subjectId": id, "reason": "inaccurate" });
    let reports = "/api/xcx/reports";

    parlor.rate_insight(MANAGER, &finance, &up).await.ok();
    parlor
        .post(MANAGER, reports, &report(&finance))
        .await
        .created();
    for user in [COACH, STAFF] {
        let refused = parlor.rate_insight(user, &finance, &up).await;
        refused.refused(403, "forbidden");
        let refused = parlor.post(user, reports, &report(&finance)).await;
        refused.refused(403, "forbidden");
    }
    let unknown = json!(999_999);
    for (user, id) in [(OTHER_SITE_ADMIN, &finance), (MANAGER, &unknown)] {
        let refused = parlor.rate_insight(user, id, &up).await;
        refused.refused(404, "not_found");
        let refused = parlor.post(user, reports, &report(id)).await;
        refused.refused(404, "not_found");
    }
    let invalid = parlor
        .rate_insight(MANAGER, &finance, &json!({ "rating": "sideways" }))
        .await;
    assert_eq!(invalid.refused(422, "invalid_request")["field"], "rating");
}

#[tokio::test]
async fn a_result_that_is_still_generated_has_no_feedback() {
    let (parlor, _) = with_analysis().await;
    let id: i64 = sqlx::query_scalar(
        "insert into biz.ai_cache (site_id, cache_type, target_id, triggered_by, business_date, valid_days, lease_until)
         values (1, 'app4_analysis', 'task:7', 'event', current_date, 7, now() + interval '1 hour') returning id",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    let refused = parlor
        .rate_insight(COACH, &id.into(), &json!({ "rating": "up" }))
        .await;
    refused.refused(404, "not_found");
}

#[tokio::test]
async fn admins_see_the_result_and_the_run_of_the_feedback() {
    let (parlor, id) = with_analysis().await;
    parlor
        .rate_insight(COACH, &id, &json!({ "rating": "up" }))
        .await
        .ok();
    let page = parlor.get(SITE_ADMIN, "/api/admin/ai/feedback").await;
    let item = &page.ok()["items"][0];
    assert_eq!(
        [
            &item["subject_type"],
            &item["subject_id"],
            &item["app_type"],
            &item["prompt_version"]
        ],
        [
            &json!("insight"),
            &id,
            &json!("app7_customer_analysis"),
            &json!("app7_customer_analysis/1")
        ]
    );
    assert!(item["answer"].as_str().unwrap().contains("strategies"));
    assert!(item["question"].as_str().unwrap().contains("事实"));
    assert!(item["run_id"].is_i64());
}

#[tokio::test]
async fn feedback_needs_a_database_and_is_refused_as_a_whole_without_it() {
    let (parlor, id) = with_analysis().await;
    // A commit that fails leaves no part of the feedback.
    sqlx::raw_sql(
        "create function biz.fail() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = '57P01'; end $$;
         create constraint trigger fail after insert on biz.ai_feedback deferrable initially deferred
             for each row execute function biz.fail();",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let path = format!("/api/xcx/insights/{id}/feedback");
    let body = json!({ "rating": "up" });
    let failed = answer(parlor.request_as(COACH, "PUT", &path).json(&body)).await;
    failed.refused(503, "unavailable");
    let stored: i64 = sqlx::query_scalar("select count(*) from biz.ai_feedback")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(stored, 0);
    sqlx::raw_sql("drop trigger fail on biz.ai_feedback")
        .execute(&parlor.db)
        .await
        .unwrap();
    parlor.rate_insight(COACH, &id, &body).await.ok();
}
