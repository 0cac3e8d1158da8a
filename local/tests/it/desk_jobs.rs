//! What admins do with many jobs, with running jobs and with batches whose id is lost.

use common::insights::jobs::Status;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, TRIGGER, column},
    parlor::{Answer, Parlor, Setup, answer},
    until,
};

/// A member of site 1.
const MEMBER: i64 = 10_001;
const BATCHES: &str = "/api/admin/ai/batches";
const PREWARM: &str = "/api/admin/ai/prewarm";

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

impl Parlor {
    /// Stores jobs of site 1 with a status, and one of site 2.
    async fn store_jobs(&self, status: Status, jobs: i64) {
        sqlx::query(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain, status, lease_until, finished_at)
             select case n when 0 then 2 else 1 end, 'consumption.settled', 'command', 'event', n, '{app3_clue}', $1,
                    case $1 when 'running' then now() + interval '1 hour' end, case when $1 not in ('pending', 'running') then now() end
             from generate_series(0, $2) n",
        )
        .bind(status.name())
        .bind(jobs)
        .execute(&self.db)
        .await
        .unwrap();
    }

    async fn bulk(&self, what: &str, filter: Value, expected: i64) -> Answer {
        let body = json!({ "filter": filter, "expected": expected });
        self.post(SITE_ADMIN, &format!("{TRIGGER}/{what}"), &body)
            .await
    }

    async fn count(&self, condition: &str) -> i64 {
        let count = format!("select count(*) from biz.ai_trigger_jobs where {condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn audited_changes(&self, action: &str) -> Vec<Value> {
        sqlx::query_scalar(
            "select details -> 'changed' from biz.ai_admin_audit where action = $1 order by id",
        )
        .bind(action)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn jobs_are_cancelled_in_bulk_only_if_as_many_match_as_expected() {
    let parlor = Parlor::start().await;
    parlor.store_jobs(Status::Pending, 5).await;
    parlor.store_jobs(Status::Running, 2).await;
    parlor.store_jobs(Status::Failed, 3).await;
    let waiting = json!({ "status": "pending", "event_type": "consumption.settled" });
    for expected in [4, 6] {
        let refused = parlor.bulk("cancel", waiting.clone(), expected).await;
        let error = refused.refused_at(TRIGGER, 409, "conflict");
        assert_eq!(error["matching"], 5);
    }
    assert_eq!(parlor.count("status = 'cancelled'").await, 0);
    for filter in [
        json!({ "status": "failed" }),
        json!({ "event_type": "batch" }),
        json!({ "date_to": "2026-01-01" }),
    ] {
        let refused = parlor.bulk("cancel", filter, 3).await;
        assert_eq!(refused.refused_at(TRIGGER, 409, "conflict")["matching"], 0);
    }

    let changed = parlor.bulk("cancel", waiting, 5).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.body),
        (202, &json!({ "changed": 5 }))
    );
    assert_eq!(
        parlor.count("status = 'cancelled' and site_id = 1").await,
        5
    );
    // The running jobs end after their step.
    assert_eq!(parlor.bulk("cancel", json!({}), 2).await.status, 202);
    let requested = "status = 'running' and cancel_requested_at is not null";
    assert_eq!(parlor.count(requested).await, 2);
    // Nothing of another site has changed.
    assert_eq!(parlor.count("site_id = 2 and status = 'pending'").await, 1);
    let repeated = parlor.bulk("cancel", json!({}), 2).await;
    assert_eq!(repeated.refused_at(TRIGGER, 409, "conflict")["matching"], 0);
    let audited = parlor.audited_changes("trigger_jobs.cancel").await;
    assert_eq!(audited, [json!(5), json!(2)]);
}

