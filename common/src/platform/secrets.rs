//! Reads secrets from Secrets Manager, if an ARN is configured: at the start, and again after a
//! secret was rejected ([`RotatingSecret`]).

mod rotating;

use std::sync::{Arc, OnceLock};

use aws_sdk_secretsmanager::Client;
use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use rotating::RotatingSecret;

/// The version of a secret, by its staging label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `AWSCURRENT`.
    Current,
    /// `AWSPREVIOUS`: the version before the last rotation.
    Previous,
}

/// Why a secret cannot be read. Never contains its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret or the version does not exist.
    #[error("the secret does not exist")]
    NotFound,
    /// The secret is binary.
    #[error("the secret is not text")]
    NotText,
    /// Secrets Manager refused the request or was not reachable.
    #[error("the request to Secrets Manager failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads secrets. Clones share the client, which is built for the first secret.
#[derive(Clone, Default)]
pub(crate) struct SecretStore(Arc<OnceLock<Client>>);

impl SecretStore {
    /// Fetches one secret by ARN or name. `config` is called only for the first secret.
    pub(crate) async fn fetch(
        &self,
        config: impl FnOnce() -> SdkConfig + Send,
        arn: &str,
        version: Version,
    ) -> Result<SecretString, SecretError> {
        let stage = match version {
            Version::Current => "AWSCURRENT",
            Version::Previous => "AWSPREVIOUS",
        };
        let client = self.0.get_or_init(|| Client::new(&config()));
        let response = client
            .get_secret_value()
            .secret_id(arn)
            .version_stage(stage)
            .send()
            .await
            .map_err(|err| match err.as_service_error() {
                Some(service) if service.is_resource_not_found_exception() => SecretError::NotFound,
                _ => SecretError::Unavailable(Box::new(err)),
            })?;
        response
            .secret_string()
            .map(SecretString::from)
            .ok_or(SecretError::NotText)
    }
}

/// The JSON of a database secret. A secret managed by RDS has only user and password.
///
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>
#[derive(Deserialize)]
struct RdsSecret {
    username: String,
    password: SecretString,
    host: Option<String>,
    port: Option<u16>,
    dbname: Option<String>,
}

/// How to connect to the database of a JSON secret. Host and name override those in the secret,
/// which may lack them or name the server behind a proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseLocation<'a> {
    /// Name or address, with an optional `:port`. The default port is that of the secret, then
    /// 5432.
    pub host: Option<&'a str>,
    /// The name of the database.
    pub name: Option<&'a str>,
    /// `sslmode` of PostgreSQL. Default: `verify-full`, because `require` accepts any certificate.
    pub ssl_mode: Option<&'a str>,
}

/// The URL of a database from its secret, which is a URL or the JSON of RDS. `location` applies to
/// JSON only. Returns `None` if the secret is neither, or if there is no host.
pub fn database_url(secret: SecretString, location: DatabaseLocation<'_>) -> Option<SecretString> {
    let text = secret.expose_secret().trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Some(secret);
    }
    let rds: RdsSecret = serde_json::from_str(text).ok()?;
    let escaped = |part: &str| {
        percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let host = location.host.or(rds.host.as_deref())?;
    let host = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{}", rds.port.unwrap_or(5432))
    };
    let name = location.name.or(rds.dbname.as_deref());
    Some(SecretString::from(format!(
        "postgres://{}:{}@{host}/{}?sslmode={}",
        escaped(&rds.username),
        escaped(rds.password.expose_secret()),
        escaped(name.unwrap_or("postgres")),
        location.ssl_mode.unwrap_or("verify-full"),
    )))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_unchanged() {
        let elsewhere = DatabaseLocation {
            host: Some("elsewhere"),
            name: Some("other"),
            ssl_mode: Some("require"),
        };
        let url = database_url(SecretString::from("postgres://u:p@h/d"), elsewhere).unwrap();
        assert_eq!(url.expose_secret(), "postgres://u:p@h/d");
    }

    #[test]
    fn password_of_an_rds_secret_is_escaped_in_the_url() {
        let secret = r#"{"username":"parlor","password":"p@ss/w:rd","host":"db.local","port":5433,"dbname":"parlor","engine":"postgres"}"#;
        let url = database_url(SecretString::from(secret), DatabaseLocation::default()).unwrap();
        assert_eq!(
            url.expose_secret(),
            "postgres://parlor:p%40ss%2Fw%3Ard@db.local:5433/parlor?sslmode=verify-full"
        );
    }

    #[test]
    fn location_overrides_host_and_name_of_an_rds_secret() {
        let managed = r#"{"username":"parlor","password":"p"}"#;
        let whole =
            r#"{"username":"parlor","password":"p","host":"db.local","port":5433,"dbname":"d"}"#;
        for (secret, host, url) in [
            (
                managed,
                "proxy",
                "postgres://parlor:p@proxy:5432/own?sslmode=verify-ca",
            ),
            (
                managed,
                "proxy:6432",
                "postgres://parlor:p@proxy:6432/own?sslmode=verify-ca",
            ),
            (
                whole,
                "proxy",
                "postgres://parlor:p@proxy:5433/own?sslmode=verify-ca",
            ),
        ] {
            let location = DatabaseLocation {
                host: Some(host),
                name: Some("own"),
                ssl_mode: Some("verify-ca"),
            };
            let made = database_url(SecretString::from(secret), location).unwrap();
            assert_eq!(made.expose_secret(), url);
        }
    }

    #[test]
    fn secret_that_is_neither_url_nor_complete_json_is_rejected() {
        for text in ["mysql://x", "", r#"{"username":"u","password":"p"}"#] {
            let secret = SecretString::from(text);
            let url = database_url(secret, DatabaseLocation::default());
            assert!(url.is_none(), "{text}");
        }
    }
}
