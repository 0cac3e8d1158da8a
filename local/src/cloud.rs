//! `serve --lambda`: the real function binaries behind an emulated Lambda and API Gateway.

use std::{path::Path, time::Duration};

use axum::{Router, routing::get};
use common::{governance::apps::App, platform::env::Env};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    command::{self, AnyError},
    emulator::{Emulator, FunctionSpec, Route, binaries},
    gateway,
};

/// As in `template.yaml`: memory of functions that users wait for, or that run many calls at once.
const MEMORY_MB: u32 = 512;
/// As in `template.yaml`: memory of background functions that mostly wait for PostgreSQL.
const SMALL: (u32, [&str; 5]) = (
    256,
    [
        "db-migrate",
        "notify",
        "prewarm",
        "sweep",
        "trigger-dispatch",
    ],
);
/// The function that `ChatCapacity` of the template moves to managed instances.
const MANAGED: &str = "chat-stream";
/// Most processes of one function at once.
const MAX_INSTANCES: usize = 10;
/// Variables that the functions get from this process. The template sets the same ones. The
/// functions also get each app's id.
const FORWARDED: &[&str] = &[
    "AI_AGREEMENT_URL",
    "AI_LABEL",
    "AI_MODELS",
    "AI_PROVIDER",
    "CHAT_MAX_STREAMS",
    "CHAT_RATE_PER_MINUTE",
    "CHAT_RESERVED_TOKENS",
    "COMPLAINT_DAYS",
    "COMPLAINT_EMAIL",
    "COMPLAINT_PHONE",
    "COMPLAINT_URL",
    "CORS_ALLOWED_ORIGINS",
    "DASHSCOPE_API_KEY",
    "DASHSCOPE_BASE_URL",
    "DASHSCOPE_FIRST_TOKEN_SECONDS",
    "DASHSCOPE_KEEP_ALIVE_SECONDS",
    "DASHSCOPE_MAX_ANSWER_BYTES",
    "DASHSCOPE_WORKSPACE",
    "DATABASE_APP_ROLE",
    "DATABASE_BEHIND_PROXY",
    "DATABASE_HOST",
    "DATABASE_MAX_CONNECTIONS",
    "DATABASE_NAME",
    "DATABASE_SSL_MODE",
    "JOB_CONCURRENCY",
    "JOB_QUEUE_URL",
    "JOB_RESERVED_TOKENS",
    "JWT_SECRET_PREVIOUS",
    "LOG_RETENTION_DAYS",
    "METRICS_NAMESPACE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PATH",
    "PGSSLROOTCERT",
    "RUN_LOG_RETENTION_DAYS",
    "RUST_LOG",
];

/// Name and timeout of each function, as in `template.yaml`.
pub const FUNCTIONS: [(&str, Duration); 17] = [
    ("admin-dashboard", Duration::from_secs(29)),
    ("admin-jobs", Duration::from_secs(29)),
    ("admin-runs", Duration::from_secs(300)),
    ("admin-settings", Duration::from_secs(29)),
    ("cache-invalidate", Duration::from_secs(29)),
    ("chat-history", Duration::from_secs(29)),
    ("chat-messages", Duration::from_secs(150)),
    ("chat-sessions", Duration::from_secs(29)),
    ("chat-stream", Duration::from_secs(320)),
    ("console", Duration::from_secs(320)),
    ("db-migrate", Duration::from_secs(300)),
    ("insights", Duration::from_secs(29)),
    ("job-worker", Duration::from_secs(900)),
    ("notify", Duration::from_secs(50)),
    ("prewarm", Duration::from_secs(300)),
    ("sweep", Duration::from_secs(30)),
    ("trigger-dispatch", Duration::from_secs(30)),
];

/// Builds the binaries and starts the emulator with them.
pub(crate) async fn start(
    env: &Env,
    database_url: &SecretString,
    jwt_secret: &SecretString,
) -> Result<Emulator, AnyError> {
    let directory = binaries::build().await?;
    Ok(Emulator::start(specs(
        &directory,
        env,
        database_url,
        jwt_secret,
    ))?)
}

/// The emulated API Gateway in front of the functions.
pub(crate) fn app(emulator: &Emulator) -> Result<Router, AnyError> {
    Ok(emulator
        .router(routes()?)?
        .merge(Router::new().route("/healthz", get(async || "ok"))))
}

/// The settings of each function, as in `template.yaml`.
pub fn specs(
    directory: &Path,
    env: &Env,
    database_url: &SecretString,
    jwt_secret: &SecretString,
) -> Vec<FunctionSpec> {
    let mut variables: Vec<(String, String)> = FORWARDED
        .iter()
        .map(|name| (*name).to_owned())
        .chain(App::ALL.map(App::variable))
        .filter_map(|name| {
            let value = env.text(&name)?.to_owned();
            Some((name, value))
        })
        .collect();
    variables.push((
        "DATABASE_URL".to_owned(),
        database_url.expose_secret().to_owned(),
    ));
    variables.push((
        "JWT_SECRET".to_owned(),
        jwt_secret.expose_secret().to_owned(),
    ));
    FUNCTIONS
        .into_iter()
        .map(|(name, timeout)| FunctionSpec {
            name: name.to_owned(),
            binary: directory.join(name),
            env: variables.clone(),
            timeout,
            memory_mb: memory_mb(name),
            max_instances: MAX_INSTANCES,
            max_concurrency: max_concurrency(name, env),
        })
        .collect()
}

/// Events at once in one process. Only `chat-stream` can have managed capacity in the template, so
/// `AWS_LAMBDA_MAX_CONCURRENCY` of this process applies only to it.
fn max_concurrency(function: &str, env: &Env) -> usize {
    let value = env.text("AWS_LAMBDA_MAX_CONCURRENCY");
    let value = value.filter(|_| function == MANAGED);
    value.and_then(|value| value.parse().ok()).unwrap_or(1)
}

fn memory_mb(function: &str) -> u32 {
    let (small, functions) = SMALL;
    if functions.contains(&function) {
        small
    } else {
        MEMORY_MB
    }
}

/// All routes of all functions, and the preflight of each path. All integrations are streaming;
/// see `lambda::serve`.
pub fn routes() -> Result<Vec<Route>, AnyError> {
    let state = command::idle_state()?;
    let mut routes = Vec::new();
    for (function, router) in gateway::functions(&state) {
        for (path, item) in &router.get_openapi().paths.paths {
            for method in gateway::methods(item).into_iter().chain(["OPTIONS"]) {
                routes.push(Route {
                    method: method.parse()?,
                    path: path.clone(),
                    function: function.to_owned(),
                    streaming: true,
                });
            }
        }
    }
    for (method, path) in CONSOLE {
        routes.push(Route {
            method: method.parse()?,
            path: path.to_owned(),
            function: "console".to_owned(),
            streaming: true,
        });
    }
    Ok(routes)
}

/// The routes of the console, which is no part of the API's document.
const CONSOLE: [(&str, &str); 6] = [
    ("GET", "/console"),
    ("GET", "/console/{proxy+}"),
    ("POST", "/console/{proxy+}"),
    ("PUT", "/console/{proxy+}"),
    ("PATCH", "/console/{proxy+}"),
    ("DELETE", "/console/{proxy+}"),
];
