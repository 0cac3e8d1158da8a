//! Child processes, so that CPU time and memory of each measured part are separate. Each runs this
//! program with a role.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::Ipv4Addr,
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

use clap::Parser as _;
use common::{
    chat::{
        messages::SendLimits,
        replies::{ChatLimits, Replies},
    },
    dashscope::{self, DashScope},
    governance::{
        apps::{App, AppIds},
        auth::JwtSecrets,
        notice::Notice,
    },
    insights::{
        insight::Insights,
        jobs::{JobLimits, PrewarmSchedule},
    },
    moderation::Moderation,
    platform::{
        db::{self, DatabaseConfig},
        env::Env,
        public_client::PublicClient,
        sqs::JobQueue,
        telemetry,
    },
    web::{AllowedOrigins, Cors},
};
use console::SessionRules;
use hyper_util::rt::TokioIo;
use local::{
    gateway::{self, AppState},
    simulator::{self, Simulator},
};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::{Result, bench_database};

/// The role of a child process.
#[derive(Deserialize, Serialize)]
pub enum Role {
    /// The routers of all functions, on one thread, with the connections of one function.
    Parlor {
        database_url: String,
        upstream: String,
        /// What checks the texts: `none` or `words`.
        moderation: String,
    },
    /// Parlor as `cargo run` serves it. It is configured by environment variables.
    Local { database_url: String },
    /// The DashScope simulator. `None` is as fast as possible.
    Simulator { tokens_per_second: Option<u32> },
    /// A hyper proxy for `upstream`, on one thread or with one thread per core.
    Proxy { upstream: String, threads: bool },
}

/// A child process. It is killed when this is dropped.
pub struct Child {
    process: process::Child,
    /// Its base URL, without a slash at the end.
    pub url: String,
}

