//! A proxy in front of PostgreSQL. It counts round trips and can cut, block or delay connections,
//! either all messages or only those that contain a given text.

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

/// Counts the clients' `Query` messages and the `Sync` messages that end a statement; each is one
/// round trip. A `Sync` without a statement is the pool's test of a returned connection. It is not
/// counted, because no request waits for it.
pub struct Wire {
    pub url: String,
    round_trips: Arc<AtomicUsize>,
    delayed: Arc<AtomicUsize>,
    late_responses: Arc<AtomicUsize>,
    faults: watch::Sender<Faults>,
}

/// What the proxy does to connections. Connections are numbered from 1 in the order of arrival.
#[derive(Clone, Default)]
struct Faults {
    down: bool,
    /// Closes connections whose start-up message has parameters other than [`REMEMBERED`], as
    /// `PgBouncer` does.
    refuses_settings: bool,
    /// How often all connections were cut.
    cuts: usize,
    /// Messages that contain this text are delayed, and so are later ones on the same connection.
    delays: Option<String>,
    /// Messages that contain this text are forwarded, but their connection receives nothing
    /// afterwards.
    drops_responses_to: Option<String>,
    connections: usize,
    /// Messages of connections up to this number are delayed.
    delays_requests_to: usize,
    /// Connection tests are forwarded even so, unless an earlier message on the connection is
    /// delayed.
    spares_tests: bool,
    /// Responses to connections up to this number are delayed.
    delays_responses_to: usize,
}

impl Wire {
    /// Starts a proxy for the server of this URL.
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
            delayed: Arc::default(),
            late_responses: Arc::default(),
            faults: watch::Sender::default(),
        };
        let (faults, count, delayed, late_responses) = (
            wire.faults.clone(),
            Arc::clone(&wire.round_trips),
            Arc::clone(&wire.delayed),
            Arc::clone(&wire.late_responses),
        );
        #[expect(clippy::disallowed_methods, reason = "the proxy of a test")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if faults.borrow().down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                faults.send_modify(|faults| faults.connections += 1);
                let relay = Relay {
                    number: faults.borrow().connections,
                    cuts: faults.borrow().cuts,
                    drops_responses: AtomicBool::new(false),
                    faults: faults.subscribe(),
                    count: Arc::clone(&count),
                    delayed: Arc::clone(&delayed),
                    was_delayed: AtomicBool::new(false),
                    late_responses: Arc::clone(&late_responses),
                };
                tokio::spawn(relay.run(client, server));
            }
        });
        wire
    }

    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.faults.borrow().connections
    }

    /// Messages delayed so far.
    pub fn delayed(&self) -> usize {
        self.delayed.load(Ordering::SeqCst)
    }

    /// Responses from the server to messages that were delayed, so far.
    pub fn late_responses(&self) -> usize {
        self.late_responses.load(Ordering::SeqCst)
    }

    /// Cuts every connection and drops data in transit. New connections are accepted.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Cuts every connection and accepts no new ones.
    pub fn go_down(&self) {
        self.faults.send_modify(|faults| faults.down = true);
    }

    /// Closes connections that begin with settings which a transaction pooler does not support.
    pub fn refuse_settings(&self) {
        self.faults
            .send_modify(|faults| faults.refuses_settings = true);
    }

    /// Delays all messages of all connections, also of new ones, as a network that drops packets
    /// does.
    pub fn stop_forwarding(&self) {
        self.faults
            .send_modify(|faults| faults.delays_requests_to = usize::MAX);
    }

    /// Accepts and forwards connections again. Connections made before stay blocked if they were.
    pub fn restore(&self) {
        self.faults.send_modify(|faults| {
            faults.down = false;
            faults.delays_requests_to = faults.delays_requests_to.min(faults.connections);
        });
    }

    /// Delays messages of the present connections from their next statement on. New connections are
    /// not affected. A connection test still gets its response, because sqlx waits for it without a
    /// timeout.
    pub fn delay_requests(&self) {
        self.faults.send_modify(|faults| {
            faults.delays_requests_to = faults.connections;
            faults.spares_tests = true;
        });
    }

    /// Forwards the messages that [`Self::delay_requests`] delays.
    pub fn deliver(&self) {
        self.faults.send_modify(|faults| {
            faults.delays_requests_to = 0;
            faults.spares_tests = false;
        });
    }

    /// Delays each message that contains `words` (a parameter's text, for example) on any
    /// connection, until [`Wire::clear_rules`].
    pub fn delay_messages_with(&self, words: &str) {
        self.faults
            .send_modify(|faults| faults.delays = Some(words.to_owned()));
    }

    /// Drops the responses to each message that contains `words`. The server still executes the
    /// message.
    pub fn drop_responses_to(&self, words: &str) {
        self.faults
            .send_modify(|faults| faults.drops_responses_to = Some(words.to_owned()));
    }

    /// Ends [`Self::delay_messages_with`] and [`Self::drop_responses_to`]. A connection whose
    /// response was dropped still receives nothing.
    pub fn clear_rules(&self) {
        self.faults.send_modify(|faults| {
            faults.delays = None;
            faults.drops_responses_to = None;
        });
    }

    /// Drops the responses to the present connections. The server still executes their messages.
    pub fn drop_responses(&self) {
        self.faults
            .send_modify(|faults| faults.delays_responses_to = faults.connections);
    }
}

