//! The reply of a bot to a message of a session: asked for by a job, since nobody holds a connection for it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{FutureExt as _, future::BoxFuture};
use sqlx::types::Json;
use tokio::time::Instant;

use crate::{
    dashscope::{self, Answer, Call, DashScope, Usage},
    governance::{
        apps::{self, App, AppIds},
        runs::Ended,
    },
    insights::{
        apps::app1_chat::{self, Turn},
        jobs::{
            self, Job, JobContext, JobLimits, LEASE, PATIENCE, SessionReplyOutcome, StepError,
            Worker,
        },
    },
    platform::{
        clock,
        db::{self, DatabaseConfig, Db, StatementTimeout},
        env::{ConfigError, Env},
        error::Result,
        metrics,
        request_context::RequestContext,
        sqs::JobQueue,
    },
};

/// Tries of a reply: somebody waits for it.
const TRIES: i32 = 3;
/// The longest that a reply is put off because its app may not be asked.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A worker for all jobs, those of sessions included. It connects to nothing yet.
pub fn worker(
    db: Db,
    dashscope: DashScope,
    app_ids: AppIds,
    limits: JobLimits,
    queue: JobQueue,
) -> Worker {
    let context = JobContext {
        db,
        dashscope,
        app_ids,
        limits,
        queue,
    };
    Worker::new(context, Arc::new(SessionReplies))
}

/// The same, from the environment.
///
/// # Errors
/// Names the variable that is missing or cannot be read.
pub async fn worker_from_env(env: &Env) -> Result<Worker, ConfigError> {
    // Boxed, for the SDK's futures are large and are needed once.
    let (database, (dashscope, app_ids)) = tokio::try_join!(
        Box::pin(DatabaseConfig::from_env(env)),
        Box::pin(apps::dashscope_from_env(env))
    )?;
    Ok(worker(
        db::connect_lazy(&database)?,
        dashscope,
        app_ids,
        JobLimits::from_env(env)?,
        JobQueue::from_env(env),
    ))
}

struct SessionReplies;

impl jobs::SessionReplies for SessionReplies {
    fn reply<'a>(
        &'a self,
        context: &'a JobContext,
        job: &'a Job,
    ) -> BoxFuture<'a, Result<SessionReplyOutcome>> {
        reply(context, job).boxed()
    }
}

async fn reply(context: &JobContext, job: &Job) -> Result<SessionReplyOutcome> {
    let error = match make(context, job).await {
        Ok(()) => return Ok(SessionReplyOutcome::Replied),
        Err(error) => error,
    };
    if is_tried_again(job, &error, clock::now()) {
        return Ok(SessionReplyOutcome::Later(error));
    }
    let (code, message) = error.reason().unwrap_or_default();
    give_up(&context.db, job, code, &message).await?;
    tracing::warn!(job_id = job.id, error_code = code, "a bot could not reply");
    Ok(SessionReplyOutcome::GaveUp)
}

/// What the bot is asked.
struct Question {
    user_id: i64,
    nickname: String,
    role: String,
    content: String,
    app_id: String,
    session_id: Option<String>,
    history: Vec<Turn>,
    run_id: i64,
    run_at: DateTime<Utc>,
}

/// Has the bot answer, once: what was answered is stored with the end of the job.
async fn make(context: &JobContext, job: &Job) -> Result<(), StepError> {
    let question = begin(context, job).await?;
    let began = Instant::now();
    // On a call that told that the session is gone.
    let (mut spent, mut attempts) = (None, 0);
    let mut asked = Duration::ZERO;
    let mut session_id = question.session_id.clone();
    let mut session_lost = false;
    let (answer, prompt) = loop {
        // One of the two, as in a chat: else the context is paid for twice.
        let history = match session_id {
            Some(_) => &[][..],
            None => &question.history,
        };
        let call = Call {
            app_id: question.app_id.clone(),
            prompt: app1_chat::prompt(None, history, &question.content),
            session_id: session_id.take(),
            biz_params: Some(app1_chat::biz_params(
                question.user_id,
                &question.role,
                &question.nickname,
            )),
            trace: RequestContext::current().trace_value(),
        };
        let asked_at = Instant::now();
        let answer = tokio::select! {
            answer = context.dashscope.complete(&call, began + PATIENCE) => Some(answer),
            () = jobs::lease_lost(context, job, None) => None,
        };
        let took = asked_at.elapsed();
        asked += took;
        metrics::upstream(App::Chat.name(), took, failure(answer.as_ref()));
        match answer {
            Some(Err(dashscope::Error::SessionExpired { details }))
                if call.session_id.is_some() =>
            {
                session_lost = true;
                (spent, attempts) = (details.usage, details.attempts);
            }
            answer => break (answer, call.prompt),
        }
    };
    let mut ended = match &answer {
        Some(Ok(answer)) => Ended::answered(answer),
        Some(Err(err)) => Ended::failed(err),
        None => Ended::given_up(),
    };
    if matches!(&ended.response, Some(text) if text.trim().is_empty()) {
        ended.status = "failed";
        ended.error = Some(("upstream_error", "the answer has no text".to_owned()));
    }
    ended.usage = Usage::sum(spent, ended.usage);
    ended.attempts += attempts;
    ended.latency_ms = clock::millis(began.elapsed());
    jobs::retry_storing(|| finish(&context.db, job, &question, &prompt, &ended, session_lost))
        .await
        .map(|circuit| metrics::circuit(App::Chat.name(), circuit.as_deref()))?;
    metrics::tokens(
        App::Chat.name(),
        ended.charged(context.limits.reserved_tokens),
    );
    tracing::info!(
        job_id = job.id,
        run_id = question.run_id,
        app = App::Chat.name(),
        status = ended.status,
        error_code = ended.error.as_ref().map(|error| error.0),
        latency_ms = ended.latency_ms,
        upstream_latency_ms = clock::millis(asked),
        "bot replied"
    );
    match (answer, ended.error) {
        (None, _) => Err(StepError::Lost),
        (Some(Err(err)), _) => Err(jobs::step_error(&err)),
        (Some(Ok(_)), Some((code, message))) => Err(StepError::Broken(code, message)),
        (Some(Ok(_)), None) => Ok(()),
    }
}

