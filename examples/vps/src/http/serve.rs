//! The accept loop: bounded connections, a time limit from the first byte on, and a drain.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use livos_core::drain::DrainSignal;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{ServiceExt, service_fn};

use super::{
    connections::{Busy, Connection, Connections},
    source::Peer,
};

/// How long a client may take to send the headers of a request. 10 s: a browser takes milliseconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at one time on one HTTP/2 connection. 64: more than a page needs.
const MAX_STREAMS: u32 = 64;
/// How long to wait when the process is out of file descriptors before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until the drain begins, then lets connections finish for at most
/// `drain_timeout`, then cuts them.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    drain: DrainSignal,
    drain_timeout: Duration,
) {
    let admitted = Connections::new(max_connections);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = drain.draining() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(connection) = admitted.admit(peer.ip(), Instant::now()) else {
                    tracing::debug!(%peer, "every connection is busy; this one is closed");
                    continue;
                };
                let handler = Handler { router: router.clone(), admitted: Arc::clone(&admitted), peer };
                connections.spawn(handle(stream, handler, connection, graceful.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not finish in time and are cut");
    }
    connections.shutdown().await;
}

/// Serves one connection until it ends or is overdue.
async fn handle(stream: TcpStream, handler: Handler, connection: Connection, watcher: Watcher) {
    let _open = Gauge::new();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay could not be set");
    }
    let connection = Arc::new(connection);
    let serving = Arc::clone(&connection);
    let service = service_fn(move |request| handler.clone().answer(request, Arc::clone(&serving)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let serving =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        ended = watcher.watch(serving.into_owned()) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        }
        () = connection.overdue() => tracing::debug!("a quiet connection is closed"),
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Handler {
    router: Router,
    admitted: Arc<Connections>,
    peer: SocketAddr,
}

impl Handler {
    async fn answer(
        self,
        mut request: http::Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response, Infallible> {
        let busy = connection.begin_request();
        if self.admitted.is_crowded() && !is_urgent(request.uri().path()) {
            let retry = [(header::RETRY_AFTER, "1")];
            return Ok((StatusCode::SERVICE_UNAVAILABLE, retry, "the server is busy\n").into_response());
        }
        request.extensions_mut().insert(Peer(self.peer));
        let response = self.router.oneshot(request.map(Body::new)).await?;
        Ok(response.map(|body| Body::new(Sending { body, _busy: busy })))
    }
}

/// A response's body. Its request is under way until the body was sent.
struct Sending {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether room is kept for requests to this path.
fn is_urgent(path: &str) -> bool {
    path == "/healthz" || path.starts_with("/hooks/")
}

/// An open connection, in `livos_connections`.
struct Gauge(metrics::Gauge);

impl Gauge {
    fn new() -> Self {
        let gauge = metrics::gauge!("livos_connections");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
