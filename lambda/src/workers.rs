//! The workers of Lambda Managed Instances: each polls the Runtime API and handles one event at a
//! time, all in one process.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use common::platform::env::Env;
use lambda_runtime::{Error, LambdaInvocation};
use tower::{Layer, Service};

/// The variable that Lambda sets for a function with a capacity provider.
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// True if the process handles several events at once. The runtime crate decides the same way.
pub(crate) fn are_several(env: &Env) -> bool {
    let workers = env.text(MAX_CONCURRENCY).and_then(|text| text.parse().ok());
    workers.is_some_and(|workers: u32| workers > 1)
}

/// Keeps a worker alive if it could not send a response.
///
/// The runtime crate ends a worker in that case, and never starts another one. The process ends
/// only with its last worker, so until then it would serve fewer and fewer events.
///
/// A process with one worker needs no such layer: it ends, and Lambda starts another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepWorkers;

#[derive(Clone, Debug)]
pub(crate) struct KeepWorker<Inner>(Inner);

impl<Inner> Layer<Inner> for KeepWorkers {
    type Service = KeepWorker<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        KeepWorker(inner)
    }
}

impl<Inner> Service<LambdaInvocation> for KeepWorker<Inner>
where
    Inner: Service<LambdaInvocation, Response = (), Error = Error>,
    Inner::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let request_id = invocation.context.request_id.clone();
        let handling = self.0.call(invocation);
        Box::pin(async move {
            if let Err(err) = handling.await {
                let cause = err.to_string();
                tracing::error!(request_id, cause, "response not sent");
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[test]
    fn only_a_number_above_one_means_several_workers() {
        for (value, expected) in [
            (None, false),
            (Some(""), false),
            (Some("0"), false),
            (Some("1"), false),
            (Some("many"), false),
            (Some("2"), true),
            (Some("1600"), true),
        ] {
            let env = Env::from_pairs(value.map(|value| (MAX_CONCURRENCY, value)));
            assert_eq!(are_several(&env), expected, "{value:?}");
        }
    }

    #[tokio::test]
    async fn worker_survives_a_response_that_could_not_be_sent() {
        let broken = service_fn(async |_: LambdaInvocation| Err(Error::from("connection reset")));
        let mut worker = KeepWorkers.layer(broken);
        for _ in 0..2 {
            let invocation = LambdaInvocation {
                parts: axum::http::Response::new(()).into_parts().0,
                body: Bytes::new(),
                context: lambda_runtime::Context::default(),
            };
            let ready = worker.ready().await.unwrap();
            ready.call(invocation).await.unwrap();
        }
    }
}
