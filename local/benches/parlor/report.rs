//! The report: as text for a terminal, and as the Markdown of `docs/benchmarks.md`.
//!
//! The Markdown is generated from a JSON file beside it, which has the last result of each subject.
//! So a subject can be measured again without the others.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};

use crate::Result;

/// What a subject measured.
pub struct Section {
    pub title: &'static str,
    /// How it was measured.
    pub conditions: String,
    pub figures: Vec<Figure>,
    /// Details, such as where the time is spent.
    pub notes: Vec<String>,
}

/// One line of a table.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figure {
    pub what: String,
    pub value: f64,
    unit: String,
    /// The highest acceptable value.
    target: Option<f64>,
    /// The same without Parlor, from the same run.
    floor: Option<f64>,
    /// The same with an older version, on the same machine just before.
    #[serde(default)]
    before: Option<f64>,
}

impl Figure {
    /// A figure without target or floor.
    pub fn new(what: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            value,
            unit: unit.to_owned(),
            target: None,
            floor: None,
            before: None,
        }
    }

    /// Sets the highest acceptable value.
    #[must_use]
    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// Sets the value without Parlor.
    #[must_use]
    pub fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| self.value > target)
    }

    fn with_unit(&self, value: f64) -> String {
        format!("{} {}", number(value), self.unit).trim().to_owned()
    }

    fn cells(&self) -> [String; 6] {
        let verdict = match self.target {
            Some(_) if self.is_missed() => "**missed**",
            Some(_) => "met",
            None => "",
        };
        let optional = |value: Option<f64>| value.map(|value| self.with_unit(value));
        [
            self.what.clone(),
            optional(self.before).unwrap_or_default(),
            self.with_unit(self.value),
            optional(self.target).map_or(String::new(), |target| format!("≤ {target}")),
            optional(self.floor).unwrap_or_default(),
            verdict.to_owned(),
        ]
    }
}

/// Three significant digits, or all digits of a large number.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

const HEADINGS: [&str; 6] = ["", "before", "measured", "target", "floor", ""];

/// The table of these figures. It has the column `before` only if a figure has the value.
fn table(figures: &[Figure]) -> Vec<Vec<String>> {
    let has_before = figures.iter().any(|figure| figure.before.is_some());
    let rows =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(figures.iter().map(Figure::cells));
    let columns = |row: [String; 6]| {
        let cells = row.into_iter().enumerate();
        let shown = cells.filter(|(column, _)| has_before || *column != 1);
        shown.map(|(_, cell)| cell).collect()
    };
    rows.map(columns).collect()
}

/// The report for a terminal.
pub fn plain(machine: &[(String, String)], sections: &[(String, Section)]) -> String {
    let mut page = String::new();
    for (name, value) in machine {
        let _ = writeln!(page, "{name:<12} {value}");
    }
    for (_, section) in sections {
        let Section {
            title,
            conditions,
            figures,
            notes,
        } = section;
        let _ = write!(page, "\n{title}\n{conditions}\n\n");
        let rows = table(figures);
        let width = |column: usize| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ").replace("**", "");
            let _ = writeln!(page, "{}", line.trim_end());
        }
        for note in notes {
            let _ = writeln!(page, "{note}");
        }
    }
    page
}

/// The last result of each subject, by the subject's name.
#[derive(Default, Serialize, Deserialize)]
pub struct Results(BTreeMap<String, Measured>);

