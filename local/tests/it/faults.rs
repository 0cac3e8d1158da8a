//! Failures at each step of a reply. No message is lost, no text is lost up to the last checkpoint,
//! nothing stays blocked, and nothing is duplicated or billed twice.
//!
//! Each case brings a reply to a step, causes a failure, restarts what can be restarted and checks
//! the result.

mod away;
mod maker;

use std::{panic::AssertUnwindSafe, sync::Arc};

use common::insights::apps::app1_chat::PROMPT_VERSION;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::harness::{
    database::{OwnServer, TestDatabase},
    events::{EventStream, SseEvent, text},
    invariants,
    parlor::{COACH, Parlor, Setup},
    patiently,
    reader::{Reader, Seen},
    until,
    wire::Wire,
};
use maker::{Kind, Maker};

/// The progress of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The request is sent, but no statement of it has reached the database.
    Sent,
    /// Message and reply are stored, but the response of the database has not arrived.
    Begun,
    /// DashScope has received the call and has sent no text.
    Called,
    /// The client has received text that is not stored.
    Relayed,
    /// Some text is stored, and the client has received more.
    Checkpointed,
    /// The client has received all text. The end has not reached the database.
    AllSent,
    /// The end is stored, but the response of the database has not arrived.
    EndStored,
    /// The client has received `done`.
    DoneSent,
}

const STEPS: [Step; 8] = [
    Step::Sent,
    Step::Begun,
    Step::Called,
    Step::Relayed,
    Step::Checkpointed,
    Step::AllSent,
    Step::EndStored,
    Step::DoneSent,
];

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The process that makes the reply is killed (SIGKILL).
    MakerKilled,
    ClientCut,
    DashScopeCut,
    /// PostgreSQL is killed (SIGKILL) and restarted.
    PostgresKilled,
}

/// The expected result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The message was never stored and can be sent again.
    Nothing,
    /// The reply ends with the text that was stored.
    Broken,
    /// The reply ends normally.
    Whole,
}

impl Break {
    /// The reason why this case cannot occur.
    fn cannot_be_at(self, step: Step) -> Option<&'static str> {
        match (self, step) {
            (Self::DashScopeCut, Step::Sent | Step::Begun) => {
                Some("DashScope has not been called yet")
            }
            (Self::DashScopeCut, Step::AllSent | Step::EndStored | Step::DoneSent) => {
                Some("the response of DashScope has ended")
            }
            _ => None,
        }
    }

    fn outcome_at(self, step: Step) -> Outcome {
        match (self, step) {
            (_, Step::Sent) => Outcome::Nothing,
            (_, Step::Begun)
            | (
                Self::MakerKilled,
                Step::Called | Step::Relayed | Step::Checkpointed | Step::AllSent,
            )
            | (Self::DashScopeCut, Step::Relayed | Step::Checkpointed) => Outcome::Broken,
            _ => Outcome::Whole,
        }
    }

    /// True if no process makes the reply afterwards. A maker without the response to its begin
    /// statement does not make it.
    fn leaves_no_maker_at(self, step: Step) -> bool {
        self == Self::MakerKilled || step == Step::Begun
    }

    /// The number of calls to DashScope for the reply. A call is retried only if no text has
    /// arrived.
    fn calls_at(self, step: Step) -> usize {
        match (self, step) {
            (_, Step::Sent | Step::Begun) => 0,
            (Self::DashScopeCut, Step::Called) => 2,
            _ => 1,
        }
    }

    /// The last event of the stream, if the client receives it.
    fn end_at(self, step: Step) -> Option<&'static str> {
        match (self, step) {
            (_, Step::DoneSent) => Some("done"),
            (Self::MakerKilled | Self::ClientCut, _)
            | (Self::PostgresKilled, Step::Sent | Step::Begun) => None,
            _ if self.outcome_at(step) == Outcome::Whole => Some("done"),
            _ => Some("error"),
        }
    }

    fn steps(self) -> impl Iterator<Item = Step> {
        let possible = move |step: &Step| self.cannot_be_at(*step).is_none();
        STEPS.into_iter().filter(possible)
    }
}

#[tokio::test]
async fn a_function_killed_at_any_step_keeps_the_invariants() {
    at_each_step(Break::MakerKilled, Kind::Function).await;
}

#[tokio::test]
async fn a_local_server_killed_at_any_step_keeps_the_invariants() {
    at_each_step(Break::MakerKilled, Kind::Laptop).await;
}

#[tokio::test]
async fn a_function_client_cut_at_any_step_keeps_the_invariants() {
    at_each_step(Break::ClientCut, Kind::Function).await;
}

#[tokio::test]
async fn a_local_client_cut_at_any_step_keeps_the_invariants() {
    at_each_step(Break::ClientCut, Kind::Here).await;
}

