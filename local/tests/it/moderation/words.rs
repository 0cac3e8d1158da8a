//! Lists of words.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{setup, started};
use crate::harness::{
    database::TestDatabase,
    events::{EventStream, terminal, text},
    parlor::{COACH, OTHER_SITE, Parlor, Setup, answer},
    sessions::SESSIONS,
    until, until_within,
};

const WORDS: &[(&str, &str)] = &[("MODERATION", "words")];

impl Parlor {
    /// Stores a word as an admin would. `None`: for all sites.
    async fn forbids(&self, site: Option<i64>, word: &str) {
        sqlx::query(
            "insert into biz.moderation_words (site_id, word, normal, created_by) values ($1, $2, lower($2), 9001)",
        )
        .bind(site)
        .bind(word)
        .execute(&self.db)
        .await
        .unwrap();
    }
}

async fn forbidding(word: &str) -> Parlor {
    let parlor = started(WORDS).await;
    parlor.forbids(Some(1), word).await;
    parlor
}

#[tokio::test]
async fn a_question_with_a_blocked_word_is_neither_stored_nor_asked() {
    let parlor = forbidding("赌博game").await;
    let chat = parlor.open(COACH, "t").await;
    let session = parlor.begin_session(COACH).await;
    for question in ["来赌博game吧", "赌 博，Ｇ-a-M-e！", "赌\u{200b}博\nGAME"] {
        let body = json!({ "chatId": chat, "content": question });
        let streamed = parlor.post(COACH, "/api/xcx/chat/stream", &body).await;
        streamed.refused(422, "content_blocked");
        let sent = parlor.send(COACH, chat, question).await;
        sent.refused(422, "content_blocked");
        let posted = parlor.post_message(COACH, &session, question).await;
        posted.refused_at(SESSIONS, 422, "content_blocked");
    }
    assert_eq!(parlor.simulator.calls_count(), 0);
    for table in ["ai_messages", "ai_run_logs", "ai_trigger_jobs"] {
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select count(*) from biz.{table}"
        )))
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    let allowed = parlor.send(COACH, chat, "赌一把，博学").await;
    assert_eq!(allowed.ok()["aiReply"]["status"], "complete");
}

#[tokio::test]
async fn an_answer_with_a_blocked_word_is_hidden_everywhere() {
    let parlor = forbidding("赌博game").await;
    for (n, said) in ["今天可以去赌|博ga|me了", "今天可以去赌 、博Ｇ|ａ-Ｍ|e了"]
        .into_iter()
        .enumerate()
    {
        let chat = parlor.open(COACH, &format!("t{n}")).await;
        parlor.answers(said);
        let events = parlor.stream_to_end(COACH, chat, "去哪里").await;
        parlor.is_hidden(chat, &events, "今天可以").await;
        let reply = &events[0].data["messageId"];
        let verdicts = parlor.verdicts(reply).await;
        assert_eq!(
            (&verdicts[0]["service"], &verdicts[0]["result"]),
            (&json!("words"), &json!("block"))
        );
        parlor
            .continues_without(chat, &["今天可以", "去哪里"])
            .await;
    }
    let chat = parlor.open(COACH, "json").await;
    parlor.answers("今天可以去赌|博game了");
    let sent = parlor.send(COACH, chat, "去哪里").await;
    assert_eq!(
        (
            &sent.ok()["aiReply"]["status"],
            &sent.body["aiReply"]["content"]
        ),
        (&json!("failed"), &json!(super::SENTENCE))
    );
}

#[tokio::test]
async fn a_word_that_two_checkpoints_split_is_found() {
    let parlor = forbidding("赌博game").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("今天可以去赌博|game了|还有别的|没有了");
    let (mut stream, mut events) = parlor.stream_held(COACH, chat, "去哪里", 1).await;
    assert_eq!(text(&events), "今天可以去赌博");
    let reply = events[0].data["messageId"].as_i64().unwrap();
    until("a checkpoint stores the first half", async || {
        let stored: bool =
            sqlx::query_scalar("select reply_text(m) <> '' from biz.ai_messages m where id = $1")
                .bind(reply)
                .fetch_one(&parlor.db)
                .await
                .unwrap();
        stored.then_some(())
    })
    .await;
    parlor.simulator.release();
    events.extend(stream.rest().await);
    parlor.is_hidden(chat, &events, "今天可以").await;
    parlor.continues_without(chat, &["今天可以"]).await;
}

