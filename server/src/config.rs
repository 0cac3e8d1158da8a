//! The settings of the server itself. Everything else is configured as the functions are.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use common::{
    insights::jobs::PrewarmSchedule,
    platform::env::{ConfigError, Env},
};

/// Database connections of one instance, which serves all functions.
const MAX_CONNECTIONS: &str = "16";

/// Where and how the server serves.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Loopback, unless `HOST` says otherwise.
    pub address: SocketAddr,
    /// The port of the Prometheus metrics.
    pub metrics: SocketAddr,
    /// Time that requests and jobs in progress have after a signal.
    pub grace: Duration,
    /// False if other instances run jobs and schedules.
    pub has_background: bool,
}

impl Config {
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let host = env.parsed("HOST", "an IP address", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let port = env.parsed("PORT", "a port", 9000)?;
        let metrics = (Ipv4Addr::LOCALHOST, 9464).into();
        // EventBridge knows other schedules.
        if !PrewarmSchedule::from_env(env)?.is_daily() {
            return Err(ConfigError::Invalid {
                name: "PREWARM_SCHEDULE".to_owned(),
                expected: "a time of each day, `cron(minute hour * * ? *)`",
            });
        }
        let seconds = env.parsed("SHUTDOWN_SECONDS", "a whole number", 60_u32)?;
        Ok(Self {
            address: (host, port).into(),
            metrics: env.parsed("METRICS_ADDR", "an address with a port", metrics)?,
            grace: Duration::from_secs(seconds.into()),
            has_background: env.parsed("RUN_BACKGROUND", "`true` or `false`", true)?,
        })
    }

    /// The address at which this machine reaches the server.
    pub fn own_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address
    }
}

/// The variables of the functions, with the defaults of a server.
pub(crate) fn with_defaults(env: &Env) -> Env {
    env.or("DATABASE_MAX_CONNECTIONS", MAX_CONNECTIONS)
}
