//! A data directory and the server on it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    iter,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{
    Binaries, Error, failing,
    place::{self, Owner},
    server::{Server, bind_to_parent, run_as},
};

/// How long a start may take, a recovery after a crash included.
const LONGEST_START: Duration = Duration::from_secs(60);
/// How long one that was left behind may take to stop.
const LONGEST_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where its data goes, in a directory for each major version.
    pub directory: PathBuf,
    /// Whether it survives the machine's crash. Tests do not need that.
    pub durable: bool,
    /// Whether to begin with an empty one.
    pub fresh: bool,
    /// How many connections it takes.
    pub max_connections: u32,
}

impl ClusterOptions {
    /// The laptop's, kept between runs below `home` or, where root's server cannot reach
    /// that, below `/var/tmp`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kept(data_dir: &Path, fresh: bool) -> Result<Self, Error> {
        let place =
            place::reachable(data_dir).map_err(failing("cannot find a place for the database"))?;
        Ok(Self {
            directory: place.join("postgres"),
            durable: true,
            fresh,
            max_connections: 100,
        })
    }

    /// One that nobody needs afterwards, below `directory`.
    pub fn scratch(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            durable: false,
            fresh: true,
            max_connections: 100,
        }
    }
}

/// A running server. Dropped, it stops; killed, its launcher takes it along.
pub struct Cluster {
    port: u16,
    password: String,
    server: Server,
    // Last, so that nobody else opens the directory before the server is gone.
    _lock: File,
}

