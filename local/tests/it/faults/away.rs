//! PostgreSQL is unavailable for ten seconds while users read and write. It is killed, or it does
//! not respond.

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

use super::expire_leases;
use crate::harness::{
    database::{OwnServer, TestDatabase},
    events::{EventStream, terminal, text},
    faces, invariants,
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, Setup},
    reader::Reader,
    until, until_within,
    wire::Wire,
};

/// How long PostgreSQL is unavailable.
const AWAY: Duration = Duration::from_secs(10);
/// The time in which a client must get an error: three seconds, plus one for a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than any request takes.
const LONGEST: Duration = Duration::from_secs(60);
/// The pause between two requests of a user.
const PAUSE: Duration = Duration::from_millis(250);

const USERS: [i64; 4] = [COACH, STAFF, OTHER_SITE, 2004];
const CONTENT: &str = "[[sim:say:数据库|不在，|话还|在说。]]你好";
const REPLY: &str = "数据库不在，话还在说。";

#[tokio::test]
async fn postgresql_killed_for_ten_seconds_gives_503s_and_loses_no_reply() {
    let mut server = OwnServer::start().await;
    let parlor = Parlor::start_with(Setup {
        database: Some(Arc::new(server.database().await)),
        ..Setup::default()
    })
    .await;
    let town = Users::of(&parlor).await;
    let (server, gone) = (&mut server, &town.gone);
    town.run_during(async move || {
        server.kill().await;
        gone.set(true);
        sleep(AWAY).await;
        server.start_again().await;
    })
    .await;
}

#[tokio::test]
async fn postgresql_silent_for_ten_seconds_gives_503s_and_loses_no_reply() {
    let database = TestDatabase::new().await;
    let wire = Wire::before(database.url()).await;
    let parlor = Parlor::start_with(Setup {
        database_url: Some(wire.url.clone()),
        database: Some(Arc::new(database)),
        ..Setup::default()
    })
    .await;
    let town = Users::of(&parlor).await;
    town.run_during(async || {
        wire.stop_forwarding();
        town.gone.set(true);
        sleep(AWAY).await;
        wire.restore();
    })
    .await;
}

/// Users who read and write all the time.
struct Users<'a> {
    parlor: &'a Parlor,
    /// The number of users whose first request succeeded.
    satisfied: Cell<usize>,
    gone: Cell<bool>,
    back: Cell<bool>,
    /// Errors during the outage.
    refusals: Cell<usize>,
    /// The messages that got a reply.
    answered: RefCell<Vec<String>>,
}

/// What a user repeats.
#[derive(Clone, Copy, Debug)]
enum Action {
    Streams,
    Sends,
    Lists,
}

impl<'a> Users<'a> {
    async fn of(parlor: &'a Parlor) -> Self {
        sqlx::query(
            "update biz.ai_budgets set daily_limit = 1000000000, monthly_limit = 1000000000",
        )
        .execute(&parlor.db)
        .await
        .unwrap();
        Self {
            parlor,
            satisfied: Cell::default(),
            gone: Cell::default(),
            back: Cell::default(),
            refusals: Cell::default(),
            answered: RefCell::default(),
        }
    }

    /// Runs all users during an outage and until their requests succeed again. Then checks the
    /// data.
    async fn run_during(&self, outage: impl AsyncFnOnce()) {
        let parlor = self.parlor;
        let mut paused = Vec::new();
        for user in USERS {
            let chat = parlor.open(user, "half-said").await;
            let content = CONTENT.replace("[[sim:", "[[sim:gate:2+");
            let body =
                json!({ "chatId": chat, "content": content, "clientMessageId": "half-said" });
            let stream = parlor.request_as(user, "POST", "/api/xcx/chat/stream");
            let mut reader = Reader::of(stream.json(&body));
            reader.read("数据库不在，").await;
            paused.push(reader);
        }
        let actions = [Action::Streams, Action::Sends, Action::Lists];
        let lives = USERS.iter().flat_map(|user| {
            let lives = actions.map(|action| self.run_user(*user, action));
            lives.into_iter()
        });
        let outage_task = async {
            let all = USERS.len() * actions.len();
            until("all users have succeeded once", async || {
                (self.satisfied.get() == all).then_some(())
            })
            .await;
            let outage = outage();
            // The paused streams finish during the outage, while none of their text can be stored.
            let release = async {
                until_down(&self.gone).await;
                parlor.simulator.release();
            };
            tokio::join!(outage, release);
            self.back.set(true);
        };
        tokio::join!(join_all(lives), outage_task);
        assert!(self.refusals.get() > 0, "no request failed");

        for reader in paused {
            let seen = reader.finish().await;
            assert_eq!(seen.text(), REPLY);
            assert_eq!(terminal(&seen.events).data["status"], "complete");
        }
        // All streams have ended. A reply that is still running was stored, but its maker got no
        // response.
        expire_leases(parlor).await;
        sweep(&parlor.db, 90).await.unwrap();
        self.check_data().await;
    }

