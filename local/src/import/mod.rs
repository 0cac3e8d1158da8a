//! `import`: copies the data of the earlier services into Parlor (docs/migrating.md).
//!
//! The earlier tables are read in one snapshot. Rows are written in batches, each in a transaction
//! that also records their ids (table `parlor_import.ids`). So the command can be killed and
//! repeated: it skips the rows that it has recorded.

mod chats;
mod fastapi;
mod flask;
mod plain;
mod progress;
mod report;
mod row;
mod source;
mod target;
mod users;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use common::{governance::runs::Retention, platform::env::Env};
use secrecy::SecretString;

use self::{report::Report, source::Source, target::Target, users::Users};
use crate::{command::AnyError, database, terminal};

/// Rows of a batch.
const BATCH_ROWS: usize = 1_000;
/// A batch also ends when its rows have this size, because a prompt can be long.
const BATCH_BYTES: usize = 4 << 20;

/// Options of `import`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The service whose tables are read.
    #[arg(value_enum)]
    service: Service,
    /// Database of the service; by default the target, for a schema that has been renamed.
    #[arg(
        long,
        value_name = "URL",
        env = "IMPORT_DATABASE_URL",
        hide_env_values = true
    )]
    from: Option<String>,
    /// Schema of its tables; by default `biz` for fastapi and `public` for flask.
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// CSV file that maps the users of the service to users of Parlor.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "write_users",
        conflicts_with = "write_users"
    )]
    users: Option<PathBuf>,
    /// Write that file from what is found, to be checked and completed, and import nothing.
    #[arg(long, value_name = "FILE")]
    write_users: Option<PathBuf>,
    /// Only print what would be imported.
    #[arg(long)]
    dry_run: bool,
    /// Write each row that is changed or not imported to a CSV file.
    #[arg(long, value_name = "FILE")]
    issues: Option<PathBuf>,
    /// Write the ids that differ from the earlier ones to a CSV file.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    ids: Option<PathBuf>,
    /// Database of Parlor; by default the private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

/// An earlier service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Service {
    /// Chats, results, jobs and run log of the mini-program.
    Fastapi,
    /// Sessions with bots.
    Flask,
}

impl Service {
    /// The column `service` of `parlor_import.ids`.
    const fn name(self) -> &'static str {
        match self {
            Self::Fastapi => "fastapi",
            Self::Flask => "flask",
        }
    }

    const fn schema(self) -> &'static str {
        match self {
            Self::Fastapi => "biz",
            Self::Flask => "public",
        }
    }

    const fn tables(self) -> &'static [source::Table] {
        match self {
            Self::Fastapi => fastapi::TABLES,
            Self::Flask => flask::TABLES,
        }
    }
}

/// Everything that the parts of an import use.
struct Import {
    source: Source,
    target: Target,
    users: Users,
    report: Report,
    retention: Retention,
}

/// A kind of rows.
struct Kind {
    /// The word in reports and in `parlor_import.ids`.
    name: &'static str,
    /// Returns the number of earlier rows, the number of their ids, and the highest id that is a
    /// number.
    count: &'static str,
    /// Where its ids are kept if they are free. `None`: the ids are not numbers.
    numbers: Option<Numbers>,
}

/// The numeric ids of a table of Parlor.
#[derive(Clone, Copy)]
struct Numbers {
    table: &'static str,
    /// Returns which of the ids `$1` exist.
    taken: &'static str,
}

pub(crate) fn run(options: &Options, data_dir: &Path, env: &Env) -> Result<(), AnyError> {
    let (url, _cluster) =
        database::given_or_shared(options.database_url.as_deref(), data_dir, env)?;
    crate::command::block_on(import(options, url, env))
}

async fn import(options: &Options, url: SecretString, env: &Env) -> Result<(), AnyError> {
    let service = options.service;
    let from = options
        .from
        .as_deref()
        .map_or(url.clone(), SecretString::from);
    let schema = options.schema.as_deref().unwrap_or(service.schema());
    let mut source = Source::open(&from, schema, service.tables()).await?;
    if let Some(file) = &options.write_users {
        return users::write(&mut source, service, file).await;
    }
    let file = options
        .users
        .as_deref()
        .ok_or("no file of users is given")?;
    let mut target = Target::open(&url, service, options.dry_run).await?;
    let users = Users::read(file, &mut target).await?;
    let mut import = Import {
        report: Report::new(options.dry_run, options.issues.as_deref())?,
        retention: Retention::from_env(env)?,
        source,
        target,
        users,
    };
    import
        .users
        .create(&mut import.target, &mut import.report)
        .await?;
    match service {
        Service::Fastapi => fastapi::import(&mut import).await?,
        Service::Flask => flask::import(&mut import).await?,
    }
    import.report.print()?;
    if let Some(file) = &options.ids {
        import.target.write_ids(file).await?;
        terminal::print_line(format!("new ids: {}", file.display()));
    }
    Ok(())
}