impl Cluster {
    /// Makes the cluster if there is none, and starts it.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when somebody else has it open, [`Error::Failed`] when it
    /// does not start, [`Error::Io`].
    pub fn start(binaries: &Binaries, options: &ClusterOptions) -> Result<Self, Error> {
        let owner =
            place::other_owner().map_err(failing("cannot tell whom to run PostgreSQL as"))?;
        let place = ClusterDirectory {
            directory: options.directory.join(binaries.major.to_string()),
            owner,
        };
        fs::create_dir_all(&place.directory).map_err(failing("cannot make the data directory"))?;
        let lock = place.lock()?;
        place.stop_orphan()?;
        if options.fresh || !place.file("made").exists() {
            place.make(binaries, options.durable)?;
        }
        let password = fs::read_to_string(place.file("password"))
            .map_err(failing("cannot read the password"))?;
        let port = place.port().map_err(failing("cannot find a port"))?;
        let server = place.serve(binaries, options, port)?;
        Ok(Self {
            port,
            password,
            server,
            _lock: lock,
        })
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://parlor:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// The directory: `data/`, and beside it what must outlive a start.
struct ClusterDirectory {
    directory: PathBuf,
    owner: Option<Owner>,
}

impl ClusterDirectory {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Held for as long as the server runs; the kernel drops it with the process.
    fn lock(&self) -> Result<File, Error> {
        let path = self.file("lock");
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failing("cannot lock"))?;
        if fs4::FileExt::try_lock(&lock).is_err() {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).ok();
            return Err(Error::AlreadyRunning {
                pid,
                directory: self.directory.clone(),
            });
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(failing("cannot lock"))?;
        Ok(lock)
    }

    /// A launcher that was killed leaves a server that is just stopping, or, after a crash
    /// of that too, only its `postmaster.pid`.
    fn stop_orphan(&self) -> Result<(), Error> {
        let data = self.file("data");
        let path = data.join("postmaster.pid");
        let Some(pid) = first_line(&path).and_then(|line| Pid::from_raw(line.parse().ok()?)) else {
            return Ok(());
        };
        let began = Instant::now();
        kill_server(pid, &data, Signal::INT);
        while is_server(pid, &data) {
            if began.elapsed() > LONGEST_STOP {
                kill_server(pid, &data, Signal::KILL);
            }
            thread::sleep(POLL);
        }
        match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(failing("cannot remove postmaster.pid")(err))
            }
            _ => Ok(()),
        }
    }

    /// `initdb`. The file `made` comes last, so that a half-made cluster is made again.
    fn make(&self, binaries: &Binaries, durable: bool) -> Result<(), Error> {
        let data = self.file("data");
        fs::remove_file(self.file("made")).ok();
        fs::remove_dir_all(&data).ok();
        fs::create_dir_all(&data).map_err(failing("cannot make the data directory"))?;
        let password: String = iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let password_file = self.file("password");
        fs::remove_file(&password_file).ok();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password_file)
            .and_then(|mut file| file.write_all(password.as_bytes()))
            .map_err(failing("cannot write the password"))?;
        if let Some(Owner { uid, gid }) = self.owner {
            for path in [&data, &password_file] {
                chown(path, Some(uid), Some(gid))
                    .map_err(failing("cannot hand the data directory over"))?;
            }
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))
            .map_err(failing("cannot close the data directory"))?;

        let mut command = Command::new(binaries.bin.join("initdb"));
        run_as(&mut command, self.owner);
        command.arg("-D").arg(&data).args([
            "-U",
            "parlor",
            "-A",
            "scram-sha-256",
            "--no-locale",
            "-E",
            "UTF8",
        ]);
        if !durable {
            command.arg("--no-sync");
        }
        command.arg("--pwfile").arg(&password_file);
        if binaries.major >= 16 {
            // The password never leaves this machine; hashing it 4,096 times costs a debug
            // build 40 to 90 ms for each connection.
            command.args(["-c", "scram_iterations=1"]);
        }
        // A launcher that is killed now must not leave an initdb that writes where the next one does.
        bind_to_parent(&mut command);
        let output = command.output().map_err(failing("cannot run initdb"))?;
        if !output.status.success() {
            return Err(Error::Failed(
                "could not be set up",
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        fs::write(self.file("made"), "").map_err(failing("cannot finish the data directory"))
    }

    /// The port of the last start, unless somebody else has taken it meanwhile.
    fn port(&self) -> io::Result<u16> {
        let path = self.file("port");
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.parse().ok());
        // Below the ports that connections are given, so that it is still free at the next start.
        let others = iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(100);
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let port = last
            .into_iter()
            .chain(others)
            .find(free)
            .ok_or(io::ErrorKind::AddrInUse)?;
        fs::write(&path, port.to_string())?;
        Ok(port)
    }

    fn serve(
        &self,
        binaries: &Binaries,
        options: &ClusterOptions,
        port: u16,
    ) -> Result<Server, Error> {
        let log_path = self.file("log");
        let log = File::create(&log_path).map_err(failing("cannot make the server's log"))?;
        let mut command = Command::new(binaries.bin.join("postgres"));
        run_as(&mut command, self.owner);
        command
            .arg("-D")
            .arg(self.file("data"))
            .args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",
            &format!("max_connections={}", options.max_connections),
        ] {
            command.args(["-c", setting]);
        }
        if !options.durable {
            // Commits stay synchronous: a killed server then loses none, as in production.
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let server = Server::spawn(command).map_err(failing("cannot start PostgreSQL"))?;

        let began = Instant::now();
        let log_tail = || {
            let text = fs::read_to_string(&log_path).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(10).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        loop {
            // Line 8 is its state: https://www.postgresql.org/docs/18/storage-file-layout.html
            let state = fs::read_to_string(self.file("data/postmaster.pid")).unwrap_or_default();
            if state
                .lines()
                .nth(7)
                .is_some_and(|line| line.trim() == "ready")
            {
                return Ok(server);
            }
            if server.has_ended() {
                return Err(Error::Failed("stopped", log_tail()));
            }
            if began.elapsed() > LONGEST_START {
                return Err(Error::Failed("did not become ready", log_tail()));
            }
            thread::sleep(POLL);
        }
    }
}

fn first_line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// Whether the process is the server of this data directory: a stale number may be
/// anybody's by now, another PostgreSQL's too. A server works in its data directory, and one
/// that has ended works nowhere.
fn is_server(pid: Pid, data: &Path) -> bool {
    let proc = Path::new("/proc");
    if !proc.join("self").exists() {
        return test_kill_process(pid).is_ok();
    }
    let works_in = fs::read_link(proc.join(pid.as_raw_nonzero().to_string()).join("cwd"));
    works_in.is_ok_and(|directory| data.canonicalize().is_ok_and(|data| data == directory))
}

fn kill_server(pid: Pid, data: &Path, signal: Signal) {
    if is_server(pid, data) {
        kill_process(pid, signal).ok();
    }
}
