//! The user's turn under way: from the press of the button or the first speech until it is
//! committed or found empty.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use super::{
    endpointing,
    event::{Commit, TurnConfig},
    interruption::Evidence,
    said::Said,
};

#[derive(Debug)]
pub(super) struct UserTurn {
    began: Instant,
    pub(super) phase: Phase,
    pub(super) floor: Floor,
    /// What ends the turn: the button, without any endpointing delay, or silence.
    pub(super) ends_by: EndsBy,
    pub(super) said: Said,
    pub(super) speculation: Option<Commit>,
    pub(super) speculations: u32,
    /// How the recogniser's connection fared during the turn.
    pub(super) hearing: Hearing,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// The button is down, or the detector hears speech.
    Active {
        /// Start of the current stretch without a break.
        since: Instant,
        /// The last voiced audio, once the detector thinks that speech has stopped.
        stopping: Option<Instant>,
    },
    /// Speech has ended and the recogniser was asked for its last words.
    Ended { end_of_speech: Instant, asked: Instant, answered: bool },
}

/// Whose floor it is while the user makes a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    /// The agent's. The sound is on trial: speech or noise.
    OnTrial,
    /// The user's: the sound was speech, or nobody else had the floor.
    Proven,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndsBy {
    Button,
    Silence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    Undisturbed,
    /// The connection was lost during the turn, so its audio is sent again and words come late.
    Disturbed,
}

/// What is due when a deadline of the turn passes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// With the last voiced audio; `None` at the limit of a turn.
    EndSpeech(Option<Instant>),
    Commit,
}

impl UserTurn {
    /// Begins before any speech was heard: the caller makes it active.
    pub(super) fn new(now: Instant, ends_by: EndsBy, floor: Floor, hearing: Hearing) -> Self {
        Self {
            began: now,
            phase: Phase::Ended { end_of_speech: now, asked: now, answered: false },
            floor,
            ends_by,
            said: Said::default(),
            speculation: None,
            speculations: 0,
            hearing,
        }
    }

    /// A turn whose words come late: nothing but the recogniser's answer is waited for.
    pub(super) fn late(now: Instant, end_of_speech: Instant) -> Self {
        let mut turn = Self::new(now, EndsBy::Button, Floor::Proven, Hearing::Disturbed);
        turn.phase = Phase::Ended { end_of_speech, asked: now, answered: false };
        turn
    }

    /// Whether speech has ended and the recogniser has not answered for it.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.phase, Phase::Ended { answered: false, .. })
    }

    pub(super) fn is_proven(&self) -> bool {
        self.floor == Floor::Proven
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active { .. })
    }

    /// The user speaks, or speaks again after a pause.
    pub(super) fn activate(&mut self, now: Instant, ends_by: EndsBy) {
        match &mut self.phase {
            Phase::Active { since, stopping } => {
                if stopping.take().is_some() {
                    *since = now;
                }
            }
            ended => *ended = Phase::Active { since: now, stopping: None },
        }
        self.ends_by = ends_by;
    }

    /// The last voiced audio so far; `now` while the user speaks.
    pub(super) fn end_of_speech(&self, now: Instant) -> Instant {
        match self.phase {
            Phase::Active { stopping, .. } => stopping.unwrap_or(now),
            Phase::Ended { end_of_speech, .. } => end_of_speech,
        }
    }

    /// What is known of a sound on trial, for which playout is held since `held_since`.
    pub(super) fn evidence(&self, held_since: Instant) -> Evidence {
        Evidence {
            held_since,
            speaking_since: match self.phase {
                Phase::Active { since, stopping: None } => Some(since),
                _ => None,
            },
            words: self.said.has_words(),
            answered: matches!(self.phase, Phase::Ended { answered: true, .. }),
        }
    }

    /// The next deadline, and what is due then.
    pub(super) fn deadline(&self, config: &TurnConfig) -> Option<(Instant, Due)> {
        match self.phase {
            Phase::Active { stopping, .. } => {
                let longest = (self.began + config.max_turn, Due::EndSpeech(None));
                let silent = stopping.map(|at| (at + config.finalize_after, Due::EndSpeech(Some(at))));
                Some(silent.filter(|silent| silent.0 < longest.0).unwrap_or(longest))
            }
            // A sound on trial that has ended is not committed: the verdict decides.
            Phase::Ended { .. } if !self.is_proven() => None,
            Phase::Ended { end_of_speech, asked, answered } => {
                let words_in = if answered { asked } else { asked + self.patience(config) };
                let text = self.said.text();
                let by_button = self.ends_by == EndsBy::Button;
                let silence = match by_button || (answered && text.is_empty()) {
                    true => asked,
                    false => end_of_speech + endpointing::delay(config, &text),
                };
                Some((words_in.max(silence), Due::Commit))
            }
        }
    }

    /// How long to wait for the recogniser's last words.
    fn patience(&self, config: &TurnConfig) -> Duration {
        match self.hearing == Hearing::Disturbed || !self.said.has_words() {
            true => config.recovery_timeout,
            false => config.finalize_timeout,
        }
    }
}
