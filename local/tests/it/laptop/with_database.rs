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

#[tokio::test]
async fn made_up_data_has_every_counter_right() {
    let database = TestDatabase::empty().await;
    let status = tokio::process::Command::new(env!("CARGO_BIN_EXE_local"))
        .args(["demo", "--messages", "400", "--runs", "30"])
        .env("DATABASE_URL", database.url())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let counted: (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from biz.ai_messages),
                (select count(*) from biz.ai_conversations c where message_count
                     <> (select max(seq) from biz.ai_messages m where m.conversation_id = c.id)),
                (select listed_conversations from biz.users where id = 1001),
                (select count(*) from biz.ai_run_logs),
                (select calls from biz.ai_usage_daily)",
    )
    .fetch_one(&database.pool().await)
    .await
    .unwrap();
    assert_eq!(counted, (400, 0, 20, 30, 30));
}
