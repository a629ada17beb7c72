//! The section `[voice]`.

use std::time::Duration;

use livos_voice::{pipeline::opener::OpenerConfig, turn::TurnConfig};
use serde::Deserialize;

use crate::config::{ConfigError, Section, optional_duration};

/// The longest sentence before a late answer, in bytes. 100: about five seconds, and the answer
/// waits for its end.
const MAX_OPENER: usize = 100;

/// Turn taking and voice activity. What is not set is the pipeline's own default; each default is
/// explained at `livos_voice::turn::TurnConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VoiceSection {
    /// Silence after which a turn that looks finished is over.
    #[serde(deserialize_with = "optional_duration")]
    pub min_delay: Option<Duration>,
    /// Silence after which a turn is over however it looks.
    #[serde(deserialize_with = "optional_duration")]
    pub max_delay: Option<Duration>,
    /// Whether the model is asked while the silence that ends a turn is still waited for. Off,
    /// answers come later, and no call is made in vain.
    pub speculate: Option<bool>,
    /// Silence after which the recogniser is asked for its last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_after: Option<Duration>,
    /// How long to wait for the recogniser's last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_timeout: Option<Duration>,
    /// The same when the recogniser's connection broke during the turn.
    #[serde(deserialize_with = "optional_duration")]
    pub recovery_timeout: Option<Duration>,
    /// Speech over the agent's voice that is an interruption even without a recognised word.
    #[serde(deserialize_with = "optional_duration")]
    pub min_interruption: Option<Duration>,
    /// A pause of the agent's voice without a recognised word after which it goes on.
    #[serde(deserialize_with = "optional_duration")]
    pub false_interruption: Option<Duration>,
    /// The longest turn of the user.
    #[serde(deserialize_with = "optional_duration")]
    pub max_turn: Option<Duration>,
    /// Short sentences of which one is said where the answer is late, such as
    /// `["Let me see.", "One moment."]`. None by default: the first sound comes sooner, and an
    /// answer that comes while one is said waits for its end.
    pub openers: Vec<String>,
    /// How long after the end of the user's speech one is said, where nothing of the answer came.
    #[serde(deserialize_with = "optional_duration")]
    pub opener_after: Option<Duration>,
}

impl Section for VoiceSection {
    const NAME: &'static str = "voice";

    fn validate(&self) -> Result<(), ConfigError> {
        let unfit = |text: &String| text.trim().is_empty() || text.len() > MAX_OPENER;
        if self.openers.iter().any(unfit) {
            let why = format!("each must have 1 to {MAX_OPENER} bytes of text");
            return Err(ConfigError::of("voice.openers", why));
        }
        Ok(())
    }
}

impl VoiceSection {
    /// The times of turn taking.
    pub fn turn(&self) -> TurnConfig {
        let mut turn = TurnConfig::default();
        for (setting, value) in [
            (&mut turn.min_delay, self.min_delay),
            (&mut turn.max_delay, self.max_delay),
            (&mut turn.finalize_after, self.finalize_after),
            (&mut turn.finalize_timeout, self.finalize_timeout),
            (&mut turn.recovery_timeout, self.recovery_timeout),
            (&mut turn.min_interruption, self.min_interruption),
            (&mut turn.false_interruption, self.false_interruption),
            (&mut turn.max_turn, self.max_turn),
        ] {
            *setting = value.unwrap_or(*setting);
        }
        turn.speculate = self.speculate.unwrap_or(turn.speculate);
        turn
    }

    /// What is said while a late answer is awaited.
    pub fn opener(&self) -> OpenerConfig {
        let mut opener = OpenerConfig::new(&self.openers);
        opener.after = self.opener_after.unwrap_or(opener.after);
        opener
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment};

    #[test]
    fn an_opener_is_short() {
        let read = |list: &str| {
            let text = format!("[voice]\nopeners = {list}\n");
            let document = Document::parse(&text, None, Environment::new(&|_| None));
            document.and_then(|mut document| document.section::<VoiceSection>())
        };
        assert!(read("[]").is_ok() && read("[\"Moment.\"]").is_ok());
        for unfit in ["[\" \"]".to_owned(), format!("[\"Hm.\", \"{}\"]", "x".repeat(101))] {
            let error = read(&unfit).unwrap_err().to_string();
            assert_eq!(error, "voice.openers: each must have 1 to 100 bytes of text");
        }
    }
}
