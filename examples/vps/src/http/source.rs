//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderName};

/// The peer of a connection, as an extension of each of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The client that sent a request, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct Source(pub IpAddr);

/// Adds the [`Source`]. `forwarded` is the header in which a trusted proxy names the client;
/// without it the peer of the connection counts.
pub async fn note_source(forwarded: Option<HeaderName>, mut request: Request, next: Next) -> Response {
    if let Some(source) = source(&request, forwarded.as_ref()) {
        request.extensions_mut().insert(Source(source));
    }
    next.run(request).await
}

/// The address that the proxy added last, else the peer's.
fn source(request: &Request, forwarded: Option<&HeaderName>) -> Option<IpAddr> {
    let last = |headers: &HeaderMap, name: &HeaderName| {
        let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = || request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
    forwarded.and_then(|name| last(request.headers(), name)).or_else(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        request.extensions_mut().insert(Peer(SocketAddr::from(([127, 0, 0, 1], 5000))));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn only_what_the_proxy_added_last_is_believed_and_only_if_there_is_one() {
        let name = HeaderName::from_static("x-forwarded-for");
        let forged = request(&[("x-forwarded-for", "198.51.100.1, 192.0.2.7")]);
        assert_eq!(source(&forged, Some(&name)), Some([192, 0, 2, 7].into()));
        assert_eq!(source(&forged, None), Some([127, 0, 0, 1].into()));
        let twice = request(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "192.0.2.7")]);
        assert_eq!(source(&twice, Some(&name)), Some([192, 0, 2, 7].into()));
        assert_eq!(source(&request(&[]), Some(&name)), Some([127, 0, 0, 1].into()));
    }
}
