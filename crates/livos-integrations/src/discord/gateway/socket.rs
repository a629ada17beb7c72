//! The WebSocket to the gateway, over whatever byte stream the caller connects.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Uri;
use livos_core::time::{Clock, SystemClock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// Any byte stream.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// From an address to a byte stream, after TLS where the address is `wss`.
pub(super) type Connector = BoxCloneSyncService<Uri, Box<dyn Io>, BoxError>;

/// The caller's connector in a box.
pub(super) fn boxed<S, I>(connector: S) -> Connector
where
    S: Service<Uri, Response = I> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Connector::new(connector.map_response(|io| Box::new(io) as Box<dyn Io>).map_err(Into::into))
}

/// A connector over rustls with the Mozilla roots; in the clear where the address says `ws`.
#[cfg(feature = "tls")]
pub(super) fn over_tls() -> Result<Connector, BoxError> {
    use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(5)));
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(boxed(tower::service_fn(move |address: Uri| {
        let mut https = https.clone();
        async move {
            // The connector knows the names of HTTP; the port is the same.
            let mut parts = address.into_parts();
            let scheme = if parts.scheme.as_ref().is_some_and(|scheme| scheme.as_str() == "wss") {
                "https"
            } else {
                "http"
            };
            parts.scheme = Some(scheme.parse()?);
            let io = https.ready().await?.call(Uri::from_parts(parts)?).await?;
            Ok::<_, BoxError>(TokioIo::new(io))
        }
    })))
}

/// What came out of the socket.
#[derive(Debug)]
pub(super) enum Received {
    Text(Utf8Bytes),
    /// The end, with the peer's code where it said one.
    Lost(Option<u16>),
}

/// How long a peer that refused the handshake asked to be left alone.
pub(super) fn retry_after(error: &BoxError) -> Option<Duration> {
    let Some(Error::Http(response)) = error.downcast_ref() else { return None };
    livos_core::http::retry_after(response.headers(), SystemClock.now())
}

/// How long sending may take: a peer that does not read for as long is as good as gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take to agree to a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that may wait behind a peer that does not read. All that is sent is short.
const MAX_UNSENT: usize = 64 << 10;

pub(super) struct Socket(WebSocketStream<Box<dyn Io>>);

impl Socket {
    /// Connects and completes the handshake within the time. No message longer than `max_message`
    /// is taken.
    pub(super) async fn open(
        connector: Connector,
        address: Uri,
        timeout: Duration,
        max_message: usize,
    ) -> Result<Self, BoxError> {
        let opening = Box::pin(async {
            let request = address.clone().into_client_request()?;
            let io = connector.oneshot(address).await?;
            let config = WebSocketConfig::default()
                .write_buffer_size(0)
                .max_write_buffer_size(MAX_UNSENT)
                .max_message_size(Some(max_message))
                .max_frame_size(Some(max_message));
            let (socket, _) = tokio_tungstenite::client_async_with_config(request, io, Some(config)).await?;
            Ok(Self(socket))
        });
        tokio::time::timeout(timeout, opening).await.unwrap_or_else(|late| Err(late.into()))
    }

    /// The next message. Cancel safe.
    pub(super) async fn next(&mut self) -> Received {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Received::Text(text),
                Some(Ok(Message::Close(frame))) => {
                    return Received::Lost(frame.map(|frame| frame.code.into()));
                }
                // Only text was asked for; pings are answered by the library.
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "the connection to discord's gateway broke");
                    return Received::Lost(None);
                }
                None => return Received::Lost(None),
            }
        }
    }

    /// Sends a payload; false where the peer is gone.
    pub(super) async fn send(&mut self, text: String) -> bool {
        matches!(tokio::time::timeout(SEND_TIMEOUT, self.0.send(Message::text(text))).await, Ok(Ok(())))
    }

    /// Closes with a code. The code matters: Discord keeps the session after any but 1000 and 1001.
    pub(super) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        let closing = async {
            if self.0.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}
