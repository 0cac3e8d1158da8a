//! The functions with a database role that cannot create, alter or drop anything.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;

use common::{
    governance::notifications,
    insights::jobs::{self, Connector},
    platform::{db::Db, env::Env},
};
use lambda::Invocation;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{
    functions::{OLDER, load_older},
    harness::{
        database::TestDatabase,
        invariants,
        jobs::SITE_ADMIN,
        parlor::{COACH, Parlor, Setup, answer},
        sweep,
    },
};

/// Parlor whose functions use a role of their own, which `db-migrate` has granted its rights.
/// `parlor.db` belongs to the owner.
async fn with_app_role() -> Parlor {
    let database = Arc::new(TestDatabase::with_business().await);
    let mut url = reqwest::Url::parse(database.url()).unwrap();
    // Roles belong to the server, which other tests share.
    let role = format!("app_of_{}", &url.path()[1..]);
    let owner = Db::from(database.pool().await);
    let create = format!("create role {role} login password 'app'");
    owner.execute(AssertSqlSafe(create)).await.unwrap();
    let env = Env::from_pairs([
        ("DATABASE_URL", database.url()),
        ("DATABASE_APP_ROLE", &role),
    ]);
    let invocation = Invocation {
        event: db_migrate::Request::Plain {},
        ends_at: None,
    };
    db_migrate::migrate(env, invocation).await.unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("app")).unwrap();
    Parlor::start_with(Setup {
        database_url: Some(url.to_string()),
        database: Some(database),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn chats_jobs_prewarming_and_admin_changes_need_no_ddl() {
    let parlor = with_app_role().await;
    let chat = parlor.open(COACH, "t").await;
    let reply = parlor.send(COACH, chat, "[[sim:echo]]你好").await;
    assert_eq!(reply.ok()["aiReply"]["status"], "complete");
    parlor.stream_to_end(COACH, chat, "再来一次").await;
    let history = parlor.get(COACH, "/api/xcx/chat/history").await;
    assert_eq!(history.ok()["total"], 1);

    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    let job = parlor.member_paid(10_001, 1).await;
    let prewarmed = jobs::prewarm(&parlor.tools.db, Connector::Schedule, Some(1), false)
        .await
        .unwrap();
    assert!(prewarmed.enqueued > 0);
    parlor.work_until_done().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");

    let limits = json!({ "daily_limit": 1_000_000, "monthly_limit": 10_000_000 });
    let request = parlor.request_as(SITE_ADMIN, "PUT", "/api/admin/ai/budget");
    answer(request.json(&limits)).await.ok();
    for path in [
        "/api/admin/ai/dashboard",
        "/api/admin/ai/latency",
        "/api/admin/ai/run-logs",
        "/api/admin/ai/alerts",
        "/api/admin/ai/audit",
        "/api/admin/ai/cache",
        "/api/admin/ai/trigger-jobs",
    ] {
        parlor.get(SITE_ADMIN, path).await.ok();
    }
    let channel = json!({ "kind": "webhook", "name": "ops", "url": "https://hooks.example/" });
    let channels = "/api/admin/ai/notification-channels";
    let created = parlor.post(SITE_ADMIN, channels, &channel).await;
    let test = format!("{channels}/{}/test", created.created()["id"]);
    let queued = answer(parlor.request_as(SITE_ADMIN, "POST", &test)).await;
    assert_eq!(queued.status, 202, "{}", queued.body);
    let sent = notifications::run(&parlor.tools.db, &parlor.robots.client).await;
    assert_eq!(sent.unwrap().sent, 1);
    let all = json!({ "site_id": 1 });
    let invalidated = parlor
        .post(SITE_ADMIN, "/api/admin/ai/cache/invalidate", &all)
        .await;
    assert!(invalidated.ok()["affected"].as_i64() > Some(0));
    sweep(&parlor.tools.db, 90).await.unwrap();
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn the_sweep_maintains_partitions_and_schemas_without_ddl() {
    let parlor = with_app_role().await;
    // The oldest partition is past retention, the last one is missing, and a build is unused.
    parlor
        .execute(
            "do $$
             declare v_last text;
             begin
                 create table biz.ai_run_logs_202001 partition of biz.ai_run_logs
                     for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00');
                 select max(relname) into v_last from pg_class
                 where relnamespace = 'biz'::regnamespace and relname ~ '^ai_run_logs_[0-9]{6}$';
                 execute format('drop table biz.%I', v_last);
             end $$",
        )
        .await;
    load_older(&parlor.db).await;
    let swept = sweep(&parlor.tools.db, 90).await.unwrap();
    assert_eq!(
        (
            swept.partitions_made,
            swept.partitions_dropped,
            swept.functions_dropped
        ),
        (1, 1, 1)
    );
    let is_there: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
        .bind(OLDER)
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert!(!is_there);
    // Runs are written to the new partition.
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
}

#[tokio::test]
async fn the_role_can_neither_create_nor_alter_nor_drop() {
    let parlor = with_app_role().await;
    let functions = common::platform::functions::SCHEMA;
    for statement in [
        "create table biz.t ()".to_owned(),
        "create table public.t ()".to_owned(),
        "create schema s".to_owned(),
        "create function biz.f() returns integer language sql return 1".to_owned(),
        format!("create function {functions}.f() returns integer language sql return 1"),
        "alter table biz.sites add column x integer".to_owned(),
        "create index on biz.sites (name)".to_owned(),
        "drop table biz.ai_messages".to_owned(),
        "truncate biz.ai_messages".to_owned(),
        format!("drop schema {functions} cascade"),
        format!("select drop_function_schema('{functions}')"),
        "select drop_function_schema('biz')".to_owned(),
        "delete from dws.member_note".to_owned(),
    ] {
        let refused = parlor.tools.db.execute(AssertSqlSafe(statement.clone()));
        let error = refused.await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert!(
            ["42501", "P0001"].contains(&&*error.code().unwrap()),
            "{statement}: {error}"
        );
    }
}
