//! The process and what an operator sees of it.

use std::{net::SocketAddr, time::Duration};

use livos_core::{secret::Secret, supervise::memory::MemoryConfig};
use serde::{Deserialize, Deserializer, de};

use super::values::{duration, optional_duration};

/// The HTTP server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where it listens. Loopback by default: put a TLS proxy in front before opening it to a
    /// network.
    pub listen: SocketAddr,
    /// The bearer token of programs; without it only the browser's session cookie is accepted.
    pub token: Option<Secret>,
    /// The address people use, where a proxy stands in front; printed in the login link and allowed
    /// as an `Origin`.
    pub public_url: Option<String>,
    /// The header in which the proxy in front says who calls, such as `x-forwarded-for`. Its last
    /// address is believed, so name it only if the proxy adds one to every request; without it all
    /// who come through the proxy share one limit.
    pub forwarded_header: Option<String>,
    /// Further origins that may open a voice socket.
    pub allowed_origins: Vec<String>,
    /// Voice sessions at one time. 16: each holds two provider connections, and small provider
    /// plans allow few.
    pub max_voice_sessions: usize,
    /// TCP connections at one time. 512: a small server's file descriptors are finite.
    pub max_connections: usize,
    /// How long a drain may take before what still runs is cut. 10 s: well below the 90 s after
    /// which systemd kills.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// How often providers are checked for `/readyz`. 30 s: fresh enough for a load balancer,
    /// nothing for a provider.
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
}

impl Default for Server {
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

/// The log, which goes to standard error. `RUST_LOG` says what is logged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` for people (the default), or `json`, one object a line, for programs;
    /// `LIVOS_LOG_FORMAT` overrides it.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The watch over resident memory. What is not set is the default of
/// `livos_core::supervise::memory::MemoryConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Past it the server drains and exits with code 75, to be started again: a share such as
    /// `"80%"` (the default) of what the control group or the machine allows, a size such as
    /// `"400MB"`, or `"off"`.
    pub soft_limit: SoftLimit,
    /// How often memory is read.
    #[serde(deserialize_with = "optional_duration")]
    pub sample_every: Option<Duration>,
    /// How long the limit must be passed.
    #[serde(deserialize_with = "optional_duration")]
    pub over_for: Option<Duration>,
    /// How often memory is logged.
    #[serde(deserialize_with = "optional_duration")]
    pub line_every: Option<Duration>,
}

/// The most memory that the server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftLimit {
    /// So many percent of what there is.
    Share(u64),
    /// So many bytes.
    Bytes(u64),
    /// Any.
    Off,
}

impl Default for SoftLimit {
    fn default() -> Self {
        Self::Share(MemoryConfig::SHARE)
    }
}

impl SoftLimit {
    fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').trim_end();
        let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
        let bytes = match text[digits.len()..].trim() {
            "%" => return (number <= 100).then_some(Self::Share(number)),
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self::Bytes)
    }
}

impl<'de> Deserialize<'de> for SoftLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).ok_or_else(|| {
            de::Error::custom("a limit is a share such as \"80%\", a size such as \"400MB\", or \"off\"")
        })
    }
}

/// OpenTelemetry traces, in programs that were built with the feature `otel`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The collector that speaks OTLP over HTTP: `https://…`, or `http://…` on loopback, such as
    /// `http://127.0.0.1:4318`; `OTEL_EXPORTER_OTLP_ENDPOINT` overrides it. `/v1/traces` is added.
    /// Without it nothing is sent. The other variables of the OpenTelemetry specification work too,
    /// such as `OTEL_EXPORTER_OTLP_HEADERS` for a key.
    pub endpoint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_a_size_or_none() {
        let table = [
            ("80%", SoftLimit::Share(80)),
            ("400 MB", SoftLimit::Bytes(400_000_000)),
            ("2GiB", SoftLimit::Bytes(2 << 30)),
            ("off", SoftLimit::Off),
        ];
        for (text, expected) in table {
            assert_eq!(SoftLimit::parse(text), Some(expected), "{text}");
        }
        for text in ["", "80", "0%", "101%", "-1MB", "1.5GB", "MB", "99999999999GiB", "on"] {
            assert_eq!(SoftLimit::parse(text), None, "{text}");
        }
        let error = toml::from_str::<Memory>("soft_limit = \"lots\"\n").unwrap_err();
        assert!(error.message().starts_with("a limit is a share such as"), "{error}");
        assert_eq!(toml::from_str::<Memory>("").unwrap().soft_limit, SoftLimit::Share(80));
    }
}
