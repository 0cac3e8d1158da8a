//! A function's process: started so that it dies with this one, stopped, continued, killed, reaped.

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

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    id: u32,
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// Signals go through the task that reaps, so that none can hit another process of the same id.
#[derive(Clone, Copy, Debug)]
enum Order {
    Freeze,
    Thaw,
    Kill,
}

impl Process {
    /// Starts the command; `on_line` gets each line of its output. Must be called in a runtime.
    pub(super) async fn start(
        mut command: Command,
        on_line: impl Fn(String) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // The terminal's Ctrl-C is for the emulator; Lambda's processes see no terminal.
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

    /// Waits for the end; `None` if the status could not be had.
    pub(super) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// Stops it where it stands (`SIGSTOP`).
    pub(super) fn freeze(&self) {
        self.order(Order::Freeze);
    }

    /// Lets it go on (`SIGCONT`).
    pub(super) fn thaw(&self) {
        self.order(Order::Thaw);
    }

    /// Ends it at once (`SIGKILL`), frozen or not.
    pub(super) fn kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // Nobody receives any more once the process has ended: then there is nothing to do.
        let _ = self.orders.send(order);
    }
}

/// Owns the child until it has been reaped.
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
        tracing::warn!(%error, ?signal, "a function's process got no signal");
    }
}

async fn forward_lines(output: impl AsyncRead + Unpin, on_line: impl Fn(String)) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        on_line(String::from_utf8_lossy(&line).into_owned());
    }
}

type Start = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// The kernel ends a child when the *thread* that made it ends, and the runtime's threads come and
/// go; this one stays.
async fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    static THREAD: OnceLock<thread_mpsc::Sender<Start>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (thread, starts) = thread_mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, runtime, reply) in starts {
                let _in_runtime = runtime.enter();
                // Whoever asked may be gone; then the child is dropped here, and so killed.
                let _ = reply.send(command.spawn());
            }
        });
        thread
    });
    let (reply, child) = oneshot::channel();
    // Sending fails only if the thread is gone; then `reply` is dropped, and the wait ends.
    let _ = thread.send((command, Handle::current(), reply));
    child
        .await
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))?
}
