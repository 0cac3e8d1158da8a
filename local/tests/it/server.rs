//! The program `parlor-server`, as an operator runs it.

mod crowd;
mod image;
mod schedules;
mod shutdown;

use std::{fs, time::Duration};

use serde_json::json;

use crate::harness::{
    events::{EventStream, terminal, text},
    parlor::{COACH, Parlor, SECRET, Setup, token},
    server::{Server, choose_applications, run},
    until, until_within,
};

/// On a machine that is busy with a build.
pub const LONGEST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_server_with_three_variables_serves_the_product() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let server = Server::start(&parlor).await;
    assert!(server.address.starts_with("http://127.0.0.1:"));

    let health = server.get("/healthz").await;
    let version = env!("CARGO_PKG_VERSION");
    let expected = json!({ "status": "ok", "version": version, "commit": null });
    assert_eq!(health.ok(), &expected);
    assert_eq!(
        server.get("/readyz").await.ok(),
        &json!({ "status": "ready" })
    );
    assert_eq!(server.log()[0]["version"], version);
    assert_eq!(
        run(&parlor, &["--version"], &[]).await.status.code(),
        Some(0)
    );

    let chat = parlor.open(COACH, "t").await;
    let body = json!({ "chatId": chat, "content": "[[sim:echo]]今天谁过生日？" });
    let response = server.stream(COACH, &body).send().await.unwrap();
    let events = EventStream::new(response).rest().await;
    assert_eq!(terminal(&events).name, "done");
    assert_eq!(text(&events), "[[sim:echo]]今天谁过生日？");
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        text(&events)
    );

    let sign_in = server
        .request("GET", "/console/sign-in")
        .send()
        .await
        .unwrap();
    assert_eq!(sign_in.status(), 200);
    let cookie = format!("parlor_token={}", token(COACH));
    let page = server
        .request("GET", "/console/chat")
        .header("Cookie", cookie);
    assert_eq!(page.send().await.unwrap().status(), 200);
    assert_eq!(server.get("/api/xcx/no/such/path").await.status, 404);
}

