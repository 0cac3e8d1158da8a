//! The end of a server, in the middle of its work.

use serde_json::{Value, json};

use crate::harness::{
    events::{EventStream, SseEvent, terminal, text},
    invariants,
    parlor::{COACH, Parlor},
    reader::Reader,
    server::{Server, choose_applications},
    until,
};

const PIECES: &str = "今晚七点，|二号桌|有位会员|过生日。";

/// The whole reply.
fn whole() -> String {
    PIECES.replace('|', "")
}

/// A server whose reply stopped after two pieces, its client, and the ids of chat and reply.
async fn half_a_reply(parlor: &Parlor, server: &Server) -> (Reader, i64, Value) {
    let chat = parlor.open(COACH, "t").await;
    let scenario = format!("say:{PIECES}").parse().unwrap();
    parlor.simulator.set_scenario(None, Some(scenario));
    parlor.simulator.hold_after(2);
    let body = json!({ "chatId": chat, "content": "今晚有什么要留意的？" });
    let mut client = Reader::of(server.stream(COACH, &body));
    let seen = client.read("今晚七点，二号桌").await;
    let id = seen.start().unwrap().data["messageId"].clone();
    (client, chat, id)
}

/// Waits until the server accepts no connection.
async fn closed(server: &Server) {
    until("the port is closed", async || {
        server.request("GET", "/healthz").send().await.err()
    })
    .await;
}

async fn resumed(server: &Server, id: &Value) -> Vec<SseEvent> {
    let response = server.resume(COACH, id).send().await.unwrap();
    assert_eq!(response.status(), 200);
    EventStream::new(response).rest().await
}

#[tokio::test]
async fn a_reply_in_progress_is_completed_and_read_at_another_server() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let mut first = Server::start(&parlor).await;
    let second = Server::start(&parlor).await;
    let (client, chat, id) = half_a_reply(&parlor, &first).await;
    first.program.terminate();
    closed(&first).await;
    let mut other = Reader::of(second.resume(COACH, &id));
    other
        .until("the start", |seen| seen.start().is_some())
        .await;
    parlor.simulator.release();
    for seen in [client.finish().await, other.finish().await] {
        assert_eq!(terminal(&seen.events).name, "done");
        assert_eq!(seen.text(), whole());
    }
    assert_eq!(first.program.ended().await, Some(0));
    assert_eq!(first.log().last().unwrap()["message"], "server stopped");
    assert_eq!(text(&resumed(&second, &id).await), whole());
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_reply_without_a_client_is_completed() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let mut server = Server::start(&parlor).await;
    let (client, chat, _) = half_a_reply(&parlor, &server).await;
    client.cut().await;
    server.program.terminate();
    closed(&server).await;
    parlor.simulator.release();
    assert_eq!(server.program.ended().await, Some(0));
    let reply = &parlor.messages(COACH, chat).await[1];
    let expected = (&json!("complete"), &json!(whole()));
    assert_eq!((&reply["status"], &reply["content"]), expected);
}

#[tokio::test]
async fn a_reply_that_takes_too_long_is_interrupted_with_all_its_text() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let soon = [("SHUTDOWN_SECONDS", "0")];
    let mut first = Server::start_with(&parlor, &[], &soon).await;
    let second = Server::start(&parlor).await;
    let (client, chat, id) = half_a_reply(&parlor, &first).await;
    first.program.terminate();
    let seen = client.finish().await;
    let end = terminal(&seen.events);
    assert_eq!(
        (&*end.name, &end.data["code"]),
        ("error", &json!("deadline"))
    );
    // All work has ended, so the process does not wait for its own end.
    assert_eq!(first.program.ended().await, Some(0));
    assert_eq!(first.log().last().unwrap()["message"], "server stopped");
    let read = resumed(&second, &id).await;
    assert_eq!(text(&read), seen.text());
    assert_eq!(terminal(&read).data["code"], "deadline");
    let reply = &parlor.messages(COACH, chat).await[1];
    let expected = (&json!("interrupted"), &json!(seen.text()));
    assert_eq!((&reply["status"], &reply["content"]), expected);
    invariants::check(&parlor, COACH, chat).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let parlor = Parlor::start().await;
    choose_applications(&parlor).await;
    let mut server = Server::start(&parlor).await;
    let (client, ..) = half_a_reply(&parlor, &server).await;
    server.program.terminate();
    closed(&server).await;
    server.program.terminate();
    assert_eq!(server.program.ended().await, Some(0));
    assert!(client.finish().await.end().is_none());
    let aborts = |line: &Value| line["message"] == "shutdown aborts work in progress";
    assert!(server.log().iter().any(aborts));
}
