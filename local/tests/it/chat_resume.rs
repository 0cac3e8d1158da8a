//! CHAT-5: resuming a reply from any position, during and after its creation.

use std::time::Duration;

use common::{
    chat::replies::{Event, Failure, ResumePoint, State},
    governance::auth::{Caller, Role},
};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::harness::{
    events::{EventStream, SseEvent, terminal, text},
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup, answer},
    until,
    wire::Wire,
};

/// Characters of one to four bytes, some of which form one visible character.
const ODD: &str = "今晚 7 点🎱👨‍👩‍👧‍👦 e\u{301}\r\n\t“引号”\\ \u{10ffff}\u{7f}末";

impl Parlor {
    /// Resumes a reply with a query such as `after=3`.
    pub async fn resume(&self, user: i64, message: &Value, query: &str) -> EventStream {
        let path = format!("/api/xcx/chat/stream/{message}?{query}");
        let response = self.request_as(user, "GET", &path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream::new(response)
    }

    /// Resumes with `Last-Event-ID`, as a browser does.
    async fn resume_after(&self, user: i64, message: &Value, last_event_id: &str) -> Vec<SseEvent> {
        let request = self
            .request_as(user, "GET", &format!("/api/xcx/chat/stream/{message}"))
            .header("Last-Event-ID", last_event_id);
        EventStream::new(request.send().await.unwrap()).rest().await
    }

    async fn refuse_to_resume(&self, user: i64, message: &Value, rest: &str) -> Answer {
        self.get(user, &format!("/api/xcx/chat/stream/{message}{rest}"))
            .await
    }
}

/// Stores a finished reply. Returns its id.
async fn stored(parlor: &Parlor, chat: i64, content: &str) -> Value {
    let id: i64 = sqlx::query_scalar(
        "with next as (
             update biz.ai_conversations set message_count = message_count + 1 where id = $1 returning message_count)
         insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, tokens_used)
         select $1, 1, $2, message_count, 'assistant', $3, 7 from next returning id",
    )
    .bind(chat)
    .bind(COACH)
    .bind(content)
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    id.into()
}

/// Checks the stream of a client that resumed after `after` characters, and returns its text. It
/// has one `start`, one end and increasing ids.
#[track_caller]
fn check_resumed(events: &[SseEvent], message: &Value, after: usize) -> String {
    let (start, rest) = events.split_first().unwrap();
    assert_eq!(
        (&*start.name, &*start.id),
        ("start", &*format!("{message}-0"))
    );
    assert_eq!(start.data["messageId"], *message);
    let (end, tokens) = rest.split_last().unwrap();
    assert!(matches!(&*end.name, "done" | "error"), "{end:?}");
    let mut chars = after;
    for token in tokens {
        assert_eq!(token.name, "message");
        chars += token.data["token"].as_str().unwrap().chars().count();
        assert_eq!(token.id, format!("{message}-{chars}"));
    }
    assert_eq!(end.id, format!("{message}-{chars}"));
    text(tokens)
}

#[tokio::test]
async fn a_resumed_stream_has_the_stored_text_for_every_cut_point() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let content = format!("[[sim:echo]]{ODD}");
    let first = parlor.stream_to_end(COACH, chat, &content).await;
    let message = first[0].data["messageId"].clone();
    let full_text = text(&first);
    for cut in 0..=full_text.chars().count() {
        let before: String = full_text.chars().take(cut).collect();
        let after = parlor
            .resume(COACH, &message, &format!("after={cut}"))
            .await
            .rest()
            .await;
        assert_eq!(before + &check_resumed(&after, &message, cut), full_text);
        assert_eq!(after.last().unwrap(), first.last().unwrap());
        assert_eq!(after[0], first[0]);
    }
    // A client resumes with the ids of the events that it received.
    for (read, event) in first.iter().enumerate() {
        let after = parlor.resume_after(COACH, &message, &event.id).await;
        let before = text(&first[..=read]);
        let chars = before.chars().count();
        assert_eq!(before + &check_resumed(&after, &message, chars), full_text);
    }
}