/// How DashScope failed a call, if it did. A session that it has forgotten is no failure, for then it is asked once more.
fn failure(answer: Option<&Result<Answer, dashscope::Error>>) -> Option<&'static str> {
    match answer? {
        Ok(answer) => answer.text.trim().is_empty().then_some(metrics::EMPTY),
        Err(dashscope::Error::SessionExpired { .. }) => None,
        Err(err) => Some(err.code()),
    }
}

/// Whether a reply that is stuck is tried again; else it is given up, and says so.
fn is_tried_again(job: &Job, error: &StepError, now: DateTime<Utc>) -> bool {
    match error {
        StepError::NotBefore(at, _) => (*at - now).to_std().unwrap_or_default() <= LONGEST_WAIT,
        StepError::Broken(..) => job.attempts < TRIES,
        StepError::Hopeless(..) => false,
        StepError::Lost | StepError::OutOfTime | StepError::Unsure(_) => true,
    }
}

async fn begin(context: &JobContext, job: &Job) -> Result<Question, StepError> {
    let begun = async {
        let (mut connection, patience) = context.db.acquire_patiently().await?;
        sqlx::query!(
            r#"
        select outcome as "outcome!", user_id, nickname, role, content, app_id, session_id, history as "history: Json<Vec<Turn>>",
               run_id, run_at, retry_at
        from biz.begin_session_reply($1, $2, $3, $4, $5, $6)
        "#,
            job.site_id,
            job.id,
            job.fence,
            context.limits.reserved_tokens,
            LEASE.as_secs_f64(),
            patience,
        )
        .fetch_one(&mut *connection)
        .await
    };
    let row = begun
        .with_statement_timeout()
        .await
        .map_err(StepError::Unsure)?;
    let refused = || format!("{} may not be asked", App::Chat.name());
    match (&*row.outcome, row.retry_at) {
        ("running", _) => {}
        ("lost", _) => return Err(StepError::Lost),
        ("agent_gone", _) => {
            let message = "the bot's agent is gone".to_owned();
            return Err(StepError::Hopeless("agent_gone", message));
        }
        ("budget_exceeded", Some(at)) => return Err(StepError::NotBefore(at, "budget_exceeded")),
        ("circuit_open", Some(at)) => return Err(StepError::NotBefore(at, "circuit_open")),
        ("busy", Some(at)) => return Err(StepError::NotBefore(at, "busy")),
        _ => return Err(StepError::Hopeless("internal", refused())),
    }
    let (Some(run_id), Some(run_at), Some(user_id)) = (row.run_id, row.run_at, row.user_id) else {
        return Err(StepError::Hopeless("internal", refused()));
    };
    Ok(Question {
        user_id,
        nickname: row.nickname.unwrap_or_default(),
        role: row.role.unwrap_or_default(),
        content: row.content.unwrap_or_default(),
        app_id: row.app_id.unwrap_or_default(),
        session_id: row.session_id,
        history: row.history.map(|history| history.0).unwrap_or_default(),
        run_id,
        run_at,
    })
}

/// Settles the run and, where there is an answer, stores it and ends the job. Safe to repeat.
async fn finish(
    db: &Db,
    job: &Job,
    question: &Question,
    prompt: &str,
    ended: &Ended,
    session_lost: bool,
) -> Result<Option<String>> {
    let error = ended.error.as_ref();
    sqlx::query_scalar!(
        r#"
        select circuit
        from biz.finish_session_reply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
        "#,
        job.site_id,
        job.id,
        job.fence,
        question.run_id,
        question.run_at,
        ended.status,
        prompt,
        app1_chat::PROMPT_VERSION,
        ended.response,
        ended.usage.map(|usage| usage.input_tokens),
        ended.usage.map(|usage| usage.output_tokens),
        ended.charge_unknown,
        ended.session_id,
        session_lost,
        ended.latency_ms,
        i32::try_from(ended.attempts).unwrap_or(i32::MAX),
        ended.request_id,
        error.map(|error| error.0),
        error.map(|error| &*error.1),
        ended.circuit,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}

/// Ends the job with a message that says that there is no reply. False where the job is lost.
async fn give_up(db: &Db, job: &Job, code: &str, message: &str) -> Result<bool> {
    let ended = sqlx::query_scalar!(
        r#"
        select biz.end_session_reply($1, $2, $3, 'failed', biz.no_reply(), null, null, false, $4, $5) as "ended!"
        "#,
        job.site_id,
        job.id,
        job.fence,
        code,
        message,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    Ok(ended)
}