#[tokio::test]
async fn dashscope_cut_at_any_step_keeps_the_invariants() {
    at_each_step(Break::DashScopeCut, Kind::Here).await;
}

#[tokio::test]
async fn postgresql_killed_at_any_step_keeps_the_invariants() {
    let mut server = OwnServer::start().await;
    let reach = async |step| Case::reach(step, Kind::Here, server.database().await).await;
    // Requests at the first two steps time out soon, so these cases start last.
    let (short, long): (Vec<_>, Vec<_>) = Break::PostgresKilled
        .steps()
        .partition(|step| *step <= Step::Begun);
    let long = stream::iter(long.into_iter().map(&reach)).buffered(AT_ONCE);
    let short = stream::iter(short.into_iter().map(&reach)).buffered(AT_ONCE);
    let cases: Vec<_> = long.chain(short).collect().await;
    server.kill().await;
    server.start_again().await;
    all(cases.into_iter().map(|(case, reader)| {
        let name = format!("{:?}", case.step);
        (name, case.break_and_check(reader, Break::PostgresKilled))
    }))
    .await;
}

#[tokio::test]
async fn a_late_begin_after_the_caller_gave_up_stores_nothing() {
    let database = TestDatabase::new().await;
    let (case, reader) = Case::reach(Step::Sent, Kind::Here, database).await;
    let (parlor, maker, chat) = (&case.parlor, &case.maker, case.chat);
    assert_eq!(reader.finish().await.body["code"], "unavailable");
    case.wire.clear_rules();
    until("the delayed statement is executed", async || {
        (case.wire.late_responses() > 0).then_some(())
    })
    .await;
    assert!(stored(parlor).await.is_none());
    invariants::check_stored(parlor, COACH, chat).await;
    let again = send_until_stored(maker, chat, MESSAGE).await;
    assert_eq!(again.text(), PIECES.concat());
    invariants::check_stored(parlor, COACH, chat).await;
    // The first one is that of `reach`, which opens the connections.
    assert_eq!(parlor.simulator.calls_count(), 2);
}

async fn at_each_step(what: Break, kind: Kind) {
    all(what.steps().map(|step| {
        let case = async move {
            let (case, reader) = Case::reach(step, kind, TestDatabase::new().await).await;
            case.break_and_check(reader, what).await;
        };
        (format!("{step:?}"), case)
    }))
    .await;
}

/// Few at a time: in a debug build, connecting takes much CPU time, and statements time out
/// meanwhile.
pub const AT_ONCE: usize = 3;

