//! What a Deepgram client is told, checked once.

use std::time::Duration;

use http::{HeaderValue, Request, Uri, header::AUTHORIZATION};
use livos_core::{reconnect::ReconnectConfig, secret::Secret};

use crate::line::Limits;

/// What both dialects share.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The provider's address without a path. `wss://api.deepgram.com`; the regional hosts have
    /// lower limits.
    pub base_url: String,
    /// The API key, sent in a header and never in the address.
    pub key: Secret,
    /// Terms that the recogniser should expect: at most 100.
    pub keyterms: Vec<String>,
    /// Keep the audio out of the provider's training. True: what is said at home is nobody's data.
    pub mip_opt_out: bool,
    /// Timeouts, intervals and the audio that is kept.
    pub timing: Timing,
    /// Bounds of the socket.
    pub limits: Limits,
    /// How the connection is kept.
    pub reconnect: ReconnectConfig,
}

/// Timeouts and intervals of a session, and the audio that it keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Timing {
    /// How long the provider may take to answer the end of speech before the session goes on
    /// without. 500 ms: the 99th percentile is 326 ms plus the network, and the provider does not
    /// promise an answer.
    pub finalize_timeout: Duration,
    /// Nothing sent for this long: send a keep-alive. 4 s: the provider asks for 3 to 5 and closes
    /// after 10.
    pub keep_alive_interval: Duration,
    /// Audio sent without any message in answer after which one is owed. 1.5 s for `listen`, whose
    /// interim results come about once a second.
    pub answer_due_after: Duration,
    /// An owed answer that does not come for this long means that the provider is open but mute:
    /// the connection is replaced. 4 s.
    pub mute_after: Duration,
    /// How much audio is kept to be sent again. 30 s: one wait of the longest backoff. Older audio
    /// is lost, and that is logged.
    pub retained: Duration,
    /// How many times faster than real time kept audio is sent again. 1.25: the provider accepts no
    /// more.
    pub replay_speed: f64,
    /// Silence sent on each new connection that has nothing else to carry, to mark it as used.
    /// Zero: it would be billed, and keep-alives hold the socket where the provider follows the
    /// newer of its two descriptions. Where it closes such a socket after 10 s all the same, the
    /// client connects again when there is speech, which is kept meanwhile; 20 ms here holds the
    /// socket for the price of 20 ms a connection.
    pub opening_silence: Duration,
    /// How long closing may take, with the last results. 2 s.
    pub close_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            finalize_timeout: Duration::from_millis(500),
            keep_alive_interval: Duration::from_secs(4),
            answer_due_after: Duration::from_millis(1500),
            mute_after: Duration::from_secs(4),
            retained: Duration::from_secs(30),
            replay_speed: 1.25,
            opening_silence: Duration::ZERO,
            close_timeout: Duration::from_secs(2),
        }
    }
}

/// What `/v1/listen` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenConfig {
    /// The model. `nova-3`.
    pub model: String,
    /// The language as BCP 47, or `multi`. `en-US`.
    pub language: String,
    /// Silence after which the provider itself ends an utterance. 300 ms: a net under the local end
    /// of speech, which normally comes first.
    pub endpointing: Duration,
    /// Punctuation and case. True: turn taking reads them, and so does the page.
    pub punctuate: bool,
    /// Numbers and dates written out as a reader expects them. False: it may hold results back.
    pub smart_format: bool,
    /// Report "uh" and "um". True: they show that the user still holds the floor.
    pub filler_words: bool,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            model: "nova-3".into(),
            language: "en-US".into(),
            endpointing: Duration::from_millis(300),
            punctuate: true,
            smart_format: false,
            filler_words: true,
        }
    }
}

/// What `/v2/listen` is asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FluxConfig {
    /// The model. `flux-general-en`; `flux-general-multi` takes `language_hints`.
    pub model: String,
    /// Languages to expect, for the multilingual model only.
    pub language_hints: Vec<String>,
    /// Who judges that a turn is over.
    pub turns: Turns,
    /// Audio that stops for this long inside an open turn is followed by `padding` of silence,
    /// because the provider's clock is the audio. 500 ms.
    pub stalled_after: Duration,
    /// The silence for that. 500 ms, billed.
    pub padding: Duration,
    /// Silence before a turn is forced to end, so that its last word is heard whole. 100 ms.
    pub trailing_silence: Duration,
}

impl Default for FluxConfig {
    fn default() -> Self {
        Self {
            model: "flux-general-en".into(),
            language_hints: Vec::new(),
            turns: Turns::default(),
            stalled_after: Duration::from_millis(500),
            padding: Duration::from_millis(500),
            trailing_silence: Duration::from_millis(100),
        }
    }
}

