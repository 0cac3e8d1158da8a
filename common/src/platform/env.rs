//! Configuration: typed, read once at start, with errors that name the variable.
//!
//! | variable | for | default |
//! |---|---|---|
//! | `DATABASE_URL` or `DATABASE_URL_SECRET_ARN` | all | required |
//! | `DATABASE_HOST`, `DATABASE_NAME` | all; where the database is, if its secret is JSON that does not say it | the secret's |
//! | `DATABASE_MAX_CONNECTIONS` | all | 4 |
//! | `DATABASE_BEHIND_PROXY` | all; `true` where a proxy refuses the settings that connections begin with | `false` |
//! | `JWT_SECRET` or `JWT_SECRET_ARN` | all HTTP functions | required |
//! | `JWT_SECRET_PREVIOUS` | the secret being rotated out | none |
//! | `DASHSCOPE_API_KEY` or `DASHSCOPE_API_KEY_SECRET_ARN` | functions that ask an app | required |
//! | `DASHSCOPE_BASE_URL` | region or simulator | Beijing |
//! | `DASHSCOPE_WORKSPACE` | a workspace other than the default | none |
//! | `DASHSCOPE_APP_ID_1_CHAT` | app1; without it the chat says that it is not available | none |
//! | `DASHSCOPE_APP_ID_2_FINANCE` | app2; without it no finance is analysed, and so on below | none |
//! | `DASHSCOPE_APP_ID_2A_FINANCE_AREA` | app2a | none |
//! | `DASHSCOPE_APP_ID_3_CLUE` | app3 | none |
//! | `DASHSCOPE_APP_ID_4_ANALYSIS` | app4 | none |
//! | `DASHSCOPE_APP_ID_5_TACTICS` | app5 | none |
//! | `DASHSCOPE_APP_ID_6_NOTE_ANALYSIS` | app6 | none |
//! | `DASHSCOPE_APP_ID_7_CUSTOMER_ANALYSIS` | app7 | none |
//! | `DASHSCOPE_APP_ID_8_CLUE_CONSOLIDATED` | app8 | none |
//! | `CHAT_RATE_PER_MINUTE` | messages a user may send in a minute, to the chat and to bots | 20 |
//! | `CHAT_MAX_STREAMS` | replies a user may have made at once | 2 |
//! | `CHAT_RESERVED_TOKENS` | tokens held against the budget per message | 2000 |
//! | `JOB_QUEUE_URL` | the SQS queue that wakes the job worker; without it the schedule alone does | none |
//! | `JOB_CONCURRENCY` | calls of apps that a worker has under way at once | 8 |
//! | `JOB_RESERVED_TOKENS` | tokens held against the budget per call of a job | 2000 |
//! | `CORS_ALLOWED_ORIGINS` | exact origins whose pages may call, separated by commas | none |
//! | `RUN_LOG_RETENTION_DAYS` | how long a run stays in the log at least; whole months go | 90 |
//! | `METRICS_NAMESPACE` | what CloudWatch finds the metrics under | `Parlor` |
//! | `RUST_LOG` | log filter | `info` |

use std::{collections::HashMap, num::NonZeroUsize, str::FromStr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    apps::AppIds,
    auth::JwtSecrets,
    dashscope::{self, DashScope},
    secrets::{self, Renewable, SecretError, SecretStore, Version},
};

/// How often a secret is read again at most, however often it is refused: anybody can send tokens
/// of an unknown key.
const PAUSE: Duration = Duration::from_secs(60);
/// The same for the database's, which only the database refuses. A rotation changes the password first
/// and the secret a moment later; who has read it in between must not wait a minute.
const DATABASE_PAUSE: Duration = Duration::from_secs(5);

