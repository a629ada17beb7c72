//! The client of most applications: rustls with *ring* and the Mozilla roots.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{BoxError, HttpClient};

/// How long a TCP connection may take to open. 5 s: more than any reachable server needs, and short
/// enough to try again while somebody waits.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept. Five minutes: a conversation with a pause in it finds its
/// connection warm, where a TLS handshake would cost one to three round trips.
const IDLE: Duration = Duration::from_secs(300);
/// How often an HTTP/2 connection is pinged, and a TCP connection probed, even while it is unused:
/// a dead connection is found out before the next request does.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl HttpClient {
    /// A client over rustls (*ring*, the Mozilla roots), HTTP/2 and HTTP/1.1, connections kept
    /// alive; plain HTTP if an address says `http`. It follows no redirects. Needs a tokio runtime
    /// when it is used. An error means that the TLS library refused its own defaults.
    pub fn over_tls() -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(PING_EVERY));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build::<_, Full<Bytes>>(https);
        Ok(Self::new(client))
    }
}
