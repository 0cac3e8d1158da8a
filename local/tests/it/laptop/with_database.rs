//! A command that is lent a database.

use sqlx::Connection as _;

use super::*;

/// What the command prints of its URL, and what else it does.
fn lend(home: &Path, script: &str) -> Output {
    run(home, &["with-database", "--", "sh", "-c", script])
}

#[tokio::test]
async fn a_command_gets_a_database_that_is_up_to_date() {
    let home = home();
    let program = program();
    let script = format!("exec '{}' migrate", program.display());
    let output = lend(home.path(), &script);
    let said = text(&output.stdout);
    assert!(said.starts_with("0 migrations applied; "), "{output:?}");
}

#[tokio::test]
async fn its_exit_code_is_passed_on_and_the_database_is_gone() {
    let home = home();
    let output = lend(home.path(), "echo \"$DATABASE_URL\"; exit 42");
    assert_eq!(output.status.code(), Some(42));
    let url = text(&output.stdout).trim();
    assert!(url.starts_with("postgres://"), "{output:?}");
    sqlx::PgConnection::connect(url).await.unwrap_err();
    let output = lend(home.path(), "kill -TERM $$");
    assert_eq!(output.status.code(), Some(128 + 15));
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let output = run(home().path(), &["with-database", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot run /no/such/command"));
}
