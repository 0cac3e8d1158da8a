//! `PgBouncer` in session mode between Parlor and the PostgreSQL of a test.

use std::{
    fs, iter,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use super::{
    child::{self, Program},
    database::fast_directory,
    until,
};

/// Debian installs it where only root's `PATH` leads.
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// The user id of `nobody`. `PgBouncer` refuses to run as root.
const NOBODY: u32 = 65_534;

/// A running `PgBouncer`. It is killed when it is dropped.
pub struct PgBouncer {
    pub url: String,
    program: Program,
    directory: PathBuf,
}

impl PgBouncer {
    /// Starts it in front of the database at `url`, with at most `pool_size` connections to it.
    /// Prints NOT CHECKED and returns `None` if `PgBouncer` is not installed.
    pub async fn before(url: &str, pool_size: u32) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("NOT CHECKED: {PROGRAM} is not installed");
            return None;
        }
        let database = reqwest::Url::parse(url).unwrap();
        let port = free_port();
        let directory = fast_directory(&format!("pgbouncer-{port}"));
        fs::create_dir_all(&directory).unwrap();
        let users = directory.join("users.txt");
        let user = database.username();
        let password = database.password().unwrap();
        fs::write(&users, format!("\"{user}\" \"{password}\"\n")).unwrap();
        let settings = directory.join("pgbouncer.ini");
        fs::write(
            &settings,
            format!(
                "[databases]\n\
                 * = host=127.0.0.1 port={server}\n\
                 [pgbouncer]\n\
                 listen_addr = 127.0.0.1\n\
                 listen_port = {port}\n\
                 unix_socket_dir =\n\
                 auth_type = scram-sha-256\n\
                 auth_file = {users}\n\
                 pool_mode = session\n\
                 default_pool_size = {pool_size}\n",
                server = database.port().unwrap(),
                users = users.display(),
            ),
        )
        .unwrap();
        let mut command = if rustix::process::geteuid().is_root() {
            for path in [&directory, &users, &settings] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            // The change of user cancels the death signal that `child::command` asks for.
            let mut command = child::command("/usr/bin/setpriv");
            command
                .args(["--reuid", &NOBODY.to_string()])
                .args(["--regid", &NOBODY.to_string()])
                .args(["--clear-groups", "--pdeathsig", "KILL", PROGRAM]);
            command
        } else {
            child::command(PROGRAM)
        };
        command.arg(&settings);
        let program = Program::start(command);
        until("PgBouncer listens", async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .await;
        let mut own = database;
        own.set_port(Some(port)).unwrap();
        Some(Self {
            url: own.to_string(),
            program,
            directory,
        })
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.program.stderr()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// Below the ports that the kernel gives to connections, so that it stays free until `PgBouncer`
/// listens.
fn free_port() -> u16 {
    iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .unwrap()
}
