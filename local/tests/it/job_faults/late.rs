//! Late workers that have lost their job or entry, and messages that are delivered again.

use crate::harness::sweep;
use common::{governance::apps::App, insights::results, platform::sqs::JobQueue};
use futures_util::future::join_all;
use job_worker::Output;
use lambda::Invocation;
use serde_json::Value;
use tokio::time::Instant;

use super::*;
use crate::harness::jobs::{SITE_ADMIN, TRIGGER};

/// A `Parlor` with the member, whose apps return what [`answers`] sets.
async fn parlor() -> Parlor {
    parlor_with(Setup::default()).await
}

/// Like [`parlor`]. A worker with a job claims no other before it ends.
async fn parlor_with_busy_workers() -> Parlor {
    parlor_with(Setup {
        env: vec![("JOB_CONCURRENCY", "1".into())],
        ..Setup::default()
    })
    .await
}

async fn parlor_with(setup: Setup) -> Parlor {
    let parlor = Parlor::start_with(setup).await;
    parlor.execute(PROFILE).await;
    for app in APPS {
        answers(&parlor, app, "");
    }
    parlor
}

/// Sets the scenario and the answer of the first app's next calls.
fn set_answer(parlor: &Parlor, words: &str, before: &str) {
    let answer = json!({ "clues": [{ "category": "…", "summary": words, "detail": "…", "providers": ["…"] }] });
    let scenario = format!("{before}say:{answer}").parse().unwrap();
    parlor.simulator.set_scenario(Some(APPS[0]), Some(scenario));
}

/// Starts a worker in the background.
fn start_worker(parlor: &Parlor) -> JoinHandle<Worked> {
    let worker = parlor.worker.clone();
    #[expect(clippy::disallowed_methods, reason = "workers side by side")]
    tokio::spawn(async move { worker.run(None).await })
}

/// The valid result of the first app.
async fn valid_result(parlor: &Parlor) -> Value {
    let entries = parlor.entries().await;
    let entry = entries
        .iter()
        .find(|entry| entry["cache_type"] == APPS[0] && entry["status"] == "valid");
    entry.unwrap()["result_json"]["clues"][0]["summary"].clone()
}

