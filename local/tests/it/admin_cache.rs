//! The results of the apps for admins: list, filters and invalidation.

use common::{
    governance::apps::App,
    insights::{apps, results::Status},
};
use serde_json::{Value, json};

use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, column},
    parlor::{Answer, Parlor},
};

const CACHE: &str = "/api/admin/ai/cache";
const INVALIDATE: &str = "/api/admin/ai/cache/invalidate";

/// Inserts an entry of each app and status about each of three members at site 1, and of four at
/// site 2. Expired entries exist twice.
async fn parlor() -> Parlor {
    let parlor = Parlor::start().await;
    let apps: Vec<&str> = apps::background().map(App::name).collect();
    sqlx::query(
        "insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, triggered_by, business_date, valid_days,
                                       result_json, score, expires_at, lease_until)
             select s, a, 'member:' || m, m, t, 'event', current_date, 7,
                    case when t <> 'generating' then jsonb_build_object('n', n) end, case when t <> 'generating' then 80 end,
                    case when t <> 'generating' then now() + interval '1 day' end,
                    case when t = 'generating' then now() + interval '1 hour' end
             from generate_series(1, 2) s
             cross join unnest($1::text[]) a
             cross join unnest(array['generating', 'valid', 'expired', 'invalidated']) t
             cross join lateral generate_series(1, 2 + s) m
             cross join lateral generate_series(1, case t when 'expired' then 2 else 1 end) n",
    )
    .bind(apps)
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor
}

/// The number of apps with results.
fn apps_count() -> i64 {
    i64::try_from(apps::background().count()).unwrap()
}

impl Parlor {
    async fn cached(&self, user: i64, query: &str) -> Answer {
        self.get(user, &format!("{CACHE}?{query}")).await
    }

    async fn cached_total(&self, user: i64, query: &str) -> i64 {
        let page = self.cached(user, query).await;
        page.ok()["total"].as_i64().unwrap()
    }

    async fn invalidate(&self, user: i64, body: &Value) -> Answer {
        self.post(user, INVALIDATE, body).await
    }

