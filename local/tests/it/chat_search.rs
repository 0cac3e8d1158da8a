//! The search in the caller's messages and titles.

use serde_json::{Value, json};

use crate::harness::parlor::{Answer, COACH, Parlor, STAFF};

impl Parlor {
    async fn search(&self, user: i64, query: &[(&str, &str)]) -> Answer {
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        self.get(user, &format!("/api/xcx/chat/search?{}", query.join("&")))
            .await
    }
}

/// Percent-encodes a value.
fn encoded(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Asks in a conversation about a task. The simulator repeats the message.
async fn echo(parlor: &Parlor, user: i64, task: &str, content: &str) -> (i64, Value) {
    let chat = parlor.open(user, task).await;
    let sent = parlor
        .send(user, chat, &format!("[[sim:echo]]{content}"))
        .await;
    (chat, sent.ok().clone())
}

/// The message ids of the hits.
fn hits(answer: &Answer) -> Vec<Value> {
    let items = answer.ok()["items"].as_array().unwrap().iter();
    items.map(|item| item["messageId"].clone()).collect()
}

#[tokio::test]
async fn messages_of_both_sides_are_found_newest_first() {
    let parlor = Parlor::start().await;
    let (first, sent) = echo(&parlor, COACH, "a", "周六的台球比赛怎么安排？").await;
    echo(&parlor, COACH, "b", "今天谁最忙").await;
    echo(&parlor, STAFF, "a", "同事的台球").await;
    let (second, again) = echo(
        &parlor,
        COACH,
        "c",
        &format!("{}台球{}", "前".repeat(90), "后".repeat(90)),
    )
    .await;

    let found = parlor.search(COACH, &[("q", "台球")]).await;
    let expected = [
        &again["aiReply"]["id"],
        &again["userMessage"]["id"],
        &sent["aiReply"]["id"],
        &sent["userMessage"]["id"],
    ];
    assert_eq!(hits(&found).iter().collect::<Vec<_>>(), expected);
    assert_eq!(found.body["nextCursor"], json!(null));
    let [newest, oldest] = [&found.body["items"][0], &found.body["items"][3]];
    assert_eq!(
        (&newest["chatId"], &oldest["chatId"]),
        (&json!(second), &json!(first))
    );
    assert_eq!(oldest["createdAt"], sent["userMessage"]["createdAt"]);
    assert!(oldest["title"].as_str().unwrap().contains("台球比赛"));
    for item in found.body["items"].as_array().unwrap() {
        let snippet = item["snippet"].as_str().unwrap();
        assert!(
            snippet.contains("台球") && snippet.chars().count() <= 60,
            "{snippet}"
        );
    }
}

#[tokio::test]
async fn case_and_special_characters_have_no_meaning() {
    let parlor = Parlor::start().await;
    echo(&parlor, COACH, "a", "VIP 客户 100% 满意_\\").await;
    for (text, count) in [
        ("vip", 2),
        ("ViP 客", 2),
        ("100%", 2),
        ("1%0", 0),
        ("意_\\", 2),
        ("意__", 0),
        (" 满意 ", 2),
        ("不满意", 0),
    ] {
        let found = parlor.search(COACH, &[("q", text)]).await;
        assert_eq!(hits(&found).len(), count, "{text}");
    }
}

#[tokio::test]
async fn a_title_is_found_at_the_first_message() {
    let parlor = Parlor::start().await;
    let (chat, sent) = echo(&parlor, COACH, "a", "你好").await;
    let body = json!({ "title": "十月排班" });
    parlor
        .call(COACH, "PATCH", &format!("/api/xcx/chat/{chat}"), &body)
        .await
        .ok();
    let found = parlor.search(COACH, &[("q", "排班")]).await;
    assert_eq!(hits(&found), [sent["userMessage"]["id"].clone()]);
    assert_eq!(found.body["items"][0]["title"], "十月排班");
}

#[tokio::test]
async fn a_cursor_continues_the_search_of_its_text() {
    let parlor = Parlor::start().await;
    for task in ["a", "b", "c"] {
        echo(&parlor, COACH, task, "台球").await;
    }
    let all = hits(&parlor.search(COACH, &[("q", "台球")]).await);
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut query = vec![("q", "台球"), ("page_size", "4")];
        if !cursor.is_empty() {
            query.push(("cursor", &cursor));
        }
        let page = parlor.search(COACH, &query).await;
        found.extend(hits(&page));
        match page.body["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((found.len(), &found), (6, &all));
    for (user, text) in [(COACH, "台"), (STAFF, "台球")] {
        let refused = parlor
            .search(user, &[("q", text), ("cursor", &cursor)])
            .await;
        assert_eq!(refused.refused(422, "invalid_request")["field"], "cursor");
    }
}

#[tokio::test]
async fn a_request_reads_20000_messages_and_its_cursor_reads_the_rest() {
    let parlor = Parlor::start().await;
    let (chat, old) = echo(&parlor, COACH, "a", "很久以前的台球").await;
    sqlx::query(
        "insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content)
         select $1, 1, $2, 2 + n, 'assistant', 'x' from generate_series(1, 20000) n",
    )
    .bind(chat)
    .bind(COACH)
    .execute(&parlor.db)
    .await
    .unwrap();
    let first = parlor.search(COACH, &[("q", "台球")]).await;
    assert_eq!(hits(&first), [] as [Value; 0]);
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = parlor
        .search(COACH, &[("q", "台球"), ("cursor", cursor)])
        .await;
    assert_eq!(
        hits(&second),
        [
            old["aiReply"]["id"].clone(),
            old["userMessage"]["id"].clone()
        ]
    );
    assert_eq!(second.body["nextCursor"], json!(null));
}

#[tokio::test]
async fn an_invalid_search_is_refused() {
    let parlor = Parlor::start().await;
    let long = "长".repeat(65);
    for query in [
        &[][..],
        &[("q", "")],
        &[("q", " ")],
        &[("q", &*long)],
        &[("q", "a\0")],
    ] {
        let refused = parlor.search(COACH, query).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "q",
            "{query:?}"
        );
    }
    let refused = parlor
        .search(COACH, &[("q", "a"), ("page_size", "101")])
        .await;
    assert_eq!(
        refused.refused(422, "invalid_request")["field"],
        "page_size"
    );
}
