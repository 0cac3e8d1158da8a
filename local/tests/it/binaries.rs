//! The functions' own binaries, as Lambda runs them.
//!
//! No request makes a function panic. Panics are therefore tested with the echo function in
//! `emulator::invocations`, which uses the same `lambda` crate.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::time::Duration;

use local::emulator::{Emulator, Outcome};
use serde_json::{Value, json};

use crate::harness::{
    cloud::{Cloud, about, about_session, recorded, recorded_of, specs, with_body},
    database::TestDatabase,
    events::{terminal, text},
    parlor::{COACH, Parlor, SECRET, token},
    routes::SITE_ADMIN,
};

/// Secrets that must not appear in logs.
const SECRETS: [&str; 2] = [SECRET, "sk-for-tests"];

#[tokio::test]
async fn each_function_starts_and_serves_the_event_that_it_is_for() {
    let cloud = Cloud::start().await;
    for (function, _) in local::cloud::FUNCTIONS {
        let event = match function {
            "db-migrate" => json!({}),
            "job-worker" | "notify" | "prewarm" | "sweep" => recorded("schedule"),
            "trigger-dispatch" => recorded("eventbridge"),
            function => recorded(function),
        };
        let outcome = cloud.invoke(function, &event).await;
        match outcome {
            Outcome::Response(_) => {}
            // A recorded event has an invalid token. The console then shows its sign-in page.
            Outcome::Stream(_) => {
                let expected = if function == "console" { 303 } else { 401 };
                let status = outcome.into_http().await.unwrap().status();
                assert_eq!(status, expected, "{function}");
            }
            Outcome::Error(error) => panic!("{function}: {error}"),
        }
    }
}

#[tokio::test]
async fn the_history_function_returns_the_history() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    cloud
        .parlor
        .send(COACH, chat, "[[sim:echo]]你好")
        .await
        .ok();
    let event = recorded_of("chat-history", COACH);
    let answer = cloud.answer("chat-history", &event).await;
    assert_eq!(answer.ok()["items"][0]["id"], chat);
    assert_eq!(answer.body["pageSize"], 10);
}

#[tokio::test]
async fn the_dashboard_function_returns_the_dashboard() {
    let cloud = Cloud::start().await;
    let event = recorded_of("admin-dashboard", SITE_ADMIN);
    let answer = cloud.answer("admin-dashboard", &event).await;
    assert_eq!(answer.ok()["today_calls"], 0);
}

#[tokio::test]
async fn the_messages_function_returns_messages() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    cloud
        .parlor
        .send(COACH, chat, "[[sim:echo]]你好")
        .await
        .ok();
    let event = about(recorded_of("chat-messages", COACH), chat);
    let answer = cloud.answer("chat-messages", &event).await;
    assert_eq!(answer.ok()["items"][1]["content"], "[[sim:echo]]你好");
}

#[tokio::test]
async fn a_base64_message_gets_a_whole_reply() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let content = "[[sim:echo]]今天的营业额是多少？🎱";
    let event = about(recorded_of("chat-send", COACH), chat);
    let event = with_body(event, &json!({ "content": content }));
    let answer = cloud.answer("chat-messages", &event).await;
    assert_eq!(answer.ok()["aiReply"]["content"], content);
    assert_eq!(answer.body["aiReply"]["status"], "complete");
    assert_eq!(cloud.parlor.messages(COACH, chat).await.len(), 2);
}

#[tokio::test]
async fn a_message_of_a_session_is_stored_once_though_the_event_has_each_header_twice() {
    let cloud = Cloud::start().await;
    let session = cloud.parlor.begin_session(COACH).await;
    let event = about_session(recorded_of("chat-sessions", COACH), &session);
    let content = "今天谁最忙？🎱";
    let event = with_body(event, &json!({ "content": content }));
    let first = cloud.answer("chat-sessions", &event).await;
    assert_eq!(first.created()["message"]["content"], content);
    let again = cloud.answer("chat-sessions", &event).await;
    assert_eq!(again.created(), &first.body);
    assert_eq!(
        cloud.parlor.session_messages(COACH, &session, "").await["count"],
        1
    );
}

