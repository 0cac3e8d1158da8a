//! Admins list and change bots, their agents, and openers.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{Answer, COACH, Parlor, STAFF, answer},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, VIEWER},
    sessions::{BOT, GRANTED, OTHER_SITES, SESSIONS},
};

const BOTS: &str = "/api/admin/ai/bots";
const AGENTS: &str = "/api/admin/ai/agents";
const OPENERS: &str = "/api/admin/ai/openers";
const MY_BOTS: &str = "/api/chat/bots";

impl Parlor {
    async fn items(&self, user: i64, path: &str) -> Vec<Value> {
        let list = self.get(user, path).await;
        list.ok()["items"].as_array().unwrap().clone()
    }

    /// The bot as site 1 lists it.
    async fn bot(&self, id: &str) -> Value {
        let bots = self.items(SITE_ADMIN, BOTS).await;
        bots.into_iter().find(|bot| bot["id"] == id).unwrap()
    }

    async fn put_if(&self, user: i64, path: &str, body: &Value, etag: &Value) -> Answer {
        let request = self.request_as(user, "PUT", path).json(body);
        answer(request.header("If-Match", etag.as_str().unwrap())).await
    }

    async fn delete(&self, user: i64, path: &str) -> Answer {
        answer(self.request_as(user, "DELETE", path)).await
    }

