//! The circuit of an app that keeps failing is open for all instances.

use crate::harness::sweep;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    cloud::{Cloud, about, recorded_of, with_body},
    events::EventStream,
    jobs::SITE_ADMIN,
    parlor::{COACH, OTHER_SITE, Parlor},
    sessions::BOT,
};

#[tokio::test]
async fn five_failures_open_the_circuit_and_one_probe_closes_it() {
    let parlor = Parlor::start().await;
    let mut chats = Vec::new();
    for number in 0..6 {
        chats.push(parlor.open(COACH, &format!("t{number}")).await);
    }
    parlor
        .simulator
        .set_scenario(None, Some("unavailable".parse().unwrap()));
    for _ in 0..5 {
        assert_eq!(
            parlor.send(COACH, chats[0], "你好").await.ok()["aiReply"]["status"],
            "failed"
        );
    }
    let calls = parlor.simulator.calls_count();
    let refused = parlor.send(COACH, chats[0], "你好").await;
    let seconds = refused.refused(503, "circuit_open")["retryAfter"]
        .as_i64()
        .unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(parlor.simulator.calls_count(), calls);
    assert_eq!(parlor.last_run().await["status"], "circuit_open");

    // When due, exactly one of many concurrent calls passes.
    parlor.simulator.set_scenario(None, None);
    sqlx::query("update biz.ai_circuits set retry_at = now()")
        .execute(&parlor.db)
        .await
        .unwrap();
    parlor.simulator.hold_after(1);
    let probing = join_all(chats.iter().map(async |chat| {
        let body = json!({ "chatId": chat, "content": "你好" });
        parlor
            .request_as(COACH, "POST", "/api/xcx/chat/stream")
            .json(&body)
            .send()
            .await
            .unwrap()
    }))
    .await;
    assert_eq!(
        probing
            .iter()
            .filter(|answer| answer.status() == 200)
            .count(),
        1
    );
    parlor.simulator.release();
    parlor.settled().await;
    parlor.send(COACH, chats[0], "好了吗").await.ok();
}

impl Parlor {
    async fn circuit(&self) -> Value {
        sqlx::query_scalar("select to_jsonb(k) from biz.ai_circuits k")
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// Opens the circuit, as after five failures, and makes it due for a probe.
    async fn open_circuit(&self, seconds: i32) {
        sqlx::query(
            "insert into biz.ai_circuits as k (app_id, app_type, state, failures, opened_at, open_seconds, retry_at)
             values ('app1_chat', 'app1_chat', 'open', 5, now(), $1, now())
             on conflict (app_id) do update set state = 'open', failures = 5, opened_at = now(),
                 open_seconds = $1, retry_at = now(), probe_run_id = null",
        )
        .bind(seconds)
        .execute(&self.db)
        .await
        .unwrap();
    }
}

async fn streams(parlor: &Parlor, number: i32) -> Vec<(i64, EventStream)> {
    let mut streams = Vec::new();
    for number in 0..number {
        let chat = parlor.open(COACH, &format!("old-{number}")).await;
        let mut stream = parlor.stream(COACH, chat, "[[sim:gate:1]]你好").await;
        stream.expect("start").await;
        streams.push((chat, stream));
    }
    streams
}

#[tokio::test]
async fn calls_started_before_the_opening_do_not_affect_the_circuit() {
    let parlor = Parlor::start().await;
    let mut old = streams(&parlor, 2).await;
    parlor.simulator.held(2).await;
    parlor.open_circuit(60).await;
    let chat = parlor.open(COACH, "new").await;
    let mut probe = parlor.stream(COACH, chat, "[[sim:gate:1]]试一试").await;
    parlor.simulator.held(3).await;
    let half_open = parlor.circuit().await;
    assert_eq!(half_open["state"], "half_open");

    // One of the old calls is stopped. The circuit and its probe are unaffected.
    let stopped = parlor.messages(COACH, old[0].0).await[1]["id"].clone();
    let path = format!("/api/xcx/chat/stream/{stopped}/stop");
    parlor.post(COACH, &path, &Value::Null).await;
    assert_eq!(old[0].1.rest().await.last().unwrap().name, "done");
    assert_eq!(parlor.circuit().await, half_open);
    let refused = parlor.send(COACH, old[0].0, "还有").await;
    let body = refused.refused(503, "circuit_open");
    assert!(
        (1..=5).contains(&body["retryAfter"].as_i64().unwrap()),
        "{body}"
    );

    parlor.simulator.release();
    assert_eq!(old[1].1.rest().await.last().unwrap().name, "done");
    assert_eq!(probe.rest().await.last().unwrap().name, "done");
    let closed = parlor.circuit().await;
    assert_eq!(
        (&closed["state"], &closed["failures"], &closed["retry_at"]),
        (&json!("closed"), &json!(0), &Value::Null)
    );
}

#[tokio::test]
async fn a_failed_probe_doubles_the_open_time_up_to_ten_minutes() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor
        .simulator
        .set_scenario(None, Some("unavailable".parse().unwrap()));
    for (before, after) in [(60, 120), (120, 240), (480, 600), (600, 600)] {
        parlor.open_circuit(before).await;
        let answer = parlor.send(COACH, chat, "你好").await;
        assert_eq!(answer.ok()["aiReply"]["status"], "failed");
        let circuit = parlor.circuit().await;
        assert_eq!(
            (&circuit["state"], &circuit["open_seconds"]),
            (&json!("open"), &json!(after))
        );
        let refused = parlor.send(COACH, chat, "你好").await;
        let seconds = refused.refused(503, "circuit_open")["retryAfter"].as_i64();
        assert!((1..=after).contains(&seconds.unwrap()));
    }
}

