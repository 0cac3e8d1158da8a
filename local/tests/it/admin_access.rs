//! Admins list sites, and change users and the settings of apps.

use serde_json::{Value, json};

use crate::harness::{
    jobs::SITE_ADMIN,
    parlor::{Answer, COACH, Parlor, STAFF, answer},
    routes::PLATFORM_ADMIN,
};

const APPS: &str = "/api/admin/ai/apps";
const USERS: &str = "/api/admin/ai/users";

impl Parlor {
    /// Replaces the version of an object that the client has seen.
    async fn put_version(&self, user: i64, path: &str, body: &Value, etag: &str) -> Answer {
        let request = self.request_as(user, "PUT", path).json(body);
        answer(request.header("If-Match", etag)).await
    }

    /// The settings of the chat at site 1.
    async fn chat_settings(&self, admin: i64) -> Value {
        let list = self.get(admin, &format!("{APPS}?site_id=1")).await;
        list.ok()["items"][0].clone()
    }
}

#[tokio::test]
async fn an_admin_sees_the_sites_in_reach() {
    let parlor = Parlor::start().await;
    let own = parlor.get(SITE_ADMIN, "/api/admin/ai/sites").await;
    let site = &own.ok()["items"][0];
    assert_eq!(own.ok()["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&site["id"], &site["timezone"], &site["mode"]),
        (&json!(1), &json!("Asia/Shanghai"), &json!("live"))
    );
    let all = parlor.get(PLATFORM_ADMIN, "/api/admin/ai/sites").await;
    let ids = all.ok()["items"].as_array().unwrap().iter();
    assert_eq!(ids.map(|site| &site["id"]).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn an_admin_disables_a_user_and_makes_it_a_manager() {
    let parlor = Parlor::start().await;
    let listed = parlor.get(SITE_ADMIN, USERS).await;
    let coach = &listed.ok()["items"][0];
    assert_eq!(
        (&coach["id"], &coach["role"], &coach["status"]),
        (&json!(COACH), &json!("coach"), &json!("approved"))
    );
    let path = format!("{USERS}/{COACH}");
    let body = json!({ "role": "manager", "status": "disabled" });
    let etag = coach["etag"].as_str().unwrap();
    let changed = parlor.put_version(SITE_ADMIN, &path, &body, etag).await;
    assert_eq!(changed.ok()["role"], "manager");
    let listed = parlor.get(SITE_ADMIN, USERS).await;
    assert_eq!(listed.ok()["items"][0]["status"], "disabled");

    // Another admin has an older version.
    let outdated = parlor
        .put_version(PLATFORM_ADMIN, &format!("{path}?site_id=1"), &body, etag)
        .await;
    outdated.refused_at(&path, 412, "conflict");
    let audit = parlor
        .get(SITE_ADMIN, "/api/admin/ai/audit?action=user.set")
        .await;
    assert_eq!(audit.ok()["total"], 1);
    assert_eq!(
        audit.ok()["items"][0]["details"],
        json!({ "before": { "role": "coach", "status": "approved" }, "after": body })
    );
}

#[tokio::test]
async fn nobody_becomes_a_platform_admin_and_no_admin_changes_itself() {
    let parlor = Parlor::start().await;
    let put = async |user: i64, body: Value| {
        let path = format!("{USERS}/{user}");
        parlor.call(SITE_ADMIN, "PUT", &path, &body).await
    };
    let refused = put(STAFF, json!({ "role": "admin", "status": "approved" })).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["field"]),
        (422, &json!("role"))
    );
    let refused = put(STAFF, json!({ "role": "staff" })).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["field"]),
        (422, &json!("status"))
    );
    let itself = put(SITE_ADMIN, json!({ "role": "coach", "status": "approved" })).await;
    itself.refused_at(USERS, 409, "conflict");
    let theirs = put(2001, json!({ "role": "coach", "status": "disabled" })).await;
    theirs.refused_at(USERS, 404, "not_found");
}

#[tokio::test]
async fn pages_of_users_follow_each_other() {
    let parlor = Parlor::start().await;
    let mut ids = Vec::new();
    let mut path = format!("{USERS}?page_size=2");
    loop {
        let page = parlor.get(PLATFORM_ADMIN, &path).await;
        let items = page.ok()["items"].as_array().unwrap();
        ids.extend(items.iter().map(|user| user["id"].as_i64().unwrap()));
        assert!(page.body["total"].as_i64().unwrap() > 4);
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("{USERS}?page_size=2&cursor={cursor}");
    }
    assert!(ids.len() > 4 && ids.is_sorted(), "{ids:?}");
}

