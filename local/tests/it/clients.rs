//! The clients in `clients/`, under Node, against the product.

use std::{cell::Cell, ffi::OsStr, fs, path::Path, time::Duration};

use tokio::{process::Command, time::sleep};

use crate::harness::{
    invariants, node,
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
