//! Events start chains of apps. Each result is stored and reused.

mod trouble;

use common::insights::jobs::Worked;
use futures_util::future::join;
use serde_json::{Value, json};

use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, TRIGGER, column, consumption},
    parlor::{COACH, Parlor, Setup},
    until,
};

/// A member of site 1.
const MEMBER: i64 = 10_001;

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

/// The expected outcome if all claimed jobs succeed.
fn succeeded(jobs: u32) -> Worked {
    Worked {
        claimed: jobs,
        succeeded: jobs,
        ..Worked::IDLE
    }
}

impl Parlor {
    async fn name_of(&self, member: i64) -> String {
        sqlx::query_scalar("select name from dws.member_profile where member_id = $1")
            .bind(member)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_visit_becomes_clues_then_consolidated_clues_then_strategies() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    assert_eq!(parlor.work().await, succeeded(1));

    let done = parlor.job(job).await;
    assert_eq!(
        (&done["status"], &done["step"], &done["attempts"]),
        (&json!("succeeded"), &json!(3), &json!(1))
    );
    let apps = [
        "app3_clue",
        "app8_clue_consolidated",
        "app7_customer_analysis",
    ];
    let entries = parlor.entries().await;
    assert_eq!(column(&entries, "cache_type"), apps);
    let name = parlor.name_of(MEMBER).await;
    for entry in &entries {
        assert_eq!(entry["status"], "valid");
        assert_eq!(entry["target_id"], format!("member:{MEMBER}"));
        assert_eq!(
            (&entry["site_id"], &entry["member_id"]),
            (&json!(1), &json!(MEMBER))
        );
        assert_eq!(
            (&entry["triggered_by"], &entry["job_id"]),
            (&json!("event"), &json!(job))
        );
        assert!(entry["result_json"].to_string().contains(&name), "{entry}");
    }

    let runs = parlor.runs(job).await;
    assert_eq!(column(&runs, "app_type"), apps);
    assert_eq!(column(&runs, "id"), column(&entries, "run_id"));
    for run in &runs {
        assert_eq!(
            (&run["status"], &run["trigger_type"]),
            (&json!("success"), &json!("event"))
        );
        assert_eq!(
            (&run["member_id"], &run["reserved_tokens"]),
            (
                &json!(MEMBER),
                &json!(2_000 + run["prompt_tokens"].as_i64().unwrap())
            )
        );
        let version = run["prompt_version"].as_str().unwrap();
        assert!(
            version.starts_with(run["app_type"].as_str().unwrap()),
            "{version}"
        );
        assert!(run["tokens_used"].as_i64().unwrap() > 0);
        assert!(run["request_prompt"].as_str().unwrap().contains(&name));
    }
    // The prompt of each app contains the result of the previous app.
    for (result, prompt) in entries.iter().zip(&runs[1..]) {
        let clue = result["result_json"]["clues"][0]["summary"]
            .as_str()
            .unwrap();
        assert!(prompt["request_prompt"].as_str().unwrap().contains(clue));
    }
}

#[tokio::test]
async fn a_valid_result_is_reused_unless_forced() {
    let parlor = parlor().await;
    let first = parlor.member_paid(MEMBER, 1).await;
    parlor.work().await;
    assert_eq!(parlor.simulator.calls_count(), 3);

    // The same event creates no job and names the job that it duplicates.
    let same = parlor.trigger(&consumption(MEMBER, 1)).await;
    assert_eq!(
        (same.status.as_u16(), &same.body["status"]),
        (202, &json!("skipped_duplicate"))
    );
    let skipped = parlor.job(same.body["id"].as_i64().unwrap()).await;
    assert_eq!(skipped["duplicate_of"], first);
    assert!(
        skipped["error_message"]
            .as_str()
            .unwrap()
            .contains(&first.to_string())
    );
    assert_eq!(parlor.work().await, Worked::IDLE);

    // Another visit on the same day creates a job, but all its results are valid already.
    let other = parlor.member_paid(MEMBER, 2).await;
    assert_eq!(parlor.work().await, succeeded(1));
    assert_eq!(parlor.job(other).await["status"], "succeeded");
    assert_eq!(parlor.simulator.calls_count(), 3);

    // If forced, all results are generated again from the previous ones, and replace them.
    let mut forced = consumption(MEMBER, 1);
    forced["is_forced"] = json!(true);
    let forced = parlor.trigger_accepted(&forced).await;
    parlor.work().await;
    assert_eq!(parlor.simulator.calls_count(), 6);
    assert_eq!(parlor.runs(forced).await.len(), 3);
    let statuses = column(&parlor.entries().await, "status");
    assert_eq!(
        statuses,
        ["expired", "expired", "expired", "valid", "valid", "valid"]
    );
    let calls = parlor.simulator.calls();
    assert!(!calls[0].prompt().contains("参考") && calls[3].prompt().contains("参考"));
}

#[tokio::test]
async fn a_participating_coach_gets_a_task_and_suggested_words() {
    let parlor = parlor().await;
    let mut event = consumption(MEMBER, 1);
    event["payload"]["coach_id"] = json!(1001);
    parlor.trigger_accepted(&event).await;
    parlor.work().await;
    let entries = parlor.entries().await;
    let apps = column(&entries[3..], "cache_type");
    assert_eq!(apps, ["app4_analysis", "app5_tactics"]);
    let calls = parlor.simulator.calls();
    assert!(calls[3].prompt().contains("阿杰"));
    let analysis = entries[3]["result_json"]["one_line_summary"]
        .as_str()
        .unwrap();
    assert!(calls[4].prompt().contains(analysis));
}

#[tokio::test]
async fn tasks_and_notes_have_results_of_their_own() {
    let parlor = parlor().await;
    let note: i64 =
        sqlx::query_scalar("select min(note_id) from dws.member_note where site_id = 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    let (task, member) = (1_001_004, note / 100);
    parlor
        .trigger_accepted(&json!({ "event_type": "task.assigned", "payload": { "task_id": task } }))
        .await;
    parlor
        .trigger_accepted(&json!({ "event_type": "note.created", "member_id": member, "payload": { "note_id": note } }))
        .await;
    assert_eq!(parlor.work().await, succeeded(2));
    let mut targets: Vec<String> = parlor
        .entries()
        .await
        .iter()
        .map(|entry| {
            format!(
                "{} {}",
                entry["cache_type"].as_str().unwrap(),
                entry["target_id"].as_str().unwrap()
            )
        })
        .collect();
    targets.sort();
    assert_eq!(
        targets,
        [
            format!("app4_analysis task:{task}"),
            format!("app5_tactics task:{task}"),
            format!("app6_note_analysis note:{note}"),
            format!("app8_clue_consolidated member:{member}"),
        ]
    );
    let scored = parlor.entries().await;
    let scored: Vec<_> = scored
        .iter()
        .filter(|entry| !entry["score"].is_null())
        .collect();
    assert_eq!(scored.len(), 1);
    assert_eq!(scored[0]["score"], scored[0]["result_json"]["score"]);
}

#[tokio::test]
async fn a_note_about_one_member_reveals_nothing_about_others() {
    let parlor = parlor().await;
    let note: i64 =
        sqlx::query_scalar("select min(note_id) from dws.member_note where site_id = 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    let another = note / 100 + 1;
    let event = json!({ "event_type": "note.created", "member_id": another, "payload": { "note_id": note } });
    let job = parlor.trigger_accepted(&event).await;
    parlor.work().await;
    assert_eq!(parlor.job(job).await["error_code"], "not_found");
    assert_eq!(parlor.simulator.calls_count(), 0);
}

#[tokio::test]
async fn new_facts_of_a_site_queue_only_its_filters() {
    let parlor = parlor().await;
    let job = parlor
        .trigger_accepted(&json!({ "event_type": "etl.finished" }))
        .await;
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
    let entries = parlor.entries().await;
    // Eight periods: all areas together, each of three areas, and the comparison of areas.
    assert_eq!(entries.len(), 8 * (1 + 3) + 8);
    assert!(
        entries
            .iter()
            .all(|entry| entry["site_id"] == 1 && entry["status"] == "valid")
    );
}

#[tokio::test]
async fn an_event_is_of_the_admins_own_site() {
    let parlor = parlor().await;
    let event = consumption(MEMBER, 1);
    let with_site = |site: i64| {
        let mut event = event.clone();
        event["site_id"] = json!(site);
        event
    };
    let refused = parlor.trigger(&with_site(2)).await;
    refused.refused_at(TRIGGER, 403, "forbidden");
    let unnamed = parlor.post(PLATFORM_ADMIN, TRIGGER, &event).await;
    assert_eq!(
        unnamed.refused_at(TRIGGER, 422, "invalid_request")["field"],
        "site_id"
    );
    let unknown = parlor.post(PLATFORM_ADMIN, TRIGGER, &with_site(77)).await;
    unknown.refused_at(TRIGGER, 404, "not_found");
    assert_eq!(
        parlor
            .post(PLATFORM_ADMIN, TRIGGER, &with_site(1))
            .await
            .status,
        202
    );

    // The other site has no such member. No call is made, and the job is retried, because facts may
    // come late.
    let other = parlor.post(OTHER_SITE_ADMIN, TRIGGER, &event).await;
    parlor.work().await;
    let job = parlor.job(other.body["id"].as_i64().unwrap()).await;
    assert_eq!(
        (&job["site_id"], &job["status"], &job["error_code"]),
        (&json!(2), &json!("pending"), &json!("not_found"))
    );
    assert!(
        parlor
            .entries()
            .await
            .iter()
            .all(|entry| entry["site_id"] == 1)
    );
}

#[tokio::test]
async fn an_invalid_event_is_refused_by_field() {
    let parlor = parlor().await;
    for (event, field) in [
        (json!({}), "event_type"),
        (json!({ "event_type": "prewarm" }), "event_type"),
        (json!({ "event_type": 7 }), "event_type"),
        (json!({ "event_type": "consumption.settled" }), "member_id"),
        (
            json!({ "event_type": "consumption.settled", "member_id": "7" }),
            "member_id",
        ),
        (
            json!({ "event_type": "consumption.settled", "member_id": -7 }),
            "member_id",
        ),
        (
            json!({ "event_type": "note.created", "member_id": 7 }),
            "payload.note_id",
        ),
        (
            json!({ "event_type": "etl.finished", "payload": [] }),
            "payload",
        ),
        (
            json!({ "event_type": "etl.finished", "payload": { "x": "大".repeat(6_000) } }),
            "payload",
        ),
        (
            json!({ "event_type": "etl.finished", "is_forced": "yes" }),
            "is_forced",
        ),
        (
            json!({ "event_type": "etl.finished", "site_id": 1.5 }),
            "site_id",
        ),
    ] {
        let answer = parlor.trigger(&event).await;
        let body = answer.refused_at(TRIGGER, 422, "invalid_request");
        assert_eq!(body["field"], field, "{event}");
    }
    let jobs: i64 = sqlx::query_scalar("select count(*) from biz.ai_trigger_jobs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn the_same_event_of_another_business_date_is_another_event() {
    let parlor = parlor().await;
    let statuses = async || {
        let answer = parlor.trigger(&consumption(MEMBER, 1)).await;
        answer.body["status"].clone()
    };
    assert_eq!(statuses().await, "pending");
    assert_eq!(statuses().await, "skipped_duplicate");
    parlor
        .execute("update biz.sites set runtime_mode = 'sandbox', sandbox_date = site_today(1) - 1 where id = 1")
        .await;
    assert_eq!(statuses().await, "pending");
    assert_eq!(statuses().await, "skipped_duplicate");
}

#[tokio::test]
async fn an_event_whose_job_failed_can_be_sent_again() {
    let parlor = parlor().await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor
        .execute("update biz.ai_trigger_jobs set status = 'failed', finished_at = now()")
        .await;
    assert_ne!(parlor.member_paid(MEMBER, 1).await, job);
}

#[tokio::test]
async fn a_site_with_many_jobs_delays_another_by_at_most_one() {
    let parlor = Parlor::with_business(Setup {
        env: vec![("JOB_CONCURRENCY", "1".into())],
        ..Setup::default()
    })
    .await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain)
             select 1, 'consumption.settled', 'event_bus', 'event', 10000 + n, array['app3_clue'] from generate_series(1, 10) n",
        )
        .await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, member_id, app_chain)
             select 2, 'consumption.settled', 'event_bus', 'event', 20000 + n, array['app3_clue'] from generate_series(1, 3) n",
        )
        .await;
    assert_eq!(parlor.work().await, succeeded(13));
    let order: Vec<i64> =
        sqlx::query_scalar("select site_id from biz.ai_trigger_jobs order by started_at")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
    assert_eq!(order, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn concurrent_workers_run_each_job_once() {
    let parlor = parlor().await;
    for order in 0..12 {
        parlor.member_paid(MEMBER + order, order + 1).await;
    }
    let workers = (0..4).map(|_| parlor.worker.run(None));
    let done = futures_util::future::join_all(workers).await;
    let claimed: u32 = done.iter().map(|worked| worked.claimed).sum();
    assert_eq!(claimed, 12);
    assert_eq!(parlor.simulator.calls_count(), 36);
    let twice: Vec<Value> = sqlx::query_scalar(
        "select to_jsonb(j) from biz.ai_trigger_jobs j where status <> 'succeeded' or claims <> 1",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert_eq!(twice, [] as [Value; 0]);
}

#[tokio::test]
async fn a_busy_worker_starts_new_jobs_beside_a_slow_call() {
    let parlor = parlor().await;
    let slow = parlor.member_paid(MEMBER, 1).await;
    parlor
        .simulator
        .set_scenario(Some("app3_clue"), Some("gate:0".parse().unwrap()));
    let message = async {
        parlor.simulator.held(1).await;
        let session = parlor.begin_session(COACH).await;
        parlor.create_message(COACH, &session, "还在吗？").await;
        until("the bot replies beside the slow call", async || {
            let page = parlor.session_messages(COACH, &session, "limit=2").await;
            (page["messages"].as_array().unwrap().len() == 2).then_some(())
        })
        .await;
        assert_eq!(parlor.job(slow).await["status"], "running");
        parlor.simulator.release();
    };
    let (worked, ()) = join(parlor.work(), message).await;
    assert_eq!(worked, succeeded(2));
}
