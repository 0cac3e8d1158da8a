//! Insights: results of the applications as staff read them.
//!
//! - `selection` parses what a client asks for: the insights of a page, or one insight.
//! - `card` takes the ready results of a page into a prompt and onto a card.
//! - `list` reads them. `history` reads earlier results of the same target.
//! - `refresh` queues a job for missing ones.

mod card;
mod feedback;
mod history;
mod list;
mod refresh;
mod selection;

pub(crate) use card::MAX_TEXT as MAX_RESULTS_CHARS;
pub use card::{PageResults, ReferenceCard};
pub use list::{Insight, State};
pub use refresh::{Refresh, Refreshed};
pub use selection::{Filters, Selection};

use crate::{
    governance::{
        apps::AppIds,
        auth::{Caller, Callers, JwtSecrets},
        feedback::Feedback,
    },
    insights::jobs::JobLimits,
    platform::{
        db::{self, DatabaseConfig, Db},
        env::{ConfigError, Env},
        error::Result,
        sqs::JobQueue,
    },
};

/// Reads and requests insights. Clones share one state.
#[derive(Clone)]
pub struct Insights {
    db: Db,
    app_ids: AppIds,
    /// Tokens that a job reserves for each call.
    reserved_tokens: i64,
    queue: JobQueue,
}

impl Insights {
    /// Does not connect to anything yet.
    pub fn new(db: Db, app_ids: AppIds, reserved_tokens: i64, queue: JobQueue) -> Self {
        Self {
            db,
            app_ids,
            reserved_tokens,
            queue,
        }
    }

    /// Builds everything that the function needs from the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<(Callers, Self), ConfigError> {
        let (database, secrets) =
            tokio::try_join!(DatabaseConfig::from_env(env), JwtSecrets::from_env(env))?;
        let db = db::connect_lazy(&database)?;
        let insights = Self::new(
            db.clone(),
            AppIds::from_env(env),
            JobLimits::reserved_tokens(env)?,
            JobQueue::from_env(env),
        );
        Ok((Callers::new(secrets, db), insights))
    }

    /// The selected insights that the caller may read, in one statement.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`] if the caller asks for one insight by name and may not read it.
    pub async fn list(&self, caller: &Caller, selection: &Selection) -> Result<Vec<Insight>> {
        let items = selection.readable_by(caller)?;
        list::list(&self.db, caller, &items, &self.app_ids).await
    }

    /// The last results of the target of an insight, newest first. Managers only.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`], and [`crate::Error::NotFound`], also for another site.
    pub async fn history(&self, caller: &Caller, id: i64) -> Result<Vec<Insight>> {
        history::history(&self.db, caller, id).await
    }

    /// Stores the caller's feedback on a result, replaces it, or removes it (`None`). Idempotent.
    ///
    /// # Errors
    /// [`crate::Error::Forbidden`], and [`crate::Error::NotFound`], also for another site.
    pub async fn set_feedback(
        &self,
        caller: &Caller,
        id: i64,
        feedback: Option<&Feedback>,
    ) -> Result<()> {
        feedback::set(&self.db, caller, id, feedback).await
    }

    /// Queues a job for the selected insights that are missing or expired, or for all of them if
    /// the request is forced.
    ///
    /// # Errors
    /// The refusal that applies. Then no job is queued.
    pub async fn refresh(&self, caller: &Caller, request: &Refresh) -> Result<Refreshed> {
        let reserved = self.reserved_tokens;
        let done = refresh::refresh(&self.db, caller, request, &self.app_ids, reserved).await?;
        if done.is_new {
            self.queue.notify_workers(1).await;
        }
        Ok(done)
    }
}
