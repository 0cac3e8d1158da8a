//! The process of the server. It ends when this process ends.

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

/// Time limit of a shutdown, in which the server writes its data.
const LONGEST_STOP: Duration = Duration::from_secs(20);

/// A running server. Dropping it shuts the server down and waits for its end.
pub(super) struct Server {
    pid: Pid,
    keeper: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server from a separate thread, which then waits for its end.
    ///
    /// The kernel sends the parent-death signal when the *thread* that started the child ends, so
    /// this thread must live as long as the server.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        bind_to_parent(&mut command);
        // The server must not get Ctrl-C from the terminal: running requests still need it.
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

    /// True if the process has ended.
    pub fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    fn signal(&self, signal: Signal) {
        // After the process has ended, another process can get its id.
        if !self.has_ended() {
            kill_process(self.pid, signal).ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: it ends all sessions and writes the data.
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
    // initdb fails if the caller's locale does not exist on this machine.
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/");
}

/// Makes the kernel send `SIGINT` to the program when the thread that starts it ends.
#[cfg(target_os = "linux")]
pub(super) fn bind_to_parent(command: &mut Command) {
    let ask = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(
            Signal::INT,
        ))?)
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec: only one system call, no allocation and no lock"
    )]
    // SAFETY: `ask` makes one system call. It runs after the change of user, which would undo it.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Only Linux supports this. On other systems a killed process can leave its server behind.
#[cfg(not(target_os = "linux"))]
pub(super) fn bind_to_parent(_: &mut Command) {}