#[tokio::test]
async fn a_long_answer_stops_at_the_checkpoint_that_finds_the_word() {
    let parlor = forbidding("赌博game").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("今天可以去|赌博game了|还有别的");
    // The application pauses after the word, and would not end.
    let (mut stream, mut events) = parlor.stream_held(COACH, chat, "去哪里", 2).await;
    events.extend(stream.rest().await);
    parlor.is_hidden(chat, &events, "今天可以").await;
}

#[tokio::test]
async fn an_answer_without_blocked_words_is_unchanged() {
    let parlor = forbidding("赌博game").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("赌一把|，博学 game|。");
    let events = parlor.stream_to_end(COACH, chat, "你好").await;
    assert_eq!(terminal(&events).data["status"], "complete");
    assert_eq!(text(&events), "赌一把，博学 game。");
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        text(&events)
    );
    assert_eq!(
        parlor.verdicts(&events[0].data["messageId"]).await,
        json!(null)
    );
}

#[tokio::test]
async fn the_words_of_another_site_do_not_apply() {
    let parlor = started(WORDS).await;
    parlor.forbids(Some(2), "赌博").await;
    parlor.forbids(None, "枪支").await;
    let (own, other) = (
        parlor.open(COACH, "t").await,
        parlor.open(OTHER_SITE, "t").await,
    );
    assert_eq!(parlor.send(COACH, own, "赌博").await.status, 200);
    parlor
        .send(OTHER_SITE, other, "赌博")
        .await
        .refused(422, "content_blocked");
    for (user, chat) in [(COACH, own), (OTHER_SITE, other)] {
        parlor
            .send(user, chat, "枪支")
            .await
            .refused(422, "content_blocked");
    }
}

#[tokio::test]
async fn words_are_not_compared_without_configuration() {
    let parlor = Parlor::start().await;
    parlor.forbids(Some(1), "赌博").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("去赌博");
    let sent = parlor.send(COACH, chat, "赌博").await;
    assert_eq!(sent.ok()["aiReply"]["content"], "去赌博");
}

#[tokio::test]
async fn a_question_that_is_asked_again_is_compared_with_newer_words() {
    let database = Arc::new(TestDatabase::new().await);
    let on = |database: &Arc<TestDatabase>| Setup {
        database: Some(Arc::clone(database)),
        ..setup(WORDS)
    };
    let parlor = Parlor::start_with(on(&database)).await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "去赌博").await.ok();
    parlor.forbids(Some(1), "赌博").await;

    // Another instance has not read the list yet.
    let other = Parlor::start_with(on(&database)).await;
    let path = format!("/api/xcx/chat/{chat}/regenerate");
    let request = other.request_as(COACH, "POST", &path).json(&json!({}));
    let response = request.send().await.unwrap();
    let events = EventStream::new(response).rest().await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    assert_eq!(other.simulator.calls_count(), 0);
}

#[tokio::test]
async fn a_word_is_in_force_within_30_seconds() {
    let parlor = started(WORDS).await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "去赌博").await.ok();
    parlor.forbids(Some(1), "赌博").await;
    let body = json!({ "content": "去赌博", "clientMessageId": "a" });
    let path = format!("/api/xcx/chat/{chat}/messages");
    until_within(
        Duration::from_secs(31),
        "the list is read again",
        async || {
            let sent = answer(parlor.request_as(COACH, "POST", &path).json(&body)).await;
            (sent.status == 422).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn an_answer_of_a_bot_with_a_blocked_word_is_hidden() {
    let parlor = forbidding("赌博game").await;
    let session = parlor.begin_session(COACH).await;
    parlor.answers("今天可以去赌博 game了");
    let message = parlor.create_message(COACH, &session, "去哪里").await;
    parlor.work().await;
    let page = parlor.session_messages(COACH, &session, "").await;
    let reply = &page["messages"][1];
    assert_eq!(
        (&reply["status"], &reply["reply_to"]),
        (&json!("failed"), &json!(message))
    );
    assert_eq!(parlor.tables_with("今天可以").await, [] as [&str; 0]);
    assert_eq!(parlor.last_run().await["error_code"], "content_blocked");
    assert_eq!(parlor.verdicts(&reply["id"]).await[0]["service"], "words");

    parlor.answers_as_usual();
    parlor.create_message(COACH, &session, "下一个问题").await;
    parlor.work().await;
    let calls = parlor.simulator.calls();
    assert_eq!(calls.len(), 2, "a blocked answer is not asked for again");
    assert!(!calls[1].prompt().contains("去哪里"));
}