#[test]
fn properties_of_resuming_any_text_at_any_position() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let parlor = runtime.block_on(Parlor::start());
    let chat = runtime.block_on(parlor.open(COACH, "t"));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(crate::harness::cases(64))
    };
    let texts = ("[^\0]{1,80}", any::<prop::sample::Index>());
    let read = TestRunner::new(config).run(&texts, |(content, cut)| {
        runtime.block_on(async {
            let message = stored(&parlor, chat, &content).await;
            let cut = cut.index(content.chars().count() + 1);
            let events = parlor
                .resume(COACH, &message, &format!("after={cut}"))
                .await
                .rest()
                .await;
            let rest: String = content.chars().skip(cut).collect();
            prop_assert_eq!(check_resumed(&events, &message, cut), rest);
            Ok::<_, TestCaseError>(())
        })
    });
    read.unwrap();
}

#[tokio::test]
async fn a_reply_is_resumed_while_another_instance_makes_it() {
    let parlor = Parlor::start().await;
    let other = Parlor::start_with(Setup {
        database: Some(parlor.database.clone()),
        ..Setup::default()
    })
    .await;
    let chat = parlor.open(COACH, "t").await;
    // The name of the scenario is at the end, because a reply that begins with a repetition, such
    // as `[[`, may come later.
    let content = format!("手机睡着了，醒来接着看。{ODD}[[sim:echo]]");
    let (stream, mut events) = parlor.stream_held(COACH, chat, &content, 4).await;
    drop(stream);

    let message = events[0].data["messageId"].clone();
    let cut = text(&events).chars().count();
    let mut rest = other.resume(COACH, &message, &format!("after={cut}")).await;
    assert_eq!(rest.expect("start").await, events[0]);
    // A second client reads from the start and gets the stored text at once.
    let mut whole = other.resume(COACH, &message, "").await;
    whole.expect("start").await;
    let stored = whole.expect("message").await;
    assert_eq!(stored.data["token"], text(&events));

    parlor.simulator.release();
    events.extend(rest.rest().await);
    assert_eq!(terminal(&events).data["status"], "complete");
    assert_eq!(text(&events), content);
    let more = whole.rest().await;
    assert_eq!(text(&[stored]) + &text(&more), content);
    assert_eq!(parlor.messages(COACH, chat).await[1]["content"], content);
    assert_eq!(parlor.simulator.calls_count(), 1);
}

#[tokio::test]
async fn a_reader_ahead_of_the_last_checkpoint_resumes_from_its_position() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let (_stream, mut events) = parlor
        .stream_held(COACH, chat, "[[sim:echo]]还没有存下的，也已经读到了。", 3)
        .await;
    let message = events[0].data["messageId"].clone();
    let last = events.last().unwrap().id.clone();
    // Either nothing or everything is stored by then. Both cases must work.
    let reading = parlor.resume_after(COACH, &message, &last);
    let release = async { parlor.simulator.release() };
    let (rest, ()) = tokio::join!(reading, release);
    events.extend(rest.into_iter().skip(1));
    terminal(&events);
    assert_eq!(
        text(&events),
        parlor.messages(COACH, chat).await[1]["content"]
    );
}

#[tokio::test]
async fn a_reader_ahead_of_a_dead_reply_gets_the_stored_length() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream(COACH, chat, "[[sim:echo]]一二三四五").await;
    let message = stream.expect("start").await.data["messageId"].clone();
    let mut reading = parlor.resume(COACH, &message, "after=9").await;
    reading.expect("start").await;
    sqlx::query(
        "update biz.ai_messages set content = '一二三', state = 'interrupted', lease_until = null, finished_at = now(),
             error_code = 'interrupted' where state = 'streaming'",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let end = reading.expect("error").await;
    assert_eq!(end.id, format!("{message}-3"));
    assert_eq!(
        (&end.data["code"], &end.data["retryable"]),
        (&json!("unavailable"), &json!(true))
    );
    // A client that resumes later gets the same error.
    let mut again = parlor.resume(COACH, &message, "after=9").await;
    again.expect("start").await;
    assert_eq!(again.expect("error").await, end);
}

