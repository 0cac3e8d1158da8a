//! The run log for admins: filters, pages, details and CSV export.

use std::collections::{BTreeMap, BTreeSet};

use axum::{body::Body, http::Request};
use common::governance::{
    apps::App,
    runs::{Status, Trigger},
};
use http_body_util::BodyExt as _;
use local::gateway;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::harness::{
    cloud::{Cloud, recorded_of},
    parlor::{Answer, COACH, Parlor, token},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const PATH: &str = "/api/admin/ai/run-logs";

/// Inserts runs of site 1, one for each app, status and trigger, a second apart; and one run of
/// site 2.
async fn one_of_each(parlor: &Parlor) {
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, app_type, status, trigger_type, local_day, created_at)
         select 1, app, status, via, date '2026-03-05', timestamptz '2026-03-05T01:00:00Z' + row_number() over () * interval '1 second'
         from unnest($1::text[]) app, unnest($2::text[]) status, unnest($3::text[]) via
         union all select 2, 'app1_chat', 'success', 'chat', date '2026-03-05', timestamptz '2026-03-05T01:00:00Z'",
    )
    .bind(App::ALL.map(App::name))
    .bind(Status::ALL.map(Status::name))
    .bind(Trigger::ALL.map(Trigger::name))
    .execute(&parlor.db)
    .await
    .unwrap();
}

/// Inserts `many` successful chat runs of a site, each `step` after the previous one.
async fn chats(parlor: &Parlor, site: i64, many: i64, at: &str, step: &str) {
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, app_type, status, trigger_type, local_day, created_at, member_id)
         select $1, 'app1_chat', 'success', 'chat', $3::timestamptz::date, $3::timestamptz + n * $4::interval, n
         from generate_series(1, $2) n",
    )
    .bind(site)
    .bind(many)
    .bind(at)
    .bind(step)
    .execute(&parlor.db)
    .await
    .unwrap();
}

