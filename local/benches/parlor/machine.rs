//! The machine of the measurements, and the CPU time that its host takes away.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use local::postgres::Binaries;

use crate::Result;

/// Names and values for the table of the machine in the report.
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
    let git =
        |arguments: &[&str]| output_of(Command::new("git").arg("-C").arg(root).args(arguments));
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
        ("rustc", output_of(Command::new("rustc").arg("--version"))),
        (
            "PostgreSQL",
            output_of(Command::new(postgres.bin.join("postgres")).arg("--version")),
        ),
        (
            "load before",
            format!(
                "{} (1 min average; above 1, other programs were running)",
                load.split(' ').next().unwrap_or_default()
            ),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// CPU time since the machine started, in ticks. `used` is that of this machine. `stolen` is the
/// time in which this machine had work but its host ran other machines (steal).
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

    /// The used time. A tick is 10 ms on Linux.
    pub fn used(self) -> Duration {
        Duration::from_millis(self.used * 10)
    }

    /// The share of stolen time since then.
    fn steal(self) -> f64 {
        let now = Self::now();
        let used = now.used.saturating_sub(self.used);
        let stolen = now.stolen.saturating_sub(self.stolen);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let share = stolen as f64 / (used + stolen).max(1) as f64;
        share
    }

    /// A note about the stolen time since then.
    pub fn steal_note(self) -> String {
        format!(
            "During this measurement, the host took {:.1} % of the CPU time (steal).",
            self.steal() * 100.0
        )
    }
}

/// Most repetitions of a measurement while the steal is too high.
const ROUNDS: usize = 8;
/// The highest acceptable share of steal.
const LOW_STEAL: f64 = 0.01;

/// Repeats a measurement until the host takes little CPU time. Otherwise steal would dominate the
/// times of single calls.
#[derive(Default)]
pub struct LowStealSampler {
    steals: Vec<f64>,
}

impl LowStealSampler {
    /// Measures until the steal is low, at most [`ROUNDS`] times. Returns the round with the lowest
    /// steal. The choice does not depend on the measured values.
    pub async fn run<T>(&mut self, mut measure: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut best: Option<(f64, T)> = None;
        for _ in 0..ROUNDS {
            let before = Ticks::now();
            let measured = measure().await?;
            let steal = before.steal();
            if best.as_ref().is_none_or(|(least, _)| steal < *least) {
                best = Some((steal, measured));
            }
            if steal <= LOW_STEAL {
                break;
            }
        }
        let (steal, measured) = best.ok_or("nothing was measured")?;
        self.steals.push(steal);
        Ok(measured)
    }

    /// A note about the repetitions.
    pub fn note(&self) -> String {
        let least = self.steals.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.steals.iter().copied().fold(0.0, f64::max);
        format!(
            "If the host took more than {:.0} % of the CPU time, a figure was measured again, at \
             most {ROUNDS} times. The figures are of the rounds with the lowest steal, {:.1} to \
             {:.1} %.",
            LOW_STEAL * 100.0,
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

fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
