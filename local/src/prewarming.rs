//! `prewarm`: makes every finance insight that is missing, and shows how it gets on.

use std::{path::Path, time::Duration};

use clap::Args;
use common::{
    chat::session_replies,
    governance::apps,
    insights::jobs::{self, Connector, JobLimits, Prewarmed, Worker},
    platform::{db::Db, env::Env, sqs::JobQueue},
};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use tokio::time::sleep;

use crate::{
    command::AnyError,
    console, database,
    serve::{self, MAX_CONNECTIONS},
};

/// How often the bar is drawn anew.
const LOOK: Duration = Duration::from_millis(200);

/// What to prewarm.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// One site instead of all that are active.
    #[arg(long, value_name = "ID")]
    site: Option<i64>,
    /// Say what is missing, and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// Use this database instead of this laptop's own, which nobody may be serving from.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

/// Prewarms until nothing is left that can be made today.
pub(crate) fn run(options: &Options, home: &Path, env: &Env) -> Result<(), AnyError> {
    let (url, _cluster) =
        database::given_or_private(options.database_url.as_deref(), home, false, env)?;
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
    console::say(format!(
        "{sites} active sites: {enqueued} filters {queued}, {valid} have a result, {under_way} are under way"
    ));
    if options.dry_run {
        return Ok(());
    }
    let (env, _simulator) = serve::with_upstream(env).await?;
    let (dashscope, app_ids) = apps::dashscope_from_env(&env).await?;
    let limits = JobLimits::from_env(&env)?;
    let queue = JobQueue::from_env(&env);
    let worker = session_replies::worker(db.clone(), dashscope, app_ids, limits, queue);
    let waiting = work(&db, &worker).await?;
    console::say(if waiting == 0 {
        "all that could be made is there".to_owned()
    } else {
        format!(
            "{waiting} wait for a later time: their site's budget is used up, or the service is not well"
        )
    });
    Ok(())
}

/// Works until none is due any more; answers how many wait.
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
            sleep(LOOK).await;
        }
    };
    let drive = async {
        loop {
            worker.run(None).await;
            sleep(LOOK).await;
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
    /// Under way, or to be within a minute.
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
