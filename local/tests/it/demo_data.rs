//! The demo data that `serve` loads into a new database.

use std::sync::Arc;

use common::{governance::apps::App, insights::apps};
use local::demo;
use serde_json::Value;

use crate::harness::{
    database::TestDatabase,
    invariants,
    parlor::{Parlor, Setup},
};

const COACH: i64 = 1001;

/// The number of rows of each table that the history fills, and the sums of the counters.
async fn contents(parlor: &Parlor) -> Value {
    sqlx::query_scalar(
        "select jsonb_build_array(
             (select count(*) from biz.ai_conversations), (select count(*) from biz.ai_messages),
             (select count(*) from biz.ai_trigger_jobs), (select count(*) from biz.ai_batches),
             (select count(*) from biz.ai_cache), (select count(*) from biz.ai_run_logs),
             (select count(*) from biz.ai_feedback), (select count(*) from biz.ai_reports),
             (select count(*) from biz.ai_quotas), (select count(*) from biz.ai_admin_audit),
             (select sum(calls) from biz.ai_usage_details), (select sum(tokens) from biz.ai_usage_days),
             (select sum(listed_conversations) from biz.users))",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}

async fn words(parlor: &Parlor, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query)
        .fetch_all(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_history_keeps_all_invariants_and_is_loaded_once() {
    let database = Arc::new(TestDatabase::with_business().await);
    let parlor = Parlor::start_with(Setup {
        database: Some(database),
        ..Setup::default()
    })
    .await;
    demo::load_history(&parlor.tools.db).await.unwrap();
    invariants::check_jobs(&parlor).await;

    let loaded = contents(&parlor).await;
    demo::load_history(&parlor.tools.db).await.unwrap();
    assert_eq!(contents(&parlor).await, loaded);

    let chats: Vec<i64> = sqlx::query_scalar(
        "select id from (
             select distinct on (m.state) c.id from biz.ai_conversations c
             join biz.ai_messages m on m.conversation_id = c.id and m.role = 'assistant'
             where c.user_id = $1 and c.bot_id is null order by m.state, c.id
         ) each group by id",
    )
    .bind(COACH)
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    for chat in chats {
        invariants::check_conversation(&parlor, COACH, chat).await;
    }

    let results: Vec<(String, Value)> =
        sqlx::query_as("select cache_type, result_json from biz.ai_cache")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
    for (app, result) in results {
        let app = App::parse(&app).unwrap();
        let checked = apps::check(app, &result.to_string());
        assert!(checked.is_ok(), "{app:?}: {result}");
    }

    // Workers leave the waiting jobs alone, so the batch stays half done.
    parlor.work().await;
    assert_eq!(
        words(
            &parlor,
            "select distinct status from biz.ai_trigger_jobs order by 1"
        )
        .await,
        [
            "cancelled",
            "failed",
            "pending",
            "skipped_duplicate",
            "succeeded"
        ]
    );
    assert_eq!(
        words(
            &parlor,
            "select batch_status(b) from biz.ai_batches b order by 1"
        )
        .await,
        ["cancelled", "done", "estimated", "running"]
    );
    assert_eq!(
        words(
            &parlor,
            "select distinct app_type::text from biz.ai_run_logs where status = 'success' order by 1"
        )
        .await
        .len(),
        App::ALL.len()
    );
}
