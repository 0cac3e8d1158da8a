//! Progress of an import: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal as _, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{command::AnyError, terminal};

/// Lines for each kind of rows.
const LINES: u64 = 20;

pub(super) struct Progress {
    kind: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn start(kind: &'static str, total: u64) -> Result<Self, AnyError> {
        let style = "{msg:14} {bar:40} {pos}/{len} {elapsed_precise}";
        let bar = stderr()
            .is_terminal()
            .then(|| ProgressBar::new(total).with_message(kind));
        let bar = match bar {
            Some(bar) => Some(bar.with_style(ProgressStyle::with_template(style)?)),
            None => None,
        };
        Ok(Self {
            kind,
            total,
            done: 0,
            bar,
        })
    }

    /// Call it after the rows are committed.
    pub(super) fn advance(&mut self, rows: u64) {
        let before = self.done;
        self.done += rows;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if before * LINES / self.total.max(1) < self.done * LINES / self.total.max(1) => {
                terminal::print_line(format!("{}: {} of {}", self.kind, self.done, self.total));
            }
            None => {}
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}
