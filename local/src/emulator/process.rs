//! The process of a function. It ends when this process ends.

mod parent_death;

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc as thread_mpsc};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::spawn;

/// A running process. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Process {
    id: u32,
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// A request to the task that waits for the child. Only that task sends signals, so no signal can
/// reach another process that got the same id.
#[derive(Clone, Copy, Debug)]
enum Order {
    Freeze,
    Thaw,
    Kill,
}

impl Process {
    /// Starts the command. `on_line` gets each line of its output. Must be called in a runtime.
    pub(super) async fn start(
        mut command: Command,
        on_line: impl Fn(String) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The process must not receive Ctrl-C from the terminal, because the emulator ends it.
            .process_group(0)
            .kill_on_drop(true);
        parent_death::bind(&mut command);
        let mut child = start_on_lasting_thread(command).await?;
        let id = child.id().ok_or(io::ErrorKind::NotFound)?;
        if let Some(output) = child.stdout.take() {
            spawn(forward_lines(output, on_line.clone()));
        }
        if let Some(output) = child.stderr.take() {
            spawn(forward_lines(output, on_line));
        }
        let (orders, order) = mpsc::unbounded_channel();
        let (ended, exit) = watch::channel(None);
        spawn(reap(child, order, ended));
        Ok(Self { id, orders, exit })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Waits for the end of the process. Returns `None` if the status is unknown.
    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// Sends `SIGSTOP`.
    pub(super) fn freeze(&self) {
        self.order(Order::Freeze);
    }

    /// Sends `SIGCONT`.
    pub(super) fn thaw(&self) {
        self.order(Order::Thaw);
    }

    /// Sends `SIGKILL`, which also ends a stopped process.
    pub(super) fn kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // Sending fails if the process has ended.
        let _ = self.orders.send(order);
    }
}

/// Owns the child until it has ended.
async fn reap(
    mut child: Child,
    mut orders: mpsc::UnboundedReceiver<Order>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            order = orders.recv() => match order {
                Some(Order::Freeze) => signal(&child, Signal::STOP),
                Some(Order::Thaw) => signal(&child, Signal::CONT),
                Some(Order::Kill) => signal(&child, Signal::KILL),
                None => {
                    signal(&child, Signal::KILL);
                    break child.wait().await.ok();
                }
            },
        }
    };
    ended.send_replace(status);
}

fn signal(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(id) = id
        && let Err(error) = rustix::process::kill_process(id, signal)
    {
        tracing::warn!(%error, ?signal, "signal to function process failed");
    }
}

async fn forward_lines(output: impl AsyncRead + Unpin, on_line: impl Fn(String)) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        on_line(String::from_utf8_lossy(&line).into_owned());
    }
}

type Start = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// Starts the child from a thread that never ends. The kernel kills a child when the *thread* that
/// started it ends, and threads of the runtime can end.
async fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    static THREAD: OnceLock<thread_mpsc::Sender<Start>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (thread, starts) = thread_mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, runtime, reply) in starts {
                let _in_runtime = runtime.enter();
                // If the caller has stopped waiting, the child is dropped here and so killed.
                let _ = reply.send(command.spawn());
            }
        });
        thread
    });
    let (reply, child) = oneshot::channel();
    // Sending fails only if the thread has ended. Then `reply` is dropped and the wait ends.
    let _ = thread.send((command, Handle::current(), reply));
    child
        .await
        .map_err(|_| io::Error::other("the thread that starts processes has ended"))?
}
