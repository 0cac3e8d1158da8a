//! PostgreSQL is away for ten seconds while people read and write: killed, or fallen silent.

use crate::harness::sweep;
use std::{
    cell::{Cell, RefCell},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::bury;
use crate::harness::{
    database::{OwnServer, TestDatabase},
    events::{EventStream, terminal, text},
    faces, invariants,
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, Setup},
    reader::Reader,
    until, until_within,
    wire::Wire,
};

/// How long it is away.
const AWAY: Duration = Duration::from_secs(10);
/// How long a client waits for a refusal: three seconds, and a little for a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longer than anything takes.
const LONGEST: Duration = Duration::from_secs(60);
/// People think before they go on.
const PAUSE: Duration = Duration::from_millis(250);

const USERS: [i64; 4] = [COACH, STAFF, OTHER_SITE, 2004];
const CONTENT: &str = "[[sim:say:数据库|不在，|话还|在说。]]你好";
const REPLY: &str = "数据库不在，话还在说。";

#[tokio::test]
async fn postgresql_killed_for_ten_seconds_is_a_503_in_time_and_costs_no_reply() {
    let mut server = OwnServer::start().await;
    let parlor = Parlor::start_with(Setup {
        database: Some(Arc::new(server.database().await)),
        ..Setup::default()
    })
    .await;
    let town = Town::of(&parlor).await;
    let (server, gone) = (&mut server, &town.gone);
    town.lives_through(async move || {
        server.kill().await;
        gone.set(true);
        sleep(AWAY).await;
        server.start_again().await;
    })
    .await;
}

#[tokio::test]
async fn postgresql_silent_for_ten_seconds_is_a_503_in_time_and_costs_no_reply() {
    let database = TestDatabase::new().await;
    let wire = Wire::before(database.url()).await;
    let parlor = Parlor::start_with(Setup {
        database_url: Some(wire.url.clone()),
        database: Some(Arc::new(database)),
        ..Setup::default()
    })
    .await;
    let town = Town::of(&parlor).await;
    town.lives_through(async || {
        wire.stop_forwarding();
        town.gone.set(true);
        sleep(AWAY).await;
        wire.restore();
    })
    .await;
}

/// People who go on reading and writing.
struct Town<'a> {
    parlor: &'a Parlor,
    /// How many of them have got what they wanted, at least once.
    content: Cell<usize>,
    gone: Cell<bool>,
    back: Cell<bool>,
    /// Refusals while it was away.
    refusals: Cell<usize>,
    /// The messages that were answered.
    answered: RefCell<Vec<String>>,
}

/// What somebody does again and again.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Streams,
    Sends,
    Lists,
}

impl<'a> Town<'a> {
    async fn of(parlor: &'a Parlor) -> Self {
        sqlx::query(
            "update biz.ai_budgets set daily_limit = 1000000000, monthly_limit = 1000000000",
        )
        .execute(&parlor.db)
        .await
        .unwrap();
        Self {
            parlor,
            content: Cell::default(),
            gone: Cell::default(),
            back: Cell::default(),
            refusals: Cell::default(),
            answered: RefCell::default(),
        }
    }

    /// All of them live while the database goes away and comes back, and until they are content
    /// again; then everything is in order.
    async fn lives_through(&self, outage: impl AsyncFnOnce()) {
        let parlor = self.parlor;
        let mut half_said = Vec::new();
        for user in USERS {
            let chat = parlor.open(user, "half-said").await;
            let content = CONTENT.replace("[[sim:", "[[sim:gate:2+");
            let body =
                json!({ "chatId": chat, "content": content, "clientMessageId": "half-said" });
            let stream = parlor.request_as(user, "POST", "/api/xcx/chat/stream");
            let mut reader = Reader::of(stream.json(&body));
            reader.read("数据库不在，").await;
            half_said.push(reader);
        }
        let habits = [Habit::Streams, Habit::Sends, Habit::Lists];
        let lives = USERS.iter().flat_map(|user| {
            let lives = habits.map(|habit| self.life(*user, habit));
            lives.into_iter()
        });
        let director = async {
            let all = USERS.len() * habits.len();
            until("all are content", async || {
                (self.content.get() == all).then_some(())
            })
            .await;
            let outage = outage();
            // What is half said is said to its end while nothing of it can be stored.
            let release = async {
                until_gone(&self.gone).await;
                parlor.simulator.release();
            };
            tokio::join!(outage, release);
            self.back.set(true);
        };
        tokio::join!(join_all(lives), director);
        assert!(self.refusals.get() > 0, "nobody noticed");

        for reader in half_said {
            let seen = reader.finish().await;
            assert_eq!(seen.text(), REPLY);
            assert_eq!(terminal(&seen.events).data["status"], "complete");
        }
        // Every stream has ended: a reply that is still being made has a beginning that was lost.
        bury(parlor).await;
        sweep(&parlor.db, 90).await.unwrap();
        self.is_in_order().await;
    }

