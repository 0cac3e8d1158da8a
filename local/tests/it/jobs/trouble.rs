//! Jobs whose app fails or may not be called.

use std::time::Duration;

use common::governance::apps::App;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::harness::invariants;

impl Parlor {
    async fn seconds_until_due(&self, job: i64) -> f64 {
        sqlx::query_scalar(
            "select extract(epoch from run_after - now())::float8 from biz.ai_trigger_jobs where id = $1",
        )
        .bind(job)
        .fetch_one(&self.db)
        .await
        .unwrap()
    }

    fn app_does(&self, app: &str, scenario: &str) {
        self.simulator
            .set_scenario(Some(app), Some(scenario.parse().unwrap()));
    }
}

#[tokio::test]
async fn an_unreadable_answer_is_tried_three_times_in_all() {
    let parlor = parlor().await;
    parlor.app_does("app8_clue_consolidated", "bad-json");
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let failed = parlor.job(job).await;
    assert_eq!(
        (
            &failed["status"],
            &failed["error_code"],
            &failed["step"],
            &failed["attempts"]
        ),
        (&json!("failed"), &json!("bad_answer"), &json!(1), &json!(1))
    );
    let runs = parlor.runs(job).await;
    assert_eq!(
        column(&runs, "status"),
        ["success", "failed", "failed", "failed"]
    );
    assert_eq!(column(&runs[1..], "error_code"), ["bad_answer"; 3]);
    assert_eq!(column(&runs[1..], "alert_status"), ["pending"; 3]);
    for run in &runs {
        assert!(
            run["tokens_used"].as_i64().unwrap() > 0,
            "an unreadable answer is charged, too"
        );
        assert!(!run["response_text"].as_str().unwrap().is_empty());
    }
    // The result of the first app is stored, and no entry remains in generation.
    let entries = parlor.entries().await;
    assert_eq!(column(&entries, "cache_type"), ["app3_clue"]);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn an_answer_above_the_limit_is_asked_for_once() {
    let parlor = parlor().await;
    // More than 2 MiB.
    parlor.app_does("app3_clue", "huge:2200000");
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    assert_eq!(parlor.job(job).await["status"], "failed");
    let runs = parlor.runs(job).await;
    assert_eq!(column(&runs, "error_code"), ["upstream_refused"]);
    let message = runs[0]["error_message"].as_str().unwrap();
    assert!(message.contains("longer than 2097152 bytes"), "{message}");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_readable_second_answer_is_used() {
    let parlor = parlor().await;
    parlor.app_does("app3_clue", "bad-json-once");
    let job = parlor.member_paid(MEMBER, 1).await;
    assert_eq!(parlor.work().await, succeeded(1));
    let runs = parlor.runs(job).await;
    assert_eq!(
        column(&runs, "status"),
        ["failed", "success", "success", "success"]
    );
}

#[tokio::test]
async fn a_dashscope_outage_is_retried_five_times_with_growing_pauses() {
    let parlor = parlor().await;
    parlor.app_does("app7_customer_analysis", "unavailable");
    let job = parlor.member_paid(MEMBER, 1).await;
    let mut least = 10.0;
    for attempt in 1..=5 {
        parlor.work().await;
        let stands = parlor.job(job).await;
        assert_eq!(
            (&stands["attempts"], &stands["step"]),
            (&json!(attempt), &json!(2))
        );
        assert_eq!(stands["error_code"], "upstream_error");
        if attempt < 5 {
            assert_eq!(stands["status"], "pending");
            let seconds = parlor.seconds_until_due(job).await;
            assert!(
                (least - 5.0..least * 1.5).contains(&seconds),
                "{attempt}: {seconds}"
            );
            least *= 2.0;
            assert_eq!(parlor.work().await, Worked::IDLE);
            parlor.make_jobs_due().await;
            parlor.execute("delete from biz.ai_circuits").await;
        } else {
            assert_eq!(stands["status"], "failed");
            assert!(!stands["finished_at"].is_null());
        }
    }
    let runs = parlor.runs(job).await;
    assert_eq!(runs.len(), 2 + 5);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_job_continues_at_the_failed_step() {
    let parlor = parlor().await;
    parlor.app_does("app8_clue_consolidated", "unavailable");
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    parlor
        .simulator
        .set_scenario(Some("app8_clue_consolidated"), None);
    parlor.make_jobs_due().await;
    assert_eq!(parlor.work().await, succeeded(1));
    let runs = parlor.runs(job).await;
    let asked: Vec<_> = runs
        .iter()
        .map(|run| format!("{} {}", run["app_type"], run["status"]))
        .collect();
    assert_eq!(
        asked,
        [
            r#""app3_clue" "success""#,
            r#""app8_clue_consolidated" "failed""#,
            r#""app8_clue_consolidated" "success""#,
            r#""app7_customer_analysis" "success""#,
        ]
    );
}

#[tokio::test]
async fn a_permanent_error_ends_the_job() {
    let parlor = parlor().await;
    parlor.app_does("app3_clue", "inspection");
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let failed = parlor.job(job).await;
    assert_eq!(
        (&failed["status"], &failed["attempts"]),
        (&json!("failed"), &json!(1))
    );
    assert_eq!(failed["error_code"], "content_blocked");
}

#[tokio::test]
async fn an_unconfigured_app_fails_only_its_own_jobs() {
    let parlor = Parlor::with_business(Setup {
        app_ids: vec![(App::Clue.variable(), "app3_clue")],
        ..Setup::default()
    })
    .await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let failed = parlor.job(job).await;
    assert_eq!(failed["error_code"], "app_disabled");
    let message = failed["error_message"].as_str().unwrap();
    assert!(
        message.contains("DASHSCOPE_APP_ID_8_CLUE_CONSOLIDATED"),
        "{message}"
    );
    assert_eq!(column(&parlor.entries().await, "cache_type"), ["app3_clue"]);
}

#[tokio::test]
async fn a_job_whose_site_has_used_up_its_budget_waits_for_the_next_day() {
    let parlor = parlor().await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 1 where site_id = 1")
        .await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    // Room for the first call of the chain.
    parlor
        .execute(
            "update biz.ai_budgets set daily_limit = waits_tokens
             from biz.ai_trigger_jobs where ai_budgets.site_id = 1",
        )
        .await;
    parlor.work().await;
    let waiting = parlor.job(job).await;
    assert_eq!(
        (
            &waiting["status"],
            &waiting["error_code"],
            &waiting["attempts"],
            &waiting["step"]
        ),
        (
            &json!("pending"),
            &json!("budget_exceeded"),
            &json!(0),
            &json!(1)
        )
    );
    let at_midnight: bool = sqlx::query_scalar(
        "select run_after = (local_day('Asia/Shanghai') + 1)::timestamp at time zone 'Asia/Shanghai'
         from biz.ai_trigger_jobs where id = $1",
    )
    .bind(job)
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!(at_midnight);
    // However often it is tried, its refusals are one row of the run log.
    for _ in 0..3 {
        parlor.make_jobs_due().await;
        parlor.work().await;
    }
    let runs = parlor.runs(job).await;
    assert_eq!(
        column(&runs, "status"),
        ["budget_exceeded", "success", "budget_exceeded"]
    );
    let refused = parlor.last_run().await;
    assert_eq!(
        (&refused["refusals"], &refused["request_prompt"]),
        (&json!(4), &Value::Null)
    );
    assert_eq!(parlor.simulator.calls_count(), 1);
    // Each site has its own budget.
    let event = consumption(20_001, 1);
    parlor.post(OTHER_SITE_ADMIN, TRIGGER, &event).await;
    assert_eq!(parlor.work().await, succeeded(1));

    // The next day, the job continues.
    parlor
        .execute("update biz.ai_budgets set daily_limit = 1000000 where site_id = 1")
        .await;
    parlor.make_jobs_due().await;
    assert_eq!(parlor.work().await, succeeded(1));
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn an_open_circuit_makes_no_calls_and_uses_no_attempts() {
    let parlor = parlor().await;
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at)
             values ('app3_clue', 'app3_clue', 'open', 5, now(), now() + interval '60 seconds')",
        )
        .await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    let waiting = parlor.job(job).await;
    assert_eq!(
        (&waiting["status"], &waiting["attempts"]),
        (&json!("pending"), &json!(0))
    );
    let seconds = parlor.seconds_until_due(job).await;
    assert!((30.0..=66.0).contains(&seconds), "{seconds}");
    assert_eq!(parlor.runs(job).await, [] as [Value; 0]);
    assert_eq!(parlor.simulator.calls_count(), 0);
    // When due, the job is the probe that closes the circuit.
    parlor
        .execute("update biz.ai_circuits set retry_at = now()")
        .await;
    parlor.make_jobs_due().await;
    assert_eq!(parlor.work().await, succeeded(1));
    let state: Value = sqlx::query_scalar("select to_jsonb(state) from biz.ai_circuits")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(state, "closed");
}

#[tokio::test]
async fn a_job_waits_for_a_result_that_another_job_generates() {
    let parlor = parlor().await;
    let first = parlor.member_paid(MEMBER, 1).await;
    parlor.simulator.hold_after(0);
    let (one, two) = (parlor.worker.clone(), parlor.worker.clone());
    let one = one.run(None);
    let second = async {
        parlor.simulator.held(1).await;
        let second = parlor.member_paid(MEMBER, 2).await;
        let done = two.run(None).await;
        assert_eq!((done.claimed, done.given_back), (1, 1));
        let waiting = parlor.job(second).await;
        assert_eq!(
            (&waiting["status"], &waiting["attempts"]),
            (&json!("pending"), &json!(0))
        );
        parlor.simulator.release();
        second
    };
    let (_, second) = join(one, second).await;
    parlor.make_jobs_due().await;
    parlor.work().await;
    for job in [first, second] {
        assert_eq!(parlor.job(job).await["status"], "succeeded");
    }
    assert_eq!(parlor.simulator.calls_count(), 3);
}

#[tokio::test]
async fn a_job_that_crashes_its_worker_five_times_has_failed() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    for attempt in 1..=5 {
        parlor
            .execute(
                "update biz.ai_trigger_jobs set status = 'running', attempts = attempts + 1, claims = claims + 1, lease_until = now()",
            )
            .await;
        parlor.expire_leases_and_sweep().await;
        let status = if attempt < 5 { "pending" } else { "failed" };
        let stands = parlor.job(job).await;
        assert_eq!(
            (&stands["status"], &stands["error_code"]),
            (&json!(status), &json!("interrupted"))
        );
    }
    assert_eq!(parlor.work().await, Worked::IDLE);
}

#[tokio::test]
async fn a_worker_near_its_deadline_starts_no_job_and_releases_running_ones() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    // A step may take two minutes, plus the time to store its end.
    let soon = Instant::now() + Duration::from_secs(130);
    assert_eq!(parlor.worker.run(Some(soon)).await, Worked::default());
    assert_eq!(parlor.job(job).await["claims"], 0);

    let ends_at = Instant::now() + Duration::from_secs(142);
    parlor.simulator.hold_after(0);
    let release = async {
        parlor.simulator.held(1).await;
        tokio::time::sleep_until(ends_at - Duration::from_secs(139)).await;
        parlor.simulator.release();
    };
    let (done, ()) = join(parlor.worker.run(Some(ends_at)), release).await;
    assert_eq!((done.claimed, done.given_back, done.drained), (1, 1, false));
    let stands = parlor.job(job).await;
    assert_eq!(
        (&stands["status"], &stands["step"], &stands["attempts"]),
        (&json!("pending"), &json!(1), &json!(0))
    );
    let entries = parlor.entries().await;
    assert_eq!(
        column(&entries, "status"),
        ["valid"],
        "no other step was started"
    );
    assert_eq!(parlor.work().await, succeeded(1));
    assert_eq!(parlor.simulator.calls_count(), 3);
}

