//! Deepgram's messages, as far as we read and write them.
//!
//! A message of an unknown type is skipped, and a known one is read with every field that may be
//! missing as optional: the provider adds and drops fields without notice, and a recogniser that
//! stops for that would take the conversation with it.

use serde::Deserialize;

pub(super) const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
pub(super) const FINALIZE: &str = r#"{"type":"Finalize"}"#;
pub(super) const FORCE_END_TURN: &str = r#"{"type":"ForceEndTurn"}"#;
pub(super) const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// A message from the provider, either dialect.
#[derive(Debug)]
pub(super) enum Message {
    Results(Results),
    TurnInfo(TurnInfo),
    Connected,
    Metadata(Metadata),
    Error(ErrorMessage),
    /// Known and of no consequence, or unknown; with its type, for the log.
    Other(String),
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

impl Message {
    /// Reads one text message; an error where it is not an object with a type, or a known type
    /// lacks what makes it one.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let Kind { kind } = serde_json::from_str(text)?;
        Ok(match kind.as_str() {
            "Results" => Self::Results(serde_json::from_str(text)?),
            "TurnInfo" => Self::TurnInfo(serde_json::from_str(text)?),
            "Metadata" => Self::Metadata(serde_json::from_str(text)?),
            "Error" => Self::Error(serde_json::from_str(text)?),
            "Connected" => Self::Connected,
            _ => Self::Other(kind),
        })
    }
}

/// A span of audio and its words. Times are seconds of audio on this connection.
#[derive(Debug, Deserialize)]
pub(super) struct Results {
    pub(super) start: f64,
    pub(super) duration: f64,
    #[serde(default)]
    pub(super) is_final: bool,
    #[serde(default)]
    pub(super) speech_final: bool,
    #[serde(default)]
    pub(super) from_finalize: bool,
    channel: Channel,
}

#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    #[serde(default)]
    alternatives: Vec<Alternative>,
}

impl Channel {
    /// The best alternative; empty where there is none.
    pub(super) fn into_best(self) -> Alternative {
        self.alternatives.into_iter().next().unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Alternative {
    #[serde(default)]
    pub(super) transcript: String,
    #[serde(default)]
    pub(super) words: Vec<WireWord>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireWord {
    pub(super) word: String,
    #[serde(default)]
    pub(super) punctuated_word: Option<String>,
    #[serde(default)]
    pub(super) start: Option<f64>,
    #[serde(default)]
    pub(super) end: Option<f64>,
    #[serde(default)]
    pub(super) confidence: f32,
}

impl Results {
    /// The best alternative; empty where there is none.
    pub(super) fn into_best(self) -> Alternative {
        self.channel.into_best()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct TurnInfo {
    pub(super) event: String,
    pub(super) audio_window_start: f64,
    pub(super) audio_window_end: f64,
    #[serde(default)]
    pub(super) transcript: String,
    #[serde(default)]
    pub(super) words: Vec<WireWord>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) duration: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorMessage {
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

impl std::fmt::Display for ErrorMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.description.as_deref().or(self.message.as_deref()).unwrap_or("no description");
        write!(f, "{}: {text}", self.code.as_deref().unwrap_or("error"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_result_is_read() {
        let text = r#"{"type":"Results","channel_index":[0,1],"duration":1.28,"start":3.2,
            "is_final":true,"speech_final":true,"from_finalize":false,
            "channel":{"alternatives":[{"transcript":"Turn on","confidence":0.9981,"languages":["en"],
            "words":[{"word":"turn","start":3.28,"end":3.52,"confidence":0.9991,"punctuated_word":"Turn","language":"en"},
                     {"word":"on","start":3.52,"end":3.68,"confidence":0.9987}]}]},
            "metadata":{"request_id":"8c8ebea9-dbec-45fa-a035-e4632cb05b5f"}}"#;
        let Message::Results(results) = Message::parse(text).unwrap() else { panic!("not a result") };
        assert!(results.is_final && results.speech_final && !results.from_finalize);
        let best = results.into_best();
        assert_eq!((best.transcript.as_str(), best.words.len()), ("Turn on", 2));
        assert_eq!(best.words[0].punctuated_word.as_deref(), Some("Turn"));
    }

    #[test]
    fn unknown_types_are_named_and_garbage_is_an_error() {
        let other = Message::parse(r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":9.54}"#).unwrap();
        assert!(matches!(other, Message::Other(kind) if kind == "SpeechStarted"));
        for garbage in
            ["", "[]", "null", r#"{"a":1}"#, r#"{"type":"Results"}"#, r#"{"type":"TurnInfo","event":3}"#]
        {
            assert!(Message::parse(garbage).is_err(), "{garbage}");
        }
    }
}
