//! Time from exec until a function asks for its first event.

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
    let mut programs = vec![("hello world", binaries.hello(), false)];
    let functions = binaries.functions();
    programs.extend(functions.map(|(name, program)| (name, program, false)));
    let traced = binaries
        .functions()
        .find(|(name, _)| *name == "chat-stream");
    programs.extend(traced.map(|(_, program)| ("chat-stream with traces", program, true)));
    let mut times = vec![Samples::default(); programs.len()];
    progress("cold-start");
    // Interleaved, so that other load on the machine affects all programs in the same way.
    for _ in 0..STARTS {
        for ((_, program, is_traced), times) in programs.iter().zip(&mut times) {
            times.push(start(program, *is_traced)?);
        }
    }
    let mut rows = programs.iter().zip(&times);
    let hello = rows.next().ok_or("nothing was measured")?.1;
    let mut figures = Vec::new();
    for ((name, ..), times) in rows {
        figures.push(
            Figure::new(format!("{name}, median"), times.median(), "ms")
                .target(5.0)
                .floor(hello.median()),
        );
        figures.push(Figure::new(format!("{name}, best"), times.best(), "ms").floor(hello.best()));
    }
    Ok(Section {
        title: "Cold start",
        conditions: format!(
            "Time from the start of the process to its first `GET …/invocation/next`. Each `release` \
             binary starts {STARTS} times, in rotation, with its file in the page cache and its \
             secrets in variables. `with traces` has `OTEL_EXPORTER_OTLP_ENDPOINT`, the others do not. \
             The floor is a minimal `lambda_http` function."
        ),
        figures,
        notes: Vec::new(),
    })
}

fn start(program: &Path, is_traced: bool) -> Result<Duration> {
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
    if is_traced {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    }
    let began = Instant::now();
    let mut process = command.spawn()?;
    let elapsed = (|| {
        let (mut connection, _) = listener.accept()?;
        let mut bytes = [0; 64];
        connection.read_exact(&mut bytes[..3])?;
        Ok::<_, std::io::Error>(began.elapsed())
    })();
    process.kill().ok();
    process.wait()?;
    Ok(elapsed?)
}
