//! Budgets and runtime contexts, and the audit of their changes.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, Parlor},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const BUDGET: &str = "/api/admin/ai/budget";
const CONTEXT: &str = "/api/admin/ai/runtime-context";
const AUDIT: &str = "/api/admin/ai/audit";

async fn put(
    parlor: &Parlor,
    user: i64,
    path: &str,
    body: &Value,
) -> crate::harness::parlor::Answer {
    crate::harness::parlor::answer(parlor.request_as(user, "PUT", path).json(body)).await
}

async fn audit(parlor: &Parlor, user: i64, query: &str) -> Vec<Value> {
    let page = parlor.get(user, &format!("{AUDIT}{query}")).await;
    page.ok()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_new_budget_applies_to_the_next_call() {
    let parlor = Parlor::start().await;
    let set = put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &json!({ "daily_limit": 1, "monthly_limit": 50_000 }),
    )
    .await;
    let returned = parlor.get(SITE_ADMIN, BUDGET).await;
    assert_eq!(set.ok(), returned.ok());
    assert_eq!(
        (
            &returned.body["daily_limit"],
            &returned.body["monthly_limit"]
        ),
        (&json!(1), &json!(50_000))
    );
    assert_eq!(returned.body["updated_by"], SITE_ADMIN);
    let chat = parlor.open(COACH, "t").await;
    parlor
        .send(COACH, chat, "你好")
        .await
        .refused(429, "budget_exceeded");

    put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &json!({ "daily_limit": 100_000, "monthly_limit": 50_000 }),
    )
    .await
    .ok();
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.settled().await;
    let returned = parlor.get(SITE_ADMIN, BUDGET).await.ok().clone();
    let used = returned["daily_used"].as_f64().unwrap();
    assert!(used > 0.0);
    let pct = |limit: f64| (used / limit * 10_000.0).round() / 10_000.0;
    assert_eq!(
        (&returned["daily_pct"], &returned["monthly_pct"]),
        (&json!(pct(100_000.0)), &json!(pct(50_000.0)))
    );
}

#[tokio::test]
async fn unset_budgets_use_the_default_and_the_platform_shows_the_sum() {
    let parlor = Parlor::start().await;
    sqlx::query("delete from biz.ai_budgets where site_id = 2")
        .execute(&parlor.db)
        .await
        .unwrap();
    put(
        &parlor,
        PLATFORM_ADMIN,
        BUDGET,
        &json!({ "site_id": 1, "daily_limit": 7, "monthly_limit": 70 }),
    )
    .await
    .ok();
    let returned = parlor.get(OTHER_SITE_ADMIN, BUDGET).await.ok().clone();
    assert_eq!(
        (&returned["daily_limit"], &returned["monthly_limit"]),
        (&json!(100_000), &json!(2_000_000))
    );
    assert_eq!(
        (&returned["updated_by"], &returned["updated_at"]),
        (&Value::Null, &Value::Null)
    );
    let all = parlor.get(PLATFORM_ADMIN, BUDGET).await.ok().clone();
    assert_eq!(
        (&all["daily_limit"], &all["monthly_limit"]),
        (&json!(100_007), &json!(2_000_070))
    );
}

