//! Many concurrent streams and the delay of their tokens.
//!
//! The text of each token is the time of its writing, by the clock that all processes share.

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

/// Numbers of streams to try, until one meets the target.
const STREAMS: [usize; 5] = [2_000, 1_500, 1_000, 500, 250];
const TOKENS_PER_SECOND: u32 = 20;
/// The starts are spread, because the steady state is measured. An application accepts 100 calls
/// per second.
const STARTS_PER_SECOND: u32 = 75;
/// Time from the last planned start to the beginning of the window.
const SETTLE: Duration = Duration::from_secs(3);
/// Length of the measurement.
const WINDOW: Duration = Duration::from_secs(20);
/// Target of the 99th percentile of the delay, in ms.
const LATEST: f64 = 100.0;
/// Streams before the measurement, for warm-up.
const WARM: usize = 50;

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, true)?;
    let (url, db) = bench.create("streams").await?;
    let people = bench_database::people_of_both_sites(&db, STREAMS[0]).await?;
    let mut figures = Vec::new();
    let mut notes = vec![format!(
        "{STARTS_PER_SECOND} streams start per second, after {WARM} streams for warm-up. If {} streams \
         miss the target of the delay, fewer are tried.",
        STREAMS[0],
    )];
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
        let missing = |measured: &Measured| (count - measured.whole) as f64;
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
        notes.push(format!(
            "{count} streams through Parlor: {}.",
            ours.summary()
        ));
        notes.push(format!(
            "{count} streams through hyper: {}.",
            floor.summary()
        ));
        if latest <= LATEST && ours.whole == count {
            notes.push(format!(
                "The largest tried number of streams that meets the target of the delay: {count}."
            ));
            break;
        }
    }
    Ok(Section {
        title: "Streams at once",
        conditions: format!(
            "Each user of two sites has one stream (CHAT-4) of {TOKENS_PER_SECOND} tokens per second; \
             {} s after the last start, tokens are measured for {} s. Parlor runs as with `cargo run`, \
             on the same cores as simulator, client and PostgreSQL. The delay of a token is the time \
             from its writing in the simulator to its reading in the client; memory is per stream, \
             including both connections. The floor is a hyper proxy with one thread per core.",
            SETTLE.as_secs(),
            WINDOW.as_secs(),
        ),
        figures,
        notes,
    })
}

/// Measures streams through Parlor.
fn through_parlor(
    bench: &BenchDatabase,
    parlor: &Child,
    simulator: &Child,
    people: &[Person],
) -> Result<Measured> {
    let load = Load::through_parlor;
    let resident = || parlor.resident_kib();
    load(&people[..WARM], 20).run(&parlor.url, &resident, Vec::new)?;
    load(people, tokens_of(people.len())).run(&parlor.url, &resident, || {
        vec![
            ("Parlor", parlor.cpu()),
            ("PostgreSQL", bench.cpu()),
            ("simulator", simulator.cpu()),
            ("client", cpu_of_this_thread()),
            ("all of the machine", Ok(Ticks::now().used())),
        ]
    })
}

/// Measures streams through the hyper proxy.
fn through_proxy(streams: usize) -> Result<Measured> {
    let simulator = simulator()?;
    let proxy = Child::start(&Role::Proxy {
        upstream: simulator.url.clone(),
        threads: true,
    })?;
    let load = |streams, tokens| {
        let body = json!({ "input": { "prompt": content(tokens) }, "parameters": { "incremental_output": true } });
        Load {
            path: "/api/v1/apps/app1_chat/completion".into(),
            requests: vec![("sk-benchmark".into(), body); streams],
            end: b"\"finish_reason\":\"stop\"",
            tokens,
        }
    };
    let resident = || proxy.resident_kib();
    load(WARM, 20).run(&proxy.url, &resident, Vec::new)?;
    load(streams, tokens_of(streams)).run(&proxy.url, &resident, || {
        vec![
            ("the proxy", proxy.cpu()),
            ("simulator", simulator.cpu()),
            ("client", cpu_of_this_thread()),
            ("all of the machine", Ok(Ticks::now().used())),
        ]
    })
}

pub fn simulator() -> Result<Child> {
    Child::start(&Role::Simulator {
        tokens_per_second: Some(TOKENS_PER_SECOND),
    })
}

fn content(tokens: usize) -> String {
    format!("[[sim:clock:{tokens}]]")
}

/// Time from the first start to the beginning of the window.
fn lead(streams: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(streams).unwrap_or(u32::MAX) / STARTS_PER_SECOND + SETTLE
}

/// Tokens that keep the first stream open until the end of the window.
pub fn tokens_of(streams: usize) -> usize {
    let open = lead(streams) + WINDOW + Duration::from_secs(1);
    usize::try_from(open.as_secs()).unwrap_or(usize::MAX) * TOKENS_PER_SECOND as usize
}

/// Returns resident memory in KiB.
type Resident<'a> = dyn Fn() -> Result<f64> + Sync + 'a;

