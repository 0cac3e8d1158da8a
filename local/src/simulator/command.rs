//! The simulator as a program.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{LIST, Options, Scenario, Simulator, UnknownScenario, UnknownSession};

/// Plays `DashScope` applications on this machine, over their real wire format.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = help())]
pub struct Args {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9100)]
    port: u16,
    /// Milliseconds to the first token.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    latency: u64,
    /// Pieces of text a second; 0 is as fast as possible.
    #[arg(long, value_name = "N", default_value_t = 25)]
    tokens_per_second: u32,
    /// The scenario of calls that name none.
    #[arg(long, value_name = "NAME", value_parser = parse_scenario)]
    scenario: Option<Scenario>,
    /// Answer a call with an unknown or expired session with HTTP 400; by default a new one starts.
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
        "Scenarios, chosen by [[sim:NAME]] in the current question, by the header x-sim-scenario, \
         or by an app id that starts with sim-NAME; several with + between:\n\n{}\n\
         POST /sim/release lets streams that stand at a gate go on.",
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

/// Serves until Ctrl-C. The first line on stdout is the base URL, and nothing else.
pub async fn run(args: Args) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let simulator = Simulator::start(addr, args.options()).await?;
    writeln!(io::stdout(), "{}", simulator.base_url())?;
    tokio::signal::ctrl_c().await
}
