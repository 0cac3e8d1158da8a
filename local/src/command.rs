//! The command line.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use common::{
    chat::{
        messages::SendLimits,
        replies::{ChatLimits, Replies},
    },
    dashscope::{self, DashScope},
    governance::{apps::AppIds, auth::JwtSecrets, notice::Notice},
    insights::{
        insight::Insights,
        jobs::{JobLimits, PrewarmSchedule},
    },
    moderation::Moderation,
    platform::{
        db::{self, DatabaseConfig},
        env::Env,
        migrations,
        public_client::PublicClient,
        sqs::JobQueue,
        telemetry, version,
    },
    web::{AllowedOrigins, Cors},
};
use console::SessionRules;
use secrecy::SecretString;

use crate::{
    data_dir, database, demo, gateway, import, prewarming, scale, serve, simulator, terminal,
    tokens,
};

/// The error of a command.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Parlor on a laptop.
#[derive(Debug, Parser)]
#[command(name = "parlor", bin_name = "parlor", version = version::text(), about)]
pub struct Arguments {
    /// The command; `serve` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Directory for data between runs, instead of `.parlor` in the source tree.
    #[arg(long, global = true, env = "PARLOR_HOME", value_name = "DIRECTORY")]
    pub home: Option<PathBuf>,
}

/// A command of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all of Parlor on 127.0.0.1 (the default).
    Serve(serve::Options),
    /// Print only a token for a user. It is valid for 12 hours.
    Token(tokens::Options),
    /// Serve only the DashScope simulator.
    Simulator(simulator::command::Args),
    /// Apply the missing migrations to the database at `DATABASE_URL`.
    Migrate,
    /// Generate all missing finance insights, several at once.
    Prewarm(prewarming::Options),
    /// Add generated conversations and runs to the database, for measurements.
    Demo {
        /// Messages to add, 20 per conversation.
        #[arg(long, default_value_t = 0)]
        messages: u32,
        /// Runs to add, spread over 90 days and both sites.
        #[arg(long, default_value_t = 0)]
        runs: u32,
    },
    /// Import the data of the earlier services (docs/migrating.md).
    Import(Box<import::Options>),
    /// Print the OpenAPI document.
    Openapi,
    /// Print what a number of messages a day costs and needs (docs/scale.md).
    Scale(Box<scale::Options>),
    /// Run a command with `DATABASE_URL` set to a temporary database with schema and demo data.
    WithDatabase {
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

impl Arguments {
    /// Runs the command until it ends. Prints an error with all its sources to standard error.
    pub fn run(self) -> ExitCode {
        let command = self
            .command
            .unwrap_or_else(|| Command::Serve(serve::Options::default()));
        match command.run(self.home.as_deref()) {
            Ok(code) => code,
            Err(err) => {
                let mut text = err.to_string();
                let mut source = err.source();
                while let Some(cause) = source {
                    // Many errors already contain the text of their cause.
                    let cause_text = cause.to_string();
                    if !text.contains(&cause_text) {
                        text = format!("{text}: {cause_text}");
                    }
                    source = cause.source();
                }
                #[expect(
                    clippy::print_stderr,
                    reason = "the error of a command is printed at the terminal"
                )]
                {
                    eprintln!("parlor: {text}");
                }
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self, data_dir: Option<&Path>) -> Result<ExitCode, AnyError> {
        let env = Env::from_process();
        // Log lines would break the progress bar.
        let filter = match &self {
            Self::Prewarm(_) | Self::Import(_) => "warn",
            _ => telemetry::DEFAULT_FILTER,
        };
        terminal::start_log(&env, env.text("RUST_LOG").unwrap_or(filter));
        match self {
            Self::Serve(options) => serve::run(&options, data_dir, &env)?,
            Self::Token(options) => block_on(tokens::run(options, data_dir, env))?,
            Self::Simulator(args) => block_on(simulator::command::run(args))?,
            Self::Migrate => block_on(migrate(env))?,
            Self::Prewarm(options) => prewarming::run(&options, &data_dir::open(data_dir)?, &env)?,
            Self::Demo { messages, runs } => {
                fill(messages, runs, &data_dir::open(data_dir)?, &env)?;
            }
            Self::Import(options) => import::run(&options, &data_dir::open(data_dir)?, &env)?,
            Self::Openapi => block_on(async { print_openapi() })?,
            Self::Scale(options) => scale::run(&options)?,
            Self::WithDatabase { command } => {
                return database::run_with_database(&command, &data_dir::open(data_dir)?, &env);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a future on a new multi-threaded runtime.
pub(crate) fn block_on<T>(
    future: impl Future<Output = Result<T, impl Into<AnyError>>>,
) -> Result<T, AnyError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
        .map_err(Into::into)
}

/// `JWT_SECRET` if it is set, otherwise the secret in the data directory.
pub(crate) fn jwt_secret(data_dir: Option<&Path>, env: &Env) -> Result<SecretString, AnyError> {
    let secret = match env.text("JWT_SECRET") {
        Some(secret) => secret.into(),
        None => data_dir::jwt_secret(&data_dir::open(data_dir)?)?,
    };
    JwtSecrets::new(&secret, None)?;
    Ok(secret)
}

/// How this program was started, for commands that a person pastes. `home` is `--home`.
pub(crate) fn own_command(home: Option<&Path>) -> String {
    let program = std::env::args_os().next();
    let program = program.as_deref().map_or(Path::new("parlor"), Path::new);
    let home = home.map_or(String::new(), |home| format!(" --home {}", quoted(home)));
    format!("{}{home}", quoted(program))
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Says why a port cannot be used, and what to do if it is in use.
pub(crate) fn cannot_listen(port: u16, err: &io::Error, advice: &str) -> String {
    if err.kind() == io::ErrorKind::AddrInUse {
        format!("port {port} is in use; {advice}")
    } else {
        format!("cannot listen on port {port}: {err}")
    }
}

async fn migrate(env: Env) -> Result<(), AnyError> {
    if let Some(url) = env.text("DATABASE_URL") {
        database::check(&url.into()).await?;
    }
    let db = db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?;
    let done = migrations::apply(&db).await?;
    terminal::print_line(format!(
        "{} migrations applied; the schema is at version {}",
        done.applied, done.version
    ));
    Ok(())
}

/// Fills the database at `DATABASE_URL`, or the private one.
fn fill(messages: u32, runs: u32, data_dir: &Path, env: &Env) -> Result<(), AnyError> {
    let (url, _cluster) = database::given_or_shared(env.text("DATABASE_URL"), data_dir, env)?;
    block_on(async {
        database::prepare(&url, 1).await?.close().await;
        demo::fill(&url, messages.into(), runs.into()).await?;
        terminal::print_line(format!("{messages} messages and {runs} runs added"));
        Ok::<_, AnyError>(())
    })
}

fn print_openapi() -> Result<(), AnyError> {
    terminal::print_line(openapi_json()?);
    Ok(())
}

/// The text of the committed `openapi.json`.
///
/// # Errors
/// Never in practice.
pub fn openapi_json() -> Result<String, AnyError> {
    Ok(gateway::openapi(&idle_state()?).to_pretty_json()?)
}

/// State without a database or an upstream service, for commands that only need the routes.
///
/// # Errors
/// Never in practice.
pub fn idle_state() -> Result<gateway::AppState, AnyError> {
    let secret = SecretString::from("x".repeat(32));
    let url = SecretString::from("postgres://127.0.0.1/none");
    let db = db::connect_lazy(&DatabaseConfig {
        url: url.into(),
        max_connections: 1,
        behind_proxy: false,
    })?;
    let secrets = JwtSecrets::new(&secret, None)?;
    let dashscope = DashScope::new(dashscope::Config::new(secret))?;
    let nothing = Env::from_pairs::<&str, &str>([]);
    let limits = ChatLimits::from_env(&nothing)?;
    let replies = Replies::new(
        db.clone(),
        dashscope,
        AppIds::default(),
        limits,
        Moderation::default(),
    );
    let jobs = JobLimits::reserved_tokens(&nothing)?;
    let insights = Insights::new(db.clone(), AppIds::default(), jobs, JobQueue::none());
    Ok(gateway::AppState {
        db,
        secrets: secrets.into(),
        replies,
        insights,
        queue: JobQueue::none(),
        limits: SendLimits::from_env(&nothing)?,
        moderation: Moderation::default(),
        client: PublicClient::default(),
        ids: AppIds::default(),
        notice: Notice::from_env(&nothing)?,
        schedule: PrewarmSchedule::default(),
        cors: Cors::closed(),
        session: SessionRules::local(AllowedOrigins::default()),
    })
}

/// A loopback address, so that no other machine can connect.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
