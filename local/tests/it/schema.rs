//! The schema: migrations over existing data, explicit names, comments, and no sequential scans of
//! large tables.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod plans;

use common::{
    governance::{apps::App, usage::BOUNDS},
    platform::db::MIGRATOR,
};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use crate::harness::database::TestDatabase;

/// A row for each table, in an order that foreign keys allow. `$n` is a different number each time.
///
/// If a migration adds a requirement to a table, its insert here must be updated.
const ROWS: &[(&str, &str)] = &[
    (
        "schedule_runs",
        "insert into biz.schedule_runs (name, due_at) values ('schedule $n', now())",
    ),
    (
        "app_types",
        "insert into biz.app_types (name, comment) values ('app$n', 'app')",
    ),
    (
        "sites",
        "insert into biz.sites (id, name) values ($n, 'site')",
    ),
    (
        "users",
        "insert into biz.users (id, site_id, nickname, role, status) values ($n, $n, 'user', 'coach', 'approved')",
    ),
    (
        "ai_conversations",
        "insert into biz.ai_conversations (id, site_id, user_id, context_type, message_count) \
         overriding system value values ($n, $n, $n, 'general', 1)",
    ),
    (
        "ai_messages",
        "insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content) \
         values ($n, $n, $n, 1, 'user', 'hello')",
    ),
    (
        "ai_run_logs",
        "insert into biz.ai_run_logs (site_id, user_id, app_type, trigger_type, status, local_day) \
         values ($n, $n, 'app1_chat', 'chat', 'success', current_date)",
    ),
    (
        "ai_usage_daily",
        "insert into biz.ai_usage_daily (site_id, day, app_type, calls) values ($n, current_date, 'app1_chat', 1)",
    ),
    (
        "ai_usage_days",
        "insert into biz.ai_usage_days (site_id, day, tokens) values ($n, current_date, 1)",
    ),
    (
        "ai_usage_details",
        "insert into biz.ai_usage_details (site_id, user_id, day, calls, successes, failures, tokens_in, tokens_out, tokens, cost, unpriced_calls) \
         values ($n, $n, current_date, 1, 1, 0, 1, 1, 2, 3, 0)",
    ),
    (
        "ai_prices",
        "insert into biz.ai_prices (model, valid_from, up_to_input_tokens, input_per_million, output_per_million) \
         values ('model ' || $n, '2026-01-01', '{}', '{800000}', '{2000000}')",
    ),
    (
        "ai_budgets",
        "insert into biz.ai_budgets (site_id) values ($n)",
    ),
    (
        "ai_quotas",
        "insert into biz.ai_quotas (site_id, subject_type, subject_id, daily_limit) values ($n, 'user', $n, 1)",
    ),
    (
        "ai_cache",
        "insert into biz.ai_cache (site_id, cache_type, target_id, triggered_by, business_date, valid_days, lease_until) \
         values ($n, 'app3_clue', 'member:7', 'event', current_date, 7, now())",
    ),
    (
        "ai_admin_audit",
        "insert into biz.ai_admin_audit (site_id, user_id, action) values ($n, $n, 'budget.set')",
    ),
    (
        "ai_notices",
        "insert into biz.ai_notices (site_id, provider) values ($n, 'provider')",
    ),
    (
        "ai_result_failures",
        "insert into biz.ai_result_failures (site_id, cache_type, target_id, job_id) values ($n, 'app4_analysis', 'member:7', 1)",
    ),
    (
        "ai_cache_sizes",
        "insert into biz.ai_cache_sizes (site_id, cache_type, entries) values ($n, 'app4_analysis', 1)",
    ),
    (
        "ai_trigger_jobs",
        "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain) \
         values ($n, 'etl.finished', 'event_bus', 'event', '{app2_finance}')",
    ),
    (
        "ai_batches",
        "insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by) \
         values ($n, '{app3_clue}', '{7}', 1, 2000, now(), $n)",
    ),
    (
        "ai_refusals",
        "insert into biz.ai_refusals (user_id, reason, app_id, site_id, run_id, run_at, refusals) \
         values ($n, 'budget_exceeded', 'app1_chat', $n, 1, now(), 1)",
    ),
    (
        "ai_reply_segments",
        "insert into biz.ai_reply_segments (message_id, site_id, from_char, text) values ($n, $n, 0, 'hello')",
    ),
    (
        "ai_reply_readers",
        "insert into biz.ai_reply_readers (site_id, user_id, message_id, lease_until) values ($n, $n, 1, now())",
    ),
    (
        "ai_usage_before",
        "insert into biz.ai_usage_before (site_id, day, tokens) values ($n, '2026-11-21', 1)",
    ),
    (
        "ai_job_turns",
        "insert into biz.ai_job_turns (site_id, claimed_at) values ($n, now())",
    ),
    (
        "agents",
        "insert into biz.agents (name, app_id) values ('agent', 'app1_chat')",
    ),
    (
        "bots",
        "insert into biz.bots (id, name, agent_id) \
         select ('00000000-0000-4000-8000-' || lpad('$n', 12, '0'))::uuid, 'bot', id from biz.agents limit 1",
    ),
    (
        "bot_grants",
        "insert into biz.bot_grants (bot_id, user_id) values (('00000000-0000-4000-8000-' || lpad('$n', 12, '0'))::uuid, $n)",
    ),
    (
        "ai_idempotency_keys",
        "insert into biz.ai_idempotency_keys (conversation_id, key, message_id) \
         select conversation_id, 'key', id from biz.ai_messages where conversation_id = $n",
    ),
    (
        "ai_feedback",
        "insert into biz.ai_feedback (site_id, user_id, subject_type, subject_id, app_type, rating) \
         values ($n, $n, 'message', $n, 'app1_chat', 'up')",
    ),
    (
        "ai_reports",
        "insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, due_at) \
         values ($n, $n, 'message', $n, 'other', now())",
    ),
    (
        "openers",
        "insert into biz.openers (site_id, texts) values ($n, '{hello}')",
    ),
    (
        "api_keys",
        "insert into biz.api_keys (site_id, name, scopes, hash, hint, created_by) \
         values ($n, 'key', '{jobs:write}', sha256('$n'), '0000', $n)",
    ),
    (
        "moderation_words",
        "insert into biz.moderation_words (site_id, word, normal, created_by) values ($n, 'word', 'word', $n)",
    ),
    (
        "wechat_tokens",
        "insert into biz.wechat_tokens (app_id, fetching_until) values ('app' || $n, now())",
    ),
    (
        "function_schemas",
        "insert into biz.function_schemas (name) values ('parlor_' || lpad('$n', 8, '0'))",
    ),
    (
        "ai_circuits",
        "insert into biz.ai_circuits \
         select (jsonb_populate_record(null::biz.ai_circuits, jsonb_build_object( \
             'app_id', 'app' || $n, 'app_type', 'app' || $n, 'state', 'closed', 'failures', 0, 'open_seconds', 60))).*",
    ),
    (
        "ai_app_calls",
        "insert into biz.ai_app_calls (app_id, called_at) values ('chat-' || $n, array[now()])",
    ),
    (
        "ai_apps",
        "insert into biz.ai_apps (site_id, app_type, application_id) values ($n, 'app1_chat', 'chat-' || $n)",
    ),
    (
        "user_data_deletions",
        "insert into biz.user_data_deletions (site_id, user_id, requested_by, keep_disabled, status_before)
         values ($n, $n, 1, false, 'approved')",
    ),
    (
        "notification_channels",
        "insert into biz.notification_channels (id, site_id, kind, name, level, hourly_cap, enabled) overriding system value
         values ($n, $n, 'webhook', 'x', 'info', 1, true)",
    ),
    (
        "notification_incidents",
        "insert into biz.notification_incidents (site_id, kind, cause, level, details, began_at, last_at, occurrences)
         values ($n, 'budget', 'day', 'warning', '{}', now(), now(), 1)",
    ),
    (
        "notification_deliveries",
        "insert into biz.notification_deliveries (site_id, channel_id, event) values ($n, $n, 'test')",
    ),
];

