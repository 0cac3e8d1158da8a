//! Retries, timeouts and deadlines. Waits that a test is about are short, all others long, so that
//! only one can end it.

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
async fn what_may_pass_is_tried_again_until_it_does() {
    let frame = |status: u16, code: &str| {
        sse(format!(
            "event:error\n:HTTP_STATUS/{status}\ndata:{{\"code\":\"{code}\"}}\n\n"
        ))
    };
    let empty = DELTA.split_inclusive("\n\n").next().unwrap();
    for (what, failure) in [
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
        assert_eq!(answer.unwrap().attempts(), 4, "{what}");
        assert_eq!(text, "收到，请继续。", "{what}");

        let server = Server::start(vec![failure]).await;
        let error = client(&server).complete(&call(), soon()).await.unwrap_err();
        assert_eq!(error.details().attempts, 4, "{what}");
        assert_eq!(server.requests().len(), 4, "{what}");
    }
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
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
        let error = client(&server).stream(&call(), soon()).await.unwrap_err();
        assert!(!error.is_retryable(), "{status} {code}: {error}");
        assert_eq!(server.requests().len(), 1, "{status} {code}");
    }
}

#[tokio::test]
async fn a_try_that_may_have_cost_is_remembered_by_the_last_error() {
    let server = Server::start(vec![vec![], json(429, RATE)]).await;
    let error = client(&server).stream(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Throttled { .. }), "{error}");
    assert!(
        error.may_have_cost(),
        "the first request was left without an answer"
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_has_cost_nothing() {
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
        .stream(&call(), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!error.may_have_cost() && error.counts_for_circuit());
    assert_eq!(error.details().attempts, 4);
    let printed = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(!printed.contains("/apps/"), "{printed}");
}

#[tokio::test]
async fn a_retry_after_takes_the_place_of_a_pause() {
    // With the pauses of this client a second request would never be made in this test's time.
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
async fn a_pause_that_would_pass_the_deadline_is_not_begun() {
    let throttled = vec![
        head(429, "application/json", "retry-after: 3600\r\n"),
        Step::Send(RATE.into()),
    ];
    let server = Server::start(vec![throttled]).await;
    let error = client(&server).stream(&call(), soon()).await.unwrap_err();
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
    let error = client.complete(&call(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_retry_after_beyond_all_reckoning_does_no_harm() {
    let header = "retry-after: 18000000000000000000\r\n";
    let throttled = vec![
        head(429, "application/json", header),
        Step::Send(RATE.into()),
    ];
    let server = Server::start(vec![throttled]).await;
    let error = client(&server).stream(&call(), soon()).await.unwrap_err();
    assert!(error.retry_after() > Some(Duration::from_hours(24)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_handshake_that_comes_to_nothing_is_no_connection() {
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
        .stream(&call(), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!error.may_have_cost());
}

#[tokio::test]
async fn no_request_is_made_after_the_deadline() {
    let server = Server::start(vec![sse(DELTA)]).await;
    let error = client(&server)
        .stream(&call(), Instant::now())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "deadline");
    assert!(!error.may_have_cost() && !error.counts_for_circuit());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_deadline_ends_a_call_wherever_it_is() {
    let head = || head(200, "text/event-stream", "");
    let text = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    for script in [
        vec![Step::Hang],
        vec![head(), Step::Hang],
        vec![head(), Step::BeatForEver(Duration::from_millis(10))],
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
        assert!(error.may_have_cost() && !error.counts_for_circuit());
        let error = client(&server)
            .complete(&call(), Instant::now() + SHORT)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "deadline", "{error}");
    }
}

#[tokio::test]
async fn the_first_text_is_waited_for_no_longer_than_said_whatever_else_comes() {
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
            Step::BeatForEver(Duration::from_millis(5)),
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
        let error = client.stream(&call(), soon()).await.unwrap_err();
        assert_eq!(error.code(), "timeout_first_token", "{error}");
        assert!(error.may_have_cost() && error.counts_for_circuit());
        assert_eq!(server.requests().len(), 1, "a timeout is not tried again");
    }
}

#[tokio::test]
async fn a_whole_answer_may_take_longer_than_a_first_text_or_a_silence() {
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
            .complete(&call(), soon())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn silence_ends_a_stream_even_when_next_is_given_up_again_and_again() {
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
    let mut answer = client.stream(&call(), soon()).await.unwrap();
    assert_eq!(answer.next().await.unwrap(), Event::Text("收到".to_owned()));
    let error = loop {
        if let Ok(outcome) = tokio::time::timeout(SHORT / 5, answer.next()).await {
            break outcome.unwrap_err();
        }
    };
    assert_eq!(error.code(), "timeout_idle", "{error}");
    assert_eq!(
        error.details().usage,
        Some(Usage {
            input_tokens: 31,
            output_tokens: 2
        })
    );
}

#[tokio::test]
async fn heartbeats_keep_a_stream_alive() {
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
async fn an_answer_ends_with_the_time_of_the_whole_call() {
    let text = DELTA.split_inclusive("\n\n").nth(1).unwrap();
    let script = vec![
        head(200, "text/event-stream", ""),
        Step::Send(text.into()),
        Step::BeatForEver(Duration::from_millis(5)),
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
