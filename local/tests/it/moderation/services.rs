//! WeChat and a service of the operator.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    setup,
    standins::{APP_ID, APP_SECRET, BAD, DOUBTFUL, HTTP_SECRET, INACTIVE, StandIn, Trouble},
    started,
};
use crate::harness::{
    database::TestDatabase,
    events::{terminal, text},
    invariants,
    parlor::{COACH, Parlor, STAFF, Setup},
};

const TROUBLES: [Trouble; 4] = [
    Trouble::Hang,
    Trouble::Status500,
    Trouble::Nonsense,
    Trouble::Huge,
];

fn http(service: &StandIn, on_timeout: &str) -> Setup {
    setup(&[
        ("MODERATION", "http"),
        ("MODERATION_HTTP_URL", &format!("{}/check", service.url)),
        ("MODERATION_HTTP_SECRET", HTTP_SECRET),
        ("MODERATION_ON_TIMEOUT", on_timeout),
    ])
}

fn wechat(service: &StandIn) -> Setup {
    setup(&[
        ("MODERATION", "wechat"),
        ("WECHAT_BASE_URL", &service.url),
        ("WECHAT_APP_ID", APP_ID),
        ("WECHAT_APP_SECRET", APP_SECRET),
    ])
}

async fn with_wechat() -> (Parlor, StandIn) {
    let service = StandIn::wechat().await;
    let parlor = Parlor::start_with(wechat(&service)).await;
    parlor.has_openid(COACH, "openid-coach").await;
    (parlor, service)
}

async fn with_http(on_timeout: &str) -> (Parlor, StandIn) {
    let service = StandIn::http().await;
    let parlor = Parlor::start_with(http(&service, on_timeout)).await;
    (parlor, service)
}