/// The tables of the schema, without partitions.
async fn tables(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class \
         where relnamespace = to_regnamespace('biz') and relkind in ('r', 'p') and not relispartition",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from biz.{table}")))
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_migration_applies_to_data_of_the_previous_schema() {
    let database = TestDatabase::empty().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    for (step, migration) in MIGRATOR.iter().enumerate() {
        let mut before = tables(&mut connection).await;
        // The migration of a new app inserts its row.
        before.retain(|table| table != "app_types");
        let mut counts = Vec::new();
        for table in &before {
            counts.push(count(&mut connection, table).await);
        }
        let applied = connection.execute(migration.sql.clone()).await;
        applied.unwrap_or_else(|error| panic!("{}: {error}", migration.description));
        for (table, rows) in before.iter().zip(counts) {
            assert_eq!(
                count(&mut connection, table).await,
                rows,
                "{table}: {}",
                migration.description
            );
        }

        let now = tables(&mut connection).await;
        for table in &now {
            assert!(
                ROWS.iter().any(|(name, _)| name == table),
                "ROWS has no row for {table}"
            );
        }
        for (table, insert) in ROWS {
            if now.iter().any(|name| name == table) {
                let insert = insert.replace("$n", &(step + 1).to_string());
                connection.execute(AssertSqlSafe(insert)).await.unwrap();
            }
        }
    }
    let invalid: i64 =
        sqlx::query_scalar("select count(*) from pg_constraint where not convalidated")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(invalid, 0);
}

