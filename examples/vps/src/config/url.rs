//! Addresses of providers.

use std::net::IpAddr;

use http::Uri;

use super::error::ConfigError;

/// Parses a provider's address. It must be encrypted, or plain on loopback: a key that is sent in
/// the clear can be read by everybody on the way.
pub fn provider_url(key: &str, text: &str, secure: &str, plain: &str) -> Result<Uri, ConfigError> {
    parse(text, secure, plain).map_err(|why| ConfigError::of(key, why))
}

fn parse(text: &str, secure: &str, plain: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = uri.host().ok_or("has no host")?.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some(scheme) if scheme == secure => Ok(uri),
        Some(scheme) if scheme == plain && loopback => Ok(uri),
        Some(scheme) if scheme == plain => Err(format!("{plain}:// is for loopback only; use {secure}://")),
        _ => Err(format!("must begin with {secure}:// (or {plain}:// on loopback)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_address_is_for_loopback_only() {
        let check = |url| parse(url, "wss", "ws").map(|_| ());
        for good in ["wss://api.example/v1", "ws://127.0.0.1:1", "ws://localhost:1/x", "ws://[::1]:1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["ws://api.example", "ws://10.0.0.1:1", "http://127.0.0.1", "nonsense", ""] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