/// Runs the cases concurrently and panics with the names of those that failed.
pub async fn all(cases: impl Iterator<Item = (String, impl Future<Output = ()>)>) {
    let ends = cases.map(async |(name, case)| {
        let end = AssertUnwindSafe(case).catch_unwind().await;
        end.err().map(|cause| {
            let text = cause.downcast_ref::<String>().cloned();
            (name, text.unwrap_or_default())
        })
    });
    let ends: Vec<_> = stream::iter(ends).buffered(AT_ONCE).collect().await;
    let failed: Vec<_> = ends.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

const QUESTION: &str = "今晚有什么要留意的？";
/// The pieces of every reply.
const PIECES: [&str; 6] = [
    "今晚七点，",
    "🎱",
    "二号桌 ",
    "e\u{301}有",
    "位会员\r\n",
    "过生日。",
];
/// The client message id of the reply under test.
const MESSAGE: &str = "the-message-under-test";

fn message(chat: i64, id: &str) -> Value {
    json!({ "chatId": chat, "content": QUESTION, "clientMessageId": id })
}

/// A reply at a step.
struct Case {
    step: Step,
    /// Another instance for checks. The maker uses its simulator.
    parlor: Parlor,
    wire: Wire,
    maker: Maker,
    chat: i64,
    /// The stored text of the reply at the step.
    kept: String,
}

/// The stored message and its reply.
#[derive(sqlx::FromRow)]
struct Stored {
    user_message_id: i64,
    message_id: i64,
    content: String,
    state: String,
}

async fn stored(parlor: &Parlor) -> Option<Stored> {
    sqlx::query_as(
        "select u.id as user_message_id, a.id as message_id, reply_text(a) as content, a.state
         from biz.ai_messages u join biz.ai_messages a on a.reply_to = u.id
         where u.client_message_id = $1",
    )
    .bind(MESSAGE)
    .fetch_optional(&parlor.db)
    .await
    .unwrap()
}

impl Case {
    /// Brings a reply to the step. Also returns the client that reads it.
    async fn reach(step: Step, kind: Kind, database: TestDatabase) -> (Self, Reader) {
        let wire = Wire::before(database.url()).await;
        let parlor = Parlor::start_with(Setup {
            database: Some(Arc::new(database)),
            ..Setup::default()
        })
        .await;
        let pieces = format!("say:{}", PIECES.join("|"));
        parlor
            .simulator
            .set_scenario(None, Some(pieces.parse().unwrap()));
        let maker = Maker::start(kind, &parlor, &wire.url).await;
        let chat = parlor.open(COACH, "t").await;
        // The maker is warm: it has cached the user and has a connection.
        send_until_stored(&maker, chat, "the-first").await;

        let reader = reach(step, &parlor, &wire, || {
            Reader::of(maker.stream(COACH, &message(chat, MESSAGE)))
        })
        .await;
        let kept = stored(&parlor).await;
        let case = Self {
            step,
            wire,
            maker,
            chat,
            kept: kept.map_or_else(String::new, |kept| kept.content),
            parlor,
        };
        (case, reader)
    }

    /// Causes the failure, restarts what can be restarted, and checks the result.
    async fn break_and_check(mut self, reader: Reader, what: Break) {
        let (step, chat) = (self.step, self.chat);
        let simulator = &self.parlor.simulator;
        let calls = simulator.calls_count();
        match what {
            Break::MakerKilled => {
                self.maker.kill().await;
                self.wire.cut();
            }
            Break::ClientCut if step == Step::Sent => self.wire.cut(),
            Break::DashScopeCut => {
                simulator.cut();
                if step == Step::Called {
                    simulator.called(calls + 1).await;
                }
            }
            // PostgreSQL is shared by the cases and has been restarted already.
            Break::ClientCut | Break::PostgresKilled => {}
        }
        let release_all = || {
            self.wire.clear_rules();
            simulator.release();
        };
        let seen = if what == Break::ClientCut {
            let seen = reader.cut().await;
            release_all();
            seen
        } else {
            release_all();
            reader.finish().await
        };
        assert_eq!(
            seen.end().map(|end| &*end.name),
            what.end_at(step),
            "{seen:?}"
        );
        if what == Break::PostgresKilled && what.outcome_at(step) != Outcome::Whole {
            assert_eq!(
                (seen.status, &seen.body["code"]),
                (Some(503), &json!("unavailable"))
            );
        }

        if what == Break::MakerKilled {
            self.maker = self.maker.start_again(&self.parlor, &self.wire.url).await;
        }
        if what == Break::PostgresKilled {
            renew(&self.parlor).await;
        }
        if what.leaves_no_maker_at(step) {
            expire_leases(&self.parlor).await;
        } else {
            self.parlor.settled().await;
        }
        self.maker.sweep(&self.parlor).await;

        self.check_reply(what, &seen).await;
        invariants::check_stored(&self.parlor, COACH, chat).await;
        // A repeat returns the stored reply or gets one now, and the next message gets a reply.
        let again = send_until_stored(&self.maker, chat, MESSAGE).await;
        if what.outcome_at(step) != Outcome::Broken {
            assert_eq!(again.text(), PIECES.concat());
        }
        let next = send_until_stored(&self.maker, chat, "the-next").await;
        assert_eq!(
            (next.text(), &*next.end().unwrap().name),
            (PIECES.concat(), "done")
        );
        invariants::check_stored(&self.parlor, COACH, chat).await;
        let ill: i64 = sqlx::query_scalar(
            "select count(*) from biz.ai_circuits where state <> 'closed' or failures > 0",
        )
        .fetch_one(&self.parlor.db)
        .await
        .unwrap();
        assert_eq!(ill, 0, "a circuit is not closed");
    }

    /// Checks the stored message and reply, and what the client has received.
    async fn check_reply(&self, what: Break, seen: &Seen) {
        let (parlor, step) = (&self.parlor, self.step);
        let calls = parlor.simulator.calls_count();
        assert_eq!(calls, 1 + what.calls_at(step), "calls of DashScope");
        let (outcome, read) = (what.outcome_at(step), seen.text());
        let Some(stored) = stored(parlor).await else {
            assert_eq!(outcome, Outcome::Nothing);
            assert_eq!(seen.start(), None);
            assert_eq!(parlor.messages(COACH, self.chat).await.len(), 2);
            return;
        };
        let content = &stored.content;
        assert!(
            content.starts_with(&self.kept),
            "{content} of {}",
            self.kept
        );
        assert!(
            content.starts_with(&read) || read.starts_with(content),
            "stored {content}, received {read}"
        );
        match outcome {
            Outcome::Nothing => panic!("unexpectedly stored: {content}"),
            Outcome::Broken => {
                assert!(matches!(&*stored.state, "failed" | "interrupted"));
            }
            Outcome::Whole => {
                assert_eq!((content, &*stored.state), (&PIECES.concat(), "complete"));
            }
        }
        let Some(start) = seen.start() else { return };
        assert_eq!(
            (&start.data["userMessageId"], &start.data["messageId"]),
            (&json!(stored.user_message_id), &json!(stored.message_id))
        );
        let rest = self.resume(seen.events.last().unwrap()).await;
        let ends = rest
            .iter()
            .filter(|event| matches!(&*event.name, "done" | "error"));
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends.len(), 1, "{rest:?}");
        if outcome == Outcome::Whole {
            assert_eq!(ends[0].data["finishReason"], "stop");
        }
        if content.len() >= read.len() {
            assert_eq!(&(read + &text(&rest)), content);
        }
    }

    /// Resumes (CHAT-5) from the last event that the client has received.
    async fn resume(&self, last: &SseEvent) -> Vec<SseEvent> {
        let message = last.id.split_once('-').unwrap().0;
        let path = format!("/api/xcx/chat/stream/{message}");
        let request = self.parlor.request_as(COACH, "GET", &path);
        let response = request.header("Last-Event-ID", &last.id).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream::new(response).rest().await
    }
}

