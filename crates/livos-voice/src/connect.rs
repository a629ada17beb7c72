//! How a provider client gets its byte stream: a `tower::Service` from a URI to anything that reads
//! and writes.
//!
//! A client that takes its connector can be handed a TCP and TLS connector in production and an
//! in-memory stream in a test, so that the whole client runs under virtual time against a twin.

#[cfg(feature = "tls")]
mod tcp;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{BoxError, util::BoxCloneSyncService};

#[cfg(feature = "tls")]
pub use tcp::{TcpConfig, tcp};

/// A byte stream that a client can own.
///
/// ```
/// use livos_voice::connect;
///
/// let connector = connect::from_fn(|_uri| async {
///     let (client, _server) = tokio::io::duplex(1024); // Any `Io`: a twin holds the other end.
///     Ok(client)
/// });
/// # let _ = connector;
/// ```
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream of any type.
pub type BoxIo = Box<dyn Io>;

/// From a `ws` or `wss` URI to a connected byte stream (for `wss`, after the TLS handshake). The
/// WebSocket handshake is the client's.
pub type Connector = BoxCloneSyncService<Uri, BoxIo, BoxError>;

/// A connector from an async function; what tests use to pass a twin.
pub fn from_fn<F, Fut, I>(connect: F) -> Connector
where
    F: Fn(Uri) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<I, BoxError>> + Send + 'static,
    I: Io,
{
    Connector::new(tower::service_fn(move |uri: Uri| {
        let connecting = connect(uri);
        async move { connecting.await.map(|io| Box::new(io) as BoxIo) }
    }))
}
