//! Traces of the real programs, as a collector of OpenTelemetry receives them.

mod collectors;
mod functions;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use crate::harness::{
    collector::{Collector, Span},
    events::{EventStream, terminal, text},
    jobs::SITE_ADMIN,
    parlor::{COACH, Parlor, Setup, token},
    server::{Server, choose_applications},
    until_within,
};

const QUESTION: &str = "今天谁过生日？";

/// A server that exports to `collector`. It runs no jobs and no schedules.
async fn traced(parlor: &Parlor, collector: &Collector) -> Server {
    let variables = [collector.variable(), ("RUN_BACKGROUND", "false")];
    Server::start_with(parlor, &[], &variables).await
}

/// Ends a server. It exports its last spans before.
async fn end(mut server: Server) -> Vec<Value> {
    server.program.terminate();
    assert_eq!(server.program.ended().await, Some(0));
    server.log()
}

/// Streams the reply to a question and reads it to its end.
async fn chat(server: &Server, chat: i64, question: &str) -> EventStream {
    let body = json!({ "chatId": chat, "content": question });
    let response = server.stream(COACH, &body).send().await.unwrap();
    let mut stream = EventStream::new(response);
    let events = stream.rest().await;
    assert_eq!(terminal(&events).name, "done");
    stream
}

/// The only span with this name.
#[track_caller]
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    assert_eq!(found.len(), 1, "{name} in {names:?}");
    found[0]
}

#[tokio::test]
async fn a_streamed_chat_is_one_trace_without_any_text() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let collector = Collector::start().await;
    let variables = [
        collector.variable(),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20collected",
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
        ("RUN_BACKGROUND", "false"),
    ];
    let server = Server::start_with(&parlor, &[], &variables).await;
    let id = parlor.open(COACH, "t").await;
    chat(&server, id, &format!("[[sim:echo]]{QUESTION}")).await;
    let log = end(server).await;

    let spans = collector.spans();
    let request = only(&spans, "POST /api/xcx/chat/stream");
    let call = only(&spans, "invoke_agent app1_chat");
    assert_eq!(request.parent, "", "it is the root");
    assert_eq!(
        (request.kind, call.kind),
        (SpanKind::Server, SpanKind::Client)
    );
    assert_eq!(request.get("http.request.method"), "POST");
    assert_eq!(request.get("http.route"), "/api/xcx/chat/stream");
    assert_eq!(request.get("http.response.status_code"), "200");
    for span in spans.iter().filter(|span| span.id != request.id) {
        assert!(span.is_child_of(request), "{span:?}");
        assert!(
            span.start >= request.start && span.end <= request.end,
            "{span:?}"
        );
    }
    for statement in ["SELECT begin_reply", "SELECT finish_reply"] {
        let statement = only(&spans, statement);
        assert_eq!(statement.get("db.system.name"), "postgresql");
        assert_eq!(statement.get("db.operation.name"), "SELECT");
        let function = statement.get("db.stored_procedure.name");
        assert!(statement.name.ends_with(function), "{statement:?}");
    }

    let run = parlor.last_run().await;
    for (key, column) in [
        ("gen_ai.usage.input_tokens", "tokens_in"),
        ("gen_ai.usage.output_tokens", "tokens_out"),
        ("parlor.call.attempts", "attempts"),
    ] {
        assert_eq!(call.get(key), run[column].to_string(), "{run}");
    }
    assert_eq!(call.get("gen_ai.operation.name"), "invoke_agent");
    assert_eq!(call.get("gen_ai.provider.name"), "dashscope");
    assert_eq!(call.get("gen_ai.agent.name"), "app1_chat");
    assert_eq!(call.get("gen_ai.response.finish_reasons"), "stop");
    assert!(!call.attributes.contains_key("parlor.call.is_cancelled"));

    let line = log.iter().find(|line| line["message"] == "reply ended");
    assert_eq!(line.unwrap()["span"]["trace_id"], *request.trace);
    assert_eq!(
        line.unwrap()["span"]["request_id"],
        request.get("parlor.request.id")
    );
    assert!(
        log.iter().all(|line| line["db.statement"].is_null()),
        "{log:?}"
    );
    assert_eq!(collector.headers()["authorization"], "Bearer collected");
    let resource = collector.resource();
    assert_eq!(resource["service.name"], "parlor");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    for secret in [QUESTION, "生日", "阿杰", "sk-for-tests", &token(COACH)] {
        assert!(!collector.has_text(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_trace_of_the_client_is_continued_or_not_sampled_with_it() {
    let parlor = Parlor::start().await;
    let collector = Collector::start().await;
    let server = traced(&parlor, &collector).await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let get = async |path: &str, flags: &str| {
        let header = format!("00-{trace}-{parent}-{flags}");
        let request = server.request_as(COACH, "GET", path);
        let response = request.header("traceparent", header).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap();
    };
    get("/api/xcx/chat/history", "01").await;
    get("/api/xcx/usage", "00").await;
    end(server).await;
    let spans = collector.spans();
    let request = only(&spans, "GET /api/xcx/chat/history");
    assert_eq!((&*request.trace, &*request.parent), (trace, parent));
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:?}");
    assert!(
        spans.iter().all(|span| !span.name.contains("usage")),
        "{spans:?}"
    );
}

#[tokio::test]
async fn a_failure_is_marked_with_its_code() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    choose_applications(&parlor).await;
    let collector = Collector::start().await;
    let url = ("DATABASE_URL", &*wire.url);
    let variables = [collector.variable(), url, ("RUN_BACKGROUND", "false")];
    let server = Server::start_with(&parlor, &[], &variables).await;
    let id = parlor.open(COACH, "t").await;
    let body = json!({ "chatId": id, "content": "[[sim:unauthorized]]你好" });
    let response = server.stream(COACH, &body).send().await.unwrap();
    EventStream::new(response).rest().await;
    wire.go_down();
    let history = server.request_as(COACH, "GET", "/api/xcx/chat/history");
    assert_eq!(history.send().await.unwrap().status(), 503);
    wire.restore();
    end(server).await;
    let spans = collector.spans();
    let call = only(&spans, "invoke_agent app1_chat");
    assert!(call.is_failed);
    assert_eq!(call.get("http.response.status_code"), "401");
    assert_eq!(call.get("error.type"), "misconfigured");
    let history = only(&spans, "GET /api/xcx/chat/history");
    assert!(history.is_failed);
    assert_eq!(history.get("error.type"), "503");
    // The stream itself has status 200.
    assert!(!only(&spans, "POST /api/xcx/chat/stream").is_failed);
}

#[tokio::test]
async fn a_call_whose_reply_is_stopped_is_cancelled_and_has_not_failed() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let collector = Collector::start().await;
    let server = traced(&parlor, &collector).await;
    let id = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let body = json!({ "chatId": id, "content": QUESTION });
    let response = server.stream(COACH, &body).send().await.unwrap();
    let mut stream = EventStream::new(response);
    let message = stream.expect("start").await.data["messageId"].clone();
    stream.expect("message").await;
    let stop = format!("/api/xcx/chat/stream/{message}/stop");
    let stop = server.request_as(COACH, "POST", &stop);
    assert!(stop.send().await.unwrap().status().is_success());
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
    parlor.simulator.release();
    end(server).await;
    let spans = collector.spans();
    let call = only(&spans, "invoke_agent app1_chat");
    assert_eq!(call.get("parlor.call.is_cancelled"), "true");
    assert!(!call.is_failed);
    assert!(call.is_child_of(only(&spans, "POST /api/xcx/chat/stream")));
}