    /// The names of the bots that a user may use.
    async fn my_bots(&self, user: i64) -> Vec<String> {
        let list = self.get(user, MY_BOTS).await;
        let bots = list.ok()["bots"].as_array().unwrap().iter();
        bots.map(|bot| bot["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The actions of the newest entries of the audit log, newest first.
    async fn actions(&self) -> Vec<Value> {
        let entries = self.items(PLATFORM_ADMIN, "/api/admin/ai/audit").await;
        entries
            .into_iter()
            .map(|entry| entry["action"].clone())
            .collect()
    }
}

#[tokio::test]
async fn a_bot_is_created_granted_changed_and_deleted() {
    let parlor = Parlor::start().await;
    let agent = parlor.bot(BOT).await["agent_id"].clone();
    let body = json!({
        "name": "排班助手", "access": "granted", "agent_id": agent, "grants": [COACH, COACH],
    });
    let created = parlor.post(SITE_ADMIN, BOTS, &body).await.created().clone();
    assert_eq!(
        created,
        json!({
            "id": created["id"], "site_id": 1, "name": "排班助手", "display_name": null, "avatar": null,
            "status": "active", "access": "granted", "agent_id": agent, "grants": [COACH],
        })
    );
    let id = created["id"].as_str().unwrap();
    let has_bot = async |user| parlor.my_bots(user).await.contains(&"排班助手".to_owned());
    assert!(has_bot(COACH).await && !has_bot(STAFF).await);
    let session = parlor.begin_session_with(COACH, id).await;
    parlor.create_message(COACH, &session, "你好").await;

    // The grant moves from one user to the other. A missing member of `PUT` becomes null, but
    // access does not widen.
    let path = format!("{BOTS}/{id}");
    let etag = parlor.bot(id).await["etag"].clone();
    let body = json!({ "site_id": 1, "name": "排班", "agent_id": agent, "grants": [STAFF] });
    let changed = parlor.put_if(SITE_ADMIN, &path, &body, &etag).await;
    assert_eq!(
        (
            &changed.ok()["name"],
            &changed.ok()["access"],
            &changed.ok()["grants"]
        ),
        (&json!("排班"), &json!("granted"), &json!([STAFF]))
    );
    let outdated = parlor.put_if(PLATFORM_ADMIN, &path, &body, &etag).await;
    outdated.refused_at(&path, 412, "conflict");
    let messages = format!("{SESSIONS}/{session}/messages");
    let refused = parlor.post_message(COACH, &session, "还在吗").await;
    refused.refused_at(&messages, 403, "not_granted");

    assert_eq!(parlor.delete(SITE_ADMIN, &path).await.status, 204);
    parlor
        .delete(SITE_ADMIN, &path)
        .await
        .refused_at(&path, 404, "not_found");
    let gone = parlor.call(SITE_ADMIN, "PUT", &path, &body).await;
    gone.refused_at(&path, 404, "not_found");
    assert!(
        parlor
            .my_bots(STAFF)
            .await
            .iter()
            .all(|name| name != "排班")
    );
    let kept = parlor.get(COACH, &messages).await;
    assert_eq!(kept.ok()["messages"][0]["content"], "你好");
    assert_eq!(
        parlor.actions().await,
        ["bot.delete", "bot.set", "bot.create"]
    );
}

#[tokio::test]
async fn platform_admins_write_agents_and_never_see_their_ids() {
    let parlor = Parlor::start().await;
    let body = json!({ "name": "千问", "application_id": "app-of-agent-1", "fallback_application_id": "fallback-2" });
    let created = parlor
        .post(PLATFORM_ADMIN, AGENTS, &body)
        .await
        .created()
        .clone();
    assert_eq!(
        created,
        json!({ "id": created["id"], "name": "千问", "application_id_hint": "nt-1", "fallback_hint": "ck-2" })
    );
    let id = created["id"].as_str().unwrap();
    let path = format!("{AGENTS}/{id}");
    let listed = parlor.items(VIEWER, AGENTS).await.remove(0);
    assert_eq!(listed["id"], created["id"]);
    let body = json!({ "name": "千问", "fallback_application_id": null });
    let changed = parlor
        .put_if(PLATFORM_ADMIN, &path, &body, &listed["etag"])
        .await;
    assert_eq!(
        (
            &changed.ok()["application_id_hint"],
            &changed.ok()["fallback_hint"]
        ),
        (&json!("nt-1"), &Value::Null)
    );
    let outdated = parlor
        .put_if(PLATFORM_ADMIN, &path, &body, &listed["etag"])
        .await;
    outdated.refused_at(&path, 412, "conflict");

    // A bot with the agent replies, until the agent has no application.
    let bot = json!({ "name": "小千", "agent_id": id });
    let bot = parlor.post(SITE_ADMIN, BOTS, &bot).await.created().clone();
    let session = parlor
        .begin_session_with(COACH, bot["id"].as_str().unwrap())
        .await;
    parlor
        .create_message(COACH, &session, "[[sim:echo]]你好")
        .await;
    parlor.work_until_done().await;
    assert_eq!(
        parlor.simulator.calls().last().unwrap().app_id,
        "app-of-agent-1"
    );
    parlor
        .delete(PLATFORM_ADMIN, &path)
        .await
        .refused_at(&path, 409, "conflict");
    let removed = json!({ "name": "千问", "application_id": null });
    let removed = parlor.call(PLATFORM_ADMIN, "PUT", &path, &removed).await;
    assert_eq!(removed.ok()["application_id_hint"], Value::Null);
    assert!(
        parlor
            .my_bots(COACH)
            .await
            .iter()
            .all(|name| name != "小千")
    );
    let refused = parlor
        .post(COACH, SESSIONS, &json!({ "bot_id": bot["id"] }))
        .await;
    refused.refused_at(SESSIONS, 404, "not_found");
    let calls = parlor.simulator.calls().len();
    parlor.create_message(COACH, &session, "还在吗").await;
    parlor.work_until_done().await;
    assert_eq!(parlor.simulator.calls().len(), calls);

    // An agent that no bot uses is deleted. Its conversations can be read.
    let free = format!("{BOTS}/{}", bot["id"].as_str().unwrap());
    let freed = parlor
        .call(SITE_ADMIN, "PUT", &free, &json!({ "name": "小千" }))
        .await;
    assert_eq!(freed.ok()["agent_id"], Value::Null);
    assert_eq!(parlor.delete(PLATFORM_ADMIN, &path).await.status, 204);
    parlor
        .delete(PLATFORM_ADMIN, &path)
        .await
        .refused_at(&path, 404, "not_found");
    let messages = parlor
        .get(COACH, &format!("{SESSIONS}/{session}/messages"))
        .await;
    assert_eq!(messages.ok()["messages"][0]["content"], "[[sim:echo]]你好");
    let actions = parlor.actions().await;
    assert_eq!(
        actions,
        [
            "agent.delete",
            "bot.set",
            "agent.set",
            "bot.create",
            "agent.set",
            "agent.create"
        ]
    );
}

#[tokio::test]
async fn openers_are_replaced_and_removed_by_place() {
    let parlor = Parlor::start().await;
    let shown = async |query: &str| {
        let path = format!("/api/xcx/chat/openers{query}");
        parlor.items(COACH, &path).await
    };
    let body =
        json!({ "source_page": "board-finance", "texts": [" 今天生意怎么样？ ", "哪天最忙？"] });
    let set = parlor.call(SITE_ADMIN, "PUT", OPENERS, &body).await;
    assert_eq!(
        set.ok(),
        &json!({ "site_id": 1, "source_page": "board-finance", "bot_id": null, "texts": ["今天生意怎么样？", "哪天最忙？"] })
    );
    assert_eq!(
        shown("?sourcePage=board-finance").await,
        ["今天生意怎么样？", "哪天最忙？"]
    );
    let default = json!({ "site_id": null, "bot_id": BOT, "texts": ["你会什么？"] });
    parlor
        .call(PLATFORM_ADMIN, "PUT", OPENERS, &default)
        .await
        .ok();
    assert_eq!(shown(&format!("?botId={BOT}")).await, ["你会什么？"]);
    assert_eq!(parlor.items(PLATFORM_ADMIN, OPENERS).await.len(), 2);

    let listed = parlor.items(VIEWER, OPENERS).await;
    assert_eq!((listed.len(), &listed[0]["texts"]), (1, &set.body["texts"]));
    let removed = json!({ "source_page": "board-finance", "texts": [] });
    let etag = &listed[0]["etag"];
    parlor
        .put_if(SITE_ADMIN, OPENERS, &removed, etag)
        .await
        .ok();
    assert_eq!(shown("?sourcePage=board-finance").await, [] as [Value; 0]);
    let outdated = parlor.put_if(SITE_ADMIN, OPENERS, &body, etag).await;
    outdated.refused_at(OPENERS, 412, "conflict");
    assert_eq!(
        parlor.actions().await,
        ["openers.set", "openers.set", "openers.set"]
    );
}

#[tokio::test]
async fn invalid_members_of_bots_agents_and_openers_are_refused_by_field() {
    let parlor = Parlor::start().await;
    let unknown = json!("00000000-0000-4000-8000-00000000abcd");
    let own = format!("{BOTS}/{GRANTED}");
    let name = [
        ("name", Value::Null),
        ("name", json!(" ")),
        ("name", json!("x".repeat(101))),
    ];
    let bot = [
        ("display_name", json!("\u{0}")),
        ("avatar", json!("")),
        ("status", json!("paused")),
        ("access", json!("all")),
        ("agent_id", json!("7")),
        ("agent_id", unknown),
        // A user of another site, a platform admin, too many users.
        ("grants", json!([2001])),
        ("grants", json!([PLATFORM_ADMIN])),
        ("grants", json!(vec![COACH; 1001])),
    ];
    let agent = [
        ("application_id", json!("")),
        ("fallback_application_id", json!("应用")),
    ];
    let openers = [
        ("texts", Value::Null),
        ("texts", json!(vec!["x"; 7])),
        ("texts", json!([" "])),
        ("texts", json!(["x".repeat(201)])),
        ("source_page", json!("board")),
        ("bot_id", json!(BOT)),
    ];
    let page = json!({ "source_page": "board-coach", "texts": ["x"] });
    let named = json!({ "name": "x" });
    for (admin, method, path, valid, invalid) in [
        (SITE_ADMIN, "POST", BOTS, &named, &name[..]),
        (SITE_ADMIN, "POST", BOTS, &named, &bot[..]),
        (SITE_ADMIN, "PUT", &*own, &named, &bot[..]),
        (PLATFORM_ADMIN, "POST", AGENTS, &named, &name[..]),
        (PLATFORM_ADMIN, "POST", AGENTS, &named, &agent[..]),
        (SITE_ADMIN, "PUT", OPENERS, &page, &openers[..]),
    ] {
        for (field, value) in invalid {
            let mut body = valid.clone();
            body[field] = value.clone();
            let refused = parlor.call(admin, method, path, &body).await;
            let returned = refused.refused_at(path, 422, "invalid_request");
            assert_eq!(returned["field"], *field, "{body}");
        }
    }
    assert_eq!(parlor.actions().await, [] as [Value; 0]);
}

#[tokio::test]
async fn bots_agents_and_openers_of_others_are_refused() {
    let parlor = Parlor::start().await;
    let own = &*format!("{BOTS}/{GRANTED}");
    let others = &*format!("{BOTS}/{OTHER_SITES}");
    let of_all = &*format!("{BOTS}/{BOT}");
    let unknown = &*format!("{AGENTS}/{BOT}");
    let of_site = |site: Value| json!({ "site_id": site, "name": "x", "texts": ["x"] });
    let (all, first, second) = (of_site(Value::Null), of_site(json!(1)), of_site(json!(2)));
    let missing = of_site(json!(4711));
    let unnamed = json!({ "name": "x", "texts": ["x"] });
    let of_bot = json!({ "bot_id": OTHER_SITES, "texts": ["x"] });
    for (admin, method, path, body, status) in [
        (SITE_ADMIN, "POST", BOTS, &second, 403),
        (SITE_ADMIN, "POST", BOTS, &all, 403),
        (PLATFORM_ADMIN, "POST", BOTS, &unnamed, 422),
        (PLATFORM_ADMIN, "POST", BOTS, &missing, 404),
        (SITE_ADMIN, "PUT", own, &second, 403),
        (PLATFORM_ADMIN, "PUT", own, &second, 409),
        (SITE_ADMIN, "PUT", others, &unnamed, 404),
        (SITE_ADMIN, "PUT", of_all, &unnamed, 403),
        (SITE_ADMIN, "POST", AGENTS, &unnamed, 403),
        (PLATFORM_ADMIN, "PUT", unknown, &unnamed, 404),
        (SITE_ADMIN, "PUT", OPENERS, &of_bot, 404),
        (OTHER_SITE_ADMIN, "PUT", OPENERS, &first, 403),
        (SITE_ADMIN, "PUT", OPENERS, &all, 403),
        (PLATFORM_ADMIN, "PUT", OPENERS, &unnamed, 422),
        (PLATFORM_ADMIN, "PUT", OPENERS, &missing, 404),
    ] {
        let refused = parlor.call(admin, method, path, body).await;
        let what = format!("{admin} {method} {path} {body}: {}", refused.body);
        assert_eq!(refused.status, status, "{what}");
    }
    assert_eq!(parlor.actions().await, [] as [Value; 0]);
}
