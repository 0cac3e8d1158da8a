//! The task that makes a reply. It belongs to no client: one that leaves, or reads slowly,
//! neither stops it nor makes it lose text.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    DEADLINE_MARGIN, Event, Failure, NewMessage, ReplyContext, State,
    begin::PreparedReply,
    channel::Sender,
    checkpoint_writer::CheckpointWriter,
    finish::{Finish, finish},
    outcome::{Ending, Outcome},
    page::Page,
};
use crate::{
    dashscope::{self, AnswerStream, Call},
    governance::{apps::App, auth::Caller, runs},
    insights::apps::app1_chat,
    platform::{
        clock, db,
        error::{Error, Result},
        metrics,
        request_context::{self, RequestContext},
    },
};

/// Begins a reply even if the client that asked for it leaves meanwhile: one that is begun must
/// be made, and nobody else would know of it.
pub(super) async fn run_detached<T: Send + 'static>(
    beginning: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever asked waits for it, unless the server drops a request whose client left"
    )]
    let task = tokio::spawn(request_context::in_current_context(beginning));
    task.await
        .map_err(|err| Error::Internal("a beginning broke off".into(), Some(err.into())))?
}

/// Starts making a reply.
pub(super) fn spawn(
    context: Arc<ReplyContext>,
    caller: Caller,
    message: NewMessage,
    page: Page,
    prepared: PreparedReply,
    client: Sender,
    until: Instant,
) {
    let writer = CheckpointWriter::new(context.db.clone(), caller.site_id, prepared.message_id);
    let relay = Relay {
        context,
        caller,
        message,
        page,
        prepared,
        writer,
        client,
        until,
        said: Said::default(),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a reply outlives its request; the stream that it feeds keeps a Lambda awake"
    )]
    tokio::spawn(request_context::in_current_context(relay.run()));
}

/// What DashScope said besides text.
#[derive(Default)]
struct Said {
    prompt: Option<String>,
    session_id: Option<String>,
    session_lost: bool,
    usage: Option<dashscope::Usage>,
    request_id: Option<String>,
    attempts: u32,
    first_token: Option<Duration>,
    /// How long it was asked, all calls together.
    asked: Option<Duration>,
}

impl Said {
    /// A call may be made twice, where a session had been forgotten: both are paid for.
    fn spend(&mut self, usage: Option<dashscope::Usage>) {
        self.usage = dashscope::Usage::sum(self.usage, usage);
    }

    /// From a call that never came to text.
    fn learn(&mut self, details: &dashscope::Details) {
        self.spend(details.usage);
        self.request_id.clone_from(&details.request_id);
        self.attempts += details.attempts;
    }
}

struct Relay {
    context: Arc<ReplyContext>,
    caller: Caller,
    message: NewMessage,
    page: Page,
    prepared: PreparedReply,
    writer: CheckpointWriter,
    client: Sender,
    until: Instant,
    said: Said,
}

impl Relay {
    async fn run(mut self) {
        let began = Instant::now();
        let outcome = self.converse(began).await;
        if let Outcome::Lost = outcome {
            tracing::warn!(
                message_id = self.prepared.message_id,
                "reply was ended by somebody else"
            );
            return;
        }
        self.finish(outcome, began.elapsed()).await;
    }

