//! The facts and the ready results of the page on which a question is asked. Both are read while
//! the message is stored. The call waits for them 800 ms at most.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::time::timeout;

use super::ReplyContext;
use crate::{
    governance::auth::Caller,
    insights::{
        apps::app1_chat::PageContext,
        insight::{MAX_RESULTS_CHARS, PageResults, ReferenceCard},
        pages::PageRequest,
    },
    platform::error::Result,
};

/// Time limit for the facts, and for the results. After that the question is sent without them.
const PATIENCE: Duration = Duration::from_millis(800);

/// Length of a page's facts that the reservation assumes. They are still being read then.
const EXPECTED_FACTS_CHARS: usize = 2_000;

/// Length of the facts and results of a page that the reservation assumes.
pub(super) fn expected_chars(request: &PageRequest) -> usize {
    if PageResults::are_possible(request.page) {
        EXPECTED_FACTS_CHARS + MAX_RESULTS_CHARS
    } else {
        EXPECTED_FACTS_CHARS
    }
}

/// What is read of a page.
#[derive(Default)]
struct Read {
    facts: Option<String>,
    results: PageResults,
}

/// The facts and results of a page, possibly still being read.
pub(super) struct Page {
    name: Option<&'static str>,
    read: MaybeDone<BoxFuture<'static, Read>>,
}

impl Page {
    /// The queries start at the first `await` of `fetch_during` or `wait`. A page that the caller
    /// may not read is ignored.
    pub fn of(request: Option<&PageRequest>, context: &Arc<ReplyContext>, caller: &Caller) -> Self {
        let request = request.filter(|request| request.is_readable_by(caller));
        let Some(request) = request.cloned() else {
            let none: BoxFuture<_> = Box::pin(std::future::ready(Read::default()));
            return Self {
                name: None,
                read: maybe_done(none),
            };
        };
        let name = request.page.name();
        let (context, caller) = (Arc::clone(context), caller.clone());
        let read: BoxFuture<_> = Box::pin(async move {
            let facts = request.facts(&context.db, &caller);
            let results = PageResults::read(&context.db, &caller, &request, &context.app_ids);
            let (facts, results) = tokio::join!(
                in_time(name, "facts", facts),
                in_time(name, "results", results)
            );
            Read {
                facts,
                results: results.unwrap_or_default(),
            }
        });
        Self {
            name: Some(name),
            read: maybe_done(read),
        }
    }

    /// Runs `work` while the page is being read. Returns when `work` is done.
    pub async fn fetch_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let fetching = matches!(self.read, MaybeDone::Future(_));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = &mut self.read, if fetching => {}
            }
        }
    }

    /// Waits until the page is read or `PATIENCE` is over.
    pub async fn wait(&mut self) {
        if matches!(self.read, MaybeDone::Future(_)) {
            (&mut self.read).await;
        }
    }

    fn read(&self) -> Option<&Read> {
        match &self.read {
            MaybeDone::Done(read) => Some(read),
            MaybeDone::Future(_) | MaybeDone::Gone => None,
        }
    }

    /// The page with what has been read. `None` if nothing has.
    pub fn context(&self) -> Option<PageContext<'_>> {
        let read = self.read()?;
        if read.facts.is_none() && read.results.text.is_empty() {
            return None;
        }
        Some(PageContext {
            page: self.name?,
            facts: read.facts.as_deref(),
            results: &read.results.text,
        })
    }

    /// The card of the reply, if a result of the page is in the prompt.
    pub fn card(&self) -> Option<ReferenceCard> {
        self.read()?.results.card.clone()
    }

    /// True if the page was given but its facts are not available.
    pub fn is_missing(&self) -> bool {
        self.name.is_some() && self.read().is_none_or(|read| read.facts.is_none())
    }
}

/// The part `part` of a page. `None` if it could not be read in time.
async fn in_time<T>(
    page: &'static str,
    part: &'static str,
    read: impl Future<Output = Result<T>>,
) -> Option<T> {
    match timeout(PATIENCE, read).await {
        Ok(Ok(read)) => Some(read),
        Ok(Err(err)) => {
            tracing::warn!(page, part, cause = %err, "a part of the page could not be read");
            None
        }
        Err(_) => {
            tracing::warn!(page, part, "a part of the page timed out");
            None
        }
    }
}
