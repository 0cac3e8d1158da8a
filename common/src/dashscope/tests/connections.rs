//! Tests of connections that are opened before a call.

use tokio::net::TcpListener;

use super::server::json;
use super::*;

/// A response after which the connection stays open.
fn kept(body: &str) -> Step {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    Step::Send((head + body).into())
}

async fn answer(client: &DashScope) -> Answer {
    client.complete(&call(), far_deadline()).await.unwrap()
}

#[tokio::test]
async fn a_call_takes_the_prepared_connection() {
    let server = Server::start(vec![json(200, OK)]).await;
    let client = client(&server);
    client.prepare_connection();
    server.connected().await;
    assert_eq!(answer(&client).await.attempts, 1);
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_call_takes_the_connection_that_is_being_opened() {
    let server = Server::start(vec![json(200, OK)]).await;
    let client = client(&server);
    client.prepare_connection();
    answer(&client).await;
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}

#[tokio::test]
async fn one_connection_is_prepared_at_once() {
    let server = Server::start(vec![json(200, OK)]).await;
    let client = client(&server);
    for _ in 0..3 {
        client.prepare_connection();
    }
    answer(&client).await;
    answer(&client).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn no_connection_is_prepared_while_one_is_idle() {
    let server = Server::start(vec![vec![kept(OK), Step::Read, kept(OK), Step::Hang]]).await;
    let client = client(&server);
    answer(&client).await;
    client.prepare_connection();
    answer(&client).await;
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_call_survives_a_prepared_connection_that_was_closed() {
    // The server closes the first connection after the request, without a response.
    let server = Server::start(vec![vec![], json(200, OK)]).await;
    let client = client(&server);
    client.prepare_connection();
    server.connected().await;
    assert_eq!(answer(&client).await.attempts, 2);
}

#[tokio::test]
async fn a_call_reports_why_its_connection_was_not_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = DashScope::new(Config {
        base_url: format!("http://{address}/api/v1"),
        retries: Retries::none(),
        ..Config::new("key".into())
    })
    .unwrap();
    client.prepare_connection();
    let error = client.complete(&call(), far_deadline()).await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { .. }) && !error.details().may_have_cost,
        "{error:?}"
    );
}