#[tokio::test]
async fn jobs_that_wait_for_a_probe_write_no_run_and_gather_no_facts() {
    let parlor = parlor().await;
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at, probe_run_id)
             values ('app3_clue', 'app3_clue', 'half_open', 5, now(), now() + interval '330 seconds', 1)",
        )
        .await;
    parlor
        .execute("alter table dws.member_profile rename to unreadable")
        .await;
    let mut jobs = Vec::new();
    for member in [MEMBER, MEMBER + 1, MEMBER + 2] {
        jobs.push(parlor.member_paid(member, member).await);
    }
    assert_eq!(parlor.work().await.given_back, 3);
    let mut due = Vec::new();
    for job in &jobs {
        let waiting = parlor.job(*job).await;
        assert_eq!(
            (
                &waiting["status"],
                &waiting["attempts"],
                &waiting["waits_for"],
                &waiting["error_code"]
            ),
            (
                &json!("pending"),
                &json!(0),
                &json!("circuit"),
                &json!("circuit_open")
            )
        );
        assert_eq!(parlor.runs(*job).await, [] as [Value; 0]);
        let seconds = parlor.seconds_until_due(*job).await;
        assert!((300.0..=336.0).contains(&seconds), "{seconds}");
        due.push(waiting["run_after"].clone());
    }
    due.dedup();
    assert_eq!(due.len(), 3, "they come back at different times");
    // The probe succeeds. The next worker does not wait for the end of its lease.
    parlor
        .execute("alter table dws.unreadable rename to member_profile")
        .await;
    parlor
        .execute("update biz.ai_circuits set state = 'closed', retry_at = null, probe_run_id = null, failures = 0")
        .await;
    assert_eq!(parlor.work().await, succeeded(3));
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_locked_target_does_not_stop_the_jobs_that_were_claimed_with_it() {
    let parlor = parlor().await;
    let locked = parlor.member_paid(MEMBER, 1).await;
    let free = parlor.member_paid(MEMBER + 1, 2).await;
    parlor
        .execute(
            "insert into biz.ai_cache (site_id, cache_type, target_id, member_id, valid_days, triggered_by, business_date, lease_until)
             values (1, 'app3_clue', 'member:10001', 10001, 7, 'event', current_date, now())",
        )
        .await;
    #[expect(clippy::disallowed_methods, reason = "a lock needs a transaction")]
    let mut blocker = parlor.db.begin().await.unwrap();
    sqlx::query("select from biz.ai_cache where target_id = 'member:10001' for update")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let status = async |job: i64| parlor.job(job).await["status"].clone();
    let ((), _) = tokio::join!(
        async {
            until("the other job", async || {
                (status(free).await == "succeeded").then_some(())
            })
            .await;
            assert_eq!(status(locked).await, "running");
            blocker.rollback().await.unwrap();
        },
        parlor.work(),
    );
    parlor.work_until_done().await;
    assert_eq!(status(locked).await, "succeeded");
    invariants::check_books(&parlor).await;
}
