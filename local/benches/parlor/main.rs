//! The benchmarks: `cargo bench -p local`, or with subjects, `cargo bench -p local -- relay lists`.
//!
//! Everything that is measured stands beside its target and, from the same run, beside the least
//! that it could have cost. Nothing is asserted.

mod admin_lists;
mod bench_database;
mod child;
mod client;
mod cold_start;
mod first_token;
mod jobs;
mod lists;
mod machine;
mod memory;
mod relay;
mod release;
mod reply_sql;
mod report;
mod resume;
mod sizes;
mod stats;
mod streams;
#[path = "../../tests/it/harness/wire.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "made for the tests")]
mod wire;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use local::postgres::Binaries;
use machine::Ticks;
use report::{Results, Section};
use tokio::runtime::{Builder, Runtime};

/// Anything that ends a benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

/// Measures Parlor.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything unless named.
    subjects: Vec<Subject>,
    /// Also update this page of Markdown, and the JSON file beside it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The most messages that `lists` and `desk` load, and the most runs.
    #[arg(long, default_value_t = 10_000_000)]
    messages: i64,
    /// The most seconds that `lists` loads for.
    #[arg(long, default_value_t = 180)]
    load_seconds: u64,
    /// `cargo bench` says this to every benchmark, and `cargo test` does not.
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as one of the measured processes.
    #[arg(long, hide = true)]
    child: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    /// What Parlor adds before the first token.
    FirstToken,
    /// The statements of a reply, each alone.
    ReplySql,
    /// CPU time of a relayed token, and memory of a stream.
    Relay,
    /// 2,000 streams at once.
    Streams,
    /// A long reply read again.
    Resume,
    /// Steps of chains through the queue, and a prewarm.
    Jobs,
    /// Pages of conversations and messages.
    Lists,
    /// What admins look at.
    AdminLists,
    /// From exec to the first question for an event.
    ColdStart,
    /// Bytes of the binaries.
    Sizes,
    /// Memory after 1,000 requests.
    Memory,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(role) = &arguments.child {
        return child::run(role);
    }
    if !arguments.bench {
        return Ok(());
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    measure(&arguments)
}

impl Subject {
    /// What its client runs on. Where one request is made at a time, it is one thread: a second one would only
    /// add its waking up to what is measured.
    fn runtime(self) -> Result<Runtime> {
        let mut runtime = match self {
            Self::FirstToken | Self::ReplySql | Self::Lists | Self::AdminLists => {
                Builder::new_current_thread()
            }
            _ => Builder::new_multi_thread(),
        };
        Ok(runtime.enable_all().build()?)
    }

    /// As it is written on the command line.
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    async fn measure(self, arguments: &Arguments, postgres: &Binaries) -> Result<Section> {
        match self {
            Self::FirstToken => first_token::measure(postgres).await,
            Self::ReplySql => reply_sql::measure(postgres).await,
            Self::Relay => relay::measure(postgres).await,
            Self::Streams => streams::measure(postgres).await,
            Self::Resume => resume::measure(postgres).await,
            Self::Jobs => jobs::measure(postgres).await,
            Self::Lists => {
                lists::measure(postgres, arguments.messages, arguments.load_seconds).await
            }
            Self::AdminLists => admin_lists::measure(postgres, arguments.messages).await,
            Self::ColdStart => cold_start::measure(),
            Self::Sizes => sizes::measure(),
            Self::Memory => memory::measure(postgres).await,
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let subjects = if arguments.subjects.is_empty() {
        Subject::value_variants()
    } else {
        &arguments.subjects
    };
    let postgres = Binaries::find_or_fetch(&bench_database::data_dir(), None)?;
    let machine = machine::describe(&postgres);
    let mut sections: Vec<(String, Section)> = Vec::new();
    for subject in subjects {
        let before = Ticks::now();
        let measured = subject.measure(arguments, &postgres);
        let mut section = subject.runtime()?.block_on(measured)?;
        section.notes.push(before.words());
        sections.push((subject.name(), section));
    }
    #[expect(clippy::print_stdout, reason = "the report")]
    {
        println!("{}", report::plain(&machine, &sections));
    }
    if let Some(file) = &arguments.markdown {
        // Cargo runs a benchmark in the folder of its package; the path is relative to the workspace.
        let page = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(file);
        let mut results = Results::read(&page.with_extension("json"))?;
        results.update(&machine, sections);
        let subjects: Vec<String> = Subject::value_variants().iter().map(|s| s.name()).collect();
        results.write(&page, &machine, &subjects)?;
    }
    Ok(())
}

/// Says what is going on, beside the report.
fn progress(what: impl std::fmt::Display) {
    #[expect(
        clippy::print_stderr,
        reason = "it takes minutes, and silence looks like a hang"
    )]
    {
        eprintln!("… {what}");
    }
}