    async fn run_user(&self, user: i64, action: Action) {
        let mut chat = self.opens(user, action, 0).await;
        for turn in 1.. {
            let was_back = self.back.get();
            let id = format!("{action:?}-{turn}");
            let status = match action {
                Action::Streams => self.streams(user, chat, &id).await,
                Action::Sends => self.sends(user, chat, &id).await,
                Action::Lists => self.lists(user, chat, turn).await,
            };
            match status {
                200 if turn == 1 => self.satisfied.set(self.satisfied.get() + 1),
                200 if was_back => return,
                // The conversation has a reply whose maker got no response from the database.
                409 => chat = self.opens(user, action, turn).await,
                _ => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Opens a conversation, also during the outage.
    async fn opens(&self, user: i64, action: Action, turn: usize) -> i64 {
        let path = format!("/api/xcx/chat/messages?contextType=task&contextId={action:?}-{turn}");
        until_within(LONGEST, "a conversation is open", async || {
            let response = send(self.parlor.request_as(user, "GET", &path)).await;
            let page = self.answer(&path, response).await?;
            page["chatId"].as_i64()
        })
        .await
    }

    async fn streams(&self, user: i64, chat: i64, id: &str) -> u16 {
        let path = "/api/xcx/chat/stream";
        let body = json!({ "chatId": chat, "content": CONTENT, "clientMessageId": id });
        let response = send(self.parlor.request_as(user, "POST", path).json(&body)).await;
        let status = response.status().as_u16();
        if status != 200 {
            self.answer(path, response).await;
            return status;
        }
        let mut stream = EventStream::new(response);
        let events = timeout(LONGEST, stream.rest())
            .await
            .expect("the request hangs");
        assert_eq!(terminal(&events).data["status"], "complete", "{events:?}");
        assert_eq!(text(&events), REPLY);
        self.answered.borrow_mut().push(format!("{chat}/{id}"));
        status
    }

    async fn sends(&self, user: i64, chat: i64, id: &str) -> u16 {
        let path = format!("/api/xcx/chat/{chat}/messages");
        let body = json!({ "content": CONTENT, "clientMessageId": id });
        let response = send(self.parlor.request_as(user, "POST", &path).json(&body)).await;
        let status = response.status().as_u16();
        if let Some(body) = self.answer(&path, response).await {
            assert_eq!(body["aiReply"]["status"], "complete", "{body}");
            assert_eq!(body["aiReply"]["content"], REPLY);
            self.answered.borrow_mut().push(format!("{chat}/{id}"));
        }
        status
    }

    /// Alternates between CHAT-1 and CHAT-2a.
    async fn lists(&self, user: i64, chat: i64, turn: usize) -> u16 {
        let path = if turn.is_multiple_of(2) {
            format!("/api/xcx/chat/{chat}/messages")
        } else {
            "/api/xcx/chat/history".to_owned()
        };
        let response = send(self.parlor.request_as(user, "GET", &path)).await;
        let status = response.status().as_u16();
        self.answer(&path, response).await;
        status
    }

    /// The body of a 200 response. Otherwise checks that the error is one of the two allowed ones.
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

    /// Checks that each message with a reply is stored once, and that all invariants are valid.
    async fn check_data(&self) {
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

async fn until_down(gone: &Cell<bool>) {
    until("the database is down", async || gone.get().then_some(())).await;
}

/// Sends a request. An error must come within [`PATIENCE`]; a success may wait for the database.
async fn send(request: RequestBuilder) -> Response {
    let mut asking = pin!(request.send());
    if let Ok(response) = timeout(PATIENCE, &mut asking).await {
        return response.unwrap();
    }
    let response = timeout(LONGEST, asking)
        .await
        .expect("the request hangs")
        .unwrap();
    assert_eq!(response.status(), 200, "a late error");
    response
}
