//! The facts of the page on which a question is asked. They are read while the message is stored.
//! The call waits for them 800 ms at most.

use std::time::Duration;

use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::time::timeout;

use crate::{
    governance::auth::Caller,
    insights::{apps::app1_chat::PageFacts, pages::PageRequest},
    platform::db::Db,
};

/// Time limit for the facts. After that the question is sent without them.
const PATIENCE: Duration = Duration::from_millis(800);

/// Length of a page's facts that the reservation assumes. They are still being read then.
pub(super) const EXPECTED_FACTS_CHARS: i64 = 2_000;

/// The facts of a page, possibly still being read.
pub(super) struct Page {
    name: Option<&'static str>,
    facts: MaybeDone<BoxFuture<'static, Option<String>>>,
}

impl Page {
    /// The query starts at the first `await` of `fetch_during` or `wait`. A page that the caller
    /// may not read is ignored.
    pub fn of(request: Option<&PageRequest>, db: &Db, caller: &Caller) -> Self {
        let request = request.filter(|request| request.is_readable_by(caller));
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
                    tracing::warn!(page = name, cause = %err, "page facts could not be read");
                    None
                }
                Err(_) => {
                    tracing::warn!(page = name, "page facts timed out");
                    None
                }
            }
        });
        Self {
            name: Some(name),
            facts: maybe_done(fetch),
        }
    }

    /// Runs `work` while the facts are being read. Returns when `work` is done.
    pub async fn fetch_during<T>(&mut self, work: impl Future<Output = T>) -> T {
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

    /// Waits until the facts are read or `PATIENCE` is over.
    pub async fn wait(&mut self) {
        if matches!(self.facts, MaybeDone::Future(_)) {
            (&mut self.facts).await;
        }
    }

    /// The facts, if they have been read.
    pub fn facts(&self) -> Option<PageFacts<'_>> {
        let MaybeDone::Done(Some(facts)) = &self.facts else {
            return None;
        };
        Some(PageFacts {
            page: self.name?,
            facts,
        })
    }

    /// True if the page was given but its facts are not available.
    pub fn is_missing(&self) -> bool {
        self.name.is_some() && self.facts().is_none()
    }
}
