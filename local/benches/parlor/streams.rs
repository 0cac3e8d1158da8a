//! Many streams at once, and how late their tokens are.
//!
//! Each token says when the simulator wrote it, by the clock that all processes share.

use std::{cell::RefCell, collections::BTreeMap, fs, io, net::SocketAddr, thread, time::Duration};

use futures_util::future::{join, join_all};
use local::{postgres::Binaries, simulator::monotonic_micros};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::{Child, Role},
    machine::Ticks,
    progress,
    report::{Figure, Section},
    stats::Samples,
};

/// How many are tried, until a number holds.
const STREAMS: [usize; 5] = [2_000, 1_500, 1_000, 500, 250];
const TOKENS_PER_SECOND: u32 = 20;
/// Starts are spread, since what is looked at is the steady state.
const STARTS_PER_SECOND: u32 = 200;
/// From the last start that is planned to the first token that counts.
const SETTLE: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(20);
/// How late the 99th of 100 tokens may be, in ms.
const LATEST: f64 = 100.0;
/// Streams that a process has served before its memory is looked at.
const WARM: usize = 50;

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, true)?;
    let (url, db) = bench.create("streams").await?;
    let people = bench_database::people_of_both_sites(&db, STREAMS[0]).await?;
    let mut figures = Vec::new();
    let mut notes = Vec::new();
    for count in STREAMS {
        progress(format!("streams, {count} through Parlor"));
        let simulator = simulator()?;
        let parlor = Child::local(&url, &simulator.url)?;
        bench_database::lift_budgets(&db).await?;
        let ours = through_parlor(&bench, &parlor, &simulator, &people[..count])?;
        drop((parlor, simulator));
        progress(format!("streams, {count} through hyper"));
        let floor = through_proxy(count)?;
        let (late, latest) = (ours.delay.median(), ours.delay.at(0.99));
        let of = |what: &str| format!("{count} streams: {what}");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let missing = |seen: &Seen| (count - seen.whole) as f64;
        figures.extend([
            Figure::new(of("refused or broken"), missing(&ours), "")
                .target(0.0)
                .floor(missing(&floor)),
            Figure::new(of("delay of a token, p50"), late, "ms").floor(floor.delay.median()),
            Figure::new(of("delay of a token, p99"), latest, "ms")
                .target(LATEST)
                .floor(floor.delay.at(0.99)),
            Figure::new(of("memory of a stream"), ours.kib, "KiB")
                .target(256.0)
                .floor(floor.kib),
            Figure::new(of("CPU of a token"), ours.micros(), "µs").floor(floor.micros()),
        ]);
        notes.push(format!("{count} streams through Parlor: {}.", ours.words()));
        notes.push(format!("{count} streams through hyper: {}.", floor.words()));
        if latest <= LATEST {
            notes.push(format!(
                "Most streams, of those tried, within the target: {count}."
            ));
            break;
        }
    }
    Ok(Section {
        title: "Streams at once",
        conditions: format!(
            "CHAT-4 by one user each, of two sites, {TOKENS_PER_SECOND} tokens a second, every token a frame of its own. \
             Parlor is one process as `cargo run` serves it, with a thread for each core; simulator and client are a \
             process and a thread each; they and PostgreSQL, with its own settings, share the cores. {STARTS_PER_SECOND} \
             streams start a second; {} s after the last, tokens are looked at for {} s. A token's delay is from when the \
             simulator wrote it, as the token says, to when the client has read it. Memory is the growth of the resident set \
             since {WARM} streams had been served, divided by streams, both connections included. The floor is a hyper \
             proxy, a thread for each core, that hands the simulator's bytes on. Where {} streams miss the target, fewer \
             are tried.",
            SETTLE.as_secs(),
            WINDOW.as_secs(),
            STREAMS[0],
        ),
        figures,
        notes,
    })
}

/// Through the product: read, stored and written anew.
fn through_parlor(
    bench: &BenchDatabase,
    parlor: &Child,
    simulator: &Child,
    people: &[Person],
) -> Result<Seen> {
    let load = |people: &[Person], tokens| Load {
        path: "/api/xcx/chat/stream".into(),
        asked: people
            .iter()
            .map(|person| {
                let body = json!({ "chatId": person.chat_id, "content": content(tokens) });
                (person.token.clone(), body)
            })
            .collect(),
        end: b"\"status\":\"complete\"",
        tokens,
    };
    load(&people[..WARM], 20).run(parlor, Vec::new)?;
    load(people, tokens_of(people.len())).run(parlor, || {
        vec![
            ("Parlor", parlor.cpu()),
            ("PostgreSQL", bench.cpu()),
            ("simulator", simulator.cpu()),
            ("client", cpu_of_this_thread()),
            ("all of the machine", Ok(Ticks::now().used())),
        ]
    })
}