#[derive(Serialize, Deserialize)]
struct Measured {
    title: String,
    commit: String,
    /// The commit of the older version, if there are figures of one.
    #[serde(default)]
    before: Option<String>,
    conditions: String,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Results {
    /// Reads the file; empty if there is none.
    pub fn read(file: &Path) -> Result<Self> {
        match std::fs::read(file) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err.into()),
        }
    }

    /// Replaces the results of the subjects that were measured.
    pub fn update(&mut self, machine: &[(String, String)], sections: Vec<(String, Section)>) {
        let commit = machine.iter().find(|(name, _)| name == "commit");
        for (subject, section) in sections {
            let measured = Measured {
                title: section.title.to_owned(),
                commit: commit.map(|(_, value)| value.clone()).unwrap_or_default(),
                before: None,
                conditions: section.conditions,
                figures: section.figures,
                notes: section.notes,
            };
            self.0.insert(subject, measured);
        }
    }

    /// Adds the figures of an older version, from a run on the same machine just before.
    pub fn compare(&mut self, older: &Self) {
        for (subject, before) in &older.0 {
            let Some(measured) = self.0.get_mut(subject) else {
                continue;
            };
            for figure in &mut measured.figures {
                let same = older.figure(subject, &figure.what);
                figure.before = same.map(|same| same.value);
            }
            measured.before = Some(before.commit.clone());
        }
    }

    /// Writes the file, and the Markdown page of it. The page has the subjects in this order.
    pub fn write(
        &self,
        page: &Path,
        machine: &[(String, String)],
        subjects: &[String],
    ) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        std::fs::write(page.with_extension("json"), json)?;
        std::fs::write(page, self.markdown(machine, subjects))?;
        Ok(())
    }

    fn markdown(&self, machine: &[(String, String)], subjects: &[String]) -> String {
        let mut page = String::from(PREFACE);
        for (subject, what, label) in HEADLINES {
            if let Some(figure) = self.figure(subject, what) {
                let floor = figure.floor.map_or(String::new(), |floor| {
                    format!(" (floor {})", figure.with_unit(floor))
                });
                let value = figure.with_unit(figure.value);
                let _ = writeln!(page, "- {label}: **{value}**{floor}");
            }
        }
        let measured = || {
            let found = subjects
                .iter()
                .map(|subject| (subject, self.0.get(subject)));
            found.filter_map(|(subject, measured)| Some((subject, measured?)))
        };
        for (subject, measured) in measured() {
            let Measured { title, figures, .. } = measured;
            let _ = write!(page, "\n## {title}\n\n");
            for (number, row) in table(figures).iter().enumerate() {
                let _ = writeln!(page, "| {} |", row.join(" | "));
                if number == 0 {
                    let _ = writeln!(page, "|{}", "---|".repeat(row.len()));
                }
            }
            if figures.iter().any(Figure::is_missed)
                && let Some(cause) = text_of(CAUSES, subject)
            {
                let _ = write!(page, "\n{}\n", wrap(&format!("Missed: {cause}")));
            }
            if measured.before.is_some()
                && let Some(change) = text_of(CHANGES, subject)
            {
                let _ = write!(page, "\n{}\n", wrap(&format!("Since before: {change}")));
            }
        }
        page.push_str(METHOD);
        for (name, value) in machine.iter().filter(|(name, _)| name != "commit") {
            let _ = writeln!(page, "| {name} | {value} |");
        }
        for (_, measured) in measured() {
            let Measured {
                title,
                commit,
                before,
                conditions,
                notes,
                ..
            } = measured;
            let _ = write!(page, "\n### {title}: how\n\n{}\n", wrap(conditions));
            for note in notes {
                let _ = write!(page, "\n{}\n", wrap(note));
            }
            let _ = write!(page, "\nMeasured at commit {commit}.");
            if let Some(before) = before {
                let _ = write!(
                    page,
                    " The column *before* is commit {before}, measured just before."
                );
            }
            page.push('\n');
        }
        page
    }

    fn figure(&self, subject: &str, what: &str) -> Option<&Figure> {
        let figures = &self.0.get(subject)?.figures;
        figures.iter().find(|figure| figure.what == what)
    }
}

/// Breaks a paragraph into lines of at most 100 columns. Text in backquotes may be broken, too.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > 100 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// Subject, figure, and what the figure is called at the top of the page.
const HEADLINES: [(&str, &str, &str); 3] = [
    (
        "first-token",
        "added, p50, fsync on",
        "Time that Parlor adds before the first token, median",
    ),
    (
        "relay",
        "CPU of a relayed token",
        "CPU time of a relayed token; the floor is a bare proxy",
    ),
    (
        "lists",
        "history, page 1, 10.0 million messages, p99",
        "First page of the history at 10 million messages, p99",
    ),
];