/// CPU time so far of each process.
type Spent = Vec<(&'static str, Result<Duration>)>;

/// Streams to open.
pub struct Load {
    path: String,
    /// Bearer token and body of each request.
    requests: Vec<(String, Value)>,
    /// Text in the last frame of a complete stream.
    end: &'static [u8],
    tokens: usize,
}

/// Number of requests by status, without 200.
type Refused = BTreeMap<String, usize>;

/// The result of a load.
pub struct Measured {
    streams: usize,
    pub whole: usize,
    refused: Refused,
    /// Open streams at the beginning and at the end of the window.
    open: [usize; 2],
    pub delay: Samples,
    /// Delay in the simulator, against its schedule.
    late: Samples,
    spent: Vec<(&'static str, Duration)>,
    kib: f64,
}

impl Measured {
    /// CPU time of the first process per token.
    pub fn micros(&self) -> f64 {
        let spent = self
            .spent
            .first()
            .map_or(Duration::ZERO, |(_, spent)| *spent);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let tokens = self.delay.len().max(1) as f64;
        spent.as_secs_f64() * 1e6 / tokens
    }

    pub fn summary(&self) -> String {
        let planned = self.streams * TOKENS_PER_SECOND as usize;
        let seconds = usize::try_from(WINDOW.as_secs()).unwrap_or(1);
        let spent: Vec<_> = self
            .spent
            .iter()
            .map(|(process, spent)| format!("{process} {:.1} s", spent.as_secs_f64()))
            .collect();
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(status, times)| format!(", {times} were refused with {status}"))
            .collect();
        format!(
            "{} streams were complete{}; {} to {} were open; {} of {planned} tokens per second arrived; \
             the simulator was {:.1} ms late (p99 {:.1} ms); CPU time in {seconds} s on {} cores: {}",
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

/// The common state of all streams, which one thread reads.
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
    /// A stream of each person.
    pub fn through_parlor(people: &[Person], tokens: usize) -> Self {
        Self {
            path: "/api/xcx/chat/stream".into(),
            requests: people
                .iter()
                .map(|person| {
                    let body = json!({ "chatId": person.chat_id, "content": content(tokens) });
                    (person.token.clone(), body)
                })
                .collect(),
            end: b"\"status\":\"complete\"",
            tokens,
        }
    }

    /// Runs all streams on a separate thread. `resident` returns the memory of the server in KiB.
    pub fn run(
        self,
        url: &str,
        resident: &Resident<'_>,
        spent: impl Fn() -> Spent + Sync,
    ) -> Result<Measured> {
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(self.measure(url, resident, &spent))
            });
            client.join().map_err(|_| "the client panicked")?
        })
    }

    async fn measure(
        self,
        url: &str,
        resident: &Resident<'_>,
        spent: &(impl Fn() -> Spent + Sync),
    ) -> Result<Measured> {
        let address = url.trim_start_matches("http://");
        let address: SocketAddr = address.split('/').next().unwrap_or_default().parse()?;
        let streams = self.requests.len();
        let before = resident()?;
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
        let all = self.requests.iter().enumerate().map(async |(n, request)| {
            let starts = Duration::from_secs(1) / STARTS_PER_SECOND;
            sleep_until(began + starts * u32::try_from(n).unwrap_or(u32::MAX)).await;
            // A broken stream is not counted as complete.
            self.stream(address, request, &arrivals).await.ok();
        });
        let window = async {
            let at = |wait| sleep_until(began + lead(streams) + wait);
            at(Duration::ZERO).await;
            arrivals.borrow_mut().counting = true;
            let first = (spent(), arrivals.borrow().open);
            at(WINDOW / 2).await;
            let resident = resident();
            at(WINDOW).await;
            arrivals.borrow_mut().counting = false;
            (first, resident, (spent(), arrivals.borrow().open))
        };
        // A short load is only for warm-up and has no window.
        let is_short = self.tokens < tokens_of(0);
        let window = async { if is_short { None } else { Some(window.await) } };
        let (_, window) = join(join_all(all), window).await;
        let arrivals = arrivals.into_inner();
        let mut measured = Measured {
            streams,
            whole: arrivals.whole,
            refused: arrivals.refused,
            open: [0; 2],
            delay: arrivals.delay,
            late: arrivals.late,
            spent: Vec::new(),
            kib: 0.0,
        };
        if let Some(((first, open_first), resident, (last, open_last))) = window {
            measured.open = [open_first, open_last];
            for ((process, before), (_, after)) in first.into_iter().zip(last) {
                measured
                    .spent
                    .push((process, after?.saturating_sub(before?)));
            }
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let streams = streams as f64;
            measured.kib = (resident? - before) / streams;
        }
        Ok(measured)
    }

    /// Runs one stream from its request to its end.
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
        let mut head = [0; 12];
        stream.peek(&mut head).await?;
        if !head.ends_with(b" 200") {
            let status = String::from_utf8_lossy(&head[9..]).into_owned();
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

    /// Reads to the end. Returns true if the stream was complete.
    async fn read(&self, stream: &TcpStream, arrivals: &RefCell<Arrivals>) -> Result<bool> {
        // The beginning of an incomplete token. After the last token, all following bytes.
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

/// The times in the text of a token, in µs.
struct Stamp {
    written: i64,
    late: i64,
}

impl Stamp {
    /// Finds the first stamp and its end.
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
