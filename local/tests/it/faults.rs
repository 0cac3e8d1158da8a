//! Whatever breaks, at whatever step of a reply: no message is lost, no text beyond the last
//! checkpoint, nothing is stuck, said twice or paid for twice.
//!
//! A case brings a reply to a step, breaks something there, starts again what can be started again,
//! and looks whether all is in order: for each step, each break.

mod away;
mod maker;

use std::{panic::AssertUnwindSafe, sync::Arc};

use common::insights::apps::app1_chat::PROMPT_VERSION;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::Executor as _;

use crate::harness::{
    database::{OwnServer, TestDatabase},
    events::{EventStream, SseEvent, terminal, text},
    invariants,
    parlor::{COACH, Parlor, Setup},
    reader::{Reader, Seen},
    until,
    wire::Wire,
};
use maker::{Kind, Maker};

/// How far a reply has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The message is there; nothing of it has reached the database.
    Sent,
    /// It is stored and its reply begun, but the maker has not heard of that.
    Begun,
    /// DashScope has the call and has not said anything.
    Asked,
    /// The client has read text of which nothing is stored.
    Relayed,
    /// Some text is stored, and the client has read more.
    Checkpointed,
    /// The client has read all text; the end has not reached the database.
    Said,
    /// The end is stored, but the maker has not heard of that.
    Ended,
    /// The client has read `done`.
    Told,
}

const STEPS: [Step; 8] = [
    Step::Sent,
    Step::Begun,
    Step::Asked,
    Step::Relayed,
    Step::Checkpointed,
    Step::Said,
    Step::Ended,
    Step::Told,
];

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// `kill -9` of whoever makes the reply.
    MakerKilled,
    /// The client's connection is cut.
    ClientCut,
    /// The connection to DashScope is cut.
    DashScopeCut,
    /// `kill -9` of PostgreSQL, which is then started again.
    PostgresKilled,
}

/// What becomes of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing: the message was never stored, and can be sent again.
    Nothing,
    /// It ends with as much text as was stored.
    Broken,
    /// It ends as if nothing had happened.
    Whole,
}

impl Break {
    /// Why there is no such case.
    fn cannot_be_at(self, step: Step) -> Option<&'static str> {
        match (self, step) {
            (Self::DashScopeCut, Step::Sent | Step::Begun) => {
                Some("DashScope has not been asked yet")
            }
            (Self::DashScopeCut, Step::Said | Step::Ended | Step::Told) => {
                Some("DashScope has said all, and nobody listens to it any more")
            }
            _ => None,
        }
    }

    fn outcome_at(self, step: Step) -> Outcome {
        match (self, step) {
            (_, Step::Sent) => Outcome::Nothing,
            (_, Step::Begun)
            | (Self::MakerKilled, Step::Asked | Step::Relayed | Step::Checkpointed | Step::Said)
            | (Self::DashScopeCut, Step::Relayed | Step::Checkpointed) => Outcome::Broken,
            _ => Outcome::Whole,
        }
    }

    /// Whether nobody makes the reply any more. One that never heard that it had begun one does not.
    fn leaves_nobody_at(self, step: Step) -> bool {
        self == Self::MakerKilled || step == Step::Begun
    }

    /// How often DashScope is asked for the reply. It is asked again only before it has said anything.
    fn calls_at(self, step: Step) -> usize {
        match (self, step) {
            (_, Step::Sent | Step::Begun) => 0,
            (Self::DashScopeCut, Step::Asked) => 2,
            _ => 1,
        }
    }

    /// How the stream ends, where its client hears that.
    fn end_at(self, step: Step) -> Option<&'static str> {
        match (self, step) {
            (_, Step::Told) => Some("done"),
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
async fn a_function_may_be_killed_at_any_step() {
    at_each_step(Break::MakerKilled, Kind::Function).await;
}

#[tokio::test]
async fn a_laptop_may_be_killed_at_any_step() {
    at_each_step(Break::MakerKilled, Kind::Laptop).await;
}

#[tokio::test]
async fn the_client_of_a_function_may_be_cut_at_any_step() {
    at_each_step(Break::ClientCut, Kind::Function).await;
}

#[tokio::test]
async fn the_client_of_a_laptop_may_be_cut_at_any_step() {
    at_each_step(Break::ClientCut, Kind::Here).await;
}

#[tokio::test]
async fn dashscope_may_be_cut_at_any_step() {
    at_each_step(Break::DashScopeCut, Kind::Here).await;
}

#[tokio::test]
async fn postgresql_may_be_killed_at_any_step() {
    let mut server = OwnServer::start().await;
    let reach = async |step| Case::reach(step, Kind::Here, server.database().await).await;
    // Nobody waits long for a beginning: those come last, and then all of them stand there.
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
        (name, case.go_on(reader, Break::PostgresKilled))
    }))
    .await;
}