    async fn life(&self, user: i64, habit: Habit) {
        let mut chat = self.opens(user, habit, 0).await;
        for turn in 1.. {
            let was_back = self.back.get();
            let id = format!("{habit:?}-{turn}");
            let status = match habit {
                Habit::Streams => self.streams(user, chat, &id).await,
                Habit::Sends => self.sends(user, chat, &id).await,
                Habit::Lists => self.lists(user, chat, turn).await,
            };
            match status {
                200 if turn == 1 => self.content.set(self.content.get() + 1),
                200 if was_back => return,
                // It has a reply whose beginning was lost.
                409 => chat = self.opens(user, habit, turn).await,
                _ => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Finds or makes a conversation, however long that takes.
    async fn opens(&self, user: i64, habit: Habit, turn: usize) -> i64 {
        let path = format!("/api/xcx/chat/messages?contextType=task&contextId={habit:?}-{turn}");
        until_within(LONGEST, "a conversation is open", async || {
            let response = ask(self.parlor.request_as(user, "GET", &path)).await;
            let page = self.answer(&path, response).await?;
            page["chatId"].as_i64()
        })
        .await
    }

    /// CHAT-4.
    async fn streams(&self, user: i64, chat: i64, id: &str) -> u16 {
        let path = "/api/xcx/chat/stream";
        let body = json!({ "chatId": chat, "content": CONTENT, "clientMessageId": id });
        let response = ask(self.parlor.request_as(user, "POST", path).json(&body)).await;
        let status = response.status().as_u16();
        if status != 200 {
            self.answer(path, response).await;
            return status;
        }
        let mut stream = EventStream::new(response);
        let events = timeout(LONGEST, stream.rest()).await.expect("it hangs");
        assert_eq!(terminal(&events).data["status"], "complete", "{events:?}");
        assert_eq!(text(&events), REPLY);
        self.answered.borrow_mut().push(format!("{chat}/{id}"));
        status
    }

    /// CHAT-3.
    async fn sends(&self, user: i64, chat: i64, id: &str) -> u16 {
        let path = format!("/api/xcx/chat/{chat}/messages");
        let body = json!({ "content": CONTENT, "clientMessageId": id });
        let response = ask(self.parlor.request_as(user, "POST", &path).json(&body)).await;
        let status = response.status().as_u16();
        if let Some(body) = self.answer(&path, response).await {
            assert_eq!(body["aiReply"]["status"], "complete", "{body}");
            assert_eq!(body["aiReply"]["content"], REPLY);
            self.answered.borrow_mut().push(format!("{chat}/{id}"));
        }
        status
    }

    /// CHAT-1 and CHAT-2a by turns.
    async fn lists(&self, user: i64, chat: i64, turn: usize) -> u16 {
        let path = if turn.is_multiple_of(2) {
            format!("/api/xcx/chat/{chat}/messages")
        } else {
            "/api/xcx/chat/history".to_owned()
        };
        let response = ask(self.parlor.request_as(user, "GET", &path)).await;
        let status = response.status().as_u16();
        self.answer(&path, response).await;
        status
    }

    /// The body of a good answer. Any other is one of the two that there may be now.
    async fn answer(&self, path: &str, response: Response) -> Option<Value> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.unwrap();
        if status == 200 {
            return Some(body);
        }
        faces::check(path, &headers, &body);
        match (status, body["code"].as_str()) {
            (503, Some("unavailable")) => {
                assert_eq!(headers["retry-after"], "1");
                self.refusals.set(self.refusals.get() + 1);
            }
            (409, Some("busy")) => assert!(body["messageId"].is_i64(), "{body}"),
            other => panic!("{path}: {other:?}"),
        }
        None
    }

    /// Every answered message is there once, and every conversation is as it should be.
    async fn is_in_order(&self) {
        let parlor = self.parlor;
        let chats: Vec<(i64, i64)> = sqlx::query_as("select user_id, id from biz.ai_conversations")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
        for (user, chat) in chats {
            invariants::check_conversation(parlor, user, chat).await;
        }
        invariants::check_books(parlor).await;
        let complete: Vec<String> = sqlx::query_scalar(
            "select concat(u.conversation_id, '/', u.client_message_id)
             from biz.ai_messages u join biz.ai_messages a on a.reply_to = u.id
             where a.state = 'complete' and u.client_message_id <> 'half-said'",
        )
        .fetch_all(&parlor.db)
        .await
        .unwrap();
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        assert_eq!(sorted(complete), sorted(self.answered.take()));
    }
}

async fn until_gone(gone: &Cell<bool>) {
    until("it is gone", async || gone.get().then_some(())).await;
}

/// Asks. A refusal comes in time; only a good answer may wait for the database to come back.
async fn ask(request: RequestBuilder) -> Response {
    let mut asking = pin!(request.send());
    if let Ok(response) = timeout(PATIENCE, &mut asking).await {
        return response.unwrap();
    }
    let response = timeout(LONGEST, asking).await.expect("it hangs").unwrap();
    assert_eq!(response.status(), 200, "a refusal that came late");
    response
}
