//! The query of `/v1/listen` and `/v2/listen`, checked as the provider checks it.

use std::{collections::BTreeMap, str::FromStr};

/// Query parameters; some repeat.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, Vec<String>>);

/// What is wrong with a query.
pub(super) type Invalid = String;

const RAW: [&str; 6] = ["linear16", "linear32", "alaw", "mulaw", "opus", "g729"];
const ENCODINGS: [&str; 11] = [
    "linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729",
];
const FLUX_ENCODINGS: [&str; 6] = ["linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus"];
const FLUX_MODELS: [&str; 2] = ["flux-general-en", "flux-general-multi"];
const FLUX_PARAMETERS: [&str; 13] = [
    "model",
    "encoding",
    "sample_rate",
    "eot_threshold",
    "eager_eot_threshold",
    "eot_timeout_ms",
    "keyterm",
    "language_hint",
    "numerals",
    "profanity_filter",
    "redact",
    "mip_opt_out",
    "tag",
];
const KEYTERMS: usize = 100;
const KEYTERM_LIMIT: &str =
    "Keyterm limit exceeded. The maximum number of tokens across all keyterms is 500.";

/// What a v1 client asked for.
#[derive(Debug, Clone)]
pub(super) struct Listen {
    pub(super) model: String,
    pub(super) encoding: Option<String>,
    pub(super) rate: u32,
    pub(super) channels: usize,
    pub(super) interim_results: bool,
    pub(super) vad_events: bool,
    pub(super) punctuate: bool,
    /// Seconds of silence; `None` where turned off.
    pub(super) endpointing: Option<f64>,
    /// Seconds of silence.
    pub(super) utterance_end: Option<f64>,
    pub(super) keyterms: Vec<String>,
}

/// What a Flux client asked for.
#[derive(Debug, Clone)]
pub(super) struct Flux {
    pub(super) encoding: Option<String>,
    pub(super) rate: u32,
    pub(super) thresholds: Thresholds,
    pub(super) keyterms: Vec<String>,
    pub(super) language_hints: Vec<String>,
}

/// When Flux ends a turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Thresholds {
    pub(super) end: f64,
    pub(super) eager: Option<f64>,
    pub(super) timeout_ms: u64,
}

