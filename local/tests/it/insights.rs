//! Insights: which roles read which results, their states, and requests for missing ones.

use common::governance::apps::App;
use futures_util::future::join_all;
use reqwest::{StatusCode, header::ETAG};
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    jobs::{SITE_ADMIN, consumption},
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup, answer},
    routes::{MANAGER, OTHER_SITE_ADMIN},
};

/// A member of site 1.
const MEMBER: i64 = 10_001;

const INSIGHTS: &str = "/api/xcx/insights";
const REFRESH: &str = "/api/xcx/insights/refresh";
const FINANCE: &str = "/api/xcx/insights?sourcePage=board-finance&period=this_month&area=all";

impl Parlor {
    async fn insights(&self, user: i64, query: &str) -> Vec<Value> {
        let found = self.get(user, &format!("{INSIGHTS}?{query}")).await;
        found.ok()["items"].as_array().unwrap().clone()
    }

    async fn refresh(&self, user: i64, body: Value) -> Answer {
        self.post(user, REFRESH, &body).await
    }

    /// A request that queues a job. Returns the job's id.
    async fn refresh_accepted(&self, user: i64, body: Value) -> i64 {
        let accepted = self.refresh(user, body).await;
        assert_eq!(accepted.status, 202, "{}", accepted.body);
        assert_eq!(accepted.body["state"], "generating");
        accepted.body["jobId"].as_i64().unwrap()
    }
}

fn finance() -> Value {
    json!({ "sourcePage": "board-finance", "period": "this_month", "area": "all" })
}

