//! What it was measured on.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use local::postgres::Binaries;

use crate::Result;

/// Names and values for the head of the report.
pub fn describe(postgres: &Binaries) -> Vec<(String, String)> {
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = field(&cpuinfo, "model name")
        .unwrap_or("unknown")
        .to_owned();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory_kb: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(root).args(arguments));
    let dirty = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() {
        ""
    } else {
        ", with changes"
    };
    let load = read("/proc/loadavg");
    [
        ("CPU", format!("{cpu}, {cores} cores")),
        ("memory", format!("{} GiB", memory_kb / 1024 / 1024)),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        (
            "commit",
            format!("{}{dirty}", git(&["rev-parse", "--short", "HEAD"])),
        ),
        ("rustc", said(Command::new("rustc").arg("--version"))),
        (
            "PostgreSQL",
            said(Command::new(postgres.bin.join("postgres")).arg("--version")),
        ),
        (
            "load before",
            format!(
                "{} (1 min average; above 1, others were using the machine)",
                load.split(' ').next().unwrap_or_default()
            ),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// CPU time since the machine started, in ticks: what was used, and what the machine's own host gave to others though it was
/// wanted here.
#[derive(Clone, Copy, Default)]
pub struct Ticks {
    used: u64,
    stolen: u64,
}

impl Ticks {
    pub fn now() -> Self {
        let text = read("/proc/stat");
        let ticks: Vec<u64> = text
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let [user, nice, system, _idle, _waiting, irq, softirq, stolen] = ticks[..] else {
            return Self::default();
        };
        Self {
            used: user + nice + system + irq + softirq,
            stolen,
        }
    }

    /// As a time: a tick is 10 ms wherever Linux runs.
    pub fn used(self) -> Duration {
        Duration::from_millis(self.used * 10)
    }

    /// The share of the CPU time that was wanted since then, and given to others.
    fn steal(self) -> f64 {
        let now = Self::now();
        let used = now.used.saturating_sub(self.used);
        let stolen = now.stolen.saturating_sub(self.stolen);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let share = stolen as f64 / (used + stolen).max(1) as f64;
        share
    }

    /// What a reader of times that were measured since then should know.
    pub fn words(self) -> String {
        format!(
            "Of the CPU time that was wanted meanwhile, the machine's host gave {:.1} % to others (steal).",
            self.steal() * 100.0
        )
    }
}

/// How often the same is measured while the machine's host gives its CPU to others.
const ROUNDS: usize = 8;
/// Of the CPU time that is wanted: what a calm machine's host takes at most.
const CALM: f64 = 0.01;

/// Measures of single calls, which a host that takes the CPU away in the middle would make its own.
#[derive(Default)]
pub struct LowStealSampler {
    steals: Vec<f64>,
}

impl LowStealSampler {
    /// Measures until the machine's host leaves it alone, [`ROUNDS`] times at most, and answers the round in which
    /// it took least: chosen by what others did, and not by what was measured.
    pub async fn run<T>(&mut self, mut measure: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut calmest: Option<(f64, T)> = None;
        for _ in 0..ROUNDS {
            let before = Ticks::now();
            let measured = measure().await?;
            let steal = before.steal();
            if calmest.as_ref().is_none_or(|(least, _)| steal < *least) {
                calmest = Some((steal, measured));
            }
            if steal <= CALM {
                break;
            }
        }
        let (steal, measured) = calmest.ok_or("nothing was measured")?;
        self.steals.push(steal);
        Ok(measured)
    }

    /// What a reader of what was measured in rounds should know.
    pub fn note(&self) -> String {
        let least = self.steals.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.steals.iter().copied().fold(0.0, f64::max);
        format!(
            "Where the machine's host took more than {:.0} % of the CPU time that was wanted, a line was measured again, {ROUNDS} \
             times at most; what stands here is the round in which it took least, {:.1} to {:.1} %.",
            CALM * 100.0,
            least * 100.0,
            most * 100.0,
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
