//! What the page shows from which a question is asked: fetched while the message is being stored, and
//! waited for a moment only.

use std::time::Duration;

use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::time::timeout;

use crate::{
    governance::auth::Caller,
    insights::{apps::app1_chat::PageFacts, pages::PageRequest},
    platform::db::Db,
};

/// Facts that take longer are done without.
const PATIENCE: Duration = Duration::from_millis(800);

/// A page's facts on their way.
pub(super) struct Page {
    name: Option<&'static str>,
    facts: MaybeDone<BoxFuture<'static, Option<String>>>,
}

impl Page {
    /// Begins to fetch when it is first waited for.
    pub fn of(request: Option<&PageRequest>, db: &Db, caller: &Caller) -> Self {
        let Some(request) = request.cloned() else {
            let none: BoxFuture<_> = Box::pin(std::future::ready(None));
            return Self {
                name: None,
                facts: maybe_done(none),
            };
        };
        let name = request.page.name();
        let (db, caller) = (db.clone(), caller.clone());
        let fetch: BoxFuture<_> = Box::pin(async move {
            match timeout(PATIENCE, request.facts(&db, &caller)).await {
                Ok(Ok(facts)) => Some(facts),
                Ok(Err(err)) => {
                    tracing::warn!(page = name, cause = %err, "no facts of the page");
                    None
                }
                Err(_) => {
                    tracing::warn!(page = name, "the facts of the page took too long");
                    None
                }
            }
        });
        Self {
            name: Some(name),
            facts: maybe_done(fetch),
        }
    }

    /// Does `work`, and fetches meanwhile; does not wait for the facts when the work is done.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let fetching = matches!(self.facts, MaybeDone::Future(_));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = &mut self.facts, if fetching => {}
            }
        }
    }

    /// Waits for the facts, no longer than their patience lasts.
    pub async fn fetched(&mut self) {
        if matches!(self.facts, MaybeDone::Future(_)) {
            (&mut self.facts).await;
        }
    }

    /// What was fetched.
    pub fn facts(&self) -> Option<PageFacts<'_>> {
        let MaybeDone::Done(Some(facts)) = &self.facts else {
            return None;
        };
        Some(PageFacts {
            page: self.name?,
            facts,
        })
    }

    /// Whether facts were asked for and not had.
    pub fn is_missing(&self) -> bool {
        self.name.is_some() && self.facts().is_none()
    }
}
