//! The messages of a session: paging in both directions, and read marks.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, Parlor},
    sessions::{SESSIONS, ids},
};

/// A session with `questions` messages and their replies. Returns the ids of all messages.
async fn conversation(parlor: &Parlor, questions: usize) -> (String, Vec<Value>) {
    let id = parlor.begin_session(COACH).await;
    let mut expected = Vec::new();
    for number in 0..questions {
        let question = parlor
            .create_message(COACH, &id, &format!("第{number}问"))
            .await;
        parlor.reply(question, "complete", "好的。").await;
        let reply: i64 = sqlx::query_scalar(
            "select id from biz.ai_messages where role = 'assistant' and reply_to = $1",
        )
        .bind(question)
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        expected.extend([Value::from(question), Value::from(reply)]);
    }
    (id, expected)
}

/// `before` must not compare timestamps.
#[tokio::test]
async fn messages_of_the_same_instant_are_neither_skipped_nor_repeated() {
    let parlor = Parlor::start().await;
    let (id, expected) = conversation(&parlor, 4).await;
    parlor
        .execute("update biz.ai_messages set created_at = '2026-01-01'")
        .await;
    for limit in 1..=9 {
        let mut back = Vec::new();
        let mut query = format!("limit={limit}");
        loop {
            let page = parlor.session_messages(COACH, &id, &query).await;
            let found = ids(&page["messages"]);
            query = format!("limit={limit}&before={}", found[0]);
            back.splice(0..0, found);
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(back, expected, "{limit}");

        let mut forth = vec![expected[0].clone()];
        loop {
            let query = format!("limit={limit}&after={}", forth.last().unwrap());
            let page = parlor.session_messages(COACH, &id, &query).await;
            forth.extend(ids(&page["messages"]));
            if page["has_more"] == false {
                break;
            }
        }
        assert_eq!(forth, expected, "{limit}");
    }
}

/// `has_more` must not be true only because the page is full.
#[tokio::test]
async fn has_more_is_exact_at_every_boundary_in_both_directions() {
    let parlor = Parlor::start().await;
    let (id, all) = conversation(&parlor, 3).await;
    for limit in 1..=all.len() + 1 {
        let newest = parlor
            .session_messages(COACH, &id, &format!("limit={limit}"))
            .await;
        let from = all.len().saturating_sub(limit);
        assert_eq!(ids(&newest["messages"]), all[from..], "{limit}");
        assert_eq!(newest["has_more"], from > 0, "{limit}");
        assert_eq!(newest["count"], all.len() - from);
        for (place, message) in all.iter().enumerate() {
            let query = format!("limit={limit}&before={message}");
            let page = parlor.session_messages(COACH, &id, &query).await;
            let from = place.saturating_sub(limit);
            assert_eq!(ids(&page["messages"]), all[from..place], "{query}");
            assert_eq!(page["has_more"], from > 0, "{query}");

            let query = format!("limit={limit}&after={message}");
            let page = parlor.session_messages(COACH, &id, &query).await;
            let to = all.len().min(place + 1 + limit);
            assert_eq!(ids(&page["messages"]), all[place + 1..to], "{query}");
            assert_eq!(page["has_more"], to < all.len(), "{query}");
            assert_eq!(page["count"], to - place - 1, "{query}");
        }
    }
    let empty = parlor.begin_session(COACH).await;
    assert_eq!(
        parlor.session_messages(COACH, &empty, "").await,
        json!({ "messages": [], "count": 0, "has_more": false })
    );
}

/// `read` must mark all messages, and must not set the counter to 0 if a message
/// arrives meanwhile.
#[tokio::test]
async fn messages_before_a_read_mark_are_read_and_later_ones_unread() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let mut questions = Vec::new();
    for _ in 0..4 {
        questions.push(parlor.create_message(COACH, &id, "在吗").await);
    }
    parlor.reply(questions[0], "complete", "在。").await;
    parlor.reply(questions[1], "failed", "Not now.").await;
    assert_eq!(parlor.session(COACH, &id).await["unread_count"], 2);
    let marked = parlor.mark_read(COACH, &id).await;
    assert_eq!(marked.ok()["marked_read"], 2);
    parlor.reply(questions[2], "complete", "又在。").await;
    assert_eq!(parlor.session(COACH, &id).await["unread_count"], 1);
    let page = parlor.session_messages(COACH, &id, "").await;
    let replies = page["messages"].as_array().unwrap().iter();
    let replies: Vec<_> = replies
        .filter(|message| message["sender_type"] == "bot")
        .map(|message| json!([message["status"], message["ack_status"]]))
        .collect();
    assert_eq!(
        json!(replies),
        json!([
            ["read", "acked"],
            ["failed", "acked"],
            ["delivered", "pending"]
        ])
    );
    assert_eq!(parlor.mark_read(COACH, &id).await.ok()["marked_read"], 1);
    assert_eq!(parlor.mark_read(COACH, &id).await.ok()["marked_read"], 0);

    // The user's own message marks nothing as read and is not counted.
    parlor.reply(questions[3], "complete", "一直在。").await;
    parlor.create_message(COACH, &id, "好").await;
    assert_eq!(parlor.session(COACH, &id).await["unread_count"], 1);
    assert_eq!(parlor.mark_read(COACH, &id).await.ok()["marked_read"], 1);
}

#[tokio::test]
async fn concurrent_read_marks_and_replies_keep_unread_counts_exact() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    let mut questions = Vec::new();
    for _ in 0..20 {
        questions.push(parlor.create_message(COACH, &id, "在吗").await);
    }
    let replies = async {
        for question in &questions {
            parlor.reply(*question, "complete", "在。").await;
        }
    };
    let marks = async {
        let mut marked = 0;
        for _ in 0..20 {
            let answer = parlor.mark_read(COACH, &id).await;
            marked += answer.ok()["marked_read"].as_i64().unwrap();
        }
        marked
    };
    let ((), marked) = tokio::join!(replies, marks);
    let left = parlor.session(COACH, &id).await["unread_count"]
        .as_i64()
        .unwrap();
    assert_eq!(marked + left, 20);
    // The counter in the list equals the number of unread messages.
    let page = parlor.session_messages(COACH, &id, "limit=100").await;
    let unread = page["messages"].as_array().unwrap().iter();
    let unread = unread.filter(|message| message["status"] == "delivered");
    assert_eq!(i64::try_from(unread.count()).unwrap(), left);
}

#[tokio::test]
async fn a_page_has_a_maximum_size() {
    let parlor = Parlor::start().await;
    let id = parlor.begin_session(COACH).await;
    sqlx::query(
        "with c as (update biz.ai_conversations set message_count = 120 where public_id = $1::uuid returning *)
         insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content)
         select c.id, c.site_id, c.user_id, n, 'user', n::text from c cross join generate_series(1, 120) n",
    )
    .bind(&id)
    .execute(&parlor.db)
    .await
    .unwrap();
    for (query, count) in [
        ("", 50),
        ("limit=100", 100),
        ("limit=101", 100),
        ("limit=99999999999999999999", 100),
    ] {
        let page = parlor.session_messages(COACH, &id, query).await;
        assert_eq!(
            (&page["count"], &page["has_more"]),
            (&json!(count), &json!(true))
        );
        assert_eq!(page["messages"][count - 1]["content"], "120");
    }
    let page = parlor.get(COACH, &format!("{SESSIONS}?limit=1000")).await;
    assert_eq!(page.ok()["limit"], 100);
}
