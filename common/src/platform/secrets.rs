//! Secrets Manager, asked only when an ARN is configured: at the start, and when what it said then is
//! refused ([`RotatingSecret`]).

mod rotating;

use std::sync::{Arc, OnceLock};

use aws_sdk_secretsmanager::Client;
use aws_types::SdkConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use rotating::RotatingSecret;

/// Which version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `AWSCURRENT`.
    Current,
    /// `AWSPREVIOUS`: what a rotation replaced.
    Previous,
}

/// Why a secret cannot be had. Never holds its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No such secret, or no such version of it.
    #[error("no such secret")]
    NotFound,
    /// It is binary, where text was expected.
    #[error("the secret is not text")]
    NotText,
    /// Secrets Manager refused, or was not reached.
    #[error("secrets manager did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where secrets come from. A clone shares the client, which is made for the first of them: reading the
/// system's root certificates costs milliseconds of a cold start.
#[derive(Clone, Default)]
pub(crate) struct SecretStore(Arc<OnceLock<Client>>);

impl SecretStore {
    /// Fetches one secret by ARN or name. `config` is asked for the first.
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
        let answer = client
            .get_secret_value()
            .secret_id(arn)
            .version_stage(stage)
            .send()
            .await
            .map_err(|err| match err.as_service_error() {
                Some(service) if service.is_resource_not_found_exception() => SecretError::NotFound,
                _ => SecretError::Unavailable(Box::new(err)),
            })?;
        answer
            .secret_string()
            .map(SecretString::from)
            .ok_or(SecretError::NotText)
    }
}

/// What Secrets Manager keeps for a database: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>.
/// One that RDS manages itself has user and password alone.
#[derive(Deserialize)]
struct RdsSecret {
    username: String,
    password: SecretString,
    host: Option<String>,
    port: Option<u16>,
    dbname: Option<String>,
}

/// Where a database is, whatever its secret in JSON says: the secret may not say it, or name the server behind a proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseLocation<'a> {
    /// A name or an address, with `:port` where that is not the secret's, or 5432.
    pub host: Option<&'a str>,
    /// The database on it.
    pub name: Option<&'a str>,
}

/// The URL in a database secret: either it is one, or it is RDS's JSON, and whereabouts count.
pub fn database_url(
    secret: SecretString,
    whereabouts: DatabaseLocation<'_>,
) -> Option<SecretString> {
    let text = secret.expose_secret().trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Some(secret);
    }
    let rds: RdsSecret = serde_json::from_str(text).ok()?;
    let escaped = |part: &str| {
        percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let host = whereabouts.host.or(rds.host.as_deref())?;
    let host = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{}", rds.port.unwrap_or(5432))
    };
    let name = whereabouts.name.or(rds.dbname.as_deref());
    Some(SecretString::from(format!(
        "postgres://{}:{}@{host}/{}?sslmode=require",
        escaped(&rds.username),
        escaped(rds.password.expose_secret()),
        escaped(name.unwrap_or("postgres")),
    )))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_it_is() {
        let elsewhere = DatabaseLocation {
            host: Some("elsewhere"),
            name: Some("other"),
        };
        let url = database_url(SecretString::from("postgres://u:p@h/d"), elsewhere).unwrap();
        assert_eq!(url.expose_secret(), "postgres://u:p@h/d");
    }

    #[test]
    fn the_secret_that_rds_makes_becomes_a_url_with_its_password_escaped() {
        let secret = r#"{"username":"parlor","password":"p@ss/w:rd","host":"db.local","port":5433,"dbname":"parlor","engine":"postgres"}"#;
        let url = database_url(SecretString::from(secret), DatabaseLocation::default()).unwrap();
        assert_eq!(
            url.expose_secret(),
            "postgres://parlor:p%40ss%2Fw%3Ard@db.local:5433/parlor?sslmode=require"
        );
    }

    #[test]
    fn where_the_database_is_may_be_said_beside_its_secret_and_counts_more() {
        let managed = r#"{"username":"parlor","password":"p"}"#;
        let whole =
            r#"{"username":"parlor","password":"p","host":"db.local","port":5433,"dbname":"d"}"#;
        for (secret, host, url) in [
            (
                managed,
                "proxy",
                "postgres://parlor:p@proxy:5432/own?sslmode=require",
            ),
            (
                managed,
                "proxy:6432",
                "postgres://parlor:p@proxy:6432/own?sslmode=require",
            ),
            (
                whole,
                "proxy",
                "postgres://parlor:p@proxy:5433/own?sslmode=require",
            ),
        ] {
            let whereabouts = DatabaseLocation {
                host: Some(host),
                name: Some("own"),
            };
            let made = database_url(SecretString::from(secret), whereabouts).unwrap();
            assert_eq!(made.expose_secret(), url);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["mysql://x", "", r#"{"username":"u","password":"p"}"#] {
            let secret = SecretString::from(text);
            let url = database_url(secret, DatabaseLocation::default());
            assert!(url.is_none(), "{text}");
        }
    }
}
