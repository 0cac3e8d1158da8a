//! The whole of Parlor on a laptop. `--help` lists what else it can do.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    local::command::Arguments::parse().run()
}
