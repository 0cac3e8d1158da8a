//! A PostgreSQL cluster: a data directory and its server.

use std::{
    array,
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

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sha2::{Digest as _, Sha256};

use super::{
    Binaries, Error, failing,
    place::{self, Owner},
    server::{Server, bind_to_parent, run_as},
};

/// Time limit of a start, including recovery after a crash.
const LONGEST_START: Duration = Duration::from_secs(60);
/// Time limit for an orphaned server to stop.
const LONGEST_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// Options of a cluster.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ClusterOptions {
    /// Parent of the data directories. Each major version has its own.
    pub directory: PathBuf,
    /// True if the data must survive a crash of the machine. Tests do not need that.
    pub durable: bool,
    /// True to delete existing data.
    pub fresh: bool,
    pub max_connections: u32,
}

impl ClusterOptions {
    /// A cluster that is kept between runs. It is in `data_dir`, or in `/var/tmp` if the server of
    /// root has no access to `data_dir`.
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

    /// A temporary cluster in `directory`.
    pub fn scratch(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            durable: false,
            fresh: true,
            max_connections: 100,
        }
    }
}

/// A running server. It stops when this is dropped, or when the process that started it is killed.
pub struct Cluster {
    port: u16,
    password: String,
    directory: PathBuf,
    server: Server,
    // Last, because fields are dropped in order: the server must stop before the lock is released.
    _lock: File,
}

impl Cluster {
    /// Creates the cluster if it does not exist, and starts its server.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if another process uses it, [`Error::Failed`] if it does not
    /// start, [`Error::Io`].
    pub fn start(binaries: &Binaries, options: &ClusterOptions) -> Result<Self, Error> {
        let owner =
            place::other_owner().map_err(failing("cannot find a user to run PostgreSQL as"))?;
        let place = ClusterDirectory {
            directory: options.directory.join(binaries.major.to_string()),
            owner,
        };
        fs::create_dir_all(&place.directory)
            .map_err(failing("cannot create the data directory"))?;
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
            directory: place.directory,
            server,
            _lock: lock,
        })
    }

    /// The URL of a database of the server that another process runs below `directory`. `None` if
    /// no server is running or it is not ready.
    pub fn url_of_running(directory: &Path, database: &str) -> Option<String> {
        let versions = fs::read_dir(directory).ok()?.filter_map(Result::ok);
        let mut homes = versions.map(|version| ClusterDirectory {
            directory: version.path(),
            owner: None,
        });
        let home = homes.find(|home| home.is_locked() && home.is_ready())?;
        let password = fs::read_to_string(home.file("password")).ok()?;
        let port = fs::read_to_string(home.file("port")).ok()?.parse().ok()?;
        Some(url(&password, port, database))
    }

    /// The URL of a database in this cluster.
    pub fn url(&self, database: &str) -> String {
        url(&self.password, self.port, database)
    }

    /// The directory of its data, password, port and log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// The directory of a cluster: `data/`, and the files `lock`, `log`, `made`, `password` and `port`.
struct ClusterDirectory {
    directory: PathBuf,
    owner: Option<Owner>,
}

impl ClusterDirectory {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Locks the directory while the server runs. The kernel releases the lock when the process
    /// ends.
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

    /// Stops the server of a process that was killed. Such a server may still be stopping. If it
    /// crashed too, only its `postmaster.pid` is left, which is deleted.
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

    /// Runs `initdb`. Writes the file `made` last, so that an incomplete cluster is created again.
    fn make(&self, binaries: &Binaries, durable: bool) -> Result<(), Error> {
        let data = self.file("data");
        fs::remove_file(self.file("made")).ok();
        fs::remove_dir_all(&data).ok();
        fs::create_dir_all(&data).map_err(failing("cannot create the data directory"))?;
        let password: String = iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let password_file = self.file("password");
        let verifier_file = self.file("verifier");
        for (path, text) in [
            (&password_file, &password),
            (&verifier_file, &verifier(&password)),
        ] {
            fs::remove_file(path).ok();
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(failing("cannot write the password"))?;
        }
        if let Some(Owner { uid, gid }) = self.owner {
            for path in [&data, &verifier_file] {
                chown(path, Some(uid), Some(gid))
                    .map_err(failing("cannot change the owner of the data directory"))?;
            }
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))
            .map_err(failing("cannot set the mode of the data directory"))?;

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
        command.arg("--pwfile").arg(&verifier_file);
        // If this process is killed now, initdb must end too. Otherwise it and the next initdb
        // would write to the same directory.
        bind_to_parent(&mut command);
        let output = command.output().map_err(failing("cannot run initdb"))?;
        fs::remove_file(&verifier_file).ok();
        if !output.status.success() {
            return Err(Error::Failed(
                "could not be initialized",
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        fs::write(self.file("made"), "").map_err(failing("cannot finish the data directory"))
    }

    /// True if another process has the lock.
    fn is_locked(&self) -> bool {
        File::open(self.file("lock")).is_ok_and(|lock| fs4::FileExt::try_lock(&lock).is_err())
    }

    /// True if the server accepts connections.
    fn is_ready(&self) -> bool {
        // Line 8 is its state: https://www.postgresql.org/docs/18/storage-file-layout.html
        let state = fs::read_to_string(self.file("data/postmaster.pid")).unwrap_or_default();
        state
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
    }

    /// Returns the port of the last start, or a new one if another process uses it.
    fn port(&self) -> io::Result<u16> {
        let path = self.file("port");
        let last = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.parse().ok());
        // Below the range of ephemeral ports, so that the port is probably free at the next start.
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
        let log = File::create(&log_path).map_err(failing("cannot create the server's log"))?;
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
            // Commits stay synchronous, so a killed server loses none, as in production.
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
            if self.is_ready() {
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

/// What PostgreSQL stores instead of the password (RFC 5802), computed with 1 iteration. PostgreSQL
/// computes it with 4,096, and then a debug build needs 40 to 90 ms per connection. The password is
/// random and never leaves this machine, so the iterations protect nothing.
fn verifier(password: &str) -> String {
    let salt: [u8; 16] = array::from_fn(|_| fastrand::u8(..));
    let salted = hmac(
        password.as_bytes(),
        &[&salt[..], &1_u32.to_be_bytes()].concat(),
    );
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    let [salt, stored_key, server_key] =
        [&salt[..], &stored_key[..], &server_key[..]].map(|bytes| BASE64.encode(bytes));
    format!("SCRAM-SHA-256$1:{salt}${stored_key}:{server_key}")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn url(password: &str, port: u16, database: &str) -> String {
    format!("postgres://parlor:{password}@127.0.0.1:{port}/{database}")
}

fn first_line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// True if the process is the server of this data directory. Another process, even another
/// PostgreSQL, can have got the old process id. A server's working directory is its data directory.
fn is_server(pid: Pid, data: &Path) -> bool {
    let proc = Path::new("/proc");
    if !proc.join("self").exists() {
        return test_kill_process(pid).is_ok();
    }
    let working_directory = fs::read_link(proc.join(pid.as_raw_nonzero().to_string()).join("cwd"));
    working_directory.is_ok_and(|directory| data.canonicalize().is_ok_and(|data| data == directory))
}

fn kill_server(pid: Pid, data: &Path, signal: Signal) {
    if is_server(pid, data) {
        kill_process(pid, signal).ok();
    }
}
