//! The text of a reply that is being made: one segment for each checkpoint, until the reply ends.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::harness::{
    events::{terminal, text},
    invariants,
    parlor::{COACH, Parlor},
    sweep, until,
};

const PARTS: [&str; 3] = ["今天", "有🎱比赛，", "请早些来。"];

impl Parlor {
    /// Leaves a reply as if another function were making it. Each part was a checkpoint.
    async fn being_made(&self, chat: i64, parts: &[&str]) -> i64 {
        let id = self.begin_and_die(COACH, chat, "你好", "").await;
        let id = id.as_i64().unwrap();
        self.execute("update biz.ai_messages set lease_until = now() + interval '1 hour' where state = 'streaming'")
            .await;
        let mut from_char = 0;
        for part in parts {
            sqlx::query("insert into biz.ai_reply_segments (message_id, site_id, from_char, text) values ($1, 1, $2, $3)")
                .bind(id)
                .bind(from_char)
                .bind(part)
                .execute(&self.db)
                .await
                .unwrap();
            from_char += i32::try_from(part.chars().count()).unwrap();
        }
        id
    }

    async fn expire_leases(&self) {
        self.execute("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
            .await;
    }

    /// The number of segments of all replies.
    pub async fn segments(&self) -> i64 {
        sqlx::query_scalar("select count(*) from biz.ai_reply_segments")
            .fetch_one(&self.db)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn segments_are_read_as_one_text() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let id = parlor.being_made(chat, &PARTS).await;
    let whole = PARTS.concat();

    let reply = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&reply["status"], &reply["content"]),
        (&json!("streaming"), &json!(whole))
    );
    // Inside of segments, and where one ends.
    for cut in [0, 1, 2, 5, 11] {
        let query = format!("after={cut}");
        let mut stream = parlor.resume(COACH, &json!(id), &query).await;
        stream.expect("start").await;
        let rest: String = whole.chars().skip(cut).collect();
        assert_eq!(stream.expect("message").await.data["token"], json!(rest));
    }
    let export = parlor.request_as(COACH, "GET", "/api/xcx/chat/export");
    let export = export.send().await.unwrap().text().await.unwrap();
    assert!(export.contains(&whole), "{export}");
    let found = parlor.get(COACH, "/api/xcx/chat/search?q=天有").await;
    assert_eq!(found.ok()["items"][0]["messageId"], json!(id));

    let stop = format!("/api/xcx/chat/stream/{id}/stop");
    let stopping = parlor.post(COACH, &stop, &Value::Null).await;
    assert_eq!(stopping.body["status"], "stopping");
    parlor.expire_leases().await;
    let stopped = parlor.post(COACH, &stop, &Value::Null).await;
    assert_eq!(stopped.body["status"], "interrupted");

    // The next message ends the reply, and its prompt has the text.
    parlor.send(COACH, chat, "然后呢").await.ok();
    let calls = parlor.simulator.calls();
    assert!(calls.last().unwrap().prompt().contains(&whole));
    let reply = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&reply["status"], &reply["content"]),
        (&json!("interrupted"), &json!(whole))
    );
    invariants::check_stored(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn no_end_of_a_reply_leaves_a_segment() {
    let parlor = Parlor::start().await;
    for (scenario, status) in [
        ("echo", "complete"),
        ("echo", "stopped"),
        ("fail-mid", "interrupted"),
        ("inspection:3", "failed"),
    ] {
        let chat = parlor.open(COACH, status).await;
        let content = format!("检查点存下的话，结束时都在消息里。[[sim:{scenario}]]");
        let (mut stream, mut events) = parlor.stream_held(COACH, chat, &content, 2).await;
        until("a checkpoint", async || {
            (parlor.segments().await > 0).then_some(())
        })
        .await;
        if status == "stopped" {
            let id = &events[0].data["messageId"];
            let stop = format!("/api/xcx/chat/stream/{id}/stop");
            parlor.post(COACH, &stop, &Value::Null).await;
        } else {
            parlor.simulator.release();
        }
        events.extend(stream.rest().await);
        terminal(&events);
        parlor.simulator.release();

        let expected = match status {
            "failed" => String::new(),
            _ => text(&events),
        };
        let reply = &parlor.messages(COACH, chat).await[1];
        assert_eq!(
            (&reply["status"], &reply["content"]),
            (&json!(status), &json!(expected))
        );
        assert_eq!(parlor.segments().await, 0, "{status}");
    }
}

#[tokio::test]
async fn a_deleted_conversation_leaves_no_segment() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.being_made(chat, &PARTS).await;
    let path = format!("/api/xcx/chat/{chat}");
    let busy = parlor.call(COACH, "DELETE", &path, &Value::Null).await;
    assert_eq!(busy.status, 409);
    assert_eq!(parlor.segments().await, 3);
    parlor.expire_leases().await;
    let deleted = parlor.call(COACH, "DELETE", &path, &Value::Null).await;
    assert!(deleted.status.is_success(), "{}", deleted.body);
    assert_eq!(parlor.segments().await, 0);
}

