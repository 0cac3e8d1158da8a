//! The benchmarks: `cargo bench -p local`, or with subjects, `cargo bench -p local -- relay lists`.
//!
//! Each figure is shown with its target and its floor. A floor is the same without Parlor, from the
//! same run. Nothing is asserted.

mod admin_lists;
mod bench_database;
mod checkpoints;
mod child;
mod client;
mod cold_start;
mod connection;
mod first_token;
mod jobs;
mod lists;
mod machine;
mod managed;
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

/// The error of a benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

/// Measures Parlor.
#[derive(Parser)]
struct Arguments {
    /// Subjects to measure. All by default.
    subjects: Vec<Subject>,
    /// Also update this Markdown page, and the JSON file next to it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also show the figures of this JSON file, which an older version has just written.
    #[arg(long, value_name = "FILE", requires = "markdown")]
    before: Option<PathBuf>,
    /// Measure nothing. Only write the page again from its JSON file.
    #[arg(long, requires = "markdown")]
    render: bool,
    /// Most messages that `lists` and `admin-lists` load, and most runs.
    #[arg(long, default_value_t = 10_000_000)]
    messages: i64,
    /// Most seconds that `lists` spends on loading data.
    #[arg(long, default_value_t = 180)]
    load_seconds: u64,
    /// `cargo bench` passes this option, and `cargo test` does not.
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as a child process with this role.
    #[arg(long, hide = true)]
    child: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    /// Time that Parlor adds before the first token.
    FirstToken,
    /// Time until the first token on new connections to DashScope.
    Connection,
    /// The SQL statements of a reply.
    ReplySql,
    /// What checkpoints cost PostgreSQL.
    Checkpoints,
    /// CPU time per relayed token, and memory per stream.
    Relay,
    /// Up to 2,000 concurrent streams.
    Streams,
    /// 64 streams in one function process, and in 64 processes.
    Managed,
    /// Resuming the stream of a long reply.
    Resume,
    /// Background jobs and a prewarm.
    Jobs,
    /// Lists of conversations, sessions and messages.
    Lists,
    /// Dashboard, run log and alerts of admins.
    AdminLists,
    /// Time from exec until a function asks for its first event.
    ColdStart,
    /// Size of the binaries.
    Sizes,
    /// Memory of each function after 1,000 requests.
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
    /// The runtime of the client. It has one thread if requests are sent one at a time: waking up a
    /// second thread would add to the measured time.
    fn runtime(self) -> Result<Runtime> {
        let mut runtime = match self {
            Self::FirstToken
            | Self::Connection
            | Self::ReplySql
            | Self::Checkpoints
            | Self::Lists
            | Self::AdminLists => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        Ok(runtime.enable_all().build()?)
    }

    /// The name on the command line.
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    async fn measure(self, arguments: &Arguments, postgres: &Binaries) -> Result<Section> {
        match self {
            Self::FirstToken => first_token::measure(postgres).await,
            Self::Connection => connection::measure(postgres).await,
            Self::ReplySql => reply_sql::measure(postgres).await,
            Self::Checkpoints => checkpoints::measure(postgres).await,
            Self::Relay => relay::measure(postgres).await,
            Self::Streams => streams::measure(postgres).await,
            Self::Managed => managed::measure(postgres).await,
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
    for subject in subjects.iter().filter(|_| !arguments.render) {
        let before = Ticks::now();
        let measured = subject.measure(arguments, &postgres);
        let mut section = subject.runtime()?.block_on(measured)?;
        section.notes.push(before.steal_note());
        sections.push((subject.name(), section));
    }
    #[expect(clippy::print_stdout, reason = "the report")]
    {
        println!("{}", report::plain(&machine, &sections));
    }
    if let Some(file) = &arguments.markdown {
        // Cargo runs a benchmark in the directory of its package. Paths are relative to the
        // workspace.
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = workspace.join(file);
        let mut results = Results::read(&page.with_extension("json"))?;
        results.update(&machine, sections);
        if let Some(before) = &arguments.before {
            results.compare(&Results::read(&workspace.join(before))?);
        }
        let subjects: Vec<String> = Subject::value_variants().iter().map(|s| s.name()).collect();
        results.write(&page, &machine, &subjects)?;
    }
    Ok(())
}

/// Prints the progress to standard error.
fn progress(what: impl std::fmt::Display) {
    #[expect(clippy::print_stderr, reason = "a subject takes minutes")]
    {
        eprintln!("… {what}");
    }
}
