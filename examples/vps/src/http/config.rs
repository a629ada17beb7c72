//! The section `[server]`.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderName, Uri};
use livos_core::secret::Secret;
use serde::Deserialize;

use crate::config::{ConfigError, Environment, Section, duration, parsed};

/// The shortest bearer token that is accepted, in bytes. 16: shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// The address and port to listen on; `LIVOS_LISTEN` overrides it. Loopback by default: put a
    /// TLS proxy in front before opening it to a network.
    pub listen: SocketAddr,
    /// The bearer token of programs; `LIVOS_TOKEN` overrides it. Without it only the browser's
    /// session cookie is accepted.
    pub token: Option<Secret>,
    /// The address that people use when a proxy is in front. It is printed in the login link and
    /// allowed as an `Origin`.
    pub public_url: Option<String>,
    /// The header in which the proxy in front names the client, such as `x-forwarded-for`. Its last
    /// address is believed, so set it only if the proxy adds one to every request. Without it, all
    /// clients of the proxy share one rate limit.
    #[serde(deserialize_with = "header_name")]
    pub forwarded_header: Option<HeaderName>,
    /// More origins that may use the session cookie.
    pub allowed_origins: Vec<String>,
    /// The most voice sessions at one time. 16: each holds two provider connections, and small
    /// provider plans allow few.
    pub max_voice_sessions: usize,
    /// The most TCP connections at one time. 512: a small server has few file descriptors.
    pub max_connections: usize,
    /// How long a drain may take before running work is cut. 10 s: well below the 90 s after which
    /// systemd kills.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// How often providers are probed for `/readyz`. 30 s: fresh enough for a load balancer, cheap
    /// for a provider.
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8420)),
            token: None,
            public_url: None,
            forwarded_header: None,
            allowed_origins: Vec::new(),
            max_voice_sessions: 16,
            max_connections: 512,
            drain_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(30),
        }
    }
}

impl Section for ServerSection {
    const NAME: &'static str = "server";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.token, "LIVOS_TOKEN");
        if let Some(listen) = environment.var("LIVOS_LISTEN") {
            self.listen = parse_listen(&listen)?;
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN) {
            let why = format!("use at least {MIN_TOKEN} characters (LIVOS_TOKEN)");
            return Err(ConfigError::of("server.token", why));
        }
        if let Some(url) = &self.public_url {
            origin(url).map_err(|why| ConfigError::of("server.public_url", why))?;
        }
        for url in &self.allowed_origins {
            origin(url).map_err(|why| ConfigError::of("server.allowed_origins", why))?;
        }
        if self.max_voice_sessions == 0 || self.max_connections == 0 {
            return Err(ConfigError::of(
                "server",
                "max_voice_sessions and max_connections must be at least 1",
            ));
        }
        Ok(())
    }
}

impl ServerSection {
    /// This server's address as browsers see it, without a slash at its end. `bound` is the address
    /// that it listens on.
    pub fn base(&self, bound: SocketAddr) -> String {
        let public = self.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        public.unwrap_or_else(|| format!("http://{bound}"))
    }

    /// Whether browsers reach it over HTTPS.
    pub fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
    }

    /// The origins that may use the session cookie, in addition to the address of the request.
    pub fn origins(&self) -> Vec<String> {
        self.allowed_origins.iter().chain(&self.public_url).cloned().collect()
    }
}

/// Parses an address to listen on.
pub fn parse_listen(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        let why = format!("{text:?} is not an address and port, such as 127.0.0.1:8420");
        ConfigError::of("listen", why)
    })
}

/// Refuses what no browser would send as an `Origin`.
fn origin(text: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "must be like https://voice.example.org, without a path";
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| SHAPE)?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    if has_scheme && uri.host().is_some() && uri.path() == "/" && uri.query().is_none() {
        return Ok(());
    }
    Err(SHAPE)
}

fn header_name<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    parsed(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    fn read(text: &str, variable: (&str, &str)) -> Result<ServerSection, String> {
        let lookup = |name: &str| (name == variable.0).then(|| variable.1.to_owned());
        let document = Document::parse(text, None, Environment::new(&lookup));
        document.and_then(|mut document| document.section()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_overrides_the_address_and_the_token() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\n";
        assert_eq!(read(text, ("", "")).unwrap().listen.port(), 1);
        assert_eq!(read(text, ("LIVOS_LISTEN", "127.0.0.1:2")).unwrap().listen.port(), 2);
        assert!(read("", ("", "")).unwrap().listen.ip().is_loopback());
        let error = read("", ("LIVOS_TOKEN", "short")).unwrap_err();
        assert!(error.contains("at least 16 characters"), "{error}");
        let error = read("", ("LIVOS_LISTEN", "8420")).unwrap_err();
        assert!(error.contains("such as 127.0.0.1:8420"), "{error}");
    }

    #[test]
    fn a_public_url_is_an_origin() {
        let read = |url: &str| read(&format!("[server]\npublic_url = \"{url}\"\n"), ("", ""));
        for good in ["https://voice.example.org", "https://voice.example.org/", "http://10.0.0.1:8420"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["voice.example.org", "https://voice.example.org/livos", "ftp://x.example", "https://", ""]
        {
            let error = read(bad).unwrap_err();
            assert!(error.starts_with("server.public_url: must be like https://"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_header_that_can_not_exist_is_refused_with_its_line() {
        let error = read("[server]\nforwarded_header = \"x forwarded\"\n", ("", "")).unwrap_err();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
