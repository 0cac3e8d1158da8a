//! A proxy in front of PostgreSQL that counts round trips, and can be cut, hung or delayed, for
//! all that is said or for what says certain words.

use std::{
    io::ErrorKind,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// Counts the `Query` messages of clients, and the `Sync` messages that end a statement: each
/// is one round trip. A `Sync` that ends nothing is the pool's own test of a connection that
/// it has been given back: no request waits for it, and it is not counted.
pub struct Wire {
    pub url: String,
    round_trips: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    late_answers: Arc<AtomicUsize>,
    weather: watch::Sender<Weather>,
}

/// Connections are numbered from 1 as they come.
#[derive(Clone, Default)]
struct Weather {
    down: bool,
    /// Connections that begin with more than [`REMEMBERED`] are closed, as `PgBouncer` does.
    refuses_settings: bool,
    /// How often all connections were cut.
    cuts: usize,
    /// Messages that say this wait, and with them what comes after them on their connection.
    holds: Option<String>,
    /// Messages that say this are handed on, and their connection hears nothing from then on.
    loses_answers_to: Option<String>,
    connections: usize,
    /// The messages of connections up to this one wait.
    holds_requests_to: usize,
    /// But a test of the connection does not, unless it comes after a message that does.
    spares_tests: bool,
    /// The answers to connections up to this one wait.
    holds_answers_to: usize,
}

impl Wire {
    /// In front of the server of this URL.
    pub async fn before(url: &str) -> Self {
        let mut parsed = reqwest::Url::parse(url).unwrap();
        let upstream = format!(
            "{}:{}",
            parsed.host_str().unwrap(),
            parsed.port().unwrap_or(5432)
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        parsed.set_host(Some("127.0.0.1")).unwrap();
        parsed
            .set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let wire = Self {
            url: parsed.to_string(),
            round_trips: Arc::default(),
            held: Arc::default(),
            late_answers: Arc::default(),
            weather: watch::Sender::default(),
        };
        let (weather, count, held, late_answers) = (
            wire.weather.clone(),
            Arc::clone(&wire.round_trips),
            Arc::clone(&wire.held),
            Arc::clone(&wire.late_answers),
        );
        #[expect(clippy::disallowed_methods, reason = "the proxy of a test")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if weather.borrow().down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                weather.send_modify(|weather| weather.connections += 1);
                let relay = Relay {
                    number: weather.borrow().connections,
                    cuts: weather.borrow().cuts,
                    is_deaf: AtomicBool::new(false),
                    weather: weather.subscribe(),
                    count: Arc::clone(&count),
                    held: Arc::clone(&held),
                    was_held: AtomicBool::new(false),
                    late_answers: Arc::clone(&late_answers),
                };
                tokio::spawn(relay.run(client, server));
            }
        });
        wire
    }

    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// Connections that were taken, so far.
    pub fn connections(&self) -> usize {
        self.weather.borrow().connections
    }

    /// Messages that were made to wait, so far.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Answers of the server to messages that had been made to wait, so far.
    pub fn late_answers(&self) -> usize {
        self.late_answers.load(Ordering::SeqCst)
    }

    /// Cuts every connection, and what it was about to say is never said. New ones are taken.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Cuts every connection and takes no new ones.
    pub fn go_down(&self) {
        self.weather.send_modify(|weather| weather.down = true);
    }

    /// Takes no connections that begin with settings which a proxy would have to remember.
    pub fn refuse_settings(&self) {
        self.weather
            .send_modify(|weather| weather.refuses_settings = true);
    }

    /// Swallows what every connection says, new ones too, as a network does that drops packets.
    pub fn fall_silent(&self) {
        self.weather
            .send_modify(|weather| weather.holds_requests_to = usize::MAX);
    }

    /// Takes connections again. Those that fell silent stay so: nobody tells them.
    pub fn come_up(&self) {
        self.weather.send_modify(|weather| {
            weather.down = false;
            weather.holds_requests_to = weather.holds_requests_to.min(weather.connections);
        });
    }

    /// Holds back what the connections there are now say, from their next statement on; new ones are
    /// not concerned. sqlx waits without end for the answer to its own test of a connection that it has
    /// been given back, so a connection that is just being tested gets that answer.
    pub fn hold_requests(&self) {
        self.weather.send_modify(|weather| {
            weather.holds_requests_to = weather.connections;
            weather.spares_tests = true;
        });
    }

    /// Delivers what was held back, late.
    pub fn deliver(&self) {
        self.weather.send_modify(|weather| {
            weather.holds_requests_to = 0;
            weather.spares_tests = false;
        });
    }

    /// Holds back each message that says this, a parameter's text for example, on whatever
    /// connection, until [`Wire::mind_nothing`].
    pub fn hold_what_says(&self, words: &str) {
        self.weather
            .send_modify(|weather| weather.holds = Some(words.to_owned()));
    }

    /// Loses the answer to each message that says this: what it asks is done all the same.
    pub fn lose_answers_to(&self, words: &str) {
        self.weather
            .send_modify(|weather| weather.loses_answers_to = Some(words.to_owned()));
    }

    /// Delivers what was held back for its words, and loses no further answers. A connection that
    /// has lost one stays deaf.
    pub fn mind_nothing(&self) {
        self.weather.send_modify(|weather| {
            weather.holds = None;
            weather.loses_answers_to = None;
        });
    }

    /// Loses the answers to the connections there are now: what they ask is done all the same.
    pub fn lose_answers(&self) {
        self.weather
            .send_modify(|weather| weather.holds_answers_to = weather.connections);
    }
}

