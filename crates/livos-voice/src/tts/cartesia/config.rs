//! What the client is told, each default with its reason.

use std::time::Duration;

use http::{HeaderValue, Request, Uri, header};
use livos_core::{reconnect::ReconnectConfig, secret::Secret};

use crate::line::Limits;

/// Configuration of a [`super::Cartesia`] client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CartesiaConfig {
    /// `wss://api.cartesia.ai`, or any wire-compatible server. A path, if any, stands before
    /// `/tts/websocket`.
    pub base_url: Uri,
    /// The API key, sent as a bearer token.
    pub key: Secret,
    /// The version of the protocol. `2026-03-01`: the first with structured errors, and the shape
    /// of `voice` that this client sends.
    pub version: String,
    /// `sonic-3.5`: the newest stable model of the reference.
    pub model: String,
    /// The id of the voice. The default is one of the provider's public English voices.
    pub voice: String,
    /// BCP 47 language of the text.
    pub language: String,
    /// How long the provider may gather text before it speaks, up to 5 s. Zero: this client sends
    /// whole clauses; the provider's own default of three seconds would be waited on top.
    pub max_buffer_delay: Duration,
    /// Text was sent and nothing came for this long: the connection is replaced. 3 s: the 99th
    /// percentile of the first byte is 200 ms.
    pub mute_after: Duration,
    /// An idle connection is replaced after this long. 4 minutes: the provider closes it after
    /// five.
    pub recycle_after: Duration,
    /// After this long without audio, with all text spoken, further text goes into a new context.
    /// 800 ms: a context expires one second after its last audio.
    pub context_idle: Duration,
    /// How often one reply is tried again after an error of the provider. 3: at a quarter, half and
    /// one second, the listener still waits.
    pub retries: u32,
    /// The wait before the first retry; each is twice the one before.
    pub retry_delay: Duration,
    /// How the connection is kept.
    pub reconnect: ReconnectConfig,
    /// Bounds of the socket.
    pub limits: Limits,
}

impl CartesiaConfig {
    /// The provider's own server, with `key`.
    pub fn new(key: Secret) -> Self {
        // Audio comes as base64 in messages of some kilobytes.
        let limits = Limits { read_buffer: 16 << 10, ..Limits::default() };
        Self {
            base_url: Uri::from_static("wss://api.cartesia.ai"),
            key,
            version: "2026-03-01".into(),
            model: "sonic-3.5".into(),
            voice: "a0e99841-438c-4a64-b679-ae501e7d6091".into(),
            language: "en".into(),
            max_buffer_delay: Duration::ZERO,
            mute_after: Duration::from_secs(3),
            recycle_after: Duration::from_secs(240),
            context_idle: Duration::from_millis(800),
            retries: 3,
            retry_delay: Duration::from_millis(250),
            reconnect: ReconnectConfig::default(),
            limits,
        }
    }

    /// The upgrade request, if the configuration can work.
    pub(super) fn validate(&self) -> Result<Request<()>, InvalidConfig> {
        if self.max_buffer_delay > Duration::from_secs(5) {
            return Err(InvalidConfig("max_buffer_delay is 5 s at most"));
        }
        for (text, what) in [
            (&self.model, "model must not be empty"),
            (&self.voice, "voice must not be empty"),
            (&self.version, "version must not be empty"),
        ] {
            if text.trim().is_empty() {
                return Err(InvalidConfig(what));
            }
        }
        self.request()
    }

    /// The upgrade request. The key goes into a header and never into the address, which ends up in
    /// logs.
    fn request(&self) -> Result<Request<()>, InvalidConfig> {
        let base = self.base_url.to_string();
        let address = format!("{}/tts/websocket", base.trim_end_matches('/'));
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.key.expose()))
            .map_err(|_| InvalidConfig("the key holds characters that a header can't"))?;
        bearer.set_sensitive(true);
        Request::get(address)
            .header(header::AUTHORIZATION, bearer)
            .header("cartesia-version", &self.version)
            .body(())
            .map_err(|_| InvalidConfig("base_url or version can't stand in a request"))
    }
}

/// The configuration can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cartesia: {0}")]
pub struct InvalidConfig(pub(super) &'static str);
