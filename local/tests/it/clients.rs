//! The clients in `clients/`, under Node, against the product.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{process::Command, time::sleep};

use crate::harness::{
    invariants,
    jobs::SITE_ADMIN,
    node,
    parlor::{COACH, Parlor, Setup, token},
};

#[tokio::test]
async fn the_clients_show_the_stored_text_on_a_bad_network() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let node = tokio::task::spawn_blocking(node::program).await.unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/test");
    // The test runner of Node treats directories differently in each version, but files the same.
    let files = fs::read_dir(tests)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some(OsStr::new("mjs")));
    let mut command = Command::new(node);
    command
        .arg("--test")
        .args(files)
        .env("PARLOR_URL", &parlor.address)
        .env("PARLOR_TOKEN", token(COACH))
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let ended = Cell::new(false);
    let testing = async {
        let output = command.output().await.unwrap();
        ended.set(true);
        output
    };
    // Runs jobs all the time, so that bots reply. A worker that is dropped midway would leave its
    // reply to the sweep.
    let working = async {
        while !ended.get() {
            parlor.work().await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (output, ()) = tokio::join!(testing, working);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );

    parlor.settled().await;
    invariants::check_books(&parlor).await;
    let (messages, calls): (i64, i64) = sqlx::query_as(
        "select (select count(*) from biz.ai_messages m join biz.ai_conversations c on c.id = m.conversation_id
                 where m.role = 'user' and c.bot_id is null),
                (select count(*) from biz.ai_run_logs r where trigger_type = 'chat'
                   and exists (select from biz.ai_conversations c where c.id = r.conversation_id))",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!(messages > 100, "the clients' tests were skipped");
    assert_eq!(messages, calls, "each message has one call");
}

#[tokio::test]
async fn the_typed_client_is_current_and_its_examples_run() {
    let Some(client) = tokio::task::spawn_blocking(typed_client).await.unwrap() else {
        eprintln!("NOT CHECKED: npm could not install the packages");
        return;
    };
    let parlor = Parlor::with_business(Setup::default()).await;
    let chat = parlor.open(COACH, "10001").await;
    parlor.send(COACH, chat, "[[sim:unavailable]]").await.ok();
    parlor.settled().await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, status)
             values (1, 'prewarm', 'command', 'event', '{app2_finance}', 'failed')",
        )
        .await;
    let node = tokio::task::spawn_blocking(node::program).await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(node);
    command
        .arg("--test")
        .arg(client.join("check.mjs"))
        .env("PARLOR_URL", &parlor.address)
        .env("PARLOR_TOKEN", token(SITE_ADMIN))
        .env("OPENAPI", root.join("openapi.json"))
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A copy of `clients/admin` with its packages, next to the files that it imports.
fn typed_client() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let admin = copy.join("admin");
    if !node::install(&source.join("admin"), &admin) {
        return None;
    }
    fs::create_dir_all(copy.join("browser")).unwrap();
    for name in ["package.json", "core.js", "browser/chat.js"] {
        fs::copy(source.join(name), copy.join(name)).unwrap();
    }
    for entry in fs::read_dir(source.join("admin")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), admin.join(entry.file_name())).unwrap();
        }
    }
    Some(admin)
}