/// Parameters of a start-up message that every proxy knows.
const REMEMBERED: [&str; 6] = [
    "user",
    "database",
    "application_name",
    "client_encoding",
    "DateStyle",
    "TimeZone",
];

/// Whether a start-up message says more. It is a version, then names and values, each ended by a NUL.
fn has_settings(start: &[u8]) -> bool {
    let parameters = start.get(4..).unwrap_or_default().split(|byte| *byte == 0);
    let mut names = parameters.step_by(2).take_while(|name| !name.is_empty());
    names.any(|name| !REMEMBERED.iter().any(|known| known.as_bytes() == name))
}

/// Whether a message holds these words.
fn says(message: &[u8], words: Option<&str>) -> bool {
    words.is_some_and(|words| {
        message
            .windows(words.len())
            .any(|part| part == words.as_bytes())
    })
}

struct Relay {
    number: usize,
    /// As many cuts as there had been when it was made.
    cuts: usize,
    is_deaf: AtomicBool,
    weather: watch::Receiver<Weather>,
    count: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    was_held: AtomicBool,
    late_answers: Arc<AtomicUsize>,
}

impl Relay {
    async fn run(self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut weather = self.weather.clone();
        tokio::select! {
            // First, so that nothing is delivered that a cut has swallowed.
            biased;
            _ = weather.wait_for(|weather| weather.down || weather.cuts > self.cuts) => {}
            () = async {
                let ended = self.forth(from_client, to_server).await;
                if ended.is_err_and(|err| err.kind() == ErrorKind::Unsupported) {
                    return;
                }
                // A client that leaves does not undo what it has said: the server hears it to its end.
                std::future::pending::<()>().await;
            } => {}
            _ = self.back(from_server, to_client) => {}
        }
    }

    /// Hands messages on, whole, and counts those that wait for an answer.
    async fn forth(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut weather = self.weather.clone();
        // Until the start-up message has gone, messages have no type.
        let mut kind = None;
        let mut says_something = false;
        loop {
            let length = client.read_u32().await?;
            let mut body = vec![0; length as usize - 4];
            client.read_exact(&mut body).await?;
            match kind {
                Some(b'Q') => _ = self.count.fetch_add(1, Ordering::SeqCst),
                Some(b'S') if says_something => _ = self.count.fetch_add(1, Ordering::SeqCst),
                _ => {}
            }
            if kind.is_none() && weather.borrow().refuses_settings && has_settings(&body) {
                return Err(ErrorKind::Unsupported.into());
            }
            let is_test = kind == Some(b'S') && !says_something;
            says_something = kind != Some(b'S');
            let passes = |weather: &Weather| {
                let is_spared = is_test && weather.spares_tests;
                (self.number > weather.holds_requests_to || is_spared)
                    && !says(&body, weather.holds.as_deref())
            };
            if !passes(&weather.borrow()) {
                self.held.fetch_add(1, Ordering::SeqCst);
                weather.wait_for(passes).await.ok();
                self.was_held.store(true, Ordering::SeqCst);
            }
            if says(&body, weather.borrow().loses_answers_to.as_deref()) {
                self.is_deaf.store(true, Ordering::SeqCst);
            }
            let mut message: Vec<u8> = kind.into_iter().collect();
            message.extend(length.to_be_bytes());
            message.extend(&body);
            server.write_all(&message).await?;
            let asks_for_tls = kind.is_none() && body.starts_with(&80_877_103_u32.to_be_bytes());
            if !asks_for_tls {
                kind = Some(client.read_u8().await?);
            }
        }
    }

    async fn back(
        &self,
        mut server: OwnedReadHalf,
        mut client: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut weather = self.weather.clone();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let length = server.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            if self.was_held.load(Ordering::SeqCst) {
                self.late_answers.fetch_add(1, Ordering::SeqCst);
            }
            let passes = |weather: &Weather| self.number > weather.holds_answers_to;
            weather.wait_for(passes).await.ok();
            if self.is_deaf.load(Ordering::SeqCst) {
                continue;
            }
            client.write_all(&chunk[..length]).await?;
        }
    }
}
