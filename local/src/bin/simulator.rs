//! The DashScope simulator as a program of its own.

use std::process::ExitCode;

use clap::Parser;
use local::simulator::command::{Args, run};

#[derive(Parser)]
#[command(
    name = "simulator",
    version,
    about = "Simulates DashScope applications on this machine"
)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            #[expect(
                clippy::print_stderr,
                reason = "the error of a command is printed at the terminal"
            )]
            {
                eprintln!("simulator: {err}");
            }
            ExitCode::FAILURE
        }
    }
}
