//! The sweep: dead replies and monthly partitions.

use crate::harness::sweep;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};
use sweep::Swept;

use crate::harness::{
    cloud::{Cloud, recorded},
    events::{terminal, text},
    parlor::{COACH, OTHER_SITE, Parlor},
    until,
};

/// Leaves a reply as a killed process does: as the last checkpoint stored it.
async fn abandoned(parlor: &Parlor, content: &str) -> i64 {
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(3);
    let mut stream = parlor.stream(COACH, chat, content).await;
    stream.expect("start").await;
    chat
}

#[tokio::test]
async fn a_dead_reply_keeps_its_text_and_is_charged_its_reservation() {
    let parlor = Parlor::start().await;
    let chat = abandoned(&parlor, "[[sim:echo]]说到一半就断了，剩下的再也没有。").await;
    let stored = until("a checkpoint", async || {
        let content = parlor.messages(COACH, chat).await[1]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        (!content.is_empty()).then_some(content)
    })
    .await;
    assert_eq!(
        sweep(&parlor.db, 90).await.unwrap().replies,
        0,
        "the maker is alive"
    );
    until("the dead reply is swept", async || {
        // Its maker is alive in this process and renews the lease now and then.
        sqlx::query("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
            .execute(&parlor.db)
            .await
            .unwrap();
        (sweep(&parlor.db, 90).await.unwrap().replies == 1).then_some(())
    })
    .await;
    let message = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&message["status"], &message["content"]),
        (&json!("interrupted"), &json!(stored))
    );
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["status"], &run["error_code"], &run["tokens_estimated"]),
        (&json!("failed"), &json!("interrupted"), &json!(true))
    );
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["tokens"], &usage["reserved_tokens"]),
        (&json!(1), &run["reserved_tokens"], &json!(0))
    );

    // The maker continues, but stores nothing more. The conversation can be used.
    parlor.simulator.release();
    parlor.simulator.active(0).await;
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        json!(stored)
    );
    assert_eq!(parlor.usage(1).await["calls"], 1);
    parlor.send(COACH, chat, "接着说").await.ok();
}

#[tokio::test]
async fn a_repeat_after_a_dead_reply_gets_its_text_and_an_error() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.begin_and_die(COACH, chat, "你好", "说到一半").await;
    let body = json!({ "chatId": chat, "content": "你好", "clientMessageId": "你好" });
    // Before and after the sweep.
    for _ in 0..2 {
        let events = parlor.stream_body(COACH, &body).await.rest().await;
        let error = terminal(&events);
        assert_eq!(
            (&*error.name, &error.data["code"], &error.data["retryable"]),
            ("error", &json!("unavailable"), &json!(true))
        );
        assert_eq!(text(&events), "说到一半");
        sweep(&parlor.db, 90).await.unwrap();
    }
    assert_eq!(parlor.simulator.calls_count(), 0);
}

#[tokio::test]
async fn the_next_message_first_ends_a_dead_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.begin_and_die(COACH, chat, "你好", "说到一半").await;
    parlor.send(COACH, chat, "接着说").await.ok();
    let messages = parlor.messages(COACH, chat).await;
    assert_eq!(
        (&messages[1]["status"], &messages[1]["content"]),
        (&json!("interrupted"), &json!("说到一半"))
    );
    let call = &parlor.simulator.calls()[0];
    assert!(call.prompt().contains("AI: 说到一半"), "{}", call.prompt());
    let usage = parlor.usage(1).await;
    assert_eq!(
        (
            &usage["calls"],
            &usage["failures"],
            &usage["reserved_tokens"]
        ),
        (&json!(2), &json!(1), &json!(0))
    );
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 0);
}

#[tokio::test]
async fn a_sweep_is_bounded_and_concurrent_sweeps_end_each_reply_once() {
    let parlor = Parlor::start().await;
    for number in 0..230 {
        let chat = parlor.open(COACH, &number.to_string()).await;
        parlor.begin_and_die(COACH, chat, "你好", "说").await;
        sqlx::query("update biz.ai_usage_daily set tokens = 0")
            .execute(&parlor.db)
            .await
            .unwrap();
        parlor.sum_up_usage_days().await;
        if number % 40 == 0 {
            // Otherwise the budget would be used up.
            sqlx::query("update biz.ai_budgets set daily_limit = daily_limit + 100000")
                .execute(&parlor.db)
                .await
                .unwrap();
        }
    }
    let both = tokio::join!(sweep(&parlor.db, 90), sweep(&parlor.db, 90));
    let mut ended = both.0.unwrap().replies + both.1.unwrap().replies;
    assert!((200..=230).contains(&ended), "{ended}");
    ended += sweep(&parlor.db, 90).await.unwrap().replies;
    assert_eq!(ended, 230);
    let usage = parlor.usage(1).await;
    assert_eq!(
        (&usage["calls"], &usage["tokens"], &usage["reserved_tokens"]),
        (&json!(230), &json!(460_460), &json!(0))
    );
}

