//! One instance of a function: a process and its Runtime API. It handles one event at a time.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::function::Logs;
use super::outcome::{FunctionError, Outcome};
use super::process::Process;
use super::runtime_api::{Delivery, Poll, RuntimeApi};
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

impl Instance {
    /// Starts a process and waits until it asks for its first event. `on_start` gets the process
    /// before that, so that it can be killed during its start.
    pub(super) async fn start(
        spec: &FunctionSpec,
        logs: &Arc<Logs>,
        on_start: impl FnOnce(&Arc<Process>),
    ) -> Result<Self, FunctionError> {
        let failed = |error: std::io::Error| {
            FunctionError::new("Runtime.InvalidEntrypoint", error.to_string())
        };
        let (api, mut polls) = RuntimeApi::start(&spec.name).await.map_err(failed)?;
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
            Some(poll) = polls.recv() => {
                process.freeze();
                Ok(Self { process, api, polls, poll })
            }
            status = process.exited() => {
                Err(api.init_error().unwrap_or_else(|| exit_error("", status)))
            }
            () = tokio::time::sleep(INIT_LIMIT + spec.timeout) => {
                process.kill();
                Err(timeout_error("", spec.timeout))
            }
        }
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
        api.begin(&request_id, sender);
        process.thaw();
        let deadline = Instant::now() + spec.timeout;
        if let Err(delivery) = poll.send(delivery(spec, request_id.clone(), event)) {
            return match api.end() {
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
                if let Some(sender) = api.end() {
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
        if let Some(sender) = api.end() {
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
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
        // As in template.yaml: the routes do not include the stage.
        .env("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true")
        .envs(spec.env.iter().map(|(name, value)| (name, value)));
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
