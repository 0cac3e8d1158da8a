//! An emulator of Lambda and API Gateway (REST) on loopback. It runs the real binaries of the
//! functions and serves the Runtime API to them.
//!
//! As on AWS:
//! - A process handles one event at a time. Concurrent events start more processes. With
//!   `max_concurrency`, it handles several, as on Lambda Managed Instances: each request for the
//!   next event gets another one.
//! - A process is stopped (`SIGSTOP`) between events, so its background tasks do not continue after
//!   a response.
//! - A process is killed at its deadline. A process with `max_concurrency` is neither stopped nor
//!   killed: only the event that took too long fails.
//! - A streamed response is acknowledged after its last byte.
//! - A disconnected client cancels nothing.
//!
//! Unlike AWS, an event beyond `max_instances` waits instead of being throttled, and memory and CPU
//! time are not limited.

pub mod binaries;
mod event;
mod function;
mod gateway;
mod http_response;
mod instance;
mod outcome;
mod process;
mod runtime_api;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use bytes::Bytes;
use serde_json::Value;

use self::function::Function;
pub use self::gateway::Route;
pub use self::outcome::{FunctionError, Outcome, ResponseStream, StreamBroken};

/// The settings of one function, as in `template.yaml`.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// The name in [`Route::function`] and `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: String,
    /// Path of the executable.
    pub binary: PathBuf,
    /// Environment variables in addition to those that Lambda sets. No other variable is inherited.
    pub env: Vec<(String, String)>,
    /// Time limit of one event. The process is killed after it.
    pub timeout: Duration,
    /// Passed to the function as a variable, but not enforced.
    pub memory_mb: u32,
    /// Most processes at once; 0 counts as 1.
    pub max_instances: usize,
    /// Most events that one process handles at once, `AWS_LAMBDA_MAX_CONCURRENCY`. 0 and 1 are a
    /// standard function, which does not get the variable.
    pub max_concurrency: usize,
}

impl FunctionSpec {
    fn workers(&self) -> usize {
        self.max_concurrency.max(1)
    }

    fn initialization_type(&self) -> &'static str {
        if self.workers() > 1 {
            "lambda-managed-instances"
        } else {
            "on-demand"
        }
    }
}

/// An error of the emulator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`Emulator::start`] got no function with this name.
    #[error("there is no function {0:?}")]
    UnknownFunction(String),
    /// The executable does not exist.
    #[error("the binary of {function:?} is missing: {}", binary.display())]
    #[expect(missing_docs, reason = "plain data")]
    MissingBinary { function: String, binary: PathBuf },
}

/// Functions that can be invoked. Cheap to clone. The processes end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Emulator {
    functions: Arc<Functions>,
}

#[derive(Debug)]
struct Functions(HashMap<String, Arc<Function>>);

impl Emulator {
    /// Checks that all binaries exist. A process starts with the first event, as on Lambda.
    pub fn start(functions: Vec<FunctionSpec>) -> Result<Self, Error> {
        if let Some(spec) = functions.iter().find(|spec| !spec.binary.is_file()) {
            return Err(Error::MissingBinary {
                function: spec.name.clone(),
                binary: spec.binary.clone(),
            });
        }
        let functions = functions
            .into_iter()
            .map(|spec| (spec.name.clone(), Arc::new(Function::new(spec))))
            .collect();
        Ok(Self {
            functions: Arc::new(Functions(functions)),
        })
    }

    /// An API Gateway in front of the functions, to be served with `axum::serve`. Use
    /// `into_make_service_with_connect_info::<SocketAddr>()` to get the real `sourceIp`.
    ///
    /// # Panics
    /// If two paths differ only in the name of a parameter.
    pub fn router(&self, routes: Vec<Route>) -> Result<Router, Error> {
        gateway::router(self, routes)
    }

    /// Sends one event to a function and waits until its response begins. The function handles the
    /// event completely, even if this future is dropped.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Outcome, Error> {
        let event = Bytes::from(event.to_string());
        Ok(self.function(function)?.invoke(event).await)
    }

    /// Process ids of a function's instances, oldest first.
    pub fn instances(&self, function: &str) -> Result<Vec<u32>, Error> {
        Ok(self.function(function)?.instances())
    }

    /// Kills all instances of a function (`SIGKILL`), busy or idle, and waits for their end.
    /// Returns their number. The next event starts a new instance.
    pub async fn kill(&self, function: &str) -> Result<usize, Error> {
        Ok(self.function(function)?.kill().await)
    }

    /// The last 10,000 lines that a function's instances wrote to standard output and standard
    /// error, in order of arrival.
    pub fn logs(&self, function: &str) -> Result<Vec<String>, Error> {
        Ok(self.function(function)?.logs())
    }

    fn function(&self, name: &str) -> Result<&Arc<Function>, Error> {
        let function = self.functions.0.get(name);
        function.ok_or_else(|| Error::UnknownFunction(name.to_owned()))
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        // A running event has its own reference to the function, so its process stays alive.
        for function in self.0.values() {
            function.close();
        }
    }
}

/// Spawns a task that continues when the request that started it is dropped.
#[expect(
    clippy::disallowed_methods,
    reason = "emulates AWS, which continues when a client disconnects"
)]
fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

/// A request id in the format of AWS.
#[expect(
    clippy::disallowed_methods,
    reason = "emulates AWS, which creates these ids"
)]
fn new_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// The X-Ray header of a request that is not sampled.
fn new_trace() -> String {
    let id = new_id().simple().to_string();
    let (time, rest) = id.split_at(8);
    format!("Root=1-{time}-{rest};Sampled=0")
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines and event times are wall-clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
