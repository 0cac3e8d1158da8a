//! 100,000 messages: dry run, a killed import, its repetition, and what the APIs show afterwards.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, types::Json};

use super::{Counts, Move, contents};
use crate::harness::{
    child::Program,
    invariants,
    jobs::SITE_ADMIN,
    parlor::{COACH, OTHER_SITE, Parlor, Setup},
    sessions::SESSIONS,
};

const FASTAPI_USERS: &str = "1001,1,1001,阿杰,coach,\n1002,1,1002,小雅,staff,\n1003,1,1003,王店长,manager,\n2001,2,2001,阿豪,coach,\n";
const FLASK_USERS: &str = "u-1,1,1001,阿杰,coach,\nu-2,2,2001,阿豪,coach,\n";

#[tokio::test]
async fn an_import_does_what_its_dry_run_says_also_after_a_kill() {
    let all = Move::new(include_str!("many.sql")).await;
    all.write_users("fastapi.csv", FASTAPI_USERS);
    all.write_users("flask.csv", FLASK_USERS);
    let db = all.parlor.pool().await;
    let before = contents(&db).await;
    let (_, fastapi) = all.import("fastapi", &["--dry-run"]).await;
    let (_, flask) = all.import("flask", &["--dry-run"]).await;
    assert_eq!(contents(&db).await, before);
    assert_eq!(fastapi["message"], [90_000, 0, 90_000, 0, 0]);
    assert_eq!(fastapi["conversation"], [4_500, 0, 4_500, 0, 0]);
    assert_eq!(fastapi["run"], [8_000, 0, 8_000, 0, 0]);
    assert_eq!(fastapi["result"], [1_000, 0, 1_000, 0, 0]);
    assert_eq!(fastapi["job"], [400, 0, 300, 0, 100]);
    assert_eq!(flask["message"], [10_000, 0, 10_000, 0, 0]);
    assert_eq!(flask["session"], [1_000, 0, 1_000, 0, 0]);

    kill_in_the_middle(&all).await;
    let (_, resumed) = all.import("fastapi", &[]).await;
    assert_ne!(resumed["message"][1], 0, "the killed import stored nothing");
    assert_ne!(
        resumed["message"][2], 0,
        "the killed import stored everything"
    );
    assert_eq!(together(&resumed), together(&fastapi));
    let (_, imported) = all
        .import("flask", &["--ids", all.file("ids.csv").to_str().unwrap()])
        .await;
    assert_eq!(together(&imported), together(&flask));
    let ids = all.text("ids.csv");
    let of_sessions = ids
        .lines()
        .filter(|line| line.starts_with("session,session-"));
    assert_eq!(of_sessions.count(), 100);

    let after = contents(&db).await;
    for service in ["fastapi", "flask"] {
        let (_, again) = all.import(service, &[]).await;
        assert!(again.values().all(|counts| counts[2] == 0), "{again:?}");
    }
    assert_eq!(contents(&db).await, after);
    db.close().await;
    check_apis(&all).await;
}

/// Kills the import once it has stored some of the messages.
async fn kill_in_the_middle(all: &Move) {
    let mut program = Program::start(all.command("fastapi", &[]));
    program
        .line(|line| line.starts_with("message: ").then_some(()))
        .await;
    program.kill();
    program.ended().await;
}

/// Rows that are imported in the end, and those that are not.
fn together(counts: &Counts) -> Vec<(&str, u64, u64)> {
    let kinds = counts.iter();
    kinds
        .map(|(kind, counts)| (kind.as_str(), counts[1] + counts[2], counts[4]))
        .collect()
}

async fn check_apis(all: &Move) {
    let parlor = Parlor::start_with(Setup {
        database: Some(all.parlor.clone()),
        ..Setup::default()
    })
    .await;
    invariants::check_books(&parlor).await;
    for user in [COACH, OTHER_SITE] {
        let expected = earlier(all, user).await;
        let history = listed(
            &parlor,
            user,
            "/api/xcx/chat/history?pageSize=100",
            ["items", "nextCursor"],
        )
        .await;
        assert_eq!(history.len(), 1_625, "history of {user}");
        assert_eq!(
            history.iter().map(shown).collect::<Vec<_>>(),
            expected.chats
        );
        let sessions = listed(
            &parlor,
            user,
            &format!("{SESSIONS}?limit=100"),
            ["sessions", "next_cursor"],
        )
        .await;
        let sessions: Vec<Value> = sessions.iter().map(shown_session).collect();
        assert_eq!(sessions, expected.sessions, "sessions of {user}");
    }
    check_texts(&parlor).await;
    assert_eq!(miscounted(&parlor).await, 0);
    let refused = parlor.get(COACH, "/api/xcx/chat/3/messages").await;
    assert_eq!(refused.status, 404, "the conversation is of another site");
    let sent = parlor.send(COACH, 4, "还在吗？").await;
    assert_ne!(sent.ok()["aiReply"]["content"], "");
}

