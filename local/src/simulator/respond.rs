//! Handles requests.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SERVER};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};
use serde_json::Value;

use super::app_answers::App;
use super::chat_reply;
use super::frames::{Style, Writer};
use super::pieces;
use super::plain::Plain;
use super::plan::{Break, Plan, Refused, Silence, Text};
use super::player::{self, Cut, Pace, Player, Script};
use super::question::Parts;
use super::record::RecordedCall;
use super::refusal::{Form, Refusal};
use super::request::{self, BASE64_BODY_LIMIT, Call};
use super::scenario::{self, Scenario, Times};
use super::server::ActiveStream;
use super::sessions::{self, UnknownSession};
use super::shared::Shared;
use super::usage::{Tokens, count};

type Body = UnsyncBoxBody<Bytes, Cut>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SSE: HeaderValue = HeaderValue::from_static("text/event-stream;charset=UTF-8");

/// Routes a request and returns its response.
pub(super) async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    match (request.method(), request::app_id(path)) {
        (&Method::POST, Some(app_id)) => complete(shared, app_id, request).await,
        (&Method::GET, None) if path == "/healthz" => whole(StatusCode::OK, JSON, "{}"),
        (&Method::POST, None) if path == "/sim/release" => {
            shared.gate.release();
            whole(StatusCode::OK, JSON, "{}")
        }
        _ => {
            let refusal = Refusal::new(404, "NotFound", "Not found.");
            let body = refusal.json(&shared.request_id());
            whole(StatusCode::NOT_FOUND, JSON, body)
        }
    }
}

