//! Opening a WebSocket to a provider, and telling failures that may pass from those that will not.
//!
//! Every client of a provider opens its socket here. So each of them bounds the handshake, the
//! message size and the memory behind a peer that does not read, and none of them writes the key
//! into a log.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, Request, StatusCode};
use livos_core::{
    reconnect::ReconnectInput,
    secret::Secret,
    time::{Clock, SystemClock},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, client::IntoClientRequest, protocol::WebSocketConfig},
};
use tower::{BoxError, Service, ServiceExt};

use crate::connect::{BoxIo, Connector};

/// Bounds of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How long connecting, TLS and the WebSocket handshake may take together. 5 s: a slower
    /// provider is of no use in a conversation.
    pub handshake_timeout: Duration,
    /// Bytes of the largest message accepted from the peer. 1 MiB: transcripts and audio chunks are
    /// some kilobytes.
    pub max_message: usize,
    /// Bytes that may wait behind a peer that does not read; more is an error on send. 256 KiB: 8 s
    /// of 16 kHz audio.
    pub max_unsent: usize,
    /// Bytes of the read buffer. 4 KiB: small messages, and small buffers are given back sooner.
    pub read_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            max_message: 1 << 20,
            max_unsent: 256 << 10,
            read_buffer: 4 << 10,
        }
    }
}

/// Why a socket did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The provider answered the upgrade with another status. `body` is an excerpt without secrets.
    #[error("the provider refused the connection with status {status}: {body}")]
    Refused {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// The beginning of the body, without line breaks; empty when it did not arrive with the
        /// head.
        body: String,
        /// When the provider asked to be left alone for a while.
        retry_after: Option<Duration>,
    },
    /// The handshake took longer than [`Limits::handshake_timeout`].
    #[error("the provider did not complete the handshake within {0:?}")]
    TimedOut(Duration),
    /// No byte stream: name resolution, TCP or TLS failed.
    #[error("could not connect to the provider")]
    Connect(#[source] BoxError),
    /// The stream broke or the peer does not speak WebSocket.
    #[error("the handshake with the provider failed")]
    Handshake(#[source] BoxError),
    /// The request cannot be sent: our configuration is wrong.
    #[error("the request for the connection is invalid")]
    Request(#[source] BoxError),
}

impl OpenError {
    /// True when asking again with the same key and parameters cannot help: a 3xx, or a 4xx other
    /// than 408, 425 and 429.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                let passing =
                    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
                (status.is_redirection() || status.is_client_error()) && !passing.contains(status)
            }
            Self::Request(_) => true,
            Self::TimedOut(_) | Self::Connect(_) | Self::Handshake(_) => false,
        }
    }

    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What the failure means for the next attempt.
    pub(crate) fn reconnect_input(&self) -> ReconnectInput {
        match self.retry_after() {
            _ if self.is_fatal() => ReconnectInput::Refused,
            Some(retry_after) => ReconnectInput::Busy { retry_after },
            None => ReconnectInput::Lost,
        }
    }
}

/// Connects, and completes the WebSocket handshake for the `ws` or `wss` address and the further
/// headers of `request`; the headers of the handshake itself are added here. Header values with a
/// secret must be marked sensitive, so that a refusal that repeats one is redacted. Dropping the
/// future closes the stream. Never enable the TRACE level of the `tungstenite` target: it logs the
/// request whole.
pub(crate) async fn open(
    connector: &mut Connector,
    request: Request<()>,
    limits: &Limits,
) -> Result<WebSocketStream<BoxIo>, OpenError> {
    let opening = Box::pin(open_without_limit(connector, request, limits));
    tokio::time::timeout(limits.handshake_timeout, opening)
        .await
        .unwrap_or(Err(OpenError::TimedOut(limits.handshake_timeout)))
}