async fn list(parlor: &Parlor, user: i64, query: &str) -> Value {
    parlor
        .get(user, &format!("{PATH}?{query}"))
        .await
        .ok()
        .clone()
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

fn ids(page: &Value) -> Vec<i64> {
    let ids = items(page).iter().map(|item| item["id"].as_i64());
    ids.map(Option::unwrap).collect()
}

/// All ids, read page by page with cursors.
async fn walk(parlor: &Parlor, user: i64, query: &str) -> Vec<i64> {
    let mut page = list(parlor, user, query).await;
    let mut walked = ids(&page);
    while let Some(cursor) = page["next_cursor"].as_str() {
        page = list(parlor, user, &format!("{query}&cursor={cursor}")).await;
        walked.extend(ids(&page));
    }
    walked
}

#[tokio::test]
async fn filters_of_runs_combine() {
    let parlor = Parlor::start().await;
    one_of_each(&parlor).await;
    let apps = App::ALL.map(App::name);
    let statuses = Status::ALL.map(Status::name);
    let triggers = Trigger::ALL.map(Trigger::name);
    let columns = [
        ("app_type", &apps[..]),
        ("status", &statuses[..]),
        ("trigger_type", &triggers[..]),
    ];
    let all: usize = columns.iter().map(|(_, words)| words.len()).product();
    assert_eq!(list(&parlor, SITE_ADMIN, "").await["total"], all);
    for (name, words) in columns {
        for word in words {
            let page = list(&parlor, SITE_ADMIN, &format!("{name}={word}&page_size=100")).await;
            // Each value matches an equal part of the runs, so that together they match all.
            assert_eq!(page["total"], all / words.len(), "{word}");
            assert_eq!(page["total_is_estimate"], false);
            assert_eq!(items(&page).len(), all / words.len());
            assert!(
                items(&page)
                    .iter()
                    .all(|item| item[name] == *word && item["site_id"] == 1)
            );
        }
    }
    for (query, total) in [
        ("app_type=app3_clue&status=failed", triggers.len()),
        ("app_type=app3_clue&trigger_type=manual", statuses.len()),
        ("status=timeout&trigger_type=batch", apps.len()),
        ("app_type=app1_chat&status=success&trigger_type=chat", 1),
        ("site_id=1&app_type=app1_chat&date_from=2026-03-06", 0),
    ] {
        let page = list(&parlor, SITE_ADMIN, query).await;
        assert_eq!(
            (&page["total"], items(&page).len()),
            (&json!(total), total),
            "{query}"
        );
        for item in items(&page) {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
            assert!(
                pairs.clone().all(|(name, word)| item[name] == *word),
                "{item}"
            );
        }
    }
}

/// Inserts runs with the ids 1 to 8, a second apart. The seventh is of site 2.
async fn varied(parlor: &Parlor) {
    sqlx::query(
        "insert into biz.ai_run_logs (id, site_id, app_type, status, trigger_type, local_day, created_at, user_id, member_id, bot_id,
                                      error_code, prompt_version, model_id, latency_ms)
         select id, site, app, status, via, date '2026-03-05', timestamptz '2026-03-05T01:00:00Z' + id * interval '1 second',
                person, member, bot, error, prompt, model, ms
         from (values
             (1, 1, 'app1_chat', 'success', 'chat', 1001, null::bigint, null::uuid, null, 'app1_chat/1', 'qwen-plus', 900),
             (2, 1, 'app1_chat', 'success', 'session', 1001, null, $1, null, 'app1_chat/2', 'qwen-max', 12000),
             (3, 1, 'app1_chat', 'failed', 'session', 1002, null, $1, 'upstream_error', 'app1_chat/2', null, 30000),
             (4, 1, 'app3_clue', 'failed', 'event', null, 10001, null, 'upstream_error', 'app3_clue/1', null, 50),
             (5, 1, 'app3_clue', 'timeout', 'batch', null, 10002, null, 'upstream_timeout', 'app3_clue/1', 'qwen-plus', 60000),
             (6, 1, 'app1_chat', 'running', 'chat', 1002, 10001, null, null, 'app1_chat/2', null, null),
             (7, 2, 'app1_chat', 'success', 'chat', 1001, 10001, $1, 'upstream_error', 'app1_chat/2', 'qwen-max', 60000),
             (8, 1, 'app1_chat', 'stopped', 'chat', 1001, 10002, null, null, 'app1_chat/2', 'qwen-plus', 9999)
         ) r (id, site, app, status, via, person, member, bot, error, prompt, model, ms)",
    )
    .bind(uuid::Uuid::from_u128(7))
    .execute(&parlor.db)
    .await
    .unwrap();
}

#[tokio::test]
async fn each_filter_selects_its_runs_alone_and_with_others() {
    let parlor = Parlor::start().await;
    varied(&parlor).await;
    let bot = uuid::Uuid::from_u128(7);
    let cases: [(String, &[i64], &[i64]); 18] = [
        // Runs of site 1, and those that an admin of all sites sees besides.
        ("user_id=1001".into(), &[8, 2, 1], &[7]),
        ("user_id=1".into(), &[], &[]),
        ("member_id=10001".into(), &[6, 4], &[7]),
        (format!("bot_id={bot}"), &[3, 2], &[7]),
        ("error_code=upstream_error".into(), &[4, 3], &[7]),
        ("error_code=UPSTREAM_ERROR".into(), &[], &[]),
        ("prompt_version=app1_chat/2".into(), &[8, 6, 3, 2], &[7]),
        ("prompt_version=app1_chat%2F1".into(), &[1], &[]),
        ("model_id=qwen-max".into(), &[2], &[7]),
        ("min_latency_ms=0".into(), &[8, 5, 4, 3, 2, 1], &[7]),
        ("min_latency_ms=9999".into(), &[8, 5, 3, 2], &[7]),
        ("min_latency_ms=10000".into(), &[5, 3, 2], &[7]),
        ("min_latency_ms=30001&app_type=app3_clue".into(), &[5], &[]),
        (
            "user_id=1001&model_id=qwen-plus&status=stopped".into(),
            &[8],
            &[],
        ),
        (
            format!("bot_id={bot}&error_code=upstream_error&prompt_version=app1_chat/2"),
            &[3],
            &[7],
        ),
        ("member_id=10002&trigger_type=batch".into(), &[5], &[]),
        ("member_id=10001&date_from=2026-03-06".into(), &[], &[]),
        ("user_id=1001&date_to=2026-03-05".into(), &[8, 2, 1], &[7]),
    ];
    for (query, own, others) in &cases {
        for user in [SITE_ADMIN, PLATFORM_ADMIN] {
            let mut expected = own.to_vec();
            if user == PLATFORM_ADMIN {
                expected.extend(*others);
                expected.sort_unstable_by(|a, b| b.cmp(a));
            }
            let page = list(&parlor, user, query).await;
            assert_eq!(ids(&page), expected, "{user} {query}");
            assert_eq!(page["total"], expected.len(), "{user} {query}");
            assert_eq!(page["total_is_estimate"], false, "{user} {query}");
            assert_eq!(page["next_cursor"], Value::Null, "{user} {query}");
            assert_eq!(
                walk(&parlor, user, &format!("{query}&page_size=1")).await,
                expected,
                "{user} {query}"
            );
        }
    }
    let csv = format!("bot_id={bot}&min_latency_ms=20000&date_from=2026-03-05&date_to=2026-03-05");
    let (_, csv) = table(&parlor, PLATFORM_ADMIN, &csv).await;
    let found: Vec<String> = rows(&csv).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(found, ["7", "3"]);
}

