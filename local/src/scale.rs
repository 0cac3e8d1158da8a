//! What a number of messages a day costs and needs: `cargo run -- scale`. The tables of
//! `docs/scale.md` are its output.

pub mod growth;
pub mod measured;
pub mod model;
pub mod queue;
pub mod tables;
pub mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    measured::Measured,
    model::{Load, Prices, Sizing},
    tables::{Table, tables},
    text::Language,
};
use crate::{command::AnyError, terminal};

/// The documents with the tables.
pub const DOCUMENTS: [&str; 2] = ["docs/scale.md", "docs/zh/scale.md"];

/// Starts a table in a document, as `<!-- scale NAME -->`. The line of [`END`] ends it.
const START: &str = "<!-- scale ";
const END: &str = "<!-- end -->";

/// Options of `scale`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What users do.
    #[command(flatten, next_help_heading = "Load")]
    pub load: Load,
    /// What is deployed.
    #[command(flatten, next_help_heading = "Deployment and limits")]
    pub sizing: Sizing,
    /// Prices.
    #[command(flatten, next_help_heading = "Prices")]
    pub prices: Prices,
    /// Replace the tables of a document, instead of printing them. Below a directory `zh`, they are
    /// in Chinese
    #[arg(long, value_name = "FILE")]
    pub markdown: Vec<PathBuf>,
}

/// Tables by name.
pub type Tables = Vec<(&'static str, Table)>;

/// Prints the tables, or writes them to documents.
pub(crate) fn run(options: &Options) -> Result<(), AnyError> {
    let tables = compute(options)?;
    if options.markdown.is_empty() {
        for (_, table) in &tables {
            terminal::print_line(table.plain());
        }
    }
    for path in &options.markdown {
        let page = fs::read_to_string(path)
            .map_err(|err| format!("cannot read {}: {err}", path.display()))?;
        fs::write(path, replace(&page, language(path), &tables)?)?;
    }
    Ok(())
}

/// All tables for these options.
///
/// # Errors
/// If a figure of the benchmarks is missing.
pub fn compute(options: &Options) -> Result<Tables, AnyError> {
    let Options {
        load,
        sizing,
        prices,
        ..
    } = options;
    Ok(tables(load, sizing, &Measured::read()?, prices))
}

/// The language of a document.
pub fn language(path: &Path) -> Language {
    if path.iter().any(|part| part == "zh") {
        Language::Chinese
    } else {
        Language::English
    }
}

/// A document with new tables.
///
/// # Errors
/// If a mark names no table or has no end.
pub fn replace(page: &str, language: Language, tables: &Tables) -> Result<String, AnyError> {
    let mut made = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        made.push_str(line);
        made.push('\n');
        let name = line
            .strip_prefix(START)
            .and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = name else { continue };
        let (_, table) = tables
            .iter()
            .find(|(table, _)| *table == name)
            .ok_or_else(|| format!("no table is named {name}"))?;
        made.push('\n');
        made.push_str(&table.markdown(language));
        made.push('\n');
        lines
            .find(|line| *line == END)
            .ok_or_else(|| format!("the table {name} has no end"))?;
        made.push_str(END);
        made.push('\n');
    }
    Ok(made)
}
