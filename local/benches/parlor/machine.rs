//! What it was measured on.

use std::{fs, path::Path, process::Command, thread};

use local::postgres::Binaries;

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
