//! The DashScope simulator as a program of its own.

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
async fn main() -> std::io::Result<()> {
    run(Cli::parse().args).await
}
