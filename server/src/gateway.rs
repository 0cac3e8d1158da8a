//! The routers of all functions merged into one, as API Gateway serves them on one host.

use std::io;

use axum::{Router, serve::ListenerExt as _};
use common::{
    chat::{messages::SendLimits, replies::Replies},
    governance::{
        apps::AppIds,
        auth::{Callers, JwtSecrets},
        notice::Notice,
    },
    insights::{insight::Insights, jobs::PrewarmSchedule},
    moderation::Moderation,
    platform::{db::Db, public_client::PublicClient, secrets::RotatingSecret, sqs::JobQueue},
    web::{self, Cors},
};
use console::SessionRules;
use tokio::net::TcpListener;
use utoipa::openapi::{
    InfoBuilder, OpenApi, PathItem,
    security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

/// The state that the functions share.
#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct AppState {
    pub db: Db,
    pub secrets: RotatingSecret<JwtSecrets>,
    pub replies: Replies,
    pub insights: Insights,
    /// Wakes job workers.
    pub queue: JobQueue,
    /// Limits of messages to a bot.
    pub limits: SendLimits,
    /// Checks of the messages to a bot.
    pub moderation: Moderation,
    /// Resolves the hosts of notification channels.
    pub client: PublicClient,
    /// Application ids of the environment.
    pub ids: AppIds,
    /// What is published about the AI.
    pub notice: Notice,
    /// When all sites are prewarmed, for the desk.
    pub schedule: PrewarmSchedule,
    pub cors: Cors,
    /// Cookies of the console.
    pub session: SessionRules,
}

/// Name and router of each function.
pub fn functions(state: &AppState) -> Vec<(&'static str, OpenApiRouter)> {
    let AppState {
        db,
        secrets,
        replies,
        insights,
        queue,
        limits,
        moderation,
        client,
        ids,
        notice,
        schedule,
        cors: _,
        session,
    } = state.clone();
    let callers = Callers::new(secrets, db.clone());
    let console = console::router(console::Parts {
        db: db.clone(),
        callers: callers.clone(),
        replies: replies.clone(),
        insights: insights.clone(),
        queue: queue.clone(),
        client: client.clone(),
        ids: ids.clone(),
        notice: notice.clone(),
        schedule: schedule.clone(),
        session,
    });
    vec![
        (
            "admin-dashboard",
            admin_dashboard::router(db.clone(), callers.clone()),
        ),
        (
            "admin-jobs",
            admin_jobs::router(db.clone(), callers.clone(), queue.clone(), schedule),
        ),
        (
            "admin-runs",
            admin_runs::router(db.clone(), callers.clone(), notice.label.clone()),
        ),
        (
            "admin-settings",
            admin_settings::router(db.clone(), callers.clone(), ids, client),
        ),
        (
            "cache-invalidate",
            cache_invalidate::router(db.clone(), callers.clone()),
        ),
        (
            "chat-history",
            chat_history::router(db.clone(), callers.clone(), notice.clone()),
        ),
        (
            "chat-messages",
            chat_messages::router(db.clone(), callers.clone(), replies.clone()),
        ),
        (
            "chat-sessions",
            chat_sessions::router(db, callers.clone(), queue, limits, moderation),
        ),
        (
            "chat-stream",
            chat_stream::router(callers.clone(), replies, notice.label.clone()),
        ),
        ("console", console),
        ("insights", insights::router(callers, insights)),
    ]
}

/// The routes of all functions.
pub fn app(state: &AppState) -> Router {
    let all = functions(state)
        .into_iter()
        .fold(OpenApiRouter::new(), |all, (_, router)| all.merge(router));
    lambda::app(all, &state.cors)
}

/// Serves these routes until `stop`, and then ends the requests in progress.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // With Nagle's algorithm, a token waits up to 40 ms for the client's acknowledgement.
    let listener = listener.tap_io(|connection| {
        connection.set_nodelay(true).ok();
    });
    // Without `into_make_service`, each connection copies all routes, which takes 75 KiB.
    axum::serve(listener, routes.into_make_service())
        .with_graceful_shutdown(stop)
        .await
}

/// The OpenAPI document of all routes.
pub fn openapi(state: &AppState) -> OpenApi {
    let all = functions(state)
        .into_iter()
        .fold(OpenApiRouter::new(), |all, (_, router)| all.merge(router));
    let mut document = all.into_openapi();
    document.info = InfoBuilder::new()
        .title("Parlor")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "AI chat for the staff of multi-store businesses, and its operations desk.",
        ))
        .license(Some(
            utoipa::openapi::LicenseBuilder::new().name("MIT").build(),
        ))
        .build();
    let components = document.components.get_or_insert_default();
    for (name, schema) in web::error_schemas() {
        components.schemas.insert(name.into_owned(), schema);
    }
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    document
}

/// The methods that the document has for a path.
pub fn methods(item: &PathItem) -> Vec<&'static str> {
    let all = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter()
        .filter(|(_, operation)| operation.is_some())
        .map(|(method, _)| method)
        .collect()
}