#[tokio::test]
async fn invalid_budgets_and_clocks_are_refused_by_field() {
    let parlor = Parlor::start().await;
    for (path, body, field) in [
        (BUDGET, json!({ "monthly_limit": 1 }), "daily_limit"),
        (BUDGET, json!({ "daily_limit": 1 }), "monthly_limit"),
        (
            BUDGET,
            json!({ "daily_limit": -1, "monthly_limit": 1 }),
            "daily_limit",
        ),
        (
            BUDGET,
            json!({ "daily_limit": 1, "monthly_limit": 1_000_000_000_001_i64 }),
            "monthly_limit",
        ),
        (
            BUDGET,
            json!({ "daily_limit": 1.5, "monthly_limit": 1 }),
            "daily_limit",
        ),
        (
            BUDGET,
            json!({ "daily_limit": 1e300, "monthly_limit": 1 }),
            "daily_limit",
        ),
        (CONTEXT, json!({}), "mode"),
        (CONTEXT, json!({ "mode": "sandboxed" }), "mode"),
        (CONTEXT, json!({ "mode": "sandbox" }), "sandbox_date"),
        (
            CONTEXT,
            json!({ "mode": "sandbox", "sandbox_date": "2026-02-30" }),
            "sandbox_date",
        ),
        (
            CONTEXT,
            json!({ "mode": "sandbox", "sandbox_date": "99999-01-01" }),
            "sandbox_date",
        ),
        (
            CONTEXT,
            json!({ "mode": "sandbox", "sandbox_date": "2026-01-01\u{0}" }),
            "sandbox_date",
        ),
    ] {
        let refused = put(&parlor, SITE_ADMIN, path, &body).await;
        let returned = refused.refused_at(path, 422, "invalid_request");
        assert_eq!(returned["field"], field, "{body}");
    }
    assert_eq!(audit(&parlor, SITE_ADMIN, "").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_missing_site_is_a_404_for_budget_and_clock() {
    let parlor = Parlor::start().await;
    for path in [BUDGET, CONTEXT, "/api/admin/ai/dashboard"] {
        let path = format!("{path}?site_id=4711");
        parlor
            .get(PLATFORM_ADMIN, &path)
            .await
            .refused_at(&path, 404, "not_found");
    }
    for (path, body) in [
        (
            BUDGET,
            json!({ "site_id": 4711, "daily_limit": 1, "monthly_limit": 1 }),
        ),
        (CONTEXT, json!({ "site_id": 4711, "mode": "live" })),
    ] {
        put(&parlor, PLATFORM_ADMIN, path, &body)
            .await
            .refused_at(path, 404, "not_found");
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from biz.ai_admin_audit")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_new_clock_applies_to_all_users_of_the_site() {
    let parlor = Parlor::start().await;
    let body = json!({ "mode": "sandbox", "sandbox_date": "2026-05-01" });
    let set = put(&parlor, SITE_ADMIN, CONTEXT, &body).await;
    let returned = parlor.get(SITE_ADMIN, CONTEXT).await;
    assert_eq!(set.ok(), returned.ok());
    assert_eq!(
        (
            &returned.body["site_id"],
            &returned.body["mode"],
            &returned.body["sandbox_date"],
            &returned.body["updated_by"]
        ),
        (
            &json!(1),
            &json!("sandbox"),
            &json!("2026-05-01"),
            &json!(SITE_ADMIN)
        )
    );
    let clock = parlor
        .get(COACH, "/api/xcx/runtime-clock")
        .await
        .ok()
        .clone();
    assert_eq!(
        (&clock["mode"], &clock["businessDate"]),
        (&json!("sandbox"), &json!("2026-05-01"))
    );

    let all = parlor.get(PLATFORM_ADMIN, CONTEXT).await.ok().clone();
    let modes: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| site["mode"].clone())
        .collect();
    assert_eq!(modes, ["sandbox", "live"]);

    let live = put(
        &parlor,
        PLATFORM_ADMIN,
        CONTEXT,
        &json!({ "site_id": 1, "mode": "live" }),
    )
    .await;
    assert_eq!(
        (&live.ok()["sandbox_date"], &live.body["updated_by"]),
        (&Value::Null, &json!(PLATFORM_ADMIN))
    );
}

#[tokio::test]
async fn every_change_is_audited_with_user_time_and_old_value() {
    let parlor = Parlor::start().await;
    put(
        &parlor,
        SITE_ADMIN,
        BUDGET,
        &json!({ "daily_limit": 1, "monthly_limit": 2 }),
    )
    .await
    .ok();
    put(
        &parlor,
        PLATFORM_ADMIN,
        BUDGET,
        &json!({ "site_id": 1, "daily_limit": 3, "monthly_limit": 4 }),
    )
    .await
    .ok();
    put(
        &parlor,
        OTHER_SITE_ADMIN,
        CONTEXT,
        &json!({ "mode": "live" }),
    )
    .await
    .ok();

    let entries = audit(&parlor, SITE_ADMIN, "").await;
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["user_id"], PLATFORM_ADMIN);
    assert_eq!(
        ["before", "after"].map(|when| {
            let limits = &entries[0]["details"][when];
            ["daily_limit", "monthly_limit"].map(|limit| limits[limit].clone())
        }),
        [[json!(1), json!(2)], [json!(3), json!(4)]]
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry["action"] == "budget.set" && entry["site_id"] == 1)
    );

    let count = async |user, query: &str| audit(&parlor, user, query).await.len();
    assert_eq!(count(PLATFORM_ADMIN, "").await, 3);
    assert_eq!(
        count(PLATFORM_ADMIN, "?action=runtime_context.set").await,
        1
    );
    assert_eq!(count(PLATFORM_ADMIN, "?user_id=1004").await, 1);
    assert_eq!(count(OTHER_SITE_ADMIN, "?user_id=1004").await, 0);
    assert_eq!(count(SITE_ADMIN, "?date_to=2026-01-01").await, 0);
    assert_eq!(count(SITE_ADMIN, "?date_from=2026-01-01").await, 2);
    for (query, field) in [
        ("?action=budget", "action"),
        ("?user_id=0", "user_id"),
        ("?date_from=x", "date_from"),
    ] {
        let path = format!("{AUDIT}{query}");
        let refused = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(
            refused.refused_at(&path, 422, "invalid_request")["field"],
            field
        );
    }
}

#[tokio::test]
async fn an_audit_cursor_lists_each_entry_once_and_only_with_its_filters() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "insert into biz.ai_admin_audit (site_id, user_id, action, created_at)
         select 1, 1004, 'budget.set', now() - (n / 3) * interval '1 minute' from generate_series(1, 10) n",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let mut seen = Vec::new();
    let mut query = "?page_size=3".to_owned();
    loop {
        let page = parlor
            .get(SITE_ADMIN, &format!("{AUDIT}{query}"))
            .await
            .ok()
            .clone();
        assert_eq!(
            (&page["total"], &page["total_is_estimate"]),
            (&json!(10), &json!(false))
        );
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["id"].as_i64().unwrap()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?page_size=3&cursor={cursor}");
        for (user, other) in [(SITE_ADMIN, "&action=budget.set"), (PLATFORM_ADMIN, "")] {
            let path = format!("{AUDIT}{query}{other}");
            let refused = parlor.get(user, &path).await;
            assert_eq!(
                refused.refused_at(&path, 422, "invalid_request")["field"],
                "cursor"
            );
        }
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (10, 10));
    for page in [4, 500, 501, i64::MAX] {
        let path = format!("{AUDIT}?page_size=3&page={page}");
        let past = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(
            (&past.ok()["total"], &past.body["next_cursor"]),
            (&json!(10), &Value::Null)
        );
        let shown = past.body["items"].as_array().unwrap().len();
        assert_eq!(shown, usize::from(page == 4), "{page}");
    }
}