#[tokio::test]
async fn a_rare_combination_is_found_by_cursor_after_pages_without_runs() {
    let parlor = Parlor::start().await;
    // More runs of the user than a page of the list and of the CSV reads. Three match.
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, user_id, app_type, status, trigger_type, local_day, created_at)
         select 1 + n % 2, 1001, 'app1_chat', case when n in (3, 4, 24999) then 'failed' else 'success' end, 'chat', '2026-03-05',
                timestamptz '2026-03-05T01:00:00Z' + n * interval '1 second'
         from generate_series(1, 25000) n",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let query = "user_id=1001&status=failed";
    let order = "select array_agg(id order by created_at desc) from biz.ai_run_logs where status = 'failed' and ($1 is null or site_id = $1)";
    for (user, site, newest) in [(SITE_ADMIN, Some(1_i64), 0), (PLATFORM_ADMIN, None, 1)] {
        let expected: Vec<i64> = sqlx::query_scalar(order)
            .bind(site)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        let first = list(&parlor, user, query).await;
        assert_eq!(ids(&first), expected[..newest]);
        assert_eq!(first["total"], newest);
        assert_eq!(first["total_is_estimate"], true);
        assert!(first["next_cursor"].is_string());
        assert_eq!(walk(&parlor, user, query).await, expected);
        let (_, csv) = table(&parlor, user, &format!("{query}&{MARCH}")).await;
        let found: Vec<i64> = rows(&csv)
            .iter()
            .map(|row| row["id"].parse().unwrap())
            .collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn an_item_has_the_documented_fields_and_no_text() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.settled().await;
    let page = list(&parlor, SITE_ADMIN, "").await;
    let item = items(&page)[0].as_object().unwrap();
    let run = parlor.last_run().await;
    let names = [
        "app_type",
        "bot_id",
        "cost",
        "created_at",
        "finish_reason",
        "first_token_ms",
        "id",
        "latency_ms",
        "member_id",
        "model_id",
        "refusals",
        "site_id",
        "status",
        "tokens_charged",
        "tokens_used",
        "trigger_type",
        "user_id",
    ];
    let found: BTreeSet<&str> = item.keys().map(String::as_str).collect();
    assert_eq!(found, BTreeSet::from(names));
    assert_eq!(item["tokens_charged"], item["tokens_used"]);
    let stored = |name: &&&str| !matches!(**name, "created_at" | "tokens_charged");
    for name in names.iter().filter(stored) {
        assert_eq!(item[*name], run[*name], "{name}");
    }
    assert!(item["tokens_used"].as_i64() > Some(0));
    assert!(item["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_cursor_lists_each_run_once_even_at_one_instant() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 45, "2026-03-05T01:00:00Z", "0").await;
    chats(&parlor, 2, 30, "2026-03-05T01:00:00Z", "0").await;
    chats(
        &parlor,
        1,
        40,
        "2026-03-05T02:00:00.000001Z",
        "1 microsecond",
    )
    .await;
    let order = "select array_agg(id order by created_at desc, id desc) from biz.ai_run_logs where $1 is null or site_id = $1";
    for (user, site) in [(SITE_ADMIN, Some(1_i64)), (PLATFORM_ADMIN, None)] {
        let expected: Vec<i64> = sqlx::query_scalar(order)
            .bind(site)
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        for query in [
            "page_size=7",
            "page_size=9&trigger_type=chat",
            "page_size=45&status=success&app_type=app1_chat",
        ] {
            assert_eq!(walk(&parlor, user, query).await, expected, "{query}");
        }
        // Page numbers return the same pages.
        let mut numbered = Vec::new();
        for page in 1..=20 {
            let page = list(
                &parlor,
                user,
                &format!("page_size=7&status=success&page={page}"),
            )
            .await;
            assert_eq!(page["total"], expected.len());
            numbered.extend(ids(&page));
        }
        assert_eq!(numbered, expected);
    }
    let beyond = list(&parlor, SITE_ADMIN, "page=100").await;
    assert_eq!(
        (
            items(&beyond).len(),
            &beyond["total"],
            &beyond["next_cursor"]
        ),
        (0, &json!(85), &Value::Null)
    );
}

#[tokio::test]
async fn a_full_last_page_has_no_next_one() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 20, "2026-03-05T01:00:00Z", "1 second").await;
    let page = list(&parlor, SITE_ADMIN, "").await;
    assert_eq!(
        (items(&page).len(), &page["page_size"], &page["next_cursor"]),
        (20, &json!(20), &Value::Null)
    );
}

