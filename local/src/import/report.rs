//! Counts of an import, and the rows that it changes or does not import.

use std::{collections::BTreeMap, fs::File, path::Path};

use super::{Kind, row::Issue};
use crate::{command::AnyError, terminal};

/// Examples of each reason.
const EXAMPLES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Changed,
    NotImported,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::NotImported => "not imported",
        }
    }
}

#[derive(Default)]
struct Tally {
    found: u64,
    /// By an earlier run of the command.
    before: u64,
    now: u64,
    changed: u64,
    not_imported: u64,
}

#[derive(Default)]
struct Reason {
    count: u64,
    examples: Vec<String>,
}

pub(super) struct Report {
    dry_run: bool,
    tallies: Vec<(&'static str, Tally)>,
    reasons: BTreeMap<(&'static str, Outcome, &'static str), Reason>,
    file: Option<csv::Writer<File>>,
}

impl Report {
    pub(super) fn new(dry_run: bool, file: Option<&Path>) -> Result<Self, AnyError> {
        let mut file = file.map(csv::Writer::from_path).transpose()?;
        if let Some(file) = &mut file {
            file.write_record(["kind", "earlier_id", "outcome", "reason", "value"])?;
        }
        Ok(Self {
            dry_run,
            tallies: Vec::new(),
            reasons: BTreeMap::new(),
            file,
        })
    }

    pub(super) fn found(&mut self, kind: &Kind, rows: u64) {
        self.tally(kind).found += rows;
    }

    pub(super) fn imported_before(&mut self, kind: &Kind) {
        self.tally(kind).before += 1;
    }

    /// Counts an imported row and what was changed in it.
    pub(super) fn imported(
        &mut self,
        kind: &Kind,
        id: &str,
        changes: &[Issue],
    ) -> Result<(), AnyError> {
        let tally = self.tally(kind);
        tally.now += 1;
        tally.changed += u64::from(!changes.is_empty());
        for issue in changes {
            self.note(kind, id, Outcome::Changed, issue)?;
        }
        Ok(())
    }

    pub(super) fn not_imported(
        &mut self,
        kind: &Kind,
        id: &str,
        issue: &Issue,
    ) -> Result<(), AnyError> {
        self.tally(kind).not_imported += 1;
        self.note(kind, id, Outcome::NotImported, issue)
    }

    fn note(
        &mut self,
        kind: &Kind,
        id: &str,
        outcome: Outcome,
        issue: &Issue,
    ) -> Result<(), AnyError> {
        let reason = self
            .reasons
            .entry((kind.name, outcome, issue.reason))
            .or_default();
        reason.count += 1;
        if reason.examples.len() < EXAMPLES {
            let word = issue
                .word
                .as_ref()
                .map_or(String::new(), |word| format!(" ({word})"));
            reason.examples.push(format!("{id}{word}"));
        }
        if let Some(file) = &mut self.file {
            let word = issue.word.as_deref().unwrap_or_default();
            file.write_record([kind.name, id, outcome.name(), issue.reason, word])?;
        }
        Ok(())
    }

    fn tally(&mut self, kind: &Kind) -> &mut Tally {
        let place = self.tallies.iter().position(|(name, _)| *name == kind.name);
        let place = place.unwrap_or_else(|| {
            self.tallies.push((kind.name, Tally::default()));
            self.tallies.len() - 1
        });
        &mut self.tallies[place].1
    }

    /// Number of rows of the kind that are imported in the end.
    pub(super) fn total(&self, kind: &Kind) -> u64 {
        let of_kind = self.tallies.iter().find(|(name, _)| *name == kind.name);
        of_kind.map_or(0, |(_, tally)| tally.before + tally.now)
    }

    /// Prints the counts and the reasons.
    ///
    /// # Errors
    /// The counts do not add up to the number of earlier rows.
    pub(super) fn print(&mut self) -> Result<(), AnyError> {
        let now = if self.dry_run {
            "would import"
        } else {
            "imported"
        };
        terminal::print_line(format!(
            "{:14}{:>12}{:>16}{now:>16}{:>12}{:>16}",
            "", "found", "imported before", "changed", "not imported"
        ));
        for (kind, tally) in &self.tallies {
            terminal::print_line(format!(
                "{kind:14}{:>12}{:>16}{:>16}{:>12}{:>16}",
                tally.found, tally.before, tally.now, tally.changed, tally.not_imported
            ));
        }
        for ((kind, outcome, reason), found) in &self.reasons {
            let more = if found.count > EXAMPLES as u64 {
                ", …"
            } else {
                ""
            };
            terminal::print_line(format!(
                "{kind} {}: {} because {reason}: {}{more}",
                outcome.name(),
                found.count,
                found.examples.join(", ")
            ));
        }
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        let differs = self
            .tallies
            .iter()
            .find(|(_, tally)| tally.found != tally.before + tally.now + tally.not_imported);
        match differs {
            Some((kind, _)) => Err(format!("the counts of {kind} rows do not add up").into()),
            None => Ok(()),
        }
    }
}
