//! From an HTTP request to a voice session: the WebSocket handshake on the server's side.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::websocket::{WebSocketTransport, config};

/// Answers the WebSocket handshake in `request`, of hyper or any framework on it, such as axum.
/// Send the response, and await the [`Upgrade`] in a task of its own: it becomes a transport once
/// the response has left.
///
/// A request that is no handshake gets a response with status 400 or 426, and its [`Upgrade`]
/// fails. The `Origin` of the request is not looked at. If cookies or the network say who the user
/// is, compare it first: any page may open a WebSocket to this address.
///
/// ```
/// # use std::sync::Arc;
/// # use http::{Request, Response};
/// # use livos_core::conversation::{Inbound, Reply, ReplyError};
/// use livos_voice::{pipeline::VoiceSession, transport};
/// # async fn handler<S, B>(mut request: Request<B>, session: VoiceSession<S>) -> Response<String>
/// # where
/// #     S: tower_service::Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
/// #     S::Future: Send,
/// # {
/// let (response, upgrade) = transport::upgrade(&mut request);
/// tokio::spawn(async move {
///     if let Ok(transport) = upgrade.await {
///         session.run(transport).await;
///     }
/// });
/// response
/// # }
/// ```
pub fn upgrade<B>(request: &mut Request<B>) -> (Response<String>, Upgrade) {
    match accept(request.method(), request.headers()) {
        Ok(response) => (response, Upgrade(Some(hyper::upgrade::on(request)))),
        Err(refusal) => (refusal.response(), Upgrade(None)),
    }
}

/// Becomes the transport once the response to the handshake was sent.
#[derive(Debug)]
#[must_use = "the connection is closed when this is dropped"]
pub struct Upgrade(Option<OnUpgrade>);

/// Why a request did not become a WebSocket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The request was refused: it is no WebSocket handshake.
    #[error("the request is no WebSocket handshake")]
    Refused,
    /// The connection was lost before, or the server does not support upgrades.
    #[error("the connection was not upgraded")]
    Failed(#[source] hyper::Error),
}

impl Future for Upgrade {
    type Output = Result<WebSocketTransport<UpgradedIo>, UpgradeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(upgrading) = &mut self.0 else { return Poll::Ready(Err(UpgradeError::Refused)) };
        let io = match Pin::new(upgrading).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(UpgradeError::Failed(error))),
            Poll::Ready(Ok(io)) => UpgradedIo(TokioIo::new(io)),
        };
        // Without buffered bytes this is ready at once.
        let socket = std::pin::pin!(WebSocketStream::from_raw_socket(io, Role::Server, Some(config())));
        socket.poll(cx).map(|socket| Ok(WebSocketTransport::new(socket)))
    }
}

/// The byte stream of an upgraded request.
#[derive(Debug)]
pub struct UpgradedIo(TokioIo<Upgraded>);

impl AsyncRead for UpgradedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpgradedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What is wrong with a handshake: <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1>.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    NoUpgrade,
    NoKey,
    Version,
}

impl Refusal {
    fn response(&self) -> Response<String> {
        let (status, text) = match self {
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, "a WebSocket handshake is a GET over HTTP/1.1\n")
            }
            Self::NoUpgrade => (StatusCode::UPGRADE_REQUIRED, "this address speaks WebSocket only\n"),
            Self::NoKey => (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n"),
            Self::Version => (StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken here\n"),
        };
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match self {
            Self::Method => drop(headers.insert(header::ALLOW, HeaderValue::from_static("GET"))),
            Self::NoUpgrade | Self::Version => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::NoKey => {}
        }
        response
    }
}

fn accept(method: &Method, headers: &HeaderMap) -> Result<Response<String>, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    if !names(headers, header::CONNECTION, "upgrade") || !names(headers, header::UPGRADE, "websocket") {
        return Err(Refusal::NoUpgrade);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Refusal::NoKey)?;
    let proof = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| Refusal::NoKey)?;
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
    Ok(response)
}

/// Whether a header that is a list of words names this one.
fn names(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/voice");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const HANDSHAKE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_handshake_of_the_standard_is_accepted() {
        let (response, _) = upgrade(&mut request(Method::GET, &HANDSHAKE));
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_refused_with_a_reason() {
        let without = |name: &str| {
            let kept: Vec<_> = HANDSHAKE.into_iter().filter(|(header, _)| *header != name).collect();
            request(Method::GET, &kept)
        };
        for (mut request, status) in [
            (request(Method::POST, &HANDSHAKE), 405),
            (without("connection"), 426),
            (without("upgrade"), 426),
            (without("sec-websocket-version"), 426),
            (without("sec-websocket-key"), 400),
        ] {
            let (response, upgrade) = upgrade(&mut request);
            assert_eq!(response.status(), status);
            assert!(!response.body().is_empty());
            assert!(matches!(upgrade.await, Err(UpgradeError::Refused)));
        }
    }
}