#[tokio::test]
async fn totals_above_a_thousand_come_from_counters_or_are_bounded() {
    let parlor = Parlor::start().await;
    let bot = uuid::Uuid::from_u128(7);
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, user_id, bot_id, model_id, app_type, status, trigger_type, local_day, created_at)
         select 1, 1001, $1, 'qwen-plus', 'app1_chat', 'success', 'session', '2026-03-05', timestamptz '2026-03-05T01:00:00Z' + n * interval '1 second'
         from generate_series(1, 1001) n",
    )
    .bind(bot)
    .execute(&parlor.db)
    .await
    .unwrap();
    sqlx::query(
        "insert into biz.ai_usage_daily (site_id, day, app_type, calls, successes)
         select 1, date '2026-03-05' + n, app, 1500, 1200 from generate_series(0, 1) n, unnest('{app1_chat,app3_clue}'::text[]) app",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    sqlx::query(
        "insert into biz.ai_usage_details (site_id, user_id, day, bot_id, model_id, calls, successes, failures, tokens_in, tokens_out, tokens, cost, unpriced_calls)
         select 1, person, date '2026-03-05' + n, $1, model, 600, 0, 0, 0, 0, 0, 0, 0
         from generate_series(0, 1) n, unnest('{1001,1002}'::bigint[]) person, unnest('{qwen-plus,qwen-max}'::text[]) model",
    )
    .bind(bot)
    .execute(&parlor.db)
    .await
    .unwrap();
    for (query, total) in [
        (String::new(), 6_000),
        ("app_type=app1_chat".into(), 3_000),
        ("app_type=app1_chat&status=success".into(), 2_400),
        ("app_type=app1_chat&date_to=2026-03-05".into(), 1_500),
        ("user_id=1001".into(), 2_400),
        ("user_id=1001&date_to=2026-03-05".into(), 1_200),
        (format!("bot_id={bot}"), 4_800),
        ("model_id=qwen-plus".into(), 2_400),
        (
            format!("user_id=1001&bot_id={bot}&model_id=qwen-plus"),
            1_200,
        ),
        // The counters have no triggers, and no parts of a day.
        ("trigger_type=session".into(), 1_000),
        (
            "app_type=app1_chat&date_from=2026-03-05T01:00:00Z".into(),
            1_000,
        ),
        ("user_id=1001&status=success".into(), 1_000),
    ] {
        let page = list(&parlor, SITE_ADMIN, &query).await;
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(page["total_is_estimate"], true, "{query}");
    }
    let page = list(&parlor, SITE_ADMIN, "date_from=2026-03-05T01:00:02Z").await;
    assert_eq!(
        (&page["total"], &page["total_is_estimate"]),
        (&json!(1_000), &json!(false))
    );
}

