//! `prewarm`: generates all missing finance insights and shows the progress.

use std::{path::Path, time::Duration};

use clap::Args;
use common::{
    chat::session_replies,
    governance::apps,
    insights::jobs::{self, Connector, JobLimits, Prewarmed, Worker},
    moderation::Moderation,
    platform::{db::Db, env::Env, sqs::JobQueue},
};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use tokio::time::sleep;

use crate::{
    command::AnyError,
    database,
    serve::{self, MAX_CONNECTIONS},
    terminal,
};

/// How often the jobs are counted and the progress bar is redrawn.
const POLL: Duration = Duration::from_millis(200);

/// Options of `prewarm`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Prewarm this site instead of all active sites.
    #[arg(long, value_name = "ID")]
    site: Option<i64>,
    /// Only print how many insights are missing.
    #[arg(long)]
    dry_run: bool,
    /// Use this database instead of the private one. `serve` may be running on either.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

/// Prewarms until no job is due.
pub(crate) fn run(options: &Options, data_dir: &Path, env: &Env) -> Result<(), AnyError> {
    let (url, _cluster) =
        database::given_or_shared(options.database_url.as_deref(), data_dir, env)?;
    crate::command::block_on(prewarm(options, env, url))
}

async fn prewarm(options: &Options, env: &Env, url: SecretString) -> Result<(), AnyError> {
    let db = database::prepare(&url, MAX_CONNECTIONS).await?;
    let found = jobs::prewarm(&db, Connector::Command, options.site, options.dry_run).await?;
    let Prewarmed {
        sites,
        enqueued,
        valid,
        under_way,
    } = found;
    let queued = if options.dry_run {
        "would be queued"
    } else {
        "queued"
    };
    terminal::print_line(format!(
        "{sites} active sites: {enqueued} filters {queued}, {valid} have a valid result, \
         {under_way} are in progress"
    ));
    if options.dry_run {
        return Ok(());
    }
    let (env, _simulator) = serve::with_upstream(env).await?;
    let (dashscope, app_ids) = apps::dashscope_from_env(&env).await?;
    let limits = JobLimits::from_env(&env)?;
    let queue = JobQueue::from_env(&env);
    let worker = session_replies::worker(
        db.clone(),
        dashscope,
        app_ids,
        limits,
        queue,
        Moderation::from_env(&env, &db).await?,
    );
    let waiting = work(&db, &worker).await?;
    terminal::print_line(if waiting == 0 {
        "all missing insights were generated, except failed ones".to_owned()
    } else {
        format!(
            "{waiting} jobs wait for a later time: the budget of their site is used up, or \
             DashScope is unavailable"
        )
    });
    Ok(())
}

/// Runs jobs until none is due. Returns how many wait for a later time.
async fn work(db: &Db, worker: &Worker) -> Result<i64, AnyError> {
    let all = counted(db).await?.due;
    let bar = ProgressBar::new(u64::try_from(all)?).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {elapsed_precise} {msg}",
    )?);
    let watch = async {
        loop {
            let now = counted(db).await?;
            bar.set_position(u64::try_from(all - now.due - now.waiting)?);
            if now.failed > 0 {
                bar.set_message(format!("{} failed", now.failed));
            }
            if now.due == 0 {
                return Ok::<_, AnyError>(now.waiting);
            }
            sleep(POLL).await;
        }
    };
    let drive = async {
        loop {
            worker.run(None).await;
            sleep(POLL).await;
        }
    };
    tokio::select! {
        waiting = watch => {
            bar.finish();
            waiting
        }
        () = drive => Ok(0),
    }
}

struct Counted {
    /// Running, or to be run within a minute.
    due: i64,
    waiting: i64,
    /// In the last hour.
    failed: i64,
}

async fn counted(db: &Db) -> Result<Counted, sqlx::Error> {
    let (due, waiting, failed) = sqlx::query_as(
        "select count(*) filter (where status = 'running' or status = 'pending' and run_after <= now() + interval '1 minute'),
                count(*) filter (where status = 'pending' and run_after > now() + interval '1 minute'),
                count(*) filter (where status = 'failed' and finished_at > now() - interval '1 hour')
         from biz.ai_trigger_jobs where event_type = 'prewarm'",
    )
    .fetch_one(db)
    .await?;
    Ok(Counted {
        due,
        waiting,
        failed,
    })
}
