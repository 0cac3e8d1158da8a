//! Background jobs for admins: list, filters, details and retry.

use std::collections::BTreeSet;

use common::insights::jobs::{EventType, Status, Worked};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, TRIGGER, column, consumption},
    parlor::{Answer, COACH, Parlor, Setup, answer},
};

/// A member of site 1.
const MEMBER: i64 = 10_001;

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

/// Two jobs of each kind at site 1 and three at site 2. Many have the same creation time.
async fn parlor_with_jobs() -> Parlor {
    let parlor = Parlor::start().await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, status, lease_until, created_at)
             select s, e, 'command', 'event', '{app3_clue}', t, case t when 'running' then now() + interval '1 hour' end,
                    now() - (n + length(e) % 3) * interval '1 minute'
             from generate_series(1, 2) s
             cross join unnest(array['consumption.settled', 'note.created', 'task.assigned', 'etl.finished', 'prewarm', 'chat.session_message', 'batch', 'insight.refresh']) e
             cross join unnest(array['pending', 'running', 'succeeded', 'failed', 'skipped_duplicate', 'cancelled']) t
             cross join generate_series(1, 1 + s) n",
        )
        .await;
    parlor
}

impl Parlor {
    async fn retry(&self, user: i64, job: i64, query: &str) -> Answer {
        let path = format!("{TRIGGER}/{job}/retry{query}");
        answer(self.request_as(user, "POST", &path)).await
    }

    async fn retried(&self, job: i64) -> i64 {
        let retried = self.retry(SITE_ADMIN, job, "").await;
        retried.created()["id"].as_i64().unwrap()
    }

    /// A job that failed at the second of its three apps.
    async fn failed_at_the_second(&self) -> i64 {
        self.app_8_does(Some("bad-json"));
        let job = self.member_paid(MEMBER, 1).await;
        self.work_until_done().await;
        self.app_8_does(None);
        let failed = self.job(job).await;
        assert_eq!(
            (&failed["status"], &failed["step"]),
            (&json!("failed"), &json!(1))
        );
        job
    }

    fn app_8_does(&self, scenario: Option<&str>) {
        let scenario = scenario.map(|scenario| scenario.parse().unwrap());
        self.simulator
            .set_scenario(Some("app8_clue_consolidated"), scenario);
    }

