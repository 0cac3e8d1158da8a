//! The whole of Parlor on a laptop. `--help` lists what else it can do.

use clap::Parser as _;
use local::command::Command;

fn main() -> std::process::ExitCode {
    local::command::Arguments::parse()
        .command
        .unwrap_or_else(Command::serve)
        .run()
}
