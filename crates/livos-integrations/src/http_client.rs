//! The HTTP client that a caller brings, as one type, and answers that are read up to a bound.
//!
//! Every client of this crate is generic over a service from request to response, so that a test
//! hands it a twin, and an application its own stack of layers and connections.

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
/// Any HTTP client as a tower service.
pub type HttpClient = BoxCloneSyncService<Request<Full<Bytes>>, Response<ResponseBody>, BoxError>;

/// The caller's client as the one type.
pub fn boxed<S, B>(service: S) -> HttpClient
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service
        .map_response(|response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
        .map_err(Into::into);
    HttpClient::new(service)
}

/// A client over rustls with the Mozilla roots, HTTP/2 and HTTP/1.1, connections kept alive; plain
/// HTTP where an address says so.
#[cfg(feature = "tls")]
pub fn over_tls() -> Result<HttpClient, BoxError> {
    use std::time::Duration;

    use hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::{TokioExecutor, TokioTimer},
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(5)));
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .build::<_, Full<Bytes>>(https);
    Ok(boxed(client))
}

/// A body that was not read.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// It is longer than the bound.
    TooLong,
    /// It broke off.
    Broke(BoxError),
}

/// Reads a body of at most `most` bytes.
pub(crate) async fn read(mut body: ResponseBody, most: usize) -> Result<Bytes, NotRead> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(NotRead::Broke)?.into_data() else { continue };
        if read.len() + bytes.len() > most {
            return Err(NotRead::TooLong);
        }
        read.extend_from_slice(&bytes);
    }
    Ok(read.freeze())
}

/// Whether a request certainly never left: no connection came about.
pub(crate) fn never_left(error: &BoxError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        let hyper = error.downcast_ref::<hyper_util::client::legacy::Error>();
        if hyper.is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, as one text.
pub(crate) fn describe(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