#[tokio::test]
async fn a_beginning_that_comes_after_its_maker_has_given_up_is_ended_when_its_time_is_up() {
    let database = TestDatabase::new().await;
    let (case, reader) = Case::reach(Step::Sent, Kind::Here, database).await;
    let (parlor, maker, chat) = (&case.parlor, &case.maker, case.chat);
    assert_eq!(reader.finish().await.body["code"], "unavailable");
    case.wire.clear_rules();
    let begun = until("it is stored late", async || stored(parlor).await).await;

    // Nobody makes the reply, and nobody can know that yet: others wait, and who reads it reads on.
    let next = Reader::of(maker.stream(COACH, &message(chat, "the-next")));
    let busy = next.finish().await;
    assert_eq!(
        (busy.status, &busy.body["code"], &busy.body["messageId"]),
        (Some(409), &json!("busy"), &json!(begun.message_id))
    );
    let mut again = Reader::of(maker.stream(COACH, &message(chat, MESSAGE)));
    again
        .until("the start", |seen| seen.start().is_some())
        .await;
    bury(parlor).await;
    let again = again.finish().await;
    let end = terminal(&again.events);
    assert_eq!(
        (&*end.name, &end.data["code"], &end.data["retryable"]),
        ("error", &json!("unavailable"), &json!(true))
    );
    maker.sweep(parlor).await;
    invariants::check(parlor, COACH, chat).await;
    answered(maker, chat, "the-next").await;
    invariants::check(parlor, COACH, chat).await;
    assert_eq!(parlor.simulator.calls_count(), 2);
}

async fn at_each_step(what: Break, kind: Kind) {
    all(what.steps().map(|step| {
        let case = async move {
            let (case, reader) = Case::reach(step, kind, TestDatabase::new().await).await;
            case.go_on(reader, what).await;
        };
        (format!("{step:?}"), case)
    }))
    .await;
}

/// A few at a time: a connection costs a debug build much work, for which statements do not wait.
pub const AT_ONCE: usize = 3;

/// Runs the cases side by side, and says which of them failed.
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

/// What is asked, again and again.
const QUESTION: &str = "今晚有什么要留意的？";
/// What is always answered, in these pieces.
const PIECES: [&str; 6] = [
    "今晚七点，",
    "🎱",
    "二号桌 ",
    "e\u{301}有",
    "位会员\r\n",
    "过生日。",
];
/// The message whose reply is broken off.
const MESSAGE: &str = "the-message-under-test";

fn message(chat: i64, id: &str) -> Value {
    json!({ "chatId": chat, "content": QUESTION, "clientMessageId": id })
}

/// A reply that stands at a step.
struct Case {
    step: Step,
    /// Another instance, to look from. Its simulator is the maker's.
    parlor: Parlor,
    wire: Wire,
    maker: Maker,
    chat: i64,
    /// What was stored of the reply at the step.
    kept: String,
}

/// What is stored of the message and its reply.
#[derive(sqlx::FromRow)]
struct Stored {
    user_message_id: i64,
    message_id: i64,
    content: String,
    state: String,
}

async fn stored(parlor: &Parlor) -> Option<Stored> {
    sqlx::query_as(
        "select u.id as user_message_id, a.id as message_id, a.content, a.state
         from biz.ai_messages u join biz.ai_messages a on a.reply_to = u.id
         where u.client_message_id = $1",
    )
    .bind(MESSAGE)
    .fetch_optional(&parlor.db)
    .await
    .unwrap()
}

impl Case {
    /// With the client that reads the reply.
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
        // The maker has been at work for a while: it knows the user, and has a connection.
        answered(&maker, chat, "the-first").await;

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