    /// Asks with the session while it is alive, else with the history: never with both, for
    /// then the context is paid for twice.
    async fn converse(&mut self, began: Instant) -> Outcome {
        let own = self.context.app_ids.find(App::Chat).map(str::to_owned);
        let Some(app_id) = self.prepared.agent_app_id.take().or(own) else {
            return Outcome::Disabled;
        };
        self.page.fetched().await;
        let mut session_id = self.prepared.session_id.take();
        loop {
            let content = self.message.content.as_str();
            let history = match session_id {
                Some(_) => &[][..],
                None => &self.prepared.history,
            };
            let prompt = app1_chat::prompt(self.page.facts(), history, content);
            let call = Call {
                app_id: app_id.clone(),
                session_id: session_id.take(),
                biz_params: Some(app1_chat::biz_params(
                    self.caller.user_id,
                    self.caller.role.name(),
                    &self.caller.nickname,
                )),
                trace: RequestContext::current().trace_value(),
                prompt,
            };
            let outcome = self.ask(&call, began).await;
            self.said.prompt = Some(call.prompt);
            match outcome {
                // The service has forgotten: told again, once, by history.
                Outcome::Failed(dashscope::Error::SessionExpired { .. })
                    if call.session_id.is_some() =>
                {
                    self.said.session_lost = true;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask(&mut self, call: &Call, began: Instant) -> Outcome {
        let asked_at = Instant::now();
        let outcome = self.call(call, began).await;
        let took = asked_at.elapsed();
        *self.said.asked.get_or_insert_default() += took;
        RequestContext::current().asked(took);
        metrics::upstream(App::Chat.name(), took, outcome.upstream_failure());
        outcome
    }

    async fn call(&mut self, call: &Call, began: Instant) -> Outcome {
        let dashscope = self.context.dashscope.clone();
        let mut stream = tokio::select! {
            stream = dashscope.stream(call, self.until) => match stream {
                Ok(stream) => stream,
                Err(err) => {
                    self.said.learn(err.details());
                    return Outcome::Failed(err);
                }
            },
            progress = self.writer.watch() => return progress.into(),
            () = sleep_until(self.until) => return Outcome::Deadline,
        };
        let outcome = self.relay(&mut stream, began).await;
        self.said.spend(stream.usage());
        self.said.session_id = stream.session_id().map(str::to_owned);
        self.said.request_id = stream.request_id().map(str::to_owned);
        self.said.attempts += stream.attempts();
        outcome
    }

    async fn relay(&mut self, stream: &mut AnswerStream, began: Instant) -> Outcome {
        loop {
            tokio::select! {
                biased;
                // While too much waits to be stored, DashScope waits too.
                event = stream.next(), if !self.writer.is_full() => match event {
                    Ok(dashscope::Event::Text(text)) => {
                        self.said.first_token.get_or_insert_with(|| began.elapsed());
                        // PostgreSQL cannot store a NUL, and what is shown must be what is stored.
                        let text = if text.contains('\0') { text.replace('\0', "") } else { text };
                        self.client.text(&text);
                        self.writer.push(&text);
                    }
                    Ok(dashscope::Event::Done) if self.writer.has_text() => return Outcome::Complete,
                    Ok(dashscope::Event::Done) => return Outcome::Empty,
                    Err(err) => return Outcome::Failed(err),
                },
                progress = self.writer.step() => if let Some(progress) = progress {
                    return progress.into();
                },
                () = sleep_until(self.until) => return Outcome::Deadline,
            }
        }
    }

    async fn finish(self, outcome: Outcome, latency: Duration) {
        let Self {
            context,
            caller,
            prepared,
            page,
            writer,
            client,
            until,
            said,
            ..
        } = self;
        let (saved, unsaved) = writer.into_rest().await;
        let ending = Ending::of(&outcome, saved > 0 || !unsaved.is_empty());
        let end = Finish {
            state: ending.state,
            run_status: ending.run_status,
            saved,
            unsaved,
            tokens: said
                .usage
                .map(|usage| (usage.input_tokens, usage.output_tokens)),
            charge_unknown: ending.charge_unknown,
            session_id: said.session_id,
            session_lost: said.session_lost,
            prompt: said.prompt,
            prompt_version: app1_chat::PROMPT_VERSION,
            first_token_ms: said.first_token.map(clock::millis),
            latency_ms: clock::millis(latency),
            attempts: i32::try_from(said.attempts).unwrap_or(i32::MAX),
            upstream_request_id: said.request_id,
            // A reply without its page's facts is a reply, but its run says so.
            error_code: ending
                .failure
                .map(Failure::column)
                .or(page.is_missing().then_some("page_facts_missing")),
            error_message: ending.message,
            circuit: ending.circuit,
        };
        let stored = db::retry_until(until + DEADLINE_MARGIN / 2, || {
            finish(
                &context.db,
                caller.site_id,
                prepared.message_id,
                (prepared.run_id, prepared.run_at),
                &end,
            )
        })
        .await;
        let event = match stored {
            Ok(finished) => {
                tracing::info!(
                    message_id = prepared.message_id,
                    run_id = prepared.run_id,
                    app = App::Chat.name(),
                    state = finished.state.name(),
                    applied = finished.applied,
                    first_token_ms = end.first_token_ms,
                    latency_ms = end.latency_ms,
                    upstream_latency_ms = said.asked.map(clock::millis),
                    tokens_in = end.tokens.map(|tokens| tokens.0),
                    tokens_out = end.tokens.map(|tokens| tokens.1),
                    error_code = end.error_code,
                    "reply ended"
                );
                if let Some(first_token) = said.first_token {
                    metrics::first_token(App::Chat.name(), first_token);
                }
                if finished.applied {
                    let reserved = context.limits.reserved_tokens;
                    let charged = runs::charged(said.usage, end.charge_unknown, reserved);
                    metrics::tokens(App::Chat.name(), charged);
                }
                metrics::circuit(App::Chat.name(), finished.circuit.as_deref());
                if !finished.applied && finished.state != end.state {
                    // The sweep was first: what it stored is what counts.
                    return;
                }
                match ending.failure {
                    None => Event::Done {
                        state: end.state,
                        tokens_used: said.usage.map(|usage| usage.total()),
                    },
                    Some(failure) => Event::Broken {
                        state: end.state,
                        failure,
                    },
                }
            }
            Err(err) => {
                tracing::error!(message_id = prepared.message_id, cause = %err, "the end of a reply could not be stored");
                Event::Broken {
                    state: State::Interrupted,
                    failure: Failure::Unavailable,
                }
            }
        };
        client.end(event);
    }
}
