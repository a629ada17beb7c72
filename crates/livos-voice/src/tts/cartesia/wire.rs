//! Messages of the protocol, as far as this client reads and writes them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::CartesiaConfig;

/// A request to generate. All fields but `transcript`, `continue` and `context_id` stay the same
/// within a context, and are sent each time.
#[derive(Debug, Serialize)]
pub(super) struct Generate<'a> {
    model_id: &'a str,
    transcript: &'a str,
    voice: Voice<'a>,
    language: &'a str,
    context_id: &'a str,
    #[serde(rename = "continue")]
    more: bool,
    output_format: OutputFormat,
    max_buffer_delay_ms: u64,
    add_timestamps: bool,
    use_normalized_timestamps: bool,
}

#[derive(Debug, Serialize)]
struct Voice<'a> {
    mode: &'static str,
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct OutputFormat {
    container: &'static str,
    encoding: &'static str,
    sample_rate: u32,
}

pub(super) fn generate(config: &CartesiaConfig, context: &str, transcript: &str, more: bool) -> String {
    let message = Generate {
        model_id: &config.model,
        transcript,
        voice: Voice { mode: "id", id: &config.voice },
        language: &config.language,
        context_id: context,
        more,
        output_format: OutputFormat { container: "raw", encoding: "pcm_s16le", sample_rate: 24_000 },
        max_buffer_delay_ms: config.max_buffer_delay.as_millis() as u64,
        add_timestamps: true,
        // Times of the words as they stand in our text, so that they can be found in it again.
        use_normalized_timestamps: false,
    };
    to_json(&message)
}

#[derive(Debug, Serialize)]
struct Cancel<'a> {
    context_id: &'a str,
    cancel: bool,
}

pub(super) fn cancel(context: &str) -> String {
    to_json(&Cancel { context_id: context, cancel: true })
}

fn to_json(message: &impl Serialize) -> String {
    // Strings, numbers and booleans always have a JSON form.
    serde_json::to_string(message).unwrap_or_default()
}

/// Text that is borrowed where it needs no unescaping. A type of its own, because serde always
/// copies into an `Option<Cow<str>>`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Any message of the provider. Borrowed from the text it came in: the audio is not copied before
/// it is decoded.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) context_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) data: Option<Text<'a>>,
    #[serde(default)]
    pub(super) word_timestamps: Option<WordTimestamps>,
    #[serde(default)]
    pub(super) status_code: Option<u16>,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    /// The whole error, in versions before 2026-03-01.
    #[serde(default)]
    pub(super) error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WordTimestamps {
    pub(super) words: Vec<String>,
    pub(super) start: Vec<f64>,
    pub(super) end: Vec<f64>,
}

impl Incoming<'_> {
    /// What an error says, cut to a length that fits a log line.
    pub(super) fn error_text(&self) -> String {
        let text = match (&self.title, &self.message, &self.error) {
            (Some(title), Some(message), _) => format!("{title}: {message}"),
            (Some(text), None, _) | (None, Some(text), _) | (None, None, Some(text)) => text.clone(),
            (None, None, None) => "no reason given".to_owned(),
        };
        text.chars().take(200).collect()
    }
}
