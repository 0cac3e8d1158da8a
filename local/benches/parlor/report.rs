//! What was measured, beside what it should be: as text for a terminal, or as the Markdown of
//! `docs/benchmarks.md`.

use std::fmt::Write as _;

/// One subject.
pub struct Section {
    pub title: &'static str,
    /// How it was measured.
    pub conditions: String,
    pub figures: Vec<Figure>,
    /// What else should be known, such as where the time goes.
    pub notes: Vec<String>,
}

/// One line of its table.
pub struct Figure {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    /// The most that it may be.
    pub target: Option<f64>,
    /// The least that anything could have taken, from the same run.
    pub floor: Option<f64>,
}

impl Figure {
    /// A figure without target or floor.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            target: None,
            floor: None,
        }
    }

    /// Sets the most that it may be.
    #[must_use]
    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// Sets what it is compared with.
    #[must_use]
    pub fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            Some(target) if self.value <= target => "met",
            Some(_) => "**missed**",
            None => "",
        }
    }

    fn cells(&self) -> [String; 5] {
        let with_unit = |value: f64| format!("{} {}", number(value), self.unit).trim().to_owned();
        [
            self.what.clone(),
            with_unit(self.value),
            self.target
                .map_or(String::new(), |target| format!("≤ {}", with_unit(target))),
            self.floor.map_or(String::new(), with_unit),
            self.verdict().to_owned(),
        ]
    }
}

/// Three digits that matter, or all of a large number.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

const HEADINGS: [&str; 5] = ["", "measured", "target", "floor", ""];

/// The whole page: machine, then each subject.
pub fn markdown(machine: &[(String, String)], sections: &[Section]) -> String {
    let mut page = String::from(PREFACE);
    page.push_str("\n| | |\n|---|---|\n");
    for (name, value) in machine {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    let misses = misses(sections);
    page.push_str("\n## Misses\n\n");
    if misses.is_empty() {
        page.push_str("None.\n");
    }
    for miss in misses {
        let _ = writeln!(page, "- {miss}");
    }
    for section in sections {
        let Section {
            title,
            conditions,
            figures,
            notes,
        } = section;
        let _ = write!(page, "\n## {title}\n\n{conditions}\n\n");
        let _ = writeln!(page, "| {} |\n|---|---|---|---|---|", HEADINGS.join(" | "));
        for figure in figures {
            let _ = writeln!(page, "| {} |", figure.cells().join(" | "));
        }
        for note in notes {
            let _ = write!(page, "\n{note}\n");
        }
    }
    page
}

/// The same for a terminal.
pub fn plain(machine: &[(String, String)], sections: &[Section]) -> String {
    let mut page = String::new();
    for (name, value) in machine {
        let _ = writeln!(page, "{name:<12} {value}");
    }
    for section in sections {
        let Section {
            title,
            conditions,
            figures,
            notes,
        } = section;
        let _ = write!(page, "\n{title}\n{conditions}\n\n");
        let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(figures.iter().map(Figure::cells))
            .collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: [usize; 5] = std::array::from_fn(width);
        for row in &rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let _ = writeln!(
                page,
                "{}",
                cells
                    .collect::<Vec<_>>()
                    .join("  ")
                    .replace("**", "")
                    .trim_end()
            );
        }
        for note in notes {
            let _ = writeln!(page, "{note}");
        }
    }
    page
}

fn misses(sections: &[Section]) -> Vec<String> {
    let missed = |section: &Section| {
        let title = section.title;
        let figures = section.figures.iter();
        let missed =
            figures.filter(|figure| figure.target.is_some_and(|target| figure.value > target));
        missed
            .map(|figure| {
                let [what, measured, target, ..] = figure.cells();
                format!("{title}: {what}: {measured}, target {target}")
            })
            .collect::<Vec<_>>()
    };
    sections.iter().flat_map(missed).collect()
}

const PREFACE: &str = "\
# Benchmarks

Written by `cargo bench -p local -- --markdown docs/benchmarks.md`; nothing here is asserted by a test.
`cargo bench -p local` prints the same to the terminal, and subjects can be named:
`cargo bench -p local -- first-token relay streams resume jobs lists desk cold-start sizes memory`.

A *floor*, from the same run, is what the same thing costs without Parlor; each section says which.
Timings inside the benchmark are of the profile that is deployed, Parlor being one process with one thread, as on
Lambda, unless a section says otherwise; cold start, size and memory are of the binaries that are deployed.
";