#[tokio::test]
async fn pages_after_ten_thousand_runs_need_a_cursor() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 10_050, "2026-03-05T01:00:00Z", "1 second").await;
    let all: Vec<i64> =
        sqlx::query_scalar("select id from biz.ai_run_logs order by created_at desc, id desc")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
    for filter in ["", "&status=success"] {
        let last = list(
            &parlor,
            SITE_ADMIN,
            &format!("page_size=100&page=100{filter}"),
        )
        .await;
        assert_eq!(ids(&last), all[9_900..10_000]);
        let cursor = last["next_cursor"].as_str().unwrap();
        let rest = list(
            &parlor,
            SITE_ADMIN,
            &format!("page_size=100{filter}&cursor={cursor}"),
        )
        .await;
        assert_eq!(
            (ids(&rest), &rest["next_cursor"]),
            (all[10_000..].to_vec(), &Value::Null)
        );
        let refused = parlor
            .get(
                SITE_ADMIN,
                &format!("{PATH}?page_size=100&page=101{filter}"),
            )
            .await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            "page"
        );
    }
}

#[tokio::test]
async fn days_are_local_to_the_site_and_timestamps_are_exact() {
    let parlor = Parlor::start().await;
    sqlx::query("update biz.sites set timezone = 'America/New_York' where id = 2")
        .execute(&parlor.db)
        .await
        .unwrap();
    // 00:30 on March 5 in Shanghai, and in New York.
    for (site, at) in [
        (1, "2026-03-04T16:30:00Z"),
        (2, "2026-03-04T16:30:00Z"),
        (2, "2026-03-05T05:30:00Z"),
    ] {
        chats(&parlor, site, 1, at, "0").await;
    }
    for (user, query, total) in [
        (SITE_ADMIN, "date_from=2026-03-05&date_to=2026-03-05", 1),
        (SITE_ADMIN, "date_from=2026-03-05", 1),
        (SITE_ADMIN, "date_to=2026-03-04", 0),
        (SITE_ADMIN, "date_from=2026-03-06", 0),
        (
            OTHER_SITE_ADMIN,
            "date_from=2026-03-04&date_to=2026-03-04",
            1,
        ),
        (
            OTHER_SITE_ADMIN,
            "date_from=2026-03-05&date_to=2026-03-05",
            1,
        ),
        (
            OTHER_SITE_ADMIN,
            "date_from=2026-03-05&date_to=2026-03-05&trigger_type=chat",
            1,
        ),
        // A query over all sites uses the days of Shanghai.
        (PLATFORM_ADMIN, "date_from=2026-03-05&date_to=2026-03-05", 3),
        (
            PLATFORM_ADMIN,
            "site_id=2&date_from=2026-03-05&date_to=2026-03-05",
            1,
        ),
        (
            PLATFORM_ADMIN,
            "date_from=2026-03-04T16:30:00Z&date_to=2026-03-04T16:30:00Z",
            2,
        ),
        (
            PLATFORM_ADMIN,
            "date_from=2026-03-05T00:30:00.000001%2B08:00",
            1,
        ),
    ] {
        let page = list(&parlor, user, query).await;
        assert_eq!(
            (&page["total"], items(&page).len()),
            (&json!(total), total),
            "{user} {query}"
        );
    }
}

