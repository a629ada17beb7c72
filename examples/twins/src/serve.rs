//! Serves a twin: one HTTP connection, with WebSocket upgrade, over any byte stream.
//!
//! The same future runs over an in-memory stream in a test under virtual time and over TCP in the
//! demo, so that both meet the same provider.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_tungstenite::{
    HyperWebsocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpListener,
    task::JoinSet,
    time::Instant,
};

use crate::{
    admin,
    connection::{Connection, Host, lock},
    fault::{Fault, Refusal, Target},
    stream::{Stream, carry},
};

/// A response body: whole, or streamed. An error ends the connection where it is.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A provider's side of the wire. A clone is the same provider.
pub trait Twin: Clone + Send + Sync + 'static {
    /// Its connections and faults.
    fn host(&self) -> &Host;

    /// Answers one request. A WebSocket handshake is answered through [`upgrade`].
    fn handle(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The provider's own answer for a refusal: its error body for this status.
    fn refusal(&self, refusal: &Refusal) -> Response<Body>;

    /// The figures of this twin, for `/twin/stats`.
    fn figures(&self) -> serde_json::Value;

    /// Does what `POST /twin/{order}` asks of this provider only, and answers what came of it; none
    /// for an order that it does not know.
    fn order(&self, _order: &str, _body: &serde_json::Value) -> Option<serde_json::Value> {
        None
    }

    /// A new in-memory connection, served by a task of its own. Must be called inside a tokio
    /// runtime.
    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(MEMORY_STREAM);
        tokio::spawn(serve(self.clone(), server));
        client
    }

    /// Makes something go wrong on the connections that are open now.
    fn inject(&self, fault: Fault) {
        self.host().inject(fault);
    }

    /// Makes something go wrong on some connections.
    fn inject_into(&self, target: Target, fault: Fault) {
        self.host().inject_into(target, fault);
    }

    /// Refuses the next `count` requests or handshakes, with the provider's body for the status.
    fn refuse(&self, count: u32, refusal: Refusal) {
        self.host().refuse(count, refusal);
    }

    /// Cuts every connection abruptly; answers how many there were.
    fn kill_connections(&self) -> usize {
        self.host().kill_connections()
    }
}

/// Bytes that an in-memory stream buffers in each direction, about what a kernel socket does.
const MEMORY_STREAM: usize = 64 * 1024;

/// Serves every connection of a listener until `shutdown` ends; then cuts them all.
pub async fn listen<T: Twin>(listener: TcpListener, twin: T, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(twin.clone(), stream));
                }
                Err(error) => {
                    // Out of descriptors, most likely: accepting again at once would only spin.
                    tracing::warn!(%error, "accepting failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// Serves one connection until it ends, with the WebSocket session that it may become.
pub async fn serve<T, I>(twin: T, io: I)
where
    T: Twin,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let open = twin.host().open();
    let connection = Arc::clone(&open.connection);
    let served: BoxFuture<'static, ()> = if connection.round_trip().is_zero() {
        Box::pin(answer(twin, io, Arc::clone(&connection)))
    } else {
        Box::pin(from_afar(twin, io, Arc::clone(&connection)))
    };
    tokio::select! {
        biased;
        () = connection.until_cut() => {}
        () = served => {}
    }
}

/// Serves over a network with a round trip: two round trips for TCP and TLS, then half of one for
/// every byte.
async fn from_afar<T, I>(twin: T, io: I, connection: Arc<Connection>)
where
    T: Twin,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let round_trip = connection.round_trip();
    tokio::time::sleep(2 * round_trip).await;
    let (near, far) = tokio::io::duplex(MEMORY_STREAM);
    let (from_twin, to_twin) = tokio::io::split(far);
    let (from_client, to_client) = tokio::io::split(io);
    let outbound = async {
        tokio::join!(answer(twin, near, connection), carry(from_twin, to_client, round_trip / 2));
    };
    let inbound = async {
        carry(from_client, to_twin, round_trip / 2).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outbound => {}
        () = inbound => {}
    }
}

/// The session that a connection became, kept until HTTP has let go of the stream.
#[derive(Default)]
struct Session(Mutex<Option<BoxFuture<'static, ()>>>);

async fn answer<T, I>(twin: T, io: I, connection: Arc<Connection>)
where
    T: Twin,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let session = Arc::new(Session::default());
    let service = service_fn(|mut request: Request<Incoming>| {
        let (twin, connection) = (twin.clone(), Arc::clone(&connection));
        request.extensions_mut().insert(SessionSlot(Arc::clone(&session)));
        let answered: BoxFuture<'static, Result<Response<Body>, Infallible>> = Box::pin(async move {
            if admin::is_admin(&request) {
                twin.host().mark_administrative(&connection);
                return Ok(admin::answer(&twin, request).await);
            }
            connection.did_request();
            if let Some(refusal) = twin.host().next_refusal() {
                return Ok(refused(&twin, &refusal));
            }
            Ok(twin.handle(request, connection).await)
        });
        answered
    });
    let stream = TokioIo::new(Stream::new(io, Arc::clone(&connection)));
    let http = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = http.serve_connection_with_upgrades(stream, service).await {
        tracing::debug!(%error, "the HTTP connection ended");
    }
    let session = lock(&session.0).take();
    if let Some(session) = session {
        session.await;
    }
}

