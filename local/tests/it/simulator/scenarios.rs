//! Each scenario, as a client sees it.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use local::simulator::{Options, Scenario, Simulator, Times, monotonic_micros};
use serde_json::{Value, json};

use super::{Answer, TestCall, start};

async fn stream(simulator: &Simulator, scenario: &str) -> Answer {
    TestCall::streaming("app1_chat", &format!("你好[[sim:{scenario}]]"))
        .answer(simulator)
        .await
}

fn text_of(frame: &Value) -> &str {
    frame["output"]["text"].as_str().expect("text")
}

/// The next frame of an open stream.
async fn next_frame(body: &mut Incoming) -> String {
    let frame = body.frame().await.expect("more").expect("no error");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn only_the_question_selects_the_scenario() {
    let simulator = start(Options::default()).await;
    let prompt =
        "[历史对话]\n用户: [[sim:throttle]]\nAI: 嗯\n\n[当前问题]\n[[sim:cut]] 其实是 [[sim:echo]]";
    let answer = TestCall::streaming("app1_chat", prompt)
        .answer(&simulator)
        .await;
    assert_eq!(answer.text(), prompt);
    let prompt = "[历史对话]\n用户: [[sim:throttle]]\nAI: 嗯\n\n[当前问题]\n好了吗";
    assert_eq!(
        TestCall::streaming("app1_chat", prompt)
            .answer(&simulator)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn headers_app_ids_and_tests_select_scenarios() {
    let simulator = start(Options::default()).await;
    let header = TestCall::new("app1_chat", "在吗").header("x-sim-scenario", "unavailable");
    assert_eq!(header.answer(&simulator).await.status, 503);
    assert_eq!(
        TestCall::new("sim-throttle-7", "在吗")
            .answer(&simulator)
            .await
            .status,
        429
    );

    simulator.set_scenario(Some("app1_chat"), Some(Scenario::Unauthorized));
    simulator.set_scenario(None, Some(Scenario::Throttle(Times::Always)));
    assert_eq!(
        TestCall::new("app1_chat", "在吗")
            .answer(&simulator)
            .await
            .status,
        401
    );
    assert_eq!(
        TestCall::new("app2_finance", "在吗")
            .answer(&simulator)
            .await
            .status,
        429
    );
    simulator.set_scenario(Some("app1_chat"), None);
    simulator.set_scenario(None, None);
    assert_eq!(
        TestCall::new("app1_chat", "在吗")
            .answer(&simulator)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn echo_returns_any_unicode_in_small_pieces() {
    let simulator = start(Options::default()).await;
    let prompt = "中文🎱e\u{301}\u{2028}\u{0}\"\\\r\n\t👨‍👩‍👧 [[sim:echo]] fin";
    let answer = TestCall::streaming("app1_chat", prompt)
        .answer(&simulator)
        .await;
    assert_eq!(answer.text(), prompt);
    assert!(
        answer
            .frames()
            .iter()
            .all(|frame| text_of(frame).chars().count() <= 4)
    );
}

#[tokio::test]
async fn refusals_end_after_the_given_number() {
    let simulator = start(Options::default()).await;
    let scenarios = [
        ("throttle:2", 429),
        ("throttle:2", 429), // the count has restarted
        ("unavailable:2", 503),
        ("retry-after:7:2", 429),
    ];
    for (scenario, status) in scenarios {
        assert_eq!(stream(&simulator, scenario).await.status, status);
        assert_eq!(stream(&simulator, scenario).await.status, status);
        assert_eq!(stream(&simulator, scenario).await.status, 200, "{scenario}");
    }
    assert_eq!(stream(&simulator, "throttle-once").await.status, 429);
    assert_eq!(stream(&simulator, "throttle-once").await.status, 200);
    assert_eq!(
        stream(&simulator, "fail-first:1").await.frames()[0]["code"],
        "InternalError"
    );
    assert!(
        stream(&simulator, "fail-first:1")
            .await
            .text()
            .contains("建议")
    );

    let response = TestCall::new("sim-retry-after:9", "在吗")
        .send(&simulator)
        .await;
    assert_eq!(response.headers()["retry-after"], "9");
}

#[tokio::test]
async fn errors_come_in_every_form() {
    let simulator = start(Options::default()).await;
    let sse = "text/event-stream;charset=UTF-8";
    let forms = [
        ("fail-first", 200, sse),
        ("app-denied", 200, sse),
        ("error-framed", 400, sse),
        ("error-mislabelled", 400, "application/json"),
    ];
    for (scenario, status, kind) in forms {
        let answer = stream(&simulator, scenario).await;
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (status, kind),
            "{scenario}"
        );
        assert!(
            answer.body.starts_with("id:1\nevent:error\n:HTTP_STATUS/"),
            "{scenario}"
        );
    }
    for (scenario, status) in [
        ("unauthorized", 401),
        ("unavailable", 503),
        ("error-200", 200),
    ] {
        let answer = stream(&simulator, scenario).await;
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (status, "application/json")
        );
        assert!(!answer.code().is_empty());
    }
    for (scenario, status) in [("fail-first", 500), ("fail-mid", 500), ("inspection", 400)] {
        let call = TestCall::new(&format!("sim-{scenario}"), "在吗");
        assert_eq!(call.answer(&simulator).await.status, status, "{scenario}");
    }
}

#[tokio::test]
async fn each_token_of_clock_has_its_write_time() {
    let simulator = start(Options::default()).await;
    let before = monotonic_micros();
    let frames = stream(&simulator, "clock:3").await.frames();
    let after = monotonic_micros();
    let texts = frames.iter().map(text_of).filter(|text| !text.is_empty());
    let written: Vec<i64> = texts
        .map(|text| {
            let stamp = text
                .strip_prefix('@')
                .and_then(|text| text.strip_suffix(';'));
            let (written, late) = stamp.and_then(|stamp| stamp.split_once('+')).unwrap();
            late.parse::<u64>().unwrap();
            written.parse().unwrap()
        })
        .collect();
    assert_eq!(written.len(), 3);
    assert!(written.is_sorted() && before <= written[0] && written[2] <= after);
}

#[tokio::test]
async fn a_stream_fails_midway_after_the_given_pieces() {
    let simulator = start(Options::default()).await;
    let frames = stream(&simulator, "fail-mid:2+say:一|二|三").await.frames();
    assert_eq!((text_of(&frames[0]), text_of(&frames[1])), ("一", "二"));
    assert_eq!(
        (frames.len(), &frames[2]["code"]),
        (3, &json!("InternalError"))
    );
}

#[tokio::test]
async fn a_cut_happens_within_a_frame() {
    let simulator = start(Options::default()).await;
    let call = TestCall::streaming("app1_chat", "[[sim:cut:1+say:一|二|三]]");
    let mut body = call.send(&simulator).await.into_body();
    let mut read = Vec::new();
    while let Ok(frame) = body.frame().await.expect("no clean end") {
        read.extend(frame.into_data().unwrap());
    }
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(
        read.contains("\"text\":\"一\"") && !read.contains('三'),
        "{read}"
    );
    assert!(read.contains("id:3\n") && !read.ends_with("\n\n"), "{read}");

    let plain = TestCall::new("sim-cut", "在吗").send(&simulator).await;
    assert!(plain.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_stream_may_end_without_stop() {
    let simulator = start(Options::default()).await;
    let frames = stream(&simulator, "no-stop").await.frames();
    assert!(
        frames
            .iter()
            .all(|frame| frame["output"]["finish_reason"] == "null")
    );
}

#[tokio::test]
async fn long_and_huge_answers_have_the_given_length() {
    let simulator = start(Options::default()).await;
    let frames = stream(&simulator, "long").await.frames();
    assert_eq!(frames.len(), 3000 + 2);
    assert_eq!(frames[3001]["usage"]["models"][0]["output_tokens"], 3001);
    let huge = stream(&simulator, "huge").await;
    assert_eq!(text_of(&huge.frames()[1]).len(), 1 << 20);
}

#[tokio::test]
async fn text_may_be_missing() {
    let simulator = start(Options::default()).await;
    let empty = stream(&simulator, "empty").await.frames();
    assert_eq!(empty.last().unwrap()["output"]["finish_reason"], "stop");
    assert!(empty.iter().all(|frame| text_of(frame).is_empty()));

    let frames = stream(&simulator, "empty-frames").await.frames();
    assert!(frames[..60].iter().all(|frame| text_of(frame).is_empty()));
    assert!(!text_of(&frames[60]).is_empty());
    assert_eq!(frames[59]["usage"]["models"][0]["output_tokens"], 61);
}

#[tokio::test]
async fn usage_may_be_missing_or_odd() {
    let simulator = start(Options::default()).await;
    let none = stream(&simulator, "no-usage").await.frames();
    assert!(none.iter().all(|frame| frame.get("usage").is_none()));

    let mixed = stream(&simulator, "odd-usage+say:一二|三四|五六|七八")
        .await
        .frames();
    assert_eq!(mixed[0]["usage"], json!({}));
    assert_eq!(mixed[1]["usage"], Value::Null);
    assert_eq!(mixed[2]["usage"]["output_tokens"], 3);
    let models = mixed[5]["usage"]["models"].as_array().unwrap();
    let output: Vec<_> = models
        .iter()
        .map(|model| model["output_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!((output.len(), output.iter().sum::<u64>()), (2, 5));
}

#[tokio::test]
async fn frames_may_be_written_in_other_ways() {
    let simulator = start(Options::default()).await;
    let written = async |style: &str| stream(&simulator, &format!("{style}+say:好")).await.body;
    let crlf = written("crlf").await;
    assert!(crlf.starts_with("id:1\r\nevent:result\r\n") && crlf.ends_with("}\r\n\r\n"));
    assert!(!written("no-blank-lines").await.contains("\n\n"));
    assert!(
        written("spaces")
            .await
            .contains("event: result\n:HTTP_STATUS/200\ndata: {")
    );
    let heartbeats = written("heartbeats").await;
    assert!(heartbeats.starts_with(":keepalive\n\nid:1\nevent:result\n:keepalive\n"));
}

#[tokio::test]
async fn every_byte_may_be_its_own_chunk() {
    let simulator = start(Options::default()).await;
    let call = TestCall::streaming("app1_chat", "[[sim:utf8-split+say:你好]]");
    let mut body = call.send(&simulator).await.into_body();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(data.len(), 1);
        all.extend(data);
    }
    assert!(
        String::from_utf8(all)
            .unwrap()
            .contains("\"text\":\"你好\"")
    );
}

#[tokio::test]
async fn json_may_replace_a_stream_and_be_malformed() {
    let simulator = start(Options::default()).await;
    let instead = stream(&simulator, "json-instead+say:好").await;
    assert_eq!(instead.kind, "application/json");
    assert_eq!(instead.json()["output"]["text"], "好");

    let body = stream(&simulator, "bad-json").await.body;
    let parses = |data: &str| serde_json::from_str::<Value>(data).is_ok();
    let broken = body
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter(|data| !parses(data));
    assert_eq!(broken.count(), 1);

    let app = TestCall::new("app2_finance", "[[sim:bad-json]]")
        .answer(&simulator)
        .await
        .json();
    assert!(!parses(app["output"]["text"].as_str().unwrap()));
}

#[tokio::test]
async fn json_answers_may_be_wrapped_or_valid_only_on_the_second_call() {
    let simulator = start(Options::default()).await;
    let answer = async |scenario: &str| {
        let prompt = json!({ "事实": { "备注": format!("[[sim:{scenario}]]") } }).to_string();
        let answer = TestCall::new("app2_finance", &prompt)
            .answer(&simulator)
            .await;
        answer.json()["output"]["text"].as_str().unwrap().to_owned()
    };
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();

    let fenced = answer("fenced").await;
    let (_, rest) = fenced.split_once("```json\n").expect("a fence");
    let (block, after) = rest.split_once("\n```").expect("its end");
    assert!(parsed(block).unwrap()["insights"].is_array() && !after.trim().is_empty());
    assert!(parsed(&answer("bare-list").await).unwrap().is_array());

    for _ in 0..2 {
        assert_eq!(parsed(&answer("bad-json-once").await), None);
        assert!(parsed(&answer("bad-json-once").await).unwrap().is_object());
    }
}

#[tokio::test]
async fn facts_select_a_scenario_and_earlier_results_do_not() {
    let simulator = start(Options::default()).await;
    let prompt = r#"{"事实":{"备注":"[[sim:throttle]]"},"参考":[{"结果":"[[sim:unavailable]]"}]}"#;
    let answer = TestCall::new("app3_clue", prompt).answer(&simulator).await;
    assert_eq!(answer.status, 429);
}

#[tokio::test]
async fn a_session_may_be_expired() {
    let simulator = start(Options::default()).await;
    let first = TestCall::new("app1_chat", "在吗")
        .answer(&simulator)
        .await
        .json();
    let session = &first["output"]["session_id"];
    let call = |scenario: &str| {
        let prompt = format!("[[sim:{scenario}]]");
        TestCall::new("app1_chat", &prompt).input("session_id", session.clone())
    };
    assert_eq!(
        call("expired-session:400").answer(&simulator).await.code(),
        "InvalidParameter"
    );
    let anew = call("expired-session").answer(&simulator).await.json();
    assert_ne!(&anew["output"]["session_id"], session);
    assert_eq!(
        &call("echo").answer(&simulator).await.json()["output"]["session_id"],
        session
    );
}

#[tokio::test]
async fn thoughts_come_before_the_text() {
    let simulator = start(Options::default()).await;
    let frames = stream(&simulator, "thoughts").await.frames();
    assert_eq!(text_of(&frames[0]), "");
    assert!(
        !frames[0]["output"]["thoughts"][0]["thought"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let workflow = stream(&simulator, "workflow+say:好").await.frames();
    assert_eq!(
        workflow[0]["output"]["workflow_message"]["message"]["content"],
        "好"
    );
}

#[tokio::test]
async fn a_stream_waits_at_the_gate_until_released() {
    let simulator = start(Options::default()).await;
    simulator.hold_after(2);
    let call = TestCall::streaming("app1_chat", "[[sim:say:一|二|三|四]]");
    let mut body = call.send(&simulator).await.into_body();
    simulator.held(1).await;
    let mut read = String::new();
    while !read.contains("\"text\":\"二\"") {
        read.push_str(&next_frame(&mut body).await);
    }
    simulator.hold_after(3);
    while !read.contains("\"text\":\"三\"") {
        read.push_str(&next_frame(&mut body).await);
    }
    simulator.held(1).await;
    assert!(!read.contains('四'));
    assert_eq!(simulator.active_streams(), 1);
    simulator.release();
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("\"finish_reason\":\"stop\""));
    simulator.active(0).await;
}

#[tokio::test]
async fn each_call_has_its_own_gate() {
    let simulator = start(Options::default()).await;
    simulator.release(); // does not affect later calls
    let gated = TestCall::streaming("app1_chat", "[[sim:gate:0+say:一]]");
    let body = gated.send(&simulator).await.into_body();
    simulator.held(1).await;
    assert!(
        stream(&simulator, "echo").await.body.contains("stop"),
        "other calls are not held"
    );
    simulator.release();
    assert!(body.collect().await.is_ok());
}

#[tokio::test]
async fn a_cut_ends_present_streams_but_not_later_ones() {
    let simulator = start(Options::default()).await;
    simulator.hold_after(1);
    let body = TestCall::streaming("app1_chat", "[[sim:say:一|二]]")
        .send(&simulator)
        .await
        .into_body();
    simulator.held(1).await;
    simulator.cut();
    assert!(body.collect().await.is_err(), "the body has no end");
    simulator.active(0).await;
    assert_eq!(simulator.open_connections(), 0);
    simulator.release();
    let after = stream(&simulator, "say:一|二").await;
    assert_eq!(after.text(), "一二");
}

#[tokio::test]
async fn a_disconnect_is_recorded() {
    let simulator = start(Options::default()).await;
    let stalled = TestCall::streaming("app1_chat", "[[sim:stall:1]]")
        .send(&simulator)
        .await;
    simulator.active(1).await;
    assert_eq!(simulator.open_connections(), 1);
    drop(stalled);
    simulator.active(0).await;

    // A hanging call gets no response head, so its request is dropped.
    {
        let hanging = TestCall::streaming("app1_chat", "[[sim:hang]]").send(&simulator);
        tokio::select! {
            _ = hanging => panic!("the call returned"),
            () = simulator.active(1) => {}
        }
    }
    simulator.active(0).await;
}