impl Parlor {
    async fn has_openid(&self, user: i64, openid: &str) {
        sqlx::query("update biz.users set openid = $2 where id = $1")
            .bind(user)
            .bind(openid)
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// The question and the reply of the only exchange, as the database has them.
    async fn exchange(&self) -> (Value, Value) {
        let rows: Vec<Value> =
            sqlx::query_scalar("select to_jsonb(m) from biz.ai_messages m order by id")
                .fetch_all(&self.db)
                .await
                .unwrap();
        (rows[0].clone(), rows[1].clone())
    }
}

#[tokio::test]
async fn a_signed_request_has_the_text_its_direction_and_its_user() {
    let (parlor, service) = with_http("block").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("答复一|答复二");
    let events = parlor.stream_to_end(COACH, chat, "问题").await;
    assert_eq!(terminal(&events).data["status"], "complete");
    assert_eq!(
        service.requests(),
        [
            json!({ "text": "问题", "direction": "input", "siteId": 1, "userId": COACH }),
            json!({ "text": "答复一答复二", "direction": "output", "siteId": 1, "userId": COACH }),
        ]
    );
    let (question, reply) = parlor.exchange().await;
    let allowed = json!([{ "service": "http", "result": "allow", "labels": [], "traceId": null }]);
    assert_eq!(
        (&question["moderation"], &reply["moderation"]),
        (&allowed, &allowed)
    );
}

#[tokio::test]
async fn the_first_text_waits_for_the_verdict_on_the_question() {
    let (parlor, service) = with_http("allow").await;
    let chat = parlor.open(COACH, "t").await;
    // The application responds at once, and the verdict comes later.
    service.has(Some(Trouble::Slow));
    parlor.answers("答复一|答复二");
    let question = format!("{BAD}？");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(
        parlor.simulator.calls_count(),
        1,
        "the application was asked meanwhile"
    );
    assert_eq!(text(&events), "");
    parlor.is_hidden(chat, &events, "答复").await;
    let (question, _) = parlor.exchange().await;
    assert_eq!(
        question["moderation"],
        json!([{ "service": "http", "result": "block", "labels": ["politics", "ab"], "traceId": null }])
    );
    service.has(None);
    parlor.continues_without(chat, &[BAD]).await;
}

#[tokio::test]
async fn a_verdict_ends_a_reply_that_has_no_text_yet() {
    let (parlor, _service) = with_http("allow").await;
    let chat = parlor.open(COACH, "t").await;
    let question = format!("[[sim:hang]]{BAD}");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_service_in_trouble_lets_texts_pass_or_blocks_them_as_configured() {
    for on_timeout in ["allow", "block"] {
        let (parlor, service) = with_http(on_timeout).await;
        for trouble in TROUBLES {
            service.has(Some(trouble));
            let chat = parlor.open(COACH, &format!("{trouble:?}")).await;
            let events = parlor.stream_to_end(COACH, chat, "问题").await;
            let end = &terminal(&events).data;
            if on_timeout == "allow" {
                assert_eq!(end["status"], "complete", "{trouble:?}: {end}");
                let stored = &parlor.messages(COACH, chat).await[1];
                assert_eq!(stored["content"], text(&events));
            } else {
                assert_eq!(end["code"], "content_blocked", "{trouble:?}: {end}");
                assert_eq!(text(&events), "");
            }
            let verdicts = parlor.verdicts(&events[0].data["userMessageId"]).await;
            assert_eq!(verdicts[0]["result"], "none");
            service.has(None);
            invariants::check(&parlor, COACH, chat).await;
        }
    }
}

#[tokio::test]
async fn a_service_that_is_gone_lets_texts_pass() {
    let parlor = started(&[
        ("MODERATION", "http"),
        ("MODERATION_HTTP_URL", "http://127.0.0.1:1/check"),
        ("MODERATION_HTTP_SECRET", HTTP_SECRET),
    ])
    .await;
    let chat = parlor.open(COACH, "t").await;
    let sent = parlor.send(COACH, chat, "问题").await;
    assert_eq!(sent.ok()["aiReply"]["status"], "complete");
}

#[tokio::test]
async fn an_answer_that_a_service_blocks_is_hidden_everywhere() {
    let (parlor, _service) = with_http("allow").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("今天可以看|违规|内容了");
    let events = parlor.stream_to_end(COACH, chat, "看什么").await;
    parlor.is_hidden(chat, &events, "今天可以").await;
    parlor
        .continues_without(chat, &["今天可以", "看什么"])
        .await;
}

#[tokio::test]
async fn a_bots_answer_that_a_service_blocks_is_hidden() {
    let (parlor, service) = with_http("allow").await;
    let session = parlor.begin_session(COACH).await;
    parlor.answers("今天可以看违规内容了");
    parlor.create_message(COACH, &session, "看什么").await;
    parlor.work().await;
    let page = parlor.session_messages(COACH, &session, "").await;
    assert_eq!(page["messages"][1]["status"], "failed");
    assert_eq!(parlor.tables_with("今天可以").await, [] as [&str; 0]);
    let (question, reply) = parlor.exchange().await;
    assert_eq!(question["moderation"][0]["result"], "allow");
    assert_eq!(reply["moderation"][0]["result"], "block");

    service.has(Some(Trouble::Status500));
    parlor.answers_as_usual();
    parlor.create_message(COACH, &session, "下一个问题").await;
    parlor.work().await;
    let page = parlor.session_messages(COACH, &session, "").await;
    assert_eq!(page["messages"][3]["status"], "delivered");
}

#[tokio::test]
async fn a_bots_question_that_a_service_blocks_gets_no_answer() {
    let (parlor, _service) = with_http("allow").await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, BAD).await;
    parlor.work().await;
    let (question, reply) = parlor.exchange().await;
    assert_eq!(
        (&question["error_code"], &reply["state"]),
        (&json!("content_blocked"), &json!("failed"))
    );
    assert_eq!(question["moderation"][0]["result"], "block");
}

#[tokio::test]
async fn wechat_blocks_risky_texts_and_records_doubtful_ones() {
    let (parlor, service) = with_wechat().await;
    let chat = parlor.open(COACH, "t").await;
    let question = format!("[[sim:hang]]说说{BAD}");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    let (asked, _) = parlor.exchange().await;
    assert_eq!(
        asked["moderation"],
        json!([{
            "service": "wechat", "result": "block", "labels": ["20001"],
            "traceId": "60ae120f-371d5872-7941a05b",
        }])
    );
    let request = &service.requests()[0];
    assert_eq!(
        request,
        &json!({ "version": 2, "scene": 2, "openid": "openid-coach", "content": question })
    );
    parlor.continues_without(chat, &[BAD]).await;

    let question = format!("[[sim:silent:1]]{DOUBTFUL}");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["status"], "complete");
    let verdicts = parlor.verdicts(&events[0].data["userMessageId"]).await;
    assert_eq!(
        (&verdicts[0]["result"], &verdicts[0]["labels"]),
        (&json!("review"), &json!(["10001"]))
    );
}

#[tokio::test]
async fn a_long_text_is_checked_in_pieces() {
    let (parlor, service) = with_wechat().await;
    let chat = parlor.open(COACH, "t").await;
    // The stand-in refuses longer pieces. The end of the text must be among them; the others may
    // be cancelled by its verdict.
    let question = format!("[[sim:hang]]{}{BAD}", "好".repeat(7_900));
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    let requests = service.requests();
    let has_end = |request: &Value| request["content"].as_str().unwrap().ends_with(BAD);
    assert!(
        requests.len() > 1 && requests.iter().any(has_end),
        "{requests:?}"
    );
}

