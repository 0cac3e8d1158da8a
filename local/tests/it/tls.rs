//! TLS to PostgreSQL: which certificates are accepted.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::{fs, path::PathBuf, process::Command};

use common::{
    Error,
    platform::{
        db::{self, DatabaseConfig, StatementTimeout},
        env::{ConfigError, Env},
        error::chain,
    },
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::harness::{database::OwnServer, until};

/// A PostgreSQL that serves TLS, with a certificate for these names.
struct TlsServer {
    _server: OwnServer,
    url: reqwest::Url,
    /// The self-signed certificate.
    certificate: PathBuf,
}

impl TlsServer {
    /// `None` if OpenSSL is not installed or PostgreSQL was built without TLS.
    async fn start(names: &str) -> Option<Self> {
        let server = OwnServer::start().await;
        let database = server.database().await;
        let url = reqwest::Url::parse(database.url()).unwrap();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = |kind: &str| directory.join(format!("tls-{}.{kind}", url.port().unwrap()));
        let (certificate, key) = (file("crt"), file("key"));
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=PostgreSQL of a test",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-addext", &format!("subjectAltName={names}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            eprintln!("NOT CHECKED: openssl cannot make a certificate");
            return None;
        }
        let mut owner = PgConnection::connect(database.url()).await.unwrap();
        // The server writes the files, because PostgreSQL refuses a key that another user owns.
        for (source, name) in [(&certificate, "server.crt"), (&key, "server.key")] {
            let text = fs::read_to_string(source).unwrap();
            let copy = format!(
                "copy (select unnest(string_to_array('{}', E'\\n'))) to program 'umask 077 && cat > {name}'",
                text.trim_end()
            );
            owner.execute(AssertSqlSafe(copy)).await.unwrap();
        }
        if owner.execute("alter system set ssl = on").await.is_err() {
            eprintln!("NOT CHECKED: this PostgreSQL has no TLS");
            return None;
        }
        owner.execute("select pg_reload_conf()").await.unwrap();
        until("PostgreSQL serves TLS", async || {
            let url = format!("{url}?sslmode=require");
            PgConnection::connect(&url).await.ok()
        })
        .await;
        Some(Self {
            _server: server,
            url,
            certificate,
        })
    }

    /// The JSON secret of RDS for this server.
    fn secret(&self) -> String {
        let password = self.url.password().unwrap();
        json!({ "username": self.url.username(), "password": password }).to_string()
    }

    /// The result of a first statement with the JSON secret and these variables.
    async fn connect(&self, variables: &[(&str, &str)]) -> Result<(), Error> {
        let host = format!("localhost:{}", self.url.port().unwrap());
        let mut env = vec![
            ("DATABASE_URL", self.secret()),
            ("DATABASE_HOST", host),
            ("DATABASE_NAME", self.url.path()[1..].to_owned()),
        ];
        env.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let config = DatabaseConfig::from_env(&Env::from_pairs(env))
            .await
            .unwrap();
        first_statement(&config).await
    }

    /// The result of a first statement with a URL.
    async fn connect_to(&self, host: &str, parameters: &str) -> Result<(), Error> {
        let mut url = self.url.clone();
        url.set_host(Some(host)).unwrap();
        let certificate = self.certificate.display();
        let url = format!("{url}?{parameters}&sslrootcert={certificate}");
        let env = Env::from_pairs([("DATABASE_URL", url)]);
        first_statement(&DatabaseConfig::from_env(&env).await.unwrap()).await
    }
}

async fn first_statement(config: &DatabaseConfig) -> Result<(), Error> {
    let db = db::connect_lazy(config).unwrap();
    let done = db.execute("select 1").with_statement_timeout().await;
    done.map(drop)
}

fn assert_refused(outcome: Result<(), Error>, reason: &str) {
    let err = outcome.unwrap_err();
    assert!(matches!(err, Error::Unavailable(_)), "{err:?}");
    assert!(chain(&err).contains(reason), "{}", chain(&err));
}

#[tokio::test]
async fn a_certificate_that_rds_has_not_signed_is_refused() {
    let Some(server) = TlsServer::start("DNS:localhost").await else {
        return;
    };
    let unknown = "invalid peer certificate: UnknownIssuer";
    assert_refused(server.connect(&[]).await, unknown);
    assert_refused(
        server.connect(&[("DATABASE_SSL_MODE", "verify-ca")]).await,
        unknown,
    );
    server
        .connect(&[("DATABASE_SSL_MODE", "require")])
        .await
        .unwrap();
}

#[tokio::test]
async fn the_certificate_must_be_for_the_host() {
    let Some(server) = TlsServer::start("DNS:localhost").await else {
        return;
    };
    server
        .connect_to("localhost", "sslmode=verify-full")
        .await
        .unwrap();
    let wrong_host = server.connect_to("127.0.0.1", "sslmode=verify-full").await;
    assert_refused(wrong_host, "certificate not valid for name");
    server
        .connect_to("127.0.0.1", "sslmode=verify-ca")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_ssl_mode_is_refused_at_the_start() {
    for mode in ["prefer", "disable", "verify_full"] {
        let env = Env::from_pairs([
            ("DATABASE_URL", "postgres://h/d"),
            ("DATABASE_SSL_MODE", mode),
        ]);
        let refused = DatabaseConfig::from_env(&env).await.err();
        assert!(
            matches!(&refused, Some(ConfigError::Invalid { name, .. }) if name == "DATABASE_SSL_MODE"),
            "{refused:?}"
        );
    }
}
