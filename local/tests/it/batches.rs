//! Batches for many members: estimates, confirmation exactly once, and progress.

use crate::harness::sweep;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, column},
    parlor::{Answer, Parlor, Setup, answer},
};

const BATCHES: &str = "/api/admin/ai/batches";

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

fn batch(app_types: &[&str], member_ids: &[i64]) -> Value {
    json!({ "app_types": app_types, "member_ids": member_ids })
}

impl Parlor {
    async fn estimate(&self, body: &Value) -> Answer {
        self.post(SITE_ADMIN, &format!("{BATCHES}/estimate"), body)
            .await
    }

    /// Estimates a batch. Returns its id for the confirmation.
    async fn estimated(&self, app_types: &[&str], member_ids: &[i64]) -> String {
        let answer = self.estimate(&batch(app_types, member_ids)).await;
        answer.ok()["batch_id"].as_str().unwrap().to_owned()
    }

    /// Calls `confirm` or `cancel`.
    async fn have(&self, user: i64, what: &str, id: &str) -> Answer {
        let path = format!("{BATCHES}/{id}/{what}?site_id=1");
        answer(self.request_as(user, "POST", &path)).await
    }

    async fn confirm(&self, id: &str) -> Answer {
        self.have(SITE_ADMIN, "confirm", id).await
    }

    async fn cancel(&self, id: &str) -> Answer {
        self.have(SITE_ADMIN, "cancel", id).await
    }

    async fn batch(&self, id: &str) -> Value {
        let found = self.get(SITE_ADMIN, &format!("{BATCHES}/{id}")).await;
        found.ok().clone()
    }

