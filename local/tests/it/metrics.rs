//! CloudWatch metrics, as the functions' binaries write them.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::{Value, json};

use crate::harness::{
    cloud::{Cloud, about, recorded, recorded_of, with_body},
    parlor::COACH,
};

/// Waits for the first line of a function's metric.
async fn counted(cloud: &Cloud, function: &str, metric: &str) -> Value {
    cloud
        .logged(function, |line| {
            (name(line) == metric).then(|| line.clone())
        })
        .await
}

/// The number of lines of a function's metric.
fn count(cloud: &Cloud, function: &str, metric: &str) -> usize {
    let lines = cloud.emulator.logs(function).unwrap().into_iter();
    lines
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .filter(|line| name(line) == metric)
        .count()
}

fn name(line: &Value) -> &Value {
    &line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"]
}

/// Checks the namespace, unit and dimensions of a metric.
fn assert_found(line: &Value, namespace: &str, unit: &str, dimensions: &Value) {
    let found = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(
        (
            &found["Namespace"],
            &found["Metrics"][0]["Unit"],
            &found["Dimensions"]
        ),
        (&json!(namespace), &json!(unit), dimensions),
        "{line}"
    );
    assert!(line["_aws"]["Timestamp"].is_i64(), "{line}");
}

async fn send(cloud: &Cloud, chat: i64, content: &str) {
    let event = about(recorded_of("chat-send", COACH), chat);
    let event = with_body(event, &json!({ "content": content }));
    cloud.answer("chat-messages", &event).await.ok();
}

#[tokio::test]
async fn a_reply_writes_its_metrics_at_any_log_level() {
    let cloud = Cloud::start_with(|spec| {
        for (name, value) in [("METRICS_NAMESPACE", "Parlor/test"), ("RUST_LOG", "error")] {
            spec.env.push((name.to_owned(), value.to_owned()));
        }
    })
    .await;
    let chat = cloud.parlor.open(COACH, "t").await;
    send(&cloud, chat, "你好").await;
    let body = json!({ "chatId": chat, "content": "你好" });
    let stream = with_body(recorded_of("chat-stream", COACH), &body);
    cloud.stream("chat-stream", &stream).await.rest().await;
    for function in ["chat-messages", "chat-stream"] {
        for (metric, unit) in [
            ("FirstToken", "Milliseconds"),
            ("UpstreamLatency", "Milliseconds"),
            ("Tokens", "Count"),
        ] {
            let line = counted(&cloud, function, metric).await;
            assert_found(&line, "Parlor/test", unit, &json!([["app"]]));
            assert_eq!(line["app"], "app1_chat", "{line}");
            assert!(line[metric].is_u64(), "{line}");
            assert_eq!(count(&cloud, function, metric), 1, "{metric}");
        }
        assert_eq!(count(&cloud, function, "UpstreamErrors"), 0);
    }
    let tokens = counted(&cloud, "chat-stream", "Tokens").await;
    let run = cloud.parlor.last_run().await;
    assert_eq!(tokens["Tokens"], run["tokens_used"]);
}

#[tokio::test]
async fn dashscope_failures_are_counted_with_code_and_possible_cost() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    send(&cloud, chat, "[[sim:inspection]]你好").await;
    let failed = counted(&cloud, "chat-messages", "UpstreamErrors").await;
    assert_found(&failed, "Parlor", "Count", &json!([["app"], []]));
    assert_eq!(
        (&failed["app"], &failed["code"], &failed["UpstreamErrors"]),
        (&json!("app1_chat"), &json!("content_blocked"), &json!(1))
    );
    // Content inspection charges for the text before it.
    let tokens = counted(&cloud, "chat-messages", "Tokens").await;
    assert_eq!(tokens["Tokens"], cloud.parlor.usage(1).await["tokens"]);
}

#[tokio::test]
async fn each_sweep_reports_the_vitals() {
    let cloud = Cloud::start_with(|spec| spec.max_instances = 1).await;
    let sweep = async || {
        cloud.report("sweep", &recorded("schedule")).await;
    };
    sweep().await;
    for (metric, unit) in [
        ("QueueAge", "Seconds"),
        ("CircuitsOpen", "Count"),
        ("BudgetUsed", "Percent"),
    ] {
        let line = counted(&cloud, "sweep", metric).await;
        assert_found(&line, "Parlor", unit, &json!([[]]));
        assert_eq!(line[metric].as_f64(), Some(0.0), "{line}");
    }

    let chat = cloud.parlor.open(COACH, "t").await;
    send(&cloud, chat, "你好").await;
    sweep().await;
    let used = cloud
        .logged("sweep", |line| line.get("site_id").map(|_| line.clone()))
        .await;
    assert!(used["BudgetUsed"].as_f64().unwrap() > 0.0, "{used}");
    assert_eq!(used["site_id"], 1);

    // The sweep works even if the gauges cannot be read.
    sqlx::query("alter table biz.ai_circuits rename to ai_circuits_gone")
        .execute(&cloud.parlor.db)
        .await
        .unwrap();
    sweep().await;
    cloud
        .logged("sweep", |line| {
            (line["message"] == "the gauges could not be read").then_some(())
        })
        .await;
    assert_eq!(count(&cloud, "sweep", "QueueAge"), 2);
}
