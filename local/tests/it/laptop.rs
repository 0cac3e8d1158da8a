//! The `local` program as developers run it.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod postgres;
mod with_database;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::platform::version;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    child::{self, Program, gone},
    database::{self, TestDatabase},
    parlor::client,
};

/// A home that the PostgreSQL of root, which runs as another user, can reach.
pub fn home() -> TempDir {
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_local").into()
}

/// Removes the developer's settings from the environment.
pub fn isolated(mut command: Command, home: &Path) -> Command {
    for name in [
        "DATABASE_URL",
        "JWT_SECRET",
        "DASHSCOPE_API_KEY",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command
        .env("PARLOR_HOME", home)
        .env("PARLOR_PG_BIN", database::binaries().bin);
    command
}

fn launch(home: &Path, arguments: &[&str]) -> Program {
    let mut command = isolated(child::command(program()), home);
    command
        .args(["serve", "--port", "0", "--no-history"])
        .args(arguments);
    Program::start(command)
}

/// Runs the program to its end.
fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = isolated(Command::new(program()), home);
    command.args(arguments).output().unwrap()
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

/// Waits until the program serves and returns its URL.
pub async fn address(program: &mut Program) -> String {
    program
        .line(|line| line.strip_prefix("Parlor serves on ").map(str::to_owned))
        .await
}

/// Commands against a program, in order: stream, messages, history. They use the printed command
/// for a token.
async fn curls(program: &mut Program) -> Vec<String> {
    let address = address(program).await;
    let token = program
        .line(|line| line.strip_prefix("Get a token with: ").map(str::to_owned))
        .await;
    let token = paste(&format!("env -u DATABASE_URL {token}")).await;
    let bearer = format!("-H 'Authorization: Bearer {}'", token.trim());
    let url = format!("{address}/api/xcx/chat");
    let opened = paste(&format!(
        "curl -s '{url}/messages?contextType=task&contextId=demo' {bearer}"
    ))
    .await;
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let chat = &opened["chatId"];
    let body = format!(
        "-H 'Content-Type: application/json' -d '{{\"chatId\":{chat},\"content\":\"今天店里生意怎么样？\"}}'"
    );
    vec![
        format!("curl -sN {url}/stream {bearer} {body}"),
        format!("curl -s {url}/{chat}/messages {bearer}"),
        format!("curl -s {url}/history {bearer}"),
    ]
}

/// Runs a printed command in a shell.
async fn paste(line: &str) -> String {
    let output = tokio::process::Command::new("sh")
        .args(["-c", line])
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

async fn messages(curls: &[String]) -> Vec<Value> {
    let page: Value = serde_json::from_str(&paste(&curls[1]).await).unwrap();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn printed_commands_work_as_pasted_and_ctrl_c_stops_everything() {
    let home = home();
    let mut parlor = launch(home.path(), &[]);
    let address = address(&mut parlor).await;
    assert_eq!(reqwest_text(&format!("{address}/healthz")).await, "ok");

    let lines = curls(&mut parlor).await;
    let printed = parlor.stdout();
    // 8 links to sign in, the landing page, and 5 lines about the program.
    assert_eq!(printed.lines().count(), 14, "{printed}");
    assert!(printed.contains("Replies are simulated"), "{printed}");
    let data = home.path().join("postgres").display().to_string();
    assert!(printed.contains(&format!("Data is in {data}")), "{printed}");
    let psql = printed.lines().find(|line| line.starts_with("Open it"));
    let url = psql.unwrap().split('\'').nth(1).unwrap();
    sqlx::postgres::PgPool::connect(url).await.unwrap();
    let stream = paste(&lines[0]).await;
    assert!(stream.starts_with("event: start\n"), "{stream}");
    assert!(stream.contains("event: done"), "{stream}");
    assert_eq!(messages(&lines).await.len(), 2);
    let history: Value = serde_json::from_str(&paste(&lines[2]).await).unwrap();
    assert_eq!(history["total"], 1);

    let children = parlor.children();
    assert!(!children.is_empty());
    parlor.interrupt();
    assert_eq!(parlor.ended().await, Some(0));
    for child in children {
        gone(child).await;
    }
}

async fn reqwest_text(url: &str) -> String {
    client()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn kill_9_leaves_no_server_and_the_next_start_keeps_the_data() {
    let home = home();
    let mut parlor = launch(home.path(), &[]);
    let lines = curls(&mut parlor).await;
    paste(&lines[0]).await;
    let before = messages(&lines).await;
    let children = parlor.children();
    assert!(!children.is_empty());
    parlor.kill();
    for child in children {
        gone(child).await;
    }
    let mut parlor = launch(home.path(), &[]);
    let lines = curls(&mut parlor).await;
    assert_eq!(messages(&lines).await, before);
    drop(parlor);

    let mut parlor = launch(home.path(), &["--fresh"]);
    let lines = curls(&mut parlor).await;
    assert_eq!(messages(&lines).await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_second_launch_reports_the_running_one() {
    let (elsewhere, home) = (home(), home());
    let mut first = launch(home.path(), &[]);
    let lines = curls(&mut first).await;

    let mut second = launch(home.path(), &[]);
    assert_eq!(second.ended().await, Some(1));
    crate::harness::until("the process id is printed", async || {
        let process = format!("process {}", first.pid().as_raw_nonzero());
        let stderr = second.stderr();
        let all = [&*process, "--port ", "--home "];
        all.iter().all(|text| stderr.contains(text)).then_some(())
    })
    .await;
    let mut neighbour = launch(elsewhere.path(), &[]);
    let others = curls(&mut neighbour).await;

    paste(&lines[0]).await;
    assert_eq!(messages(&lines).await.len(), 2);
    assert_eq!(messages(&others).await.len(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_reported_before_the_start() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(home.path(), &["serve", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    for part in [&format!("port {port} is in use"), "--port", "--home"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    let output = run(home.path(), &["simulator", "--port", &port]);
    let expected = format!("parlor: port {port} is in use; use --port to choose another one\n");
    assert_eq!(text(&output.stderr), expected);
    assert!(!home.path().join("postgres").exists());
}

#[tokio::test]
async fn a_given_database_is_used() {
    let (home, database) = (home(), TestDatabase::empty().await);
    let mut parlor = launch(home.path(), &["--database-url", database.url()]);
    let lines = curls(&mut parlor).await;
    assert_eq!(messages(&lines).await.len(), 0);
    let sites: i64 = sqlx::query_scalar("select count(*) from biz.sites")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(sites, 2);
    assert!(!home.path().join("postgres").exists());
}

#[tokio::test]
async fn serve_lambda_streams_a_reply_through_the_real_binaries() {
    local::emulator::binaries::build().await.unwrap();
    let home = home();
    let mut parlor = launch(home.path(), &["--lambda"]);
    let lines = curls(&mut parlor).await;
    let address = address(&mut parlor).await;
    assert_eq!(reqwest_text(&format!("{address}/healthz")).await, "ok");
    let stream = paste(&lines[0]).await;
    assert!(stream.contains("event: done"), "{stream}");
    assert_eq!(messages(&lines).await[1]["status"], "complete");
    // PostgreSQL and one process per invoked function.
    let children = parlor.children();
    assert!(children.len() >= 3, "{children:?}");
    parlor.interrupt();
    assert_eq!(parlor.ended().await, Some(0));
    for child in children {
        gone(child).await;
    }
}

#[tokio::test]
async fn a_token_is_one_line_and_an_unknown_user_is_an_error() {
    let home = home();
    let output = run(home.path(), &["token", "1001"]);
    assert!(output.status.success());
    let token = text(&output.stdout).strip_suffix('\n').unwrap();
    assert_eq!(token.split('.').count(), 3);
    assert!(!token.contains('\n'));

    let output = run(home.path(), &["token", "4711"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("parlor: no such demo user"));
}

/// Runs the program with one more variable.
fn run_with(home: &Path, variable: (&str, &str), arguments: &[&str]) -> Output {
    let mut command = isolated(Command::new(program()), home);
    command.env(variable.0, variable.1).args(arguments);
    command.output().unwrap()
}

#[tokio::test]
async fn a_short_secret_is_reported_as_too_short() {
    let home = home();
    for arguments in [&["token", "1001"][..], &["serve", "--port", "0"]] {
        let output = run_with(home.path(), ("JWT_SECRET", "short"), arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "parlor: JWT_SECRET is too short: expected at least 32 bytes\n"
        );
    }
    assert!(!home.path().join("postgres").exists());
}

#[tokio::test]
async fn a_token_for_site_and_role_is_of_an_existing_user_of_the_database() {
    let (home, database) = (home(), TestDatabase::empty().await);
    let url = ("DATABASE_URL", database.url());
    let coach = ["token", "--site", "7", "--role", "coach"];
    let output = run_with(home.path(), url, &coach);
    assert!(
        text(&output.stderr).contains("run `migrate` first"),
        "{output:?}"
    );
    run_with(home.path(), url, &["migrate"]);
    let output = run_with(home.path(), url, &coach);
    assert!(
        text(&output.stderr).contains("no approved users"),
        "{output:?}"
    );
    sqlx::raw_sql(
        "insert into biz.sites (id, name) values (7, '七号店');
         insert into biz.users (id, site_id, nickname, role, status)
         values (70, 7, '甲', 'coach', 'pending'), (71, 7, '乙', 'coach', 'approved'),
                (72, 7, '丙', 'staff', 'approved')",
    )
    .execute(&database.pool().await)
    .await
    .unwrap();
    let output = run_with(home.path(), url, &coach);
    let claims = text(&output.stdout).split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["site_id"]),
        (&"71".into(), &7.into())
    );
    let output = run_with(
        home.path(),
        url,
        &["token", "--site", "7", "--role", "manager"],
    );
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(
        text(&output.stderr).contains("token 71  (site 7, coach)"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_refused_database_is_named_once_and_without_its_password() {
    let home = home();
    let url = ("DATABASE_URL", "postgres://u:pass-word@127.0.0.1:1/shop");
    for arguments in [
        &["serve", "--port", "0"][..],
        &["migrate"],
        &["prewarm"],
        &["token", "--role", "coach"],
    ] {
        let output = run_with(home.path(), url, arguments);
        let stderr = text(&output.stderr);
        let named = "parlor: cannot open the database shop at 127.0.0.1:1: ";
        assert!(stderr.starts_with(named), "{stderr}");
        assert_eq!(stderr.matches("efused").count(), 1, "{stderr}");
        assert!(!stderr.contains("pass-word"), "{stderr}");
    }
}

#[tokio::test]
async fn prewarm_works_while_serve_runs() {
    let home = home();
    let mut parlor = launch(home.path(), &["--no-schedules"]);
    address(&mut parlor).await;
    let output = run(home.path(), &["prewarm", "--dry-run"]);
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with("2 active sites: 80 filters would be"),
        "{output:?}"
    );
}

#[test]
fn the_program_is_called_parlor() {
    let home = home();
    let output = run(home.path(), &["--version"]);
    let expected = format!("parlor {}", version::text());
    assert_eq!(text(&output.stdout).trim(), expected);
    let output = run(home.path(), &["serve", "--help"]);
    assert!(text(&output.stdout).contains("Usage: parlor serve"));
    let output = run(home.path(), &["no-such-command"]);
    assert!(
        text(&output.stderr).contains("Usage: parlor "),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_token_secret_is_readable_only_by_its_owner() {
    let home = home();
    run(home.path(), &["token", "1001"]);
    let secret = fs::metadata(home.path().join("jwt-secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn migrate_reports_the_applied_migrations() {
    let (home, database) = (home(), TestDatabase::empty().await);
    let migrate = || {
        let mut command = isolated(Command::new(program()), home.path());
        command.arg("migrate").env("DATABASE_URL", database.url());
        command.output().unwrap()
    };
    let count = common::platform::db::MIGRATOR.iter().count();
    let says = format!("{count} migrations applied; ");
    assert!(text(&migrate().stdout).starts_with(&says));
    assert!(text(&migrate().stdout).starts_with("0 migrations applied; "));
}

#[tokio::test]
async fn openapi_is_json() {
    let output = run(home().path(), &["openapi"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["paths"]["/api/xcx/chat/stream"].is_object());
}

#[tokio::test]
async fn the_simulator_prints_its_url_and_responds() {
    let home = home();
    let mut command = isolated(child::command(program()), home.path());
    command.args(["simulator", "--port", "0"]);
    let mut simulator = Program::start(command);
    let base = simulator.line(|line| Some(line.to_owned())).await;
    let url = format!("{base}/apps/app1_chat/completion");
    let request = client().post(url).bearer_auth("sk-x");
    let body = serde_json::json!({ "input": { "prompt": "[[sim:echo]]你好" }, "parameters": {} });
    let answer: Value = request
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        answer["output"]["text"].as_str().unwrap().contains("你好"),
        "{answer}"
    );
    simulator.interrupt();
    assert_eq!(simulator.ended().await, Some(0));
}