#[tokio::test]
async fn unknown_filters_are_refused_by_field() {
    let parlor = Parlor::start().await;
    for (query, field) in [
        ("app_type=app9", "app_type"),
        ("app_type=", "app_type"),
        ("status=complete", "status"),
        ("status=failed&status=failed", "status"),
        ("trigger_type=%00", "trigger_type"),
        ("user_id=0", "user_id"),
        ("user_id=1001&user_id=1001", "user_id"),
        ("member_id=x", "member_id"),
        ("bot_id=7", "bot_id"),
        ("error_code=", "error_code"),
        ("prompt_version=%FF", "prompt_version"),
        ("model_id=%00", "model_id"),
        (&format!("model_id={}", "x".repeat(101)), "model_id"),
        ("min_latency_ms=-1", "min_latency_ms"),
        ("min_latency_ms=1.5", "min_latency_ms"),
        ("site_id=x", "site_id"),
        ("date_from=yesterday", "date_from"),
        ("date_from=2026-03-05&date_to=2026-03-04", "date_to"),
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("page_size=101", "page_size"),
        ("cursor=abc", "cursor"),
    ] {
        let refused = parlor.get(SITE_ADMIN, &format!("{PATH}?{query}")).await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    // A cursor is valid only with its filters.
    chats(&parlor, 1, 3, "2026-03-05T01:00:00Z", "1 second").await;
    let page = list(&parlor, SITE_ADMIN, "page_size=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for query in [
        "status=success",
        "trigger_type=chat",
        "app_type=app1_chat",
        "date_from=2026-03-05",
        "user_id=1",
        "member_id=1",
        "bot_id=00000000-0000-0000-0000-000000000007",
        "error_code=x",
        "prompt_version=x",
        "model_id=x",
        "min_latency_ms=1",
    ] {
        let refused = parlor
            .get(SITE_ADMIN, &format!("{PATH}?{query}&cursor={cursor}"))
            .await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            "cursor",
            "{query}"
        );
    }
    let refused = parlor.get(SITE_ADMIN, &format!("{PATH}/x")).await;
    assert_eq!(
        refused.refused_at(PATH, 422, "invalid_request")["field"],
        "id"
    );
}

#[tokio::test]
async fn a_site_admin_sees_its_own_runs_and_a_platform_admin_all() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 2, "2026-03-05T01:00:00Z", "1 second").await;
    chats(&parlor, 2, 3, "2026-03-05T01:00:00Z", "1 second").await;
    for (user, query, total) in [
        (SITE_ADMIN, "", 2),
        (SITE_ADMIN, "status=success", 2),
        (OTHER_SITE_ADMIN, "site_id=2", 3),
        (PLATFORM_ADMIN, "", 5),
        (PLATFORM_ADMIN, "status=success", 5),
        (PLATFORM_ADMIN, "site_id=2", 3),
        (PLATFORM_ADMIN, "site_id=4711", 0),
    ] {
        assert_eq!(
            list(&parlor, user, query).await["total"],
            total,
            "{user} {query}"
        );
    }
    let refused = parlor
        .get(SITE_ADMIN, &format!("{PATH}?site_id=2&status=success"))
        .await;
    refused.refused_at(PATH, 403, "forbidden");
}

#[tokio::test]
async fn run_details_have_prompt_and_response() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let question = "[[sim:echo]]会员张三的电话是 13800138000";
    parlor.send(COACH, chat, question).await.ok();
    parlor.settled().await;
    let run = parlor.last_run().await;
    for user in [SITE_ADMIN, PLATFORM_ADMIN] {
        let answer = parlor.get(user, &format!("{PATH}/{}", run["id"])).await;
        let details = answer.ok().as_object().unwrap();
        assert_eq!(details.len(), 31);
        assert_eq!(details["tokens_charged"], run["tokens_used"]);
        let stored =
            |name: &str| !name.ends_with("_at") && !["tokens_charged", "models"].contains(&name);
        for (name, value) in details.iter().filter(|(name, _)| stored(name)) {
            assert_eq!(value, &run[name], "{name}");
        }
        assert!(
            details["request_prompt"]
                .as_str()
                .unwrap()
                .contains("13800138000")
        );
        assert!(details["response_text"].as_str().unwrap().contains("张三"));
        assert!(details["finished_at"].as_str() >= details["created_at"].as_str());
        let mut models = run["models"].clone();
        models[0]["cost"] = Value::Null;
        assert_eq!(details["models"], models);
        assert_eq!(details["user_id"], COACH);
        assert!(details["tokens_in"].is_i64() && details["upstream_request_id"].is_string());
    }
}