    async fn batch_jobs(&self) -> Vec<Value> {
        sqlx::query_scalar(
            "select to_jsonb(j) from biz.ai_trigger_jobs j where event_type = 'batch' order by id",
        )
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    async fn audits(&self) -> Vec<Value> {
        sqlx::query_scalar("select to_jsonb(a) from biz.ai_admin_audit a order by id")
            .fetch_all(&self.db)
            .await
            .unwrap()
    }
}

#[track_caller]
fn progress(batch: &Value, status: &str, counts: [i64; 4]) {
    let [total, done, failed, cancelled] = counts;
    assert_eq!(
        (&batch["status"], &batch["progress"]),
        (
            &json!(status),
            &json!({ "total": total, "done": done, "failed": failed, "cancelled": cancelled })
        )
    );
}

#[tokio::test]
async fn a_batch_estimate_uses_the_recent_cost_of_its_apps() {
    let parlor = parlor().await;
    // 1,500 per success of app3_clue. Other sites, apps without a success, and days before the last
    // 30 are ignored.
    parlor
        .execute(
            "insert into biz.ai_usage_daily (site_id, day, app_type, calls, successes, tokens, reserved_tokens) values
             (1, local_day('Asia/Shanghai'), 'app3_clue', 3, 2, 4000, 500),
             (1, local_day('Asia/Shanghai') - 29, 'app3_clue', 2, 2, 2000, 0),
             (1, local_day('Asia/Shanghai') - 30, 'app3_clue', 1, 1, 90000, 0),
             (2, local_day('Asia/Shanghai'), 'app3_clue', 1, 1, 90000, 0),
             (1, local_day('Asia/Shanghai'), 'app4_analysis', 1, 0, 2000, 0)",
        )
        .await;
    parlor.sum_up_usage_days().await;
    let estimate = parlor
        .estimate(&batch(
            &["app4_analysis", "app3_clue"],
            &[10_001, 10_002, 10_003],
        ))
        .await;
    let estimate = estimate.ok();
    assert_eq!(estimate["estimated_calls"], 6);
    assert_eq!(estimate["estimated_tokens"], 3 * 1_500 + 3 * 2_000);
    assert_eq!(estimate["budget_left"], 1_000_000 - 6_500);
    let minutes: f64 = sqlx::query_scalar(
        "select extract(epoch from expires_at - created_at)::float8 / 60 from biz.ai_batches",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!((9.9..10.1).contains(&minutes), "{minutes}");

    // The rest of the month may be smaller than the rest of the day. Neither is negative.
    for (daily, monthly, left) in [
        (9_000, 1_000_000, 2_500),
        (6_000, 1_000_000, 0),
        (1_000_000, 6_000, 0),
    ] {
        sqlx::query(
            "update biz.ai_budgets set daily_limit = $1, monthly_limit = $2 where site_id = 1",
        )
        .bind(daily)
        .bind(monthly)
        .execute(&parlor.db)
        .await
        .unwrap();
        let estimate = parlor.estimate(&batch(&["app3_clue"], &[10_001])).await;
        assert_eq!(estimate.ok()["budget_left"], left);
    }
    let shown = parlor.batch(estimate["batch_id"].as_str().unwrap()).await;
    progress(&shown, "estimated", [6, 0, 0, 0]);
    assert_eq!(shown["app_types"], json!(["app3_clue", "app4_analysis"]));
    assert_eq!(
        (
            &shown["created_by"],
            &shown["confirmed_at"],
            &shown["site_id"]
        ),
        (&json!(SITE_ADMIN), &Value::Null, &json!(1))
    );
    let audits = parlor.audits().await;
    assert_eq!(column(&audits, "action"), ["batch.estimate"; 4]);
    assert_eq!(audits[0]["object_id"], estimate["batch_id"]);
}

#[tokio::test]
async fn an_invalid_batch_is_refused_by_field() {
    let parlor = parlor().await;
    let many: Vec<i64> = (1..=2_001).collect();
    let clue = &["app3_clue"][..];
    for (body, field) in [
        (json!({ "member_ids": [10_001] }), "app_types"),
        (json!({ "app_types": clue }), "member_ids"),
        (
            json!({ "app_types": "app3_clue", "member_ids": [10_001] }),
            "app_types",
        ),
        (
            json!({ "app_types": clue, "member_ids": [10_001, "x"] }),
            "member_ids[1]",
        ),
        (batch(&[], &[10_001]), "app_types"),
        (batch(&["app2_finance"], &[10_001]), "app_types"),
        (batch(&["app6_note_analysis"], &[10_001]), "app_types"),
        (batch(&["app3_clue", "app3_clue"], &[10_001]), "app_types"),
        (batch(clue, &[]), "member_ids"),
        (batch(clue, &[0]), "member_ids"),
        (batch(clue, &[10_001, 10_001]), "member_ids"),
        (batch(clue, &many), "member_ids"),
        // A member of another site, and an unknown member.
        (batch(clue, &[10_001, 20_001]), "member_ids"),
        (batch(clue, &[i64::MAX]), "member_ids"),
    ] {
        let refused = parlor.estimate(&body).await;
        let error = refused.refused_at(BATCHES, 422, "invalid_request");
        assert_eq!(error["field"], field);
    }
    let path = format!("{BATCHES}/estimate");
    let mut body = batch(clue, &[10_001]);
    let refused = parlor.post(PLATFORM_ADMIN, &path, &body).await;
    let error = refused.refused_at(BATCHES, 422, "invalid_request");
    assert_eq!(error["field"], "site_id");
    body["site_id"] = json!(4_711);
    parlor
        .post(PLATFORM_ADMIN, &path, &body)
        .await
        .refused_at(BATCHES, 404, "not_found");
    assert_eq!(parlor.audits().await, [] as [Value; 0]);
}

#[tokio::test]
async fn an_estimate_can_be_confirmed_in_another_process() {
    let parlor = parlor().await;
    let id = parlor.estimated(&["app3_clue"], &[10_001, 10_002]).await;
    let elsewhere = Parlor::start_with(Setup {
        database: Some(Arc::clone(&parlor.database)),
        ..Setup::default()
    })
    .await;
    let confirmed = elsewhere.confirm(&id).await;
    assert_eq!(confirmed.status, 202, "{}", confirmed.body);
    assert_eq!(
        confirmed.body,
        json!({ "batch_id": id, "status": "running", "jobs": 2 })
    );
    parlor.work_until_done().await;
    assert_eq!(parlor.simulator.calls_count(), 2);
    let entries = parlor.entries().await;
    assert_eq!(column(&entries, "triggered_by"), ["batch"; 2]);
    progress(&parlor.batch(&id).await, "done", [2, 2, 0, 0]);
}

#[tokio::test]
async fn a_batch_runs_each_app_after_its_dependencies() {
    let parlor = parlor().await;
    // Valid results are generated again even so.
    parlor.member_paid(10_001, 1).await;
    parlor.work_until_done().await;
    let before = parlor.simulator.calls_count();
    let apps = [
        "app5_tactics",
        "app7_customer_analysis",
        "app4_analysis",
        "app8_clue_consolidated",
        "app3_clue",
    ];
    let id = parlor.estimated(&apps, &[10_001, 10_002]).await;
    parlor.confirm(&id).await;
    progress(&parlor.batch(&id).await, "running", [10, 0, 0, 0]);
    let jobs = parlor.batch_jobs().await;
    assert_eq!(column(&jobs, "member_id"), [10_001, 10_002]);
    for job in &jobs {
        for (name, value) in [
            ("connector_type", json!("batch")),
            ("trigger_type", json!("batch")),
            ("is_forced", json!(true)),
            ("batch_id", json!(id)),
            ("site_id", json!(1)),
        ] {
            assert_eq!(job[name], value, "{name}");
        }
    }
    parlor.work_until_done().await;
    let runs = parlor.runs(jobs[0]["id"].as_i64().unwrap()).await;
    assert_eq!(
        column(&runs, "app_type"),
        [
            "app3_clue",
            "app8_clue_consolidated",
            "app7_customer_analysis",
            "app4_analysis",
            "app5_tactics"
        ]
    );
    assert_eq!(column(&runs, "trigger_type"), ["batch"; 5]);
    assert_eq!(parlor.simulator.calls_count(), before + 10);
    progress(&parlor.batch(&id).await, "done", [10, 10, 0, 0]);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn twenty_concurrent_confirmations_run_a_batch_once() {
    let parlor = parlor().await;
    let members = [10_001, 10_002, 10_003];
    let id = parlor.estimated(&["app3_clue"], &members).await;
    let presses = (0..20).map(|press| {
        let user = [SITE_ADMIN, PLATFORM_ADMIN][press % 2];
        parlor.have(user, "confirm", &id)
    });
    let answers = join_all(presses).await;
    let confirmed = answers.iter().filter(|answer| answer.status == 202);
    assert_eq!(confirmed.count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        refused.refused_at(BATCHES, 409, "conflict");
    }
    parlor.work_until_done().await;
    assert_eq!(parlor.batch_jobs().await.len(), 3);
    assert_eq!(parlor.simulator.calls_count(), 3);
    let audits = parlor.audits().await;
    assert_eq!(
        column(&audits, "action"),
        ["batch.estimate", "batch.confirm"]
    );
    // The estimate has expired, but the batch was confirmed before.
    parlor
        .execute("update biz.ai_batches set expires_at = now() - interval '1 second'")
        .await;
    parlor
        .confirm(&id)
        .await
        .refused_at(BATCHES, 409, "conflict");
    progress(&parlor.batch(&id).await, "done", [3, 3, 0, 0]);
}

#[tokio::test]
async fn confirmed_batches_count_in_the_budget() {
    let parlor = parlor().await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 10000 where site_id = 1")
        .await;
    let clue = &["app3_clue"][..];
    let members = [10_001, 10_002, 10_003];
    // Each costs 6,000 tokens.
    let ids = [
        parlor.estimated(clue, &members).await,
        parlor.estimated(clue, &members).await,
    ];
    let answers = join_all(ids.iter().map(|id| parlor.confirm(id))).await;
    let mut statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    let left = async || parlor.estimate(&batch(clue, &members)).await.ok()["budget_left"].clone();
    assert_eq!(left().await, 4_000);
    parlor.work_until_done().await;
    let used: i64 =
        sqlx::query_scalar("select tokens::bigint from biz.ai_usage_days where site_id = 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(left().await, 10_000 - used);
}

#[tokio::test]
async fn an_expired_estimate_is_a_410() {
    let parlor = parlor().await;
    let id = parlor.estimated(&["app3_clue"], &[10_001]).await;
    parlor
        .execute("update biz.ai_batches set expires_at = now() - interval '1 second'")
        .await;
    parlor.confirm(&id).await.refused_at(BATCHES, 410, "gone");
    progress(&parlor.batch(&id).await, "expired", [1, 0, 0, 0]);
    let cancelled = parlor.cancel(&id).await;
    assert_eq!(
        cancelled.ok(),
        &json!({ "batch_id": id, "status": "expired", "cancelled": 0 })
    );
    assert_eq!(parlor.batch_jobs().await, [] as [Value; 0]);
    // A day after its expiry, an estimate is deleted unless it was confirmed.
    parlor
        .execute("update biz.ai_batches set expires_at = now() + interval '1 hour'")
        .await;
    let other = parlor.estimated(&["app3_clue"], &[10_001]).await;
    parlor.confirm(&other).await;
    for (hours, forgotten) in [(23, 0), (25, 1)] {
        sqlx::query("update biz.ai_batches set expires_at = now() - make_interval(hours => $1)")
            .bind(hours)
            .execute(&parlor.db)
            .await
            .unwrap();
        assert_eq!(sweep(&parlor.db, 90).await.unwrap().estimates, forgotten);
    }
    parlor.batch(&other).await;
    let path = format!("{BATCHES}/{id}");
    parlor
        .get(SITE_ADMIN, &path)
        .await
        .refused_at(&path, 404, "not_found");
}

#[tokio::test]
async fn a_batch_beyond_the_remaining_budget_is_not_started() {
    let parlor = parlor().await;
    let id = parlor.estimated(&["app3_clue"], &[10_001, 10_002]).await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 3999 where site_id = 1")
        .await;
    parlor
        .confirm(&id)
        .await
        .refused_at(BATCHES, 409, "conflict");
    assert_eq!(parlor.batch_jobs().await, [] as [Value; 0]);
    progress(&parlor.batch(&id).await, "estimated", [2, 0, 0, 0]);
    // The budget is sufficient again.
    parlor
        .execute("update biz.ai_budgets set daily_limit = 4000 where site_id = 1")
        .await;
    assert_eq!(parlor.confirm(&id).await.status, 202);
}

#[tokio::test]
async fn an_estimate_that_was_cancelled_cannot_be_confirmed() {
    let parlor = parlor().await;
    let id = parlor.estimated(&["app3_clue"], &[10_001]).await;
    for _ in 0..2 {
        let cancelled = parlor.cancel(&id).await;
        assert_eq!(
            cancelled.ok(),
            &json!({ "batch_id": id, "status": "cancelled", "cancelled": 0 })
        );
    }
    parlor
        .confirm(&id)
        .await
        .refused_at(BATCHES, 409, "conflict");
    progress(&parlor.batch(&id).await, "cancelled", [1, 0, 0, 0]);
    let audits = parlor.audits().await;
    assert_eq!(
        column(&audits, "action"),
        ["batch.estimate", "batch.cancel"]
    );
}

#[tokio::test]
async fn cancelling_a_batch_cancels_pending_jobs_and_keeps_running_ones() {
    let parlor = parlor().await;
    let apps = ["app3_clue", "app8_clue_consolidated"];
    let id = parlor.estimated(&apps, &[10_001, 10_002, 10_003]).await;
    parlor.confirm(&id).await;
    // A worker has the first job.
    parlor
        .execute(
            "update biz.ai_trigger_jobs set status = 'running', lease_until = now() + interval '1 hour' where member_id = 10001",
        )
        .await;
    for _ in 0..2 {
        let cancelled = parlor.cancel(&id).await;
        assert_eq!(
            cancelled.ok(),
            &json!({ "batch_id": id, "status": "cancelled", "cancelled": 2 })
        );
    }
    progress(&parlor.batch(&id).await, "cancelled", [6, 0, 0, 4]);
    let jobs = parlor.batch_jobs().await;
    assert_eq!(
        column(&jobs, "status"),
        ["running", "cancelled", "cancelled"]
    );
    assert!(!jobs[1]["finished_at"].is_null());
    // The running job is finished even if its worker dies.
    parlor.expire_leases_and_sweep().await;
    parlor.work_until_done().await;
    progress(&parlor.batch(&id).await, "cancelled", [6, 2, 0, 4]);
    assert_eq!(parlor.simulator.calls_count(), 2);
    parlor
        .confirm(&id)
        .await
        .refused_at(BATCHES, 409, "conflict");
}

#[tokio::test]
async fn progress_counts_finished_and_failed_results() {
    let parlor = parlor().await;
    parlor.simulator.set_scenario(
        Some("app8_clue_consolidated"),
        Some("bad-json".parse().unwrap()),
    );
    let apps = [
        "app3_clue",
        "app8_clue_consolidated",
        "app7_customer_analysis",
    ];
    let id = parlor.estimated(&apps, &[10_001, 10_002]).await;
    parlor.confirm(&id).await;
    parlor.work_until_done().await;
    progress(&parlor.batch(&id).await, "done", [6, 2, 4, 0]);
    // A finished batch cannot be cancelled.
    let cancelled = parlor.cancel(&id).await;
    assert_eq!(
        cancelled.ok(),
        &json!({ "batch_id": id, "status": "done", "cancelled": 0 })
    );
}

#[tokio::test]
async fn an_event_of_the_site_does_not_wait_for_its_batch() {
    let parlor = Parlor::with_business(Setup {
        env: vec![("JOB_CONCURRENCY", "1".into())],
        ..Setup::default()
    })
    .await;
    let id = parlor
        .estimated(&["app3_clue"], &[10_001, 10_002, 10_003])
        .await;
    parlor.confirm(&id).await;
    let event = parlor.member_paid(10_004, 1).await;
    parlor.work_until_done().await;
    let first: i64 =
        sqlx::query_scalar("select id from biz.ai_trigger_jobs order by started_at limit 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(first, event);
}

#[tokio::test]
async fn a_batch_of_another_site_does_not_exist() {
    let parlor = parlor().await;
    let id = parlor.estimated(&["app3_clue"], &[10_001]).await;
    let path = format!("{BATCHES}/{id}");
    let unknown = format!("{BATCHES}/00000000-0000-4000-8000-00000000abcd");
    for (user, path) in [
        (OTHER_SITE_ADMIN, path.clone()),
        (PLATFORM_ADMIN, format!("{path}?site_id=2")),
        (SITE_ADMIN, unknown.clone()),
    ] {
        parlor
            .get(user, &path)
            .await
            .refused_at(&path, 404, "not_found");
    }
    for what in ["confirm", "cancel"] {
        for (user, path, status, code) in [
            (OTHER_SITE_ADMIN, format!("{path}/{what}"), 404, "not_found"),
            (
                PLATFORM_ADMIN,
                format!("{path}/{what}?site_id=2"),
                404,
                "not_found",
            ),
            (
                PLATFORM_ADMIN,
                format!("{path}/{what}"),
                422,
                "invalid_request",
            ),
            (
                SITE_ADMIN,
                format!("{path}/{what}?site_id=2"),
                403,
                "forbidden",
            ),
            (SITE_ADMIN, format!("{unknown}/{what}"), 404, "not_found"),
            (
                SITE_ADMIN,
                format!("{BATCHES}/7/{what}"),
                422,
                "invalid_request",
            ),
        ] {
            answer(parlor.request_as(user, "POST", &path))
                .await
                .refused_at(&path, status, code);
        }
    }
    let shown = parlor.get(PLATFORM_ADMIN, &path).await;
    progress(shown.ok(), "estimated", [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_batch_shows_its_estimated_cost_and_what_it_has_spent() {
    let parlor = parlor().await;
    parlor
        .execute(
            "insert into biz.ai_usage_daily (site_id, day, app_type, calls, successes, tokens, cost, unpriced_calls) values
             (1, local_day('Asia/Shanghai'), 'app3_clue', 3, 2, 4000, 3001, 0),
             (1, local_day('Asia/Shanghai'), 'app4_analysis', 2, 2, 2000, 500, 1)",
        )
        .await;
    let members = [10_001, 10_002];
    let cost = async |apps: &[&str]| {
        parlor.estimate(&batch(apps, &members)).await.ok()["estimated_cost"].clone()
    };
    // 1,500.5 millionths per success.
    assert_eq!(cost(&["app3_clue"]).await, "0.003001");
    // A call of unknown cost; an app without a call.
    assert_eq!(cost(&["app3_clue", "app4_analysis"]).await, Value::Null);
    assert_eq!(cost(&["app7_customer_analysis"]).await, Value::Null);

    let id = parlor.estimated(&["app3_clue"], &members).await;
    let nothing = json!({ "tokens": 0, "cost": "0.000000", "unpriced_calls": 0 });
    assert_eq!(parlor.batch(&id).await["spent"], nothing);
    // A job that is not of the batch.
    parlor.member_paid(10_003, 1).await;
    parlor.confirm(&id).await;
    parlor.work_until_done().await;
    let (tokens, cost): (i64, i64) = sqlx::query_as(
        "select sum(tokens_charged)::bigint, sum(cost)::bigint from biz.ai_run_logs where trigger_type = 'batch'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!(tokens > 0 && cost > 0, "{tokens} {cost}");
    let shown = parlor.batch(&id).await;
    assert_eq!(shown["estimated_cost"], "0.003001");
    let spent = json!({ "tokens": tokens, "cost": format!("0.{cost:06}"), "unpriced_calls": 0 });
    assert_eq!(shown["spent"], spent);
    parlor
        .execute("update biz.ai_run_logs set cost = null where trigger_type = 'batch'")
        .await;
    let unpriced = json!({ "tokens": tokens, "cost": "0.000000", "unpriced_calls": 2 });
    assert_eq!(parlor.batch(&id).await["spent"], unpriced);
}