/// Where variables come from: the process, or a test's table. And where the secrets come from
/// that they name.
#[derive(Clone)]
pub struct Env {
    table: HashMap<String, String>,
    secrets: SecretStore,
}

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither the variable nor its secret is set.
    #[error("{0} is not set (nor {arn})", arn = secret_arn_name(.0))]
    Missing(&'static str),
    /// The variable cannot be read as what it should be. Its value is not shown: it may be a secret.
    #[error("{name} is not valid: expected {expected}")]
    Invalid {
        /// The variable that was read: where it names a secret, the one with the ARN.
        name: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The secret that a variable names cannot be had.
    #[error("{name}: cannot fetch the secret")]
    Secret {
        /// The variable that holds the ARN.
        name: String,
        /// Why.
        #[source]
        source: SecretError,
    },
}

impl Env {
    /// The environment of this process.
    pub fn from_process() -> Self {
        Self::from_pairs(std::env::vars())
    }

    /// A table, for one process that holds several functions, and for tests.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = pairs.into_iter();
        Self {
            table: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            secrets: SecretStore::default(),
        }
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut env = self.clone();
        env.table.insert(name.to_owned(), value.to_owned());
        env
    }

    /// The variable, unless it is unset or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.table
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        expected: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        match self.text(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| ConfigError::Invalid {
                name: name.to_owned(),
                expected,
            }),
        }
    }

    /// The variable that a secret comes from.
    fn source_of(&self, name: &'static str) -> String {
        let arn_name = secret_arn_name(name);
        if self.text(&arn_name).is_some() {
            arn_name
        } else {
            name.to_owned()
        }
    }

    /// The secret from Secrets Manager when `<name>_SECRET_ARN` is set, else from the variable.
    async fn secret(&self, name: &'static str) -> Result<SecretString, ConfigError> {
        let arn_name = secret_arn_name(name);
        if let Some(arn) = self.text(&arn_name) {
            return self
                .secrets
                .fetch(self, arn, Version::Current)
                .await
                .map_err(|source| ConfigError::Secret {
                    name: arn_name,
                    source,
                });
        }
        self.text(name)
            .map(SecretString::from)
            .ok_or(ConfigError::Missing(name))
    }

    /// What is made of a secret: now, and where Secrets Manager has it whenever it is refused.
    async fn renewable<T: Send + Sync + 'static>(
        &self,
        name: &'static str,
        pause: Duration,
        read: fn(Self) -> BoxFuture<'static, Result<T, ConfigError>>,
    ) -> Result<Renewable<T>, ConfigError> {
        let value = read(self.clone()).await?;
        if self.text(&secret_arn_name(name)).is_none() {
            return Ok(value.into());
        }
        let env = self.clone();
        Ok(Renewable::new(value, name, pause, move || {
            read(env.clone())
        }))
    }
}

/// `JWT_SECRET` is a secret by name already; its ARN is `JWT_SECRET_ARN`.
fn secret_arn_name(name: &str) -> String {
    format!("{}_SECRET_ARN", name.trim_end_matches("_SECRET"))
}

