//! Two servers on one database that are killed again and again while clients and jobs keep both
//! busy.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    jobs::column,
    parlor::{COACH, Parlor, STAFF, Setup},
    reader::{Reader, Seen},
    server::{Server, choose_applications},
    until, until_within,
};

const CLIENTS: usize = 6;
const MESSAGES: usize = 6;
const KILLS: usize = 6;
const JOBS: i64 = 8;
/// On a machine that is busy with a build.
const LONGEST: Duration = Duration::from_secs(60);
/// A second of text, so that most kills hit a reply.
const QUESTION: &str = "[[sim:slow:1]]今天谁过生日？";

const VARIABLES: [(&str, &str); 3] = [
    ("CHAT_RATE_PER_MINUTE", "10000"),
    ("CHAT_MAX_STREAMS", "1000"),
    ("SHUTDOWN_SECONDS", "5"),
];

struct Crowd {
    parlor: Parlor,
    servers: RefCell<[Server; 2]>,
    random: RefCell<fastrand::Rng>,
    /// Replies that clients have read, completely or not.
    answers: Cell<usize>,
    complete: Cell<usize>,
    /// User and conversation.
    chats: RefCell<Vec<(i64, i64)>>,
}

impl Crowd {
    async fn start() -> Self {
        let parlor = Parlor::with_business(Setup::default()).await;
        choose_applications(&parlor).await;
        // A call takes a moment, so that kills hit jobs, too.
        let slowly = Some("silent:1".parse().unwrap());
        parlor.simulator.set_scenario(Some("app3_clue"), slowly);
        let servers = [start(&parlor).await, start(&parlor).await];
        Self {
            parlor,
            servers: RefCell::new(servers),
            random: RefCell::new(fastrand::Rng::with_seed(24)),
            answers: Cell::default(),
            complete: Cell::default(),
            chats: RefCell::default(),
        }
    }

    /// Sends messages to either server until each is accepted. After a broken stream, it continues
    /// in a new conversation: the old one is busy until the lease of its reply ends.
    async fn talk(&self, client: usize) {
        let user = [COACH, STAFF][client % 2];
        let (chat, tries) = (Cell::new(None), Cell::new(0));
        for _ in 0..MESSAGES {
            let seen = until_within(LONGEST, "the message is accepted", async || {
                tries.set(tries.get() + 1);
                let id = format!("{client}-{}", tries.get());
                let current = match chat.take() {
                    Some(chat) => chat,
                    None => self.open(user, &id).await,
                };
                let seen = self.send(user, current, &id).await;
                let is_done = seen.end().is_some_and(|end| end.name == "done");
                chat.set(is_done.then_some(current));
                (seen.status == Some(200)).then_some(is_done)
            })
            .await;
            self.answers.set(self.answers.get() + 1);
            self.complete.set(self.complete.get() + usize::from(seen));
        }
    }

    async fn open(&self, user: i64, id: &str) -> i64 {
        let chat = self.parlor.open(user, id).await;
        self.chats.borrow_mut().push((user, chat));
        chat
    }

    /// Sends a message to one of the servers, which may be away at this moment.
    async fn send(&self, user: i64, chat: i64, id: &str) -> Seen {
        let body = json!({ "chatId": chat, "content": QUESTION, "clientMessageId": id });
        let server = self.random.borrow_mut().usize(..2);
        let request = self.servers.borrow()[server].stream(user, &body);
        Reader::of(request).finish().await
    }

    /// Kills a server after every few replies, and starts another in its place.
    async fn kill(&self) {
        for kill in 1..=KILLS {
            until_within(LONGEST, "replies are read", async || {
                (self.answers.get() >= kill * CLIENTS * MESSAGES / (KILLS + 2)).then_some(())
            })
            .await;
            let victim = self.random.borrow_mut().usize(..2);
            self.servers.borrow()[victim].program.kill();
            let server = start(&self.parlor).await;
            self.servers.borrow_mut()[victim] = server;
        }
    }
}

async fn start(parlor: &Parlor) -> Server {
    Server::start_with(parlor, &["--migrate"], &VARIABLES).await
}

#[tokio::test]
async fn servers_killed_at_random_under_load_keep_the_invariants() {
    let crowd = Crowd::start().await;
    let mut jobs = Vec::new();
    for job in 0..JOBS {
        jobs.push(crowd.parlor.member_paid(10_001 + job, job + 1).await);
    }
    let clients = join_all((0..CLIENTS).map(|client| crowd.talk(client)));
    tokio::join!(clients, crowd.kill());
    let Crowd {
        parlor,
        servers,
        complete,
        chats,
        ..
    } = crowd;
    assert!(complete.get() >= CLIENTS, "{} complete", complete.get());
    for mut server in servers.into_inner() {
        server.program.terminate();
        assert_eq!(server.program.ended().await, Some(0));
        let panics = server.log().into_iter();
        let panics: Vec<_> = panics
            .filter(|line| line["message"] == "panicked")
            .collect();
        assert_eq!(panics, [] as [Value; 0]);
    }

    parlor
        .execute("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
        .await;
    parlor.work_until_done().await;
    parlor.expire_leases_and_sweep().await;
    until("no reply is in progress", async || {
        let streaming: i64 =
            sqlx::query_scalar("select count(*) from biz.ai_messages where state = 'streaming'")
                .fetch_one(&parlor.db)
                .await
                .unwrap();
        (streaming == 0).then_some(())
    })
    .await;
    for (user, chat) in chats.into_inner() {
        invariants::check_stored(&parlor, user, chat).await;
    }
    invariants::check_jobs(&parlor).await;
    for job in jobs {
        assert_eq!(parlor.job(job).await["status"], "succeeded");
        let runs = parlor.runs(job).await;
        let paid = column(&runs, "status");
        let paid = paid.iter().filter(|status| **status == "success").count();
        assert!(paid > 0 && paid <= 3, "{runs:?}");
    }
}