async fn open_without_limit(
    connector: &mut Connector,
    request: Request<()>,
    limits: &Limits,
) -> Result<WebSocketStream<BoxIo>, OpenError> {
    let (parts, ()) = request.into_parts();
    let mut upgrade = parts.uri.into_client_request().map_err(|error| OpenError::Request(error.into()))?;
    upgrade.headers_mut().extend(parts.headers);
    let secrets = secrets_of(upgrade.headers());

    let ready = connector.ready().await.map_err(OpenError::Connect)?;
    let io = ready.call(upgrade.uri().clone()).await.map_err(OpenError::Connect)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(limits.read_buffer)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.max_unsent)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message));
    match tokio_tungstenite::client_async_with_config(upgrade, io, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(OpenError::Refused {
            status: response.status(),
            body: excerpt(response.body().as_deref().unwrap_or_default(), &secrets),
            retry_after: retry_after(response.headers()),
        }),
        Err(error @ (Error::HttpFormat(_) | Error::Url(_) | Error::Utf8(_))) => {
            Err(OpenError::Request(error.into()))
        }
        Err(error) => Err(OpenError::Handshake(error.into())),
    }
}

/// What must not appear in an excerpt: each word of each sensitive header (a scheme such as "Token"
/// is no secret, but short).
pub(crate) fn secrets_of(headers: &HeaderMap) -> Vec<Secret> {
    headers
        .values()
        .filter(|value| value.is_sensitive())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split_ascii_whitespace())
        .map(Secret::new)
        .collect()
}

pub(crate) fn excerpt(body: &[u8], secrets: &[Secret]) -> String {
    const LONGEST: usize = 300;
    let whole = String::from_utf8_lossy(body).into_owned();
    let whole = secrets.iter().fold(whole, |text, secret| secret.redact(&text));
    let mut short = String::new();
    for char in whole.chars().take(LONGEST) {
        let char = if char.is_control() { ' ' } else { char };
        let _ = short.write_char(char);
    }
    short
}

/// How long the provider asks to be left alone; an hour at most.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(3600);
    livos_core::http::retry_after(headers, SystemClock.now()).map(|wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::connect;

    /// A peer that reads a request and answers with these bytes.
    fn peer(answer: &'static str) -> Connector {
        connect::from_fn(move |_| async move {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = theirs.read(&mut request).await;
                let _ = theirs.write_all(answer.as_bytes()).await;
                std::future::pending::<()>().await;
            });
            Ok(ours)
        })
    }

    fn request() -> Request<()> {
        let mut key = HeaderValue::from_static("Token key-0123456789");
        key.set_sensitive(true);
        Request::get("ws://provider.test/v1/listen").header("authorization", key).body(()).unwrap()
    }

    async fn refusal(answer: &'static str) -> OpenError {
        open(&mut peer(answer), request(), &Limits::default()).await.map(|_| ()).unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_key_is_fatal_and_the_excerpt_does_not_repeat_it() {
        let error = refusal("HTTP/1.1 401 Unauthorized\r\n\r\n{\"err\":\"bad key-0123456789\r\n\"}").await;
        assert!(error.is_fatal());
        let text = error.to_string();
        assert!(text.contains("401") && text.contains("bad …"), "{text}");
        assert!(!text.contains("key-0123456789") && !text.contains('\n'), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_provider_is_asked_again_when_it_says() {
        let error = refusal("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n").await;
        assert!(!error.is_fatal());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(!refusal("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.is_fatal());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_given_up_after_the_handshake_timeout() {
        let start = tokio::time::Instant::now();
        assert!(matches!(refusal("").await, OpenError::TimedOut(_)));
        assert_eq!(start.elapsed(), Limits::default().handshake_timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_speaks_another_protocol_is_not_fatal() {
        let error = refusal("+OK POP3 ready\r\n\r\n").await;
        assert!(matches!(error, OpenError::Handshake(_)), "{error:?}");
        assert!(!error.is_fatal());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_connection_is_not_fatal() {
        let mut connector =
            connect::from_fn(|_| async { Err::<tokio::io::DuplexStream, _>("no route".into()) });
        let error = open(&mut connector, request(), &Limits::default()).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Connect(_)) && !error.is_fatal());
    }
}