/// Where the data is.
pub struct DatabaseConfig {
    /// PostgreSQL URL.
    pub url: Renewable<SecretString>,
    /// Connections of one instance. An instance serves one event at a time; a reply in the
    /// making and the request that follows it may overlap.
    pub max_connections: u32,
    /// Whether there is a proxy in front that refuses settings in the start-up message, as RDS Proxy and
    /// `PgBouncer` do: they are made by a statement then.
    pub behind_proxy: bool,
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL` (also an RDS secret in JSON, with `DATABASE_HOST` and `DATABASE_NAME`),
    /// `DATABASE_MAX_CONNECTIONS` and `DATABASE_BEHIND_PROXY`.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let name = "DATABASE_URL";
        Ok(Self {
            url: env
                .renewable(name, DATABASE_PAUSE, |env| Box::pin(database_url(env)))
                .await?,
            max_connections: env.parsed("DATABASE_MAX_CONNECTIONS", "a whole number", 4)?,
            behind_proxy: env.parsed("DATABASE_BEHIND_PROXY", "`true` or `false`", false)?,
        })
    }
}

async fn database_url(env: Env) -> Result<SecretString, ConfigError> {
    let name = "DATABASE_URL";
    let whereabouts = secrets::Whereabouts {
        host: env.text("DATABASE_HOST"),
        name: env.text("DATABASE_NAME"),
    };
    let secret = env.secret(name).await?;
    secrets::database_url(secret, whereabouts).ok_or_else(|| ConfigError::Invalid {
        name: env.source_of(name),
        expected: "a postgres:// URL or an RDS secret; where that has no `host`, DATABASE_HOST is needed",
    })
}

impl JwtSecrets {
    /// Reads `JWT_SECRET` and `JWT_SECRET_PREVIOUS`; with `JWT_SECRET_ARN`, the versions
    /// `AWSCURRENT` and, while there is one, `AWSPREVIOUS`, and both again when a token fits neither.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<Renewable<Self>, ConfigError> {
        env.renewable("JWT_SECRET", PAUSE, |env| Box::pin(jwt_secrets(env)))
            .await
    }
}

async fn jwt_secrets(env: Env) -> Result<JwtSecrets, ConfigError> {
    let name = "JWT_SECRET";
    let arn_name = secret_arn_name(name);
    let (current, previous) = match env.text(&arn_name) {
        Some(arn) => {
            let (current, previous) = tokio::join!(
                env.secrets.fetch(&env, arn, Version::Current),
                env.secrets.fetch(&env, arn, Version::Previous)
            );
            let previous = match previous {
                Err(SecretError::NotFound) => Ok(None),
                other => other.map(Some),
            };
            let named = |source| ConfigError::Secret {
                name: arn_name.clone(),
                source,
            };
            (current.map_err(named)?, previous.map_err(named)?)
        }
        None => (
            env.secret(name).await?,
            env.text("JWT_SECRET_PREVIOUS").map(SecretString::from),
        ),
    };
    JwtSecrets::new(&current, previous.as_ref()).ok_or_else(|| ConfigError::Invalid {
        name: env.source_of(name),
        expected: "at least 32 bytes",
    })
}

/// How DashScope is asked.
pub struct DashScopeConfig {
    /// Key, address, workspace, patience.
    pub client: dashscope::Config,
    /// The applications behind the apps.
    pub app_ids: AppIds,
}

impl DashScopeConfig {
    /// Reads the `DASHSCOPE_…` variables.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let key = env
            .renewable("DASHSCOPE_API_KEY", PAUSE, |env| {
                Box::pin(async move { env.secret("DASHSCOPE_API_KEY").await })
            })
            .await?;
        let mut client = dashscope::Config::new(SecretString::clone(&key.get()));
        client.key_source = Some(Arc::new(key));
        if let Some(base_url) = env.text("DASHSCOPE_BASE_URL") {
            base_url.clone_into(&mut client.base_url);
        }
        client.workspace = env.text("DASHSCOPE_WORKSPACE").map(str::to_owned);
        Ok(Self {
            client,
            app_ids: AppIds::from_env(env),
        })
    }
}

impl dashscope::KeySource for Renewable<SecretString> {
    fn instead_of<'a>(&'a self, refused: &'a SecretString) -> BoxFuture<'a, Option<SecretString>> {
        Box::pin(async move {
            let is_another =
                |key: &Arc<SecretString>| key.expose_secret() != refused.expose_secret();
            let known = self.get();
            let key = if is_another(&known) {
                Some(known)
            } else {
                self.instead_of(&known).await
            };
            key.filter(is_another).map(|key| SecretString::clone(&key))
        })
    }
}

impl DashScopeConfig {
    /// A client, which asks nothing yet, and the applications.
    ///
    /// # Errors
    /// Names the variable that the client cannot work with.
    pub fn open(self) -> Result<(DashScope, AppIds), ConfigError> {
        let dashscope = DashScope::new(self.client).map_err(|_| ConfigError::Invalid {
            name: "DASHSCOPE_BASE_URL".to_owned(),
            expected: "an http(s) URL",
        })?;
        Ok((dashscope, self.app_ids))
    }
}

/// What background work may take.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Calls of apps that one worker has under way at once.
    pub at_once: usize,
    /// Tokens held against the site's budget while an app is asked.
    pub reserved_tokens: i64,
}

impl JobLimits {
    /// Reads the `JOB_…` variables.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let at_once: NonZeroUsize =
            env.parsed("JOB_CONCURRENCY", "a whole number above 0", DEFAULT_AT_ONCE)?;
        Ok(Self {
            at_once: at_once.get(),
            reserved_tokens: env.parsed("JOB_RESERVED_TOKENS", "a whole number", 2000)?,
        })
    }
}

/// DashScope takes 100 requests a second of an application; a call takes seconds.
const DEFAULT_AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// What a user may send, whoever answers it.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    /// Messages in a minute.
    pub rate_per_minute: i32,
    /// Tokens held against the site's budget while a reply is made.
    pub reserved_tokens: i64,
}

impl SendLimits {
    /// Reads `CHAT_RATE_PER_MINUTE` and `CHAT_RESERVED_TOKENS`.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            rate_per_minute: env.parsed("CHAT_RATE_PER_MINUTE", "a whole number", 20)?,
            reserved_tokens: env.parsed("CHAT_RESERVED_TOKENS", "a whole number", 2000)?,
        })
    }
}

/// What a user may ask for.
#[derive(Clone, Copy, Debug)]
pub struct ChatLimits {
    /// Messages in a minute.
    pub rate_per_minute: i32,
    /// Replies being made at once.
    pub max_streams: i32,
    /// Tokens held against the site's budget while a reply is made.
    pub reserved_tokens: i64,
}

impl ChatLimits {
    /// Reads the `CHAT_…` variables.
    ///
    /// # Errors
    /// Names the variable that cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let SendLimits {
            rate_per_minute,
            reserved_tokens,
        } = SendLimits::from_env(env)?;
        Ok(Self {
            rate_per_minute,
            max_streams: env.parsed("CHAT_MAX_STREAMS", "a whole number", 2)?,
            reserved_tokens,
        })
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Days that a run stays in the log at least.
    pub run_log_days: i32,
}

impl Retention {
    /// Reads `RUN_LOG_RETENTION_DAYS`. This month's runs are counted and charged: 31 days is the least.
    ///
    /// # Errors
    /// Names the variable when it cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let (name, expected) = ("RUN_LOG_RETENTION_DAYS", "a whole number from 31 to 36500");
        let run_log_days = env.parsed(name, expected, 90)?;
        if !(31..=36_500).contains(&run_log_days) {
            return Err(ConfigError::Invalid {
                name: name.to_owned(),
                expected,
            });
        }
        Ok(Self { run_log_days })
    }
}