/// Through hyper: handed on.
fn through_proxy(streams: usize) -> Result<Seen> {
    let simulator = simulator()?;
    let proxy = Child::start(&Role::Proxy {
        upstream: simulator.url.clone(),
        threads: true,
    })?;
    let load = |streams, tokens| {
        let body = json!({ "input": { "prompt": content(tokens) }, "parameters": { "incremental_output": true } });
        Load {
            path: "/api/v1/apps/app1_chat/completion".into(),
            asked: vec![("sk-benchmark".into(), body); streams],
            end: b"\"finish_reason\":\"stop\"",
            tokens,
        }
    };
    load(WARM, 20).run(&proxy, Vec::new)?;
    load(streams, tokens_of(streams)).run(&proxy, || {
        vec![
            ("the proxy", proxy.cpu()),
            ("simulator", simulator.cpu()),
            ("client", cpu_of_this_thread()),
            ("all of the machine", Ok(Ticks::now().used())),
        ]
    })
}

fn simulator() -> Result<Child> {
    Child::start(&Role::Simulator {
        tokens_per_second: Some(TOKENS_PER_SECOND),
    })
}

fn content(tokens: usize) -> String {
    format!("[[sim:clock:{tokens}]]")
}

/// From the first start to the first token that counts.
fn lead(streams: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(streams).unwrap_or(u32::MAX) / STARTS_PER_SECOND + SETTLE
}

/// As many as keep the first stream open until all have been looked at.
fn tokens_of(streams: usize) -> usize {
    let open = lead(streams) + WINDOW + Duration::from_secs(1);
    usize::try_from(open.as_secs()).unwrap_or(usize::MAX) * TOKENS_PER_SECOND as usize
}