#[tokio::test]
async fn a_late_worker_changes_nothing_and_its_run_is_charged() {
    let parlor = parlor_with_busy_workers().await;
    set_answer(&parlor, "too late", "gate:0+");
    let job = parlor.member_paid(MEMBER, 1).await;
    let first = start_worker(&parlor);
    parlor.simulator.held(1).await;

    parlor.expire_leases_and_sweep().await;
    set_answer(&parlor, "in time", "");
    parlor.work().await;
    let (done, entries) = (parlor.job(job).await, parlor.entries().await);
    assert_eq!(
        (&done["status"], &done["claims"]),
        (&json!("succeeded"), &json!(2))
    );
    assert_eq!(parlor.simulator.calls_count(), 4);

    parlor.simulator.release();
    let late = first.await.unwrap();
    assert_eq!((late.claimed, late.succeeded, late.given_back), (1, 0, 1));
    assert_eq!(parlor.job(job).await, done);
    assert_eq!(parlor.entries().await, entries);
    assert_eq!(valid_result(&parlor).await, "in time");
    let runs = parlor.runs(job).await;
    assert_eq!(
        (&runs[0]["status"], &runs[0]["tokens_estimated"]),
        (&json!("failed"), &json!(true))
    );
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn only_the_worker_with_the_lease_writes_the_result() {
    let parlor = parlor_with_busy_workers().await;
    set_answer(&parlor, "too late", "gate:0+");
    let job = parlor.member_paid(MEMBER, 1).await;
    let first = start_worker(&parlor);
    parlor.simulator.held(1).await;
    parlor.expire_leases_and_sweep().await;
    set_answer(&parlor, "in time", "gate:0+");
    let second = start_worker(&parlor);
    parlor.simulator.held(2).await;
    parlor.simulator.release();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.succeeded, second.succeeded), (0, 1));
    assert_eq!(valid_result(&parlor).await, "in time");
    assert_eq!(parlor.runs(job).await.len(), 4);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_late_generator_uses_the_result_of_its_successor() {
    let parlor = parlor_with_busy_workers().await;
    set_answer(&parlor, "too late", "gate:0+");
    let first_job = parlor.member_paid(MEMBER, 1).await;
    let first = start_worker(&parlor);
    parlor.simulator.held(1).await;

    // The entry's lease has expired, but the job has not been swept.
    parlor
        .execute("update biz.ai_cache set lease_until = now() - interval '1 second'")
        .await;
    set_answer(&parlor, "in time", "");
    let second_job = parlor.member_paid(MEMBER, 2).await;
    parlor.work().await;
    assert_eq!(parlor.job(second_job).await["status"], "succeeded");
    parlor.simulator.release();
    assert_eq!(first.await.unwrap().succeeded, 1);
    assert_eq!(parlor.job(first_job).await["status"], "succeeded");
    assert_eq!(valid_result(&parlor).await, "in time");
    assert_eq!(parlor.simulator.calls_count(), 4);
    assert_eq!(parlor.entries().await.len(), 3);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_result_invalidated_during_generation_is_generated_again() {
    let parlor = parlor().await;
    set_answer(&parlor, "from what was known before", "gate:0+");
    let job = parlor.member_paid(MEMBER, 1).await;
    let worker = start_worker(&parlor);
    parlor.simulator.held(1).await;
    let invalidated =
        results::invalidate(&parlor.db, 1, SITE_ADMIN, Some(App::Clue), None, None).await;
    assert_eq!(invalidated.unwrap(), 0);
    set_answer(&parlor, "from what is known now", "");
    parlor.simulator.release();
    assert_eq!(worker.await.unwrap().succeeded, 1);
    assert_eq!(valid_result(&parlor).await, "from what is known now");
    assert_eq!(parlor.job(job).await["status"], "succeeded");
    let history = results::history(
        &parlor.db,
        1,
        App::Clue,
        &results::Target::Member(MEMBER),
        9,
    )
    .await;
    assert_eq!(history.unwrap().len(), 1);
    assert_eq!(column(&parlor.runs(job).await, "status"), ["success"; 4]);
    invariants::check_results(&parlor).await;
    invariants::check_books(&parlor).await;
}

/// The SQS event of messages with these ids.
fn messages(ids: &[u32]) -> job_worker::Event {
    let records: Vec<_> = ids
        .iter()
        .map(|id| {
            json!({ "messageId": id.to_string(), "receiptHandle": "r", "body": "{\"wake\":\"job-worker\"}",
                    "attributes": {}, "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:cn-hangzhou:1:jobs", "awsRegion": "cn-hangzhou" })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// The ids of the messages that SQS must deliver again.
async fn failed_messages(parlor: &Parlor, ids: &[u32], ends_at: Option<Instant>) -> Vec<String> {
    let invocation = Invocation {
        event: messages(ids),
        ends_at,
    };
    let answer = job_worker::work(parlor.worker.clone(), invocation).await;
    let Ok(Output::Messages(response)) = answer else {
        panic!("{answer:?}")
    };
    let ids = response.batch_item_failures.into_iter();
    ids.map(|failure| failure.item_identifier).collect()
}

const NONE: [&str; 0] = [];

#[tokio::test]
async fn early_late_repeated_and_reordered_messages_run_each_job_once() {
    let parlor = parlor().await;
    // Messages arrive before there are jobs.
    assert_eq!(failed_messages(&parlor, &[3, 1], None).await, NONE);
    parlor
        .execute(
            "insert into dws.member_profile (site_id, member_id, name, level, joined_on)
             select 1, 70001 + n, '会员', '银卡', '2024-01-01' from generate_series(1, 5) n",
        )
        .await;
    for member in 0..6 {
        parlor.member_paid(MEMBER + member, 1).await;
    }
    let batches: [&[u32]; 5] = [&[2, 1], &[1, 2, 3], &[6, 5, 4], &[6], &[3]];
    let deliveries = batches.map(|batch| failed_messages(&parlor, batch, None));
    for left in join_all(deliveries).await {
        assert_eq!(left, NONE);
    }
    assert_eq!(parlor.simulator.calls_count(), 18);
    assert_eq!(
        failed_messages(&parlor, &[1, 2, 3, 4, 5, 6], None).await,
        NONE
    );
    assert_eq!(parlor.simulator.calls_count(), 18);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn messages_that_no_worker_has_time_for_are_delivered_again() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    let soon = Instant::now() + Duration::from_mins(1);
    assert_eq!(
        failed_messages(&parlor, &[8, 9], Some(soon)).await,
        ["8", "9"]
    );
    let untouched = parlor.job(job).await;
    assert_eq!(
        (&untouched["status"], &untouched["claims"]),
        (&json!("pending"), &json!(0))
    );
    assert_eq!(failed_messages(&parlor, &[8, 9], None).await, NONE);
    assert_eq!(parlor.job(job).await["status"], "succeeded");
}

/// Delivers an event of the bus. Returns its job.
async fn deliver(parlor: &Parlor, id: &str, order: i64) -> Value {
    let event = json!({
        "version": "0", "id": id, "detail-type": "consumption.settled", "source": "parlor.business", "account": "1",
        "time": "2026-11-21T03:00:00Z", "region": "cn-hangzhou", "resources": [],
        "detail": { "site_id": 1, "member_id": MEMBER, "payload": { "order_id": order } },
    });
    let tools = trigger_dispatch::AppState {
        db: parlor.tools.db.clone(),
        queue: JobQueue::none(),
    };
    let invocation = Invocation {
        event: serde_json::from_value(event).unwrap(),
        ends_at: None,
    };
    let job = trigger_dispatch::dispatch(tools, invocation).await;
    serde_json::to_value(job.unwrap()).unwrap()
}

async fn statuses(parlor: &Parlor) -> Vec<(String, i64)> {
    sqlx::query_as("select status, count(*) from biz.ai_trigger_jobs group by 1 order by 1")
        .fetch_all(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_redelivered_bus_event_is_the_same_job() {
    let parlor = parlor().await;
    let twice = join_all((0..10).map(|_| deliver(&parlor, "e-1", 1))).await;
    assert!(twice.iter().all(|job| *job == twice[0]), "{twice:?}");
    assert_eq!(statuses(&parlor).await, [("pending".to_owned(), 1)]);
    parlor.work().await;

    // After the job has ended, and on another business date.
    let done = deliver(&parlor, "e-1", 1).await;
    assert_eq!(
        (&done["id"], &done["status"]),
        (&twice[0]["id"], &json!("succeeded"))
    );
    parlor
        .execute("update biz.sites set timezone = 'Etc/GMT-14' where id = 1")
        .await;
    parlor
        .execute("update biz.sites set runtime_mode = 'sandbox', sandbox_date = site_today(1) + 1 where id = 1")
        .await;
    assert_eq!(deliver(&parlor, "e-1", 1).await["id"], twice[0]["id"]);
    // Another id is another event, because the business date has changed.
    assert_eq!(deliver(&parlor, "e-2", 1).await["status"], "pending");
    assert_eq!(
        deliver(&parlor, "e-3", 1).await["status"],
        "skipped_duplicate"
    );
    let again = join_all((0..10).map(|_| deliver(&parlor, "e-3", 1))).await;
    assert!(again.iter().all(|job| *job == again[0]), "{again:?}");
    let counts = statuses(&parlor).await;
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<i64>(), 3);
}

#[tokio::test]
async fn ten_concurrent_equal_events_are_one_job_and_nine_duplicates() {
    let parlor = parlor().await;
    let event = consumption(MEMBER, 1);
    let answers = join_all((0..10).map(|_| parlor.post(SITE_ADMIN, TRIGGER, &event))).await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    assert_eq!(
        statuses(&parlor).await,
        [
            ("pending".to_owned(), 1),
            ("skipped_duplicate".to_owned(), 9)
        ]
    );
    let firsts: Vec<(i64, i64)> = sqlx::query_as(
        "select distinct d.duplicate_of, j.id from biz.ai_trigger_jobs d, biz.ai_trigger_jobs j
         where d.status = 'skipped_duplicate' and j.status = 'pending'",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert!(matches!(firsts[..], [(of, job)] if of == job), "{firsts:?}");
    parlor.work().await;
    assert_eq!(parlor.simulator.calls_count(), 3);
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn concurrent_jobs_exceed_a_budget_by_at_most_their_corrections() {
    let parlor = parlor_with(Setup {
        env: vec![
            ("JOB_CONCURRENCY", "10".into()),
            // Large compared with the prompts, which are reserved, too.
            ("JOB_RESERVED_TOKENS", "20000".into()),
        ],
        ..Setup::default()
    })
    .await;
    parlor
        .execute(
            "insert into dws.member_profile (site_id, member_id, name, level, joined_on)
             select 1, 70001 + n, '会员', '银卡', '2024-01-01' from generate_series(1, 9) n",
        )
        .await;
    parlor
        .execute(
            "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 70000, 1000000)
             on conflict (site_id) do update set daily_limit = 70000",
        )
        .await;
    for member in 0..10 {
        parlor.member_paid(MEMBER + member, 1).await;
    }
    // DashScope reports no usage, so the reservation is charged.
    parlor
        .simulator
        .set_scenario(Some(APPS[0]), Some("gate:0+no-usage".parse().unwrap()));
    let worker = start_worker(&parlor);
    parlor.simulator.held(3).await;
    until("the others wait for another day", async || {
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from biz.ai_trigger_jobs where error_code = 'budget_exceeded' and status = 'pending'")
                .fetch_one(&parlor.db)
                .await
                .unwrap();
        (waiting == 7).then_some(())
    })
    .await;
    assert_eq!(parlor.simulator.calls_count(), 3);
    parlor.simulator.release();
    worker.await.unwrap();
    let (tokens, calls, failures): (i64, i64, i64) = sqlx::query_as(
        "select sum(tokens)::bigint, sum(calls)::bigint, sum(failures)::bigint from biz.ai_usage_daily where site_id = 1",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    // Three calls succeeded. The seven other jobs and the second apps of the three were refused,
    // which is no call.
    assert_eq!((calls, failures), (3, 0));
    assert!((60_000..70_000).contains(&tokens), "{tokens}");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn every_run_of_a_job_is_counted_with_any_outcome() {
    let parlor = parlor().await;
    let does = |app: &str, scenario: &str| {
        let scenario = scenario.parse().unwrap();
        parlor.simulator.set_scenario(Some(app), Some(scenario));
    };
    parlor.member_paid(MEMBER, 1).await;
    does(APPS[0], "unavailable");
    parlor.work().await;
    parlor.make_jobs_due().await;
    does(APPS[0], "bad-json");
    parlor.work().await;
    answers(&parlor, APPS[0], "");
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at)
             values ('app8_clue_consolidated', 'app8_clue_consolidated', 'open', 5, now(), now() + interval '60 seconds')",
        )
        .await;
    parlor.member_paid(MEMBER, 2).await;
    parlor.work().await;
    parlor.execute("delete from biz.ai_circuits").await;
    parlor
        .execute(
            "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 1, 1)",
        )
        .await;
    parlor.make_jobs_due().await;
    parlor.work().await;
    let counted: Vec<(String, String, i64)> = sqlx::query_as(
        "select app_type, status || coalesce(' ' || error_code, ''), count(*) from biz.ai_run_logs group by 1, 2 order by 1, 2",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let expected = [
        ("app3_clue", "failed bad_answer", 3),
        ("app3_clue", "failed upstream_error", 1),
        ("app3_clue", "success", 1),
        (
            "app8_clue_consolidated",
            "budget_exceeded budget_exceeded",
            1,
        ),
    ];
    let expected = expected.map(|(app, status, runs)| (app.to_owned(), status.to_owned(), runs));
    assert_eq!(counted, expected);
    let usage: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select app_type, calls, successes, failures from biz.ai_usage_daily order by 1",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert_eq!(
        usage,
        [(APPS[0].to_owned(), 5, 1, 4), (APPS[1].to_owned(), 0, 0, 0)]
    );
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn sweeping_a_dead_workers_probe_allows_another_probe() {
    let parlor = parlor_with_busy_workers().await;
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at)
             values ('app3_clue', 'app3_clue', 'open', 5, now(), now())",
        )
        .await;
    answers(&parlor, APPS[0], "gate:0+");
    let job = parlor.member_paid(MEMBER, 1).await;
    let probe = start_worker(&parlor);
    parlor.simulator.held(1).await;
    answers(&parlor, APPS[0], "");
    probe.abort();
    assert!(probe.await.is_err());
    // While the first worker may be alive, no other probe is allowed.
    let other = parlor.member_paid(MEMBER, 2).await;
    parlor
        .execute("update biz.ai_cache set lease_until = now() - interval '1 second'")
        .await;
    parlor.work().await;
    assert_eq!(parlor.job(other).await["error_code"], "circuit_open");
    assert_eq!(parlor.simulator.calls_count(), 1);
    parlor.expire_leases_and_sweep().await;
    parlor.make_jobs_due().await;
    parlor.work().await;
    parlor.make_jobs_due().await;
    parlor.work().await;
    for job in [job, other] {
        assert_eq!(parlor.job(job).await["status"], "succeeded");
    }
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn an_abandoned_run_is_settled_after_the_longest_call_time() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor
        .execute("update biz.ai_trigger_jobs set status = 'running', claims = 9, lease_until = now() + interval '30 seconds'")
        .await;
    parlor
        .execute("select begin_job_run(1, (select id from biz.ai_trigger_jobs), 9, 'app3_clue', 'app3_clue', 70001, row(0.6, 30000, 0, 2000), 'p', 'app3_clue/1', 30)")
        .await;
    parlor
        .execute("update biz.ai_trigger_jobs set status = 'pending', lease_until = null")
        .await;
    let swept = sweep(&parlor.db, 90).await.unwrap();
    assert_eq!(swept.runs, 0);
    parlor
        .execute("update biz.ai_run_logs set created_at = created_at - interval '10 minutes'")
        .await;
    let swept = sweep(&parlor.db, 90).await.unwrap();
    assert_eq!(swept.runs, 1);
    parlor.work().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
    invariants::check_books(&parlor).await;
}
