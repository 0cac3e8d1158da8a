//! The command line.

use std::{error::Error, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use common::platform::{env::Env, http_client, telemetry, traces, version};
use lambda::Invocation;

use crate::{
    config::{self, Config},
    instruments::Instruments,
    serve,
};

/// How long the health check waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// Parlor in one process, for production. Without a command it serves. Environment variables
/// configure it.
#[derive(Debug, Parser)]
#[command(name = "parlor-server", version = version::text(), about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Bring the schema up to date before serving. Several instances may do so at once.
    #[arg(long)]
    migrate: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the schema up to date, and end.
    Migrate,
    /// Ask the server on this machine whether it lives. Fails if it does not respond.
    Healthcheck,
}

type AnyError = Box<dyn Error + Send + Sync>;

impl Arguments {
    /// Runs the command until it ends. The log has the cause of a failure.
    pub async fn run(self) -> ExitCode {
        let env = config::with_defaults(&Env::from_process());
        let instruments = Instruments::default();
        telemetry::start_server(&env, instruments.clone());
        traces::export_in_background();
        let done = match self.command {
            None => serve(&env, self.migrate, instruments).await,
            Some(Command::Migrate) => migrate(&env).await,
            Some(Command::Healthcheck) => healthcheck(&env).await,
        };
        traces::flush().await;
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                tracing::error!(cause = telemetry::chain(&*err), "command failed");
                ExitCode::FAILURE
            }
        }
    }
}

async fn serve(env: &Env, migrates: bool, instruments: Instruments) -> Result<(), AnyError> {
    let config = Config::from_env(env)?;
    if migrates {
        migrate(env).await?;
    }
    Ok(Box::pin(serve::run(env, &config, instruments)).await?)
}

async fn migrate(env: &Env) -> Result<(), AnyError> {
    let invocation = Invocation {
        event: db_migrate::Request::Plain {},
        ends_at: None,
    };
    db_migrate::migrate(env.clone(), invocation).await?;
    Ok(())
}

async fn healthcheck(env: &Env) -> Result<(), AnyError> {
    let address = Config::from_env(env)?.own_address();
    let client = http_client::client()?
        .no_proxy()
        .timeout(PATIENCE)
        .build()?;
    let response = client
        .get(format!("http://{address}/healthz"))
        .send()
        .await?;
    response.error_for_status()?;
    Ok(())
}
