//! The real binaries of the background functions, each with the events for which it is built.
//! Messages that one function sends wake the other.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use local::{
    demo,
    emulator::{FunctionError, Outcome},
};
use serde_json::{Value, json};

use crate::harness::{
    cloud::{Cloud, about_session, recorded, recorded_of, with_body},
    moto::Moto,
    parlor::COACH,
    routes::SITE_ADMIN,
};

/// All jobs as JSON, oldest first.
async fn jobs(cloud: &Cloud) -> Vec<Value> {
    sqlx::query_scalar("select to_jsonb(j) from biz.ai_trigger_jobs j order by id")
        .fetch_all(&cloud.parlor.db)
        .await
        .unwrap()
}

async fn job(cloud: &Cloud, id: &Value) -> Value {
    let jobs = jobs(cloud).await;
    jobs.into_iter().find(|job| job["id"] == *id).unwrap()
}

/// A cloud with business data at its sites.
async fn cloud_with_business() -> Cloud {
    let cloud = Cloud::start().await;
    demo::load_business(&cloud.parlor.db).await.unwrap();
    cloud
}

/// A recorded event of the bus with another id, type and detail.
fn bus_event(id: &str, detail_type: &str, detail: &Value) -> Value {
    let mut event = recorded("eventbridge");
    event["id"] = id.into();
    event["detail-type"] = detail_type.into();
    event["detail"] = detail.clone();
    event
}

/// The event that a note of site 1 was written.
async fn note_created(id: &str, cloud: &Cloud) -> Value {
    let (note_id, member_id): (i64, i64) = sqlx::query_as(
        "select note_id, member_id from dws.member_note where site_id = 1 order by note_id limit 1",
    )
    .fetch_one(&cloud.parlor.db)
    .await
    .unwrap();
    let detail = json!({ "site_id": 1, "member_id": member_id, "payload": { "note_id": note_id } });
    bus_event(id, "note.created", &detail)
}

#[tokio::test]
async fn a_repeated_bus_event_creates_one_job() {
    let cloud = Cloud::start().await;
    let event = recorded("eventbridge");
    let first = cloud.report("trigger-dispatch", &event).await;
    assert_eq!(first["status"], "pending");
    let again = cloud.report("trigger-dispatch", &event).await;
    assert_eq!(again, first);

    let jobs = jobs(&cloud).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["id"], first["id"]);
    assert_eq!(jobs[0]["site_id"], 1);
    assert_eq!(jobs[0]["event_type"], event["detail-type"]);
    assert_eq!(jobs[0]["event_id"], event["id"]);
    assert_eq!(jobs[0]["connector_type"], "event_bus");
    assert_eq!(jobs[0]["payload"], event["detail"]["payload"]);
}

#[tokio::test]
async fn each_kind_of_event_of_the_bus_becomes_a_job() {
    let cloud = Cloud::start().await;
    for (kind, detail) in [
        (
            "consumption.settled",
            json!({ "site_id": 1, "member_id": 7, "payload": { "order_id": 5, "coach_id": 1001 } }),
        ),
        (
            "note.created",
            json!({ "site_id": 1, "member_id": 7, "payload": { "note_id": 3 } }),
        ),
        (
            "task.assigned",
            json!({ "site_id": 2, "payload": { "task_id": 3 } }),
        ),
        ("etl.finished", json!({ "site_id": 2 })),
    ] {
        let dispatched = cloud
            .report("trigger-dispatch", &bus_event(kind, kind, &detail))
            .await;
        assert_eq!(dispatched["status"], "pending", "{kind}");
        let job = job(&cloud, &dispatched["id"]).await;
        assert_eq!(job["event_type"], kind);
        assert_eq!(job["site_id"], detail["site_id"], "{kind}");
        assert_eq!(job["member_id"], detail["member_id"], "{kind}");
    }
    // Another event with the same content is a duplicate.
    let repeated = bus_event("another", "etl.finished", &json!({ "site_id": 2 }));
    let repeated = cloud.report("trigger-dispatch", &repeated).await;
    assert_eq!(repeated["status"], "skipped_duplicate");
    assert_eq!(jobs(&cloud).await.len(), 5);
}

/// The error of an event that is refused.
async fn refused(cloud: &Cloud, event: &Value) -> FunctionError {
    let outcome = cloud.invoke("trigger-dispatch", event).await;
    let Outcome::Error(error) = outcome else {
        panic!("{event}: {outcome:?}")
    };
    error
}

