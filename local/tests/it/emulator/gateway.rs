//! Requests through the emulated API Gateway.

use super::*;

/// Sends one request over its own connection.
async fn send(address: SocketAddr, request: Request<Body>) -> Response<Incoming> {
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .unwrap();
    tokio::task::spawn_local(connection);
    within(sender.send_request(request)).await.unwrap()
}

fn request(method: Method, uri: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.header("host", "local").body(body.into()).unwrap()
}

fn get(uri: &str) -> Request<Body> {
    request(Method::GET, uri, Body::empty())
}

async fn serve(emulator: &Emulator) -> SocketAddr {
    let route = |method, path: &str, streaming| Route {
        method,
        path: path.to_owned(),
        function: "echo".to_owned(),
        streaming,
    };
    let routes = vec![
        route(Method::POST, "/echo/{id}", true),
        route(Method::GET, "/echo/{id}", true),
        route(Method::GET, "/stream", true),
        route(Method::GET, "/wait", true),
        route(Method::GET, "/panic", true),
        route(Method::GET, "/exit", true),
        route(Method::GET, "/empty", true),
        route(Method::GET, "/big", true),
        route(Method::GET, "/echo", false),
    ];
    let app = emulator.router(routes).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move { axum::serve(listener, app).await });
    address
}

async fn json_body(response: Response<Incoming>) -> Value {
    let body = within(response.into_body().collect()).await.unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

/// Runs a test with its own clients and servers next to the emulator's tasks.
macro_rules! local {
    ($body:block) => {
        tokio::task::LocalSet::new().run_until(async $body).await
    };
}

#[tokio::test]
async fn the_gateway_converts_requests_to_events_and_results_to_responses() {
    local!({
        let address = serve(&echo().await).await;
        let body: &'static [u8] = &[0, 159, 255];
        let response = send(address, request(Method::POST, "/echo/a%20b?x=1&x=2", body)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let answer = json_body(response).await;
        assert_eq!(answer["path"], "/echo/a%20b");
        assert_eq!(answer["query"], "x=1&x=2");
        assert_eq!(answer["bodyBase64"], "AJ//");
        let response = send(address, get("/empty")).await;
        assert_eq!(response.status(), 204);
        let response = send(address, get("/big")).await;
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes().len(), 8 * 1024 * 1024);
    });
}

#[tokio::test]
async fn the_gateway_streams_chunk_by_chunk() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let address = serve(&echo().await).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut body = send(address, get(&uri)).await.into_body();
        for number in 0..5 {
            if number > 0 {
                open(&gates, &number.to_string());
            }
            assert_eq!(chunk(&mut body).await, format!("data: {number}\n\n"));
        }
    });
}

#[tokio::test]
async fn the_gateway_returns_404_for_an_unknown_route() {
    local!({
        let address = serve(&echo().await).await;
        for request in [
            get("/nowhere"),
            get("/echo/1/2"),
            request(Method::DELETE, "/echo/1", ""),
            request(Method::HEAD, "/empty", ""),
        ] {
            assert_eq!(send(address, request).await.status(), 404);
        }
    });
}

#[tokio::test]
async fn the_gateway_returns_502_for_a_failed_function() {
    local!({
        let address = serve(&echo().await).await;
        for uri in ["/panic", "/exit"] {
            let response = send(address, get(uri)).await;
            assert_eq!(response.status(), 502, "{uri}");
            let answer = json_body(response).await;
            assert_eq!(answer, json!({"message": "Internal server error"}));
        }
    });
}

#[tokio::test]
async fn a_buffered_integration_rejects_a_stream() {
    local!({
        let address = serve(&echo().await).await;
        assert_eq!(send(address, get("/echo")).await.status(), 502);
    });
}

#[tokio::test]
async fn a_kill_in_mid_stream_breaks_the_connection_and_the_next_request_works() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut body = send(address, get(&uri)).await.into_body();
        assert_eq!(chunk(&mut body).await, "data: 0\n\n");
        assert_eq!(within(emulator.kill("echo")).await.unwrap(), 1);
        assert!(within(body.frame()).await.unwrap().is_err());
        assert_eq!(send(address, get("/echo/1")).await.status(), 200);
    });
}

#[tokio::test]
async fn a_disconnect_does_not_cancel_the_function() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/stream?dir={}", gates.path().display());
        let mut streaming = send(address, get(&uri)).await.into_body();
        assert_eq!(chunk(&mut streaming).await, "data: 0\n\n");
        drop(streaming);
        for number in 1..5 {
            open(&gates, &number.to_string());
        }
        until(|| gates.path().join("done").exists()).await;
    });
}

#[tokio::test]
async fn a_disconnect_before_the_response_does_not_cancel_the_function() {
    local!({
        let gates = tempfile::tempdir().unwrap();
        let emulator = echo().await;
        let address = serve(&emulator).await;
        let uri = format!("/wait?dir={}", gates.path().display());
        let client = tokio::task::spawn_local(send(address, get(&uri)));
        until(|| started(&gates) == 1).await;
        client.abort();
        open(&gates, "go");
        let process = emulator.instances("echo").unwrap()[0];
        let finished = gates.path().join(format!("finished-{process}"));
        until(|| finished.exists()).await;
    });
}
