//! Traces for OpenTelemetry, sent by OTLP over HTTP.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` turns them on. Without it, nothing is created: each [`Span`] is
//! empty, the log has no layer for statements, and sqlx reports no statements.
//!
//! Spans are not those of `tracing`, which write the log. A span here is created, kept and ended
//! explicitly, so a stream does not enter one at each poll, and its end does not depend on tasks
//! that still hold a clone. The current span is a part of the request context.
//!
//! Attributes never contain texts of users, tokens, names or the parameters of statements.

mod batch;
mod span;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, SpanExporter as _},
};

pub use span::{Kind, Span};

use self::batch::{Batch, Processor};
use super::{env::Env, http_client, version};

/// How long the end of an invocation or of a process waits for the collector.
const FLUSH: Duration = Duration::from_secs(1);

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    tracer: SdkTracer,
    batch: Arc<Batch>,
}

/// Why traces are off although they should be on.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The text of a value is not shown, because it may contain a password.
    #[error(
        "a variable OTEL_EXPORTER_OTLP_… is not valid: expected a URL as endpoint, and no compression"
    )]
    Variables,
    /// The TLS library is unusable.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// Turns traces on if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
///
/// The libraries read the other variables `OTEL_…` from the process: headers, resource, sampler.
///
/// # Errors
/// A variable is not valid, or there is no HTTP client.
pub fn start(env: &Env) -> Result<(), TracesError> {
    if env.text("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return Ok(());
    }
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(http_client::client()?.build()?)
        // A retry would make the end of an invocation wait. The next batch is the retry.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|_| TracesError::Variables)?;
    let resource = resource(env);
    exporter.set_resource(&resource);
    let batch = Arc::new(Batch::new(exporter));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(Processor(Arc::clone(&batch)))
        .build();
    let tracer = provider.tracer("parlor");
    TRACES.get_or_init(|| Traces { tracer, batch });
    Ok(())
}

fn resource(env: &Env) -> Resource {
    let mut attributes = vec![KeyValue::new("service.version", version::NUMBER)];
    let is_named = |list: &str| {
        list.split(',')
            .any(|pair| pair.trim().starts_with("service.name="))
    };
    if env.text("OTEL_SERVICE_NAME").is_none()
        && !env.text("OTEL_RESOURCE_ATTRIBUTES").is_some_and(is_named)
    {
        attributes.push(KeyValue::new("service.name", "parlor"));
    }
    if let Some(function) = env.text("AWS_LAMBDA_FUNCTION_NAME") {
        attributes.push(KeyValue::new("faas.name", function.to_owned()));
    }
    Resource::builder().with_attributes(attributes).build()
}

/// True if spans are recorded.
pub fn are_on() -> bool {
    TRACES.get().is_some()
}

/// Exports spans in batches while the process runs. Does nothing if traces are off.
pub fn export_in_background() {
    if let Some(traces) = TRACES.get() {
        let batch = Arc::clone(&traces.batch);
        #[expect(
            clippy::disallowed_methods,
            reason = "a frozen sandbox stops it; `flush` exports what an invocation has recorded"
        )]
        tokio::spawn(async move { batch.run().await });
    }
}

/// Exports all spans that have ended. Waits at most a second, and never fails: the log has the
/// number of spans that were lost.
pub async fn flush() {
    if let Some(traces) = TRACES.get() {
        traces.batch.export(FLUSH).await;
    }
}