#[tokio::test]
async fn run_details_of_another_site_are_a_404() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.settled().await;
    let id = parlor.last_run().await["id"].clone();
    for (user, path) in [
        (OTHER_SITE_ADMIN, format!("{PATH}/{id}")),
        (PLATFORM_ADMIN, format!("{PATH}/{id}?site_id=2")),
        (SITE_ADMIN, format!("{PATH}/{}", i64::MAX)),
    ] {
        parlor
            .get(user, &path)
            .await
            .refused_at(PATH, 404, "not_found");
    }
    let refused = parlor
        .get(OTHER_SITE_ADMIN, &format!("{PATH}/{id}?site_id=1"))
        .await;
    refused.refused_at(PATH, 403, "forbidden");
}

/// The CSV of a query: its headers, and its text without the byte order mark.
async fn table(parlor: &Parlor, user: i64, query: &str) -> (HeaderMap, String) {
    let request = parlor.request_as(user, "GET", &format!("{PATH}?{query}"));
    let response = request.header("accept", "text/csv").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let text = String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap();
    (headers, text.strip_prefix('\u{feff}').unwrap().to_owned())
}

type Row = BTreeMap<String, String>;

fn rows(table: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let records = reader.records().map(|record| {
        let record = record.unwrap();
        columns
            .iter()
            .zip(record.iter())
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect()
    });
    records.collect()
}

const MARCH: &str = "date_from=2026-03-01&date_to=2026-03-31";

#[tokio::test]
async fn a_csv_has_every_run_once_over_many_pages() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 1_500, "2026-03-05T01:00:00Z", "0").await;
    chats(&parlor, 1, 1_500, "2026-03-06T01:00:00Z", "1 second").await;
    chats(&parlor, 2, 7, "2026-03-06T01:00:00Z", "1 second").await;
    chats(&parlor, 1, 5, "2026-04-06T01:00:00Z", "1 second").await;
    let order = "select r.id::text from biz.ai_run_logs r where created_at < '2026-04-01' and ($1 is null or site_id = $1) order by r.created_at desc, r.id desc";
    for (user, site, filter) in [
        (SITE_ADMIN, Some(1_i64), ""),
        (SITE_ADMIN, Some(1), "&status=success"),
        (OTHER_SITE_ADMIN, Some(2), ""),
        (PLATFORM_ADMIN, None, "&trigger_type=chat"),
    ] {
        let expected: Vec<String> = sqlx::query_scalar(order)
            .bind(site)
            .fetch_all(&parlor.db)
            .await
            .unwrap();
        let (headers, table) = table(&parlor, user, &format!("{MARCH}{filter}")).await;
        assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
        assert_eq!(
            headers["content-disposition"],
            "attachment; filename=\"run-logs.csv\""
        );
        assert_eq!(headers["vary"], "accept");
        let found: Vec<String> = rows(&table).iter().map(|row| row["id"].clone()).collect();
        assert!(found == expected, "{filter}: {found:?}");
    }
    let (_, none) = table(
        &parlor,
        SITE_ADMIN,
        "date_from=2020-03-01&date_to=2020-03-31",
    )
    .await;
    assert_eq!(
        none,
        "id,app_type,trigger_type,member_id,tokens_used,tokens_charged,latency_ms,first_token_ms,status,refusals,site_id,created_at,error_code,error_message,user_id,bot_id,model_id,finish_reason,cost\r\n"
    );
}

