//! The listener and its connections.
//!
//! hyper writes the responses. A frame that follows a pause is a separate write. A body that ends
//! in an error cuts the connection without the last chunk.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::respond::respond;
use super::shared::Shared;

/// Accepts connections until aborted. Its connections end with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve_connection(socket, Arc::clone(&shared)));
                }
                // Usually there are no free file descriptors. Some will be closed soon.
                Err(err) => {
                    tracing::warn!(%err, "simulator cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(socket: TcpStream, shared: Arc<Shared>) {
    let _open = OpenConnection::count(&shared.connections);
    socket.set_nodelay(true).ok();
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(shared, request).await) }
    });
    let mut cuts = shared.cuts.subscribe();
    let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        // Checked first, so that a stream that is cut and released at once sends nothing more.
        biased;
        _ = cuts.changed() => {}
        // An error means that the client disconnected or that a scenario cut the connection.
        _ = connection => {}
    }
}

struct OpenConnection<'a>(&'a AtomicUsize);

impl<'a> OpenConnection<'a> {
    fn count(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A call whose response has not ended. It is counted until dropped.
pub(super) struct ActiveStream(watch::Sender<usize>);

impl ActiveStream {
    pub fn count(active: &watch::Sender<usize>) -> Self {
        active.send_modify(|active| *active += 1);
        Self(active.clone())
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.send_modify(|active| *active -= 1);
    }
}