#[tokio::test]
async fn a_second_concurrent_sweep_returns_without_waiting() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.begin_and_die(COACH, chat, "你好", "说").await;
    let mut other = parlor.db.acquire().await.unwrap();
    other.execute("begin").await.unwrap();
    let first: bool = sqlx::query_scalar("select take_sweep_lock()")
        .fetch_one(&mut *other)
        .await
        .unwrap();
    assert!(first);
    assert_eq!(sweep(&parlor.db, 90).await.unwrap(), Swept::default());
    other.execute("rollback").await.unwrap();
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 1);
}

/// The months that have a partition.
async fn months(parlor: &Parlor) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'biz'::regnamespace and relispartition and relkind = 'r' and relname ~ '[0-9]$' order by 1",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn monthly_partitions_are_created_ahead_and_dropped_when_old() {
    let parlor = Parlor::start().await;
    let ahead = months(&parlor).await;
    // The schedule was stopped for a while: there are old runs in a partition of their own.
    let drop_all: Vec<String> = ahead
        .iter()
        .map(|name| format!("drop table biz.{name}"))
        .collect();
    for drop in drop_all {
        sqlx::query(AssertSqlSafe(drop))
            .execute(&parlor.db)
            .await
            .unwrap();
    }
    for month in ["202301", "202302"] {
        let first = format!("{}-{}-01", &month[..4], &month[4..]);
        sqlx::query(AssertSqlSafe(format!(
            "create table biz.ai_run_logs_{month} partition of biz.ai_run_logs
             for values from ('{first} 00:00Z') to (timestamptz '{first} 00:00Z' + interval '1 month')"
        )))
        .execute(&parlor.db)
        .await
        .unwrap();
    }
    // Without a partition of this month, the run goes to the default partition and is moved later.
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "你好").await.ok();
    let run = parlor.last_run().await;

    let first = sweep(&parlor.db, 90).await.unwrap();
    assert_eq!((first.partitions_made, first.partitions_dropped), (3, 1));
    assert_eq!(parlor.last_run().await, run);
    let left: i64 = sqlx::query_scalar("select count(*) from biz.ai_run_logs_default")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(left, 0);
    assert!(
        months(&parlor)
            .await
            .contains(&"ai_run_logs_202302".to_owned())
    );
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().partitions_dropped, 1);
    assert_eq!(sweep(&parlor.db, 90).await.unwrap(), Swept::default());
    assert_eq!(months(&parlor).await, ahead);
    parlor.send(COACH, chat, "还在").await.ok();
}

#[tokio::test]
async fn a_month_is_kept_while_one_of_its_runs_is_within_retention() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "do $$ declare v_month date := date_trunc('month', now() at time zone 'UTC' - interval '1 month'); begin
             execute format('create table biz.ai_run_logs_%s partition of biz.ai_run_logs for values from (%L) to (%L)',
                 to_char(v_month, 'YYYYMM'), v_month::timestamp at time zone 'UTC',
                 (v_month + interval '1 month') at time zone 'UTC'); end $$",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    assert_eq!(sweep(&parlor.db, 31).await.unwrap().partitions_dropped, 0);
}

#[tokio::test]
async fn a_partition_in_use_is_skipped_until_the_next_sweep() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "create table biz.ai_run_logs_202301 partition of biz.ai_run_logs
         for values from ('2023-01-01 00:00Z') to ('2023-02-01 00:00Z')",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let mut reader = parlor.db.acquire().await.unwrap();
    reader
        .execute("begin; select count(*) from biz.ai_run_logs")
        .await
        .unwrap();
    assert_eq!(sweep(&parlor.db, 90).await.unwrap(), Swept::default());
    reader.execute("rollback").await.unwrap();
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().partitions_dropped, 1);
}

#[tokio::test]
async fn the_sweep_function_reports_its_changes() {
    let cloud = Cloud::start().await;
    let chat = cloud.parlor.open(COACH, "t").await;
    cloud.parlor.begin_and_die(COACH, chat, "你好", "说").await;
    let report = cloud.report("sweep", &recorded("schedule")).await;
    let swept = Swept {
        replies: 1,
        ..Swept::default()
    };
    assert_eq!(report, json!(swept));
    let by_hand = cloud.report("sweep", &json!({})).await;
    assert_eq!(by_hand, json!(Swept::default()));
    let metric = cloud
        .logged("sweep", |line| line.get("_aws").map(|_| line.clone()))
        .await;
    assert_eq!(
        (&metric["Swept"], &metric["what"]),
        (&json!(1), &json!("replies"))
    );
    // The second sweep did nothing and logged nothing. The first one logged only what it did.
    let lines = cloud.emulator.logs("sweep").unwrap();
    let finished: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("sweep finished"))
        .collect();
    assert_eq!(finished.len(), 1, "{finished:?}");
    assert!(finished[0].contains("\"replies\":1"), "{finished:?}");
    assert!(!finished[0].contains("\"jobs\""), "{finished:?}");
}

