//! Where the service is and how patient the client is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use crate::platform::{env, secrets::RotatingSecret};

/// Base URL of the Beijing deployment.
pub const BEIJING: &str = "https://dashscope.aliyuncs.com/api/v1";

/// All that [`DashScope::new`](super::DashScope::new) needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// An API key. Keys belong to one region.
    pub api_key: SecretString,
    /// Who is asked for another key, once the service refuses the one there is.
    pub key_source: Option<Arc<dyn KeySource>>,
    /// Up to and including `/api/v1`: [`BEIJING`], or the URL of another region, of a workspace, or of
    /// a simulator.
    pub base_url: String,
    /// The workspace of the applications, when it is not the key's default one.
    pub workspace: Option<String>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often to try again.
    pub retries: Retries,
}

impl Config {
    /// Beijing, the key's default workspace, default patience.
    pub fn new(api_key: SecretString) -> Self {
        Self {
            api_key,
            key_source: None,
            base_url: BEIJING.to_owned(),
            workspace: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
        }
    }

    /// Reads `DASHSCOPE_API_KEY`, `DASHSCOPE_BASE_URL` and `DASHSCOPE_WORKSPACE`.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &env::Env) -> Result<Self, env::ConfigError> {
        let name = "DASHSCOPE_API_KEY";
        let key = env
            .rotating(name, env::REREAD_PAUSE, |env| {
                Box::pin(async move { env.secret("DASHSCOPE_API_KEY").await })
            })
            .await?;
        let mut config = Self::new(SecretString::clone(&key.get()));
        config.key_source = Some(Arc::new(key));
        if let Some(base_url) = env.text("DASHSCOPE_BASE_URL") {
            base_url.clone_into(&mut config.base_url);
        }
        config.workspace = env.text("DASHSCOPE_WORKSPACE").map(str::to_owned);
        Ok(config)
    }
}

/// Knows which key is in force by now.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// A key to try instead of one that the service refused; `None` where there is no other. It must
    /// take no longer than the caller of an application would wait.
    fn refresh_after_rejection<'a>(
        &'a self,
        refused: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>>;
}

impl KeySource for RotatingSecret<SecretString> {
    fn refresh_after_rejection<'a>(
        &'a self,
        refused: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>> {
        Box::pin(async move {
            let is_another =
                |key: &Arc<SecretString>| key.expose_secret() != refused.expose_secret();
            let known = self.get();
            let key = if is_another(&known) {
                Some(known)
            } else {
                self.refresh_after_rejection(&known).await
            };
            key.filter(is_another).map(|key| SecretString::clone(&key))
        })
    }
}

/// How long to wait. Each ends the call with an error of its own.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection, TLS included. Then it is tried again.
    pub connect: Duration,
    /// From asking to the first text of a stream, for each try. Heartbeats and thinking do not
    /// count as text. A whole answer ([`DashScope::complete`](super::DashScope::complete)) is not
    /// held to it.
    pub first_token: Duration,
    /// From one byte of a stream to the next. Heartbeats count.
    pub idle: Duration,
    /// For the whole call, tries and pauses included.
    pub overall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            overall: Duration::from_mins(5),
        }
    }
}

/// When to try again after a broken connection, a 5xx or throttling.
#[derive(Debug, Clone)]
pub struct Retries {
    /// The pause before each further try; as many tries as pauses. A `Retry-After` of the service's
    /// takes their place.
    pub delays: Vec<Duration>,
    /// How much longer a pause may get, by chance, as a fraction of it: 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            delays: vec![
                Duration::from_secs(1),
                Duration::from_secs(2),
                Duration::from_secs(4),
            ],
            jitter: 0.25,
        }
    }
}

impl Retries {
    /// One try only.
    pub fn none() -> Self {
        Self {
            delays: Vec::new(),
            ..Self::default()
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Empty, or with characters that no HTTP header can carry.
    #[error("the DashScope API key is empty or has characters that no key has")]
    ApiKey,
    /// Not an http(s) URL, or with a query or a fragment.
    #[error("the DashScope base URL {0:?} is not an http or https URL that a path can follow")]
    BaseUrl(String),
    /// Not 1 to 64 of `A-Z a-z 0-9 _ -`, the first a letter or digit.
    #[error("{0:?} is not a DashScope workspace id")]
    Workspace(String),
}

pub(super) fn check_workspace(id: &str) -> Result<(), ConfigError> {
    let fits = id.len() <= 64
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(ConfigError::Workspace(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_ids_cannot_leave_their_place() {
        for id in ["a", "llm-ws_123", &"x".repeat(64)] {
            assert!(check_workspace(id).is_ok(), "{id}");
        }
        for id in [
            "",
            "-a",
            "_a",
            "a.b",
            "a/b",
            "a b",
            "中",
            "a\r\nX: y",
            &"x".repeat(65),
        ] {
            assert!(check_workspace(id).is_err(), "{id}");
        }
    }
}
