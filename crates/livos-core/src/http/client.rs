//! Any HTTP service as one type.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{BoxError, ResponseBody};

type Sending = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, BoxError>> + Send>>;

/// An HTTP client of any kind. A clone shares its connections.
///
/// It is a `tower::Service<http::Request<Bytes>>` itself, which is always ready: the readiness of
/// the service that it was made of is awaited as part of each request.
#[derive(Clone)]
pub struct HttpClient(Arc<dyn Fn(Request<Bytes>) -> Sending + Send + Sync>);

impl HttpClient {
    /// A client over any service that takes a body made of bytes (`Bytes`, `http_body_util::Full`,
    /// `axum::body::Body`).
    pub fn new<S, In, Out>(service: S) -> Self
    where
        S: Service<Request<In>, Response = Response<Out>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        In: From<Bytes> + Send + 'static,
        Out: Body<Data = Bytes> + Send + 'static,
        Out::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request: Request<Bytes>| {
            let mut service = service.clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request.map(In::from)).await.map_err(Into::into)?;
                Ok(response.map(ResponseBody::new))
            })
        }))
    }

    /// Sends a request and waits for the head of its response. There is no timeout.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, BoxError> {
        (self.0)(request).await
    }
}

impl Service<Request<Bytes>> for HttpClient {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        (self.0)(request)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
