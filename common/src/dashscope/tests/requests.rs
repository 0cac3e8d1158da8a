//! Tests of the requests that the client sends.

use serde_json::{Value, json};

use super::server::{json as json_response, sse};
use super::*;

/// Request line, headers with lower-case names, and body of a request.
fn parts(request: &str) -> (String, Vec<(String, String)>, Value) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    });
    (
        first,
        headers.collect(),
        serde_json::from_str(body).unwrap(),
    )
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(header, _)| header == name);
    let value = values.next()?;
    assert!(values.next().is_none(), "{name} is sent once");
    Some(&value.1)
}

#[tokio::test]
async fn stream_request_has_the_documented_headers_and_body() {
    let server = Server::start(vec![sse(DELTA)]).await;
    let config = Config {
        workspace: Some("llm-ws123".to_owned()),
        ..config(&server)
    };
    let call = Call {
        app_id: "a/b?c 中".to_owned(),
        ..call()
    };
    events(&DashScope::new(config).unwrap(), &call)
        .await
        .1
        .unwrap();

    let (first, headers, body) = parts(&server.requests()[0]);
    assert_eq!(
        first,
        "POST /api/v1/apps/a%2Fb%3Fc%20%E4%B8%AD/completion HTTP/1.1"
    );
    for (name, expected) in [
        ("authorization", "Bearer sk-test-000"),
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("x-dashscope-sse", "enable"),
        ("x-dashscope-workspace", "llm-ws123"),
        ("x-accel-buffering", "no"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(value(&headers, name), Some(expected), "{name}");
    }
    assert_eq!(value(&headers, "x-dashscope-async"), None);
    assert_eq!(
        body,
        json!({"input": {"prompt": "你是谁？"}, "parameters": {"incremental_output": true}})
    );
}

#[tokio::test]
async fn options_are_parameters() {
    let server = Server::start(vec![json_response(200, OK)]).await;
    let call = Call {
        options: CallOptions {
            rag_options: Some(json!({"pipeline_ids": ["p1"]})),
            flow_stream_mode: Some("message_format".to_owned()),
            has_thoughts: Some(true),
        },
        ..call()
    };
    client(&server)
        .complete(&call, far_deadline())
        .await
        .unwrap();
    let (_, _, body) = parts(&server.requests()[0]);
    assert_eq!(
        body["parameters"],
        json!({
            "rag_options": {"pipeline_ids": ["p1"]},
            "flow_stream_mode": "message_format",
            "has_thoughts": true,
        })
    );
}

#[tokio::test]
async fn request_for_a_whole_answer_has_no_stream_headers() {
    let server = Server::start(vec![json_response(200, OK)]).await;
    let answer = client(&server)
        .complete(&call(), far_deadline())
        .await
        .unwrap();
    assert_eq!(
        answer,
        Answer {
            text: "收到，请继续。".to_owned(),
            session_id: Some(SESSION.to_owned()),
            spent: Spent {
                usage: Some(Usage::of_model("qwen-plus", 31, 5)),
                ..Spent::default()
            },
            request_id: Some(REQUEST.to_owned()),
            finish_reason: Some("stop".to_owned()),
            references: Vec::new(),
            attempts: 1,
        }
    );
    let (_, headers, body) = parts(&server.requests()[0]);
    assert_eq!(value(&headers, "accept"), Some("application/json"));
    for absent in [
        "x-dashscope-sse",
        "x-dashscope-workspace",
        "accept-encoding",
    ] {
        assert_eq!(value(&headers, absent), None, "{absent}");
    }
    assert_eq!(
        body,
        json!({"input": {"prompt": "你是谁？"}, "parameters": {}})
    );
}

#[tokio::test]
async fn trace_is_sent_with_each_attempt() {
    let server = Server::start(vec![
        json_response(503, "{}"),
        sse(DELTA),
        json_response(200, OK),
        sse(DELTA),
    ])
    .await;
    let client = client(&server);
    let call_with_trace = Call {
        trace: Some(http::HeaderValue::from_static("Root=1-a-b")),
        ..call()
    };
    events(&client, &call_with_trace).await.1.unwrap();
    client
        .complete(&call_with_trace, far_deadline())
        .await
        .unwrap();
    events(&client, &call()).await.1.unwrap();
    let requests = server.requests();
    let traces: Vec<_> = requests
        .iter()
        .map(|request| {
            let (_, headers, _) = parts(request);
            value(&headers, "x-amzn-trace-id").map(str::to_owned)
        })
        .collect();
    let trace = Some("Root=1-a-b".to_owned());
    assert_eq!(traces, [trace.clone(), trace.clone(), trace, None]);
}

#[tokio::test]
async fn same_call_gives_the_same_body() {
    let server = Server::start(vec![sse(DELTA)]).await;
    let client = client(&server);
    let call = Call {
        biz_params: Some(json!({"user_prompt_params": {"city": "北京"}, "z": 1, "a": [2]})),
        ..continued(SESSION)
    };
    for _ in 0..2 {
        events(&client, &call).await.1.unwrap();
    }
    let requests = server.requests();
    let bodies: Vec<_> = requests
        .iter()
        .map(|request| request.split_once("\r\n\r\n").unwrap().1)
        .collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(
        serde_json::from_str::<Value>(bodies[0]).unwrap()["input"],
        json!({
            "prompt": "你是谁？",
            "session_id": SESSION,
            "biz_params": {"user_prompt_params": {"city": "北京"}, "z": 1, "a": [2]},
        })
    );
}

#[tokio::test]
async fn id_that_would_change_the_path_is_not_sent() {
    let server = Server::start(vec![sse(DELTA)]).await;
    for app_id in ["", ".", ".."] {
        let call = Call {
            app_id: app_id.to_owned(),
            ..call()
        };
        let error = events(&client(&server), &call).await.1.unwrap_err();
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert!(!may_have_cost(&error));
    }
    assert!(server.requests().is_empty());
    let call = Call {
        app_id: "../x#".to_owned(),
        ..call()
    };
    events(&client(&server), &call).await.1.unwrap();
    assert!(server.requests()[0].starts_with("POST /api/v1/apps/..%2Fx%23/completion "));
}

#[tokio::test]
async fn connection_is_used_again_after_an_answer() {
    let keep = || {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", DELTA.len());
        Step::Send((head + DELTA).into())
    };
    let server = Server::start(vec![
        vec![keep(), Step::Read, keep(), Step::Hang],
        vec![Step::Reset],
    ])
    .await;
    let client = client(&server);
    for _ in 0..2 {
        assert_eq!(events(&client, &call()).await.1.unwrap().attempts(), 1);
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let target = Server::start(vec![sse(DELTA)]).await;
    let location = format!("location: {}/elsewhere\r\n", target.base_url());
    let error = error_of(vec![server::head(307, "text/html", &location)]).await;
    assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
    assert!(target.requests().is_empty());
}

#[test]
fn invalid_configuration_is_rejected() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::new("sk-test-000".into());
        change(&mut config);
        DashScope::new(config)
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|config| config.base_url = "http://127.0.0.1:1/api/v1/".to_owned()).is_ok());
    assert!(matches!(
        with(|config| config.api_key = " ".into()),
        Err(ConfigError::ApiKey)
    ));
    assert!(matches!(
        with(|config| config.api_key = "a\nb".into()),
        Err(ConfigError::ApiKey)
    ));
    assert!(matches!(
        with(|config| config.workspace = Some("a/b".to_owned())),
        Err(ConfigError::Workspace(_))
    ));
    for url in [
        "",
        "dashscope.aliyuncs.com",
        "ftp://x/api/v1",
        "https://x/api?a=b",
        "https://x/#a",
    ] {
        let mut config = Config::new("sk-test-000".into());
        config.base_url = url.to_owned();
        assert!(
            matches!(DashScope::new(config), Err(ConfigError::BaseUrl(_))),
            "{url}"
        );
    }
}

