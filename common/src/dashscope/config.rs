//! Configuration of the client: key, URL, timeouts and retries.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use super::Call;
use crate::platform::{env, secrets::RotatingSecret};

/// Base URL of the Beijing region.
pub const BEIJING: &str = "https://dashscope.aliyuncs.com/api/v1";

/// The configuration for [`DashScope::new`](super::DashScope::new).
#[derive(Debug, Clone)]
pub struct Config {
    /// An API key. A key is valid in one region.
    pub api_key: SecretString,
    /// The source of another key, used after the service rejects the current one.
    pub key_source: Option<Arc<dyn KeySource>>,
    /// The URL up to and including `/api/v1`: [`BEIJING`], or that of another region, a workspace
    /// or a simulator.
    pub base_url: String,
    /// The workspace of the applications, if it is not the default of the key.
    pub workspace: Option<String>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Number and pauses of retries.
    pub retries: Retries,
    /// Longest text of an answer in bytes. A longer answer is broken off.
    pub max_answer: usize,
    /// How long an idle connection is kept for the next request.
    pub keep_alive: Duration,
}

/// Default seconds until the first text of a stream.
const FIRST_TOKEN_SECONDS: u64 = 60;
/// Default seconds for which an idle connection is kept. The service does not document its limit.
/// Clients report dead connections after five minutes.
const KEEP_ALIVE_SECONDS: u64 = 60;
/// Time that a text has at least after its start.
const AFTER_FIRST_TOKEN: Duration = Duration::from_mins(4);
/// Longest text of an answer in bytes. A chat reply has some kilobytes.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

impl Config {
    /// Beijing, the default workspace of the key, default timeouts and retries.
    pub fn new(api_key: SecretString) -> Self {
        Self {
            api_key,
            key_source: None,
            base_url: BEIJING.to_owned(),
            workspace: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            max_answer: MAX_ANSWER,
            keep_alive: Duration::from_secs(KEEP_ALIVE_SECONDS),
        }
    }

    /// Reads the variables `DASHSCOPE_…`, except the application ids.
    ///
    /// # Errors
    /// The error names the variable that is missing or not valid.
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
        config.max_answer = number(
            env,
            "DASHSCOPE_MAX_ANSWER_BYTES",
            1..=usize::MAX,
            "a whole number, at least 1",
            MAX_ANSWER,
        )?;
        config.keep_alive = Duration::from_secs(number(
            env,
            "DASHSCOPE_KEEP_ALIVE_SECONDS",
            0..=3600,
            "a whole number up to 3600",
            KEEP_ALIVE_SECONDS,
        )?);
        config.timeouts = Timeouts::for_first_token(Duration::from_secs(number(
            env,
            "DASHSCOPE_FIRST_TOKEN_SECONDS",
            1..=600,
            "a whole number from 1 to 600",
            FIRST_TOKEN_SECONDS,
        )?));
        Ok(config)
    }
}

/// A number in `range`.
fn number<T: FromStr + PartialOrd>(
    env: &env::Env,
    name: &'static str,
    range: RangeInclusive<T>,
    expected: &'static str,
    default: T,
) -> Result<T, env::ConfigError> {
    let number = env.parsed(name, expected, default)?;
    if range.contains(&number) {
        Ok(number)
    } else {
        let name = name.to_owned();
        Err(env::ConfigError::Invalid { name, expected })
    }
}

/// A source of replacement keys.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// A key to use instead of the rejected one, or `None` if there is no other.
    ///
    /// The caller of the application waits for this, so it must be fast.
    fn refresh_after_rejection<'a>(
        &'a self,
        rejected: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>>;
}

impl KeySource for RotatingSecret<SecretString> {
    fn refresh_after_rejection<'a>(
        &'a self,
        rejected: &'a SecretString,
    ) -> BoxFuture<'a, Option<SecretString>> {
        Box::pin(async move {
            let is_another =
                |key: &Arc<SecretString>| key.expose_secret() != rejected.expose_secret();
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

/// Time limits. Each one gives its own error.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection, including TLS. A timeout is retried.
    pub connect: Duration,
    /// From the request to the first text of a stream, for each attempt. Heartbeats and thinking
    /// are not text. It does not apply to [`DashScope::complete`](super::DashScope::complete).
    pub first_token: Duration,
    /// Between two chunks of a stream. Thoughts, workflow nodes and heartbeats are chunks, too.
    pub idle: Duration,
    /// For the whole call, including attempts and pauses.
    pub overall: Duration,
}

impl Timeouts {
    /// An application that thinks for longer has as much time as others for its text.
    fn for_first_token(first_token: Duration) -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token,
            idle: Duration::from_mins(1),
            overall: Duration::from_mins(5).max(first_token + AFTER_FIRST_TOKEN),
        }
    }

    /// The limit of the first text of a call.
    pub(super) fn first_token_of(&self, call: &Call) -> Duration {
        call.first_token.unwrap_or(self.first_token)
    }

    /// The limit of a whole call.
    pub(super) fn overall_of(&self, call: &Call) -> Duration {
        match call.first_token {
            Some(first_token) => self.overall.max(first_token + AFTER_FIRST_TOKEN),
            None => self.overall,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::for_first_token(Duration::from_secs(FIRST_TOKEN_SECONDS))
    }
}

/// Retries after a failed connection, a 5xx or throttling.
#[derive(Debug, Clone)]
pub struct Retries {
    /// The pause before each retry. Its length is the number of retries. A `Retry-After` of the
    /// service replaces a pause.
    pub delays: Vec<Duration>,
    /// A pause is prolonged by a random fraction of itself, at most this one: 0.0 to 1.0.
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
    /// One attempt, no retry.
    pub fn none() -> Self {
        Self {
            delays: Vec::new(),
            ..Self::default()
        }
    }
}

/// A configuration that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The key is empty, or has characters that are not allowed in an HTTP header.
    #[error("the DashScope API key is empty or has invalid characters")]
    ApiKey,
    /// The base URL is not http(s), or has a query or a fragment.
    #[error("the DashScope base URL {0:?} must be an http or https URL without query and fragment")]
    BaseUrl(String),
    /// The workspace is not 1 to 64 of `A-Z a-z 0-9 _ -`, or does not start with a letter or digit.
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

    async fn timeouts(seconds: &str) -> Result<Timeouts, env::ConfigError> {
        let env = env::Env::from_pairs([
            ("DASHSCOPE_API_KEY", "sk-test-000"),
            ("DASHSCOPE_FIRST_TOKEN_SECONDS", seconds),
        ]);
        Ok(Config::from_env(&env).await?.timeouts)
    }

    #[tokio::test]
    async fn first_text_has_a_limit_of_its_own() {
        let default = timeouts("").await.unwrap();
        assert_eq!(default.first_token, Duration::from_mins(1));
        assert_eq!(default.overall, Duration::from_mins(5));
        let longest = timeouts("600").await.unwrap();
        assert_eq!(longest.first_token, Duration::from_mins(10));
        assert_eq!(longest.overall, Duration::from_mins(14));
        assert_eq!(longest.idle, default.idle);
        for invalid in ["0", "601", "-1", "1.5", "soon"] {
            let error = timeouts(invalid).await.unwrap_err().to_string();
            assert!(
                error.starts_with("DASHSCOPE_FIRST_TOKEN_SECONDS is"),
                "{error}"
            );
        }
    }

    #[test]
    fn workspace_id_has_only_safe_characters() {
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
