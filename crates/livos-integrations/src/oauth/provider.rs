//! Where a provider is, and who this client is to it.

use http::Uri;
use livos_core::secret::Secret;

/// A provider of OAuth 2.0 and this client's registration with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The page on which a person consents.
    pub authorization_url: Uri,
    /// Where codes and refresh tokens are turned into tokens.
    pub token_url: Uri,
    /// Where a grant is given back; none where the provider has no such thing.
    pub revocation_url: Option<Uri>,
    /// The client's id.
    pub client_id: String,
    /// The client's secret; none for a public client, which PKCE protects.
    pub client_secret: Option<Secret>,
    /// How the client shows its secret. In the body: all known providers take it there.
    pub client_auth: ClientAuth,
    /// Where the provider sends the person back to: this server's callback, as registered.
    pub redirect_uri: String,
    /// What is asked for. A consent to less is refused.
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request.
    pub parameters: Vec<(String, String)>,
    /// Who signs its answers to authorization requests. Where the callback names another (RFC
    /// 9207), somebody mixed two providers up.
    pub issuer: Option<String>,
    /// Whether a consent without a refresh token is refused. True: without one, access ends within
    /// the hour.
    pub requires_refresh_token: bool,
}

/// How a client shows its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// In the body of the request.
    #[default]
    Body,
    /// As `Authorization: Basic`.
    Basic,
}

/// A provider that can't be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the OAuth provider is not configured right: {0}")]
pub struct InvalidProvider(pub &'static str);

impl ProviderConfig {
    /// A provider at these addresses.
    pub fn new(
        authorization_url: Uri,
        token_url: Uri,
        client_id: impl Into<String>,
        redirect_uri: impl Into<String>,
    ) -> Self {
        Self {
            authorization_url,
            token_url,
            revocation_url: None,
            client_id: client_id.into(),
            client_secret: None,
            client_auth: ClientAuth::default(),
            redirect_uri: redirect_uri.into(),
            scopes: Vec::new(),
            parameters: Vec::new(),
            issuer: None,
            requires_refresh_token: true,
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidProvider> {
        let redirect: Uri =
            self.redirect_uri.parse().map_err(|_| InvalidProvider("the redirect URI is no absolute URI"))?;
        let addresses = [Some(&self.authorization_url), Some(&self.token_url), self.revocation_url.as_ref()];
        if addresses.into_iter().flatten().chain([&redirect]).any(|uri| !is_protected(uri)) {
            return Err(InvalidProvider(
                "its addresses and the redirect URI are https, or http on this machine",
            ));
        }
        if self.client_id.trim().is_empty() {
            return Err(InvalidProvider("the client id is empty"));
        }
        if self.client_secret.as_ref().is_some_and(|secret| secret.expose().trim().is_empty()) {
            return Err(InvalidProvider("the client secret is empty"));
        }
        if self.client_auth == ClientAuth::Basic && self.client_secret.is_none() {
            return Err(InvalidProvider("without a client secret there is no basic authentication"));
        }
        Ok(())
    }
}

/// Whether what is sent there can't be read on the way.
pub(super) fn is_protected(uri: &Uri) -> bool {
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => {
            host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
        }
        _ => false,
    }
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut ProviderConfig)) -> Result<(), InvalidProvider> {
        let at = |uri: &'static str| Uri::from_static(uri);
        let mut provider = ProviderConfig::new(
            at("https://login.example/auth"),
            at("https://login.example/token"),
            "client",
            "https://livos.example/callback",
        );
        change(&mut provider);
        provider.validate()
    }

    #[test]
    fn tokens_and_codes_go_over_protected_ways_only() {
        assert_eq!(check(|_| {}), Ok(()));
        for uri in ["http://127.0.0.1:8080/token", "http://[::1]:1/token", "http://localhost/token"] {
            assert_eq!(check(|provider| provider.token_url = uri.parse().unwrap()), Ok(()), "{uri}");
        }
        for uri in
            ["http://login.example/token", "/token", "ftp://login.example/token", "http://127.0.0.1.example/"]
        {
            assert!(check(|provider| provider.token_url = uri.parse().unwrap()).is_err(), "{uri}");
            assert!(check(|provider| provider.redirect_uri = uri.into()).is_err(), "{uri}");
        }
    }

    #[test]
    fn empty_credentials_are_refused() {
        assert!(check(|provider| provider.client_id = " ".into()).is_err());
        assert!(check(|provider| provider.client_secret = Some(Secret::new(""))).is_err());
        assert!(check(|provider| provider.client_auth = ClientAuth::Basic).is_err());
    }
}
