//! One instance of a function: a process and its Runtime API. It handles one event at a time. An
//! instance that handles several is a [`SharedInstance`].

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::function::Logs;
use super::outcome::{FunctionError, Outcome};
use super::process::Process;
use super::runtime_api::{Delivery, Poll, RuntimeApi, Shared};
use super::{FunctionSpec, new_trace, now};

const REGION: &str = "ap-southeast-1";
const ACCOUNT: &str = "123456789012";

/// Time for the start, in addition to the function's timeout, as on Lambda.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// An event and the channel for its result.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request_id: String,
    pub(super) event: Bytes,
    pub(super) sender: oneshot::Sender<Outcome>,
}

/// A process that waits for an event. It is stopped until it gets one.
#[derive(Debug)]
pub(super) struct Instance {
    process: Arc<Process>,
    api: RuntimeApi,
    polls: mpsc::Receiver<Poll>,
    poll: Poll,
}

/// State of an instance after a call.
#[derive(Debug)]
pub(super) enum Served {
    /// Ready for the next call.
    Ready(Instance),
    /// The process has ended. The caller has its result or an error.
    Dead,
    /// The process ended before it received the event, so another instance may run the call.
    Untaken(Call),
}

/// A process that handles up to `max_concurrency` events at once. It is never stopped.
#[derive(Debug)]
pub(super) struct SharedInstance {
    process: Arc<Process>,
    api: RuntimeApi,
    polls: Mutex<(Option<Poll>, mpsc::Receiver<Poll>)>,
    workers: Arc<Semaphore>,
}

/// State of a shared instance after a call.
#[derive(Debug)]
pub(super) enum SharedServed {
    /// The caller has its result or an error.
    Done,
    /// The process ended before it received the event.
    Untaken(Call),
}

/// A process that asks for its first event.
struct Started {
    process: Arc<Process>,
    api: RuntimeApi,
    polls: mpsc::Receiver<Poll>,
    poll: Poll,
}

/// Starts a process and waits until it asks for its first event. `on_start` gets the process before
/// that, so that it can be killed during its start.
async fn start(
    spec: &FunctionSpec,
    logs: &Arc<Logs>,
    on_start: impl FnOnce(&Arc<Process>),
) -> Result<Started, FunctionError> {
    let failed =
        |error: std::io::Error| FunctionError::new("Runtime.InvalidEntrypoint", error.to_string());
    let (api, mut polls) = RuntimeApi::start(&spec.name, spec.workers())
        .await
        .map_err(failed)?;
    let (name, logs) = (spec.name.clone(), Arc::clone(logs));
    let on_line = move |line: String| {
        tracing::info!(target: "function", function = name, "{line}");
        logs.push(line);
    };
    let process = Process::start(command(spec, &api), on_line)
        .await
        .map_err(failed)?;
    let process = Arc::new(process);
    on_start(&process);
    tokio::select! {
        biased;
        Some(poll) = polls.recv() => Ok(Started { process, api, polls, poll }),
        status = process.exited() => {
            Err(api.init_error().unwrap_or_else(|| exit_error("", status)))
        }
        () = tokio::time::sleep(INIT_LIMIT + spec.timeout) => {
            process.kill();
            Err(timeout_error("", spec.timeout))
        }
    }
}

impl SharedInstance {
    /// As [`Instance::start`].
    pub(super) async fn start(
        spec: &FunctionSpec,
        logs: &Arc<Logs>,
        on_start: impl FnOnce(&Arc<Process>),
    ) -> Result<Self, FunctionError> {
        let started = start(spec, logs, on_start).await?;
        Ok(Self {
            process: started.process,
            api: started.api,
            polls: Mutex::new((Some(started.poll), started.polls)),
            workers: Arc::new(Semaphore::new(spec.workers())),
        })
    }

    /// Reserves a worker. Returns `None` if all are busy.
    pub(super) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.workers).try_acquire_owned().ok()
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Runs one event on a reserved worker, until the worker is free. After the timeout, the caller
    /// has its error, and the worker is busy until it sends its response.
    pub(super) async fn serve(
        &self,
        spec: &FunctionSpec,
        call: Call,
        worker: OwnedSemaphorePermit,
    ) -> SharedServed {
        let poll = tokio::select! {
            biased;
            Some(poll) = self.next_poll() => poll,
            _ = self.process.exited() => return SharedServed::Untaken(call),
        };
        let Call {
            request_id,
            event,
            sender,
        } = call;
        let deadline = Instant::now() + spec.timeout;
        let (finished, mut end) = oneshot::channel();
        let shared = Shared {
            deadline,
            worker,
            finished,
        };
        self.api.begin(&request_id, sender, Some(shared));
        if let Err(delivery) = poll.send(delivery(spec, request_id.clone(), event)) {
            return match self.api.end(&request_id) {
                Some(sender) => SharedServed::Untaken(Call {
                    request_id,
                    event: delivery.event,
                    sender,
                }),
                None => SharedServed::Done,
            };
        }
        let (sender, error) = tokio::select! {
            biased;
            // An error means that the sender was dropped with the event, which is the end, too.
            _ = &mut end => return SharedServed::Done,
            status = self.process.exited() => {
                (self.api.end(&request_id), exit_error(&request_id, status))
            }
            () = tokio::time::sleep_until(deadline) => {
                (self.api.expire(&request_id), timeout_error(&request_id, spec.timeout))
            }
        };
        if let Some(sender) = sender {
            let _ = sender.send(Outcome::Error(error));
        }
        tokio::select! {
            _ = end => {}
            _ = self.process.exited() => {}
        }
        SharedServed::Done
    }

    async fn next_poll(&self) -> Option<Poll> {
        let mut polls = self.polls.lock().await;
        match polls.0.take() {
            Some(first) => Some(first),
            None => polls.1.recv().await,
        }
    }
}

