//! `with-database`: runs a command with a temporary database.

use sqlx::Connection as _;

use super::*;

/// Runs a shell script with a database.
fn lend(home: &Path, script: &str) -> Output {
    run(home, &["with-database", "--", "sh", "-c", script])
}

#[tokio::test]
async fn a_command_gets_a_database_that_is_up_to_date() {
    let home = home();
    let program = program();
    let script = format!("exec '{}' migrate", program.display());
    let output = lend(home.path(), &script);
    let printed = text(&output.stdout);
    assert!(printed.starts_with("0 migrations applied; "), "{output:?}");
}

#[tokio::test]
async fn the_exit_code_is_returned_and_the_database_is_dropped() {
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
async fn a_missing_command_is_named() {
    let output = run(home().path(), &["with-database", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot run /no/such/command"));
}

#[tokio::test]
async fn generated_data_has_correct_counters() {
    let database = TestDatabase::empty().await;
    let status = tokio::process::Command::new(env!("CARGO_BIN_EXE_local"))
        .args(["demo", "--messages", "400", "--runs", "3000"])
        .env("DATABASE_URL", database.url())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let db = database.pool().await;
    let counted: (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from biz.ai_messages),
                (select count(*) from biz.ai_conversations c where message_count
                     <> (select max(seq) from biz.ai_messages m where m.conversation_id = c.id)),
                (select count(*) from biz.ai_conversations c
                 where (last_message_id, last_message_role, last_message_preview, last_message_at) is distinct from (
                     select (m.id, m.role::text, left(m.content, 100), m.created_at) from biz.ai_messages m
                     where m.conversation_id = c.id order by m.seq desc limit 1)),
                (select count(*) from biz.users u where listed_conversations
                     <> (select count(*) from biz.ai_conversations c where c.user_id = u.id and c.message_count > 0)),
                (select count(*) from biz.ai_run_logs)",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(counted, (400, 0, 0, 0, 3_000));
    let miscounted: (i64, i64) = sqlx::query_as(
        "with logged as (
             select site_id, local_day, app_type, count(*) as calls, sum(tokens_used) as tokens, sum(latency_ms) as latency,
                    count(*) filter (where status in ('success', 'stopped')) as successes,
                    max(latency_ms) as slowest, coalesce(max(first_token_ms), 0) as slowest_token, count(first_token_ms) as tokens_seen
             from biz.ai_run_logs where status not in ('circuit_open', 'budget_exceeded') group by 1, 2, 3
         ), timed as (
             select site_id, local_day, app_type, width_bucket(latency_ms, latency_bounds()) + 1 as bucket, count(*) as calls
             from biz.ai_run_logs where latency_ms > 0 group by 1, 2, 3, 4
         )
         select (select count(*) from logged l
                 full join biz.ai_usage_daily u on (u.site_id, u.day, u.app_type) = (l.site_id, l.local_day, l.app_type)
                 where (u.calls, u.tokens, u.latency_sum_ms, u.successes, u.latency_max_ms, u.first_token_max_ms,
                        (select coalesce(sum(calls), 0) from unnest(u.first_token_buckets) calls))
                     is distinct from (l.calls, l.tokens, l.latency, l.successes, l.slowest, l.slowest_token, l.tokens_seen)
                   -- A day may have refusals only.
                   and (u.calls > 0 or l.calls > 0)),
                (select count(*) from timed t
                 join biz.ai_usage_daily u on (u.site_id, u.day, u.app_type) = (t.site_id, t.local_day, t.app_type)
                 where u.latency_buckets[t.bucket] is distinct from t.calls)",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(miscounted, (0, 0));
}
