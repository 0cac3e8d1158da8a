//! Child processes of a test. They are killed when the test ends, also if it fails.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::until;

/// A running program and its output so far.
pub struct Program {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A command in its own process group. If `setpriv` is installed, the kernel kills the process when
/// the test's thread ends.
pub fn command(program: impl AsRef<Path>) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.process_group(0).stdin(Stdio::null());
    command
}

impl Program {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: read(child.stdout.take().unwrap()),
            stderr: read(child.stderr.take().unwrap()),
            child,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().join("\n")
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// Waits for the first stdout line for which `find` returns `Some`.
    pub async fn line<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        // A start can take up to a minute on a busy machine.
        for _ in 0..6 {
            let found = until_or_none(async || {
                let lines = self.stdout.lock().unwrap();
                lines.iter().find_map(|line| find(line))
            })
            .await;
            if let Some(found) = found {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}\n{}", self.stderr());
        }
        panic!(
            "the line did not appear\n{}\n{}",
            self.stdout(),
            self.stderr()
        );
    }

    /// Sends SIGINT to the whole process group, as a terminal does for Ctrl-C.
    pub fn interrupt(&self) {
        kill_process_group(self.pid(), Signal::INT).unwrap();
    }

    /// Sends SIGTERM, as Kubernetes and systemd do.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    pub fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
    }

    /// Waits for the end of the program and returns its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        until("the program ends", async || child.try_wait().unwrap())
            .await
            .code()
    }

    pub fn children(&self) -> Vec<Pid> {
        children_of(self.pid())
    }
}

/// The child processes of `pid`.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let lists = threads.map(|thread| thread.unwrap().path().join("children"));
    let texts: String = lists
        .map(|list| std::fs::read_to_string(list).unwrap_or_default())
        .collect();
    texts
        .split_whitespace()
        .filter_map(|id| Pid::from_raw(id.parse().ok()?))
        .collect()
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub async fn gone(pid: Pid) {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    until("the process is gone", async || {
        // A zombie counts as gone: its parent has only not reaped it yet.
        let state = std::fs::read_to_string(&stat).ok();
        state
            .is_none_or(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
            .then_some(())
    })
    .await;
}

fn read(output: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
    lines
}

async fn until_or_none<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    for _ in 0..1000 {
        if let Some(value) = condition().await {
            return Some(value);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    None
}