/// An older build stores the text of a reply in its message.
#[tokio::test]
async fn a_dead_reply_of_an_older_build_keeps_its_text() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.being_made(chat, &[]).await;
    parlor
        .execute("update biz.ai_messages set content = '旧版存下的' where state = 'streaming'")
        .await;
    assert_eq!(
        parlor.messages(COACH, chat).await[1]["content"],
        "旧版存下的"
    );
    parlor.expire_leases().await;
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 1);
    let reply = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&reply["status"], &reply["content"]),
        (&json!("interrupted"), &json!("旧版存下的"))
    );
    invariants::check_stored(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_text_that_an_older_build_left_behind_is_restored() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.being_made(chat, &PARTS).await;
    parlor.expire_leases().await;
    // The sweep of an older build does not see the segments.
    parlor
        .execute("create table biz.kept as select * from biz.ai_reply_segments")
        .await;
    parlor.execute("delete from biz.ai_reply_segments").await;
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 1);
    assert_eq!(parlor.messages(COACH, chat).await[1]["status"], "failed");
    parlor
        .execute("insert into biz.ai_reply_segments select * from biz.kept")
        .await;

    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 1);
    let reply = &parlor.messages(COACH, chat).await[1];
    assert_eq!(
        (&reply["status"], &reply["content"]),
        (&json!("interrupted"), &json!(PARTS.concat()))
    );
    assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, 0);
    invariants::check_stored(&parlor, COACH, chat).await;
}

/// The product's statement of a checkpoint.
fn checkpoint_statement() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let files = std::fs::read_dir(directory).unwrap();
    let mut statements = files.map(|file| {
        let prepared = std::fs::read(file.unwrap().path()).unwrap();
        let prepared: Value = serde_json::from_slice(&prepared).unwrap();
        prepared["query"].as_str().unwrap().to_owned()
    });
    statements
        .find(|statement| statement.contains("insert into biz.ai_reply_segments"))
        .unwrap()
}

/// Writes a checkpoint. Returns false if the reply has ended.
async fn checkpoint(connection: &mut PgConnection, id: i64, from_char: i32, text: &str) -> bool {
    let row = sqlx::query(AssertSqlSafe(checkpoint_statement()))
        .bind(1_i64)
        .bind(id)
        .bind(from_char)
        .bind(text)
        .bind(30.0)
        .fetch_optional(connection)
        .await
        .unwrap();
    row.is_some()
}

/// Ends a reply as complete.
async fn finish(connection: &mut PgConnection, id: i64, saved: i32, unsaved: &str) {
    let end = json!({
        "status": "success", "unknown_tries": 0, "session_lost": false, "latency_ms": 1,
        "attempts": 1, "circuit": "success",
    });
    sqlx::query(
        "select finish_reply(r.site_id, r.message_id, r.id, r.created_at, 'complete', $2, $3, false, null, $4)
         from biz.ai_run_logs r where r.message_id = $1",
    )
    .bind(id)
    .bind(saved)
    .bind(unsaved)
    .bind(end)
    .execute(connection)
    .await
    .unwrap();
}

/// Two connections of which the second waits for the first.
struct Racing {
    parlor: Parlor,
    chat: i64,
    id: i64,
    first: PoolConnection<Postgres>,
    second: PoolConnection<Postgres>,
}