#[test]
fn debug_output_has_neither_key_nor_prompt() {
    let config = Config::new("sk-secret".into());
    let client = DashScope::new(config.clone()).unwrap();
    let call = Call {
        prompt: "sk-secret".to_owned(),
        ..call()
    };
    let printed = format!("{config:?} {client:?} {call:?}");
    assert!(!printed.contains("sk-secret"), "{printed}");
}

#[tokio::test]
async fn call_on_a_connection_that_the_service_has_closed_is_repeated_at_once() {
    let length = OK.len();
    let answer = Step::Send(
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{OK}")
            .into_bytes(),
    );
    let closes_later = vec![answer.clone(), Step::Read, Step::Reset];
    for (second, requests) in [(vec![answer], 3), (vec![Step::Reset], 3)] {
        let is_answered = second.len() == 1 && matches!(second[0], Step::Send(_));
        let server = Server::start(vec![closes_later.clone(), second]).await;
        let client = DashScope::new(Config {
            retries: Retries {
                delays: vec![Duration::from_hours(24); 2],
                jitter: 0.0,
            },
            ..config(&server)
        })
        .unwrap();
        let deadline = far_deadline();
        client.complete(&call(), deadline).await.unwrap();
        let repeated = client.complete(&call(), deadline).await;
        match repeated {
            Ok(answer) => assert!(is_answered && answer.attempts == 2, "{answer:?}"),
            Err(error) => assert!(!is_answered && error.details().attempts == 2, "{error}"),
        }
        assert_eq!(server.requests().len(), requests);
    }
}