#[tokio::test]
async fn an_invalid_bus_event_fails_with_its_field_and_stores_nothing() {
    let cloud = Cloud::start().await;
    for (kind, detail, why) in [
        ("etl.finished", json!(null), "detail"),
        ("etl.finished", json!({}), "site_id"),
        ("etl.finished", json!({ "site_id": "1" }), "detail"),
        (
            "etl.finished",
            json!({ "site_id": 1, "payload": [] }),
            "detail",
        ),
        ("etl.finished", json!({ "site_id": 4_711 }), "no such site"),
        ("etl.started", json!({ "site_id": 1 }), "event_type"),
        ("prewarm", json!({ "site_id": 1 }), "event_type"),
        (
            "note.created",
            json!({ "site_id": 1, "member_id": 7 }),
            "note_id",
        ),
    ] {
        let error = refused(&cloud, &bus_event("made up", kind, &detail)).await;
        // Alarms filter by the error type.
        assert_eq!(error.kind, "trigger_dispatch::DispatchFailed", "{error}");
        assert!(error.message.contains("the event is refused"), "{error}");
        assert!(error.message.contains(why), "{error}");
    }
    // An event that is not from the bus is refused before it is parsed.
    refused(&cloud, &recorded("sqs")).await;
    refused(&cloud, &json!({})).await;
    assert!(jobs(&cloud).await.is_empty());
    // The next event is served.
    let event = recorded("eventbridge");
    cloud.report("trigger-dispatch", &event).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_fails_without_database_details() {
    let away = "postgres://parlor:geheim@127.0.0.1:1/parlor";
    let cloud = Cloud::start_with(|spec| set(&mut spec.env, "DATABASE_URL", away)).await;
    let error = refused(&cloud, &recorded("eventbridge")).await;
    assert_eq!(error.kind, "trigger_dispatch::DispatchFailed");
    assert_eq!(error.message, "the event could not be stored");

    // The worker returns all messages to the queue. A scheduled invocation fails, so that it is
    // counted.
    let answer = cloud.report("job-worker", &recorded("sqs")).await;
    let id = &recorded("sqs")["Records"][0]["messageId"];
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": id }] })
    );
    for (function, kind) in [
        ("job-worker", "job_worker::ClaimFailed"),
        ("prewarm", "prewarm::PrewarmFailed"),
    ] {
        let outcome = cloud.invoke(function, &recorded("schedule")).await;
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.kind, kind);
    }

    for function in ["trigger-dispatch", "job-worker", "prewarm"] {
        for line in cloud.emulator.logs(function).unwrap() {
            assert!(!line.contains("geheim"), "{line}");
        }
    }
}

fn set(env: &mut [(String, String)], name: &str, value: &str) {
    for (_, was) in env.iter_mut().filter(|(known, _)| known == name) {
        value.clone_into(was);
    }
}

#[tokio::test]
async fn messages_and_schedules_make_the_worker_run_due_jobs() {
    let cloud = cloud_with_business().await;
    let noted = note_created("1", &cloud).await;
    let noted = cloud.report("trigger-dispatch", &noted).await;
    let answer = cloud.report("job-worker", &recorded("sqs")).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let done = job(&cloud, &noted["id"]).await;
    assert_eq!(done["status"], "succeeded", "{done}");

    // Without facts at site 2, the event creates no further jobs.
    sqlx::query("delete from dws.finance_area_daily where site_id = 2")
        .execute(&cloud.parlor.db)
        .await
        .unwrap();
    let finished = bus_event("2", "etl.finished", &json!({ "site_id": 2 }));
    let finished = cloud.report("trigger-dispatch", &finished).await;
    let worked = cloud.report("job-worker", &recorded("schedule")).await;
    assert_eq!(
        worked,
        json!({ "claimed": 1, "succeeded": 1, "failed": 0, "given_back": 0, "drained": true, "unreachable": false })
    );
    assert_eq!(job(&cloud, &finished["id"]).await["status"], "succeeded");

    // Nothing is left. A needless wake-up is harmless.
    for event in [recorded("schedule"), json!({})] {
        let idle = cloud.report("job-worker", &event).await;
        assert_eq!(
            (&idle["claimed"], &idle["drained"]),
            (&json!(0), &json!(true))
        );
    }
    let answer = cloud.report("job-worker", &recorded("sqs")).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
}

#[tokio::test]
async fn the_schedule_has_missing_insights_queued_once_and_a_dry_run_only_counts() {
    let cloud = cloud_with_business().await;
    let by_hand = json!({ "dry_run": true });
    let would = cloud.report("prewarm", &by_hand).await;
    assert_eq!(would["sites"], 2);
    let missing = would["enqueued"].as_u64().unwrap();
    assert!(missing > 0, "{would}");
    assert!(jobs(&cloud).await.is_empty());

    let one = json!({ "dry_run": true, "site_id": 1 });
    let one = cloud.report("prewarm", &one).await;
    assert_eq!(one["sites"], 1);

    let first = cloud.report("prewarm", &recorded("schedule")).await;
    assert_eq!(first, would);
    let queued = jobs(&cloud).await;
    assert_eq!(queued.len() as u64, missing);
    assert!(queued.iter().all(|job| job["connector_type"] == "schedule"));
    let second = cloud.report("prewarm", &recorded("schedule")).await;
    assert_eq!(
        (&second["enqueued"], &second["under_way"]),
        (&json!(0), &json!(missing))
    );
    assert_eq!(jobs(&cloud).await.len() as u64, missing);
}