#[tokio::test]
async fn a_job_runs_within_seconds_without_a_queue() {
    let parlor = Parlor::with_business(Setup::default()).await;
    choose_applications(&parlor).await;
    let _server = Server::start(&parlor).await;
    let job = parlor.member_paid(10_001, 1).await;
    until_within(LONGEST, "the job succeeds", async || {
        (parlor.job(job).await["status"] == "succeeded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn readyz_tells_why_the_server_cannot_serve() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    let url = [("DATABASE_URL", &*wire.url)];
    let server = Server::start_with(&parlor, &[], &url).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    wire.go_down();
    let away = server.get("/readyz").await;
    assert_eq!(away.status, 503);
    assert_eq!(away.body, json!({ "status": "database_unreachable" }));
    assert_eq!(server.get("/healthz").await.status, 200);
    wire.restore();
    until("the server is ready again", async || {
        (server.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_is_ready_once_the_schema_is_migrated() {
    let parlor = Parlor::start().await;
    let empty = crate::harness::database::TestDatabase::empty().await;
    let url = [("DATABASE_URL", empty.url()), ("RUN_BACKGROUND", "false")];
    let server = Server::start_with(&parlor, &[], &url).await;
    let missing = server.get("/readyz").await;
    assert_eq!(missing.status, 503);
    assert_eq!(missing.body, json!({ "status": "schema_missing" }));
    let (one, two) = tokio::join!(
        run(&parlor, &["migrate"], &url),
        Server::start_with(&parlor, &["--migrate"], &url)
    );
    assert!(one.status.success(), "{one:?}");
    for server in [server, two] {
        assert_eq!(
            server.get("/readyz").await.ok(),
            &json!({ "status": "ready" })
        );
    }
}

#[tokio::test]
async fn a_start_that_fails_names_the_variable_and_no_secret() {
    let parlor = Parlor::start().await;
    for (variable, value, cause) in [
        ("JWT_SECRET", "short", "JWT_SECRET is not valid"),
        ("DASHSCOPE_API_KEY", "", "DASHSCOPE_API_KEY is not set"),
        ("PORT", "http", "PORT is not valid"),
        ("HOST", "localhost", "HOST is not valid"),
        (
            "PREWARM_SCHEDULE",
            "rate(1 day)",
            "PREWARM_SCHEDULE is not valid",
        ),
        (
            "JWT_SECRET_FILE",
            "/no/such/file",
            "JWT_SECRET_FILE: cannot read",
        ),
    ] {
        let output = run(&parlor, &[], &[(variable, value)]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let log = String::from_utf8(output.stdout).unwrap();
        assert!(log.contains(cause), "{variable}: {log}");
        for secret in [SECRET, "sk-for-tests", parlor.database.url()] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn secrets_are_read_from_files_and_again_after_a_rejection() {
    let parlor = Parlor::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = file("url", &format!("{}\n", parlor.database.url()));
    let secret = file("jwt", "an older secret, no longer in use");
    let variables = [
        ("DATABASE_URL", ""),
        ("DATABASE_URL_FILE", &*url),
        ("JWT_SECRET_FILE", &*secret),
    ];
    let server = Server::start_with(&parlor, &[], &variables).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    file("jwt", SECRET);
    let history = server.request_as(COACH, "GET", "/api/xcx/chat/history");
    assert_eq!(history.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn healthcheck_ends_with_the_health_of_the_server_on_this_machine() {
    let parlor = Parlor::start().await;
    let server = Server::start(&parlor).await;
    let port = server.address.rsplit(':').next().unwrap();
    let alive = run(&parlor, &["healthcheck"], &[("PORT", port)]).await;
    assert!(alive.status.success(), "{alive:?}");
    // The address on which a container listens is not one to connect to.
    let variables = [("PORT", port), ("HOST", "0.0.0.0")];
    let alive = run(&parlor, &["healthcheck"], &variables).await;
    assert!(alive.status.success(), "{alive:?}");
    let dead = run(&parlor, &["healthcheck"], &[("PORT", "1")]).await;
    assert_eq!(dead.status.code(), Some(1), "{dead:?}");
}

#[tokio::test]
async fn prometheus_has_the_metrics_and_the_log_has_them_on_request() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let quiet = Server::start_quiet(&parlor).await;
    let namespace = [("METRICS_NAMESPACE", "Parlor"), ("RUN_BACKGROUND", "false")];
    let loud = Server::start_with(&parlor, &[], &namespace).await;
    for server in [&quiet, &loud] {
        let chat = parlor.open(COACH, &server.address).await;
        let body = json!({ "chatId": chat, "content": "[[sim:echo]]一二三" });
        let response = server.stream(COACH, &body).send().await.unwrap();
        EventStream::new(response).rest().await;
        let lines = [
            "parlor_http_requests_total{method=\"POST\",route=\"/api/xcx/chat/stream\",status=\"200\"} 1",
            "parlor_first_token_seconds_count{app=\"app1_chat\"} 1",
            "parlor_upstream_seconds_count{app=\"app1_chat\"} 1",
            "parlor_http_in_progress 0",
            "# EOF",
        ];
        until("the metrics are complete", async || {
            let text = server.metrics().await;
            let has = |line: &str| text.lines().any(|found| found == line);
            lines.into_iter().all(has).then_some(())
        })
        .await;
        let text = server.metrics().await;
        assert!(text.contains("parlor_build_info{version="), "{text}");
    }
    let embedded = |server: &Server| server.log().iter().any(|line| line["_aws"].is_object());
    assert!(embedded(&loud) && !embedded(&quiet));
    let metrics = quiet.request("GET", "/metrics").send().await.unwrap();
    assert_eq!(metrics.status(), 404, "metrics have a port of their own");
}

#[test]
fn each_metric_of_the_functions_has_one_of_prometheus() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).unwrap();
    let instruments = read("server/src/instruments.rs");
    let metrics = read("common/src/platform/metrics.rs");
    let moderation = read("common/src/moderation/mod.rs");
    let quoted = |text: &str, before: &str| -> Vec<String> {
        let parts = text.split(before).skip(1);
        let names = parts.filter_map(|part| part.strip_prefix('"')?.split_once('"'));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let mut names = quoted(&metrics, "metric = ");
    names.extend(quoted(&moderation, "metrics::moderation("));
    names.extend(["CircuitOpened".to_owned(), "CircuitClosed".to_owned()]);
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(instruments.contains(&format!("\"{name}\"")), "{name}");
    }
}
