//! Secrets from Secrets Manager (moto). The functions' binaries find them through their
//! environment.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod rotation;

use local::emulator::{Emulator, FunctionSpec, Outcome};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{
    cloud::{recorded_of, specs},
    database::TestDatabase,
    moto::{self, Moto},
    parlor::{COACH, PREVIOUS_SECRET, Parlor, SECRET},
    until,
};

/// Creates a secret and returns its ARN.
async fn create(moto: &Moto, name: &str, mut value: Value) -> String {
    value["Name"] = name.into();
    let answer = moto.call("secretsmanager.CreateSecret", &value).await;
    answer["ARN"].as_str().unwrap().to_owned()
}

/// Stores a new version of a secret. The old one becomes `AWSPREVIOUS`.
async fn put(moto: &Moto, arn: &str, value: &str) {
    let body = json!({ "SecretId": arn, "SecretString": value });
    moto.call("secretsmanager.PutSecretValue", &body).await;
}

/// Starts the functions with these secret ARNs instead of the plain variables.
async fn functions(parlor: &Parlor, moto: &Moto, arns: &[(&str, &str)]) -> Emulator {
    functions_with(parlor, &moto.variables(), arns).await
}

async fn functions_with(
    parlor: &Parlor,
    aws: &[(String, String)],
    arns: &[(&str, &str)],
) -> Emulator {
    start(specs(parlor).await, aws, arns)
}

fn start(
    mut specs: Vec<FunctionSpec>,
    aws: &[(String, String)],
    arns: &[(&str, &str)],
) -> Emulator {
    for spec in &mut specs {
        for (name, arn) in arns {
            let plain = match *name {
                "JWT_SECRET_ARN" => "JWT_SECRET",
                name => name.strip_suffix("_SECRET_ARN").unwrap(),
            };
            spec.env.retain(|(name, _)| name != plain);
            spec.env.push(((*name).to_owned(), (*arn).to_owned()));
        }
        spec.env.extend_from_slice(aws);
    }
    Emulator::start(specs).unwrap()
}

async fn status(emulator: &Emulator, event: &Value) -> u16 {
    let outcome = emulator.invoke("chat-history", event).await.unwrap();
    outcome.into_http().await.unwrap().status().as_u16()
}

/// A request of the coach with a token signed with this secret.
fn signed_with(secret: &str) -> Value {
    let user = local::demo::user(COACH).unwrap();
    let token = local::demo::token(&secret.into(), &user).unwrap();
    let mut event = recorded_of("chat-history", COACH);
    event["multiValueHeaders"]["Authorization"] = json!([format!("Bearer {token}")]);
    event["headers"]["Authorization"] = format!("Bearer {token}").into();
    event
}

/// Returns the error of a function that cannot start, and checks that `value` is not in the logs.
async fn refusal(emulator: &Emulator, function: &str, value: &str) -> String {
    let outcome = emulator.invoke(function, &json!({})).await.unwrap();
    let Outcome::Error(error) = outcome else {
        panic!("{outcome:?}")
    };
    let logs = until("the error is logged", async || {
        let logs = emulator.logs(function).unwrap().join("\n");
        logs.contains("cannot start").then_some(logs)
    })
    .await;
    assert!(
        !error.message.contains(value) && !logs.contains(value),
        "{error}\n{logs}"
    );
    format!("{error}\n{logs}")
}

#[tokio::test]
async fn tokens_of_the_current_and_previous_secret_are_accepted() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(&moto, "jwt", json!({ "SecretString": PREVIOUS_SECRET })).await;
    let arns = [("JWT_SECRET_ARN", &*arn)];

    // Never rotated, so there is no previous version.
    let emulator = functions(&parlor, &moto, &arns).await;
    assert_eq!(status(&emulator, &signed_with(PREVIOUS_SECRET)).await, 200);
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 401);

    put(&moto, &arn, SECRET).await;
    let emulator = functions(&parlor, &moto, &arns).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    assert_eq!(status(&emulator, &signed_with(PREVIOUS_SECRET)).await, 200);
    let stranger = "a secret that no function has";
    assert_eq!(status(&emulator, &signed_with(stranger)).await, 401);
}

