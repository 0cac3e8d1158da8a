//! `serve`: all functions on one port, until Ctrl-C.

use std::{path::Path, time::Duration};

use axum::{Router, routing::get};
use clap::Args;
use common::{
    governance::{apps::App, auth::JwtSecrets},
    platform::{db::Db, env::Env, time_limit::Shutdown, traces, version},
    web::AllowedOrigins,
};
use console::SessionRules;
use secrecy::{ExposeSecret as _, SecretString};
use server::{
    background::Background,
    gateway::{self, AppState},
    signals::Signals,
    state,
};
use tokio::net::TcpListener;

use crate::{
    cloud,
    command::{self, AnyError},
    data_dir, database, demo,
    emulator::Emulator,
    landing::{self, Landing, SignInCodes},
    postgres,
    robots::Robots,
    schedules,
    simulator::{self, Simulator},
    terminal,
};

/// Database connections of this process, which serves all functions.
pub(crate) const MAX_CONNECTIONS: u32 = 32;
/// How long running requests may still take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(3);

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Options {
    /// The port on 127.0.0.1; 0 selects a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Start with an empty database.
    #[arg(long)]
    fresh: bool,
    /// Use this database instead of a private PostgreSQL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Do not load the demo's chats, jobs and runs of the last 30 days into a new database.
    #[arg(long)]
    no_history: bool,
    /// Do not run the schedules (sweep, jobs, prewarm).
    #[arg(long)]
    no_schedules: bool,
    /// Run the real function binaries behind an emulated Lambda and API Gateway.
    #[arg(long)]
    lambda: bool,
}

impl Default for Options {
    fn default() -> Self {
        let parser = <command::Arguments as clap::Parser>::try_parse_from(["parlor", "serve"]);
        match parser.map(|arguments| arguments.command) {
            Ok(Some(command::Command::Serve(options))) => options,
            _ => Self {
                port: 9000,
                fresh: false,
                database_url: None,
                no_history: false,
                no_schedules: false,
                lambda: false,
            },
        }
    }
}

/// Serves until Ctrl-C. `home` is `--home`.
pub(crate) fn run(options: &Options, home: Option<&Path>, env: &Env) -> Result<(), AnyError> {
    let advice = format!(
        "a second Parlor needs its own port and its own data: serve --port {} --home DIRECTORY",
        options.port.max(9000).saturating_add(1)
    );
    // The port is bound first, so that a second process fails before it touches the database.
    let listener = std::net::TcpListener::bind(command::loopback(options.port))
        .map_err(|err| command::cannot_listen(options.port, &err, &advice))?;
    listener.set_nonblocking(true)?;
    let data_dir = data_dir::open(home)?;
    let secret = command::jwt_secret(home, env)?;
    let given = options.database_url.as_deref();
    let (url, cluster) = database::given_or_private(given, &data_dir, options.fresh, env).map_err(
        |err| match err.downcast_ref() {
            Some(postgres::Error::AlreadyRunning { .. }) => format!("{err}; {advice}").into(),
            _ => err,
        },
    )?;
    let place = Place {
        psql: match &cluster {
            Some(_) => url.expose_secret().to_owned(),
            None => database::without_password(&url),
        },
        data: match &cluster {
            Some(cluster) => format!(
                "{} (`serve --fresh` deletes it)",
                cluster.directory().display()
            ),
            None => database::name_of(&url),
        },
        program: command::own_command(home),
    };
    command::block_on(serve(options, env, listener, &secret, url, &place))
}

/// What the start prints about the database.
struct Place {
    /// The URL for `psql`.
    psql: String,
    data: String,
    /// How this program was started.
    program: String,
}