    async fn valid(&self, site: i64) -> i64 {
        sqlx::query_scalar(
            "select count(*) from biz.ai_cache where site_id = $1 and status = 'valid'",
        )
        .bind(site)
        .fetch_one(&self.db)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn filters_of_results_combine() {
    let parlor = parlor().await;
    for (user, members) in [(SITE_ADMIN, 3), (OTHER_SITE_ADMIN, 4), (PLATFORM_ADMIN, 7)] {
        assert_eq!(
            parlor.cached_total(user, "").await,
            members * apps_count() * 5
        );
        for app in apps::background() {
            let query = format!("app_type={}", app.name());
            assert_eq!(parlor.cached_total(user, &query).await, members * 5);
        }
        for status in Status::ALL.map(Status::name) {
            let times = if status == "expired" { 2 } else { 1 };
            let query = format!("status={status}");
            assert_eq!(
                parlor.cached_total(user, &query).await,
                members * apps_count() * times
            );
            let sites = if user == PLATFORM_ADMIN { 2 } else { 1 };
            let query = format!("status={status}&target_id=member%3A1");
            assert_eq!(
                parlor.cached_total(user, &query).await,
                sites * apps_count() * times
            );
            let query = format!("status={status}&target_id=member%3A1&app_type=app3_clue");
            assert_eq!(parlor.cached_total(user, &query).await, sites * times);
        }
    }
    assert_eq!(
        parlor
            .cached_total(SITE_ADMIN, "target_id=member%3A4")
            .await,
        0
    );
    let query = "app_type=app3_clue&target_id=member%3A2&status=valid";
    let page = parlor.cached(SITE_ADMIN, query).await;
    let item = &page.ok()["items"][0];
    for (name, value) in [
        ("cache_type", json!("app3_clue")),
        ("site_id", json!(1)),
        ("target_id", json!("member:2")),
        ("status", json!("valid")),
        ("score", json!(80)),
        ("triggered_by", json!("event")),
        ("result_json", json!({ "n": 1 })),
    ] {
        assert_eq!(item[name], value, "{name}");
    }
    assert!(item["expires_at"].is_string() && item["created_at"].is_string());
}

#[tokio::test]
async fn paging_lists_each_result_once_newest_first() {
    let parlor = parlor().await;
    let apps = apps::background().count();
    for (user, query, entries) in [
        (SITE_ADMIN, "", apps * 3 * 5),
        (PLATFORM_ADMIN, "", apps * 7 * 5),
        (PLATFORM_ADMIN, "status=expired", apps * 7 * 2),
        (SITE_ADMIN, "app_type=app3_clue", 3 * 5),
        (PLATFORM_ADMIN, "target_id=member%3A1", apps * 2 * 5),
    ] {
        let mut ids: Vec<i64> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = parlor
                .cached(user, &format!("page_size=11&{query}{cursor}"))
                .await;
            let items = page.ok()["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].as_i64().unwrap()));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert!(ids.is_sorted_by(|a, b| a > b), "{query}: {ids:?}");
        assert_eq!(ids.len(), entries, "{query}");
        let second = parlor
            .cached(user, &format!("page=2&page_size=5&{query}"))
            .await;
        let second = column(second.ok()["items"].as_array().unwrap(), "id");
        assert_eq!(second, ids[5..10], "{query}");
    }
}

#[tokio::test]
async fn results_of_other_sites_are_neither_listed_nor_changed() {
    let parlor = parlor().await;
    for path in [
        format!("{CACHE}?site_id=2"),
        format!("{CACHE}?site_id=4711"),
    ] {
        parlor
            .get(SITE_ADMIN, &path)
            .await
            .refused_at(&path, 403, "forbidden");
    }
    parlor
        .invalidate(SITE_ADMIN, &json!({ "site_id": 2 }))
        .await
        .refused_at(CACHE, 403, "forbidden");
    let refused = parlor.invalidate(PLATFORM_ADMIN, &json!({})).await;
    let error = refused.refused_at(CACHE, 422, "invalid_request");
    assert_eq!(error["field"], "site_id");
    parlor
        .invalidate(PLATFORM_ADMIN, &json!({ "site_id": 4711 }))
        .await
        .refused_at(CACHE, 404, "not_found");
    let invalidated = parlor.invalidate(SITE_ADMIN, &json!({})).await;
    assert_eq!(invalidated.ok(), &json!({ "affected": apps_count() * 3 }));
    assert_eq!(
        (parlor.valid(1).await, parlor.valid(2).await),
        (0, apps_count() * 4)
    );
    let page = parlor.cached(SITE_ADMIN, "page_size=100").await;
    let items = page.ok()["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["site_id"] == 1));
}

#[tokio::test]
async fn invalidation_is_counted_exactly_and_audited() {
    let parlor = parlor().await;
    let apps = apps_count();
    for (body, affected) in [
        (json!({ "app_type": "app3_clue", "member_id": 1 }), 1),
        (json!({ "app_type": "app3_clue", "member_id": 1 }), 0),
        (json!({ "app_type": "app3_clue" }), 2),
        (json!({ "member_id": 1 }), apps - 1),
        (json!({ "member_id": 4_711 }), 0),
        (json!({ "site_id": 1 }), (apps - 1) * 2),
    ] {
        let before = parlor.valid(1).await;
        let invalidated = parlor.invalidate(SITE_ADMIN, &body).await;
        assert_eq!(invalidated.ok(), &json!({ "affected": affected }), "{body}");
        assert_eq!(parlor.valid(1).await, before - affected);
        let last: Value = sqlx::query_scalar(
            "select to_jsonb(a) from biz.ai_admin_audit a order by id desc limit 1",
        )
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        assert_eq!(
            (
                &last["action"],
                &last["user_id"],
                &last["details"]["affected"]
            ),
            (
                &json!("cache.invalidate"),
                &json!(SITE_ADMIN),
                &json!(affected)
            )
        );
    }
    assert_eq!(parlor.valid(2).await, apps * 4);
}

#[tokio::test]
async fn an_invalid_filter_of_results_is_refused_by_field() {
    let parlor = parlor().await;
    for (query, field) in [
        ("app_type=app1_chat", "app_type"),
        ("app_type=clue", "app_type"),
        ("status=stale", "status"),
        ("target_id=%00", "target_id"),
        ("cursor=x", "cursor"),
    ] {
        let refused = parlor.cached(SITE_ADMIN, query).await;
        let error = refused.refused_at(CACHE, 422, "invalid_request");
        assert_eq!(error["field"], field, "{query}");
    }
    for (body, field) in [
        (json!({ "app_type": "app1_chat" }), "app_type"),
        (json!({ "app_type": "x\0" }), "app_type"),
        (json!({ "member_id": 0 }), "member_id"),
        (json!({ "member_id": "7" }), "member_id"),
    ] {
        let refused = parlor.invalidate(SITE_ADMIN, &body).await;
        let error = refused.refused_at(CACHE, 422, "invalid_request");
        assert_eq!(error["field"], field, "{body}");
    }
    assert_eq!(parlor.valid(1).await, apps_count() * 3);
}
