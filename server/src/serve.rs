//! Serves until a signal, and then ends in an orderly way.
//!
//! After the first SIGTERM or SIGINT, no connection is accepted and no job is started. Requests and
//! jobs in progress have `SHUTDOWN_SECONDS`. Then replies that are not complete end as
//! `interrupted`, with all their text. A second signal ends the process at once.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use common::{
    chat::replies::DEADLINE_MARGIN,
    governance::auth::JwtSecrets,
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        public_client::PublicClient,
        time_limit::Shutdown,
        version,
    },
    web::AllowedOrigins,
};
use console::SessionRules;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until},
};

use crate::{
    background::Background, config::Config, gateway, health, instruments::Instruments, requests,
    signals::Signals, state,
};

/// Why the server cannot start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("connections cannot be served")]
    Serve(#[source] io::Error),
}

/// Serves until a signal.
pub(crate) async fn run(
    env: &Env,
    config: &Config,
    instruments: Instruments,
) -> Result<(), ServeError> {
    let mut signals = Signals::default();
    let listener = listen(config.address)?;
    let metrics_listener = listen(config.metrics)?;
    let shutdown = Shutdown::default();
    let db = db::connect_lazy(&DatabaseConfig::from_env(env).await?)?;
    let secrets = JwtSecrets::from_env(env).await?;
    let session = SessionRules::deployed(AllowedOrigins::from_env(env)?);
    let client = PublicClient::default();
    let (state, background) =
        Box::pin(state::build(env, db.clone(), secrets, client, session)).await?;
    let counted = (instruments.clone(), shutdown.clone());
    let router = gateway::app(&state)
        .layer(middleware::from_fn_with_state(counted, requests::count))
        .merge(health::router(db.clone()));
    drop(state);
    report_start(&listener, &metrics_listener);

    let work = async {
        let background = async {
            if config.has_background {
                Background::drive(&background, &shutdown).await;
            }
        };
        let stop = shutdown.clone();
        let serving = gateway::serve(listener, router, async move { stop.announced().await });
        let (served, ()) = tokio::join!(serving, background);
        // Replies whose clients have left.
        shutdown.work_done().await;
        served.map_err(ServeError::Serve)
    };
    let end = async {
        signals.next().await;
        let at = Instant::now() + config.grace + DEADLINE_MARGIN;
        tracing::info!(seconds = config.grace.as_secs(), "shutdown begins");
        shutdown.announce(at);
        tokio::select! {
            () = sleep_until(at) => {}
            () = signals.next() => {}
        }
        tracing::warn!("shutdown aborts work in progress");
    };
    tokio::select! {
        served = work => served?,
        () = end => {}
        served = serve_metrics(metrics_listener, instruments, db) => served?,
    }
    tracing::info!("server stopped");
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = StdListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    listener.map_err(|err| ServeError::Listen(address, err))
}

fn report_start(listener: &TcpListener, metrics: &TcpListener) {
    let address = |listener: &TcpListener| listener.local_addr().ok().map(|at| at.to_string());
    tracing::info!(
        version = version::NUMBER,
        commit = version::commit(),
        address = address(listener),
        metrics_address = address(metrics),
        "server started"
    );
}

async fn serve_metrics(
    listener: TcpListener,
    instruments: Instruments,
    db: Db,
) -> Result<(), ServeError> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .with_state((instruments, db));
    axum::serve(listener, router)
        .await
        .map_err(ServeError::Serve)
}

async fn metrics(State((instruments, db)): State<(Instruments, Db)>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match instruments.render(&db) {
        Ok(text) => ([(CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
