//! The sections `[log]`, `[memory]` and `[telemetry]`.

use std::time::Duration;

use livos_core::supervise::memory::MemoryConfig;
use serde::{Deserialize, Deserializer, de};

use crate::config::{ConfigError, Document, Environment, Section, optional_duration, provider_url};

/// How the process is watched by its operator.
pub struct OpsConfig {
    pub log: LogSection,
    /// The watch over memory.
    pub memory: MemorySection,
    pub telemetry: TelemetrySection,
}

impl OpsConfig {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        Ok(Self { log: document.section()?, memory: document.section()?, telemetry: document.section()? })
    }
}

/// The log, which goes to standard error. `RUST_LOG` says what is logged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `text` for people (the default), or `json`, one object a line, for programs;
    /// `LIVOS_LOG_FORMAT` overrides it.
    pub format: LogFormat,
}

impl Section for LogSection {
    const NAME: &'static str = "log";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        self.format = match environment.var("LIVOS_LOG_FORMAT").as_deref() {
            None => return Ok(()),
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                return Err(ConfigError::of(
                    "LIVOS_LOG_FORMAT",
                    format!("{other:?} is neither text nor json"),
                ));
            }
        };
        Ok(())
    }
}

/// How a line of the log looks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The watch over resident memory. What is not set is the default of
/// `livos_core::supervise::memory::MemoryConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySection {
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

impl Section for MemorySection {
    const NAME: &'static str = "memory";
}

/// The most memory that the server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftLimit {
    /// So many percent of what there is.
    Share(u64),
    Bytes(u64),
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
pub struct TelemetrySection {
    /// The collector that speaks OTLP over HTTP: `https://…`, or `http://…` on loopback, such as
    /// `http://127.0.0.1:4318`; `OTEL_EXPORTER_OTLP_ENDPOINT` overrides it. `/v1/traces` is added.
    /// Without it nothing is sent. The other variables of the OpenTelemetry specification work too,
    /// such as `OTEL_EXPORTER_OTLP_HEADERS` for a key.
    pub endpoint: Option<String>,
}

impl Section for TelemetrySection {
    const NAME: &'static str = "telemetry";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        // A platform may set this variable for all its programs. A build that can't send traces
        // starts all the same.
        if cfg!(feature = "otel") {
            environment.text(&mut self.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT");
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        const KEY: &str = "telemetry.endpoint";
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        provider_url(KEY, endpoint, "https", "http")?;
        if cfg!(feature = "otel") {
            return Ok(());
        }
        Err(ConfigError::of(KEY, "this program was built without the feature otel"))
    }
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
        let error = toml::from_str::<MemorySection>("soft_limit = \"lots\"\n").unwrap_err();
        assert!(error.message().starts_with("a limit is a share such as"), "{error}");
        assert_eq!(toml::from_str::<MemorySection>("").unwrap().soft_limit, SoftLimit::Share(80));
    }

    #[test]
    fn only_a_build_with_traces_takes_the_address_of_a_collector() {
        let read = |text: &str, variable: Option<&str>| {
            let lookup =
                |name: &str| variable.filter(|_| name == "OTEL_EXPORTER_OTLP_ENDPOINT").map(str::to_owned);
            let document = Document::parse(text, None, Environment::new(&lookup));
            document.and_then(|mut document| document.section::<TelemetrySection>())
        };
        let file = read("[telemetry]\nendpoint = \"http://127.0.0.1:4318\"\n", None);
        assert_eq!(file.is_ok(), cfg!(feature = "otel"));
        let platform = read("", Some("http://127.0.0.1:4318")).unwrap();
        assert_eq!(platform.endpoint.is_some(), cfg!(feature = "otel"));
    }
}