impl Child {
    /// Starts a process and waits until it listens.
    pub fn start(role: &Role) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--child").arg(serde_json::to_string(role)?);
        Self::spawn(command)
    }

    /// Starts the routers of all functions, with the DashScope at `upstream`, without moderation.
    pub fn parlor(database_url: &str, upstream: &str) -> Result<Self> {
        Self::start(&Role::Parlor {
            database_url: database_url.to_owned(),
            upstream: upstream.to_owned(),
            moderation: "none".to_owned(),
        })
    }

    /// Starts Parlor as `cargo run` does, with the DashScope at `upstream`.
    pub fn local(database_url: &str, upstream: &str) -> Result<Self> {
        let role = Role::Local {
            database_url: database_url.to_owned(),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--child")
            .arg(serde_json::to_string(&role)?)
            .env("JWT_SECRET", bench_database::SECRET)
            .env("DASHSCOPE_API_KEY", "sk-benchmark")
            .env("DASHSCOPE_BASE_URL", upstream)
            .env("DASHSCOPE_APP_ID_1_CHAT", "app1_chat")
            // The log is written as usual, but dropped.
            .stderr(Stdio::null());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let mut url = String::new();
        output.read_line(&mut url)?;
        if url.is_empty() {
            return Err("a measured process did not start".into());
        }
        // The log is written as in production, but dropped.
        thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        Ok(Self {
            process,
            // `serve` prints a few words before the URL.
            url: url.trim().rsplit(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// CPU time of all threads so far.
    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.process.id())
    }

    /// The part of [`Self::cpu`] that the kernel took, in steps of 10 ms.
    pub fn kernel_cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name of the program is in parentheses. The fields after it begin with the third.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let stime = fields.and_then(|fields| fields.split_whitespace().nth(12));
        let ticks: u64 = stime.ok_or("/proc has no CPU times")?.parse()?;
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Peak resident memory in KiB.
    pub fn peak_kib(&self) -> Result<f64> {
        memory_kib(self.process.id(), "VmHWM:")
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<f64> {
        resident_kib(self.process.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// CPU time of all threads of a process so far.
pub fn cpu(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory of a process in KiB.
pub fn resident_kib(process: u32) -> Result<f64> {
    memory_kib(process, "VmRSS:")
}

fn memory_kib(process: u32, what: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("/proc has no memory figures")?.parse()?)
}

/// Runs a child process until its parent ends.
pub fn run(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role)?;
    // The pipe closes when the parent ends, even if it is killed.
    thread::spawn(|| {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        #[expect(clippy::disallowed_methods, reason = "there is nothing to drop")]
        process::exit(0);
    });
    let mut runtime = match role {
        Role::Local { database_url } => {
            let home = bench_database::data_dir();
            let home = home.to_str().ok_or("the path is not UTF-8")?;
            let arguments = [
                "parlor",
                "--home",
                home,
                "serve",
                "--port=0",
                "--no-history",
                "--database-url",
            ];
            let arguments = arguments.into_iter().chain([&*database_url]);
            local::command::Arguments::parse_from(arguments).run();
            return Ok(());
        }
        Role::Proxy { threads: true, .. } => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(serve(role))
}

async fn serve(role: Role) -> Result<()> {
    match role {
        Role::Simulator { tokens_per_second } => {
            let options = simulator::Options {
                tokens_per_second,
                record: 0,
                ..simulator::Options::default()
            };
            let simulator = Simulator::start((Ipv4Addr::LOCALHOST, 0).into(), options).await?;
            announce(&simulator.base_url())?;
            std::future::pending().await
        }
        Role::Parlor {
            database_url,
            upstream,
            moderation,
        } => {
            telemetry::start(&Env::from_process());
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            announce(&format!("http://{}", listener.local_addr()?))?;
            let app = gateway::app(&tools(&database_url, upstream, &moderation).await?);
            Ok(gateway::serve(listener, app, std::future::pending()).await?)
        }
        Role::Proxy { upstream, .. } => proxy(&upstream).await,
        Role::Local { .. } => Err("this role has its own runtime".into()),
    }
}

fn announce(url: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{url}")?;
    output.flush()
}

/// The state of a function with default settings, except for moderation.
async fn tools(database_url: &str, upstream: String, moderation: &str) -> Result<AppState> {
    let db = db::connect_lazy(&DatabaseConfig {
        url: secrecy::SecretString::from(database_url).into(),
        max_connections: 4,
        behind_proxy: false,
    })?;
    let mut client = dashscope::Config::new("sk-benchmark".into());
    client.base_url = upstream;
    let app_ids = AppIds::from_env(&Env::from_pairs([(App::Chat.variable(), "app1_chat")]));
    let nothing = Env::from_pairs::<&str, &str>([]);
    let limits = ChatLimits::from_env(&nothing)?;
    let jobs = JobLimits::reserved_tokens(&nothing)?;
    let insights = Insights::new(db.clone(), app_ids.clone(), jobs, JobQueue::none());
    let moderation = Env::from_pairs([("MODERATION", moderation)]);
    let moderation = Moderation::from_env(&moderation, &db).await?;
    let replies = Replies::new(
        db.clone(),
        DashScope::new(client)?,
        app_ids,
        limits,
        moderation.clone(),
    );
    // As the function does at its start.
    replies.prepare_connection();
    let secrets = JwtSecrets::new(&bench_database::SECRET.into(), None)?;
    Ok(AppState {
        db,
        secrets: secrets.into(),
        replies,
        insights,
        queue: JobQueue::none(),
        limits: SendLimits::from_env(&nothing)?,
        moderation,
        client: PublicClient::default(),
        ids: AppIds::default(),
        notice: Notice::from_env(&nothing)?,
        schedule: PrewarmSchedule::default(),
        cors: Cors::closed(),
        session: SessionRules::local(AllowedOrigins::default()),
    })
}

/// Runs the proxy. Each request has its own upstream connection, because a stream occupies it.
async fn proxy(upstream: &str) -> Result<()> {
    let authority = upstream
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    let authority = authority.to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let path = upstream.split_once(&authority).map_or("", |(_, path)| path);
    announce(&format!("http://{}{path}", listener.local_addr()?))?;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let authority = authority.clone();
        let service =
            hyper::service::service_fn(move |request| forward(request, authority.clone()));
        #[expect(clippy::disallowed_methods, reason = "a server")]
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(client), service),
        );
    }
}

async fn forward(
    request: hyper::Request<hyper::body::Incoming>,
    authority: String,
) -> Result<hyper::Response<hyper::body::Incoming>> {
    let server = TcpStream::connect(authority).await?;
    server.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
    #[expect(clippy::disallowed_methods, reason = "a client's connection")]
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