#[tokio::test]
async fn steps_of_a_chain_are_below_their_job() {
    let parlor = Parlor::with_business(Setup::default()).await;
    choose_applications(&parlor).await;
    let collector = Collector::start().await;
    let server = Server::start_with(&parlor, &[], &[collector.variable()]).await;
    let job = parlor.member_paid(10_001, 1).await;
    until_within(crate::server::LONGEST, "the job succeeds", async || {
        (parlor.job(job).await["status"] == "succeeded").then_some(())
    })
    .await;
    end(server).await;
    let spans = collector.spans();
    let whole = only(&spans, "job consumption.settled");
    assert_eq!(
        (&*whole.parent, whole.get("parlor.job.id")),
        ("", &*job.to_string())
    );
    assert_eq!(whole.get("parlor.job.attempt"), "1");
    assert_eq!(whole.get("parlor.job.outcome"), "succeeded");
    let runs = parlor.runs(job).await;
    assert!(!runs.is_empty());
    for run in runs {
        let app = run["app_type"].as_str().unwrap();
        let step = only(&spans, &format!("step {app}"));
        let call = only(&spans, &format!("invoke_agent {app}"));
        assert!(step.is_child_of(whole) && call.is_child_of(step), "{app}");
        assert_eq!(step.get("parlor.app"), app);
        assert_eq!(
            call.get("gen_ai.usage.input_tokens"),
            run["tokens_in"].to_string()
        );
        let mut below = spans.iter().filter(|span| span.is_child_of(step));
        assert!(
            below.any(|span| span.name == "SELECT begin_job_run"),
            "{app}"
        );
    }
    // Looks for due jobs belong to no job, so they are not recorded.
    assert!(
        spans.iter().all(|span| !span.name.contains("wake_jobs")),
        "{spans:?}"
    );
}

#[tokio::test]
async fn a_page_with_a_code_has_no_code_in_its_span() {
    let parlor = Parlor::start().await;
    let collector = Collector::start().await;
    let server = traced(&parlor, &collector).await;
    let secret = "a-code-that-signs-in";
    let page = server.request_as(
        SITE_ADMIN,
        "GET",
        &format!("/console/code/{secret}?next={secret}"),
    );
    page.send().await.unwrap();
    end(server).await;
    assert!(collector.requests() <= 1);
    assert!(!collector.has_text(secret));
}