/// What a recording is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedConfig {
    /// The model. `nova-3`; Flux takes live speech only.
    pub model: String,
    /// The language as BCP 47, or `multi`. `en-US`.
    pub language: String,
    /// Numbers and dates written out as a reader expects them. True: nobody waits for the next
    /// word.
    pub smart_format: bool,
    /// The largest recording that is sent, in bytes. 20 MiB: two hours of voice notes. The provider
    /// itself takes 2 GB.
    pub max_bytes: usize,
    /// How long connecting, sending and the answer may take together. 60 s: the provider needs a
    /// second or two for some minutes of speech, a slow uplink more than that.
    pub timeout: Duration,
}

impl Default for RecordedConfig {
    fn default() -> Self {
        Self {
            model: "nova-3".into(),
            language: "en-US".into(),
            smart_format: true,
            max_bytes: 20 << 20,
            timeout: Duration::from_secs(60),
        }
    }
}

/// Who judges that a turn is over.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Turns {
    /// The provider's model judges.
    Provider {
        /// How sure it must be, 0.5 to 0.9.
        end_of_turn: f32,
        /// How sure it must be to say that the turn may be over, 0.3 to 0.9 and at most
        /// `end_of_turn`; `None` for never.
        eager_end_of_turn: Option<f32>,
        /// Silence that ends a turn whatever the model thinks, 500 ms to 10 s.
        timeout: Duration,
    },
    /// Local turn taking, which forces each turn to end; the provider ends one itself after this
    /// silence only. At most 60 s.
    Own {
        /// Silence after which the provider ends a turn itself.
        timeout: Duration,
    },
}

impl Default for Turns {
    /// The provider's own defaults, with an eager threshold at which it reports early without
    /// asking the model for every breath.
    fn default() -> Self {
        Self::Provider { end_of_turn: 0.7, eager_end_of_turn: Some(0.5), timeout: Duration::from_secs(5) }
    }
}

/// Why a configuration cannot work. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("deepgram configuration: {0}")]
pub struct ConfigError(String);

impl Config {
    /// The defaults with this key.
    pub fn new(key: Secret) -> Self {
        Self {
            base_url: "wss://api.deepgram.com".into(),
            key,
            keyterms: Vec::new(),
            mip_opt_out: true,
            timing: Timing::default(),
            limits: Limits::default(),
            reconnect: ReconnectConfig::default(),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let timing = &self.timing;
        let within = |name: &str, value: Duration, least: u64, most: u64| {
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            require(range.contains(&value), || format!("{name} must be within {least} ms and {most} ms"))
        };
        within("finalize_timeout", timing.finalize_timeout, 50, 10_000)?;
        within("keep_alive_interval", timing.keep_alive_interval, 1_000, 8_000)?;
        within("answer_due_after", timing.answer_due_after, 250, 60_000)?;
        within("mute_after", timing.mute_after, 500, 60_000)?;
        within("retained", timing.retained, 1_000, 600_000)?;
        within("opening_silence", timing.opening_silence, 0, 1_000)?;
        within("close_timeout", timing.close_timeout, 100, 60_000)?;
        within("handshake_timeout", self.limits.handshake_timeout, 100, 60_000)?;
        require(timing.replay_speed >= 1.0 && timing.replay_speed.is_finite(), || {
            "replay_speed must be at least 1: slower, a lost connection is never caught up".into()
        })?;
        require(self.keyterms.len() <= 100, || "keyterms may name at most 100 terms".into())
    }

    /// The upgrade request for this path and query.
    fn request(&self, path: &str, query: &[(&str, String)]) -> Result<Request<()>, ConfigError> {
        self.check()?;
        let base = self.base_url.trim_end_matches('/');
        let mut address = format!("{base}{path}");
        for (index, (name, value)) in query.iter().enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            address.push_str(name);
            address.push('=');
            percent_encode(value, &mut address);
        }
        let uri: Uri =
            address.parse().map_err(|_| ConfigError(format!("base_url {base} is not an address")))?;
        require(matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some(), || {
            format!("base_url {base} must begin with ws:// or wss:// and name a host")
        })?;
        let mut key = HeaderValue::try_from(format!("Token {}", self.key.expose()))
            .map_err(|_| ConfigError("the key holds characters that a header cannot".into()))?;
        key.set_sensitive(true);
        Request::get(uri)
            .header(AUTHORIZATION, key)
            .body(())
            .map_err(|_| ConfigError("the request cannot be built".into()))
    }

