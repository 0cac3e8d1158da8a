//! 64 streams in one process of `chat-stream`, as on Lambda Managed Instances, and in 64 processes,
//! as on Lambda.

use std::net::Ipv4Addr;

use common::{governance::apps::App, platform::env::Env};
use local::{cloud, emulator::Emulator, postgres::Binaries as Postgres};

use crate::{
    Result,
    bench_database::{self, BenchDatabase, Person},
    child, progress,
    release::Binaries,
    report::{Figure, Section},
    streams::{Load, Measured, simulator, tokens_of},
};

const STREAMS: usize = 64;
const FUNCTION: &str = "chat-stream";

pub async fn measure(postgres: &Postgres) -> Result<Section> {
    let binaries = Binaries::build()?;
    let bench = BenchDatabase::new(postgres, false)?;
    let (url, db) = bench.create("managed").await?;
    let people = bench_database::people_of_both_sites(&db, STREAMS).await?;
    let mut measured = Vec::new();
    for concurrency in [STREAMS, 1] {
        progress(format!("managed, {concurrency} streams in a process"));
        bench_database::lift_budgets(&db).await?;
        measured.push(streams(&binaries, &url, &people, concurrency).await?);
    }
    let [one, many] = &*measured else {
        return Err("two measurements were expected".into());
    };
    let figure = |what: &str, unit, value: fn(&Streams) -> f64| {
        Figure::new(what, value(one), unit).floor(value(many))
    };
    Ok(Section {
        title: "Streams in one function",
        conditions: format!(
            "{STREAMS} users have one stream each (CHAT-4) of 20 tokens per second, through the \
             emulated API Gateway and Runtime API. All are served by one process of `{FUNCTION}` with \
             `AWS_LAMBDA_MAX_CONCURRENCY={STREAMS}`. The floor is one process per stream. CPU and \
             memory are those of all processes of the function."
        ),
        figures: vec![
            figure("streams that were not complete", "", |streams| {
                #[expect(clippy::cast_precision_loss, reason = "a small number")]
                let missing = (STREAMS - streams.load.whole) as f64;
                missing
            })
            .target(0.0),
            figure("delay of a token, p50", "ms", |streams| {
                streams.load.delay.median()
            }),
            figure("delay of a token, p99", "ms", |streams| {
                streams.load.delay.at(0.99)
            })
            .target(100.0),
            figure("CPU of a token", "µs", |streams| streams.load.micros()),
            figure("memory", "MiB", |streams| streams.mib).target(64.0),
        ],
        notes: vec![
            format!("In one process: {}.", one.load.summary()),
            format!("In {STREAMS} processes: {}.", many.load.summary()),
        ],
    })
}

struct Streams {
    load: Measured,
    /// Memory of all processes after the streams.
    mib: f64,
}

/// Runs the streams in processes that handle `concurrency` events each.
async fn streams(
    binaries: &Binaries,
    database_url: &str,
    people: &[Person],
    concurrency: usize,
) -> Result<Streams> {
    let simulator = simulator()?;
    let emulator = start(binaries, database_url, &simulator.url, concurrency)?;
    let router = emulator.router(cloud::routes()?)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    #[expect(clippy::disallowed_methods, reason = "a server")]
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let processes = || emulator.instances(FUNCTION).unwrap_or_default();
    let resident = || processes().into_iter().map(child::resident_kib).sum();
    let cpu = || {
        let spent = processes().into_iter().map(child::cpu).sum();
        vec![("the function", spent)]
    };
    let load = tokio::task::block_in_place(|| {
        // Starts the processes.
        Load::through_parlor(people, 20).run(&url, &resident, Vec::new)?;
        Load::through_parlor(people, tokens_of(STREAMS)).run(&url, &resident, cpu)
    })?;
    let mib = resident()? / 1024.0;
    server.abort();
    Ok(Streams { load, mib })
}

fn start(
    binaries: &Binaries,
    database_url: &str,
    upstream: &str,
    concurrency: usize,
) -> Result<Emulator> {
    let env = Env::from_pairs([
        (App::Chat.variable(), App::Chat.name().to_owned()),
        ("DASHSCOPE_API_KEY".to_owned(), "sk-benchmark".to_owned()),
        ("DASHSCOPE_BASE_URL".to_owned(), upstream.to_owned()),
    ]);
    let mut specs = cloud::specs(
        binaries.directory(),
        &env,
        &database_url.into(),
        &bench_database::SECRET.into(),
    );
    for spec in &mut specs {
        spec.max_instances = STREAMS;
        if spec.name == FUNCTION {
            spec.max_concurrency = concurrency;
        }
    }
    Ok(Emulator::start(specs)?)
}
