//! Opens a connection before a call needs it.
//!
//! The pool of the HTTP client opens a connection only when a request needs one, and the request
//! waits for DNS, TCP and TLS. [`Connections::prepare`] opens one while the caller does something
//! else. A request for which the pool has no idle connection then takes it.
//!
//! The HTTP client does not open connections on demand. So a second client makes a request, and
//! [`Connector`] keeps the new connection and lets that request fail before it is sent.

use std::{
    any::Any,
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::RequestBuilder;
use tokio::{sync::oneshot, time::Instant};
use tower::{BoxError, Layer, Service};

/// A prepared connection is not used after this time, because services close connections on which
/// no request comes.
const UNUSED: Duration = Duration::from_secs(15);

/// A new connection of the type that the HTTP client uses.
type Opened = Result<Box<dyn Any + Send>, BoxError>;

tokio::task_local! {
    /// Set while a connection is prepared: who receives it.
    static PREPARING: RefCell<Option<oneshot::Sender<Opened>>>;
}

/// The idle connections to one service, and the prepared one. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    keep_alive: Duration,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the pool closes each idle connection, the next one first.
    idle: Vec<Instant>,
    prepared: Option<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    until: Instant,
    connection: oneshot::Receiver<Opened>,
}

impl Connections {
    /// `keep_alive` is the time for which the pool keeps an idle connection.
    pub(super) fn new(keep_alive: Duration) -> Self {
        Self {
            keep_alive,
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection in a task of its own, unless one is idle or prepared. The client of
    /// `request` has a [`Connector`] with these connections, and no pool.
    pub(super) fn prepare(
        &self,
        request: impl FnOnce() -> Option<RequestBuilder> + Send + 'static,
    ) {
        let now = Instant::now();
        let mut known = self.known();
        known.idle.retain(|until| *until > now);
        let is_prepared = known.prepared.as_ref().is_some_and(|it| it.until > now);
        if is_prepared || !known.idle.is_empty() {
            return;
        }
        let (sender, connection) = oneshot::channel();
        known.prepared = Some(Prepared {
            until: now + UNUSED,
            connection,
        });
        drop(known);
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends within the connect timeout; a call may take its connection"
        )]
        tokio::spawn(PREPARING.scope(RefCell::new(Some(sender)), async move {
            if let Some(request) = request() {
                // It fails in any case.
                request.send().await.ok();
            }
        }));
    }

    /// Records that a call takes an idle connection, if there is one.
    pub(super) fn call_begins(&self) {
        let now = Instant::now();
        let mut known = self.known();
        known.idle.retain(|until| *until > now);
        known.idle.pop();
    }

    /// Records that the connection of a call is idle, because the body was read to its end.
    pub(super) fn call_ended(&self) {
        let until = Instant::now() + self.keep_alive;
        self.known().idle.push(until);
    }

    /// The prepared connection, also if it is still being opened. `None` if there is none, or if
    /// it failed before.
    fn take(&self) -> Option<oneshot::Receiver<Opened>> {
        let Prepared {
            until,
            mut connection,
        } = self.known().prepared.take()?;
        if until <= Instant::now() {
            return None;
        }
        match connection.try_recv() {
            Ok(Ok(opened)) => {
                let (sender, receiver) = oneshot::channel();
                sender.send(Ok(opened)).ok();
                Some(receiver)
            }
            Err(oneshot::error::TryRecvError::Empty) => Some(connection),
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => None,
        }
    }
}

impl<S> Layer<S> for Connections {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector {
            inner,
            connections: self.clone(),
        }
    }
}

/// Opens the connections of an HTTP client, or takes the prepared one.
#[derive(Clone, Debug)]
pub(super) struct Connector<S> {
    inner: S,
    connections: Connections,
}

impl<S, R> Service<R> for Connector<S>
where
    S: Service<R, Error = BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let opening = self.inner.call(request);
        let preparing = PREPARING.try_with(|sender| sender.borrow_mut().take());
        if let Ok(Some(sender)) = preparing {
            return Box::pin(async {
                let opened = opening.await;
                sender.send(opened.map(|it| Box::new(it) as _)).ok();
                Err("the connection is kept for a call".into())
            });
        }
        let prepared = self.connections.take();
        Box::pin(async {
            if let Some(prepared) = prepared
                && let Ok(opened) = prepared.await
                && let Ok(connection) = opened?.downcast()
            {
                return Ok(*connection);
            }
            opening.await
        })
    }
}