#[tokio::test]
async fn a_change_of_an_app_applies_to_the_next_message() {
    let parlor = Parlor::start().await;
    let before = parlor.chat_settings(SITE_ADMIN).await;
    assert_eq!(before["app_type"], "app1_chat");
    assert_eq!(
        (&before["application_id_hint"], &before["circuit"]),
        (&Value::Null, &json!("closed"))
    );
    let body = json!({
        "app_type": "app1_chat", "application_id": "app-of-site-1", "enabled": null,
        "rag_options": { "pipeline_ids": ["p1"] }, "has_thoughts": true, "max_per_second": 50,
    });
    let changed = parlor.call(SITE_ADMIN, "PUT", APPS, &body).await;
    assert_eq!(
        (&changed.ok()["site_id"], &changed.ok()["called_hint"]),
        (&json!(1), &json!("te-1"))
    );
    assert!(!changed.body.to_string().contains("app-of-site-1"));
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    let calls = parlor.simulator.calls();
    assert_eq!(calls.last().unwrap().app_id, "app-of-site-1");

    // Settings without a value are removed, but the id is kept.
    let disabled = json!({ "app_type": "app1_chat", "enabled": false });
    let changed = parlor.call(SITE_ADMIN, "PUT", APPS, &disabled).await;
    assert_eq!(
        (
            &changed.ok()["application_id_hint"],
            &changed.ok()["called_hint"],
            &changed.ok()["rag_options"]
        ),
        (&json!("te-1"), &Value::Null, &Value::Null)
    );
    parlor
        .send(COACH, chat, "你好")
        .await
        .refused(503, "unavailable");
    let removed = json!({ "app_type": "app1_chat", "application_id": null });
    let changed = parlor.call(SITE_ADMIN, "PUT", APPS, &removed).await;
    assert_eq!(changed.ok()["application_id_hint"], Value::Null);
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    assert_eq!(parlor.simulator.calls().last().unwrap().app_id, "app1_chat");
}

#[tokio::test]
async fn only_a_platform_admin_changes_the_defaults_of_all_sites() {
    let parlor = Parlor::start().await;
    let body = json!({ "site_id": null, "app_type": "app1_chat", "enabled": false });
    // Without a site, a site admin changes its own.
    let own = parlor.call(SITE_ADMIN, "PUT", APPS, &body).await;
    assert_eq!(own.ok()["site_id"], 1);
    let all = parlor.call(PLATFORM_ADMIN, "PUT", APPS, &body).await;
    assert_eq!(all.ok()["site_id"], Value::Null);
    let listed = parlor.get(PLATFORM_ADMIN, APPS).await;
    let items = listed.ok()["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["enabled"]), (27, &json!(false)));
    let audit = parlor
        .get(PLATFORM_ADMIN, "/api/admin/ai/audit?action=app.set")
        .await;
    let sites = audit.ok()["items"].as_array().unwrap().iter();
    assert_eq!(
        sites
            .map(|entry| entry["site_id"].clone())
            .collect::<Vec<_>>(),
        [Value::Null, json!(1)]
    );
    let own = parlor
        .get(SITE_ADMIN, "/api/admin/ai/audit?action=app.set")
        .await;
    assert_eq!(own.ok()["total"], 1);
    let unknown = json!({ "site_id": 99, "app_type": "app1_chat" });
    let unknown = parlor.call(PLATFORM_ADMIN, "PUT", APPS, &unknown).await;
    unknown.refused_at(APPS, 404, "not_found");
}

#[tokio::test]
async fn an_older_version_of_an_app_is_not_replaced() {
    let parlor = Parlor::start().await;
    let seen = parlor.chat_settings(SITE_ADMIN).await;
    let etag = seen["etag"].as_str().unwrap();
    let body = json!({ "app_type": "app1_chat", "max_per_second": 7 });
    parlor.put_version(SITE_ADMIN, APPS, &body, etag).await.ok();
    let outdated = parlor.put_version(SITE_ADMIN, APPS, &body, etag).await;
    outdated.refused_at(APPS, 412, "conflict");
}

#[tokio::test]
async fn wrong_settings_of_an_app_are_refused_with_the_field() {
    let parlor = Parlor::start().await;
    for (name, value) in [
        ("app_type", json!("app99")),
        ("application_id", json!("")),
        ("application_id", json!("应用")),
        ("fallback_application_id", json!("x".repeat(129))),
        ("rag_options", json!([])),
        ("rag_options", json!({ "a": "\0" })),
        ("rag_options", json!({ "a": "x".repeat(9_000) })),
        ("flow_stream_mode", json!("all")),
        ("max_per_second", json!(0)),
        ("max_per_second", json!(101)),
        ("first_token_seconds", json!(601)),
        ("enabled", json!("yes")),
    ] {
        let mut body = json!({ "app_type": "app1_chat" });
        body[name] = value;
        let refused = parlor.call(SITE_ADMIN, "PUT", APPS, &body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["field"]),
            (422, &json!(name)),
            "{body}"
        );
    }
}
