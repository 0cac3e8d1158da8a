//! Makes a reply: calls DashScope, passes the text on, stores it.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{
    DEADLINE_MARGIN, Event, Failure, FinishReason, ReplyContext, State,
    begin::PreparedReply,
    channel::Sender,
    checkpoint_writer::CheckpointWriter,
    driver::{self, Driver},
    finish::{Finished, ReplyEnd, finish},
    outcome::Outcome,
    page::Page,
    progress::ProgressEvents,
};
use crate::{
    chat::session_or_history::Question,
    dashscope::{self, AnswerStream, Call, Spent},
    governance::{apps::App, auth::Caller, runs::RunEnd},
    insights::apps::app1_chat,
    moderation::{ExchangeVerdicts, QuestionCheck},
    platform::{
        clock, db,
        error::{Error, Result},
        metrics,
        request_context::{self, RequestContext},
        time_limit::TimeLimit,
    },
};

/// Begins a reply in a task of its own. If the client disconnects meanwhile, the reply must still
/// be made, because the message may already be stored.
pub(super) async fn run_detached<T: Send + 'static>(
    begin: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the request awaits it, unless the client disconnects and the request is dropped"
    )]
    let task = tokio::spawn(request_context::in_current_context(begin));
    task.await.map_err(|err| {
        Error::Internal(
            "the task that begins a reply failed".into(),
            Some(err.into()),
        )
    })?
}

/// Starts to make a reply.
pub(super) fn start(
    context: Arc<ReplyContext>,
    caller: Caller,
    page: Page,
    prepared: PreparedReply,
    client: Sender,
    until: TimeLimit,
) -> Driver {
    let guard = context.moderation.guard(caller.site_id, caller.user_id);
    let writer = CheckpointWriter::new(
        context.db.clone(),
        caller.site_id,
        prepared.message_id,
        guard,
    );
    let relay = Relay {
        context,
        caller,
        page,
        prepared,
        question: None,
        writer,
        client,
        progress: ProgressEvents::new(),
        until,
        end: RunEnd::default(),
        finish_reason: None,
        upstream_time: None,
    };
    driver::start(relay.run())
}

struct Relay {
    context: Arc<ReplyContext>,
    caller: Caller,
    page: Page,
    prepared: PreparedReply,
    /// The check of the question, if moderation is configured.
    question: Option<QuestionCheck>,
    writer: CheckpointWriter,
    client: Sender,
    progress: ProgressEvents,
    until: TimeLimit,
    /// The end of the run, filled step by step.
    end: RunEnd,
    /// Why the answer ended, if it ended by itself.
    finish_reason: Option<FinishReason>,
    /// Duration of all DashScope calls together. `None` if there was no call.
    upstream_time: Option<Duration>,
}

impl Relay {
    async fn run(mut self) {
        let began = Instant::now();
        let mut outcome = self.call_dashscope(began).await;
        if let Outcome::Lost = outcome {
            tracing::warn!(
                message_id = self.prepared.message_id,
                "another session ended the reply"
            );
            return;
        }
        if self.writer.is_rest_blocked().await {
            outcome = Outcome::Blocked;
            self.finish_reason = None;
        }
        self.finish(&outcome, began.elapsed()).await;
    }

    async fn call_dashscope(&mut self, began: Instant) -> Outcome {
        self.page.wait().await;
        let Caller {
            site_id, user_id, ..
        } = self.caller;
        let moderation = &self.context.moderation;
        self.question = moderation
            .check_question(site_id, user_id, &self.prepared.content)
            .await;
        if self
            .question
            .as_ref()
            .is_some_and(QuestionCheck::is_blocked)
        {
            return Outcome::Blocked;
        }
        loop {
            let call = self.prepared.before.call(Question {
                application: &self.prepared.application,
                user_id: self.caller.user_id,
                role: self.caller.role.name(),
                nickname: &self.caller.nickname,
                content: &self.prepared.content,
                page: self.page.context(),
            });
            let outcome = self.ask(&call, began).await;
            let repeat = match &outcome {
                Outcome::Failed(err) => self.must_repeat(&call, err).await,
                _ => false,
            };
            self.end.prompt = Some(call.prompt);
            if !repeat {
                return outcome;
            }
        }
    }