    /// Breaks it, starts again what can be, and looks at what is left.
    async fn go_on(mut self, reader: Reader, what: Break) {
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
                if step == Step::Asked {
                    simulator.called(calls + 1).await;
                }
            }
            // PostgreSQL, which others use too, is back already.
            Break::ClientCut | Break::PostgresKilled => {}
        }
        let let_go = || {
            self.wire.clear_rules();
            simulator.release();
        };
        let seen = if what == Break::ClientCut {
            let seen = reader.cut().await;
            let_go();
            seen
        } else {
            let_go();
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
        if what.leaves_nobody_at(step) {
            bury(&self.parlor).await;
        } else {
            self.parlor.settled().await;
        }
        self.maker.sweep(&self.parlor).await;

        self.is_as_it_should_be(what, &seen).await;
        invariants::check(&self.parlor, COACH, chat).await;
        // The same message sent again is there, or is answered now; and so is the next one.
        let again = answered(&self.maker, chat, MESSAGE).await;
        if what.outcome_at(step) != Outcome::Broken {
            assert_eq!(again.text(), PIECES.concat());
        }
        let next = answered(&self.maker, chat, "the-next").await;
        assert_eq!(
            (next.text(), &*next.end().unwrap().name),
            (PIECES.concat(), "done")
        );
        invariants::check(&self.parlor, COACH, chat).await;
        let ill: i64 = sqlx::query_scalar(
            "select count(*) from biz.ai_circuits where state <> 'closed' or failures > 0",
        )
        .fetch_one(&self.parlor.db)
        .await
        .unwrap();
        assert_eq!(ill, 0, "a circuit is not as it was");
    }

    /// The message, its reply, and what the client has seen of it.
    async fn is_as_it_should_be(&self, what: Break, seen: &Seen) {
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
            "{content} is stored, {read} was read"
        );
        match outcome {
            Outcome::Nothing => panic!("{content} is stored"),
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
        let rest = self.read_on(seen.events.last().unwrap()).await;
        let ends = rest
            .iter()
            .filter(|event| matches!(&*event.name, "done" | "error"));
        assert_eq!(ends.count(), 1, "{rest:?}");
        if content.len() >= read.len() {
            assert_eq!(&(read + &text(&rest)), content);
        }
    }

    /// CHAT-5 from the last event that the client has seen.
    async fn read_on(&self, last: &SseEvent) -> Vec<SseEvent> {
        let message = last.id.split_once('-').unwrap().0;
        let path = format!("/api/xcx/chat/stream/{message}");
        let request = self.parlor.request_as(COACH, "GET", &path);
        let response = request.header("Last-Event-ID", &last.id).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream::new(response).rest().await
    }
}

/// Sends a message to the maker, again where the database was just away, and reads its reply.
async fn answered(maker: &Maker, chat: i64, id: &str) -> Seen {
    until("the message is answered", async || {
        let reading = Reader::of(maker.stream(COACH, &message(chat, id)));
        let seen = reading.finish().await;
        assert!(matches!(seen.status, Some(200 | 503)), "{seen:?}");
        (seen.status == Some(200)).then_some(seen)
    })
    .await
}

/// Finds out the connections that PostgreSQL took with it: each costs a request a 503.
pub async fn renew(parlor: &Parlor) {
    let mut held = Vec::new();
    for _ in 0..parlor.tools.db.size() {
        let mut connection = parlor.tools.db.acquire().await.unwrap();
        connection.execute("select 1").await.ok();
        held.push(connection);
    }
}

/// A dead maker renews nothing: its time is up.
async fn bury(parlor: &Parlor) {
    sqlx::query(
        "update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
}

/// Sends the message, and returns when it stands at the step.
async fn reach(step: Step, parlor: &Parlor, wire: &Wire, send: impl FnOnce() -> Reader) -> Reader {
    let simulator = &parlor.simulator;
    match step {
        Step::Sent => {
            let held = wire.delayed();
            wire.delay_messages_with(MESSAGE);
            let reader = send();
            until("it waits", async || (wire.delayed() > held).then_some(())).await;
            reader
        }
        Step::Begun => {
            wire.drop_responses_to(MESSAGE);
            let reader = send();
            until("it is stored", async || stored(parlor).await).await;
            reader
        }
        Step::Asked => asked(parlor, send).await,
        Step::Relayed => {
            let mut reader = asked(parlor, send).await;
            wire.delay_messages_with(PIECES[0]);
            simulator.hold_after(2);
            reader.read(&PIECES[..2].concat()).await;
            reader
        }
        Step::Checkpointed => {
            let mut reader = asked(parlor, send).await;
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
        Step::Said => {
            let mut reader = asked(parlor, send).await;
            let held = wire.delayed();
            wire.delay_messages_with(PROMPT_VERSION);
            simulator.release();
            reader.read(&PIECES.concat()).await;
            until("the end waits", async || {
                (wire.delayed() > held).then_some(())
            })
            .await;
            reader
        }
        Step::Ended => {
            let mut reader = asked(parlor, send).await;
            wire.drop_responses_to(PROMPT_VERSION);
            simulator.release();
            reader.read(&PIECES.concat()).await;
            until("the end is stored", async || {
                (stored(parlor).await?.state == "complete").then_some(())
            })
            .await;
            reader
        }
        Step::Told => {
            let mut reader = send();
            reader
                .until("the end is told", |seen| seen.end().is_some())
                .await;
            reader
        }
    }
}

/// Sends the message, and returns when DashScope stands before its first word.
async fn asked(parlor: &Parlor, send: impl FnOnce() -> Reader) -> Reader {
    parlor.simulator.hold_after(0);
    let mut reader = send();
    parlor.simulator.held(1).await;
    reader
        .until("the start", |seen| seen.start().is_some())
        .await;
    reader
}
