//! A test server that follows one script per connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An action of the server on a connection, after the first request.
#[derive(Debug, Clone)]
pub(in super::super) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Reads another request on the same connection.
    Read,
    /// Sends heartbeats until the client disconnects.
    Heartbeats(Duration),
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Resets the connection.
    Reset,
}

pub(in super::super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: watch::Receiver<usize>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Server {
    /// Starts the server. Each connection uses the next script; the last script repeats.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&requests);
        let (accepted, connections) = watch::channel(0);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.send_replace(number + 1);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                connections.spawn(serve(stream, script, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            requests,
            connections,
            _tasks: tasks,
        }
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The number of connections so far.
    pub(super) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits for the first connection.
    pub(super) async fn connected(&self) {
        let mut connections = self.connections.clone();
        connections.wait_for(|number| *number > 0).await.unwrap();
    }

    /// Head and body of each request so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Vec<Step>, seen: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    seen.lock().unwrap().push(request);
    for step in script {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::Read => {
                let Some(request) = read_request(&mut stream).await else {
                    return;
                };
                seen.lock().unwrap().push(request);
            }
            Step::Heartbeats(pause) => {
                while stream.write_all(b":keepalive\n\n").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
            Step::Hang => std::future::pending().await,
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0) {
                return Some(String::from_utf8(request).unwrap());
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

/// The head of a response whose body ends with the connection.
pub(super) fn head(status: u16, content_type: &str, headers: &str) -> Step {
    Step::Send(
        format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nconnection: close\r\n{headers}\r\n").into(),
    )
}

/// A complete response.
pub(super) fn response(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Vec<Step> {
    let body = body.into();
    let length = format!("content-length: {}\r\n", body.len());
    vec![head(status, content_type, &length), Step::Send(body)]
}

/// An event stream with status 200.
pub(super) fn sse(body: impl Into<Vec<u8>>) -> Vec<Step> {
    response(200, "text/event-stream;charset=UTF-8", body)
}

pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Vec<Step> {
    response(status, "application/json", body)
}