/// Start-up parameters that every pooler supports.
const REMEMBERED: [&str; 6] = [
    "user",
    "database",
    "application_name",
    "client_encoding",
    "DateStyle",
    "TimeZone",
];

/// True if a start-up message has other parameters. Its format is a version, then names and values,
/// each ended by a NUL.
fn has_settings(start: &[u8]) -> bool {
    let parameters = start.get(4..).unwrap_or_default().split(|byte| *byte == 0);
    let mut names = parameters.step_by(2).take_while(|name| !name.is_empty());
    names.any(|name| !REMEMBERED.iter().any(|known| known.as_bytes() == name))
}

fn contains(message: &[u8], words: Option<&str>) -> bool {
    words.is_some_and(|words| {
        message
            .windows(words.len())
            .any(|part| part == words.as_bytes())
    })
}

struct Relay {
    number: usize,
    /// The number of cuts when the connection was accepted.
    cuts: usize,
    drops_responses: AtomicBool,
    faults: watch::Receiver<Faults>,
    count: Arc<AtomicUsize>,
    delayed: Arc<AtomicUsize>,
    was_delayed: AtomicBool,
    late_responses: Arc<AtomicUsize>,
}

impl Relay {
    async fn run(self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut faults = self.faults.clone();
        tokio::select! {
            // Checked first, so that no data is delivered after a cut.
            biased;
            _ = faults.wait_for(|faults| faults.down || faults.cuts > self.cuts) => {}
            () = async {
                let ended = self.forward(from_client, to_server).await;
                if ended.is_err_and(|err| err.kind() == ErrorKind::Unsupported) {
                    return;
                }
                // If the client disconnects, the server still executes the messages that were sent.
                std::future::pending::<()>().await;
            } => {}
            _ = self.backward(from_server, to_client) => {}
        }
    }

    /// Forwards whole messages and counts round trips.
    async fn forward(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut faults = self.faults.clone();
        // Only the start-up message (and the TLS request before it) has no type byte.
        let mut kind = None;
        let mut has_statement = false;
        loop {
            let length = client.read_u32().await?;
            let mut body = vec![0; length as usize - 4];
            client.read_exact(&mut body).await?;
            match kind {
                Some(b'Q') => _ = self.count.fetch_add(1, Ordering::SeqCst),
                Some(b'S') if has_statement => _ = self.count.fetch_add(1, Ordering::SeqCst),
                _ => {}
            }
            if kind.is_none() && faults.borrow().refuses_settings && has_settings(&body) {
                return Err(ErrorKind::Unsupported.into());
            }
            let is_test = kind == Some(b'S') && !has_statement;
            has_statement = kind != Some(b'S');
            let passes = |faults: &Faults| {
                let is_spared = is_test && faults.spares_tests;
                (self.number > faults.delays_requests_to || is_spared)
                    && !contains(&body, faults.delays.as_deref())
            };
            if !passes(&faults.borrow()) {
                self.delayed.fetch_add(1, Ordering::SeqCst);
                faults.wait_for(passes).await.ok();
                self.was_delayed.store(true, Ordering::SeqCst);
            }
            if contains(&body, faults.borrow().drops_responses_to.as_deref()) {
                self.drops_responses.store(true, Ordering::SeqCst);
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

    async fn backward(
        &self,
        mut server: OwnedReadHalf,
        mut client: OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut faults = self.faults.clone();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let length = server.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            if self.was_delayed.load(Ordering::SeqCst) {
                self.late_responses.fetch_add(1, Ordering::SeqCst);
            }
            let passes = |faults: &Faults| self.number > faults.delays_responses_to;
            faults.wait_for(passes).await.ok();
            if self.drops_responses.load(Ordering::SeqCst) {
                continue;
            }
            client.write_all(&chunk[..length]).await?;
        }
    }
}
