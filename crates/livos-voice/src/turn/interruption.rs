//! Interruption: whether a sound over the agent's voice takes the floor.
//!
//! Playout is held at the first sign of speech, because a person stops at once when spoken over.
//! Whether it *ends* is decided on evidence: a recognised word, or speech too long for a cough.
//! Without either it was noise, and playout goes on where it was held; an agent that falls silent
//! for good after a cough is the failure prevented here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Instant;

use super::event::TurnConfig;

/// What is known of a sound made while the agent has the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// When playout was held for it.
    pub held_since: Instant,
    /// Start of the speech that the detector hears without a break; `None` once it stopped.
    pub speaking_since: Option<Instant>,
    /// The recogniser found a word in it.
    pub words: bool,
    /// The recogniser has answered for all of it.
    pub answered: bool,
}

/// The judgement on a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The user takes the floor.
    Interruption,
    /// It was noise: the agent goes on.
    FalseInterruption,
    /// Not known before this time, unless more evidence comes.
    Until(Instant),
}

/// Judges a sound at `now`.
pub fn judge(config: &TurnConfig, now: Instant, evidence: Evidence) -> Verdict {
    if evidence.words {
        return Verdict::Interruption;
    }
    if let Some(since) = evidence.speaking_since {
        let enough = since + config.min_interruption;
        return if now >= enough { Verdict::Interruption } else { Verdict::Until(enough) };
    }
    let give_up = evidence.held_since + config.false_interruption;
    if evidence.answered || now >= give_up { Verdict::FalseInterruption } else { Verdict::Until(give_up) }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_word_or_long_speech_interrupts_and_silence_does_not() {
        let (config, start) = (TurnConfig::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let heard =
            Evidence { held_since: start, speaking_since: Some(start), words: false, answered: false };
        assert_eq!(judge(&config, at(499), heard), Verdict::Until(at(500)));
        assert_eq!(judge(&config, at(500), heard), Verdict::Interruption);
        assert_eq!(judge(&config, at(0), Evidence { words: true, ..heard }), Verdict::Interruption);
        let stopped = Evidence { speaking_since: None, ..heard };
        assert_eq!(judge(&config, at(900), stopped), Verdict::Until(at(1500)));
        assert_eq!(judge(&config, at(1500), stopped), Verdict::FalseInterruption);
        assert_eq!(
            judge(&config, at(900), Evidence { answered: true, ..stopped }),
            Verdict::FalseInterruption
        );
    }
}
