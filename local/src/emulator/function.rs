//! One function with its instances and its log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::instance::{Call, Instance, Served, SharedInstance, SharedServed};
use super::outcome::{FunctionError, Outcome};
use super::process::Process;
use super::{FunctionSpec, new_id, spawn};

const LOG_LINES: usize = 10_000;

#[derive(Debug)]
pub(super) struct Function {
    spec: FunctionSpec,
    slots: Semaphore,
    idle: Mutex<Vec<Instance>>,
    /// Processes that handle several events at once. Locked during the start of another one, so
    /// that events that arrive together share it.
    shared: tokio::sync::Mutex<Vec<Arc<SharedInstance>>>,
    processes: Mutex<Vec<Weak<Process>>>,
    logs: Arc<Logs>,
    closed: AtomicBool,
}

/// The last lines of a function's output.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<VecDeque<String>>);

impl Function {
    pub(super) fn new(spec: FunctionSpec) -> Self {
        Self {
            slots: Semaphore::new(spec.max_instances.max(1) * spec.workers()),
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            processes: Mutex::default(),
            logs: Arc::default(),
            closed: AtomicBool::new(false),
            spec,
        }
    }

    pub(super) async fn invoke(self: &Arc<Self>, event: Bytes) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        let call = Call {
            request_id: new_id().to_string(),
            event,
            sender,
        };
        spawn(Arc::clone(self).drive(call));
        outcome.await.unwrap_or_else(|_| {
            let error = FunctionError::new("Sandbox.Failure", "the emulator is shutting down");
            Outcome::Error(error)
        })
    }

    /// Runs a call on the instance that was used last, or on a new one.
    async fn drive(self: Arc<Self>, mut call: Call) {
        let Ok(_slot) = self.slots.acquire().await else {
            return;
        };
        if self.spec.workers() > 1 {
            return self.drive_shared(call).await;
        }
        loop {
            // In a separate statement, so that the lock is released while an instance starts.
            let warm = locked(&self.idle).pop();
            let is_warm = warm.is_some();
            let instance = match warm {
                Some(instance) => instance,
                None => match self.start_instance().await {
                    Ok(instance) => instance,
                    Err(error) => return fail(call, error),
                },
            };
            match instance.serve(&self.spec, call).await {
                Served::Ready(instance) => return self.keep(instance),
                Served::Dead => return,
                Served::Untaken(untaken) if is_warm => call = untaken,
                Served::Untaken(untaken) => {
                    let message = "the process ended before it received the event";
                    return fail(untaken, FunctionError::new("Runtime.ExitError", message));
                }
            }
        }
    }

    /// Runs a call on a process with a free worker, or on a new one.
    async fn drive_shared(&self, mut call: Call) {
        loop {
            let (instance, worker) = match self.reserve().await {
                Ok(reserved) => reserved,
                Err(error) => return fail(call, error),
            };
            match instance.serve(&self.spec, call, worker).await {
                SharedServed::Done => return,
                SharedServed::Untaken(untaken) => call = untaken,
            }
        }
    }

    async fn reserve(&self) -> Result<(Arc<SharedInstance>, OwnedSemaphorePermit), FunctionError> {
        let mut instances = self.shared.lock().await;
        instances.retain(|instance| instance.is_running());
        loop {
            for instance in instances.iter() {
                if let Some(worker) = instance.reserve() {
                    return Ok((Arc::clone(instance), worker));
                }
            }
            let started =
                SharedInstance::start(&self.spec, &self.logs, |process| self.register(process));
            instances.push(Arc::new(started.await?));
        }
    }

    async fn start_instance(&self) -> Result<Instance, FunctionError> {
        Instance::start(&self.spec, &self.logs, |process| self.register(process)).await
    }

    /// Lets [`Self::kill`] find the process.
    fn register(&self, process: &Arc<Process>) {
        let mut processes = locked(&self.processes);
        processes.retain(|process| process.strong_count() > 0);
        processes.push(Arc::downgrade(process));
    }

    fn keep(&self, instance: Instance) {
        let mut idle = locked(&self.idle);
        if !self.closed.load(Ordering::Acquire) {
            idle.push(instance);
        }
    }

    /// Ends the idle processes now, and the busy ones after their event.
    pub(super) fn close(&self) {
        let mut idle = locked(&self.idle);
        self.closed.store(true, Ordering::Release);
        idle.clear();
        // A busy process, or one that is starting, ends with the last event and so the last
        // reference to the function.
        if let Ok(mut shared) = self.shared.try_lock() {
            shared.clear();
        }
    }

    pub(super) fn instances(&self) -> Vec<u32> {
        self.running().iter().map(|process| process.id()).collect()
    }

    pub(super) async fn kill(&self) -> usize {
        let running = self.running();
        for process in &running {
            process.kill();
        }
        for process in &running {
            process.exited().await;
        }
        running.len()
    }

    pub(super) fn logs(&self) -> Vec<String> {
        locked(&self.logs.0).iter().cloned().collect()
    }

    fn running(&self) -> Vec<Arc<Process>> {
        locked(&self.processes)
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|process| process.is_running())
            .collect()
    }
}

impl Logs {
    pub(super) fn push(&self, line: String) {
        let mut lines = locked(&self.0);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

fn fail(call: Call, error: FunctionError) {
    // Sending fails if the caller has stopped waiting.
    let _ = call.sender.send(Outcome::Error(error));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
