//! The server's process, bound to the life of ours.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::place::Owner;

/// How long a server may take to write what it holds.
const LONGEST_STOP: Duration = Duration::from_secs(20);

/// A running server; dropped, it shuts down and is waited for.
pub(super) struct Server {
    pid: Pid,
    keeper: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it from a thread of its own that waits for its end.
    ///
    /// The kernel tells a child of its parent's death when the *thread* that started it
    /// ends, so this thread must live exactly as long as the server does.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        bind_to_parent(&mut command);
        // The terminal's Ctrl-C is for us: requests under way still need their database.
        command.process_group(0);
        let (started, start) = mpsc::channel();
        let keeper = thread::Builder::new()
            .name("postgres".into())
            .spawn(move || match command.spawn() {
                Err(err) => {
                    started.send(Err(err)).ok();
                }
                Ok(mut child) => {
                    started.send(pid_of(&child)).ok();
                    child.wait().ok();
                }
            })?;
        let pid = start.recv().map_err(io::Error::other)??;
        Ok(Self {
            pid,
            keeper: Some(keeper),
        })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    fn signal(&self, signal: Signal) {
        // Once it has been waited for, its number may be somebody else's.
        if !self.has_ended() {
            kill_process(self.pid, signal).ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: sessions are ended, data is written.
        self.signal(Signal::INT);
        let began = Instant::now();
        while !self.has_ended() && began.elapsed() < LONGEST_STOP {
            thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            keeper.join().ok();
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("no process id"))
}

/// Runs a program as the server's user.
pub(super) fn run_as(command: &mut Command, owner: Option<Owner>) {
    if let Some(Owner { uid, gid }) = owner {
        command.uid(uid).gid(gid);
    }
    // A missing locale of the caller's makes initdb fail.
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/");
}

/// Has the kernel end the program when the thread that starts it does.
#[cfg(target_os = "linux")]
pub(super) fn bind_to_parent(command: &mut Command) {
    let ask = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(
            Signal::INT,
        ))?)
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec only one system call is made; nothing is allocated or locked"
    )]
    // SAFETY: `ask` makes one system call. It comes after the change of user, which would undo it.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Only Linux offers this; elsewhere a killed launcher may leave its server behind.
#[cfg(not(target_os = "linux"))]
pub(super) fn bind_to_parent(_: &mut Command) {}
