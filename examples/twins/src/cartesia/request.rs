//! The handshake's query and the client's messages, checked as the provider checks them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Query parameters of the handshake; of one that repeats, the first.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            // Keys, tokens and dates need no percent encoding.
            parameters.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        Self(parameters)
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

const VERSIONS: [&str; 5] = ["2024-06-10", "2024-11-13", "2025-04-16", "2026-03-01", "2026-08-14"];
const RATES: [u64; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];
/// Where the client does not say how long text may be gathered.
const DEFAULT_DELAY_MS: u64 = 3_000;
const MAX_DELAY_MS: u64 = 5_000;
/// What may differ from one input of a context to the next.
const VARYING: [&str; 4] = ["transcript", "continue", "duration", "flush"];

/// A version of the protocol. Dates order as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) struct Version(&'static str);

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        VERSIONS.into_iter().find(|known| *known == text).map(Self)
    }

    pub(super) fn has_structured_errors(self) -> bool {
        self.0 >= "2026-03-01"
    }

    fn has_plain_voices(self) -> bool {
        self.0 >= "2026-08-14"
    }

    fn has_embeddings(self) -> bool {
        self.0 < "2025-01-01"
    }
}

/// A message of the client.
#[derive(Debug)]
pub(super) enum Message {
    Generate(Box<Generate>),
    Cancel { context_id: String },
}

#[derive(Debug)]
pub(super) struct Generate {
    pub(super) context_id: String,
    pub(super) transcript: String,
    pub(super) more: bool,
    pub(super) flush: bool,
    pub(super) delay_ms: u64,
    pub(super) timestamps: bool,
    pub(super) rate: u32,
    /// All fields that must stay the same within a context.
    pub(super) fixed: Value,
}

/// A message that is refused, and the context it was for.
#[derive(Debug, PartialEq)]
pub(super) struct Invalid {
    pub(super) context_id: Option<String>,
    pub(super) message: &'static str,
}

pub(super) fn parse(text: &str, version: Version) -> Result<Message, Invalid> {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let context_id = message["context_id"].as_str().map(str::to_owned);
    if !message.is_object() {
        return Err(Invalid { context_id, message: "the message is not a JSON object" });
    }
    let Some(id) = context_id.clone().filter(|id| !id.is_empty()) else {
        return Err(Invalid { context_id, message: "context_id is required" });
    };
    if message["cancel"] == true {
        return Ok(Message::Cancel { context_id: id });
    }
    match generate(message, id, version) {
        Ok(generate) => Ok(Message::Generate(Box::new(generate))),
        Err(message) => Err(Invalid { context_id, message }),
    }
}

fn generate(mut message: Value, context_id: String, version: Version) -> Result<Generate, &'static str> {
    let model = message["model_id"].as_str().ok_or("model_id is required")?;
    if !model.starts_with("sonic") {
        return Err("no such model");
    }
    if !is_voice(&message["voice"], version) {
        return Err("voice has not the shape of this version");
    }
    let format = &message["output_format"];
    if format["container"] != "raw" || format["encoding"] != "pcm_s16le" {
        return Err("output_format must be raw pcm_s16le");
    }
    let rate = format["sample_rate"].as_u64().filter(|rate| RATES.contains(rate));
    let rate = rate.and_then(|rate| u32::try_from(rate).ok()).ok_or("sample_rate is not supported")?;
    let delay_ms = match &message["max_buffer_delay_ms"] {
        Value::Null => DEFAULT_DELAY_MS,
        delay => {
            let delay = delay.as_u64().filter(|delay| *delay <= MAX_DELAY_MS);
            delay.ok_or("max_buffer_delay_ms must be between 0 and 5000")?
        }
    };
    let transcript = message["transcript"].as_str().ok_or("transcript is required")?.to_owned();
    let flag = |name: &str| match &message[name] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err("a flag must be true or false"),
    };
    let (more, flush, timestamps) = (flag("continue")?, flag("flush")?, flag("add_timestamps")?);
    if let Some(fields) = message.as_object_mut() {
        fields.retain(|name, _| !VARYING.contains(&name.as_str()));
    }
    Ok(Generate { context_id, transcript, more, flush, delay_ms, timestamps, rate, fixed: message })
}

fn is_voice(voice: &Value, version: Version) -> bool {
    if version.has_plain_voices() {
        return voice.is_string() || voice["id"].is_string();
    }
    match voice["mode"].as_str() {
        Some("id") => voice["id"].is_string(),
        Some("embedding") => version.has_embeddings() && voice["embedding"].is_array(),
        _ => false,
    }
}
