//! Parlor on a laptop. `--help` lists all commands.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    local::command::Arguments::parse().run()
}