/// Sends a message, retries while the database is unavailable, and reads the reply.
async fn send_until_stored(maker: &Maker, chat: i64, id: &str) -> Seen {
    until("the message has a reply", async || {
        let reading = Reader::of(maker.stream(COACH, &message(chat, id)));
        let seen = reading.finish().await;
        assert!(matches!(seen.status, Some(200 | 503)), "{seen:?}");
        (seen.status == Some(200)).then_some(seen)
    })
    .await
}

/// Replaces the pool's dead connections. Otherwise, each would cost a request a 503.
pub async fn renew(parlor: &Parlor) {
    let mut held = Vec::new();
    for _ in 0..parlor.tools.db.size() {
        let mut connection = patiently(async || parlor.tools.db.acquire().await).await;
        connection.execute("select 1").await.ok();
        held.push(connection);
    }
}

/// Expires the leases of running replies, as those of a dead maker would.
async fn expire_leases(parlor: &Parlor) {
    sqlx::query(
        "update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
}

/// Sends the message and returns when the reply is at the step.
async fn reach(step: Step, parlor: &Parlor, wire: &Wire, send: impl FnOnce() -> Reader) -> Reader {
    let simulator = &parlor.simulator;
    match step {
        Step::Sent => {
            let held = wire.delayed();
            wire.delay_messages_with(MESSAGE);
            let reader = send();
            until("the message is delayed", async || {
                (wire.delayed() > held).then_some(())
            })
            .await;
            reader
        }
        Step::Begun => {
            wire.drop_responses_to(MESSAGE);
            let reader = send();
            until("the message is stored", async || stored(parlor).await).await;
            reader
        }
        Step::Called => send_and_hold(parlor, send).await,
        Step::Relayed => {
            let mut reader = send_and_hold(parlor, send).await;
            wire.delay_messages_with(PIECES[0]);
            simulator.hold_after(2);
            reader.read(&PIECES[..2].concat()).await;
            reader
        }
        Step::Checkpointed => {
            let mut reader = send_and_hold(parlor, send).await;
            simulator.hold_after(2);
            reader.read(&PIECES[..2].concat()).await;
            until("a checkpoint", async || {
                let stored = stored(parlor).await?;
                (stored.content == PIECES[..2].concat()).then_some(())
            })
            .await;
            wire.delay_messages_with(PIECES[2]);
            simulator.hold_after(4);
            reader.read(&PIECES[..4].concat()).await;
            reader
        }
        Step::AllSent => {
            let mut reader = send_and_hold(parlor, send).await;
            let held = wire.delayed();
            wire.delay_messages_with(PROMPT_VERSION);
            simulator.release();
            reader.read(&PIECES.concat()).await;
            until("the end is delayed", async || {
                (wire.delayed() > held).then_some(())
            })
            .await;
            reader
        }
        Step::EndStored => {
            let mut reader = send_and_hold(parlor, send).await;
            wire.drop_responses_to(PROMPT_VERSION);
            simulator.release();
            reader.read(&PIECES.concat()).await;
            until("the end is stored", async || {
                (stored(parlor).await?.state == "complete").then_some(())
            })
            .await;
            reader
        }
        Step::DoneSent => {
            let mut reader = send();
            reader
                .until("the end is received", |seen| seen.end().is_some())
                .await;
            reader
        }
    }
}

/// Sends the message and returns when DashScope has the call and has sent no text.
async fn send_and_hold(parlor: &Parlor, send: impl FnOnce() -> Reader) -> Reader {
    parlor.simulator.hold_after(0);
    let mut reader = send();
    parlor.simulator.held(1).await;
    reader
        .until("the start", |seen| seen.start().is_some())
        .await;
    reader
}
