//! A bot's reply to a message of a session. A job makes it, because no client waits for it.

mod store;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use tokio::time::Instant;

use self::store::Prepared;
use crate::{
    chat::session_or_history::Question,
    dashscope::{self, Answer, Call, DashScope, Spent},
    governance::{
        apps::{self, App, AppIds},
        runs::RunEnd,
    },
    insights::{
        apps::app1_chat,
        jobs::{
            self, Job, JobContext, JobLimits, MAX_REPLY_TRIES, PATIENCE, SessionReplyOutcome,
            StepError, Worker,
        },
    },
    moderation::{ExchangeVerdicts, Moderation, QuestionCheck},
    platform::{
        clock,
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        error::Result,
        metrics,
        sqs::JobQueue,
    },
};

/// The code of a blocked message or reply, as in the SQL functions.
const CONTENT_BLOCKED: &str = "content_blocked";

/// Longest delay of a reply whose run is refused, for example by a budget or an open circuit.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A worker for all jobs, including replies in sessions. It does not connect to anything yet.
pub fn worker(
    db: Db,
    dashscope: DashScope,
    app_ids: AppIds,
    limits: JobLimits,
    queue: JobQueue,
    moderation: Moderation,
) -> Worker {
    let context = JobContext {
        db,
        dashscope,
        app_ids,
        limits,
        queue,
    };
    Worker::new(context, Arc::new(SessionReplies { moderation }))
}

/// Builds the worker from the environment.
///
/// # Errors
/// Names the variable that is missing or cannot be read.
pub async fn worker_from_env(env: &Env) -> Result<Worker, ConfigError> {
    // Boxed, because the futures of the AWS SDK are large and used only once.
    let (database, (dashscope, app_ids)) = tokio::try_join!(
        Box::pin(DatabaseConfig::from_env(env)),
        Box::pin(apps::dashscope_from_env(env))
    )?;
    let db = db::connect_lazy(&database)?;
    let moderation = Box::pin(Moderation::from_env(env, &db)).await?;
    Ok(worker(
        db,
        dashscope,
        app_ids,
        JobLimits::from_env(env)?,
        JobQueue::from_env(env),
        moderation,
    ))
}

struct SessionReplies {
    moderation: Moderation,
}

impl jobs::SessionReplies for SessionReplies {
    fn reply<'a>(
        &'a self,
        context: &'a JobContext,
        job: &'a Job,
    ) -> BoxFuture<'a, Result<SessionReplyOutcome>> {
        reply(context, job, &self.moderation).boxed()
    }
}

async fn reply(
    context: &JobContext,
    job: &Job,
    moderation: &Moderation,
) -> Result<SessionReplyOutcome> {
    let mut verdicts = None;
    let error = match ask_bot(context, job, moderation, &mut verdicts).await {
        Ok(()) => return Ok(SessionReplyOutcome::Replied),
        Err(error) => error,
    };
    if should_retry(job, &error, clock::now()) {
        return Ok(SessionReplyOutcome::Later(error));
    }
    let (code, message) = error.reason().unwrap_or_default();
    store::give_up(&context.db, job, code, &message, verdicts.as_ref()).await?;
    tracing::warn!(job_id = job.id, error_code = code, "bot reply failed");
    Ok(SessionReplyOutcome::GaveUp)
}

/// Calls the bot's application once. The answer is stored together with the end of the job.
/// Moderation checks the message during the call, and the answer after it.
async fn ask_bot(
    context: &JobContext,
    job: &Job,
    moderation: &Moderation,
    verdicts: &mut Option<ExchangeVerdicts>,
) -> Result<(), StepError> {
    context.dashscope.prepare_connection();
    let mut prepared = store::begin(context, job).await?;
    let began = Instant::now();
    let (user_id, message) = (prepared.user_id, prepared.content.clone());
    let mut question = moderation
        .check_question(job.site_id, user_id, &message)
        .await;
    let ((answer, mut end, asked), ()) = future::join(
        call_dashscope(context, job, &mut prepared, began),
        QuestionCheck::finish(&mut question),
    )
    .await;
    let mut guard = moderation.guard(job.site_id, user_id);
    let mut is_blocked = question.as_ref().is_some_and(QuestionCheck::is_blocked);
    if let (false, Some(guard), Some(text)) = (is_blocked, &mut guard, &end.response) {
        is_blocked = guard.blocks(0, text).await;
    }
    *verdicts = ExchangeVerdicts::of(question.as_ref(), guard.as_deref());
    if is_blocked {
        end.response = None;
        end.doc_references.clear();
        end.fail(
            CONTENT_BLOCKED,
            "moderation blocked the message or its reply",
        );
    }
    end.latency_ms = clock::millis(began.elapsed());
    prepared.before.end_session(&mut end);
    end.prompt_version = Some(app1_chat::PROMPT_VERSION);
    let circuit = jobs::retry_storing(|| {
        store::finish(&context.db, job, prepared.run, &end, verdicts.as_ref())
    })
    .await?;
    end.report(App::Chat, prepared.run.reserved_tokens, circuit.as_deref());
    tracing::info!(
        job_id = job.id,
        run_id = prepared.run.id,
        app = App::Chat.name(),
        status = end.status,
        error_code = end.error_code,
        latency_ms = end.latency_ms,
        upstream_latency_ms = clock::millis(asked),
        "bot replied"
    );
    match (answer, end.error_code) {
        (None, _) => Err(StepError::Lost),
        _ if is_blocked => {
            let message = end.error_message.unwrap_or_default();
            Err(StepError::Permanent(CONTENT_BLOCKED, message))
        }
        (Some(Err(err)), _) => Err(jobs::step_error(&err)),
        (Some(Ok(_)), None) => Ok(()),
        (Some(Ok(_)), Some(code)) => {
            let message = end.error_message.unwrap_or_default();
            Err(StepError::Retryable(code, message))
        }
    }
}