    fn shared_query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![
            ("encoding", "linear16".to_owned()),
            ("sample_rate", "16000".to_owned()),
            ("mip_opt_out", self.mip_opt_out.to_string()),
        ];
        query.extend(self.keyterms.iter().map(|term| ("keyterm", term.clone())));
        query
    }

    pub(super) fn listen_request(&self, listen: &ListenConfig) -> Result<Request<()>, ConfigError> {
        let mut query = vec![
            ("model", listen.model.clone()),
            ("language", listen.language.clone()),
            ("channels", "1".to_owned()),
            ("interim_results", "true".to_owned()),
            ("no_delay", "true".to_owned()),
            ("endpointing", listen.endpointing.as_millis().to_string()),
            ("punctuate", listen.punctuate.to_string()),
            ("smart_format", listen.smart_format.to_string()),
            ("filler_words", listen.filler_words.to_string()),
        ];
        require(listen.endpointing >= Duration::from_millis(10), || {
            "endpointing must be at least 10 ms".into()
        })?;
        query.extend(self.shared_query());
        self.request("/v1/listen", &query)
    }

    /// The head of the request for recordings. Its address is one of a WebSocket, which the
    /// connector knows how to reach.
    pub(super) fn recorded_request(&self, recorded: &RecordedConfig) -> Result<Request<()>, ConfigError> {
        let mut query = vec![
            ("model", recorded.model.clone()),
            ("language", recorded.language.clone()),
            ("punctuate", "true".to_owned()),
            ("smart_format", recorded.smart_format.to_string()),
            ("mip_opt_out", self.mip_opt_out.to_string()),
        ];
        query.extend(self.keyterms.iter().map(|term| ("keyterm", term.clone())));
        self.request("/v1/listen", &query)
    }

    pub(super) fn flux_request(&self, flux: &FluxConfig) -> Result<Request<()>, ConfigError> {
        let mut query = vec![("model", flux.model.clone())];
        let (threshold, timeout) = match flux.turns {
            Turns::Provider { end_of_turn, eager_end_of_turn, timeout } => {
                require((0.5..=0.9).contains(&end_of_turn), || {
                    "end_of_turn must be within 0.5 and 0.9".into()
                })?;
                if let Some(eager) = eager_end_of_turn {
                    require((0.3..=end_of_turn).contains(&eager), || {
                        "eager_end_of_turn must be within 0.3 and end_of_turn".into()
                    })?;
                    query.push(("eager_eot_threshold", eager.to_string()));
                }
                require(timeout <= Duration::from_secs(10), || "the turn timeout is at most 10 s".into())?;
                (end_of_turn, timeout)
            }
            // At 1.0 the provider never ends a turn by itself.
            Turns::Own { timeout } => (1.0, timeout),
        };
        let range = Duration::from_millis(500)..=Duration::from_secs(60);
        require(range.contains(&timeout), || "the turn timeout must be within 500 ms and 60 s".into())?;
        let longest = Duration::from_secs(2);
        require(flux.padding <= longest && flux.trailing_silence <= longest, || {
            "padding and trailing_silence are at most 2 s, because they are billed".into()
        })?;
        require(flux.stalled_after >= Duration::from_millis(160), || {
            "stalled_after must be at least 160 ms, two messages of audio".into()
        })?;
        query.push(("eot_threshold", threshold.to_string()));
        query.push(("eot_timeout_ms", timeout.as_millis().to_string()));
        query.extend(flux.language_hints.iter().map(|hint| ("language_hint", hint.clone())));
        query.extend(self.shared_query());
        self.request("/v2/listen", &query)
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError(otherwise())) }
}

fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(Secret::new("key-0123456789"))
    }

    #[test]
    fn a_request_carries_the_parameters_and_hides_the_key() {
        let config =
            Config { keyterms: vec!["Åse & co".into()], base_url: "ws://[::1]:9/".into(), ..config() };
        let request = config.listen_request(&ListenConfig::default()).unwrap();
        let uri = request.uri().to_string();
        assert!(uri.starts_with("ws://[::1]:9/v1/listen?model=nova-3&language=en-US&"), "{uri}");
        assert!(uri.ends_with("&keyterm=%C3%85se%20%26%20co"), "{uri}");
        assert!(!format!("{request:?} {config:?}").contains("key-0123456789"));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let check = |change: fn(&mut Config), name: &str| {
            let mut config = config();
            change(&mut config);
            let error = config.listen_request(&ListenConfig::default()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        check(|config| config.base_url = "https://api.deepgram.com".into(), "base_url");
        check(|config| config.base_url = "nonsense".into(), "base_url");
        check(|config| config.key = Secret::new("a\nb"), "key");
        check(|config| config.timing.replay_speed = 0.5, "replay_speed");
        check(|config| config.timing.keep_alive_interval = Duration::from_secs(11), "keep_alive_interval");
        check(|config| config.keyterms = vec![String::new(); 101], "keyterms");
    }

    #[test]
    fn own_turn_detection_turns_the_natural_end_off() {
        let flux =
            FluxConfig { turns: Turns::Own { timeout: Duration::from_secs(30) }, ..FluxConfig::default() };
        let uri = config().flux_request(&flux).unwrap().uri().to_string();
        assert!(uri.contains("/v2/listen?") && uri.contains("eot_threshold=1&eot_timeout_ms=30000"), "{uri}");
        assert!(!uri.contains("eager") && !uri.contains("interim_results"), "{uri}");
        let turns = Turns::Provider {
            end_of_turn: 0.5,
            eager_end_of_turn: Some(0.6),
            timeout: Duration::from_secs(5),
        };
        assert!(config().flux_request(&FluxConfig { turns, ..FluxConfig::default() }).is_err());
    }
}