/// All items of a list.
async fn listed(parlor: &Parlor, user: i64, path: &str, [items, cursor]: [&str; 2]) -> Vec<Value> {
    let mut found = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = parlor.get(user, &next).await;
        found.extend(page.ok()[items].as_array().unwrap().iter().cloned());
        match page.body[cursor].as_str() {
            Some(after) => next = format!("{path}&cursor={after}"),
            None => return found,
        }
    }
}

fn shown(item: &Value) -> Value {
    let columns = ["title", "messageCount", "unreadCount", "lastMessage"];
    columns.map(|column| item[column].clone()).to_vec().into()
}

fn shown_session(item: &Value) -> Value {
    let columns = [
        "title",
        "status",
        "channel_type",
        "message_count",
        "unread_count",
    ];
    let mut shown = columns.map(|column| item[column].clone()).to_vec();
    shown.push(item["last_message"]["content"].clone());
    shown.push(item["bot"]["name"].clone());
    shown.into()
}

/// What the earlier services showed to a user.
struct Earlier {
    chats: Vec<Value>,
    sessions: Vec<Value>,
}

async fn earlier(all: &Move, user: i64) -> Earlier {
    let mut connection = PgConnection::connect(all.earlier.url()).await.unwrap();
    let (Json(chats), Json(sessions)) = sqlx::query_as(include_str!("shown.sql"))
        .bind(user)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    Earlier { chats, sessions }
}

/// Texts, cards and tokens of a conversation and of a session.
async fn check_texts(parlor: &Parlor) {
    let messages = parlor.messages(COACH, 4).await;
    let texts: Vec<&str> = messages
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..20)
        .map(|k| format!("{} 4/{k}", if k % 2 == 0 { "问题" } else { "回答" }))
        .collect();
    assert_eq!(texts, expected);
    assert_eq!(messages[0]["id"], 80, "ids are kept");
    assert_eq!(
        messages[1]["referenceCard"]["data"],
        json!({ "member_id": 7 })
    );
    let tokens: Vec<Option<i64>> = sqlx::query_scalar(
        "select tokens_used from biz.ai_messages where conversation_id = 4 order by seq limit 3",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert_eq!(tokens, [None, Some(104), None]);
    let runs = parlor
        .get(
            SITE_ADMIN,
            "/api/admin/ai/run-logs?user_id=1001&page_size=1",
        )
        .await;
    assert_eq!(runs.ok()["total"], 1_125);

    let sessions = parlor.get(COACH, SESSIONS).await;
    let session = sessions.ok()["sessions"][0]["id"].as_str().unwrap();
    let messages = parlor
        .get(COACH, &format!("{SESSIONS}/{session}/messages"))
        .await;
    let items = messages.ok()["messages"].as_array().unwrap();
    assert_eq!(items.len(), 10);
    assert_eq!(items[9]["content"], "您好 9");
    assert_eq!(items[9]["reply_to"], items[8]["id"]);
}

/// Conversations whose numbers, counters or last message are not those of their messages.
async fn miscounted(parlor: &Parlor) -> i64 {
    sqlx::query_scalar(
        "select count(*) from biz.ai_conversations c join lateral (
             select count(*) as messages, max(m.seq) as newest, min(m.seq) as first, count(*) filter (where m.role = 'assistant' and m.seq > c.read_seq) as unread,
                    count(*) filter (where m.role = 'assistant' and m.reply_to is null) as alone, (array_agg(m.id order by m.seq desc))[1] as last
             from biz.ai_messages m where m.conversation_id = c.id
         ) m on true
         where (c.message_count, m.newest, m.first, c.unread_count, c.last_message_id, m.alone) is distinct from (m.messages, m.messages, 1, m.unread, m.last, 0)",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap()
}