/// Why a subject misses its targets.
const CAUSES: &[(&str, &str)] = &[
    (
        "first-token",
        "`begin_reply` and its commit are more than half of the added time. The rest is HTTP twice, the \
         token's signature, JSON, the log and the hops between tasks.",
    ),
    (
        "reply-sql",
        "`begin_reply` also checks quotas and the calls per second of an application, which are newer \
         than the target. Consecutive statements touch different rows, so the CPU caches are cold.",
    ),
    (
        "relay",
        "The kernel does the same reads and writes for both, which take half of the time. In the rest, no \
         function takes more than 2 %: two parsers, the text of the reply, the event, and the layers \
         through which hyper polls them. Between two tokens, 49 other streams and three other processes \
         run, so code and data have probably left the caches: the same code took between 12 and 18 µs outside \
         of the kernel, from run to run.",
    ),
    (
        "streams",
        "simulator, client and PostgreSQL share the two cores, which are busy at 2,000 streams.",
    ),
    (
        "sizes",
        "`console` contains its pages and the code behind them, which is nearly all of Parlor.",
    ),
    (
        "cold-start",
        "`console` builds the routes of its pages and of the chat behind them.",
    ),
    (
        "jobs",
        "one updated and committed row costs most of the target; a step takes 1.4 to 2.5 times that.",
    ),
    (
        "lists",
        "the host of the machine took CPU time in bursts; the statement alone took most of it.",
    ),
    (
        "admin-lists",
        "failed jobs up to a month ago were read from the newest one on. Since this measurement, only those \
         up to that day are read.",
    ),
];

/// What changed since the older version.
const CHANGES: &[(&str, &str)] = &[
    (
        "first-token",
        "`begin_reply` also checks quotas and the calls per second of an application, which takes 0.2 ms. \
         A connection to PostgreSQL is tested when it is returned, while the simulator needs a core, too: \
         its answer comes 0.1 ms later (`perf trace`).",
    ),
    (
        "relay",
        "no difference that is larger than that between two runs. In runs that alternated, the older version \
         took 27.1, 27.3 and 31.3 µs, this one 24.4, 25.8 and 31.2 µs.",
    ),
    (
        "connection",
        "a process opens a connection at its start, and keeps it 60 s instead of 30 s.",
    ),
    (
        "admin-lists",
        "totals are counted up to 1,000 instead of 10,000, or read from the usage counters.",
    ),
    (
        "streams",
        "messages of a site wait less for each other, checkpoints store only new text and have connections \
         of their own.",
    ),
];

/// The text about a subject.
fn text_of<'a>(texts: &[(&str, &'a str)], subject: &str) -> Option<&'a str> {
    let found = texts.iter().find(|(of, _)| *of == subject);
    found.map(|(_, text)| *text)
}

const PREFACE: &str = "\
# Benchmarks

`cargo bench -p local -- --markdown docs/benchmarks.md` writes this page. No test asserts a time.
A *floor* is the same without Parlor, from the same run. The last chapter has the method.

";

const METHOD: &str = "
## Method

`cargo bench -p local` prints the figures to the terminal. Subjects can be named, for example
`cargo bench -p local -- first-token relay`. With `--markdown FILE`, the named subjects are
replaced in the page and in the JSON file beside it, and the others stay. Loading ten million
messages and runs takes 9 minutes on 2 cores. Linking the release binaries takes a quarter of an
hour, once.

The column *before* is an older version. Measure it in a checkout of its own with `--markdown FILE`.
Then measure the newer one with `--before` and the JSON file beside that page.

Timings are of the profile that is deployed. Parlor is one process with one thread, as on Lambda,
unless a chapter says otherwise. Cold start, size and memory are of the deployed binaries.

The machine of the last run:

| | |
|---|---|
";