/// CPU time so far of each process.
type Spent = Vec<(&'static str, Result<Duration>)>;

/// Streams to ask for.
struct Load {
    path: String,
    /// A bearer and a body each.
    asked: Vec<(String, Value)>,
    /// What stands in the last frame of a whole answer.
    end: &'static [u8],
    tokens: usize,
}

/// How many requests got each status that is not 200.
type Refused = BTreeMap<String, usize>;

/// What was seen of them.
struct Seen {
    streams: usize,
    whole: usize,
    refused: Refused,
    /// Open at the beginning and at the end of the window.
    open: [usize; 2],
    delay: Samples,
    /// How late the simulator itself was.
    late: Samples,
    spent: Vec<(&'static str, Duration)>,
    kib: f64,
}

impl Seen {
    /// CPU of the first process, for each token.
    fn micros(&self) -> f64 {
        let spent = self
            .spent
            .first()
            .map_or(Duration::ZERO, |(_, spent)| *spent);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let tokens = self.delay.len().max(1) as f64;
        spent.as_secs_f64() * 1e6 / tokens
    }

    fn words(&self) -> String {
        let planned = self.streams * TOKENS_PER_SECOND as usize;
        let seconds = usize::try_from(WINDOW.as_secs()).unwrap_or(1);
        let spent: Vec<_> = self
            .spent
            .iter()
            .map(|(who, spent)| format!("{who} {:.1} s", spent.as_secs_f64()))
            .collect();
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(status, times)| format!(", {times} were refused with {status}"))
            .collect();
        format!(
            "{} ended whole{}; {} to {} were open; {} tokens a second came, of {planned}; the simulator itself was \
             {:.1} ms late (p99 {:.1} ms); in {seconds} s on {} cores {}",
            self.whole,
            refused.concat(),
            self.open[1],
            self.open[0],
            self.delay.len() / seconds,
            self.late.median(),
            self.late.at(0.99),
            thread::available_parallelism().map_or(0, usize::from),
            spent.join(", "),
        )
    }
}

/// What all streams write to; one thread reads them all.
struct Arrivals {
    buffer: Vec<u8>,
    counting: bool,
    open: usize,
    whole: usize,
    refused: Refused,
    delay: Samples,
    late: Samples,
}

impl Load {
    /// Asks for all of them, from a thread that does nothing else.
    fn run(self, served_by: &Child, spent: impl Fn() -> Spent + Sync) -> Result<Seen> {
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(self.ask(served_by, &spent))
            });
            client.join().map_err(|_| "the client panicked")?
        })
    }

    async fn ask(self, served_by: &Child, spent: &(impl Fn() -> Spent + Sync)) -> Result<Seen> {
        let address = served_by.url.trim_start_matches("http://");
        let address: SocketAddr = address.split('/').next().unwrap_or_default().parse()?;
        let streams = self.asked.len();
        let before = served_by.resident_kib()?;
        let began = Instant::now();
        let arrivals = RefCell::new(Arrivals {
            buffer: vec![0; 64 * 1024],
            counting: false,
            open: 0,
            whole: 0,
            refused: Refused::new(),
            delay: Samples::default(),
            late: Samples::default(),
        });
        let all = self.asked.iter().enumerate().map(async |(n, asked)| {
            let starts = Duration::from_secs(1) / STARTS_PER_SECOND;
            sleep_until(began + starts * u32::try_from(n).unwrap_or(u32::MAX)).await;
            // One that breaks is missing from those that are whole.
            self.stream(address, asked, &arrivals).await.ok();
        });
        let look = async {
            let at = |wait| sleep_until(began + lead(streams) + wait);
            at(Duration::ZERO).await;
            arrivals.borrow_mut().counting = true;
            let first = (spent(), arrivals.borrow().open);
            at(WINDOW / 2).await;
            let resident = served_by.resident_kib();
            at(WINDOW).await;
            arrivals.borrow_mut().counting = false;
            (first, resident, (spent(), arrivals.borrow().open))
        };
        // A load that takes no window is there to warm up.
        let is_short = self.tokens < tokens_of(0);
        let look = async { if is_short { None } else { Some(look.await) } };
        let (_, looked) = join(join_all(all), look).await;
        let arrivals = arrivals.into_inner();
        let mut seen = Seen {
            streams,
            whole: arrivals.whole,
            refused: arrivals.refused,
            open: [0; 2],
            delay: arrivals.delay,
            late: arrivals.late,
            spent: Vec::new(),
            kib: 0.0,
        };
        if let Some(((first, open_first), resident, (last, open_last))) = looked {
            seen.open = [open_first, open_last];
            for ((who, before), (_, after)) in first.into_iter().zip(last) {
                seen.spent.push((who, after?.saturating_sub(before?)));
            }
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let streams = streams as f64;
            seen.kib = (resident? - before) / streams;
        }
        Ok(seen)
    }

    /// One stream from its request to its end.
    async fn stream(
        &self,
        address: SocketAddr,
        (bearer, body): &(String, Value),
        arrivals: &RefCell<Arrivals>,
    ) -> Result<()> {
        let body = body.to_string();
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {bearer}\r\nconnection: close\r\n\
             content-type: application/json\r\nx-dashscope-sse: enable\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            body.len(),
        );
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.readable().await?;
        let mut answer = [0; 12];
        stream.peek(&mut answer).await?;
        if !answer.ends_with(b" 200") {
            let status = String::from_utf8_lossy(&answer[9..]).into_owned();
            *arrivals.borrow_mut().refused.entry(status).or_default() += 1;
            return Ok(());
        }
        arrivals.borrow_mut().open += 1;
        let read = self.read(&stream, arrivals).await;
        arrivals.borrow_mut().open -= 1;
        if read? {
            arrivals.borrow_mut().whole += 1;
        }
        Ok(())
    }

    /// Reads all, and tells whether all has come.
    async fn read(&self, stream: &TcpStream, arrivals: &RefCell<Arrivals>) -> Result<bool> {
        // What came of a token that is not whole; after the last token, what followed it.
        let mut rest = Vec::new();
        let mut tokens = 0;
        loop {
            stream.readable().await?;
            let arrivals = &mut *arrivals.borrow_mut();
            let bytes = match stream.try_read(&mut arrivals.buffer) {
                Ok(0) => {
                    let ended = rest
                        .windows(self.end.len())
                        .any(|window| window == self.end);
                    return Ok(ended && tokens == self.tokens);
                }
                Ok(length) => &arrivals.buffer[..length],
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
                Err(err) => return Err(err.into()),
            };
            let now = monotonic_micros();
            rest.extend_from_slice(bytes);
            while let Some((Stamp { written, late }, length)) = Stamp::find(&rest) {
                rest.drain(..length);
                tokens += 1;
                if arrivals.counting {
                    arrivals.delay.push(micros(now - written));
                    arrivals.late.push(micros(late));
                }
            }
            if tokens < self.tokens {
                let from = rest.iter().position(|byte| *byte == b'@');
                rest.drain(..from.unwrap_or(rest.len()));
            }
        }
    }
}

/// What a token says.
struct Stamp {
    written: i64,
    late: i64,
}

impl Stamp {
    /// The first one, and where it ends.
    fn find(bytes: &[u8]) -> Option<(Self, usize)> {
        let from = bytes.iter().position(|byte| *byte == b'@')? + 1;
        let length = bytes[from..].iter().position(|byte| *byte == b';')?;
        let text = str::from_utf8(&bytes[from..from + length]).ok()?;
        let (written, late) = text.split_once('+')?;
        let stamp = Self {
            written: written.parse().ok()?,
            late: late.parse().ok()?,
        };
        Some((stamp, from + length + 1))
    }
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or_default())
}

fn cpu_of_this_thread() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(first.parse()?))
}