#[tokio::test]
async fn a_reply_streams_out_of_the_binary_token_by_token() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let content = "[[sim:echo]]一二三四五六七八九十";
    let body = json!({ "chatId": chat, "content": content });
    let event = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.parlor.simulator.hold_after(1);
    let mut stream = cloud.stream("chat-stream", &event).await;
    let mut events = vec![stream.expect("start").await, stream.expect("message").await];
    cloud.parlor.simulator.held(1).await;
    cloud.parlor.simulator.release();
    events.extend(stream.rest().await);
    assert_eq!(terminal(&events).name, "done");
    assert_eq!(text(&events), content);
    let messages = cloud.parlor.messages(COACH, chat).await;
    assert_eq!(messages[1]["content"], content);
}

#[tokio::test]
async fn sixteen_replies_stream_out_of_one_process_at_once() {
    const STREAMS: usize = 16;
    const CUT: usize = 5;
    let cloud = Cloud::start_with(|spec| {
        spec.max_instances = 1;
        spec.max_concurrency = STREAMS;
    })
    .await;
    cloud.parlor.simulator.hold_after(1);
    let start = async |number: usize| {
        let scenario = if number == CUT { "echo+cut:3" } else { "echo" };
        let content = format!("[[sim:{scenario}]]第{number}号客人今天几点来？");
        // A conversation has one reply at a time.
        let chat = cloud.parlor.open(COACH, &format!("t{number}")).await;
        let body = json!({ "chatId": chat, "content": content });
        let event = with_body(recorded_of("chat-stream", COACH), &body);
        let stream = cloud.stream("chat-stream", &event).await;
        (chat, content, stream)
    };
    let streams = futures_util::future::join_all((0..STREAMS).map(start)).await;
    // All streams are open, because DashScope has sent only one piece of each.
    cloud.parlor.simulator.held(STREAMS).await;
    assert_eq!(cloud.emulator.instances("chat-stream").unwrap().len(), 1);
    cloud.parlor.simulator.release();
    for (number, (chat, content, mut stream)) in streams.into_iter().enumerate() {
        let id = stream.header("x-request-id").unwrap().to_owned();
        let events = stream.rest().await;
        let reply = &cloud.parlor.messages(COACH, chat).await[1];
        let (state, sent) = (terminal(&events).name.as_str(), text(&events));
        if number == CUT {
            assert_eq!((state, &reply["status"]), ("error", &json!("interrupted")));
            assert!(content.starts_with(&sent) && !sent.is_empty(), "{sent}");
        } else {
            assert_eq!((state, &reply["status"]), ("done", &json!("complete")));
            assert_eq!(sent, content);
        }
        assert_eq!(reply["content"], sent);
        // The log lines of a reply have the id of its own request.
        let message = cloud
            .logged("chat-stream", |line| {
                let is_own = line["message"] == "reply ended" && line["span"]["request_id"] == id;
                is_own.then(|| line.clone())
            })
            .await;
        assert_eq!(message["message_id"], reply["id"], "{message}");
    }
    assert_eq!(cloud.emulator.instances("chat-stream").unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_of_the_wrong_shape_is_an_error_and_the_next_is_served() {
    let cloud = Cloud::start_with(|spec| spec.max_instances = 1).await;
    for function in [
        "admin-dashboard",
        "admin-jobs",
        "admin-runs",
        "cache-invalidate",
        "chat-history",
        "chat-messages",
        "chat-sessions",
        "chat-stream",
    ] {
        let outcome = cloud.invoke(function, &recorded("sqs")).await;
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(error.message.contains("expects a JSON payload"), "{error}");
        let process = cloud.emulator.instances(function).unwrap();
        assert_eq!(process.len(), 1);
        let answer = cloud.answer(function, &recorded("chat-history")).await;
        // Each function serves only its own path. The process is still the same.
        let expected = if function == "chat-history" { 401 } else { 404 };
        assert_eq!(answer.status, expected);
        assert_eq!(cloud.emulator.instances(function).unwrap(), process);
    }
}

#[tokio::test]
async fn the_request_id_is_lambdas_in_header_body_and_log() {
    let cloud = Cloud::start().await;
    let event = recorded("chat-history");
    let answer = cloud.answer("chat-history", &event).await;
    let body = answer.refused(401, "unauthorized");
    let id = body["requestId"].as_str().unwrap();
    assert!(uuid::Uuid::try_parse(id).is_ok());
    assert_ne!(event["requestContext"]["requestId"], id);
    cloud
        .logged("chat-history", |line| {
            (line["message"] == "request refused" && line["span"]["request_id"] == id).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_function_near_its_deadline_ends_the_stream_and_keeps_the_text() {
    // The last ten seconds are reserved for ending the stream.
    let cloud = Cloud::start_with(|spec| spec.timeout = Duration::from_secs(13)).await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "[[sim:echo]]一二三四五六七八九十" });
    let event = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.parlor.simulator.hold_after(2);
    let events = cloud.stream("chat-stream", &event).await.rest().await;
    let error = terminal(&events);
    assert_eq!(error.name, "error");
    assert_eq!(error.data["code"], "deadline");
    let sent = text(&events);
    assert!(!sent.is_empty());
    let reply = &cloud.parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&reply["status"], &reply["content"]),
        (&json!("interrupted"), &json!(sent))
    );
    // The function has returned by itself and was not killed.
    assert_eq!(cloud.emulator.instances("chat-stream").unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_variable_is_named_and_no_secret_is_logged() {
    let parlor = Parlor::start().await;
    for (function, variable) in [
        ("chat-history", "DATABASE_URL"),
        ("chat-history", "JWT_SECRET"),
        ("chat-messages", "DASHSCOPE_API_KEY"),
        ("chat-sessions", "JWT_SECRET"),
        ("chat-stream", "JWT_SECRET"),
        ("console", "DASHSCOPE_API_KEY"),
        ("db-migrate", "DATABASE_URL"),
        ("admin-dashboard", "JWT_SECRET"),
        ("admin-jobs", "JWT_SECRET"),
        ("admin-runs", "JWT_SECRET"),
        ("admin-settings", "JWT_SECRET"),
        ("cache-invalidate", "JWT_SECRET"),
        ("job-worker", "DASHSCOPE_API_KEY"),
        ("prewarm", "DATABASE_URL"),
        ("trigger-dispatch", "DATABASE_URL"),
    ] {
        let mut specs = specs(&parlor).await;
        for spec in &mut specs {
            spec.env.retain(|(name, _)| name != variable);
        }
        let emulator = Emulator::start(specs).unwrap();
        let outcome = emulator.invoke(function, &json!({})).await.unwrap();
        let Outcome::Error(error) = outcome else {
            panic!("{outcome:?}")
        };
        let says = format!("{variable} is not set");
        let logs = emulator.logs(function).unwrap().join("\n");
        assert!(
            error.message.contains(&says) || logs.contains(&says),
            "{error}\n{logs}"
        );
        for secret in SECRETS.into_iter().chain([parlor.database.url()]) {
            assert!(
                !error.message.contains(secret) && !logs.contains(secret),
                "{error}\n{logs}"
            );
        }
    }
}

#[tokio::test]
async fn a_retention_of_logs_under_six_months_is_warned_of_at_start() {
    let parlor = Parlor::start().await;
    for (days, warnings) in [("179", 2), ("180", 0)] {
        let mut specs = specs(&parlor).await;
        let sweep = specs.iter_mut().find(|spec| spec.name == "sweep").unwrap();
        for name in ["RUN_LOG_RETENTION_DAYS", "LOG_RETENTION_DAYS"] {
            sweep.env.push((name.to_owned(), days.to_owned()));
        }
        let emulator = Emulator::start(specs).unwrap();
        let event = recorded("schedule");
        let outcome = emulator.invoke("sweep", &event).await.unwrap();
        assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
        let logs = emulator.logs("sweep").unwrap();
        let warned = logs
            .iter()
            .filter(|line| line.contains("less than 180 days"));
        assert_eq!(warned.count(), warnings, "{days}: {logs:?}");
    }
}

#[tokio::test]
async fn logs_are_json_lines_without_prompt_reply_or_token() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let content = "[[sim:echo]]会员张三的电话号码是一三八";
    let body = json!({ "chatId": chat, "content": content });
    let stream = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.stream("chat-stream", &stream).await.rest().await;
    let failing =
        json!({ "chatId": chat, "content": "[[sim:fail-mid]]会员张三的电话号码是一三八" });
    let failing = with_body(recorded_of("chat-stream", COACH), &failing);
    cloud.stream("chat-stream", &failing).await.rest().await;
    let send = about(recorded_of("chat-send", COACH), chat);
    let send = with_body(send, &json!({ "content": content }));
    cloud.answer("chat-messages", &send).await.ok();
    let history = recorded_of("chat-history", COACH);
    cloud.answer("chat-history", &history).await.ok();
    let session = cloud.parlor.begin_session(COACH).await;
    let event = about_session(recorded_of("chat-sessions", COACH), &session);
    let event = with_body(event, &json!({ "content": content }));
    cloud.answer("chat-sessions", &event).await.created();
    cloud.report("job-worker", &recorded("schedule")).await;

    for (function, last) in [
        ("chat-stream", "request finished"),
        ("chat-messages", "request finished"),
        ("chat-history", "request finished"),
        ("chat-sessions", "request finished"),
        ("job-worker", "jobs processed"),
    ] {
        cloud
            .logged(function, |line| (line["message"] == last).then_some(()))
            .await;
        for line in cloud.emulator.logs(function).unwrap() {
            let object: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let is_line = object["level"].is_string() && object["timestamp"].is_string();
            assert!(is_line || object["_aws"].is_object(), "{line}");
            let token = token(COACH);
            for private in [
                "张三",
                "\\u5f20",
                &token[..20],
                "eyJ",
                SECRETS[0],
                SECRETS[1],
            ] {
                assert!(!line.contains(private), "{line}");
            }
        }
    }
}

/// A `db-migrate` on this database.
async fn migrate_on(database: &TestDatabase) -> Emulator {
    let parlor = Parlor::start().await;
    let mut specs = specs(&parlor).await;
    specs.retain(|spec| spec.name == "db-migrate");
    for (name, value) in &mut specs[0].env {
        if name == "DATABASE_URL" {
            database.url().clone_into(value);
        }
    }
    Emulator::start(specs).unwrap()
}

async fn report(emulator: &Emulator) -> Value {
    let outcome = emulator.invoke("db-migrate", &json!({})).await.unwrap();
    let Outcome::Response(report) = outcome else {
        panic!("{outcome:?}")
    };
    serde_json::from_slice(&report).unwrap()
}

fn migrations() -> usize {
    common::platform::db::MIGRATOR.iter().count()
}

#[tokio::test]
async fn a_migration_reports_its_changes_and_a_second_run_has_none() {
    let database = TestDatabase::empty().await;
    let emulator = migrate_on(&database).await;
    let first = report(&emulator).await;
    assert_eq!(first["applied"], migrations());
    let second = report(&emulator).await;
    assert_eq!(second["applied"], 0);
    assert_eq!(second["version"], first["version"]);
}

#[tokio::test]
async fn concurrent_migrations_apply_each_change_once() {
    let database = TestDatabase::empty().await;
    let emulator = migrate_on(&database).await;
    let reports = tokio::join!(report(&emulator), report(&emulator), report(&emulator));
    let applied = [&reports.0, &reports.1, &reports.2].map(|report| &report["applied"]);
    let done = applied.iter().filter(|applied| ***applied == migrations());
    assert_eq!(done.count(), 1, "{applied:?}");
    assert_eq!(applied.iter().filter(|applied| ***applied == 0).count(), 2);
}

#[tokio::test]
async fn an_unreachable_database_is_an_error_without_the_password() {
    let database = TestDatabase::empty().await;
    let url = database.url().to_owned();
    let emulator = migrate_on(&database).await;
    drop(database);
    crate::harness::until("the database is dropped", async || {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect(&url).await.err()
    })
    .await;
    let outcome = emulator.invoke("db-migrate", &json!({})).await.unwrap();
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.message, "the schema could not be brought up to date");
    let password = url.split(['@', ':']).nth(2).unwrap();
    for line in emulator.logs("db-migrate").unwrap() {
        assert!(!line.contains(password), "{line}");
    }
}
