//! A slow reply or client does not delay others, and it needs little memory.

use std::time::Duration;

use common::{
    chat::{
        messages::{ClientMessageId, Content},
        replies::{Asked, Event, NewMessage, State},
    },
    governance::auth::{Caller, Role},
};
use sqlx::Executor as _;

use crate::harness::{
    events::{terminal, text},
    parlor::{COACH, Parlor, STAFF},
};

pub fn coach() -> Caller {
    Caller {
        site_id: 1,
        user_id: COACH,
        nickname: "阿杰".to_owned(),
        role: Role::Coach,
    }
}

pub fn message(conversation_id: i64, content: &str) -> NewMessage {
    NewMessage {
        conversation_id,
        asked: Asked::New(Content::parse(Some(content)).unwrap()),
        client_message_id: ClientMessageId::parse(None).unwrap(),
        page: None,
    }
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_block_the_reply() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let pieces = vec!["一二三四"; 8_000].join("|");
    let scenario = format!("say:{pieces}").parse().unwrap();
    parlor.simulator.set_scenario(None, Some(scenario));
    let replies = parlor.tools.replies.clone();
    let (_, mut watch) = replies
        .send(&coach(), message(chat, "你好"), None, None)
        .await
        .unwrap();
    // The reply ends although its client has read nothing.
    parlor.settled().await;
    let (mut received, mut events) = (String::new(), 0);
    let end = loop {
        match watch.next().await.unwrap() {
            Event::Text(more) => received.push_str(&more),
            end => break end,
        }
        events += 1;
    };
    assert!(
        matches!(
            end,
            Event::Done {
                state: State::Complete,
                ..
            }
        ),
        "{end:?}"
    );
    assert_eq!(received, pieces.replace('|', ""));
    // The queued text is joined, and the rest is read from the database in large parts.
    assert!(events < 80, "{events} events were queued for the client");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_does_not_stall_other_streams() {
    let parlor = Parlor::start().await;
    let (locked, free) = (parlor.open(COACH, "t").await, parlor.open(STAFF, "t").await);
    parlor.simulator.hold_after(2);
    let mut stalled = parlor
        .stream(COACH, locked, "[[sim:echo]]锁住的会话也不丢一个字")
        .await;
    stalled.expect("start").await;
    stalled.expect("message").await;

    let mut holder = parlor.db.acquire().await.unwrap();
    holder.execute("begin").await.unwrap();
    sqlx::query("select 1 from biz.ai_messages where conversation_id = $1 for update")
        .bind(locked)
        .execute(&mut *holder)
        .await
        .unwrap();
    parlor.simulator.release();
    // While the first reply waits for the lock, other replies run to their end.
    for _ in 0..3 {
        let events = parlor
            .stream_to_end(STAFF, free, "[[sim:echo]]没有锁的会话照常说话")
            .await;
        assert_eq!(terminal(&events).name, "done");
    }
    let running: i64 =
        sqlx::query_scalar("select count(*) from biz.ai_messages where state = 'streaming'")
            .fetch_one(&mut *holder)
            .await
            .unwrap();
    assert_eq!(running, 1, "the end of the locked reply waits");
    holder.execute("rollback").await.unwrap();

    let rest = tokio::time::timeout(Duration::from_secs(10), stalled.rest())
        .await
        .unwrap();
    assert_eq!(rest.last().unwrap().name, "done");
    let messages = parlor.messages(COACH, locked).await;
    assert_eq!(messages[1]["content"], messages[0]["content"]);
    assert!(
        messages[1]["content"]
            .as_str()
            .unwrap()
            .ends_with(&text(&rest))
    );
}
