//! Typed configuration. It is read once at the start. Errors name the variable.
//!
//! A secret is read from Secrets Manager (`<name>_SECRET_ARN`, or `<name>_ARN` if the name ends
//! with `_SECRET`), else from a file (`<name>_FILE`), else from the variable itself.
//!
//! | variable | for | default |
//! |---|---|---|
//! | `DATABASE_URL` or `DATABASE_URL_SECRET_ARN` | all | required |
//! | `DATABASE_APP_ROLE` | `db-migrate`; the role that gets the rights of the functions | none |
//! | `DATABASE_SSL_MODE` | all; for a JSON secret | `verify-full` |
//! | `DATABASE_HOST`, `DATABASE_NAME` | all; override those in a JSON secret | the secret's |
//! | `DATABASE_MAX_CONNECTIONS` | all | 4 |
//! | `DATABASE_BEHIND_PROXY` | all; `true` if a proxy rejects startup parameters | `false` |
//! | `JWT_SECRET` or `JWT_SECRET_ARN` | all HTTP functions | required |
//! | `JWT_SECRET_PREVIOUS` | the secret being rotated out | none |
//! | `DASHSCOPE_API_KEY` or `DASHSCOPE_API_KEY_SECRET_ARN` | functions that call apps | required |
//! | `DASHSCOPE_BASE_URL` | region or simulator | Beijing |
//! | `DASHSCOPE_WORKSPACE` | a workspace other than the default | none |
//! | `DASHSCOPE_FIRST_TOKEN_SECONDS` | seconds until the first text of a stream, at most 600 | 60 |
//! | `DASHSCOPE_KEEP_ALIVE_SECONDS` | idle connections, at most 3600 | 60 |
//! | `DASHSCOPE_MAX_ANSWER_BYTES` | longest text of an answer, in bytes | 2097152 |
//! | `DASHSCOPE_APP_ID_…` | id of the application of an app; without it, the app is off | none |
//! | `CHAT_RATE_PER_MINUTE` | messages per user and minute, to the chat and to bots | 20 |
//! | `CHAT_MAX_STREAMS` | replies in progress per user | 2 |
//! | `CHAT_RESERVED_TOKENS` | tokens reserved from the budget per message | 2000 |
//! | `MODERATION` | chat; `none`, or a list of `words`, `wechat` and `http` | `none` |
//! | `MODERATION_ON_TIMEOUT` | `allow` or `block`: a text without a verdict | `allow` |
//! | `MODERATION_HTTP_URL` | the operator's moderation service | required for `http` |
//! | `MODERATION_HTTP_SECRET` or `…_ARN` | signs requests to it | required for `http` |
//! | `WECHAT_APP_ID` | the mini-program | required for `wechat` |
//! | `WECHAT_APP_SECRET` or `…_ARN` | the mini-program's AppSecret | required for `wechat` |
//! | `WECHAT_BASE_URL` | address of WeChat, for tests | `https://api.weixin.qq.com` |
//! | `JOB_QUEUE_URL` | SQS queue that wakes the job worker; without it, the schedule does | none |
//! | `JOB_CONCURRENCY` | concurrent app calls of a worker | 8 |
//! | `JOB_RESERVED_TOKENS` | tokens reserved from the budget per call of a job | 2000 |
//! | `CORS_ALLOWED_ORIGINS` | exact origins of allowed web pages, separated by commas | none |
//! | `RUN_LOG_RETENTION_DAYS` | minimum days in the run log; whole months are dropped | 180 |
//! | `LOG_RETENTION_DAYS` | days that CloudWatch keeps the logs; only to warn below 180 | 180 |
//! | `METRICS_NAMESPACE` | CloudWatch namespace of the metrics | `Parlor` |
//! | `RUST_LOG` | log filter | `info` |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | collector of OpenTelemetry; turns traces on | none |
//! | `METRICS_ADDR` | server; address of the Prometheus metrics | `127.0.0.1:9464` |
//! | `SHUTDOWN_SECONDS` | server; time that running requests have after a signal | 60 |
//! | `RUN_BACKGROUND` | server; `false` if another instance runs jobs and schedules | `true` |

use std::{collections::HashMap, fs, io, str::FromStr, time::Duration};

use futures_util::{TryFutureExt as _, future::BoxFuture};
use secrecy::SecretString;

use super::{
    aws,
    secrets::{RotatingSecret, SecretError, SecretStore, Version},
};

/// The shortest time between two reads of a secret. Otherwise any client could cause a read with
/// each request, by sending tokens signed with an unknown key.
pub(crate) const REREAD_PAUSE: Duration = Duration::from_secs(60);