fn refused<T: Twin>(twin: &T, refusal: &Refusal) -> Response<Body> {
    let mut response = twin.refusal(refusal);
    if let Ok(status) = StatusCode::from_u16(refusal.status) {
        *response.status_mut() = status;
    }
    add_headers(response.headers_mut(), &refusal.headers);
    match &refusal.body {
        Some(body) => response.map(|_| full(body.clone())),
        None => response,
    }
}

fn add_headers(headers: &mut HeaderMap, more: &[(String, String)]) {
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse()) {
            headers.insert(name, value);
        }
    }
}

/// A whole body.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON response.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[derive(Clone)]
struct SessionSlot(Arc<Session>);

/// The largest message that a twin takes.
const MAX_MESSAGE: usize = 1 << 20;

/// Answers a WebSocket handshake and runs `session` on the connection. The caller adds the
/// provider's headers to the response.
pub fn upgrade<F, Fut>(
    request: &mut Request<Incoming>,
    connection: &Arc<Connection>,
    session: F,
) -> Response<Body>
where
    F: FnOnce(Socket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let slot = request.extensions().get::<SessionSlot>().cloned();
    let upgraded = hyper_tungstenite::is_upgrade_request(request)
        .then(|| hyper_tungstenite::upgrade(request, Some(config)).ok())
        .flatten();
    let (Some((response, websocket)), Some(slot)) = (upgraded, slot) else {
        let mut response = Response::new(full("this route speaks WebSocket"));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    let connection = Arc::clone(connection);
    *lock(&slot.0.0) = Some(Box::pin(async move {
        match websocket.await {
            Ok(websocket) => {
                session(Socket { websocket, connection, pinged_at: None, closed_with: None }).await;
            }
            Err(error) => tracing::debug!(%error, "the handshake was not completed"),
        }
    }));
    response.map(|_| full(Bytes::new()))
}

/// How long a closing twin waits for the client's close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The twin's end of a WebSocket.
#[derive(Debug)]
pub struct Socket {
    websocket: HyperWebsocketStream,
    connection: Arc<Connection>,
    pinged_at: Option<Instant>,
    closed_with: Option<u16>,
}

/// What came in.
#[derive(Debug)]
pub enum Received {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The end: the client closed or vanished, or a fault closed the socket.
    Closed,
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

impl Socket {
    /// The connection under the socket.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// When the client last sent a ping.
    pub fn pinged_at(&self) -> Option<Instant> {
        self.pinged_at
    }

    /// The code with which the client closed, once it did.
    pub fn closed_with(&self) -> Option<u16> {
        self.closed_with
    }

    /// The next message. Pings are answered on the way. Cancel safe.
    pub async fn recv(&mut self) -> Received {
        let message = tokio::select! {
            biased;
            (code, reason) = self.connection.close_requested() => Err((code, reason)),
            message = next_data(&mut self.websocket, &mut self.pinged_at, &mut self.closed_with) => Ok(message),
        };
        match message {
            Ok(received) => received,
            Err((code, reason)) => {
                self.close(code, &reason).await;
                Received::Closed
            }
        }
    }

    /// Sends a text message; answers [`Gone`] where the client closed or vanished.
    pub async fn send(&mut self, text: String) -> Result<(), Gone> {
        let text = self.connection.outgoing(text);
        self.websocket.send(Message::text(text)).await.map_err(|_| Gone)
    }

    /// Closes with a code and a reason, and waits a little for the client to agree.
    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let closing = async {
            if self.websocket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.websocket.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_GRACE, closing).await;
    }
}

async fn next_data(
    websocket: &mut HyperWebsocketStream,
    pinged_at: &mut Option<Instant>,
    closed_with: &mut Option<u16>,
) -> Received {
    loop {
        match websocket.next().await {
            Some(Ok(Message::Text(text))) => return Received::Text(text),
            Some(Ok(Message::Binary(bytes))) => return Received::Binary(bytes),
            Some(Ok(Message::Close(frame))) => {
                *closed_with = frame.map(|frame| frame.code.into());
                return Received::Closed;
            }
            None | Some(Err(_)) => return Received::Closed,
            Some(Ok(Message::Ping(_))) => *pinged_at = Some(Instant::now()),
            Some(Ok(_)) => {}
        }
    }
}