type Answered = Option<Result<Answer, dashscope::Error>>;

/// Calls with the session, else with the history. If the application throttles, calls its fallback.
/// Returns the answer, the end of the run, and the duration of all calls. The answer is `None` if
/// the lease of the job was lost.
async fn call_dashscope(
    context: &JobContext,
    job: &Job,
    prepared: &mut Prepared,
    began: Instant,
) -> (Answered, RunEnd, Duration) {
    let mut asked = Duration::ZERO;
    // Usage and attempts of the calls that were repeated.
    let (mut spent, mut attempts) = (Spent::default(), 0);
    loop {
        let call = prepared.before.call(Question {
            application: &prepared.application,
            user_id: prepared.user_id,
            role: &prepared.role,
            nickname: &prepared.nickname,
            content: &prepared.content,
            page: None,
        });
        let asked_at = Instant::now();
        let answer = ask_once(context, job, &call, began).await;
        let took = asked_at.elapsed();
        asked += took;
        metrics::upstream(App::Chat.name(), took, failure(answer.as_ref()));
        if let Some(Err(err)) = &answer
            && prepared.must_repeat(&context.db, &call, err).await
        {
            spent.add(err.spent());
            attempts += err.details().attempts;
            continue;
        }
        let mut end = run_end(&answer);
        end.add_spent(spent);
        end.attempts += attempts;
        end.prompt = Some(call.prompt);
        return (answer, end, asked);
    }
}

async fn ask_once(context: &JobContext, job: &Job, call: &Call, began: Instant) -> Answered {
    tokio::select! {
        answer = context.dashscope.complete(call, began + PATIENCE) => Some(answer),
        () = jobs::lease_lost(context, job, None) => None,
    }
}

fn run_end(answer: &Answered) -> RunEnd {
    let mut end = match answer {
        Some(Ok(answer)) => RunEnd::answered(answer),
        Some(Err(err)) => RunEnd::failed(err),
        None => RunEnd::given_up(),
    };
    if matches!(&end.response, Some(text) if text.trim().is_empty()) {
        end.fail("upstream_error", "the answer has no text");
    }
    end
}

/// The failure to count in the metrics, if DashScope caused one. An expired session does not count,
/// because the call is repeated with the history.
fn failure(answer: Option<&Result<Answer, dashscope::Error>>) -> Option<&'static str> {
    match answer? {
        Ok(answer) => answer.text.trim().is_empty().then_some(metrics::EMPTY),
        Err(dashscope::Error::SessionExpired { .. }) => None,
        Err(err) => Some(err.code()),
    }
}

impl Prepared {
    /// True if the call must be repeated, without the session or at the fallback.
    async fn must_repeat(&mut self, db: &Db, call: &Call, err: &dashscope::Error) -> bool {
        let (before, run) = (&mut self.before, self.run);
        before.must_repeat(db, call, err).await
            || before
                .fall_back(db, run, &mut self.application, call, err)
                .await
    }
}

/// True if the job retries the reply. Otherwise a message without a reply ends the job.
fn should_retry(job: &Job, error: &StepError, now: DateTime<Utc>) -> bool {
    match error {
        StepError::NotBefore(at, _) => (*at - now).to_std().unwrap_or_default() <= LONGEST_WAIT,
        StepError::Retryable(..) => job.attempts < MAX_REPLY_TRIES,
        StepError::Permanent(..) => false,
        StepError::Lost | StepError::OutOfTime | StepError::Unknown(_) => true,
    }
}