    /// True if the call must be repeated, without the session or at the fallback.
    async fn must_repeat(&mut self, call: &Call, err: &dashscope::Error) -> bool {
        let db = &self.context.db;
        let PreparedReply {
            before,
            run,
            application,
            ..
        } = &mut self.prepared;
        before.must_repeat(db, call, err).await
            || (!self.writer.has_text() && before.fall_back(db, *run, application, call, err).await)
    }

    /// The limit as known now. It may still move closer.
    fn until_now(&self) -> Instant {
        self.until.at().unwrap_or_else(Instant::now)
    }

    async fn ask(&mut self, call: &Call, began: Instant) -> Outcome {
        let asked_at = Instant::now();
        let outcome = self.call(call, began).await;
        let took = asked_at.elapsed();
        *self.upstream_time.get_or_insert_default() += took;
        RequestContext::current().add_upstream_time(took);
        metrics::upstream(App::Chat.name(), took, outcome.upstream_failure());
        outcome
    }

    async fn call(&mut self, call: &Call, began: Instant) -> Outcome {
        let dashscope = &self.context.dashscope;
        let dashscope = dashscope.reporting_to(self.progress.sender());
        let mut opening = pin!(dashscope.stream(call, self.until_now()));
        let mut deadline = pin!(self.until.passed());
        let mut stream = loop {
            tokio::select! {
                stream = &mut opening => match stream {
                    Ok(stream) => break stream,
                    Err(err) => {
                        let details = err.details();
                        self.end.add_spent(err.spent());
                        self.end.upstream_request_id.clone_from(&details.request_id);
                        self.end.attempts += details.attempts;
                        return Outcome::Failed(err);
                    }
                },
                now = self.progress.next() => self.client.progress(now),
                () = QuestionCheck::blocks(&mut self.question) => {
                    self.end.add_spent(Spent::CANCELLED);
                    return Outcome::Blocked;
                }
                progress = self.writer.watch() => {
                    self.end.add_spent(Spent::CANCELLED);
                    return progress.into();
                }
                () = &mut deadline => {
                    self.end.add_spent(Spent::CANCELLED);
                    return Outcome::Deadline;
                }
            }
        };
        // It may have come together with the first text.
        if let Some(now) = self.progress.next().now_or_never() {
            self.client.progress(now);
        }
        let outcome = match self.hold_back().await {
            Some(outcome) => outcome,
            None => self.relay(&mut stream, began).await,
        };
        if let Outcome::Complete = outcome {
            let reason = stream.finish_reason().and_then(FinishReason::parse);
            self.finish_reason = Some(reason.unwrap_or(FinishReason::Stop));
        }
        self.end.doc_references = stream.references().to_vec();
        self.end.add_spent(stream.spent());
        self.end.session_id = stream.session_id().map(str::to_owned);
        self.end.finish_reason = stream.finish_reason().map(str::to_owned);
        self.end.upstream_request_id = stream.request_id().map(str::to_owned);
        self.end.attempts += stream.attempts();
        outcome
    }

    /// Waits for the verdict on the question before the first text is passed on. Returns the
    /// outcome if the reply ends here.
    async fn hold_back(&mut self) -> Option<Outcome> {
        let question = self.question.as_mut()?;
        tokio::select! {
            blocked = question.settle() => blocked.then_some(Outcome::Blocked),
            progress = self.writer.watch() => Some(progress.into()),
            () = self.until.passed() => Some(Outcome::Deadline),
        }
    }

    async fn relay(&mut self, stream: &mut AnswerStream, began: Instant) -> Outcome {
        let outcome = self.relay_pieces(stream, began).await;
        if let Outcome::Stopped | Outcome::Deadline = outcome {
            let text = stream.take_text();
            if !text.is_empty() {
                self.pass_on(&text, began);
            }
        }
        outcome
    }

    async fn relay_pieces(&mut self, stream: &mut AnswerStream, began: Instant) -> Outcome {
        let mut deadline = pin!(self.until.passed());
        loop {
            tokio::select! {
                biased;
                // Backpressure: do not read from DashScope while too much text waits to be stored.
                event = stream.next(), if !self.writer.is_full() => match event {
                    Ok(dashscope::Event::Text(text)) => self.pass_on(&text, began),
                    Ok(dashscope::Event::Done) if self.writer.has_text() => return Outcome::Complete,
                    Ok(dashscope::Event::Done) => return Outcome::Empty,
                    Err(err) => return Outcome::Failed(err),
                },
                progress = self.writer.step() => if let Some(progress) = progress {
                    return progress.into();
                },
                () = &mut deadline => return Outcome::Deadline,
            }
        }
    }