#[tokio::test]
async fn following_costs_one_read_for_each_checkpoint() {
    let database = Parlor::start().await;
    let wire = Wire::before(database.database.url()).await;
    let follower = Parlor::start_with(Setup {
        database: Some(database.database.clone()),
        database_url: Some(wire.url.clone()),
        ..Setup::default()
    })
    .await;
    let chat = database.open(COACH, "t").await;
    database.simulator.hold_after(2);
    let mut stream = database
        .stream(COACH, chat, "[[sim:echo]]慢慢说，不着急。")
        .await;
    let message = stream.expect("start").await.data["messageId"].clone();
    let mut reading = follower.resume(COACH, &message, "").await;
    reading.expect("start").await;

    let lease = async || -> Option<chrono::DateTime<chrono::Utc>> {
        sqlx::query_scalar("select lease_until from biz.ai_messages where state = 'streaming'")
            .fetch_one(&database.db)
            .await
            .unwrap()
    };
    let before = wire.round_trips();
    let mut last = lease().await;
    for _ in 0..3 {
        last = until("the next checkpoint", async || {
            Some(lease().await).filter(|next| *next != last)
        })
        .await;
    }
    let reads = wire.round_trips() - before;
    assert!((2..=5).contains(&reads), "{reads} for three checkpoints");
    database.simulator.release();
    let rest = timeout(Duration::from_secs(10), reading.rest())
        .await
        .unwrap();
    assert_eq!(rest.last().unwrap().name, "done");
}

#[tokio::test]
async fn a_long_reply_is_resumed_without_gaps() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let content: String = ODD.chars().cycle().take(100_000).collect();
    let message = stored(&parlor, chat, &content).await;
    for cut in [0, 1, 8_191, 8_192, 8_193, 99_999, 100_000] {
        let query = format!("after={cut}");
        let events = parlor.resume(COACH, &message, &query).await.rest().await;
        let rest: String = content.chars().skip(cut).collect();
        assert_eq!(check_resumed(&events, &message, cut), rest);
    }
}

#[tokio::test]
async fn an_interrupted_reply_ends_with_the_same_error_again() {
    for scenario in ["unavailable", "fail-mid", "empty"] {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let first = parlor
            .stream_to_end(COACH, chat, &format!("[[sim:{scenario}]]你好"))
            .await;
        let error = terminal(&first);
        assert_eq!(error.name, "error", "{scenario}");
        let message = first[0].data["messageId"].clone();
        let again = parlor.resume(COACH, &message, "").await.rest().await;
        assert_eq!(
            check_resumed(&again, &message, 0),
            text(&first),
            "{scenario}"
        );
        assert_eq!(again.last(), first.last(), "{scenario}");
    }
}

#[tokio::test]
async fn with_ascii_every_byte_is_ascii_and_the_text_is_the_same() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let message = stored(&parlor, chat, ODD).await;
    let mut stream = parlor.resume(COACH, &message, "ascii=1&after=2").await;
    assert_eq!(
        stream.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let events = stream.rest().await;
    assert!(stream.bytes.is_ascii());
    let rest: String = ODD.chars().skip(2).collect();
    assert_eq!(check_resumed(&events, &message, 2), rest);
}

#[tokio::test]
async fn last_event_id_overrides_the_query() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let message = stored(&parlor, chat, "一二三四五").await;
    let request = parlor
        .request_as(
            COACH,
            "GET",
            &format!("/api/xcx/chat/stream/{message}?after=1"),
        )
        .header("Last-Event-ID", format!("{message}-4"));
    let events = EventStream::new(request.send().await.unwrap()).rest().await;
    assert_eq!(check_resumed(&events, &message, 4), "五");
}

