//! From exec to the first question for an event.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Result, bench_database, progress,
    release::Binaries,
    report::{Figure, Section},
    stats::Samples,
};

const STARTS: usize = 40;

pub fn measure() -> Result<Section> {
    let binaries = Binaries::build()?;
    let mut programs = vec![("hello world", binaries.hello())];
    programs.extend(binaries.functions());
    let mut times = vec![Samples::default(); programs.len()];
    progress("cold-start");
    // In turn, so that whatever else the machine does meets all of them alike.
    for _ in 0..STARTS {
        for ((_, program), times) in programs.iter().zip(&mut times) {
            times.push(start(program)?);
        }
    }
    let mut rows = programs.iter().zip(&times);
    let hello = rows.next().ok_or("nothing was measured")?.1;
    let mut figures = Vec::new();
    for ((name, _), times) in rows {
        figures.push(
            Figure::new(format!("{name}, median"), times.median(), "ms")
                .target(20.0)
                .floor(hello.median()),
        );
        figures.push(Figure::new(format!("{name}, best"), times.best(), "ms").floor(hello.best()));
    }
    Ok(Section {
        title: "Cold start",
        conditions: format!(
            "From starting the process to its first `GET …/invocation/next`, {STARTS} starts each, in turn, the files \
             being in the page cache; `release` binaries, secrets given in variables. The floor is a `lambda_http` \
             function that says hello."
        ),
        figures,
        notes: Vec::new(),
    })
}

fn start(program: &Path) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "benchmark")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "benchmark")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "benchmark")
        .env("AWS_REGION", "ap-southeast-1")
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("JWT_SECRET", bench_database::SECRET)
        .env("DASHSCOPE_API_KEY", "sk-benchmark")
        .env("DASHSCOPE_APP_ID_1_CHAT", "app1_chat")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let mut process = command.spawn()?;
    let asked = (|| {
        let (mut connection, _) = listener.accept()?;
        let mut bytes = [0; 64];
        connection.read_exact(&mut bytes[..3])?;
        Ok::<_, std::io::Error>(began.elapsed())
    })();
    process.kill().ok();
    process.wait()?;
    Ok(asked?)
}
