//! What exists only in the cloud, on loopback: the functions' real binaries, the Runtime API that
//! they ask for events, and API Gateway's REST events and answers in front of them.
//!
//! As on AWS: a process serves one event at a time and more are started when events come at once;
//! it is stopped (`SIGSTOP`) between events, so nothing left running after an answer goes on; it is
//! killed at its deadline; a stream is acknowledged after its last byte; a client that leaves
//! cancels nothing. Unlike AWS: an event beyond `max_instances` waits instead of being refused, and
//! nothing limits memory or processor time.

mod answer;
pub mod binaries;
mod event;
mod function;
mod gateway;
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

/// One function: what `template.yaml` says of it.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// The name, as routes and `AWS_LAMBDA_FUNCTION_NAME` spell it.
    pub name: String,
    /// The executable.
    pub binary: PathBuf,
    /// Its environment beside the variables that Lambda sets itself. Nothing else is inherited.
    pub env: Vec<(String, String)>,
    /// What one event may take; the process is killed then.
    pub timeout: Duration,
    /// Told to the function, not enforced.
    pub memory_mb: u32,
    /// How many processes there may be at once; at least one.
    pub max_instances: usize,
}

/// Why the emulator cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No function of that name was given to [`Emulator::start`].
    #[error("there is no function {0:?}")]
    UnknownFunction(String),
    /// The executable is not there.
    #[error("the binary of {function:?} is missing: {}", binary.display())]
    MissingBinary {
        /// Whose binary.
        function: String,
        /// Where it was looked for.
        binary: PathBuf,
    },
}

/// The functions, ready to be called. Cheap to clone; the processes die with the last clone.
#[derive(Clone, Debug)]
pub struct Emulator {
    functions: Arc<Functions>,
}

#[derive(Debug)]
struct Functions(HashMap<String, Arc<Function>>);

impl Emulator {
    /// Makes the functions callable. Their processes start with the first event, as on Lambda.
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

    /// API Gateway in front of the functions: a service for `axum::serve`. Give it
    /// `into_make_service_with_connect_info::<SocketAddr>()` for a true `sourceIp`.
    ///
    /// # Panics
    /// Two paths that differ only in a parameter's name cannot both be routed.
    pub fn router(&self, routes: Vec<Route>) -> Result<Router, Error> {
        gateway::router(self, routes)
    }

    /// Hands one event to a function and waits until it begins to answer. The event is served to its
    /// end even if nobody waits for it any more.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Outcome, Error> {
        let event = Bytes::from(event.to_string());
        Ok(self.function(function)?.invoke(event).await)
    }

    /// The process ids of a function's instances, oldest first.
    pub fn instances(&self, function: &str) -> Result<Vec<u32>, Error> {
        Ok(self.function(function)?.instances())
    }

    /// `kill -9` for every instance of a function, busy or not; returns once they are gone, with
    /// their number. The next event starts a new one.
    pub async fn kill(&self, function: &str) -> Result<usize, Error> {
        Ok(self.function(function)?.kill().await)
    }

    /// What a function's instances wrote to standard output and error, in order of arrival: the
    /// last 10,000 lines.
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
        // An event that is being served keeps its function, and so its process, alive.
        for function in self.0.values() {
            function.close();
        }
    }
}

/// Runs platform work that no request may take with it when it goes.
#[expect(
    clippy::disallowed_methods,
    reason = "plays AWS, which goes on when a client leaves"
)]
fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

/// Ids as AWS makes them.
#[expect(clippy::disallowed_methods, reason = "plays AWS, whose ids these are")]
fn new_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// An X-Ray header of a request that is not sampled.
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