/// The variables, from the process or from a table, and the store of the secrets they name.
#[derive(Clone)]
pub struct Env {
    table: HashMap<String, String>,
    secrets: SecretStore,
}

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither the variable nor its `…_FILE` nor its `…_SECRET_ARN` is set.
    #[error("{0} is not set (nor {0}_FILE, nor {arn})", arn = secret_arn_name(.0))]
    Missing(&'static str),
    /// The value is not valid. The error does not show it, because it may be a secret.
    #[error("{name} is not valid: expected {expected}")]
    Invalid {
        /// The variable. For a secret, this is the variable with the ARN if that is set.
        name: String,
        /// A description of valid values.
        expected: &'static str,
    },
    /// The file that a variable names cannot be read.
    #[error("{name}: cannot read the file")]
    File {
        /// The variable that holds the path.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The secret that a variable names cannot be read.
    #[error("{name}: cannot fetch the secret")]
    Secret {
        /// The variable that holds the ARN.
        name: String,
        /// The cause.
        #[source]
        source: SecretError,
    },
}

impl Env {
    /// The environment of this process.
    pub fn from_process() -> Self {
        Self::from_pairs(std::env::vars())
    }

    /// A table, for tests and for a process that runs several functions.
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

    /// A copy with one variable set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut env = self.clone();
        env.table.insert(name.to_owned(), value.to_owned());
        env
    }

    /// A copy with one variable set, unless it has a value.
    #[must_use]
    pub fn or(&self, name: &str, value: &str) -> Self {
        if self.text(name).is_some() {
            self.clone()
        } else {
            self.with(name, value)
        }
    }

    /// The value of a variable. `None` if it is unset or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.table
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The value of a variable, or `default` if it is unset or empty.
    ///
    /// # Errors
    /// Names the variable if the value is not `expected`.
    pub fn parsed<T: FromStr>(
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

    /// The variable that is the source of a secret, for error messages.
    pub(crate) fn source_of(&self, name: &'static str) -> String {
        let names = [secret_arn_name(name), file_name(name)];
        let set = names.into_iter().find(|name| self.text(name).is_some());
        set.unwrap_or_else(|| name.to_owned())
    }

    /// Reads a secret from Secrets Manager, from a file, or from the variable.
    pub(crate) async fn secret(&self, name: &'static str) -> Result<SecretString, ConfigError> {
        let arn_name = secret_arn_name(name);
        if let Some(arn) = self.text(&arn_name) {
            return self
                .secret_version(arn, Version::Current)
                .await
                .map_err(|source| ConfigError::Secret {
                    name: arn_name,
                    source,
                });
        }
        self.own_secret(name)?.ok_or(ConfigError::Missing(name))
    }

    /// A secret that is not in Secrets Manager: from a file, or from the variable.
    pub(crate) fn own_secret(
        &self,
        name: &'static str,
    ) -> Result<Option<SecretString>, ConfigError> {
        let file_name = file_name(name);
        let Some(path) = self.text(&file_name) else {
            return Ok(self.text(name).map(SecretString::from));
        };
        match fs::read_to_string(path) {
            // Editors and `echo` end a file with a line break.
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).into())),
            Err(source) => Err(ConfigError::File {
                name: file_name,
                source,
            }),
        }
    }

    /// One version of the secret with this ARN.
    pub(crate) async fn secret_version(
        &self,
        arn: &str,
        version: Version,
    ) -> Result<SecretString, SecretError> {
        let config = || aws::config(|name| self.text(name));
        self.secrets.fetch(config, arn, version).await
    }

    /// A value that `read` makes from a secret. If the secret is in Secrets Manager or in a file,
    /// it is read again after a rejection, at most once per `pause`.
    pub(crate) async fn rotating<T: Send + Sync + 'static>(
        &self,
        name: &'static str,
        pause: Duration,
        read: fn(Self) -> BoxFuture<'static, Result<T, ConfigError>>,
    ) -> Result<RotatingSecret<T>, ConfigError> {
        let value = read(self.clone()).await?;
        if self.source_of(name) == name {
            return Ok(value.into());
        }
        let env = self.clone();
        Ok(RotatingSecret::new(value, name, pause, move || {
            read(env.clone()).map_err(Into::into)
        }))
    }
}

/// A name that ends with `_SECRET` gets no second one: the ARN of `JWT_SECRET` is `JWT_SECRET_ARN`.
pub(crate) fn secret_arn_name(name: &str) -> String {
    format!("{}_SECRET_ARN", name.trim_end_matches("_SECRET"))
}

/// The variable with the path of a file that holds the secret.
fn file_name(name: &str) -> String {
    format!("{name}_FILE")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_from_a_file_without_its_last_line_break() {
        let folder = std::env::temp_dir().join(format!("parlor-env-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secret");
        fs::write(&path, "of the file\n").unwrap();
        let env = Env::from_pairs([("KEY_FILE", path.to_str().unwrap()), ("KEY", "other")]);
        let secret = env.secret("KEY").await.unwrap();
        assert_eq!(secret.expose_secret(), "of the file");
        assert_eq!(env.source_of("KEY"), "KEY_FILE");
        fs::remove_dir_all(&folder).unwrap();
        let error = env.secret("KEY").await.unwrap_err();
        assert_eq!(error.to_string(), "KEY_FILE: cannot read the file");
        let none = Env::from_pairs::<&str, &str>([]);
        let error = none.secret("KEY").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "KEY is not set (nor KEY_FILE, nor KEY_SECRET_ARN)"
        );
    }
}
