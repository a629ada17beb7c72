//! The connector for real providers: TCP, and TLS for `wss`.
//!
//! The cryptography of rustls is named here and not taken from the process: a default that a host
//! application may set twice, or not at all, panics. Plain `ws` is possible; whether an address may
//! be used in the clear is for the configuration to say (the reference server allows it on loopback
//! only).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Uri;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{BoxError, service_fn};

use super::{BoxIo, Connector};

/// How long an address may take before the next is tried in parallel; RFC 8305 recommends 250 ms.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried; a name with more is not a provider's.
const MOST_ADDRESSES: usize = 8;

/// Configuration of the connector [`tcp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// How long name resolution and TCP may take together. 3 s: one lost SYN is sent again after
    /// one second.
    pub connect_timeout: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(3) }
    }
}

/// A connector for `ws` and `wss` addresses: TCP without delay for small packets, over IPv6 or
/// IPv4, whichever answers; TLS 1.2 or 1.3 by rustls with the Mozilla roots. Fails only where
/// rustls finds its own defaults inconsistent.
pub fn tcp(config: TcpConfig) -> Result<Connector, BoxError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsConnector::from(Arc::new(tls));
    Ok(Connector::new(service_fn(move |uri: Uri| connect(uri, config, tls.clone()))))
}

async fn connect(uri: Uri, config: TcpConfig, tls: TlsConnector) -> Result<BoxIo, BoxError> {
    let host = uri.host().ok_or("the address names no host")?;
    // The brackets of an IPv6 address belong to the address line, not to the address.
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let secure = match uri.scheme_str() {
        Some("wss" | "https") => true,
        Some("ws" | "http") => false,
        _ => return Err("the address is neither ws nor wss".into()),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });

    let stream = tokio::time::timeout(config.connect_timeout, dial(host, port))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the connection was not made in time"))??;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// The first address that answers. A further one is tried when the last failed, or did not answer
/// for [`ATTEMPT_DELAY`].
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = alternate(tokio::net::lookup_host((host, port)).await?).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.push(TcpStream::connect(address));
        }
        if attempts.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

/// IPv6 and IPv4 in turn, beginning with the family that the resolver put first, so that a broken
/// family costs one delay.
fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = addresses.take(MOST_ADDRESSES).collect();
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut seen = [0usize; 2];
    let mut keyed: Vec<_> = addresses
        .drain(..)
        .map(|address| {
            let family = usize::from(address.is_ipv6() != first);
            seen[family] += 1;
            (seen[family] * 2 + family, address)
        })
        .collect();
    keyed.sort_by_key(|(rank, _)| *rank);
    keyed.into_iter().map(|(_, address)| address).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn families_alternate() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b, c) = (parse("[::1]:1"), parse("[::2]:1"), parse("[::3]:1"));
        let (x, y) = (parse("127.0.0.1:1"), parse("127.0.0.2:1"));
        assert_eq!(alternate([a, b, c, x, y].into_iter()), [a, x, b, y, c]);
        assert_eq!(alternate([x, y, a].into_iter()), [x, a, y]);
    }

    #[tokio::test]
    async fn a_plain_address_gives_a_stream() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("ws://{}/x", listener.local_addr().unwrap()).parse().unwrap();
        let (mut ours, (mut theirs, _)) =
            tokio::try_join!(async { tcp(TcpConfig::default()).unwrap().oneshot(uri).await }, async {
                Ok(listener.accept().await?)
            })
            .unwrap();
        theirs.write_all(b"hi").await.unwrap();
        let mut heard = [0; 2];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hi");
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_scheme_are_errors() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for uri in [format!("ws://{address}/"), format!("ftp://{address}/")] {
            let connector = tcp(TcpConfig::default()).unwrap();
            assert!(connector.oneshot(uri.parse().unwrap()).await.is_err(), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_peer_without_tls_fails_a_secure_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("wss://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        assert!(tcp(TcpConfig::default()).unwrap().oneshot(uri).await.is_err());
        peer.await.unwrap();
    }
}