#[tokio::test]
async fn a_csv_has_the_listed_fields_and_errors_but_no_formulas() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, app_type, status, trigger_type, local_day, created_at, alert_status, error_code, error_message)
         values (1, 'app3_clue', 'failed', 'event', '2026-03-05', '2026-03-05T01:00:00Z', 'pending', 'upstream_error', $1)",
    )
    .bind("=cmd|'/c calc',\"超时\"\n第二行")
    .execute(&parlor.db)
    .await
    .unwrap();
    let (_, table) = table(&parlor, SITE_ADMIN, MARCH).await;
    let rows = rows(&table);
    let page = list(&parlor, SITE_ADMIN, MARCH).await;
    let (row, item) = (&rows[0], &items(&page)[0]);
    assert_eq!(rows.len(), 1);
    for (name, value) in item
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "created_at")
    {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(row[name], text.replace("null", ""), "{name}");
    }
    assert_eq!(row["created_at"], "2026-03-05T01:00:00.000000Z");
    assert_eq!(row["error_code"], "upstream_error");
    assert_eq!(row["error_message"], "'=cmd|'/c calc',\"超时\"\n第二行");
}

#[tokio::test]
async fn a_csv_needs_a_bounded_date_range_and_no_page() {
    let parlor = Parlor::start().await;
    for (query, field) in [
        ("", "date_from"),
        ("date_to=2026-03-31", "date_from"),
        ("date_from=2026-03-01", "date_to"),
        ("date_from=2026-03-01&date_to=2026-04-01", "date_to"),
        ("date_from=2026-03-01&date_to=2026-03-31&page=1", "page"),
        (
            "date_from=2026-03-01&date_to=2026-03-31&page_size=20",
            "page_size",
        ),
        (
            "date_from=2026-03-01&date_to=2026-03-31&pageSize=20",
            "pageSize",
        ),
        ("date_from=2026-03-01&date_to=2026-03-31&cursor=x", "cursor"),
        ("date_from=2026-03-01&date_to=2026-03-31&status=x", "status"),
    ] {
        let request = parlor.request_as(SITE_ADMIN, "GET", &format!("{PATH}?{query}"));
        let refused: Answer =
            crate::harness::parlor::answer(request.header("accept", "text/csv")).await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    let request = parlor.request_as(SITE_ADMIN, "GET", &format!("{PATH}?{MARCH}&site_id=2"));
    let refused = crate::harness::parlor::answer(request.header("accept", "text/csv")).await;
    refused.refused_at(PATH, 403, "forbidden");
}

#[tokio::test]
async fn the_accept_header_chooses_json_or_csv_and_vary_names_it() {
    let parlor = Parlor::start().await;
    for (accept, kind) in [
        ("text/csv", "text/csv; charset=utf-8"),
        (
            "application/json;q=0.5, text/csv",
            "text/csv; charset=utf-8",
        ),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("*/*", "application/json"),
    ] {
        let request = parlor.request_as(SITE_ADMIN, "GET", &format!("{PATH}?{MARCH}"));
        let response = request.header("accept", accept).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], kind, "{accept}");
        assert_eq!(response.headers()["vary"], "accept");
    }
}

#[tokio::test]
async fn a_csv_that_fails_midway_breaks_the_connection() {
    let parlor = Parlor::start().await;
    chats(&parlor, 1, 1_500, "2026-03-05T01:00:00Z", "1 second").await;
    let request = Request::get(format!("{PATH}?{MARCH}"))
        .header("authorization", format!("Bearer {}", token(SITE_ADMIN)))
        .header("accept", "text/csv")
        .body(Body::empty())
        .unwrap();
    let response = gateway::app(&parlor.tools).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    // The header line and the first page.
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    parlor.tools.db.close().await;
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_csv_passes_through_lambda_unchanged() {
    let cloud = Cloud::start().await;
    chats(&cloud.parlor, 1, 2_500, "2026-03-05T01:00:00Z", "1 second").await;
    let event = recorded_of("admin-runs", SITE_ADMIN);
    let response = cloud.response("admin-runs", &event).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/csv; charset=utf-8"
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    assert_eq!(rows(text.strip_prefix('\u{feff}').unwrap()).len(), 2_500);
}