#[tokio::test]
async fn an_admin_queues_an_event_through_the_gateway() {
    let cloud = Cloud::start().await;
    let event = recorded_of("admin-jobs", SITE_ADMIN);
    let answer = cloud.answer("admin-jobs", &event).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.body["status"], "pending");
    let job = job(&cloud, &answer.body["id"]).await;
    assert_eq!(
        (&job["site_id"], &job["event_type"], &job["connector_type"]),
        (&json!(1), &json!("etl.finished"), &json!("admin_api"))
    );
    let answer = cloud.answer("admin-jobs", &recorded("admin-jobs")).await;
    answer.refused_at("/api/admin/ai/trigger-jobs", 401, "unauthorized");
}

/// A cloud with a job queue.
async fn cloud_with_queue() -> (Cloud, Moto, String) {
    let moto = Moto::start().await;
    let queue = moto.create_queue("jobs").await;
    let cloud = Cloud::start_with(|spec| {
        spec.env.extend(moto.variables());
        spec.env.push(("JOB_QUEUE_URL".to_owned(), queue.clone()));
    })
    .await;
    (cloud, moto, queue)
}

/// The Lambda event of messages that were received.
fn batch(messages: &[Value]) -> Value {
    let records = messages.iter().map(|message| {
        let mut record = recorded("sqs")["Records"][0].clone();
        record["messageId"] = message["MessageId"].clone();
        record["receiptHandle"] = message["ReceiptHandle"].clone();
        record["body"] = message["Body"].clone();
        record["md5OfBody"] = message["MD5OfBody"].clone();
        record["attributes"] = message["Attributes"].clone();
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

#[tokio::test]
async fn an_event_sends_one_message_that_wakes_a_worker() {
    let (cloud, moto, queue) = cloud_with_queue().await;
    let event = recorded_of("admin-jobs", SITE_ADMIN);
    let queued = cloud.answer("admin-jobs", &event).await;
    assert_eq!(queued.body["status"], "pending");
    assert_eq!(moto.counts(&queue).await, (1, 0));
    let repeated = cloud.answer("admin-jobs", &event).await;
    assert_eq!(repeated.body["status"], "skipped_duplicate");
    assert_eq!(moto.counts(&queue).await, (1, 0));
    run_by_its_message(&cloud, &moto, &queue, &queued.body["id"]).await;

    let forced = json!({ "event_type": "etl.finished", "is_forced": true });
    let forced = cloud.answer("admin-jobs", &with_body(event, &forced)).await;
    assert_eq!(forced.body["status"], "pending");
    assert_eq!(moto.counts(&queue).await, (1, 0));
    run_by_its_message(&cloud, &moto, &queue, &forced.body["id"]).await;
    // Without business data, no further job is created.
    assert_eq!(moto.counts(&queue).await, (0, 0));
}

/// Receives the only waiting message and passes it to the worker, which must finish this job.
async fn run_by_its_message(cloud: &Cloud, moto: &Moto, queue: &str, id: &Value) {
    assert_eq!(job(cloud, id).await["status"], "pending");
    let messages = moto.receive(queue).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    let answer = cloud.report("job-worker", &batch(&messages)).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let job = job(cloud, id).await;
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&json!("succeeded"), &json!(1))
    );
}

#[tokio::test]
async fn a_worker_uses_the_trace_of_the_message() {
    let (cloud, moto, queue) = cloud_with_queue().await;
    demo::load_business(&cloud.parlor.db).await.unwrap();
    let noted = note_created("1", &cloud).await;
    cloud.report("trigger-dispatch", &noted).await;
    let sent = cloud.log_line("trigger-dispatch", "event queued").await;
    let trace = &sent["span"]["trace_id"];
    assert!(trace.is_string(), "{sent}");

    let messages = moto.receive(&queue).await;
    let mut event = batch(&messages);
    // moto drops the trace header of messages sent in a batch. `queue.rs` checks that it is sent.
    let header = format!("Root={};Sampled=0", trace.as_str().unwrap());
    event["Records"][0]["attributes"]["AWSTraceHeader"] = header.clone().into();
    cloud.report("job-worker", &event).await;
    let worked = cloud.log_line("job-worker", "jobs processed").await;
    assert_eq!(&worked["span"]["trace_id"], trace);
    let id = &worked["span"]["request_id"];
    assert_ne!(id, &sent["span"]["request_id"]);
    for message in ["run ended", "job succeeded"] {
        let line = cloud.log_line("job-worker", message).await;
        assert_eq!(
            (&line["span"]["trace_id"], &line["span"]["request_id"]),
            (trace, id),
            "{line}"
        );
        assert_eq!(line["span"]["site_id"], 1, "{line}");
    }
    let calls = cloud.parlor.simulator.calls();
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert_eq!(call.header("x-amzn-trace-id"), Some(&*header));
    }

    // A scheduled invocation has its own trace.
    let forced = json!({ "event_type": "etl.finished", "is_forced": true });
    let event = with_body(recorded_of("admin-jobs", SITE_ADMIN), &forced);
    cloud.answer("admin-jobs", &event).await;
    cloud.report("job-worker", &recorded("schedule")).await;
    let other = cloud
        .logged("job-worker", |line| {
            let is_processed = line["message"] == "jobs processed";
            let is_other = line["span"]["request_id"] != *id;
            (is_processed && is_other).then(|| line.clone())
        })
        .await;
    assert!(other["span"]["trace_id"].is_string(), "{other}");
    assert_ne!(&other["span"]["trace_id"], trace);
}

