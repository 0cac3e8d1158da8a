//! The command line.

use std::{
    ffi::OsString,
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
    governance::{
        apps::AppIds,
        auth::{self, JwtSecrets},
    },
    platform::{
        db::{self, DatabaseConfig},
        env::{ConfigError, Env},
        migrations,
        sqs::JobQueue,
        telemetry,
    },
    web::Cors,
};
use secrecy::SecretString;

use crate::{console, database, demo, gateway, home, prewarming, serve, simulator};

/// Anything that ends a command.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Parlor on a laptop.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, about)]
pub struct Arguments {
    /// `serve` unless another is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where data is kept between runs, instead of `.parlor` beside the sources.
    #[arg(long, global = true, env = "PARLOR_HOME", value_name = "DIRECTORY")]
    pub home: Option<PathBuf>,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the whole product on 127.0.0.1 (the default).
    Serve(serve::Options),
    /// Print a token for a user, valid 12 hours, and nothing else.
    Token {
        /// A demo user, or one of the database at `DATABASE_URL`.
        user_id: i64,
    },
    /// Serve the DashScope simulator alone.
    Simulator(simulator::command::Args),
    /// Bring the database at `DATABASE_URL` up to date.
    Migrate,
    /// Make every finance insight that is missing, several at once.
    Prewarm(prewarming::Options),
    /// Fill the database with made-up conversations and runs, to measure on.
    Demo {
        /// Messages to add; each conversation gets 20.
        #[arg(long, default_value_t = 0)]
        messages: u32,
        /// Runs to add, spread over 90 days and both sites.
        #[arg(long, default_value_t = 0)]
        runs: u32,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Run a command with `DATABASE_URL` naming a database with the schema and the demo data, which
    /// is gone afterwards.
    WithDatabase {
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

impl Arguments {
    /// Does what was asked, to its end.
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
                    text = format!("{text}: {cause}");
                    source = cause.source();
                }
                #[expect(
                    clippy::print_stderr,
                    reason = "the end of a command is told at the terminal"
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
    fn run(self, home: Option<&Path>) -> Result<ExitCode, AnyError> {
        let env = Env::from_process();
        // A progress bar and a log of every step would spoil each other.
        let filter = match &self {
            Self::Prewarm(_) => "warn",
            _ => telemetry::DEFAULT_FILTER,
        };
        console::start_log(env.text("RUST_LOG").unwrap_or(filter));
        match self {
            Self::Serve(options) => serve::run(&options, &home::directory(home)?, &env)?,
            Self::Token { user_id } => block_on(print_token(user_id, home, env))?,
            Self::Simulator(args) => block_on(simulator::command::run(args))?,
            Self::Migrate => block_on(migrate(env))?,
            Self::Prewarm(options) => prewarming::run(&options, &home::directory(home)?, &env)?,
            Self::Demo { messages, runs } => fill(messages, runs, &home::directory(home)?, &env)?,
            Self::Openapi => block_on(async { print_openapi() })?,
            Self::WithDatabase { command } => {
                return database::lend(&command, &home::directory(home)?, &env);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs on the main thread's own runtime.
pub(crate) fn block_on<T>(
    future: impl Future<Output = Result<T, impl Into<AnyError>>>,
) -> Result<T, AnyError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
        .map_err(Into::into)
}

async fn print_token(user_id: i64, home: Option<&Path>, env: Env) -> Result<(), AnyError> {
    let user = match demo::user(user_id) {
        Some(user) => user,
        None if env.text("DATABASE_URL").is_some() => {
            let db = db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?;
            auth::find_user(&db, user_id).await?.ok_or("no such user")?
        }
        None => return Err("no such demo user; set DATABASE_URL for those of a database".into()),
    };
    let secret = jwt_secret(home, &env)?;
    console::say(demo::token(&secret, &user).ok_or("the token could not be signed")?);
    Ok(())
}

/// `JWT_SECRET`, or this laptop's own.
pub(crate) fn jwt_secret(home: Option<&Path>, env: &Env) -> Result<SecretString, AnyError> {
    match env.text("JWT_SECRET") {
        Some(secret) => Ok(secret.into()),
        None => Ok(home::jwt_secret(&home::directory(home)?)?),
    }
}

async fn migrate(env: Env) -> Result<(), AnyError> {
    let db = db::connect_lazy(&DatabaseConfig::from_env(&env).await?)?;
    let done = migrations::apply(&db).await?;
    console::say(format!(
        "{} migrations applied; the schema is at version {}",
        done.applied, done.version
    ));
    Ok(())
}

/// Fills the database at `DATABASE_URL`, or this laptop's own while nobody serves from it.
fn fill(messages: u32, runs: u32, home: &Path, env: &Env) -> Result<(), AnyError> {
    let (url, _cluster) = database::given_or_private(env.text("DATABASE_URL"), home, false, env)?;
    block_on(async {
        database::prepare(&url, 1).await?.close().await;
        demo::fill(&url, messages.into(), runs.into()).await?;
        console::say(format!("{messages} messages and {runs} runs added"));
        Ok::<_, AnyError>(())
    })
}

fn print_openapi() -> Result<(), AnyError> {
    console::say(openapi_json()?);
    Ok(())
}

/// The document as it is committed.
///
/// # Errors
/// Never in practice.
pub fn openapi_json() -> Result<String, AnyError> {
    Ok(gateway::openapi(&idle_state()?).to_pretty_json()?)
}

/// State with no database or service behind it, for commands that only need the routes.
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
    let secrets = JwtSecrets::new(&secret, None).ok_or(ConfigError::Missing("JWT_SECRET"))?;
    let dashscope = DashScope::new(dashscope::Config::new(secret))?;
    let nothing = Env::from_pairs::<&str, &str>([]);
    let limits = ChatLimits::from_env(&nothing)?;
    let replies = Replies::new(db.clone(), dashscope, AppIds::default(), limits);
    Ok(gateway::AppState {
        db,
        secrets,
        replies,
        queue: JobQueue::none(),
        limits: SendLimits::from_env(&nothing)?,
        cors: Cors::closed(),
    })
}

/// Where things are served: the laptop's own address, whatever the network.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
