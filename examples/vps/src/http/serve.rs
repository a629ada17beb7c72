//! The accept loop: bounded connections, no delay, a limit on slow headers, and a drain.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::Router;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use livos_core::drain::DrainSignal;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::ServiceExt;

use super::source::Peer;

/// How long a client may take to send its headers. 10 s: a browser takes milliseconds, an attacker
/// for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
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
    let permits = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = drain.draining() => break,
            // The semaphore is never closed.
            Ok(permit) = Arc::clone(&permits).acquire_owned() => permit,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = tokio::select! {
            () = drain.draining() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay could not be set");
        }
        let service = router.clone().map_request(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.map(axum::body::Body::new)
        });
        let service = TowerToHyperService::new(service);
        let mut builder = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let _permit = permit;
            let _open = Open::new();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended with an error");
            }
            Ok::<(), Infallible>(())
        });
    }
    drop(listener);
    if tokio::time::timeout(drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not finish in time and are cut");
    }
    connections.shutdown().await;
}

/// An open connection, in `livos_connections`.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let gauge = metrics::gauge!("livos_connections");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