#[tokio::test]
async fn an_inconclusive_probe_allows_another_probe() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.open_circuit(60).await;
    // DashScope refuses the content. That is no evidence of its health.
    parlor
        .send(COACH, chat, "[[sim:inspection]]你好")
        .await
        .ok();
    assert_eq!(parlor.circuit().await["state"], "open");
    parlor.send(COACH, chat, "你好").await.ok();
    assert_eq!(parlor.circuit().await["state"], "closed");
}

#[tokio::test]
async fn sweeping_a_dead_probe_allows_another_probe() {
    let parlor = Parlor::start().await;
    parlor.open_circuit(60).await;
    let chat = parlor.open(COACH, "t").await;
    parlor.begin_and_die(COACH, chat, "你好", "").await;
    let other = parlor.open(COACH, "u").await;
    parlor
        .send(COACH, other, "你好")
        .await
        .refused(503, "circuit_open");
    sweep(&parlor.db, 90).await.unwrap();
    parlor.send(COACH, other, "你好").await.ok();
    assert_eq!(parlor.circuit().await["state"], "closed");
}

#[tokio::test]
async fn opening_and_closing_are_metrics() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    let send = async |content: &str| {
        let event = about(recorded_of("chat-send", COACH), chat);
        let event = with_body(event, &json!({ "content": content }));
        cloud.answer("chat-messages", &event).await
    };
    let counted = async |metric: &str| {
        cloud
            .logged("chat-messages", |line| {
                let named = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"];
                (named == metric).then(|| line.clone())
            })
            .await
    };
    for _ in 0..5 {
        send("[[sim:unavailable]]你好").await.ok();
    }
    let opened = counted("CircuitOpened").await;
    assert_eq!(
        (&opened["CircuitOpened"], &opened["app"]),
        (&json!(1), &json!("app1_chat"))
    );
    assert_eq!(
        opened["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
        json!([["app"]])
    );
    cloud.parlor.open_circuit(60).await;
    send("好了吗").await.ok();
    assert_eq!(counted("CircuitClosed").await["CircuitClosed"], 1);
}

#[tokio::test]
async fn a_bots_failing_application_closes_no_other_chat() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "update biz.agents set app_id = 'a-bot-of-its-own' where id = (select agent_id from biz.bots where id::text = $1)",
    )
    .bind(BOT)
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor.simulator.set_scenario(
        Some("a-bot-of-its-own"),
        Some("unavailable".parse().unwrap()),
    );
    let session = parlor.begin_session(COACH).await;
    for number in 0..5 {
        parlor
            .create_message(COACH, &session, &format!("第{number}次"))
            .await;
    }
    while parlor.simulator.calls_count() < 20 {
        parlor.make_jobs_due().await;
        parlor.work().await;
    }
    let open = parlor.circuit().await;
    assert_eq!(
        (&open["app_id"], &open["app_type"], &open["state"]),
        (
            &json!("a-bot-of-its-own"),
            &json!("app1_chat"),
            &json!("open")
        )
    );
    let chat = parlor.open(OTHER_SITE, "t").await;
    let sent = parlor.send(OTHER_SITE, chat, "你好").await;
    assert_eq!(sent.ok()["aiReply"]["status"], "complete");
    assert_eq!(parlor.circuit().await, open);
    // The dashboard has a row per app. It shows the circuit that is open.
    let dashboard = parlor.get(SITE_ADMIN, "/api/admin/ai/dashboard").await;
    assert_eq!(dashboard.ok()["app_health"][0]["circuit"], "open");
    // The bot's reply waits for its own circuit. It is no run and no alert.
    let runs = "select count(*) from biz.ai_run_logs where status = 'circuit_open'";
    let refused: i64 = sqlx::query_scalar(runs)
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(refused, 0);
}