#[tokio::test]
async fn jobs_are_retried_in_bulk_once_also_by_two_admins_at_once() {
    let parlor = parlor().await;
    parlor.store_jobs(Status::Failed, 40).await;
    parlor.store_jobs(Status::Cancelled, 2).await;
    parlor.store_jobs(Status::SkippedDuplicate, 2).await;
    let both = join_all((0..2).map(|_| parlor.bulk("retry", json!({}), 40))).await;
    let changed: i64 = both
        .iter()
        .filter_map(|one| one.body["changed"].as_i64())
        .sum();
    assert_eq!(changed, 40, "{both:?}");
    assert_eq!(parlor.count("retry_of is not null").await, 40);
    let twice =
        "retry_of in (select retry_of from biz.ai_trigger_jobs group by 1 having count(*) > 1)";
    assert_eq!(parlor.count(twice).await, 0);
    let repeated = parlor
        .bulk("retry", json!({ "status": "failed" }), 40)
        .await;
    assert_eq!(repeated.refused_at(TRIGGER, 409, "conflict")["matching"], 0);
    // Other final statuses must be named.
    for status in ["cancelled", "skipped_duplicate"] {
        let retried = parlor.bulk("retry", json!({ "status": status }), 2).await;
        assert_eq!(retried.body["changed"], 2, "{status}");
    }
    parlor.work_until_done().await;
    assert_eq!(parlor.count("retry_of is not null and is_forced").await, 44);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn two_thousand_and_one_jobs_are_cancelled_in_two_steps() {
    let parlor = Parlor::start().await;
    parlor.store_jobs(Status::Pending, 2_001).await;
    let changed = parlor.bulk("cancel", json!({}), 2_001).await;
    assert_eq!(changed.body, json!({ "changed": 2_001 }));
    let audited = parlor.audited_changes("trigger_jobs.cancel").await;
    assert_eq!(audited, [json!(2_000), json!(1)]);
}

#[tokio::test]
async fn an_invalid_bulk_change_is_refused_by_field() {
    let parlor = Parlor::start().await;
    for (body, field) in [
        (json!({ "expected": 1 }), "filter"),
        (json!({ "filter": {} }), "expected"),
        (json!({ "filter": {}, "expected": 0 }), "expected"),
        (json!({ "filter": {}, "expected": 100_001 }), "expected"),
        (
            json!({ "filter": { "status": "done" }, "expected": 1 }),
            "status",
        ),
        (
            json!({ "filter": { "event_type": "x" }, "expected": 1 }),
            "event_type",
        ),
        (
            json!({ "filter": { "date_from": "x" }, "expected": 1 }),
            "date_from",
        ),
    ] {
        for what in ["retry", "cancel"] {
            let refused = parlor
                .post(SITE_ADMIN, &format!("{TRIGGER}/{what}"), &body)
                .await;
            let error = refused.refused_at(TRIGGER, 422, "invalid_request");
            assert_eq!(error["field"], field);
        }
    }
    let body = json!({ "filter": {}, "expected": 1 });
    let path = format!("{TRIGGER}/cancel");
    let refused = parlor.post(PLATFORM_ADMIN, &path, &body).await;
    let error = refused.refused_at(TRIGGER, 422, "invalid_request");
    assert_eq!(error["field"], "site_id");
    let named = json!({ "filter": {}, "expected": 1, "site_id": 1 });
    let refused = parlor.post(OTHER_SITE_ADMIN, &path, &named).await;
    refused.refused_at(TRIGGER, 403, "forbidden");
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_ends_after_its_step() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    let slow = Some("silent:1".parse().unwrap());
    parlor.simulator.set_scenario(Some("app3_clue"), slow);
    let path = format!("{TRIGGER}/{job}");
    let cancel =
        async || answer(parlor.request_as(SITE_ADMIN, "POST", &format!("{path}/cancel"))).await;
    let (worked, ()) = tokio::join!(parlor.work(), async {
        until("the app is called", async || {
            (parlor.simulator.calls_count() > 0).then_some(())
        })
        .await;
        for _ in 0..2 {
            let cancelled = cancel().await;
            assert_eq!(
                (cancelled.status.as_u16(), cancelled.body),
                (
                    202,
                    json!({ "id": job, "status": "running", "cancel_requested": true })
                )
            );
        }
        let shown = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(shown.ok()["cancel_requested"], true);
    });
    assert_eq!((worked.succeeded, worked.failed), (0, 0));
    let ended = parlor.get(SITE_ADMIN, &path).await;
    let ended = ended.ok();
    assert_eq!(
        (&ended["status"], &ended["step"], &ended["cancel_requested"]),
        (&json!("cancelled"), &json!(1), &json!(false))
    );
    // The result of its step is kept, and the second request was not audited.
    assert_eq!(column(&parlor.entries().await, "status"), ["valid"]);
    let audits: i64 = sqlx::query_scalar(
        "select count(*) from biz.ai_admin_audit where action = 'trigger_job.cancel'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(audits, 1);
    cancel().await.refused_at(TRIGGER, 409, "conflict");

    // It can be retried, and runs.
    let retried = answer(parlor.request_as(SITE_ADMIN, "POST", &format!("{path}/retry"))).await;
    assert_eq!(retried.status, 201);
    assert_eq!(parlor.work().await.succeeded, 1);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_cancelled_job_whose_worker_was_killed_or_whose_step_failed_is_not_continued() {
    let parlor = parlor().await;
    parlor.store_jobs(Status::Running, 1).await;
    parlor.bulk("cancel", json!({}), 1).await;
    parlor.expire_leases_and_sweep().await;
    assert_eq!(
        parlor.count("site_id = 1 and status = 'cancelled'").await,
        1
    );

    let job = parlor.member_paid(MEMBER, 1).await;
    let scenario = Some("unavailable".parse().unwrap());
    parlor.simulator.set_scenario(Some("app3_clue"), scenario);
    // The request arrives during the call.
    for statement in [
        "create function biz.cancel_job() returns trigger language plpgsql as $$ begin
             update biz.ai_trigger_jobs set cancel_requested_at = now() where id = new.job_id;
             return new;
         end $$",
        "create trigger cancel_job after insert on biz.ai_run_logs for each row execute function biz.cancel_job()",
    ] {
        parlor.execute(statement).await;
    }
    parlor.work().await;
    assert_eq!(parlor.job(job).await["status"], "cancelled");
    assert_eq!(parlor.runs(job).await.len(), 1);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_skipped_duplicate_may_be_retried_and_runs() {
    let parlor = parlor().await;
    parlor.member_paid(MEMBER, 1).await;
    parlor.work_until_done().await;
    let skipped = parlor
        .trigger(&crate::harness::jobs::consumption(MEMBER, 1))
        .await;
    assert_eq!(skipped.body["status"], "skipped_duplicate");
    let path = format!("{TRIGGER}/{}/retry", skipped.body["id"]);
    let retried = answer(parlor.request_as(SITE_ADMIN, "POST", &path)).await;
    assert_eq!(retried.status, 201);
    assert_eq!(parlor.work().await.succeeded, 1);
}

#[tokio::test]
async fn a_batch_whose_id_is_lost_is_found_in_the_list() {
    let parlor = parlor().await;
    let mut ids = Vec::new();
    for member in 0..3 {
        let body = json!({ "app_types": ["app3_clue"], "member_ids": [MEMBER + member] });
        let estimate = parlor
            .post(SITE_ADMIN, &format!("{BATCHES}/estimate"), &body)
            .await;
        ids.insert(0, estimate.ok()["batch_id"].clone());
    }
    let body = json!({ "app_types": ["app3_clue"], "member_ids": [20_001] });
    parlor
        .post(OTHER_SITE_ADMIN, &format!("{BATCHES}/estimate"), &body)
        .await
        .ok();
    let confirm = format!("{BATCHES}/{}/confirm", ids[0].as_str().unwrap());
    answer(parlor.request_as(SITE_ADMIN, "POST", &confirm)).await;
    parlor.work_until_done().await;

    let page = parlor.get(SITE_ADMIN, BATCHES).await;
    let page = page.ok();
    let items = page["items"].as_array().unwrap();
    assert_eq!(column(items, "id"), ids);
    assert_eq!(column(items, "batch_id"), ids);
    assert_eq!(column(items, "status"), ["done", "estimated", "estimated"]);
    assert_eq!(items[0]["progress"]["done"], 1);
    assert_eq!(
        (&page["total"], &page["total_is_estimate"]),
        (&json!(3), &json!(false))
    );
    let all = parlor.get(PLATFORM_ADMIN, BATCHES).await;
    assert_eq!(all.ok()["total"], 4);

    // Page by page, by cursor and by number.
    let mut met = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = parlor
            .get(SITE_ADMIN, &format!("{BATCHES}?page_size=1{cursor}"))
            .await;
        met.extend(column(page.ok()["items"].as_array().unwrap(), "id"));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(met, ids);
    let second = parlor
        .get(SITE_ADMIN, &format!("{BATCHES}?page=2&page_size=2"))
        .await;
    assert_eq!(
        column(second.ok()["items"].as_array().unwrap(), "id"),
        ids[2..]
    );
    let empty = parlor.get(SITE_ADMIN, &format!("{BATCHES}?page=9")).await;
    assert_eq!(
        (&empty.ok()["items"], &empty.body["total"]),
        (&json!([]), &json!(3))
    );
}

#[tokio::test]
async fn the_prewarm_matrix_shows_what_a_prewarm_queues() {
    let parlor = parlor().await;
    let states = async || {
        let shown = parlor.get(SITE_ADMIN, PREWARM).await;
        let shown = shown.ok().clone();
        let next: chrono::DateTime<chrono::Utc> =
            shown["next_run_at"].as_str().unwrap().parse().unwrap();
        // 05:30 in Shanghai.
        assert_eq!(next.format("%H:%M:%S").to_string(), "21:30:00");
        let left = next - common::platform::clock::now();
        assert!((0..=86_400).contains(&left.num_seconds()), "{left}");
        let items = shown["items"].as_array().unwrap().clone();
        assert_eq!(column(&items, "site_id"), vec![json!(1); items.len()]);
        for item in &items {
            assert_eq!(
                item["expires_at"].is_null(),
                item["state"] != "valid",
                "{item}"
            );
            assert_eq!(
                item["area"].is_null(),
                item["app_type"] == "app2a_finance_area"
            );
        }
        let count = |state: &str| items.iter().filter(|item| item["state"] == state).count();
        [count("valid"), count("missing"), count("generating")]
    };
    assert_eq!(states().await, [0, 40, 0]);
    let counts = |queued: i64, valid: i64, generating: i64| json!({ "queued": queued, "already_valid": valid, "generating": generating });
    let dry = parlor
        .post(SITE_ADMIN, PREWARM, &json!({ "dry_run": true }))
        .await;
    assert_eq!((dry.status.as_u16(), dry.body), (200, counts(40, 0, 0)));
    assert_eq!(parlor.count("true").await, 0);
    for (queued, generating) in [(40, 0), (0, 40)] {
        let started = parlor.post(SITE_ADMIN, PREWARM, &json!({})).await;
        assert_eq!(
            (started.status.as_u16(), started.body),
            (202, counts(queued, 0, generating))
        );
        assert_eq!(states().await, [0, 0, 40]);
    }
    parlor.work_until_done().await;
    assert_eq!(states().await, [40, 0, 0]);
    let dry = parlor
        .post(SITE_ADMIN, PREWARM, &json!({ "dry_run": true }))
        .await;
    assert_eq!(dry.body, counts(0, 40, 0));
    let audits: i64 = sqlx::query_scalar(
        "select count(*) from biz.ai_admin_audit where action = 'prewarm.queue'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(audits, 2);

    let all = parlor.get(PLATFORM_ADMIN, PREWARM).await;
    assert_eq!(all.ok()["items"].as_array().unwrap().len(), 80);
    let refused = parlor.post(PLATFORM_ADMIN, PREWARM, &json!({})).await;
    let error = refused.refused_at(PREWARM, 422, "invalid_request");
    assert_eq!(error["field"], "site_id");
    let unknown = parlor
        .post(PLATFORM_ADMIN, PREWARM, &json!({ "site_id": 4711 }))
        .await;
    unknown.refused_at(PREWARM, 404, "not_found");
}
