//! Machine keys: programs call a few admin routes with them.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use serde_json::{Value, json};

use crate::harness::{
    jobs::TRIGGER,
    parlor::{Answer, Parlor, answer},
    routes::{self, OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, VIEWER},
};

const KEYS: &str = "/api/admin/ai/api-keys";
const LATENCY: &str = "/api/admin/ai/latency";
const USAGE: &str = "/api/admin/ai/usage";

impl Parlor {
    /// Creates a key. Returns the response.
    async fn create_key(&self, admin: i64, body: &Value) -> Value {
        self.post(admin, KEYS, body).await.created().clone()
    }

    async fn call_with_key(&self, key: &Value, method: &str, path: &str, body: &Value) -> Answer {
        let request = self
            .request(method, path)
            .bearer_auth(key.as_str().unwrap());
        answer(request.json(body)).await
    }

    async fn listed_keys(&self, admin: i64) -> Vec<Value> {
        let list = self.get(admin, KEYS).await;
        list.ok()["items"].as_array().unwrap().clone()
    }
}

fn event() -> Value {
    json!({ "event_type": "etl.finished" })
}

#[tokio::test]
async fn a_key_calls_exactly_the_routes_of_its_scopes() {
    let parlor = Parlor::start().await;
    for (scopes, allowed) in [
        (json!(["jobs:write"]), vec![("POST", TRIGGER)]),
        (
            json!(["usage:read"]),
            vec![("GET", LATENCY), ("GET", USAGE)],
        ),
        (
            json!(["jobs:write", "usage:read"]),
            vec![("POST", TRIGGER), ("GET", LATENCY), ("GET", USAGE)],
        ),
    ] {
        let body = json!({ "name": "erp", "scopes": scopes });
        let key = parlor.create_key(SITE_ADMIN, &body).await["key"].clone();
        for route in routes::all() {
            let request = route.request(&parlor).bearer_auth(key.as_str().unwrap());
            let returned = answer(request).await;
            if allowed.contains(&(&*route.method, &*route.template)) {
                assert!(returned.status.is_success(), "{route:?}: {}", returned.body);
            } else {
                assert_eq!(returned.status, 403, "{route:?}: {}", returned.body);
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_expired_or_revoked_key_is_unauthorized() {
    let parlor = Parlor::start().await;
    let body =
        json!({ "name": "erp", "scopes": ["jobs:write"], "expires_at": "2099-01-01T00:00:00Z" });
    let expired = parlor.create_key(SITE_ADMIN, &body).await;
    parlor
        .execute("update biz.api_keys set expires_at = now()")
        .await;
    let revoked = parlor.create_key(SITE_ADMIN, &body).await;
    let path = format!("{KEYS}/{}", revoked["id"]);
    let deleted = answer(parlor.request_as(SITE_ADMIN, "DELETE", &path)).await;
    assert_eq!(deleted.status, 204);
    let valid = parlor.create_key(SITE_ADMIN, &body).await["key"].clone();
    let other_case = json!(
        valid
            .as_str()
            .unwrap()
            .to_uppercase()
            .replace("PARLOR_", "parlor_")
    );
    let longer = json!(format!("{}A", valid.as_str().unwrap()));
    for key in [
        &expired["key"],
        &revoked["key"],
        &other_case,
        &longer,
        &json!("parlor_"),
    ] {
        for (method, path) in [
            ("POST", TRIGGER),
            ("POST", KEYS),
            ("GET", "/api/xcx/chat/history"),
        ] {
            let refused = parlor.call_with_key(key, method, path, &event()).await;
            refused.refused_at(path, 401, "unauthorized");
        }
    }
    let accepted = parlor
        .call_with_key(&valid, "POST", TRIGGER, &event())
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
}

#[tokio::test]
async fn a_key_reaches_only_its_site() {
    let parlor = Parlor::start().await;
    let scopes = json!(["jobs:write", "usage:read"]);
    let own = json!({ "name": "erp", "scopes": scopes });
    let own = parlor.create_key(SITE_ADMIN, &own).await["key"].clone();
    let all = json!({ "name": "group", "scopes": scopes, "site_id": null });
    let all = parlor.create_key(PLATFORM_ADMIN, &all).await["key"].clone();
    let job = async |key: &Value, site: Option<i64>| {
        let mut body = event();
        if let Some(site) = site {
            body["site_id"] = site.into();
        }
        parlor.call_with_key(key, "POST", TRIGGER, &body).await
    };
    let id = job(&own, None).await.body["id"].as_i64().unwrap();
    assert_eq!(parlor.job(id).await["site_id"], 1);
    job(&own, Some(2))
        .await
        .refused_at(TRIGGER, 403, "forbidden");
    let missing = job(&all, None).await;
    let missing = missing.refused_at(TRIGGER, 422, "invalid_request");
    assert_eq!(missing["field"], "site_id");
    let id = job(&all, Some(2)).await.body["id"].as_i64().unwrap();
    assert_eq!(parlor.job(id).await["site_id"], 2);
    let other = format!("{LATENCY}?site_id=2");
    for (key, status) in [(&own, 403), (&all, 200)] {
        let read = parlor
            .request("GET", &other)
            .bearer_auth(key.as_str().unwrap());
        assert_eq!(answer(read).await.status, status);
    }
    // Of the two keys, a site admin sees and revokes its own.
    assert_eq!(parlor.listed_keys(SITE_ADMIN).await.len(), 1);
    assert_eq!(parlor.listed_keys(OTHER_SITE_ADMIN).await.len(), 0);
    let of_all = parlor.listed_keys(PLATFORM_ADMIN).await;
    assert_eq!((of_all.len(), &of_all[0]["site_id"]), (2, &Value::Null));
    let path = format!("{KEYS}/{}", of_all[0]["id"]);
    let refused = answer(parlor.request_as(SITE_ADMIN, "DELETE", &path)).await;
    refused.refused_at(&path, 404, "not_found");
}

#[tokio::test]
async fn a_key_is_shown_once_and_its_use_is_audited() {
    let parlor = Parlor::start().await;
    let body = json!({ "name": " 收银系统 ", "scopes": ["jobs:write"] });
    let created = parlor.create_key(SITE_ADMIN, &body).await;
    let key = created["key"].as_str().unwrap();
    assert_eq!(
        (&created["name"], &created["expires_at"], key.len()),
        (&json!("收银系统"), &Value::Null, "parlor_".len() + 43)
    );
    let unused = parlor.listed_keys(VIEWER).await.remove(0);
    assert_eq!(
        (
            &unused["key_hint"],
            &unused["last_used_at"],
            &unused["created_by"]
        ),
        (
            &json!(key[key.len() - 4..]),
            &Value::Null,
            &json!(SITE_ADMIN)
        )
    );
    let stored: String = sqlx::query_scalar(
        "select (select jsonb_agg(to_jsonb(k)) from biz.api_keys k)::text
             || (select jsonb_agg(to_jsonb(a)) from biz.ai_admin_audit a)::text",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!(!stored.contains(key) && !unused.to_string().contains(key));

    let job = parlor
        .call_with_key(&created["key"], "POST", TRIGGER, &event())
        .await;
    let used = parlor.listed_keys(SITE_ADMIN).await.remove(0);
    assert!(used["last_used_at"].is_string());
    parlor
        .call_with_key(&created["key"], "POST", TRIGGER, &event())
        .await;
    let again = parlor.listed_keys(SITE_ADMIN).await.remove(0);
    assert_eq!(
        again["last_used_at"], used["last_used_at"],
        "within a minute"
    );

    let audit = parlor.get(SITE_ADMIN, "/api/admin/ai/audit").await;
    let actors: Vec<_> = audit.ok()["items"].as_array().unwrap().iter().collect();
    assert_eq!(actors.len(), 2);
    assert_eq!(
        (
            &actors[0]["action"],
            &actors[0]["object_id"],
            &actors[0]["user_id"],
            &actors[0]["api_key_id"]
        ),
        (
            &json!("trigger_job.create"),
            &json!(job.body["id"].to_string()),
            &json!(SITE_ADMIN),
            &created["id"]
        )
    );
    assert_eq!(
        (
            &actors[1]["action"],
            &actors[1]["object_id"],
            &actors[1]["api_key_id"]
        ),
        (
            &json!("api_key.create"),
            &json!(created["id"].to_string()),
            &Value::Null
        )
    );
}

#[tokio::test]
async fn an_invalid_key_is_not_created() {
    let parlor = Parlor::start().await;
    let valid = json!({ "name": "erp", "scopes": ["jobs:write"] });
    for (admin, member, value, status) in [
        (SITE_ADMIN, "name", Value::Null, 422),
        (SITE_ADMIN, "name", json!(" "), 422),
        (SITE_ADMIN, "name", json!("x".repeat(101)), 422),
        (SITE_ADMIN, "name", json!("\u{0}"), 422),
        (SITE_ADMIN, "scopes", Value::Null, 422),
        (SITE_ADMIN, "scopes", json!([]), 422),
        (SITE_ADMIN, "scopes", json!(["jobs:read"]), 422),
        (
            SITE_ADMIN,
            "scopes",
            json!(["jobs:write", "jobs:write"]),
            422,
        ),
        (SITE_ADMIN, "expires_at", json!("2020-01-01T00:00:00Z"), 422),
        (SITE_ADMIN, "expires_at", json!("tomorrow"), 422),
        (SITE_ADMIN, "site_id", json!(2), 403),
        (SITE_ADMIN, "site_id", Value::Null, 403),
        (VIEWER, "site_id", json!(1), 403),
        (PLATFORM_ADMIN, "site_id", json!(4711), 404),
    ] {
        let mut body = valid.clone();
        body[member] = value;
        let refused = parlor.post(admin, KEYS, &body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.body);
        if status == 422 {
            assert_eq!(refused.body["field"], member, "{body}");
        }
    }
    let unnamed = parlor.post(PLATFORM_ADMIN, KEYS, &valid).await;
    let unnamed = unnamed.refused_at(KEYS, 422, "invalid_request");
    assert_eq!(unnamed["field"], "site_id");
    parlor
        .execute(
            "insert into biz.api_keys (site_id, name, scopes, hash, hint, created_by)
             select 1, 'key', '{jobs:write}', sha256(n::text::bytea), '0000', 1004 from generate_series(1, 50) n",
        )
        .await;
    let full = parlor.post(SITE_ADMIN, KEYS, &valid).await;
    full.refused_at(KEYS, 409, "conflict");
    parlor.create_key(OTHER_SITE_ADMIN, &valid).await;
}