    fn pass_on(&mut self, text: &str, began: Instant) {
        if self.end.first_token_ms.is_none() {
            self.end.first_token_ms = Some(clock::millis(began.elapsed()));
        }
        // PostgreSQL cannot store NUL. The client must receive the same text that is stored.
        let clean = text.contains('\0').then(|| text.replace('\0', ""));
        let text = clean.as_deref().unwrap_or(text);
        self.client.text(text);
        self.writer.push(text);
    }

    /// Stores the end, writes logs and metrics, and notifies the client.
    async fn finish(mut self, outcome: &Outcome, latency: Duration) {
        let (saved, unsaved) = self.writer.take_rest().await;
        let (state, failure) = outcome.settle(saved > 0 || !unsaved.is_empty(), &mut self.end);
        // Text that was blocked after a part of it is not kept.
        let (saved, unsaved) = match failure {
            Some(Failure::ContentBlocked) => (0, String::new()),
            _ => (saved, unsaved),
        };
        let card = self.page.card();
        let card = card.filter(|_| saved > 0 || !unsaved.is_empty());
        if saved == 0 && unsaved.is_empty() {
            self.end.doc_references.clear();
        }
        self.end.latency_ms = clock::millis(latency);
        self.prepared.before.end_session(&mut self.end);
        self.end.prompt_version = Some(app1_chat::PROMPT_VERSION);
        if self.end.error_code.is_none() && self.page.is_missing() {
            // The reply is complete, but the run shows that the facts of the page were missing.
            self.end.error_code = Some("page_facts_missing");
        }
        let end = ReplyEnd {
            state,
            saved,
            unsaved,
            finish_reason: self.finish_reason,
            card,
            verdicts: ExchangeVerdicts::of(self.question.as_ref(), self.writer.guard()),
            run: std::mem::take(&mut self.end),
        };
        // Retry until shortly before the function ends, because the text exists only in memory.
        let (context, site_id) = (Arc::clone(&self.context), self.caller.site_id);
        let (message_id, run) = (self.prepared.message_id, self.prepared.run);
        let stored = db::retry_until(self.until_now() + DEADLINE_MARGIN / 2, || {
            finish(&context.db, site_id, message_id, run, &end)
        })
        .await;
        if let Ok(finished) = &stored {
            self.report(&end.run, finished);
        }
        self.notify_client(&end, failure, stored);
    }

    fn report(&self, end: &RunEnd, finished: &Finished) {
        tracing::info!(
            message_id = self.prepared.message_id,
            run_id = self.prepared.run.id,
            app = App::Chat.name(),
            state = finished.state.name(),
            applied = finished.applied,
            first_token_ms = end.first_token_ms,
            latency_ms = end.latency_ms,
            upstream_latency_ms = self.upstream_time.map(clock::millis),
            tokens_in = end.tokens_in,
            tokens_out = end.tokens_out,
            error_code = end.error_code,
            "reply ended"
        );
        if let Some(millis) = end.first_token_ms {
            metrics::first_token(App::Chat.name(), millis);
        }
        if finished.applied {
            let reserved = self.prepared.run.reserved_tokens;
            end.report(App::Chat, reserved, finished.circuit.as_deref());
        }
    }

    fn notify_client(self, end: &ReplyEnd, failure: Option<Failure>, stored: Result<Finished>) {
        let event = match (stored, failure) {
            // The sweep ended the reply first. The client reads the stored state from the database.
            (Ok(finished), _) if !finished.applied && finished.state != end.state => return,
            (Ok(_), None) => Event::Done {
                state: end.state,
                tokens_used: end.run.tokens(),
                finish_reason: end.finish_reason,
                card: end.card.clone(),
            },
            (Ok(_), Some(failure)) => Event::Broken {
                state: end.state,
                failure,
            },
            (Err(err), _) => {
                let message_id = self.prepared.message_id;
                tracing::error!(message_id, cause = %err, "the end of a reply could not be stored");
                Event::Broken {
                    state: State::Interrupted,
                    failure: Failure::Unavailable,
                }
            }
        };
        self.client.end(end.run.doc_references.clone(), event);
    }
}
