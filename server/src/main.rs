//! Parlor in one process, for production outside Lambda. `--help` lists all commands.

use clap::Parser as _;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    server::command::Arguments::parse().run().await
}
