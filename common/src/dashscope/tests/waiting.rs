//! Tests of retries, timeouts and deadlines.
//!
//! In each test only the time limit under test is short, so that no other one can end the call.

use tokio::net::TcpListener;

use super::server::{head, json, response, sse};
use super::*;

const SHORT: Duration = Duration::from_millis(250);
const RATE: &str = include_str!("../testdata/error-429.json");

fn with(server: &Server, timeouts: Timeouts) -> DashScope {
    DashScope::new(Config {
        timeouts,
        ..config(server)
    })
    .unwrap()
}

#[tokio::test]
async fn temporary_failure_is_retried_until_success() {
    let frame = |status: u16, code: &str| {
        sse(format!(
            "event:error\n:HTTP_STATUS/{status}\ndata:{{\"code\":\"{code}\"}}\n\n"
        ))
    };
    let empty = DELTA.split_inclusive("\n\n").next().unwrap();
    for (case, failure) in [
        ("throttling", json(429, RATE)),
        ("throttling in a frame", frame(429, "Throttling.BurstRate")),
        ("a 500", json(500, r#"{"code":"InternalError"}"#)),
        ("a 500 in a frame", frame(500, "ModelServiceFailed")),
        ("a gateway's page", response(502, "text/html", "<html>")),
        ("a connection closed before a response", vec![]),
        ("a connection reset before a response", vec![Step::Reset]),
        ("an end before any text", sse("")),
        ("an end after frames without text", sse(empty)),
    ] {
        let server = Server::start(vec![
            failure.clone(),
            failure.clone(),
            failure.clone(),
            sse(DELTA),
        ])
        .await;
        let (text, answer) = events(&client(&server), &call()).await;
        assert_eq!(answer.unwrap().attempts(), 4, "{case}");
        assert_eq!(text, "收到，请继续。", "{case}");

        let server = Server::start(vec![failure]).await;
        let error = client(&server)
            .complete(&call(), far_deadline())
            .await
            .unwrap_err();
        assert_eq!(error.details().attempts, 4, "{case}");
        assert_eq!(server.requests().len(), 4, "{case}");
    }
}

#[tokio::test]
async fn permanent_failure_is_not_retried() {
    let rows = [
        (
            429,
            "Throttling.AllocationQuota",
            "Free allocated quota exceeded.",
        ),
        (429, "CommodityNotPurchased", ""),
        (429, "PrepaidBillOverdue", ""),
        (429, "PostpaidBillOverdue", ""),
        (429, "BudgetLimitExceeded", ""),
        (403, "AllocationQuota.FreeTierOnly", ""),
        (400, "InvalidParameter", ""),
        (400, "DataInspectionFailed", ""),
        (400, "Arrearage", ""),
        (401, "InvalidApiKey", ""),
        (404, "NotFound", ""),
        (413, "", ""),
    ];
    for (status, code, message) in rows {
        let body = format!(r#"{{"code":"{code}","message":"{message}"}}"#);
        let server = Server::start(vec![json(status, body), sse(DELTA)]).await;
        let error = client(&server)
            .stream(&call(), far_deadline())
            .await
            .unwrap_err();
        assert!(!error.is_retryable(), "{status} {code}: {error}");
        assert_eq!(server.requests().len(), 1, "{status} {code}");
    }
}

#[tokio::test]
async fn last_error_may_have_cost_if_an_earlier_attempt_may_have() {
    let server = Server::start(vec![vec![], json(429, RATE)]).await;
    let error = client(&server)
        .stream(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    assert!(
        may_have_cost(&error),
        "the first request was left without an answer"
    );
}

#[tokio::test]
async fn usage_of_a_try_that_broke_off_is_added() {
    let thought = DELTA.split_inclusive("\n\n").next().unwrap();
    let cut = vec![
        head(200, "text/event-stream", ""),
        Step::Send(thought.into()),
    ];
    let server = Server::start(vec![cut, vec![], sse(DELTA)]).await;
    let (_, answer) = events(&client(&server), &call()).await;
    let spent = answer.unwrap().spent();
    let expected = Usage::of_model("qwen-plus", 31 + 31, 1 + 5);
    // The second try got no response.
    assert_eq!((spent.usage, spent.unknown), (Some(expected), 1));
}

#[tokio::test]
async fn long_answer_is_broken_off() {
    let server = Server::start(vec![sse(DELTA), json(200, OK)]).await;
    let client = DashScope::new(Config {
        max_answer: "收到，请".len(),
        ..config(&server)
    })
    .unwrap();
    let (text, answer) = events(&client, &call()).await;
    let error = answer.unwrap_err();
    assert_eq!((text.as_str(), error.code()), ("收到，请", "too_long"));
    assert!(!error.is_retryable() && !error.counts_for_circuit() && may_have_cost(&error));
    let error = client.complete(&call(), far_deadline()).await.unwrap_err();
    assert_eq!(error.code(), "too_long");
}

#[tokio::test]
async fn unreachable_service_has_cost_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(vec![vec![]]).await;
    let config = Config {
        base_url: format!("http://{address}/api/v1"),
        ..config(&server)
    };
    let error = DashScope::new(config)
        .unwrap()
        .stream(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!may_have_cost(&error) && error.counts_for_circuit());
    assert_eq!(error.details().attempts, 4);
    let printed = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(!printed.contains("/apps/"), "{printed}");
}

#[tokio::test]
async fn retry_after_replaces_a_pause() {
    // With these pauses alone, the second request would come after the end of this test.
    let slow = Retries {
        delays: vec![Duration::from_secs(50)],
        jitter: 0.0,
    };
    for header in ["retry-after: 0\r\n", "retry-after-ms: 5\r\n"] {
        let throttled = vec![
            head(429, "application/json", header),
            Step::Send(RATE.into()),
        ];
        let server = Server::start(vec![throttled, sse(DELTA)]).await;
        let client = DashScope::new(Config {
            retries: slow.clone(),
            ..config(&server)
        })
        .unwrap();
        let (_, answer) = events(&client, &call()).await;
        assert_eq!(answer.unwrap().attempts(), 2, "{header}");
    }
}

#[tokio::test]
async fn pause_beyond_the_deadline_is_not_started() {
    let throttled = vec![
        head(429, "application/json", "retry-after: 3600\r\n"),
        Step::Send(RATE.into()),
    ];
    let server = Server::start(vec![throttled]).await;
    let error = client(&server)
        .stream(&call(), far_deadline())
        .await
        .unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(server.requests().len(), 1);

    let server = Server::start(vec![json(500, "{}")]).await;
    let slow = Retries {
        delays: vec![Duration::from_hours(1)],
        jitter: 0.0,
    };
    let client = DashScope::new(Config {
        retries: slow,
        ..config(&server)
    })
    .unwrap();
    let error = client.complete(&call(), far_deadline()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn huge_retry_after_does_not_panic() {
    let header = "retry-after: 18000000000000000000\r\n";
    let throttled = vec![
        head(429, "application/json", header),
        Step::Send(RATE.into()),
    ];
    let server = Server::start(vec![throttled]).await;
    let error = client(&server)
        .stream(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(error.retry_after() > Some(Duration::from_hours(24)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failed_tls_handshake_has_cost_nothing() {
    let server = Server::start(vec![vec![]]).await;
    let config = Config {
        base_url: server.base_url().replace("http:", "https:"),
        timeouts: Timeouts {
            connect: SHORT,
            ..Timeouts::default()
        },
        retries: Retries::none(),
        ..config(&server)
    };
    let error = DashScope::new(config)
        .unwrap()
        .stream(&call(), far_deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!may_have_cost(&error));
}

#[tokio::test]
async fn no_request_is_sent_after_the_deadline() {
    let server = Server::start(vec![sse(DELTA)]).await;
    let error = client(&server)
        .stream(&call(), Instant::now())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "deadline");
    assert!(!may_have_cost(&error) && !error.counts_for_circuit());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn deadline_ends_a_call_in_each_phase() {
    let head = || head(200, "text/event-stream", "");
    let text = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    for script in [
        vec![Step::Hang],
        vec![head(), Step::Hang],
        vec![head(), Step::Heartbeats(Duration::from_millis(10))],
        vec![head(), Step::Send(text.into()), Step::Hang],
    ] {
        let server = Server::start(vec![script]).await;
        let error = match client(&server)
            .stream(&call(), Instant::now() + SHORT)
            .await
        {
            Err(error) => error,
            Ok(mut answer) => {
                assert_eq!(answer.next().await.unwrap(), Event::Text("收到".to_owned()));
                answer.next().await.unwrap_err()
            }
        };
        assert_eq!(error.code(), "deadline", "{error}");
        assert!(may_have_cost(&error) && !error.counts_for_circuit());
        let error = client(&server)
            .complete(&call(), Instant::now() + SHORT)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "deadline", "{error}");
    }
}

#[tokio::test]
async fn only_text_stops_the_first_token_timeout() {
    let thought = DELTA.split_inclusive("\n\n").next().unwrap();
    for script in [
        vec![Step::Hang],
        vec![
            head(200, "text/event-stream", ""),
            Step::Send(thought.into()),
            Step::Hang,
        ],
        vec![
            head(200, "text/event-stream", ""),
            Step::Heartbeats(Duration::from_millis(5)),
        ],
    ] {
        let server = Server::start(vec![script]).await;
        let client = with(
            &server,
            Timeouts {
                first_token: SHORT,
                ..Timeouts::default()
            },
        );
        let error = client.stream(&call(), far_deadline()).await.unwrap_err();
        assert_eq!(error.code(), "timeout_first_token", "{error}");
        assert!(may_have_cost(&error) && error.counts_for_circuit());
        assert_eq!(server.requests().len(), 1, "a timeout is not retried");
    }
}

#[tokio::test]
async fn any_frame_is_a_sign_of_life() {
    let frames: Vec<&str> = include_str!("../testdata/stream-thinking.sse")
        .split_inclusive("\n\n")
        .collect();
    let mut script = vec![head(200, "text/event-stream", "")];
    for frame in frames {
        script.extend([Step::Pause(SHORT), Step::Send(frame.into())]);
    }
    let server = Server::start(vec![script]).await;
    let client = with(
        &server,
        Timeouts {
            idle: SHORT * 2,
            ..Timeouts::default()
        },
    );
    let (text, answer) = events(&client, &call()).await;
    assert!(answer.is_ok());
    assert_eq!(text, "结论：加一名教练。");
}

#[tokio::test]
async fn whole_answer_ignores_first_token_and_idle_timeouts() {
    let whole = json(200, OK);
    let pause = Step::Pause(SHORT * 3);
    for script in [
        vec![pause.clone(), whole[0].clone(), whole[1].clone()],
        vec![whole[0].clone(), pause, whole[1].clone()],
    ] {
        let server = Server::start(vec![script]).await;
        let timeouts = Timeouts {
            first_token: SHORT,
            idle: SHORT,
            ..Timeouts::default()
        };
        with(&server, timeouts)
            .complete(&call(), far_deadline())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn idle_timeout_counts_across_dropped_calls_of_next() {
    let text = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    let server = Server::start(vec![vec![
        head(200, "text/event-stream", ""),
        Step::Send(text.into()),
        Step::Hang,
    ]])
    .await;
    let client = with(
        &server,
        Timeouts {
            idle: SHORT,
            ..Timeouts::default()
        },
    );
    let mut answer = client.stream(&call(), far_deadline()).await.unwrap();
    assert_eq!(answer.next().await.unwrap(), Event::Text("收到".to_owned()));
    let error = loop {
        if let Ok(outcome) = tokio::time::timeout(SHORT / 5, answer.next()).await {
            break outcome.unwrap_err();
        }
    };
    assert_eq!(error.code(), "timeout_idle", "{error}");
    assert_eq!(
        error.details().usage,
        Some(Usage::of_model("qwen-plus", 31, 2))
    );
}

#[tokio::test]
async fn heartbeats_keep_a_stream_open() {
    let mut script = vec![head(200, "text/event-stream", "")];
    for _ in 0..15 {
        script.extend([
            Step::Send(b":keepalive\n\n".to_vec()),
            Step::Pause(Duration::from_millis(100)),
        ]);
    }
    script.push(Step::Send(DELTA.into()));
    let server = Server::start(vec![script]).await;
    let client = with(
        &server,
        Timeouts {
            idle: Duration::from_secs(1),
            ..Timeouts::default()
        },
    );
    assert_eq!(events(&client, &call()).await.0, "收到，请继续。");
}

#[tokio::test]
async fn overall_timeout_ends_an_answer() {
    let text = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    let script = vec![
        head(200, "text/event-stream", ""),
        Step::Send(text.into()),
        Step::Heartbeats(Duration::from_millis(5)),
    ];
    let server = Server::start(vec![script]).await;
    let client = with(
        &server,
        Timeouts {
            overall: SHORT * 3,
            ..Timeouts::default()
        },
    );
    let (text, answer) = events(&client, &call()).await;
    assert_eq!(text, "收到");
    assert_eq!(answer.unwrap_err().code(), "timeout_overall");
}