impl Instance {
    /// Starts a process. It is stopped when it asks for its first event.
    pub(super) async fn start(
        spec: &FunctionSpec,
        logs: &Arc<Logs>,
        on_start: impl FnOnce(&Arc<Process>),
    ) -> Result<Self, FunctionError> {
        let Started {
            process,
            api,
            polls,
            poll,
        } = start(spec, logs, on_start).await?;
        process.freeze();
        Ok(Self {
            process,
            api,
            polls,
            poll,
        })
    }

    /// Runs one event to its end. A stream ends after its last byte.
    pub(super) async fn serve(self, spec: &FunctionSpec, call: Call) -> Served {
        let Self {
            process,
            api,
            mut polls,
            poll,
        } = self;
        let Call {
            request_id,
            event,
            sender,
        } = call;
        if !process.is_running() {
            return Served::Untaken(Call {
                request_id,
                event,
                sender,
            });
        }
        api.begin(&request_id, sender, None);
        process.thaw();
        let deadline = Instant::now() + spec.timeout;
        if let Err(delivery) = poll.send(delivery(spec, request_id.clone(), event)) {
            return match api.end(&request_id) {
                Some(sender) => Served::Untaken(Call {
                    request_id,
                    event: delivery.event,
                    sender,
                }),
                None => Served::Dead,
            };
        }
        let error = tokio::select! {
            biased;
            Some(poll) = polls.recv() => {
                process.freeze();
                if let Some(sender) = api.end(&request_id) {
                    let _ = sender.send(Outcome::Error(no_response(&request_id)));
                }
                return Served::Ready(Self { process, api, polls, poll });
            }
            status = process.exited() => exit_error(&request_id, status),
            () = tokio::time::sleep_until(deadline) => {
                process.kill();
                timeout_error(&request_id, spec.timeout)
            }
        };
        // A stream that has begun breaks when the process ends, because its connection closes.
        if let Some(sender) = api.end(&request_id) {
            let _ = sender.send(Outcome::Error(error));
        }
        process.exited().await;
        Served::Dead
    }
}

fn delivery(spec: &FunctionSpec, request_id: String, event: Bytes) -> Delivery {
    let deadline = now() + spec.timeout;
    Delivery {
        request_id,
        deadline_ms: deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis(),
        function_arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", spec.name),
        trace_id: new_trace(),
        event,
    }
}

/// The environment has the variables of Lambda and of the function, but not the developer's.
fn command(spec: &FunctionSpec, api: &RuntimeApi) -> Command {
    let mut command = Command::new(&spec.binary);
    let root = spec.binary.parent().unwrap_or(Path::new("/"));
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "en_US.UTF-8")
        .env("TZ", ":UTC")
        .env("LAMBDA_TASK_ROOT", root)
        .env("_HANDLER", "bootstrap")
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_LAMBDA_FUNCTION_NAME", &spec.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            spec.memory_mb.to_string(),
        )
        .env(
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", spec.name),
        )
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", spec.initialization_type())
        .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
        // As in template.yaml: the routes do not include the stage.
        .env("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true")
        .envs(spec.env.iter().map(|(name, value)| (name, value)));
    if spec.workers() > 1 {
        command.env("AWS_LAMBDA_MAX_CONCURRENCY", spec.workers().to_string());
    }
    command
}

fn exit_error(request_id: &str, status: Option<ExitStatus>) -> FunctionError {
    let how = match status {
        Some(status) if status.success() => "Runtime exited without providing a reason".to_owned(),
        Some(status) => format!("Runtime exited with error: {status}"),
        None => "Runtime exited".to_owned(),
    };
    let message = format!("RequestId: {request_id} Error: {how}");
    FunctionError::new("Runtime.ExitError", message)
}

fn timeout_error(request_id: &str, timeout: Duration) -> FunctionError {
    let seconds = timeout.as_secs_f64();
    let message =
        format!("RequestId: {request_id} Error: Task timed out after {seconds:.2} seconds");
    FunctionError::new("Sandbox.Timedout", message)
}

fn no_response(request_id: &str) -> FunctionError {
    let message =
        format!("RequestId: {request_id} Error: the function asked for the next event first");
    FunctionError::new("Runtime.NoResponse", message)
}