#[tokio::test]
async fn an_invalid_position_is_refused() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let message = stored(&parlor, chat, "一二三四五").await;
    for after in [
        "6",
        "-1",
        "abc",
        "1.5",
        "99999999999999999999",
        "9223372036854775807",
        "",
        "+1",
        "%00",
    ] {
        let refused = parlor
            .refuse_to_resume(COACH, &message, &format!("?after={after}"))
            .await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "after",
            "{after}"
        );
    }
    let id = message.as_i64().unwrap();
    for header in [
        format!("{id}-6"),
        format!("{id}"),
        format!("{id}-"),
        format!("{id}-x"),
        format!("{id}--1"),
        format!("{id}-1-1"),
        format!("{id}-01"),
        format!("+{id}-1"),
        format!("{id}-99999999999999999999"),
        format!("{}-1", id + 1),
        "-1".to_owned(),
        "你好".to_owned(),
        String::new(),
    ] {
        let request = parlor
            .request_as(COACH, "GET", &format!("/api/xcx/chat/stream/{id}"))
            .header("Last-Event-ID", header.as_bytes());
        let refused = answer(request).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "Last-Event-ID",
            "{header}"
        );
    }
    for unread in ["abc", "0", "-1", "99999999999999999999"] {
        let path = format!("/api/xcx/chat/stream/{unread}");
        let refused = parlor.get(COACH, &path).await;
        assert_eq!(
            refused.refused(422, "invalid_request")["field"],
            "messageId"
        );
    }
}

#[tokio::test]
async fn only_own_replies_can_be_resumed_or_stopped() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let sent = parlor.send(COACH, chat, "你好").await;
    let (own, reply) = (&sent.ok()["userMessage"]["id"], &sent.body["aiReply"]["id"]);
    for (user, message, status, code) in [
        (COACH, own, 404, "not_found"),
        (COACH, &json!(i64::MAX), 404, "not_found"),
        (STAFF, reply, 403, "not_owner"),
        (OTHER_SITE, reply, 404, "not_found"),
    ] {
        parlor
            .refuse_to_resume(user, message, "")
            .await
            .refused(status, code);
        // Also for a position beyond the end: other users must not learn that the reply exists.
        parlor
            .refuse_to_resume(user, message, "?after=100000")
            .await
            .refused(status, code);
        let path = format!("/api/xcx/chat/stream/{message}/stop");
        parlor
            .post(user, &path, &Value::Null)
            .await
            .refused(status, code);
    }
}

#[tokio::test]
async fn readers_do_not_count_as_streams() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_MAX_STREAMS", "2".into())],
        ..Setup::default()
    })
    .await;
    let (first, second) = (parlor.open(COACH, "1").await, parlor.open(COACH, "2").await);
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream(COACH, first, "你好").await;
    let message = stream.expect("start").await.data["messageId"].clone();
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(parlor.resume(COACH, &message, "").await);
    }
    let mut other = parlor.stream(COACH, second, "你好").await;
    parlor.simulator.release();
    assert_eq!(other.rest().await.last().unwrap().name, "done");
    for mut reader in readers {
        assert_eq!(reader.rest().await.last().unwrap().name, "done");
    }
}

#[tokio::test]
async fn a_reader_gets_an_error_before_its_function_times_out() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.simulator.hold_after(1);
    let mut stream = parlor.stream(COACH, chat, "你好").await;
    let message = stream.expect("start").await.data["messageId"].clone();
    let caller = Caller {
        site_id: 1,
        user_id: COACH,
        nickname: "阿杰".to_owned(),
        role: Role::Coach,
    };
    let place = ResumePoint::parse(message.as_i64().unwrap(), None, None).unwrap();
    let killed_at = Instant::now() + Duration::from_secs(7);
    let (_, mut watch) = parlor
        .tools
        .replies
        .resume(&caller, place, Some(killed_at))
        .await
        .unwrap();
    let mut last = None;
    while let Some(event) = watch.next().await {
        last = Some(event);
    }
    assert!(Instant::now() < killed_at);
    let end = Event::Broken {
        state: State::Streaming,
        failure: Failure::Deadline,
    };
    assert_eq!(last, Some(end));
    // The reply itself continues.
    parlor.simulator.release();
    assert_eq!(stream.rest().await.last().unwrap().name, "done");
}
