//! Both clients of the official Python SDK, against the simulator.

use std::path::{Path, PathBuf};

use local::simulator::{Options, RecordedCall, Simulator};
use serde_json::json;

use super::start;
use crate::harness::python;

async fn run(script: &str) -> Simulator {
    let simulator = start(Options::default()).await;
    let install = || python::packages("dashscope", &["dashscope==2.0.2"]);
    let packages: PathBuf = tokio::task::spawn_blocking(install)
        .await
        .expect("an installation");
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/sdk")
        .join(script);
    python::run(&packages, &script, &[&simulator.base_url()]).await;
    simulator
}

fn find<'a>(calls: &'a [RecordedCall], prompt: &str) -> &'a RecordedCall {
    calls
        .iter()
        .find(|call| call.prompt() == prompt)
        .expect(prompt)
}

#[tokio::test]
async fn the_classic_sdk_works() {
    let simulator = run("v1.py").await;
    let calls = simulator.calls();
    let first = find(&calls, "你是谁？");
    assert_eq!(
        first.body,
        json!({"model": "", "parameters": {}, "input": {"prompt": "你是谁？"}})
    );
    assert!(!first.stream);
    assert_eq!(first.header("authorization"), Some("Bearer sk-test-000"));
    assert_eq!(
        find(&calls, "你有什么技能？").session_id().map(str::len),
        Some(32)
    );
    let streams: Vec<_> = calls
        .iter()
        .filter(|call| call.prompt() == "[[sim:echo]]今天怎么样？")
        .collect();
    assert_eq!(streams.len(), 2);
    assert!(streams.iter().all(|call| call.stream));
    assert_eq!(
        streams[0].body["parameters"],
        json!({"incremental_output": true})
    );
    assert_eq!(streams[1].body["parameters"], json!({}));
    let workspaces: Vec<_> = calls
        .iter()
        .filter_map(|call| call.header("x-dashscope-workspace"))
        .collect();
    assert_eq!(workspaces, ["llm-ws123"]);
    let named = &find(&calls, "评分").body["input"]["biz_params"]["user_prompt_params"];
    assert_eq!(named["Nickname"], "小林");
}

#[tokio::test]
async fn the_newer_sdk_works() {
    let simulator = run("v2.py").await;
    let calls = simulator.calls();
    let first = find(&calls, "你是谁？");
    assert_eq!(
        first.body,
        json!({"input": {"prompt": "你是谁？"}, "parameters": {}})
    );
    assert_eq!(
        find(&calls, "hi").header("x-dashscope-workspace"),
        Some("llm-ws123")
    );
    assert_eq!(
        find(&calls, "评分").body["input"]["biz_params"]["user_prompt_params"]["Role"],
        "manager"
    );
    let retried = calls
        .iter()
        .filter(|call| call.prompt() == "[[sim:throttle-once]]再试");
    assert_eq!(retried.count(), 2, "the SDK retries a throttled call");
}