impl Racing {
    /// A reply of which 今天 is stored.
    async fn new() -> Self {
        let parlor = Parlor::start().await;
        let chat = parlor.open(COACH, "t").await;
        let id = parlor.being_made(chat, &PARTS[..1]).await;
        let first = parlor.db.acquire().await.unwrap();
        let second = parlor.db.acquire().await.unwrap();
        Self {
            parlor,
            chat,
            id,
            first,
            second,
        }
    }

    async fn content(&self) -> Value {
        self.parlor.messages(COACH, self.chat).await[1]["content"].clone()
    }
}

/// Commits the transaction of a connection when another one waits for its locks.
async fn commit_when_another_waits(db: &PgPool, connection: &mut PgConnection) {
    until("another connection waits", async || {
        sqlx::query_scalar::<_, bool>(
            "select true from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' limit 1",
        )
        .fetch_optional(db)
        .await
        .unwrap()
    })
    .await;
    connection.execute("commit").await.unwrap();
}

#[tokio::test]
async fn the_longest_of_several_texts_at_a_position_is_kept() {
    let (short, long) = ("有🎱", "有🎱比赛，");
    for [earlier, later] in [[short, long], [long, short], [long, long]] {
        let mut race = Racing::new().await;
        let Racing { id, first, .. } = &mut race;
        assert!(checkpoint(first, *id, 2, earlier).await);
        assert!(checkpoint(first, *id, 2, later).await);
        assert_eq!(race.content().await, "今天有🎱比赛，");

        // Both at once.
        let mut race = Racing::new().await;
        let Racing {
            parlor,
            id,
            first,
            second,
            ..
        } = &mut race;
        first.execute("begin").await.unwrap();
        assert!(checkpoint(first, *id, 2, earlier).await);
        let (is_stored, ()) = tokio::join!(
            checkpoint(second, *id, 2, later),
            commit_when_another_waits(&parlor.db, first)
        );
        assert!(is_stored);
        assert_eq!(race.content().await, "今天有🎱比赛，");

        // A later checkpoint does not move the text, and a late one does not shorten it.
        let Racing { id, first, .. } = &mut race;
        assert!(checkpoint(first, *id, 7, "请早些来。").await);
        assert!(checkpoint(first, *id, 2, short).await);
        assert!(checkpoint(first, *id, 7, "").await);
        assert_eq!(race.content().await, "今天有🎱比赛，请早些来。");
    }
}

#[tokio::test]
async fn a_checkpoint_that_waits_for_the_end_changes_nothing() {
    let mut race = Racing::new().await;
    let Racing {
        parlor,
        id,
        first,
        second,
        ..
    } = &mut race;
    first.execute("begin").await.unwrap();
    finish(first, *id, 2, "有比赛").await;
    let (is_stored, ()) = tokio::join!(
        checkpoint(second, *id, 2, "有比赛"),
        commit_when_another_waits(&parlor.db, first)
    );
    assert!(!is_stored);
    assert_eq!(parlor.segments().await, 0);
    assert_eq!(race.content().await, "今天有比赛");
    invariants::check_stored(&race.parlor, COACH, race.chat).await;
}

#[tokio::test]
async fn an_end_that_waits_for_a_checkpoint_stores_its_text_once() {
    let mut race = Racing::new().await;
    let Racing {
        parlor,
        id,
        first,
        second,
        ..
    } = &mut race;
    first.execute("begin").await.unwrap();
    assert!(checkpoint(first, *id, 2, "有比").await);
    tokio::join!(
        finish(second, *id, 2, "有比赛"),
        commit_when_another_waits(&parlor.db, first)
    );
    assert_eq!(parlor.segments().await, 0);
    assert_eq!(race.content().await, "今天有比赛");
    invariants::check_stored(&race.parlor, COACH, race.chat).await;
}

#[tokio::test]
async fn a_checkpoint_without_the_lease_changes_nothing() {
    let mut race = Racing::new().await;
    race.parlor.expire_leases().await;
    assert_eq!(sweep(&race.parlor.db, 90).await.unwrap().replies, 1);
    let Racing { id, first, .. } = &mut race;
    assert!(!checkpoint(first, *id, 2, "有比赛").await);
    assert_eq!(race.parlor.segments().await, 0);
    assert_eq!(race.content().await, "今天");
}
