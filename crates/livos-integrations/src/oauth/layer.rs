//! Calls an API with the token of a grant: adds it, waits for the one refresh, and tries once more
//! when it was refused.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use livos_core::secret::Secret;
use tower::{BoxError, ServiceExt};
use tower_layer::Layer;
use tower_service::Service;

use super::{TokenError, TokenSource, provider::is_protected};

/// A body of a request that can be sent a second time.
///
/// A body in memory can; a stream that was read can't, so its request is not tried again: implement
/// this with `None` for it.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::StreamBody;
/// use livos_integrations::oauth::Replay;
///
/// /// A body in memory, or one that is read from somewhere once.
/// enum Upload<S> {
///     Whole(Bytes),
///     Once(StreamBody<S>),
/// }
///
/// impl<S> Replay for Upload<S> {
///     fn replay(&self) -> Option<Self> {
///         match self {
///             Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
///             Self::Once(_) => None,
///         }
///     }
/// }
/// ```
pub trait Replay: Sized {
    /// The same body again, where that is possible.
    fn replay(&self) -> Option<Self>;
}

impl Replay for Bytes {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D: Buf + Clone> Replay for Full<D> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D: Buf> Replay for Empty<D> {
    fn replay(&self) -> Option<Self> {
        Some(Self::new())
    }
}

/// Adds the token of one grant to requests.
#[derive(Debug, Clone)]
pub struct BearerLayer {
    source: TokenSource,
    hosts: Arc<[String]>,
}

impl BearerLayer {
    /// Tokens from this source, for requests to these hosts and nobody else:
    /// `gmail.googleapis.com`, or `127.0.0.1:8080` where the port is not the usual one. A request
    /// elsewhere is an error, and so is one over a way that others can read; both would give the
    /// token away.
    pub fn new(source: TokenSource, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let hosts = hosts.into_iter().map(|host| host.into().to_ascii_lowercase()).collect();
        Self { source, hosts }
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, layer: self.clone() }
    }
}

/// A service whose requests carry the token of a grant. See [`BearerLayer`].
///
/// When the API answers 401, the token is refreshed, once for all who met that, and a request whose
/// body can be [replayed](Replay) is sent once more. What comes of the second is the answer, a 401
/// too: an API that refuses fresh tokens wants something else.
#[derive(Debug, Clone)]
pub struct Bearer<S> {
    inner: S,
    layer: BearerLayer,
}

impl<S, B, R> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Replay + Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = BearerError;
    type Future = BoxFuture<'static, Result<Response<R>, BearerError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(service)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let again = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, again.clone());
        let layer = self.layer.clone();
        Box::pin(async move { layer.call(ready, again, request).await })
    }
}

impl BearerLayer {
    async fn call<S, B, R>(
        &self,
        mut ready: S,
        again: S,
        mut request: Request<B>,
    ) -> Result<Response<R>, BearerError>
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        B: Replay,
    {
        let uri = request.uri();
        let host = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        if !is_protected(uri) || !host.is_some_and(|host| self.hosts.contains(&host)) {
            return Err(BearerError::Elsewhere);
        }
        let token = self.source.token().await?;
        let second = replay(&request);
        authorize(&mut request, token.secret());
        let response = ready.call(request).await.map_err(service)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.source.rejected(&token).await?;
        let Some(mut second) = second else { return Ok(response) };
        drop(response);
        let token = self.source.token().await?;
        authorize(&mut second, token.secret());
        again.oneshot(second).await.map_err(service)
    }
}

/// The same request again, where its body allows that.
fn replay<B: Replay>(request: &Request<B>) -> Option<Request<B>> {
    let mut again = Request::new(request.body().replay()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

fn authorize<B>(request: &mut Request<B>, token: &Secret) {
    // A token is of visible ASCII: answers with another one are refused where they are read.
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.expose())) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}

/// Why a request with a token failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BearerError {
    /// The request goes to a host that the token is not for, or over a way that others can read.
    #[error("the token is not for this host, or the way there can be read by others")]
    Elsewhere,
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API could not be called.
    #[error("the API could not be called")]
    Service(#[source] BoxError),
}

fn service(error: impl Into<BoxError>) -> BearerError {
    BearerError::Service(error.into())
}