#[tokio::test]
async fn the_database_url_may_be_a_secret() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let value = json!({ "SecretString": parlor.database.url() });
    let arn = create(&moto, "database", value).await;
    let emulator = functions(&parlor, &moto, &[("DATABASE_URL_SECRET_ARN", &arn)]).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
}

#[tokio::test]
async fn the_key_of_dashscope_may_be_a_secret() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(
        &moto,
        "key",
        json!({ "SecretString": "sk-from-the-manager" }),
    )
    .await;
    let emulator = functions(&parlor, &moto, &[("DASHSCOPE_API_KEY_SECRET_ARN", &arn)]).await;
    let event = recorded_of("chat-history", COACH);
    let outcome = emulator.invoke("chat-stream", &event).await.unwrap();
    // The function has started. It does not serve this path.
    assert_eq!(outcome.into_http().await.unwrap().status(), 404);
}

#[tokio::test]
async fn an_rds_secret_connects_to_its_server_over_tls() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let rds = json!({ "engine": "postgres", "username": "parlor", "password": "p@ss", "host": "127.0.0.1", "port": port });
    let value = json!({ "SecretString": rds.to_string() });
    let arn = create(&moto, "database", value).await;
    let emulator = functions(&parlor, &moto, &[("DATABASE_URL_SECRET_ARN", &arn)]).await;
    let asked = async {
        let (mut connection, _) = server.accept().await.unwrap();
        let mut hello = [0; 8];
        tokio::io::AsyncReadExt::read_exact(&mut connection, &mut hello)
            .await
            .unwrap();
        hello
    };
    let event = signed_with(SECRET);
    let (status, hello) = tokio::join!(status(&emulator, &event), asked);
    // SSLRequest: https://www.postgresql.org/docs/18/protocol-message-formats.html
    assert_eq!(hello, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
    assert_eq!(status, 503);
}

#[tokio::test]
async fn an_invalid_secret_is_named_by_its_variable() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let text = |value: &str| json!({ "SecretString": value });
    let mysql = create(&moto, "mysql", text("mysql://root:hunter2@db")).await;
    let short = create(&moto, "short", text("hunter2")).await;
    let binary = create(&moto, "binary", json!({ "SecretBinary": "aHVudGVyMg==" })).await;
    let missing = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:nowhere-abcdef";
    for (variable, arn, why) in [
        (
            "DATABASE_URL_SECRET_ARN",
            missing,
            "cannot fetch the secret: the secret does not exist",
        ),
        (
            "DATABASE_URL_SECRET_ARN",
            &binary,
            "cannot fetch the secret: the secret is not text",
        ),
        (
            "DATABASE_URL_SECRET_ARN",
            &mysql,
            "is not valid: expected a postgres:// URL or an RDS secret",
        ),
        (
            "JWT_SECRET_ARN",
            missing,
            "cannot fetch the secret: the secret does not exist",
        ),
        (
            "JWT_SECRET_ARN",
            &short,
            "is not valid: expected at least 32 bytes",
        ),
    ] {
        let emulator = functions(&parlor, &moto, &[(variable, arn)]).await;
        let error = refusal(&emulator, "chat-history", "hunter2").await;
        assert!(error.contains(variable) && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_manager_and_a_missing_secret_are_different_errors() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let away = moto::variables("http://127.0.0.1:1");
    let emulator = functions_with(&parlor, &away, &[("JWT_SECRET_ARN", &arn)]).await;
    let error = refusal(&emulator, "chat-history", SECRET).await;
    assert!(
        error.contains("the request to Secrets Manager failed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_migration_takes_its_database_from_a_secret() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let database = TestDatabase::empty().await;
    let value = json!({ "SecretString": database.url() });
    let arn = create(&moto, "database", value).await;
    let emulator = functions(&parlor, &moto, &[("DATABASE_URL_SECRET_ARN", &arn)]).await;
    let outcome = emulator.invoke("db-migrate", &json!({})).await.unwrap();
    let Outcome::Response(report) = outcome else {
        panic!("{outcome:?}")
    };
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        report["applied"],
        common::platform::db::MIGRATOR.iter().count()
    );
}
