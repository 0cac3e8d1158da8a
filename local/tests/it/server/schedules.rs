//! Schedules of several servers on one database.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use common::platform::schedules::take_turn;
use serde_json::Value;

use crate::harness::{
    parlor::{Parlor, Setup},
    server::{Server, choose_applications},
    until_within,
};

#[tokio::test]
async fn one_instance_has_the_turn_until_it_finishes_or_dies() {
    let parlor = Parlor::start().await;
    let db = &parlor.tools.db;
    let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
    let (first, second) = (at("2026-11-28T21:30:00Z"), at("2026-11-29T21:30:00Z"));
    let take = async |due| take_turn(db, "prewarm", due).await.unwrap();

    assert!(take(first).await.is_none(), "a new schedule is not due");
    let turn = take(second).await.expect("the next time is due");
    assert!(take(second).await.is_none(), "another instance runs it");
    assert!(take_turn(db, "sweep", first).await.unwrap().is_none());
    drop(turn);
    let turn = crate::harness::until("the lock is free", async || take(second).await).await;
    turn.finish().await.unwrap();
    crate::harness::until("the lock is free", async || {
        let third = take(at("2026-11-30T21:30:00Z")).await;
        third.is_some().then_some(())
    })
    .await;
    assert!(take(second).await.is_none(), "the run was made");
}

/// Schedule and time of each run that the servers logged.
fn runs(servers: &[Server]) -> Vec<(String, String)> {
    let lines = servers.iter().flat_map(Server::log);
    let lines = lines.filter(|line| line["message"] == "schedule finished");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|line| (text(&line["schedule"]), text(&line["due"])))
        .collect()
}

#[tokio::test]
async fn each_run_of_a_schedule_is_made_by_one_of_two_servers() {
    let parlor = Parlor::with_business(Setup::default()).await;
    choose_applications(&parlor).await;
    count_calls(&parlor).await;
    let log = [("RUST_LOG", "info,server=debug"), ("JOB_CONCURRENCY", "1")];
    let servers = [
        Server::start_with(&parlor, &[], &log).await,
        Server::start_with(&parlor, &[], &log).await,
    ];
    let wait = std::time::Duration::from_secs(60);
    until_within(wait, "the schedules are known", async || {
        let known: i64 = sqlx::query_scalar("select count(*) from biz.schedule_runs")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        (known == 3).then_some(())
    })
    .await;
    parlor
        .execute("update biz.schedule_runs set due_at = due_at - interval '1 day'")
        .await;
    let names = ["notify", "prewarm", "sweep"];
    until_within(wait, "each schedule has run", async || {
        let runs = runs(&servers);
        let has_run = |name: &&str| runs.iter().any(|(run, _)| run == name);
        names.iter().all(has_run).then_some(())
    })
    .await;
    // Both servers look again.
    let before = looks(&parlor).await;
    until_within(wait, "both look again", async || {
        (looks(&parlor).await >= before + 6).then_some(())
    })
    .await;
    let runs = runs(&servers);
    let once: BTreeSet<_> = runs.iter().collect();
    assert_eq!(once.len(), runs.len(), "{runs:?}");
    let prewarmed = servers.iter().flat_map(Server::log);
    let prewarmed = prewarmed.filter(|line| line["message"] == "prewarm finished");
    assert_eq!(prewarmed.count(), 1);
}

/// Counts calls of functions on new connections.
async fn count_calls(parlor: &Parlor) {
    parlor
        .execute(
            "do $$ begin execute format('alter database %I set track_functions = pl', current_database()); end $$",
        )
        .await;
}

/// How often a server has looked whether a schedule is due.
async fn looks(parlor: &Parlor) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(calls), 0)::bigint from pg_stat_user_functions where funcname = 'take_turn'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}