impl Thresholds {
    pub(super) fn check(self) -> Result<Self, Invalid> {
        if !(0.5..=1.0).contains(&self.end) {
            return Err("eot_threshold must be between 0.5 and 1.0".to_owned());
        }
        if self.eager.is_some_and(|eager| !(0.3..=0.9).contains(&eager) || eager > self.end) {
            return Err(
                "eager_eot_threshold must be between 0.3 and 0.9 and at most eot_threshold".to_owned()
            );
        }
        if !(500..=60_000).contains(&self.timeout_ms) {
            return Err("eot_timeout_ms must be between 500 and 60000".to_owned());
        }
        Ok(self)
    }
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let mut parameters = BTreeMap::<String, Vec<String>>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.entry(decode(name)).or_default().push(decode(value));
        }
        Self(parameters)
    }

    pub(super) fn listen(&self) -> Result<Listen, Invalid> {
        let model = self.first("model").unwrap_or("base").to_owned();
        if model.starts_with("flux") {
            return Err(format!("{model} is served on /v2/listen"));
        }
        let known = ["nova", "enhanced", "base", "whisper"].iter().any(|family| model.starts_with(family));
        if !known && uuid::Uuid::from_str(&model).is_err() {
            return Err(format!("no such model: {model}"));
        }
        let endpointing = match self.first("endpointing") {
            None => Some(0.010),
            Some("false") => None,
            Some(_) => {
                Some(self.number::<u32>("endpointing")?.map_or(0.010, |millis| f64::from(millis) / 1e3))
            }
        };
        let interim_results = self.boolean("interim_results")?;
        let utterance_end = self.number::<u32>("utterance_end_ms")?.map(|millis| f64::from(millis) / 1e3);
        if utterance_end.is_some() && !interim_results {
            return Err("utterance_end_ms requires interim_results=true".to_owned());
        }
        for name in ["numerals", "dictation", "profanity_filter", "filler_words", "no_delay", "diarize"] {
            self.boolean(name)?;
        }
        for name in ["detect_entities", "mip_opt_out"] {
            self.boolean(name)?;
        }
        if self.boolean("multichannel")? {
            return Err("multichannel is not served by this twin".to_owned());
        }
        let channels = self.number::<usize>("channels")?.unwrap_or(1);
        if !(1..=20).contains(&channels) {
            return Err("channels must be between 1 and 20".to_owned());
        }
        let (encoding, rate) = self.audio(&ENCODINGS)?;
        let punctuate = self.boolean("punctuate")? | self.boolean("smart_format")?;
        let vad_events = self.boolean("vad_events")?;
        let keyterms = self.keyterms()?;
        Ok(Listen {
            model,
            encoding,
            rate,
            channels,
            interim_results,
            vad_events,
            punctuate,
            endpointing,
            utterance_end,
            keyterms,
        })
    }

    pub(super) fn flux(&self) -> Result<Flux, Invalid> {
        let model = self.first("model").unwrap_or_default();
        if !FLUX_MODELS.contains(&model) {
            return Err(format!("model must be one of {FLUX_MODELS:?}"));
        }
        if let Some(name) = self.0.keys().find(|name| !FLUX_PARAMETERS.contains(&name.as_str())) {
            return Err(format!("unknown parameter on /v2/listen: {name}"));
        }
        let language_hints = self.all("language_hint");
        if language_hints.iter().any(String::is_empty) {
            return Err("language_hint must not be empty".to_owned());
        }
        if !language_hints.is_empty() && model != "flux-general-multi" {
            return Err("language_hint needs flux-general-multi".to_owned());
        }
        for name in ["numerals", "profanity_filter", "mip_opt_out"] {
            self.boolean(name)?;
        }
        let thresholds = Thresholds {
            end: self.number("eot_threshold")?.unwrap_or(0.7),
            eager: self.number("eager_eot_threshold")?,
            timeout_ms: self.number("eot_timeout_ms")?.unwrap_or(5000),
        };
        let (encoding, rate) = self.audio(&FLUX_ENCODINGS)?;
        let thresholds = thresholds.check()?;
        Ok(Flux { encoding, rate, thresholds, keyterms: self.keyterms()?, language_hints })
    }

    fn audio(&self, encodings: &[&str]) -> Result<(Option<String>, u32), Invalid> {
        let Some(encoding) = self.first("encoding") else { return Ok((None, 16_000)) };
        if !encodings.contains(&encoding) {
            return Err(format!("encoding must be one of {encodings:?}"));
        }
        let rate = self.number::<u32>("sample_rate")?;
        if rate.is_none() && RAW.contains(&encoding) {
            return Err(format!("sample_rate is required with encoding={encoding}"));
        }
        let rate = rate.unwrap_or(16_000);
        if !(8_000..=192_000).contains(&rate) {
            return Err("sample_rate must be between 8000 and 192000".to_owned());
        }
        Ok((Some(encoding.to_owned()), rate))
    }

    fn keyterms(&self) -> Result<Vec<String>, Invalid> {
        let terms = self.all("keyterm");
        check_keyterms(&terms).map(|()| terms)
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn boolean(&self, name: &str) -> Result<bool, Invalid> {
        match self.first(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(format!("{name} must be true or false, not {other:?}")),
        }
    }

    fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Invalid> {
        let parse = |text: &str| text.parse().map_err(|_| format!("{name} is not a number: {text:?}"));
        self.first(name).map(parse).transpose()
    }
}

/// Checks the provider's limits on key terms: a hundred of them, about a word being a token.
pub(super) fn check_keyterms(terms: &[String]) -> Result<(), Invalid> {
    let tokens: usize = terms.iter().map(|term| term.split_whitespace().count()).sum();
    if terms.len() > KEYTERMS || tokens > 500 { Err(KEYTERM_LIMIT.to_owned()) } else { Ok(()) }
}

fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (hex(bytes.next()), hex(bytes.next())) {
                    (Some(high), Some(low)) => (16 * high + low) as u8,
                    _ => b'?',
                }
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