    async fn audited(&self, action: &str) -> Vec<Value> {
        sqlx::query_scalar(
            "select to_jsonb(a) from biz.ai_admin_audit a where action = $1 order by id",
        )
        .bind(action)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    async fn total(&self, user: i64, query: &str) -> i64 {
        let page = self.get(user, &format!("{TRIGGER}?{query}")).await;
        assert_eq!(page.ok()["total_is_estimate"], false);
        page.body["total"].as_i64().unwrap()
    }

    /// All jobs of a list, read page by page with cursors.
    async fn walked(&self, user: i64, query: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("{TRIGGER}?page_size=7&{query}{cursor}");
            let page = self.get(user, &path).await;
            items.extend_from_slice(page.ok()["items"].as_array().unwrap());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

#[tokio::test]
async fn filters_of_jobs_combine() {
    let parlor = parlor_with_jobs().await;
    for (user, of_a_kind) in [(SITE_ADMIN, 2), (OTHER_SITE_ADMIN, 3), (PLATFORM_ADMIN, 5)] {
        assert_eq!(parlor.total(user, "").await, of_a_kind * 8 * 6);
        for event in EventType::ALL {
            let query = format!("event_type={}", event.name());
            assert_eq!(parlor.total(user, &query).await, of_a_kind * 6);
        }
        for status in Status::ALL.map(Status::name) {
            let query = format!("status={status}");
            assert_eq!(parlor.total(user, &query).await, of_a_kind * 8);
            let both = format!("status={status}&event_type=batch");
            assert_eq!(parlor.total(user, &both).await, of_a_kind);
        }
    }
    assert_eq!(parlor.total(PLATFORM_ADMIN, "site_id=2").await, 3 * 8 * 6);
    assert_eq!(parlor.total(PLATFORM_ADMIN, "site_id=4711").await, 0);

    let page = parlor
        .get(
            SITE_ADMIN,
            &format!("{TRIGGER}?event_type=prewarm&status=failed"),
        )
        .await;
    let items = page.ok()["items"].as_array().unwrap();
    assert_eq!(column(items, "status"), ["failed"; 2]);
    assert_eq!(column(items, "event_type"), ["prewarm"; 2]);
    assert_eq!(column(items, "site_id"), [1, 1]);
    let members: BTreeSet<&str> = items[0]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| &**name)
        .collect();
    let documented = [
        "app_chain",
        "cancel_requested",
        "created_at",
        "event_type",
        "finished_at",
        "id",
        "is_forced",
        "member_id",
        "run_after",
        "site_id",
        "started_at",
        "status",
        "waiting_for",
    ];
    assert_eq!(members, BTreeSet::from(documented));
}

#[tokio::test]
async fn paging_lists_each_job_once_newest_first() {
    let parlor = parlor_with_jobs().await;
    for (user, query, jobs) in [
        (SITE_ADMIN, "", 96),
        (PLATFORM_ADMIN, "", 240),
        (SITE_ADMIN, "status=failed", 16),
        (PLATFORM_ADMIN, "event_type=batch", 30),
        (PLATFORM_ADMIN, "event_type=batch&status=failed", 5),
    ] {
        let met = parlor.walked(user, query).await;
        let keys: Vec<_> = met
            .iter()
            .map(|job| {
                (
                    job["created_at"].as_str().unwrap().to_owned(),
                    job["id"].as_i64(),
                )
            })
            .collect();
        assert!(keys.is_sorted_by(|a, b| a > b), "{query}: {keys:?}");
        assert_eq!(keys.len(), jobs, "{query}");
        let path = format!("{TRIGGER}?page=2&page_size=4&{query}");
        let second = parlor.get(user, &path).await;
        let second = second.ok()["items"].as_array().unwrap();
        assert_eq!(second[..], met[4..met.len().min(8)], "{query}");
    }
    let page = parlor.get(SITE_ADMIN, TRIGGER).await;
    let cursor = page.ok()["next_cursor"].as_str().unwrap();
    for query in [
        "status=failed&",
        "event_type=batch&",
        "date_from=2026-01-01&",
    ] {
        let refused = parlor
            .get(SITE_ADMIN, &format!("{TRIGGER}?{query}cursor={cursor}"))
            .await;
        let error = refused.refused_at(TRIGGER, 422, "invalid_request");
        assert_eq!(error["field"], "cursor");
    }
}

#[tokio::test]
async fn jobs_are_filtered_by_local_days_of_their_site() {
    let parlor = parlor_with_jobs().await;
    // The first instant of March 10 and the last of March 11, in Shanghai.
    for (status, at) in [
        ("pending", "2026-03-09T16:00:00Z"),
        ("failed", "2026-03-11T15:59:59.999999Z"),
    ] {
        sqlx::query(
            "update biz.ai_trigger_jobs set created_at = $2::text::timestamptz where status = $1",
        )
        .bind(status)
        .bind(at)
        .execute(&parlor.db)
        .await
        .unwrap();
    }
    for (dates, jobs) in [
        ("date_from=2026-03-10&date_to=2026-03-11", 32),
        ("date_from=2026-03-10&date_to=2026-03-10", 16),
        ("date_from=2026-03-11&date_to=2026-03-11", 16),
        ("date_from=2026-03-12&date_to=2026-03-13", 0),
        ("date_from=2026-03-10&date_to=2026-03-11&status=failed", 16),
        (
            "date_from=2026-03-10&date_to=2026-03-11&event_type=batch",
            4,
        ),
        (
            "date_from=2026-03-09T16:00:00Z&date_to=2026-03-09T16:00:00Z",
            16,
        ),
        ("date_to=2026-03-09T15:59:59Z", 0),
    ] {
        assert_eq!(parlor.total(SITE_ADMIN, dates).await, jobs, "{dates}");
    }
}

#[tokio::test]
async fn jobs_of_a_batch_are_filtered_and_newest_first() {
    let parlor = parlor_with_jobs().await;
    parlor
        .execute(
            "with batch as (
                 insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
                 values (1, '{app3_clue}', '{10001}', 1, 1, now(), 7) returning id
             )
             update biz.ai_trigger_jobs j set batch_id = batch.id from batch
             where j.site_id = 1 and j.event_type in ('batch', 'note.created')",
        )
        .await;
    let id: uuid::Uuid = sqlx::query_scalar("select id from biz.ai_batches")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    for (user, filter, jobs) in [
        (SITE_ADMIN, "", 24),
        (PLATFORM_ADMIN, "", 24),
        (OTHER_SITE_ADMIN, "", 0),
        (SITE_ADMIN, "status=failed", 4),
        (SITE_ADMIN, "event_type=batch", 12),
        (SITE_ADMIN, "event_type=batch&status=failed", 2),
        (SITE_ADMIN, "event_type=prewarm", 0),
        (SITE_ADMIN, "date_to=2020-01-01", 0),
    ] {
        let query = format!("batch_id={id}&{filter}");
        assert_eq!(parlor.total(user, &query).await, jobs, "{user} {filter}");
    }
    let walked = parlor.walked(SITE_ADMIN, &format!("batch_id={id}")).await;
    let by_age = walked.windows(2).all(|pair| {
        let [newer, older] = [&pair[0], &pair[1]].map(|job| {
            let created = job["created_at"].as_str().unwrap().to_owned();
            (created, job["id"].as_i64().unwrap())
        });
        newer > older
    });
    assert!(by_age, "{walked:?}");
    assert_eq!(walked.len(), 24);
}

#[tokio::test]
async fn an_invalid_filter_of_jobs_is_refused_by_field() {
    let parlor = Parlor::start().await;
    for (query, field) in [
        ("status=done", "status"),
        ("status=", "status"),
        ("event_type=batch%00", "event_type"),
        ("event_type=Batch", "event_type"),
        ("date_from=yesterday", "date_from"),
        ("date_from=2026-03-02&date_to=2026-03-01", "date_to"),
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=101", "page_size"),
        ("cursor=x", "cursor"),
        ("site_id=0", "site_id"),
    ] {
        let refused = parlor.get(SITE_ADMIN, &format!("{TRIGGER}?{query}")).await;
        let error = refused.refused_at(TRIGGER, 422, "invalid_request");
        assert_eq!(error["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_large_number_of_jobs_is_estimated() {
    let parlor = Parlor::start().await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, status)
             select 1 + n % 2, 'prewarm', 'schedule', 'prewarm', '{app2_finance}',
                    case when n <= 2000 then 'cancelled' when n % 4 < 2 then 'failed' else 'succeeded' end
             from generate_series(1, 20004) n",
        )
        .await;
    for (user, query, total, is_estimate, shown) in [
        (SITE_ADMIN, "", 1_000, true, 20),
        (PLATFORM_ADMIN, "", 1_000, true, 20),
        (SITE_ADMIN, "event_type=prewarm", 1_000, true, 20),
        (PLATFORM_ADMIN, "status=failed", 1_000, true, 0),
        (PLATFORM_ADMIN, "status=cancelled", 1_000, true, 0),
        (SITE_ADMIN, "status=cancelled", 1_000, false, 0),
    ] {
        let page = parlor
            .get(user, &format!("{TRIGGER}?page=500&{query}"))
            .await;
        let page = page.ok();
        assert_eq!(
            (&page["total"], &page["total_is_estimate"]),
            (&json!(total), &json!(is_estimate)),
            "{user} {query}"
        );
        assert_eq!(page["items"].as_array().unwrap().len(), shown, "{query}");
    }
}

#[tokio::test]
async fn skipped_duplicates_are_counted_per_site() {
    let parlor = parlor().await;
    for order in [1, 1, 1, 2] {
        parlor.trigger(&consumption(MEMBER, order)).await;
    }
    for order in [1, 1] {
        parlor
            .post(OTHER_SITE_ADMIN, TRIGGER, &consumption(20_001, order))
            .await;
    }
    let skipped = async |user, query| {
        let page = parlor.get(user, &format!("{TRIGGER}?{query}")).await;
        page.ok()["today_skipped_duplicates"].as_i64().unwrap()
    };
    assert_eq!(skipped(SITE_ADMIN, "").await, 2);
    assert_eq!(skipped(OTHER_SITE_ADMIN, "").await, 1);
    assert_eq!(skipped(PLATFORM_ADMIN, "site_id=2").await, 1);
    assert_eq!(skipped(PLATFORM_ADMIN, "").await, 3);
    // Also on an empty page.
    assert_eq!(skipped(SITE_ADMIN, "status=cancelled").await, 2);
    // Duplicates of earlier days are not counted.
    parlor.execute("update biz.ai_trigger_jobs set created_at = created_at - interval '1 day' where site_id = 1").await;
    assert_eq!(skipped(SITE_ADMIN, "").await, 0);
}

#[tokio::test]
async fn jobs_of_another_site_are_not_found() {
    let parlor = parlor_with_jobs().await;
    let failed: Vec<i64> = sqlx::query_scalar(
        "select id from biz.ai_trigger_jobs where site_id = 2 and status in ('failed', 'pending')",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    for id in failed.into_iter().chain([4_711_000]) {
        let path = format!("{TRIGGER}/{id}");
        parlor
            .get(SITE_ADMIN, &path)
            .await
            .refused_at(&path, 404, "not_found");
        parlor
            .retry(SITE_ADMIN, id, "")
            .await
            .refused_at(&path, 404, "not_found");
        parlor
            .retry(PLATFORM_ADMIN, id, "?site_id=1")
            .await
            .refused_at(&path, 404, "not_found");
    }
    for path in [
        format!("{TRIGGER}?site_id=2"),
        format!("{TRIGGER}/1?site_id=2"),
    ] {
        parlor
            .get(SITE_ADMIN, &path)
            .await
            .refused_at(&path, 403, "forbidden");
    }
    parlor
        .retry(SITE_ADMIN, 1, "?site_id=2")
        .await
        .refused_at(TRIGGER, 403, "forbidden");
    // A platform admin must name the site for a retry.
    let refused = parlor.retry(PLATFORM_ADMIN, 1, "").await;
    let error = refused.refused_at(TRIGGER, 422, "invalid_request");
    assert_eq!(error["field"], "site_id");
    assert_eq!(parlor.total(PLATFORM_ADMIN, "").await, 240);
    assert_eq!(parlor.audited("trigger_job.retry").await, [] as [Value; 0]);
    for id in ["0", "-1", "x", "99999999999999999999", "%00"] {
        let path = format!("{TRIGGER}/{id}");
        let refused = parlor.get(SITE_ADMIN, &path).await;
        let error = refused.refused_at(&path, 422, "invalid_request");
        assert_eq!(error["field"], "id");
    }
}

#[tokio::test]
async fn a_job_shows_its_runs_and_its_error() {
    let parlor = parlor().await;
    let job = parlor.failed_at_the_second().await;
    let shown = parlor
        .get(PLATFORM_ADMIN, &format!("{TRIGGER}/{job}"))
        .await;
    let shown = shown.ok();
    assert_eq!(
        (
            &shown["id"],
            &shown["status"],
            &shown["step"],
            &shown["site_id"]
        ),
        (&json!(job), &json!("failed"), &json!(1), &json!(1))
    );
    assert_eq!(
        (
            &shown["error_code"],
            &shown["connector_type"],
            &shown["payload"]
        ),
        (
            &json!("bad_answer"),
            &json!("admin_api"),
            &json!({ "order_id": 1 })
        )
    );
    assert!(!shown["error_message"].as_str().unwrap().is_empty());
    for absent in ["retry_of", "batch_id", "duplicate_of"] {
        assert_eq!(shown[absent], Value::Null);
    }
    let asked = shown["runs"].as_array().unwrap();
    let runs = parlor.runs(job).await;
    assert_eq!(column(asked, "run_id"), column(&runs, "id"));
    assert_eq!(column(asked, "status"), column(&runs, "status"));
    assert_eq!(column(asked, "app_type"), column(&runs, "app_type"));
    assert_eq!(asked.len(), 4);

    let same = parlor.member_paid(MEMBER, 2).await;
    let skipped = parlor.trigger(&consumption(MEMBER, 2)).await;
    let path = format!("{TRIGGER}/{}", skipped.body["id"]);
    let skipped = parlor.get(SITE_ADMIN, &path).await;
    assert_eq!(skipped.ok()["duplicate_of"], same);
}

#[tokio::test]
async fn a_manual_event_is_audited_and_a_duplicate_is_not() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    let same = parlor.trigger(&consumption(MEMBER, 1)).await;
    assert_eq!(same.body["status"], "skipped_duplicate");
    let audited = parlor.audited("trigger_job.create").await;
    assert_eq!(audited.len(), 1);
    assert_eq!(
        (
            &audited[0]["site_id"],
            &audited[0]["user_id"],
            &audited[0]["object_id"]
        ),
        (&json!(1), &json!(SITE_ADMIN), &json!(job.to_string()))
    );
    assert_eq!(audited[0]["details"]["event_type"], "consumption.settled");
}

#[tokio::test]
async fn a_retry_starts_at_the_failed_step() {
    let parlor = parlor().await;
    let job = parlor.failed_at_the_second().await;
    let calls = parlor.simulator.calls_count();
    let retry = parlor.retried(job).await;
    let queued = parlor.job(retry).await;
    for (name, value) in [
        ("status", json!("pending")),
        ("is_forced", json!(true)),
        ("retry_of", json!(job)),
        ("step", json!(1)),
        ("trigger_type", json!("manual")),
        ("connector_type", json!("admin_api")),
        ("event_type", json!("consumption.settled")),
        ("payload", json!({ "order_id": 1 })),
    ] {
        assert_eq!(queued[name], value, "{name}");
    }
    parlor.work_until_done().await;
    assert_eq!(parlor.job(retry).await["status"], "succeeded");
    let runs = parlor.runs(retry).await;
    assert_eq!(
        column(&runs, "app_type"),
        ["app8_clue_consolidated", "app7_customer_analysis"]
    );
    assert_eq!(column(&runs, "trigger_type"), ["manual"; 2]);
    assert_eq!(parlor.simulator.calls_count(), calls + 2);
    // The old job is unchanged.
    assert_eq!(parlor.job(job).await["status"], "failed");
    let audited = parlor.audited("trigger_job.retry").await;
    assert_eq!(audited.len(), 1);
    assert_eq!(
        (&audited[0]["object_id"], &audited[0]["details"]),
        (&json!(job.to_string()), &json!({ "id": retry, "step": 1 }))
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_retry_of_a_successful_job_starts_at_the_first_step() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work_until_done().await;
    let same = parlor.trigger(&consumption(MEMBER, 1)).await;
    let skipped = same.body["id"].as_i64().unwrap();
    for (job, calls) in [(job, 6), (skipped, 9)] {
        let retry = parlor.retried(job).await;
        parlor.work_until_done().await;
        assert_eq!(parlor.job(retry).await["status"], "succeeded");
        assert_eq!(parlor.runs(retry).await.len(), 3);
        assert_eq!(parlor.simulator.calls_count(), calls);
    }
}

#[tokio::test]
async fn twenty_concurrent_retries_create_one_job() {
    let parlor = parlor().await;
    let job = parlor.failed_at_the_second().await;
    let presses = (0..20).map(|press| {
        let user = [SITE_ADMIN, PLATFORM_ADMIN][press % 2];
        parlor.retry(user, job, "?site_id=1")
    });
    let answers = join_all(presses).await;
    let made: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .collect();
    assert_eq!(made.len(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.refused_at(TRIGGER, 409, "conflict");
    }
    assert_eq!(parlor.total(SITE_ADMIN, "").await, 2);
    assert_eq!(parlor.audited("trigger_job.retry").await.len(), 1);
}

#[tokio::test]
async fn a_job_is_not_retried_while_it_or_its_retry_is_running() {
    let parlor = parlor().await;
    let conflict = async |job| {
        parlor
            .retry(SITE_ADMIN, job, "")
            .await
            .refused_at(TRIGGER, 409, "conflict");
    };
    parlor.app_8_does(Some("bad-json"));
    let first = parlor.member_paid(MEMBER, 1).await;
    conflict(first).await;
    parlor.work_until_done().await;
    let second = parlor.retried(first).await;
    conflict(first).await;
    conflict(second).await;
    parlor.work_until_done().await;
    assert_eq!(parlor.job(second).await["status"], "failed");
    let third = parlor.retried(second).await;
    for status in ["pending", "running"] {
        sqlx::query(
            "update biz.ai_trigger_jobs set status = $2, lease_until = case $2 when 'running' then now() + interval '1 hour' end where id = $1",
        )
        .bind(third)
        .bind(status)
        .execute(&parlor.db)
        .await
        .unwrap();
        for job in [first, second, third] {
            conflict(job).await;
        }
    }
    parlor
        .execute("update biz.ai_trigger_jobs set status = 'pending', lease_until = null where status = 'running'")
        .await;
    parlor.app_8_does(None);
    parlor.work_until_done().await;
    assert_eq!(parlor.job(third).await["status"], "succeeded");
    // All of them have ended. The job can be retried again, by the id of any of them.
    parlor.retried(first).await;
    conflict(third).await;
}

#[tokio::test]
async fn a_retry_does_not_reply_twice_to_a_session_message() {
    let parlor = parlor().await;
    let jobs: Vec<i64> = sqlx::query_scalar(
        "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, message_id, status)
         select 1, 'chat.session_message', 'session_api', 'session', '{app1_chat}', 7, status from unnest(array['succeeded', 'failed']) status
         returning id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    for job in jobs {
        parlor
            .retry(SITE_ADMIN, job, "")
            .await
            .refused_at(TRIGGER, 409, "conflict");
    }
    assert_eq!(parlor.work().await, Worked::IDLE);
}

impl Parlor {
    async fn set_monthly_budget(&self, tokens: i64) {
        let limits = json!({ "daily_limit": 1_000_000, "monthly_limit": tokens });
        let path = "/api/admin/ai/budget";
        let set = answer(self.request_as(SITE_ADMIN, "PUT", path).json(&limits)).await;
        assert_eq!(set.ok()["monthly_limit"], tokens);
    }

    /// What the detail and the list show of the newest job's wait.
    async fn shown_wait(&self, job: i64) -> (Value, Value) {
        let detail = self.get(SITE_ADMIN, &format!("{TRIGGER}/{job}")).await;
        let list = self.get(SITE_ADMIN, TRIGGER).await;
        let wait = |shown: &Value| (shown["waiting_for"].clone(), shown["run_after"].clone());
        assert_eq!(wait(detail.ok()), wait(&list.ok()["items"][0]));
        wait(detail.ok())
    }

    async fn change(&self, job: i64, what: &str) -> Answer {
        let path = format!("{TRIGGER}/{job}/{what}");
        answer(self.request_as(SITE_ADMIN, "POST", &path)).await
    }
}

#[tokio::test]
async fn a_job_says_that_it_waits_for_the_budget_and_runs_when_it_is_raised() {
    let parlor = parlor().await;
    parlor.set_monthly_budget(10).await;
    let job = parlor.member_paid(MEMBER, 1).await;
    assert_eq!(parlor.shown_wait(job).await.0, Value::Null);
    parlor.work().await;
    let next_month: String = sqlx::query_scalar(
        "select to_char(date_trunc('month', now() at time zone 'Asia/Shanghai') + interval '1 month' - interval '8 hours',
                        'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    let waits = (json!("budget"), json!(next_month));
    assert_eq!(parlor.shown_wait(job).await, waits);
    // A worker does not wake it while the budget has no room.
    assert_eq!(parlor.work().await, Worked::IDLE);
    // There is room for an answer, but not for the prompt of this job.
    parlor.set_monthly_budget(2_010).await;
    assert_eq!(parlor.work().await, Worked::IDLE);
    parlor.set_monthly_budget(1_000_000).await;
    assert_eq!(parlor.work().await.succeeded, 1);
    assert_eq!(parlor.shown_wait(job).await, (Value::Null, Value::Null));
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_waiting_job_can_be_cancelled_or_run_now_once() {
    let parlor = parlor().await;
    parlor.set_monthly_budget(10).await;
    let (cancelled, run) = (
        parlor.member_paid(MEMBER, 1).await,
        parlor.member_paid(MEMBER + 1, 2).await,
    );
    parlor.work().await;
    let answer = parlor.change(cancelled, "cancel").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body),
        (
            202,
            json!({ "id": cancelled, "status": "cancelled", "cancel_requested": false })
        )
    );
    assert_eq!(parlor.job(cancelled).await["status"], "cancelled");
    // The event may come again.
    parlor.member_paid(MEMBER, 1).await;

    assert_eq!(parlor.change(run, "run-now").await.status, 202);
    // The budget still has no room, so the job waits again.
    parlor.work().await;
    assert_eq!(parlor.job(run).await["waits_for"], "budget");
    parlor
        .execute("update biz.ai_budgets set monthly_limit = 1000000")
        .await;
    assert_eq!(parlor.work().await.succeeded, 2);

    for what in ["cancel", "run-now"] {
        for job in [cancelled, run] {
            let refused = parlor.change(job, what).await;
            refused.refused_at(TRIGGER, 409, "conflict");
        }
        let missing = parlor.change(4_711_000, what).await;
        missing.refused_at(TRIGGER, 404, "not_found");
    }
    for (action, job) in [
        ("trigger_job.cancel", cancelled),
        ("trigger_job.run_now", run),
    ] {
        let audited = parlor.audited(action).await;
        assert_eq!(audited.len(), 1);
        assert_eq!(
            (&audited[0]["object_id"], &audited[0]["details"]),
            (&json!(job.to_string()), &json!({ "waits_for": "budget" }))
        );
    }
}

#[tokio::test]
async fn a_reply_that_a_user_waits_for_cannot_be_cancelled() {
    let parlor = Parlor::start().await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    let job: i64 = sqlx::query_scalar("select id from biz.ai_trigger_jobs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    let refused = parlor.change(job, "cancel").await;
    refused.refused_at(TRIGGER, 409, "conflict");
    assert_eq!(parlor.work().await.succeeded, 1);
}
