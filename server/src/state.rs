//! What all functions of one process share.

use common::{
    chat::{
        messages::SendLimits,
        replies::{ChatLimits, Replies},
        session_replies,
    },
    governance::{apps, auth::JwtSecrets, notice::Notice, runs::Retention},
    insights::{
        insight::Insights,
        jobs::{JobLimits, PrewarmSchedule},
    },
    moderation::Moderation,
    platform::{
        db::Db,
        env::{ConfigError, Env},
        public_client::PublicClient,
        secrets::RotatingSecret,
        sqs::JobQueue,
    },
    web::Cors,
};
use console::SessionRules;

use crate::{background::Background, gateway::AppState};

/// Builds the state of the routers and of the background work from the environment.
///
/// # Errors
/// Names the variable that is missing or not valid.
pub async fn build(
    env: &Env,
    db: Db,
    secrets: RotatingSecret<JwtSecrets>,
    client: PublicClient,
    session: SessionRules,
) -> Result<(AppState, Background), ConfigError> {
    let (dashscope, ids) = apps::dashscope_from_env(env).await?;
    let queue = JobQueue::from_env(env);
    let moderation = Moderation::from_env(env, &db).await?;
    let schedule = PrewarmSchedule::from_env(env)?;
    let worker = session_replies::worker(
        db.clone(),
        dashscope.clone(),
        ids.clone(),
        JobLimits::from_env(env)?,
        queue.clone(),
        moderation.clone(),
    );
    let background = Background {
        sweep: sweep::AppState {
            db: db.clone(),
            retention: Retention::from_env(env)?,
        },
        notify: notify::AppState {
            db: db.clone(),
            client: client.clone(),
        },
        prewarm: prewarm::AppState {
            db: db.clone(),
            queue: queue.clone(),
        },
        schedule: schedule.clone(),
        worker,
    };
    let state = AppState {
        secrets,
        replies: Replies::new(
            db.clone(),
            dashscope,
            ids.clone(),
            ChatLimits::from_env(env)?,
            moderation.clone(),
        ),
        insights: Insights::new(
            db.clone(),
            ids.clone(),
            JobLimits::reserved_tokens(env)?,
            queue.clone(),
        ),
        limits: SendLimits::from_env(env)?,
        notice: Notice::from_env(env)?,
        cors: Cors::from_env(env)?,
        db,
        queue,
        moderation,
        client,
        ids,
        schedule,
        session,
    };
    Ok((state, background))
}