/// Place and number of calls of a bucket.
type Bucket = (usize, i64);

/// Latencies by bucket of 16, as the previous release counted them.
const OLD_LATENCIES: [(&str, i64, &[Bucket]); 4] = [
    (
        "nine calls, the slowest 6,252 ms",
        25_452,
        &[(6, 1), (7, 2), (9, 3), (10, 2), (11, 1)],
    ),
    ("one call", 1_234, &[(7, 1)]),
    ("fast and slow calls", 90_050, &[(1, 1), (16, 1)]),
    ("no call", 0, &[]),
];

#[tokio::test]
async fn latencies_that_the_previous_release_counted_are_kept() {
    let database = TestDatabase::empty().await;
    let mut connection = database.pool().await.acquire().await.unwrap().detach();
    let (before, after): (Vec<_>, Vec<_>) = MIGRATOR.iter().partition(|step| step.version < 17);
    for migration in before {
        connection.execute(migration.sql.clone()).await.unwrap();
    }
    connection
        .execute("insert into biz.sites (id, name) values (1, 'site')")
        .await
        .unwrap();
    for (name, sum, counts) in OLD_LATENCIES {
        let mut histogram = [0_i64; 16];
        for (bucket, calls) in counts {
            histogram[bucket - 1] = *calls;
        }
        sqlx::query(
            "insert into biz.ai_usage_daily (site_id, day, app_type, latency_sum_ms, latency_histogram)
             values (1, current_date, $1, $2, $3)",
        )
        .bind(name)
        .bind(sum)
        .bind(histogram)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    for migration in after {
        connection.execute(migration.sql.clone()).await.unwrap();
    }
    // The lower bounds of the buckets with calls, and the maximum.
    let expected: [(&[(i64, i64)], i64); 4] = [
        (
            &[(768, 1), (1_152, 2), (2_304, 3), (3_584, 2), (5_120, 1)],
            5_000,
        ),
        (&[(1_152, 1)], 1_234),
        (&[(48, 1), (57_344, 1)], 60_000),
        (&[], 0),
    ];
    for ((name, ..), (counts, max)) in OLD_LATENCIES.into_iter().zip(expected) {
        let (buckets, found): (Vec<Option<i64>>, i64) = sqlx::query_as(
            "select latency_buckets::bigint[], latency_max_ms from biz.ai_usage_daily where app_type = $1",
        )
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        let filled = buckets
            .iter()
            .enumerate()
            .filter_map(|(place, calls)| Some((BOUNDS[place.checked_sub(1)?], (*calls)?)));
        let filled: Vec<_> = filled.collect();
        assert_eq!((&*filled, found), (counts, max), "{name}");
    }
}

/// The rows of a catalogue query, one name each.
async fn listed(query: &'static str) -> Vec<String> {
    let database = TestDatabase::new().await;
    let rows = sqlx::query(query)
        .fetch_all(&database.pool().await)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_constraint_and_index_has_an_explicit_name() {
    // PostgreSQL's generated names end in `_check` and a number, for example. For keys, the schema
    // uses the generated form without a number. PostgreSQL 18 also lists not null constraints.
    let found = listed(
        "select conname::text from pg_constraint c join pg_class t on t.oid = c.conrelid \
         where c.connamespace = to_regnamespace('biz') and not t.relispartition and contype <> 'n' \
           and (conname ~ '_check[0-9]*$' or conname ~ '_(key|fkey|pkey|excl)[0-9]+$' or conname not like t.relname || '\\_%') \
         union all \
         select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid \
         where i.relnamespace = to_regnamespace('biz') and not i.relispartition \
           and (i.relname !~ '_(idx|key|pkey)$' or i.relname not like t.relname || '\\_%')",
    )
    .await;
    assert_eq!(found, [] as [String; 0]);
}

#[tokio::test]
async fn every_table_type_and_function_has_a_comment() {
    let found = listed(
        "select relname::text from pg_class \
         where relnamespace = to_regnamespace('biz') and relkind in ('r', 'p', 'c', 'v') and not relispartition \
           and coalesce(obj_description(oid, 'pg_class'), obj_description(reltype, 'pg_type')) is null \
         union all \
         select proname::text from pg_proc \
         where pronamespace = to_regnamespace('biz') and obj_description(oid, 'pg_proc') is null",
    )
    .await;
    assert_eq!(found, [] as [String; 0]);
}

#[tokio::test]
async fn the_table_of_apps_has_the_apps_of_the_code() {
    let mut apps = App::ALL.map(|app| app.name().to_owned());
    apps.sort();
    let rows = listed("select name from biz.app_types order by name").await;
    assert_eq!(
        rows, apps,
        "a migration must insert each app into biz.app_types"
    );
}

#[tokio::test]
async fn partitions_are_created_ahead_once() {
    let database = TestDatabase::new().await;
    let made: i32 = sqlx::query_scalar("select make_run_log_partitions()")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(made, 0);
}

/// The part of a dump that `docs/schema.sql` contains: no comments of `pg_dump`, no settings, no
/// empty lines.
fn readable(dump: &str) -> String {
    let is_kept = |line: &&str| {
        let skipped = ["--", "\\", "SET ", "SELECT pg_catalog.set_config"];
        !line.is_empty() && !skipped.iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<_> = dump.lines().filter(is_kept).collect();
    lines.join("\n") + "\n"
}

/// The dump format differs between PostgreSQL versions, so it is compared only on one of them.
#[tokio::test]
async fn the_schema_document_matches_the_migrations() {
    let database = TestDatabase::empty().await;
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    let version: String = sqlx::query_scalar("show server_version")
        .fetch_one(&pool)
        .await
        .unwrap();
    let pg_dump = std::path::Path::new("/usr/lib/postgresql/15/bin/pg_dump");
    if !version.starts_with("15.") || !pg_dump.exists() {
        eprintln!("NOT CHECKED: PostgreSQL is {version}, not 15 with its pg_dump");
        return;
    }
    let dump = tokio::process::Command::new(pg_dump)
        .args([
            "--schema-only",
            "--no-owner",
            "--schema=biz",
            "--schema=dws",
        ])
        .arg(database.url())
        .output()
        .await
        .unwrap();
    assert!(dump.status.success());
    let made = readable(&String::from_utf8(dump.stdout).unwrap());
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.sql");
    if std::fs::read_to_string(&document).unwrap_or_default() != made {
        let new = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.sql");
        std::fs::write(&new, made).unwrap();
        panic!(
            "docs/schema.sql is stale: cp {} docs/schema.sql",
            new.display()
        );
    }
}