#[tokio::test]
async fn each_call_of_a_job_is_counted_by_its_app() {
    let cloud = cloud_with_business().await;
    let noted = note_created("1", &cloud).await;
    cloud.report("trigger-dispatch", &noted).await;
    cloud.report("job-worker", &recorded("schedule")).await;
    for app in ["app6_note_analysis", "app8_clue_consolidated"] {
        for metric in ["UpstreamLatency", "Tokens"] {
            let counted = |line: &Value| {
                let name = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"];
                (name == metric && line["app"] == app).then(|| line[metric].clone())
            };
            assert!(cloud.logged("job-worker", counted).await.is_u64(), "{app}");
        }
        let run: i64 = sqlx::query_scalar(
            "select tokens_used from biz.ai_run_logs where app_type = $1 and status = 'success'",
        )
        .bind(app)
        .fetch_one(&cloud.parlor.db)
        .await
        .unwrap();
        let charged = cloud
            .logged("job-worker", |line| {
                line["Tokens"].as_i64().filter(|_| line["app"] == app)
            })
            .await;
        assert_eq!(charged, run, "{app}");
    }
}

#[tokio::test]
async fn a_bot_message_wakes_one_worker_and_a_repeat_wakes_none() {
    let (cloud, moto, queue) = cloud_with_queue().await;
    let session = cloud.parlor.begin_session(COACH).await;
    let event = about_session(recorded_of("chat-sessions", COACH), &session);
    let event = with_body(event, &json!({ "content": "你好" }));
    for _ in 0..2 {
        cloud.answer("chat-sessions", &event).await.created();
        assert_eq!(moto.counts(&queue).await, (1, 0));
    }
    let other = with_body(event, &json!({ "content": "别的" }));
    let refused = cloud.answer("chat-sessions", &other).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(moto.counts(&queue).await, (1, 0));
}

#[tokio::test]
async fn queuing_jobs_wakes_one_worker_per_job() {
    let (cloud, moto, queue) = cloud_with_queue().await;
    demo::load_business(&cloud.parlor.db).await.unwrap();
    let noted = note_created("1", &cloud).await;
    cloud.report("trigger-dispatch", &noted).await;
    assert_eq!(moto.counts(&queue).await, (1, 0));
    // Another event with the same content wakes no worker.
    let repeated = note_created("2", &cloud).await;
    let repeated = cloud.report("trigger-dispatch", &repeated).await;
    assert_eq!(repeated["status"], "skipped_duplicate");
    assert_eq!(moto.counts(&queue).await, (1, 0));

    let counted = cloud.report("prewarm", &json!({ "dry_run": true })).await;
    assert_eq!(moto.counts(&queue).await, (1, 0));
    let queued = cloud.report("prewarm", &recorded("schedule")).await;
    assert_eq!(queued, counted);
    let enqueued = u32::try_from(queued["enqueued"].as_u64().unwrap()).unwrap();
    assert_eq!(moto.counts(&queue).await, (1 + enqueued.min(100), 0));

    // A transient failure is retried later, so the worker sends itself a delayed message.
    let purged = json!({ "QueueUrl": queue });
    moto.call("AmazonSQS.PurgeQueue", &purged).await;
    sqlx::query("delete from biz.ai_trigger_jobs where event_type = 'prewarm'")
        .execute(&cloud.parlor.db)
        .await
        .unwrap();
    cloud
        .parlor
        .simulator
        .set_scenario(None, Some("fail-mid".parse().unwrap()));
    let worked = cloud.report("job-worker", &recorded("schedule")).await;
    assert_eq!(worked["given_back"], 1, "{worked}");
    assert_eq!(moto.counts(&queue).await, (0, 1));
}
