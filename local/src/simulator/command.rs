//! The command line of the simulator.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::command::cannot_listen;

use super::{LIST, Options, Scenario, Simulator, UnknownScenario, UnknownSession};

/// Simulates `DashScope` applications on this machine, in their real wire format.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = help())]
pub struct Args {
    /// The port on 127.0.0.1; 0 selects a free one.
    #[arg(long, default_value_t = 9100)]
    port: u16,
    /// Milliseconds until the first token.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    latency: u64,
    /// Pieces of text per second; 0 is as fast as possible.
    #[arg(long, value_name = "N", default_value_t = 25)]
    tokens_per_second: u32,
    /// The scenario of calls that do not select one.
    #[arg(long, value_name = "NAME", value_parser = parse_scenario)]
    scenario: Option<Scenario>,
    /// Return HTTP 400 for an unknown or expired session. By default a new session starts.
    #[arg(long)]
    refuse_unknown_session: bool,
}

fn parse_scenario(text: &str) -> Result<Scenario, UnknownScenario> {
    text.parse()
}

fn help() -> String {
    let rows = LIST.lines().skip(2).map(|row| {
        let (names, what) = row
            .trim_matches(['|', ' '])
            .split_once(" | ")
            .unwrap_or_default();
        format!("  {names}\n      {what}\n").replace('`', "")
    });
    format!(
        "A call selects a scenario by [[sim:NAME]] in the current question, by the header \
         x-sim-scenario, or by an app id that starts with sim-NAME. Join several with +:\n\n{}\n\
         POST /sim/release lets paused streams continue.",
        rows.collect::<String>()
    )
}

impl Args {
    fn options(&self) -> Options {
        Options {
            latency_to_first_token: Duration::from_millis(self.latency),
            tokens_per_second: Some(self.tokens_per_second).filter(|rate| *rate > 0),
            default_scenario: self.scenario.clone(),
            unknown_session: if self.refuse_unknown_session {
                UnknownSession::Refuse
            } else {
                UnknownSession::StartFresh
            },
            ..Options::laptop()
        }
    }
}

/// Serves until Ctrl-C. Prints only the base URL to standard output.
pub async fn run(args: Args) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let simulator = Simulator::start(addr, args.options())
        .await
        .map_err(|err| {
            let text = cannot_listen(args.port, &err, "use --port to choose another one");
            io::Error::new(err.kind(), text)
        })?;
    writeln!(io::stdout(), "{}", simulator.base_url())?;
    tokio::signal::ctrl_c().await
}
