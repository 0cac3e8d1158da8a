//! Spans that have ended, until they are exported.
//!
//! The SDK's own batch processor exports in a thread and blocks the caller of a flush. A function
//! has one thread, which is also the one that the HTTP client needs.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

/// Most spans in memory. Further ones are dropped. A span has about 1 KB.
const MOST: usize = 2048;
/// Most spans in one request to the collector.
const REQUEST: usize = 512;
/// How often spans are exported while a process runs.
const EVERY: Duration = Duration::from_secs(5);
/// Time limit of an export in the background.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure, spans are only collected for this time. So a collector that does not respond
/// delays few replies, and fills no log.
const PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Batch {
    exporter: tokio::sync::Mutex<SpanExporter>,
    ended: Mutex<Ended>,
    is_long: Notify,
}

#[derive(Default)]
struct Ended {
    spans: Vec<SpanData>,
    /// Spans lost since the last warning.
    lost: usize,
    paused_until: Option<Instant>,
}

impl Batch {
    pub fn new(exporter: SpanExporter) -> Self {
        Self {
            exporter: tokio::sync::Mutex::new(exporter),
            ended: Mutex::default(),
            is_long: Notify::new(),
        }
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, span: SpanData) {
        let mut ended = self.ended();
        if ended.spans.len() >= MOST {
            ended.lost += 1;
            return;
        }
        ended.spans.push(span);
        if ended.spans.len() >= REQUEST {
            self.is_long.notify_one();
        }
    }

    /// Exports spans until the process ends.
    pub async fn run(&self) {
        loop {
            tokio::select! {
                () = sleep(EVERY) => {}
                () = self.is_long.notified() => {}
            }
            self.export(PATIENCE).await;
        }
    }

    /// Exports all spans. Also waits for an export that is already running.
    pub async fn export(&self, limit: Duration) {
        let until = Instant::now() + limit;
        if self.ended().is_paused() {
            return;
        }
        let Ok(exporter) = timeout_at(until, self.exporter.lock()).await else {
            return;
        };
        while let Some(spans) = self.next() {
            // Counted as lost before the request, because the caller may be cancelled.
            let count = spans.len();
            self.ended().lost += count;
            let outcome = timeout_at(until, exporter.export(spans)).await;
            let failure = match outcome {
                Ok(Ok(())) => {
                    self.ended().lost -= count;
                    continue;
                }
                Ok(Err(err)) => err.to_string(),
                Err(_) => "the collector did not respond in time".to_owned(),
            };
            self.ended().paused_until = Some(Instant::now() + PAUSE);
            self.report(&failure);
        }
        self.report("too many spans were waiting, or a caller did not wait for their export");
    }

    /// The spans of the next request. `None` if there are none, or after a failure.
    fn next(&self) -> Option<Vec<SpanData>> {
        let mut ended = self.ended();
        if ended.spans.is_empty() || ended.is_paused() {
            return None;
        }
        let count = ended.spans.len().min(REQUEST);
        Some(ended.spans.drain(..count).collect())
    }

    /// Logs the number of spans that were lost since the last warning.
    fn report(&self, cause: &str) {
        let lost = std::mem::take(&mut self.ended().lost);
        if lost > 0 {
            tracing::warn!(lost, cause, "spans could not be exported");
        }
    }
}

impl Ended {
    fn is_paused(&self) -> bool {
        self.paused_until
            .is_some_and(|until| Instant::now() < until)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// Passes the spans of the SDK to the batch.
#[derive(Debug)]
pub(super) struct Processor(pub Arc<Batch>);

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{
        InstrumentationScope,
        trace::{SpanContext, SpanId, SpanKind, Status},
    };
    use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;
    use crate::platform::{clock, http_client};

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "span".into(),
            start_time: clock::now().into(),
            end_time: clock::now().into(),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn waiting(batch: &Batch) -> (usize, usize) {
        let ended = batch.ended();
        (ended.spans.len(), ended.lost)
    }

    #[tokio::test]
    async fn memory_is_bounded_and_a_failure_pauses_the_export() {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(http_client::client().unwrap().build().unwrap())
            .with_endpoint("http://127.0.0.1:1/v1/traces")
            .build();
        let batch = Batch::new(exporter.unwrap());
        for _ in 0..MOST + 5 {
            batch.push(span());
        }
        assert_eq!(waiting(&batch), (MOST, 5));
        // The first request fails. Its spans are lost and reported.
        batch.export(PATIENCE).await;
        assert_eq!(waiting(&batch), (MOST - REQUEST, 0));
        batch.export(PATIENCE).await;
        assert_eq!(waiting(&batch), (MOST - REQUEST, 0));
    }
}