async fn complete(
    shared: Arc<Shared>,
    app_id: String,
    request: Request<Incoming>,
) -> Response<Body> {
    let active = ActiveStream::count(&shared.active);
    let request_id = shared.request_id();
    let (parts, body) = request.into_parts();
    let stream = request::wants_stream(&parts.headers);
    let mut response = match accept(&shared, app_id, &parts.headers, body, stream).await {
        Ok((call, plan)) => {
            let accepted = AcceptedCall {
                shared,
                request_id: request_id.clone(),
                stream,
                active,
            };
            accepted.respond(call, plan).await
        }
        Err((refusal, form)) => refuse(&refusal, form, stream, &request_id),
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("istio-envoy"));
    let gateway = HeaderName::from_static("x-dashscope-call-gateway");
    headers.insert(gateway, HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// Reads, records and checks the call. Returns the plan for its response.
async fn accept(
    shared: &Shared,
    app_id: String,
    headers: &HeaderMap,
    body: Incoming,
    stream: bool,
) -> Result<(Call, Plan), (Refusal, Form)> {
    let as_json = |refusal| (refusal, Form::Plain);
    let body = match Limited::new(body, BASE64_BODY_LIMIT).collect().await {
        Ok(bytes) => request::parse_body(&bytes.to_bytes()),
        Err(_) => Err(Refusal::too_large()),
    };
    shared.record(|| RecordedCall {
        app_id: app_id.clone(),
        headers: headers.clone(),
        body: body.as_ref().cloned().unwrap_or(Value::Null),
        stream,
    });
    let only_key = shared.state().only_key.clone();
    request::check_headers(headers, only_key.as_deref()).map_err(as_json)?;
    let body = body.map_err(as_json)?;
    if app_id.is_empty() || !shared.knows_app(&app_id) {
        return Err((Refusal::app_denied(), Form::FirstFrame));
    }
    let call = Call::new(&app_id, &body).map_err(|refusal| (refusal, Form::Framed))?;
    let scenario = pick(shared, &call, headers).map_err(as_json)?;
    let mut plan = Plan::ordinary();
    plan.thoughts = call.has_thoughts;
    plan.workflow = call.message_format;
    if let Some(scenario) = &scenario {
        plan.apply(scenario, App::of(&app_id).is_some());
    }
    Ok((call, plan))
}

/// The scenario of a call. The order of precedence is in the documentation of the simulator.
fn pick(shared: &Shared, call: &Call, headers: &HeaderMap) -> Result<Option<Scenario>, Refusal> {
    let header = headers
        .get("x-sim-scenario")
        .and_then(|name| std::str::from_utf8(name.as_bytes()).ok());
    let named = scenario::in_question(Parts::of(&call.prompt).question)
        .or_else(|| header.map(str::parse))
        .or_else(|| shared.scenario(Some(&call.app_id)).map(Ok))
        .or_else(|| scenario::in_app_id(&call.app_id))
        .or_else(|| shared.scenario(None).map(Ok));
    named
        .transpose()
        .map_err(|err| Refusal::invalid(err.to_string()))
}

/// A call that passed all checks.
struct AcceptedCall {
    shared: Arc<Shared>,
    request_id: String,
    stream: bool,
    active: ActiveStream,
}

impl AcceptedCall {
    async fn respond(mut self, call: Call, mut plan: Plan) -> Response<Body> {
        if plan.nul {
            self.request_id.push('\0');
            if let Some(error) = plan.error_mut() {
                error.message.push('\0');
            }
        }
        match plan.silence {
            Some(Silence::For(time)) => tokio::time::sleep(time).await,
            Some(Silence::Forever) => std::future::pending().await,
            None => {}
        }
        if let Some(refused) = &plan.refusal
            && self.is_due(&call, refused.refusal.code, refused.times)
        {
            return self.refuse(refused);
        }
        if plan
            .cut_first
            .is_some_and(|times| self.is_due(&call, "cut-first", times))
        {
            plan.cut_before_text();
        }
        if let Some(recording) = plan.recording {
            let kind = if recording.is_stream() { SSE } else { JSON };
            return whole(recording.status(), kind, recording.body());
        }
        let (mut session_id, round) = match self.open_session(&call, &plan) {
            Ok(session) => session,
            Err(refusal) => return refuse(&refusal, Form::Plain, self.stream, &self.request_id),
        };
        if plan.nul {
            session_id.push('\0');
        }
        let mut rng = chat_reply::rng(&call, round);
        let pieces = match &plan.text {
            Text::Echo => pieces::split(&call.prompt, &mut rng),
            Text::Pieces(pieces) => pieces.clone(),
            Text::Filler(count) => pieces::filler(*count),
            Text::Huge(bytes) => vec![pieces::huge(*bytes)],
            Text::BrokenAnswer(times) if self.is_due(&call, "bad-json", *times) => {
                let text = "好的，下面是分析结果：{\"insights\": [{\"seq\": 1, \"title\": ";
                pieces::split(text, &mut rng)
            }
            Text::Wrapped(wrapping) => {
                let text = wrapping.around(&ordinary_text(&call, round, &mut rng));
                pieces::split(&text, &mut rng)
            }
            Text::Answer | Text::BrokenAnswer(_) => {
                pieces::split(&ordinary_text(&call, round, &mut rng), &mut rng)
            }
        };
        let thought = if plan.thoughts {
            chat_reply::thought(&call)
        } else {
            String::new()
        };
        if self.stream && !plan.json_instead {
            let thought = pieces::split(&thought, &mut rng);
            self.play(&call, &plan, session_id, thought, pieces)
        } else {
            self.respond_with_json(&call, &plan, &session_id, &thought, &pieces)
                .await
        }
    }

    /// Counts how often the same question has failed in this way, so that a later retry succeeds.
    fn is_due(&self, call: &Call, failure: &str, times: Times) -> bool {
        let Times::First(times) = times else {
            return true;
        };
        let question = Parts::of(&call.prompt).question;
        let key = format!("{}\n{failure}\n{question}", call.app_id);
        self.shared.refuse_again(key, times)
    }

    fn refuse(&self, refused: &Refused) -> Response<Body> {
        let Refused { refusal, form, .. } = refused;
        let mut response = refuse(refusal, *form, self.stream, &self.request_id);
        if let Some(seconds) = refused.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    /// Returns the session id and the number of this round.
    fn open_session(&self, call: &Call, plan: &Plan) -> Result<(String, u32), Refusal> {
        let mut state = self.shared.state();
        if let Some(id) = &call.session_id {
            let found = match plan.session_expired {
                None => state.sessions.find(&call.app_id, id),
                Some(_) => None,
            };
            if let Some(round) = found {
                return Ok((id.clone(), round));
            }
            let unknown = plan
                .session_expired
                .unwrap_or(self.shared.options.unknown_session);
            if unknown == UnknownSession::Refuse {
                return Err(sessions::refusal());
            }
        }
        let id = self.shared.session_id();
        state.sessions.start(&call.app_id, &id);
        Ok((id, 1))
    }

    fn pace(&self, plan: &Plan) -> Pace {
        let options = &self.shared.options;
        Pace {
            first_token: options.latency_to_first_token,
            tokens_per_second: plan.tokens_per_second.or(options.tokens_per_second),
        }
    }

    fn play(
        self,
        call: &Call,
        plan: &Plan,
        session_id: String,
        thought: Vec<String>,
        pieces: Vec<String>,
    ) -> Response<Body> {
        let mut writer = Writer::new(session_id, self.request_id.clone(), call.input_tokens);
        writer.style = plan.style;
        writer.usage = plan.usage.clone();
        writer.incremental = call.incremental;
        let script = Script::new(plan, thought, pieces);
        let pace = self.pace(plan);
        let player = Player::new(self.shared, plan, pace, writer, script, self.active);
        let frames = stream::unfold(player, |player| async {
            let (bytes, player) = player.next().await?;
            Some((bytes.map(Frame::data), player))
        });
        response(StatusCode::OK, SSE, StreamBody::new(frames).boxed_unsync())
    }

    async fn respond_with_json(
        &self,
        call: &Call,
        plan: &Plan,
        session_id: &str,
        thought: &str,
        pieces: &[String],
    ) -> Response<Body> {
        match &plan.broken {
            Some((_, Break::Error(refusal))) => {
                return refuse(refusal, Form::Plain, false, &self.request_id);
            }
            Some((_, Break::Stall)) => std::future::pending().await,
            _ => {}
        }
        tokio::time::sleep(self.pace(plan).due(pieces.len())).await;
        let own = plan.gate.map(|after| self.shared.gate.own(after));
        self.shared.gate.pass(pieces.len(), own).await;
        let text = pieces.concat();
        let output = 1 + count(thought) + pieces.iter().map(|piece| count(piece)).sum::<usize>();
        let answer = Plain {
            text: &text,
            thought: plan.thoughts.then_some(thought),
            finish_reason: if plan.no_stop { "null" } else { "stop" },
            session_id,
            request_id: &self.request_id,
            tokens: Tokens {
                input: call.input_tokens,
                output,
            },
            usage: plan.usage.clone(),
        };
        let json = answer.json();
        match plan.broken {
            Some((_, Break::Cut)) => cut_in_half(&json.into()),
            Some((_, Break::Garbage)) => {
                let half = Bytes::from(json);
                whole(StatusCode::OK, JSON, half.slice(..half.len() / 2))
            }
            _ => whole(StatusCode::OK, JSON, json),
        }
    }
}

/// The ordinary reply of an app.
fn ordinary_text(call: &Call, round: u32, rng: &mut Rng) -> String {
    match App::of(&call.app_id) {
        Some(app) => app.answer(&call.prompt).to_string(),
        None => chat_reply::chat(call, round, rng),
    }
}

/// Sends half of the body, then cuts the connection.
fn cut_in_half(json: &Bytes) -> Response<Body> {
    let half = json.slice(..json.len() / 2);
    let cut = async {
        player::flush().await;
        Err(Cut)
    };
    let frames = stream::iter([Ok(Frame::data(half))]).chain(stream::once(cut));
    response(StatusCode::OK, JSON, StreamBody::new(frames).boxed_unsync())
}

fn refuse(refusal: &Refusal, form: Form, stream: bool, request_id: &str) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = refusal.json(request_id);
    let framed = || Style::default().frame(1, "error", refusal.status, &json);
    match form {
        Form::FirstFrame if stream => whole(StatusCode::OK, SSE, framed()),
        Form::Framed if stream => whole(status, SSE, framed()),
        Form::Mislabelled => whole(status, JSON, framed()),
        Form::Ok => whole(StatusCode::OK, JSON, json),
        Form::Plain | Form::FirstFrame | Form::Framed => whole(status, JSON, json),
    }
}

fn whole(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    response(status, kind, body)
}

fn response(status: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