/// App and state of each insight.
fn states(items: &[Value]) -> Vec<(&str, &str)> {
    items
        .iter()
        .map(|item| {
            (
                item["app"].as_str().unwrap(),
                item["state"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_manager_requests_missing_finance_and_reads_it() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let missing = parlor.get(MANAGER, FINANCE).await;
    let missing = missing.ok()["items"].as_array().unwrap();
    assert_eq!(
        states(missing),
        [
            ("app2_finance", "missing"),
            ("app2a_finance_area", "missing")
        ]
    );
    assert_eq!(missing[0]["result"], Value::Null);

    let job = parlor.refresh_accepted(MANAGER, finance()).await;
    assert_eq!(parlor.refresh_accepted(SITE_ADMIN, finance()).await, job);
    parlor.work_until_done().await;
    let ready = parlor.get(MANAGER, FINANCE).await;
    let ready = ready.ok()["items"].as_array().unwrap();
    assert_eq!(
        states(ready),
        [("app2_finance", "ready"), ("app2a_finance_area", "ready")]
    );
    let finance_insight = &ready[0];
    assert_eq!(
        finance_insight["target"],
        json!({ "type": "finance", "id": null, "period": "this_month", "area": "all" })
    );
    assert_eq!(finance_insight["title"], "经营洞察");
    assert_eq!(finance_insight["aiGenerated"], true);
    assert_eq!(finance_insight["promptVersion"], "app2_finance/1");
    assert!(finance_insight["result"]["insights"][0]["title"].is_string());
    assert!(finance_insight["expiresAt"].is_string());

    let nothing = parlor.refresh(MANAGER, finance()).await;
    assert_eq!(nothing.ok(), &json!({ "jobId": null, "state": "ready" }));
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn finance_is_for_managers_and_its_page_is_empty_for_others() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let by_name = "app=app2_finance&period=today";
    for user in [COACH, STAFF] {
        assert!(
            parlor
                .insights(user, "sourcePage=board-finance")
                .await
                .is_empty()
        );
        let refused = parlor.get(user, &format!("{INSIGHTS}?{by_name}")).await;
        refused.refused(403, "forbidden");
        let named = json!({ "app": "app2_finance", "period": "today" });
        parlor.refresh(user, named).await.refused(403, "forbidden");
        let page = parlor.refresh(user, finance()).await;
        assert_eq!(page.ok()["jobId"], Value::Null);
    }
    assert_eq!(parlor.insights(MANAGER, by_name).await.len(), 1);
}

#[tokio::test]
async fn a_coach_reads_the_strategies_after_a_member_paid() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor.trigger_accepted(&consumption(MEMBER, 1)).await;
    parlor.work_until_done().await;
    let page = format!("sourcePage=customer-detail&contextId={MEMBER}");
    let items = parlor.insights(COACH, &page).await;
    assert_eq!(
        states(&items),
        [
            ("app3_clue", "ready"),
            ("app8_clue_consolidated", "ready"),
            ("app7_customer_analysis", "ready")
        ]
    );
    assert!(items[2]["result"]["strategies"][0]["content"].is_string());
    assert_eq!(
        items[2]["target"],
        json!({ "type": "member", "id": MEMBER, "period": null, "area": null })
    );
}

#[tokio::test]
async fn another_sites_target_looks_like_an_unknown_one() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor.trigger_accepted(&consumption(MEMBER, 1)).await;
    parlor.work_until_done().await;
    let of = |member: i64| format!("app=app7_customer_analysis&memberId={member}");
    let foreign = parlor.insights(OTHER_SITE_ADMIN, &of(MEMBER)).await;
    let unknown = parlor.insights(OTHER_SITE_ADMIN, &of(99_999)).await;
    assert_eq!(states(&foreign), [("app7_customer_analysis", "missing")]);
    assert_eq!(states(&unknown), states(&foreign));
    for member in [MEMBER, 99_999] {
        let body = json!({ "app": "app7_customer_analysis", "memberId": member });
        let refused = parlor.refresh(OTHER_SITE, body).await;
        refused.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_result_is_shown_as_stale_while_a_newer_one_is_generated() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor.refresh_accepted(MANAGER, finance()).await;
    parlor.work_until_done().await;
    parlor
        .execute(
            "insert into biz.ai_cache (site_id, cache_type, target_id, triggered_by, job_id, business_date, valid_days, lease_until)
             values (1, 'app2_finance', 'this_month:all', 'event', 77, site_today(1), 0, now() + interval '30 seconds')",
        )
        .await;
    let items = parlor.insights(MANAGER, "sourcePage=board-finance").await;
    assert_eq!(
        states(&items),
        [
            ("app2_finance", "generating"),
            ("app2a_finance_area", "ready")
        ]
    );
    assert_eq!(items[0]["stale"], true);
    assert!(items[0]["result"].is_object());
    let running = parlor.refresh_accepted(MANAGER, finance()).await;
    assert_eq!(running, 77);
}

#[tokio::test]
async fn a_failed_job_is_shown_until_the_insight_is_requested_again() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let body = json!({ "app": "app3_clue", "memberId": MEMBER });
    let query = format!("app=app3_clue&memberId={MEMBER}");
    let prose = Some("bad-json".parse().unwrap());
    parlor.simulator.set_scenario(Some("app3_clue"), prose);
    let job = parlor.refresh_accepted(COACH, body.clone()).await;
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "failed");
    let failed = parlor.insights(COACH, &query).await;
    assert_eq!(states(&failed), [("app3_clue", "failed")]);
    assert_eq!(failed[0]["detail"], "上次生成失败，请重新生成");

    parlor.simulator.set_scenario(Some("app3_clue"), None);
    parlor.refresh_accepted(COACH, body).await;
    assert_eq!(
        states(&parlor.insights(COACH, &query).await),
        [("app3_clue", "missing")]
    );
    parlor.work_until_done().await;
    assert_eq!(
        states(&parlor.insights(COACH, &query).await),
        [("app3_clue", "ready")]
    );
}

#[tokio::test]
async fn an_app_without_an_application_id_is_disabled() {
    let parlor = Parlor::with_business(Setup {
        app_ids: vec![(App::Chat.variable(), "app1_chat")],
        ..Setup::default()
    })
    .await;
    let items = parlor.insights(MANAGER, "sourcePage=board-finance").await;
    assert_eq!(
        states(&items),
        [
            ("app2_finance", "disabled"),
            ("app2a_finance_area", "disabled")
        ]
    );
    let nothing = parlor.refresh(MANAGER, finance()).await;
    assert_eq!(nothing.ok(), &json!({ "jobId": null, "state": "disabled" }));
    // The site's row counts, too.
    parlor
        .sql("insert into biz.ai_apps (site_id, app_type, application_id) values (1, 'app2_finance', 'app2_finance')")
        .await;
    let items = parlor.insights(MANAGER, "sourcePage=board-finance").await;
    assert_eq!(
        states(&items),
        [
            ("app2_finance", "missing"),
            ("app2a_finance_area", "disabled")
        ]
    );
    parlor.sql("update biz.ai_apps set enabled = false").await;
    let items = parlor.insights(MANAGER, "sourcePage=board-finance").await;
    assert_eq!(states(&items)[0], ("app2_finance", "disabled"));
}

#[tokio::test]
async fn only_managers_force_and_read_the_history() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let body = json!({ "app": "app3_clue", "memberId": MEMBER });
    let forced = json!({ "app": "app3_clue", "memberId": MEMBER, "force": true });
    parlor.refresh_accepted(COACH, body).await;
    parlor.work_until_done().await;
    parlor
        .refresh(COACH, forced.clone())
        .await
        .refused(403, "forbidden");
    parlor.refresh_accepted(MANAGER, forced).await;
    parlor.work_until_done().await;
    let items = parlor
        .insights(COACH, &format!("app=app3_clue&memberId={MEMBER}"))
        .await;
    let path = format!("{INSIGHTS}/{}/history", items[0]["id"]);
    let history = parlor.get(MANAGER, &path).await;
    let history = history.ok()["items"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["id"], items[0]["id"]);
    assert_eq!(
        (&history[0]["stale"], &history[1]["stale"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn an_etag_saves_the_body_but_not_the_authorization() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let first = parlor.get(MANAGER, FINANCE).await;
    first.ok();
    let etag = first.headers[ETAG].clone();
    let again = parlor
        .request_as(MANAGER, "GET", FINANCE)
        .header("if-none-match", &etag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.headers()[ETAG], etag);
    assert!(again.bytes().await.unwrap().is_empty());

    let path = format!("{INSIGHTS}?app=app2_finance&period=today");
    let coach = parlor.request_as(COACH, "GET", &path);
    answer(coach.header("if-none-match", "*"))
        .await
        .refused(403, "forbidden");
    parlor.refresh_accepted(MANAGER, finance()).await;
    parlor.work_until_done().await;
    let changed = parlor.request_as(MANAGER, "GET", FINANCE);
    let changed = answer(changed.header("if-none-match", &etag)).await;
    assert_ne!(changed.headers[ETAG], etag);
    changed.ok();
}

#[tokio::test]
async fn a_user_starts_at_most_six_jobs_a_minute_even_at_once() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let periods = [
        "today",
        "yesterday",
        "this_week",
        "last_week",
        "this_month",
        "last_month",
        "last_3_months",
        "last_6_months",
    ];
    // Not all at once: the connections of eight transactions would be opened together.
    let mut answers = Vec::new();
    for periods in periods.chunks(4) {
        let requests = periods.iter().map(|period| {
            parlor.refresh(
                MANAGER,
                json!({ "app": "app2a_finance_area", "period": period }),
            )
        });
        answers.extend(join_all(requests).await);
    }
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 6, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        refused.refused(429, "rate_limited");
    }
    // A request that finds the job of an earlier one starts no job.
    let period = periods[answers
        .iter()
        .position(|answer| answer.status == 202)
        .unwrap()];
    let again = json!({ "app": "app2a_finance_area", "period": period });
    parlor.refresh_accepted(MANAGER, again).await;
}

#[tokio::test]
async fn without_budget_nothing_is_queued() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 0 where site_id = 1")
        .await;
    let refused = parlor.refresh(MANAGER, finance()).await;
    refused.refused(429, "budget_exceeded");
    let jobs: i64 = sqlx::query_scalar("select count(*) from biz.ai_trigger_jobs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn invalid_requests_are_refused_by_field() {
    let parlor = Parlor::start().await;
    let long = "长".repeat(65);
    for (query, field) in [
        ("", "sourcePage"),
        ("sourcePage=home", "sourcePage"),
        ("sourcePage=board-finance&app=app3_clue", "app"),
        ("sourcePage=board-finance&period=tomorrow", "period"),
        (&format!("sourcePage=board-finance&area={long}"), "area"),
        ("sourcePage=customer-detail", "contextId"),
        ("sourcePage=customer-detail&contextId=x", "contextId"),
        ("app=app1_chat", "app"),
        ("app=app9", "app"),
        ("app=app2_finance", "period"),
        ("app=app3_clue", "memberId"),
        ("app=app3_clue&memberId=0", "memberId"),
        ("app=app4_analysis&memberId=1&taskId=1", "memberId"),
        ("app=app6_note_analysis", "noteId"),
    ] {
        let refused = parlor.get(MANAGER, &format!("{INSIGHTS}?{query}")).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    for (body, field) in [
        (json!({}), "sourcePage"),
        (json!({ "app": "app3_clue", "memberId": -1 }), "memberId"),
        (json!({ "app": "app3_clue", "memberId": "x" }), "memberId"),
        (
            json!({ "app": "app2_finance", "period": "today", "area": "a\u{0}" }),
            "area",
        ),
        (
            json!({ "app": "app3_clue", "memberId": 1, "force": "yes" }),
            "force",
        ),
    ] {
        let refused = parlor.refresh(MANAGER, body.clone()).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            field,
            "{body}"
        );
    }
}

#[tokio::test]
async fn page_facts_follow_the_same_rules() {
    let parlor = Parlor::with_business(Setup::default()).await;
    for (user, page, context, has_facts) in [
        (COACH, "board-finance", json!({}), false),
        (MANAGER, "board-finance", json!({}), true),
        (COACH, "board-coach", json!({}), false),
        (COACH, "coach-detail", json!({ "contextId": 1002 }), false),
        (COACH, "coach-detail", json!({ "contextId": COACH }), true),
        (COACH, "performance", json!({}), true),
        (
            COACH,
            "customer-detail",
            json!({ "contextId": MEMBER }),
            true,
        ),
    ] {
        let chat = parlor.open(user, page).await;
        let body = json!({ "chatId": chat, "content": "怎么样？", "sourcePage": page, "pageContext": context });
        parlor.stream_body(user, &body).await.rest().await;
        let calls = parlor.simulator.calls();
        let prompt = calls.last().unwrap().prompt().to_owned();
        assert_eq!(
            prompt.starts_with("[页面上下文: "),
            has_facts,
            "{user} {page}: {prompt}"
        );
    }
}