#[tokio::test]
async fn a_sweep_skips_locked_conversations() {
    let parlor = Parlor::start().await;
    let mut chats = Vec::new();
    for context in ["a", "b", "c"] {
        let chat = parlor.open(COACH, context).await;
        parlor.begin_and_die(COACH, chat, "你好", "说到一半").await;
        chats.push(chat);
    }
    // Another message locks the conversation and then waits for the usage row that the sweep has
    // updated.
    let mut other = parlor.db.acquire().await.unwrap();
    other.execute("begin").await.unwrap();
    sqlx::query("select from biz.ai_conversations where id = $1 for no key update")
        .bind(chats[1])
        .execute(&mut *other)
        .await
        .unwrap();
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 2);
    other.execute("rollback").await.unwrap();
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 1);
}

#[tokio::test]
async fn a_failed_step_does_not_stop_the_sweep() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.begin_and_die(COACH, chat, "你好", "说到一半").await;
    for broken in [
        "function sweep_replies",
        "function sweep_jobs",
        "table biz.ai_cache",
    ] {
        let name = broken.rsplit(['.', ' ']).next().unwrap();
        let statement = format!("alter {broken} rename to gone_{name}");
        parlor.db.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let months = months(&parlor).await;
    parlor
        .db
        .execute(AssertSqlSafe(format!(
            "drop table biz.{}",
            months.last().unwrap()
        )))
        .await
        .unwrap();
    assert!(sweep(&parlor.db, 90).await.is_err());
    assert_eq!(self::months(&parlor).await, months);
}

#[tokio::test]
async fn one_bad_row_stops_no_sweep() {
    let parlor = Parlor::start().await;
    // The usage of site 1 is less than the reservation of its reply, so the reply cannot be ended.
    for user in [COACH, OTHER_SITE] {
        let chat = parlor.open(user, "t").await;
        parlor.begin_and_die(user, chat, "你好", "说到一半").await;
    }
    for statement in [
        "update biz.ai_usage_daily set reserved_tokens = 0 where site_id = 1",
        // A reply job whose message does not exist, and a good job.
        "insert into biz.ai_trigger_jobs
             (site_id, event_type, connector_type, trigger_type, app_chain, status, attempts, message_id, lease_until)
         values (1, 'chat.session_message', 'session_api', 'session', '{app1_chat}', 'running', 3, 4711, now() - interval '2 s'),
                (1, 'note.created', 'admin_api', 'event', '{app3_clue}', 'running', 1, null, now() - interval '1 s')",
        // Runs that no worker settled, of both sites. Only site 2 has room to settle its run.
        "insert into biz.ai_run_logs (site_id, app_type, trigger_type, status, reserved_tokens, local_day, created_at)
         select site_id, app_type, 'event', 'running', 2000, day, now() - interval '1 hour' from biz.ai_usage_daily order by site_id",
        "update biz.ai_usage_daily set reserved_tokens = 4002 where site_id = 2",
        "update biz.ai_usage_days set tokens = 4002 where site_id = 2",
        "insert into biz.ai_cache (site_id, cache_type, target_id, status, triggered_by, business_date, valid_days, result_json, expires_at)
         select 1, 'app3_clue', 'member:' || n, 'valid', 'event', current_date, 7, '{}', now() - interval '1 s'
         from generate_series(1, 5) n",
        "alter table biz.ai_cache add check (status <> 'expired' or target_id <> 'member:2') not valid",
        "insert into biz.ai_batches (site_id, app_types, member_ids, estimated_calls, estimated_tokens, expires_at, created_by)
         select 1, '{app3_clue}', '{7}', 1, 2000, now() - interval '2 days', 7 from generate_series(1, 3)",
        "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, batch_id)
         select 1, 'batch', 'batch', 'batch', '{app3_clue}', min(id::text)::uuid from biz.ai_batches",
    ] {
        parlor.execute(statement).await;
    }
    let expected = Swept {
        replies: 1,
        jobs: 1,
        runs: 1,
        cache_expired: 4,
        estimates: 2,
        skipped: 5,
        ..Swept::default()
    };
    assert_eq!(sweep(&parlor.db, 90).await.unwrap(), expected);
    let again = Swept {
        skipped: 5,
        ..Swept::default()
    };
    assert_eq!(sweep(&parlor.db, 90).await.unwrap(), again);
}