#[tokio::test]
async fn users_whom_wechat_cannot_check_are_skipped() {
    let (parlor, service) = with_wechat().await;
    parlor.has_openid(COACH, INACTIVE).await;
    for user in [STAFF, COACH] {
        let chat = parlor.open(user, "t").await;
        let question = format!("[[sim:silent:1]]{BAD}");
        let events = parlor.stream_to_end(user, chat, &question).await;
        assert_eq!(terminal(&events).data["status"], "complete");
        for id in ["userMessageId", "messageId"] {
            let verdicts = parlor.verdicts(&events[0].data[id]).await;
            assert_eq!(verdicts[0]["result"], "skipped", "{user} {id}");
        }
    }
    assert_eq!(service.requests().len(), 0);
}

#[tokio::test]
async fn instances_share_the_access_token() {
    let service = StandIn::wechat().await;
    let database = Arc::new(TestDatabase::new().await);
    for n in 0..2 {
        let parlor = Parlor::start_with(Setup {
            database: Some(Arc::clone(&database)),
            ..wechat(&service)
        })
        .await;
        parlor.has_openid(COACH, "openid-coach").await;
        let chat = parlor.open(COACH, &format!("t{n}")).await;
        parlor.send(COACH, chat, "问题").await.ok();
    }
    assert_eq!(service.requests().len(), 4);
    assert_eq!(service.token_requests(), [false]);
}

#[tokio::test]
async fn an_expired_access_token_is_fetched_again_once() {
    let (parlor, service) = with_wechat().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "第一问").await.ok();
    service.expire_token();
    let question = format!("[[sim:hang]]{BAD}");
    let events = parlor.stream_to_end(COACH, chat, &question).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    parlor.send(COACH, chat, "第三问").await.ok();
    assert_eq!(service.token_requests(), [false, false]);
}

#[tokio::test]
async fn one_block_is_enough() {
    let (wechat, http) = (StandIn::wechat().await, StandIn::http().await);
    let parlor = started(&[
        ("MODERATION", "words, wechat,http"),
        ("WECHAT_BASE_URL", &wechat.url),
        ("WECHAT_APP_ID", APP_ID),
        ("WECHAT_APP_SECRET", APP_SECRET),
        ("MODERATION_HTTP_URL", &format!("{}/check", http.url)),
        ("MODERATION_HTTP_SECRET", HTTP_SECRET),
    ])
    .await;
    // WeChat cannot check this user, and there are no words.
    let chat = parlor.open(STAFF, "t").await;
    let question = format!("[[sim:hang]]{BAD}");
    let events = parlor.stream_to_end(STAFF, chat, &question).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    let verdicts = parlor.verdicts(&events[0].data["userMessageId"]).await;
    let verdicts = verdicts.as_array().unwrap();
    let block = verdicts.iter().find(|verdict| verdict["result"] == "block");
    assert_eq!(block.unwrap()["service"], "http");
}

#[tokio::test]
async fn a_stopped_reply_is_checked_to_its_end() {
    let (parlor, _service) = with_http("allow").await;
    parlor.answers("今天可以看|违规内容了|还有别的");
    let (chat, mut stream, mut events) = loop {
        let chat = parlor.open(COACH, "t").await;
        parlor.simulator.hold_after(2);
        let mut stream = parlor.stream(COACH, chat, "看什么").await;
        let mut events = vec![stream.expect("start").await];
        while !text(&events).contains(BAD) && events.last().unwrap().name != "error" {
            events.push(stream.next().await.unwrap());
        }
        // On a busy machine, a checkpoint may block the text before it is stopped.
        if text(&events).contains(BAD) {
            break (chat, stream, events);
        }
    };
    let path = format!("/api/xcx/chat/stream/{}/stop", events[0].data["messageId"]);
    parlor.post(COACH, &path, &json!({})).await;
    events.extend(stream.rest().await);
    parlor.is_hidden(chat, &events, "今天可以").await;
}

#[tokio::test]
async fn a_block_does_not_wait_for_a_service_that_hangs() {
    let (wechat, http) = (StandIn::wechat().await, StandIn::http().await);
    wechat.has(Some(Trouble::Hang));
    let parlor = started(&[
        ("MODERATION", "wechat,http"),
        ("WECHAT_BASE_URL", &wechat.url),
        ("WECHAT_APP_ID", APP_ID),
        ("WECHAT_APP_SECRET", APP_SECRET),
        ("MODERATION_HTTP_URL", &format!("{}/check", http.url)),
        ("MODERATION_HTTP_SECRET", HTTP_SECRET),
    ])
    .await;
    parlor.has_openid(COACH, "openid-coach").await;
    let chat = parlor.open(COACH, "t").await;
    parlor.answers("今天可以看|违规内容了");
    let events = parlor.stream_to_end(COACH, chat, "看什么").await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    let asked = format!("再说{BAD}");
    let events = parlor.stream_to_end(COACH, chat, &asked).await;
    assert_eq!(terminal(&events).data["code"], "content_blocked");
    assert_eq!(text(&events), "");
}
