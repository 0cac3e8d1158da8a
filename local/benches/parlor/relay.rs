//! CPU time per relayed token, and memory per stream.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use local::postgres::Binaries;
use tokio::time::{Instant, sleep_until};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child::{Child, Role},
    client::{self, Stream, Wire},
    progress,
    report::{Figure, Section},
};

const STREAMS: usize = 50;
const TOKENS: usize = 3_000;
const TOKENS_PER_SECOND: u32 = 100;
/// Open streams while memory is measured.
const HELD: usize = 100;

pub async fn measure(postgres: &Binaries) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, true)?;
    let (url, db) = bench.create("relay").await?;
    let people = bench_database::people(&db, HELD * 3).await?;

    progress(format!(
        "relay, {STREAMS} streams of {TOKENS} tokens, through Parlor and through hyper"
    ));
    let (parlor, whole) = relayed(&url, &people[..STREAMS]).await?;
    let proxy = proxied().await?;
    let mut figures = vec![
        Figure::new("CPU of a relayed token", parlor.all, "µs")
            .target(1.3 * proxy.all)
            .floor(proxy.all),
        Figure::new("CPU of a relayed token in the kernel", parlor.kernel, "µs")
            .floor(proxy.kernel),
    ];
    for tokens in [100, TOKENS] {
        progress(format!(
            "relay, memory of {HELD} streams after {tokens} tokens"
        ));
        let held = held_kib(&url, &people, tokens).await?;
        figures.push(
            Figure::new(
                format!("memory of a stream after {tokens} tokens"),
                held,
                "KiB",
            )
            .target(256.0),
        );
    }
    let mut notes = vec![format!(
        "Parlor needs {:.1} µs per token more than the proxy: for two parsers, the text of the reply \
         and the event. The rest is the time of the kernel and hyper for one \
         write per token. If tokens arrive faster, several share a write and both figures fall.",
        parlor.all - proxy.all,
    )];
    notes.push(if whole == STREAMS {
        "All streams were relayed token by token, none was read from the database.".into()
    } else {
        format!(
            "{whole} of {STREAMS} streams were relayed token by token. The others were too slow and \
             were read from the database."
        )
    });
    Ok(Section {
        title: "Relay",
        conditions: format!(
            "{STREAMS} concurrent streams of {TOKENS} tokens each, {TOKENS_PER_SECOND} per second; each \
             token is a frame and a write. CPU time is that of Parlor's process, divided by all tokens; \
             it includes storing the question and the reply. Memory is the growth of the resident set \
             of a warm process with {HELD} open streams, per stream, including both connections. The \
             floor is a hyper proxy with one thread."
        ),
        figures,
        notes,
    })
}

/// CPU time per token in µs.
struct PerToken {
    all: f64,
    kernel: f64,
}

/// CPU time of a process so far.
struct Spent {
    all: Duration,
    kernel: Duration,
}

impl Spent {
    fn of(process: &Child) -> Result<Self> {
        Ok(Self {
            all: process.cpu()?,
            kernel: process.kernel_cpu()?,
        })
    }

    /// The time of `process` since then, divided by `tokens`.
    fn per_token(&self, process: &Child, tokens: usize) -> Result<PerToken> {
        let now = Self::of(process)?;
        Ok(PerToken {
            all: micros_each(now.all.saturating_sub(self.all), tokens),
            kernel: micros_each(now.kernel.saturating_sub(self.kernel), tokens),
        })
    }
}

/// CPU time per token, and the number of streams that were relayed token by token.
async fn relayed(url: &str, people: &[Person]) -> Result<(PerToken, usize)> {
    let (simulator, parlor) = pair(url)?;
    let http = reqwest::Client::new();
    warm(&http, &parlor, &people[..2]).await?;
    let before = Spent::of(&parlor)?;
    let streams = open(&http, &parlor, people, &format!("[[sim:long:{TOKENS}]]")).await?;
    let tokens = try_join_all(streams.into_iter().map(Stream::finish)).await?;
    let spent = before.per_token(&parlor, STREAMS * TOKENS)?;
    drop(simulator);
    let whole = tokens.iter().filter(|tokens| **tokens == TOKENS).count();
    Ok((spent, whole))
}

async fn proxied() -> Result<PerToken> {
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: Some(TOKENS_PER_SECOND),
    })?;
    let proxy = Child::start(&Role::Proxy {
        upstream: simulator.url.clone(),
        threads: false,
    })?;
    let http = reqwest::Client::new();
    let before = Spent::of(&proxy)?;
    let streams = (0..STREAMS).map(async |_| {
        let content = format!("[[sim:long:{TOKENS}]]");
        let request = client::ask_upstream(&http, &proxy.url, &content);
        Stream::open(request, Wire::DashScope).await?.finish().await
    });
    let tokens = try_join_all(streams).await?;
    before.per_token(&proxy, tokens.iter().sum())
}

/// Memory per stream in KiB, while [`HELD`] streams are paused after `tokens` tokens.
async fn held_kib(url: &str, people: &[Person], tokens: usize) -> Result<f64> {
    let (simulator, parlor) = pair(url)?;
    let http = reqwest::Client::new();
    warm(&http, &parlor, &people[HELD..HELD + 10]).await?;
    let before = parlor.resident_kib()?;
    let group = if tokens == TOKENS {
        &people[..HELD]
    } else {
        &people[HELD * 2..]
    };
    let content = format!("[[sim:long:{}+gate:{tokens}]]", tokens + 10);
    let mut streams = open(&http, &parlor, group, &content).await?;
    try_join_all(streams.iter_mut().map(|stream| stream.reach(tokens))).await?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let held = (parlor.resident_kib()? - before) / HELD as f64;
    let release = simulator.url.replace("/api/v1", "/sim/release");
    http.post(release).send().await?;
    try_join_all(streams.into_iter().map(Stream::finish)).await?;
    Ok(held)
}

fn pair(url: &str) -> Result<(Child, Child)> {
    let simulator = Child::start(&Role::Simulator {
        tokens_per_second: Some(TOKENS_PER_SECOND),
    })?;
    let parlor = Child::parlor(url, &simulator.url)?;
    Ok((simulator, parlor))
}

/// Warms the process up, so that one-time allocations are not measured.
async fn warm(http: &reqwest::Client, parlor: &Child, people: &[Person]) -> Result<()> {
    let streams = open(http, parlor, people, "[[sim:long:20]]").await?;
    try_join_all(streams.into_iter().map(Stream::finish))
        .await
        .map(drop)
}

/// Opens a stream for each user, 8 at a time, so that the start does not overload Parlor, and 90
/// per second, because an application accepts 100 calls.
async fn open(
    http: &reqwest::Client,
    parlor: &Child,
    people: &[Person],
    content: &str,
) -> Result<Vec<Stream>> {
    let began = Instant::now();
    let requests = people.iter().zip(0_u32..).map(async |(person, number)| {
        sleep_until(began + Duration::from_secs(1) / 90 * number).await;
        let request = client::ask_parlor(http, &parlor.url, person, content);
        Stream::open(request, Wire::Parlor).await
    });
    stream::iter(requests).buffered(8).try_collect().await
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn micros_each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