async fn serve(
    options: &Options,
    env: &Env,
    listener: std::net::TcpListener,
    secret: &SecretString,
    url: SecretString,
    place: &Place,
) -> Result<(), AnyError> {
    let listener = TcpListener::from_std(listener)?;
    let port = listener.local_addr()?.port();
    let db = database::prepare(&url, MAX_CONNECTIONS).await?;
    if !options.no_history {
        demo::load_history(&db).await?;
    }
    let (env, simulator) = with_upstream(env).await?;
    // Notifications reach only these stand-ins, which log them. Real functions have no such client.
    let robots = Robots::start().await?;
    let (router, workers) = if options.lambda {
        let emulator = cloud::start(&env, &url, secret).await?;
        (cloud::app(&emulator)?, Workers::Emulated(emulator))
    } else {
        let (state, background) = build_state(db.clone(), secret, &env, &robots).await?;
        let healthz = Router::new().route("/healthz", get(async || "ok"));
        let router = gateway::app(&state).merge(healthz);
        (router, Workers::Own(Box::new(background)))
    };

    let landing = Landing {
        db,
        secret: secret.clone(),
        session: SessionRules::local(AllowedOrigins::from_env(&env)?),
        codes: SignInCodes::default(),
        openapi: gateway::openapi(&command::idle_state()?).to_json()?.into(),
        is_simulated: simulator.is_some(),
        is_emulated: options.lambda,
        has_schedules: !options.no_schedules,
    };
    print_links(port, &landing.codes);
    print_start(port, place, simulator.is_some());
    tracing::info!(version = version::text(), "parlor started");
    traces::export_in_background();
    let router = router.merge(landing::router(landing));
    let served = tokio::select! {
        served = serve_until_interrupted(listener, router) => served,
        () = workers.drive(), if !options.no_schedules => Ok(()),
    };
    traces::flush().await;
    served
}

/// The state of the functions in this process. Notifications reach only the stand-ins.
async fn build_state(
    db: Db,
    secret: &SecretString,
    env: &Env,
    robots: &Robots,
) -> Result<(AppState, Background), AnyError> {
    let secrets = JwtSecrets::new(secret, None)?.into();
    let session = SessionRules::local(AllowedOrigins::from_env(env)?);
    Ok(state::build(env, db, secrets, robots.client.clone(), session).await?)
}

/// Where the background functions run.
enum Workers {
    /// In this process.
    Own(Box<Background>),
    /// As the real binaries.
    Emulated(Emulator),
}

impl Workers {
    async fn drive(&self) {
        match self {
            Self::Own(background) => background.drive(&Shutdown::default()).await,
            Self::Emulated(emulator) => schedules::drive(emulator).await,
        }
    }
}

/// Uses the real DashScope if an API key is set, otherwise starts a simulator.
pub(crate) async fn with_upstream(env: &Env) -> Result<(Env, Option<Simulator>), AnyError> {
    if env.text("DASHSCOPE_API_KEY").is_some() || env.text("DASHSCOPE_API_KEY_SECRET_ARN").is_some()
    {
        return Ok((env.clone(), None));
    }
    let simulator = Simulator::start(command::loopback(0), simulator::Options::laptop()).await?;
    let env = env
        .with("DASHSCOPE_API_KEY", "sk-simulator")
        .with("DASHSCOPE_BASE_URL", &simulator.base_url());
    let env = App::ALL
        .into_iter()
        .fold(env, |env, app| env.with(&app.variable(), app.name()));
    Ok((env, Some(simulator)))
}

/// Prints a link for each user who can sign in.
fn print_links(port: u16, codes: &SignInCodes) {
    for user in landing::users() {
        let (id, nickname, role) = (user.id, &user.nickname, user.role.name());
        let code = codes.make(id);
        terminal::print_line(format!(
            "{id} {nickname} {role}: http://127.0.0.1:{port}/console/code/{code}"
        ));
    }
    terminal::print_line(format!("All links: http://127.0.0.1:{port}/"));
}

fn print_start(port: u16, place: &Place, is_simulated: bool) {
    let Place {
        psql,
        data,
        program,
    } = place;
    let replies = if is_simulated {
        "simulated. To call DashScope, set DASHSCOPE_API_KEY and DASHSCOPE_APP_ID_…"
    } else {
        "from DashScope, with the key in DASHSCOPE_API_KEY"
    };
    terminal::print_line(format!(
        "Parlor serves on http://127.0.0.1:{port}\n\
         Replies are {replies}\n\
         Data is in {data}\n\
         Open it with: psql '{psql}'\n\
         Get a token with: {program} token --site 1 --role coach"
    ));
}

async fn serve_until_interrupted(listener: TcpListener, router: Router) -> Result<(), AnyError> {
    let interrupted = async || Signals::default().next().await;
    tokio::select! {
        served = gateway::serve(listener, router, interrupted()) => served?,
        // A stream can run for minutes. Its reply stays stored up to its last checkpoint.
        () = async { interrupted().await; tokio::time::sleep(GRACE).await } => {}
    }
    Ok(())
}
