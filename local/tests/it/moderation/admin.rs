//! The lists of words, for admins.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{Answer, COACH, Parlor, answer},
    routes::{MANAGER, OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const LIST: &str = "/api/admin/ai/moderation-words";

impl Parlor {
    async fn add_word(&self, admin: i64, body: &Value) -> Answer {
        self.post(admin, LIST, body).await
    }

    async fn delete_word(&self, admin: i64, id: &Value, query: &str) -> Answer {
        let path = format!("{LIST}/{id}{query}");
        answer(self.request_as(admin, "DELETE", &path)).await
    }

    async fn words_of(&self, admin: i64, query: &str) -> Vec<Value> {
        let page = self.get(admin, &format!("{LIST}{query}")).await;
        let items = page.ok()["items"].as_array().unwrap().iter();
        items
            .map(|item| json!([item["site_id"], item["word"]]))
            .collect()
    }
}

#[tokio::test]
async fn a_site_admin_edits_the_list_of_the_site() {
    let parlor = Parlor::start().await;
    let added = parlor
        .add_word(SITE_ADMIN, &json!({ "word": " 赌 博 " }))
        .await;
    let word = added.created();
    assert_eq!(
        (&word["site_id"], &word["word"], &word["created_by"]),
        (&json!(1), &json!("赌 博"), &json!(SITE_ADMIN))
    );
    let again = parlor
        .add_word(SITE_ADMIN, &json!({ "word": "赌-博" }))
        .await;
    again.refused_at(LIST, 409, "conflict");
    let other = parlor
        .add_word(OTHER_SITE_ADMIN, &json!({ "word": "赌博" }))
        .await;
    assert_eq!(other.created()["site_id"], 2);

    let page = parlor.get(SITE_ADMIN, LIST).await;
    assert_eq!(
        page.ok(),
        &json!({
            "items": [word], "total": 1, "total_is_estimate": false, "page": 1, "page_size": 20,
            "next_cursor": null,
        })
    );
    let id = word["id"].clone();
    let deleted = parlor.delete_word(SITE_ADMIN, &id, "").await;
    assert_eq!(deleted.status, 204);
    parlor
        .delete_word(SITE_ADMIN, &id, "")
        .await
        .refused_at(LIST, 404, "not_found");
    assert_eq!(parlor.words_of(SITE_ADMIN, "").await, [] as [Value; 0]);

    let audit = parlor.get(SITE_ADMIN, "/api/admin/ai/audit").await;
    let audit = audit.ok()["items"].as_array().unwrap();
    let audit: Vec<_> = audit
        .iter()
        .map(|entry| json!([entry["action"], entry["site_id"], entry["details"]]))
        .collect();
    assert_eq!(
        audit,
        [
            json!(["moderation_word.delete", 1, { "word": "赌 博" }]),
            json!(["moderation_word.create", 1, { "word": "赌 博" }]),
        ]
    );
}

#[tokio::test]
async fn the_list_of_all_sites_belongs_to_platform_admins() {
    let parlor = Parlor::start().await;
    let everywhere = json!({ "site_id": null, "word": "枪支" });
    parlor
        .add_word(SITE_ADMIN, &everywhere)
        .await
        .refused_at(LIST, 403, "forbidden");
    let added = parlor.add_word(PLATFORM_ADMIN, &everywhere).await;
    let id = added.created()["id"].clone();
    assert_eq!(added.body["site_id"], json!(null));
    let unnamed = parlor
        .add_word(PLATFORM_ADMIN, &json!({ "word": "毒品" }))
        .await;
    assert_eq!(
        unnamed.refused_at(LIST, 422, "invalid_request")["field"],
        "site_id"
    );
    let named = json!({ "site_id": 2, "word": "毒品" });
    parlor.add_word(PLATFORM_ADMIN, &named).await.created();
    let unknown = json!({ "site_id": 99, "word": "毒品" });
    parlor
        .add_word(PLATFORM_ADMIN, &unknown)
        .await
        .refused_at(LIST, 404, "not_found");

    let (one, two) = (json!([null, "枪支"]), json!([2, "毒品"]));
    assert_eq!(
        parlor.words_of(SITE_ADMIN, "").await,
        std::slice::from_ref(&one)
    );
    assert_eq!(
        parlor.words_of(PLATFORM_ADMIN, "").await,
        [two.clone(), one.clone()]
    );
    assert_eq!(
        parlor.words_of(PLATFORM_ADMIN, "?site_id=2").await,
        [two, one]
    );

    parlor
        .delete_word(SITE_ADMIN, &id, "")
        .await
        .refused_at(LIST, 403, "forbidden");
    parlor
        .delete_word(PLATFORM_ADMIN, &id, "?site_id=1")
        .await
        .refused_at(LIST, 404, "not_found");
    assert_eq!(
        parlor.delete_word(PLATFORM_ADMIN, &id, "").await.status,
        204
    );
    let audit = parlor.get(PLATFORM_ADMIN, "/api/admin/ai/audit").await;
    let entries = audit.ok()["items"].as_array().unwrap().iter();
    let sites: Vec<&Value> = entries.map(|entry| &entry["site_id"]).collect();
    assert_eq!(sites, [&json!(null), &json!(2), &json!(null)]);
    let audit = parlor.get(SITE_ADMIN, "/api/admin/ai/audit").await;
    assert_eq!(audit.ok()["total"], 0);
}

#[tokio::test]
async fn only_admins_edit_words() {
    let parlor = Parlor::start().await;
    let added = parlor
        .add_word(SITE_ADMIN, &json!({ "word": "赌博" }))
        .await;
    let id = &added.created()["id"];
    for user in [COACH, MANAGER] {
        parlor
            .add_word(user, &json!({ "word": "赌博" }))
            .await
            .refused_at(LIST, 403, "forbidden");
        parlor
            .delete_word(user, id, "")
            .await
            .refused_at(LIST, 403, "forbidden");
        parlor
            .get(user, LIST)
            .await
            .refused_at(LIST, 403, "forbidden");
    }
    assert_eq!(parlor.words_of(SITE_ADMIN, "").await.len(), 1);
}

#[tokio::test]
async fn a_word_that_cannot_be_compared_is_refused() {
    let parlor = Parlor::start().await;
    for word in [
        json!(null),
        json!(""),
        json!("，。 ！🎲"),
        json!("a\u{0}b"),
        json!("a".repeat(65)),
        json!("-".repeat(200) + "a"),
    ] {
        let refused = parlor.add_word(SITE_ADMIN, &json!({ "word": word })).await;
        assert_eq!(
            refused.refused_at(LIST, 422, "invalid_request")["field"],
            "word",
            "{word}"
        );
    }
    parlor
        .add_word(SITE_ADMIN, &json!({ "word": "a ".repeat(64) }))
        .await
        .created();
}

#[tokio::test]
async fn pages_of_words_are_followed_by_cursor() {
    let parlor = Parlor::start().await;
    for word in ["一", "二", "三", "四", "五"] {
        parlor
            .add_word(SITE_ADMIN, &json!({ "word": word }))
            .await
            .created();
    }
    let (mut found, mut query) = (Vec::new(), "?page_size=2".to_owned());
    loop {
        let page = parlor.get(SITE_ADMIN, &format!("{LIST}{query}")).await;
        assert_eq!(page.ok()["total"], 5);
        let items = page.body["items"].as_array().unwrap().iter();
        found.extend(items.map(|item| item["word"].clone()));
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?page_size=2&cursor={cursor}");
    }
    assert_eq!(found, ["五", "四", "三", "二", "一"]);
}
