//! Tests of streamed and whole answers.

use super::server::{head, json, sse};
use super::*;

#[tokio::test]
async fn documented_streams_give_their_text_session_and_usage() {
    for (name, body, expected) in WHOLE_STREAMS {
        let server = Server::start(vec![sse(*body)]).await;
        let (text, answer) = events(&client(&server), &continued(SESSION)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(text, *expected, "{name}");
        assert_eq!(answer.session_id(), Some(SESSION), "{name}");
        assert_eq!(answer.request_id(), Some(REQUEST), "{name}");
        assert_eq!(answer.finish_reason(), Some("stop"), "{name}");
        let output_tokens = match *name {
            "stream-workflow.sse" => None,
            "stream-thoughts.sse" => Some(9),
            "stream-surrogates-split.sse" => Some(3),
            _ => Some(5),
        };
        assert_eq!(
            answer.spent().usage.map(|usage| usage.output_tokens()),
            output_tokens,
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_text_is_returned_once() {
    for (body, expected) in [
        (
            include_str!("../testdata/stream-cumulative-though-incremental.sse"),
            "周末包厢最满",
        ),
        (
            include_str!("../testdata/stream-workflow-pieces-then-whole.sse"),
            "本周营业额上升",
        ),
        (
            include_str!("../testdata/stream-workflow-start-node.sse"),
            "晴",
        ),
        (
            include_str!("../testdata/stream-thinking.sse"),
            "结论：加一名教练。",
        ),
        (
            include_str!("../testdata/stream-cumulative.sse"),
            "收到，请继续。",
        ),
    ] {
        let server = Server::start(vec![sse(body)]).await;
        let (text, answer) = events(&client(&server), &call()).await;
        assert!(answer.is_ok());
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn text_that_waits_for_the_next_frame_comes_before_an_error() {
    let body = "data:{\"output\":{\"text\":\"我\"}}\n\ndata:{\"output\":{\"text\":\"我们\"}}\n\n";
    let server = Server::start(vec![sse(body)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!(text, "我我们");
    assert!(matches!(answer, Err(Error::Truncated { .. })));
}

#[tokio::test]
async fn text_that_is_kept_back_can_be_taken() {
    let script = vec![
        head(200, "text/event-stream", ""),
        Step::Send("data:{\"output\":{\"text\":\"见<ref>[1]\"}}\n\n".into()),
        Step::Hang,
    ];
    let server = Server::start(vec![script]).await;
    let client = client(&server);
    let mut answer = client.stream(&call(), far_deadline()).await.unwrap();
    assert_eq!(answer.take_text(), "见<ref>[1]");
}

#[tokio::test]
async fn marks_lose_their_tags_and_documents_are_returned() {
    let mark = r#"{"output":{"text":"[1]</ref>","doc_references":[{"index_id":"1","title":"t"}]}}"#;
    let last = r#"{"output":{"text":"。<","finish_reason":"stop"}}"#;
    let body =
        format!("data:{{\"output\":{{\"text\":\"见<ref>\"}}}}\n\ndata:{mark}\n\ndata:{last}\n\n");
    let server = Server::start(vec![sse(body)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!(text, "见[1]。<");
    assert_eq!(answer.unwrap().references()[0].index, 1);
}

#[tokio::test]
async fn progress_is_reported_and_a_try_without_text_is_repeated() {
    let thought = |kind: &str| {
        format!(
            r#"data:{{"output":{{"text":"","thoughts":[{{}},{{"action_type":"{kind}","action_name":"名"}}]}}}}"#
        )
    };
    let frames = |kind: &str| format!("{}\n\n", thought(kind));
    let failing = vec![
        head(200, "text/event-stream", ""),
        Step::Send(frames("reasoning").into()),
        Step::Reset,
    ];
    for (kind, expected) in [
        ("reasoning", ProgressKind::Thinking),
        ("agentRag", ProgressKind::Retrieval),
        ("api", ProgressKind::Tool),
        ("mcp", ProgressKind::Tool),
    ] {
        let answer = sse([frames(kind), DELTA.to_owned()].concat());
        let server = Server::start(vec![failing.clone(), answer]).await;
        let (sender, receiver) = tokio::sync::watch::channel(None);
        let client = client(&server).reporting_to(sender);
        let (text, answer) = events(&client, &call()).await;
        assert_eq!((&*text, answer.unwrap().attempts()), ("收到，请继续。", 2));
        let progress = Progress {
            kind: expected,
            name: "名".to_owned(),
        };
        assert_eq!(*receiver.borrow(), Some(progress));
    }
}

#[tokio::test]
async fn stream_returns_at_the_first_text_and_each_piece_on_arrival() {
    let frames: Vec<&str> = DELTA.split_inclusive("\n\n").collect();
    let script = vec![
        head(200, "text/event-stream", ""),
        Step::Send(frames[..2].concat().into()),
        Step::Hang,
    ];
    let server = Server::start(vec![script]).await;
    let mut answer = client(&server)
        .stream(&call(), far_deadline())
        .await
        .unwrap();
    assert_eq!(
        answer.spent().usage,
        Some(Usage::of_model("qwen-plus", 31, 2))
    );
    assert_eq!(answer.next().await.unwrap(), Event::Text("收到".to_owned()));
}

#[tokio::test]
async fn done_repeats_and_never_follows_an_error() {
    let server = Server::start(vec![sse(DELTA), sse(ERROR_MID)]).await;
    let client = client(&server);
    let mut answer = events(&client, &call()).await.1.unwrap();
    assert_eq!(answer.next().await.unwrap(), Event::Done);

    let mut answer = client.stream(&call(), far_deadline()).await.unwrap();
    assert_eq!(answer.next().await.unwrap(), Event::Text("收到".to_owned()));
    assert!(matches!(answer.next().await, Err(Error::Blocked { .. })));
    assert!(matches!(answer.next().await, Err(Error::Truncated { .. })));
    assert_eq!(answer.session_id(), Some(SESSION));
    assert_eq!(
        answer.spent().usage,
        Some(Usage::of_model("qwen-plus", 31, 2))
    );
}

#[tokio::test]
async fn answer_may_have_no_text() {
    let body = r#"data:{"output":{"text":"","finish_reason":"stop"}}"#;
    let server = Server::start(vec![sse(body)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!((text.as_str(), answer.unwrap().spent().usage), ("", None));
}

#[tokio::test]
async fn last_frame_may_have_text_and_any_reason_ends_an_answer() {
    let body = "data:{\"output\":{\"text\":\"a\",\"finish_reason\":null}}\n\ndata:[DONE]\n\ndata:{\"output\":null}\n\n\
                data:{\"output\":{\"text\":[\"b\"],\"finish_reason\":\"length\"}}\n\ndata:[DONE]\n\n";
    let server = Server::start(vec![sse(body)]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!(
        (text.as_str(), answer.unwrap().finish_reason()),
        ("ab", Some("length"))
    );
}

#[tokio::test]
async fn usage_after_the_end_counts_and_an_open_connection_does_not_delay() {
    let late = "data:{\"output\":{},\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}\n\n";
    let body = format!("{DELTA}{late}");
    let script = vec![
        head(200, "text/event-stream", ""),
        Step::Send(body.into()),
        Step::Hang,
    ];
    let server = Server::start(vec![script]).await;
    let (text, answer) = events(&client(&server), &call()).await;
    assert_eq!(text, "收到，请继续。");
    assert_eq!(
        answer.unwrap().spent().usage,
        Some(Usage::of_model("", 1, 2))
    );
}

#[tokio::test]
async fn dropping_next_loses_no_text() {
    let mut script = vec![head(200, "text/event-stream", "")];
    for bytes in DELTA.as_bytes().chunks(40) {
        script.extend([
            Step::Send(bytes.into()),
            Step::Pause(Duration::from_millis(2)),
        ]);
    }
    let server = Server::start(vec![script]).await;
    let mut answer = client(&server)
        .stream(&call(), far_deadline())
        .await
        .unwrap();
    let mut text = String::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(1), answer.next()).await {
            Ok(Ok(Event::Text(piece))) => text.push_str(&piece),
            Ok(Ok(Event::Done)) => break,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
    assert_eq!(text, "收到，请继续。");
}

#[tokio::test]
async fn session_with_another_id_in_the_answer_has_expired() {
    let server = Server::start(vec![sse(DELTA), json(200, OK)]).await;
    let client = client(&server);
    let error = client
        .stream(&continued("gone"), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SessionExpired { .. }), "{error}");
    assert!(may_have_cost(&error) && !error.counts_for_circuit());
    let error = client
        .complete(&continued("gone"), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SessionExpired { .. }), "{error}");
    assert_eq!(
        error.details().usage,
        Some(Usage::of_model("qwen-plus", 31, 5))
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn session_rejected_as_invalid_parameter_has_expired() {
    let framed = include_str!("../testdata/error-400-framed.sse");
    let plain = r#"{"code":"InvalidParameter","message":"session"}"#;
    for response in [
        sse(framed),
        server::response(400, "application/json", framed),
        json(400, plain),
    ] {
        let server = Server::start(vec![response]).await;
        let error = client(&server)
            .stream(&continued(SESSION), far_deadline())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::SessionExpired { .. }), "{error}");
        assert!(!may_have_cost(&error));
        let error = client(&server)
            .complete(&call(), far_deadline())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Refused { .. }),
            "without a session it is the request: {error}"
        );
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn events_do_not_depend_on_the_chunks() {
    let mut scripts = Vec::new();
    let mut expected = Vec::new();
    for (_, body, text) in WHOLE_STREAMS {
        for size in [1, 2, 3, 5, 8, 13, 21, 34, 55] {
            let encoding = "transfer-encoding: chunked\r\n";
            let mut script = vec![head(200, "text/event-stream", encoding)];
            for bytes in body.chunks(size) {
                let length = format!("{:x}\r\n", bytes.len());
                script.push(Step::Send([length.as_bytes(), bytes, b"\r\n"].concat()));
            }
            script.push(Step::Send(b"0\r\n\r\n".to_vec()));
            scripts.push(script);
            expected.push(*text);
        }
    }
    let server = Server::start(scripts).await;
    let client = client(&server);
    for expected in expected {
        let (text, answer) = events(&client, &call()).await;
        assert!(answer.is_ok());
        assert_eq!(text, expected);
    }
}
