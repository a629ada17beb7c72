//! One answer, from the call of the responder until its last sample was played.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use super::{
    heard::HeardWords,
    latency::Stamps,
    playout::{Mouth, Playout},
    script::Script,
};
use crate::{generation::Generation, tts::chunk::ChunkConfig};

/// How long a client that reports its player may take to report the end before time decides. A page
/// in the background is slow.
const PLAYER_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) generation: Generation,
    pub(super) standing: Standing,
    pub(super) text: Text,
    pub(super) audio: Audio,
    pub(super) script: Script,
    pub(super) words: HeardWords,
    pub(super) playout: Playout,
    pub(super) stamps: Stamps,
    /// When an opener is due, unless the answer is there by then.
    pub(super) opener_at: Option<Instant>,
    /// Since when the synthesiser owes audio; `None` while it has nothing to speak.
    pub(super) owed_since: Option<Instant>,
}

/// Whether the answer may be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The turn is not sure yet: nothing may be heard.
    Provisional,
    Committed,
}

/// What the text is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// The responder may say more. `since` is when it was called, or last said something.
    Coming { since: Instant },
    /// The responder has said everything, failed, or is not listened to any more.
    Whole,
}

/// What the audio is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audio {
    /// The synthesiser is given text and answers with audio.
    Open,
    /// The synthesiser knows that no more text comes.
    Finishing,
    /// All of it was sent to the listener.
    Whole,
    /// Nothing, or nothing more, is spoken; the text is shown.
    Mute,
}

impl Answer {
    pub(super) fn new(
        now: Instant,
        generation: Generation,
        end_of_speech: Instant,
        chunk: ChunkConfig,
    ) -> Self {
        Self {
            generation,
            standing: Standing::Provisional,
            text: Text::Coming { since: now },
            audio: Audio::Open,
            script: Script::new(chunk),
            words: HeardWords::default(),
            playout: Playout::default(),
            stamps: Stamps { called: Some(now), ..Stamps::new(end_of_speech) },
            opener_at: None,
            owed_since: None,
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        self.standing == Standing::Committed
    }

    /// True while the responder may say more.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.text, Text::Coming { .. })
    }

    /// True while audio may still come from the synthesiser.
    pub(super) fn expects_audio(&self) -> bool {
        matches!(self.audio, Audio::Open | Audio::Finishing)
    }

    /// True once the listener was told that the answer is spoken.
    pub(super) fn has_sounded(&self) -> bool {
        self.playout.mouth() != Mouth::Silent
    }

    /// When an opener is due; `None` once the answer has begun, or if nothing is spoken.
    pub(super) fn opener_due(&self) -> Option<Instant> {
        let waits = self.script.text().is_empty() && self.is_reading() && !self.playout.is_held();
        self.opener_at.filter(|_| waits && self.audio == Audio::Open)
    }

    /// When a pause of the responder lets the first piece go.
    pub(super) fn piece_due(&self) -> Option<Instant> {
        self.script.poll_timeout().filter(|_| self.is_committed() && self.audio == Audio::Open)
    }

    /// When the responder has failed if it says nothing more.
    pub(super) fn reply_due(&self, patience: Duration) -> Option<Instant> {
        match self.text {
            Text::Coming { since } => Some(since + patience),
            Text::Whole => None,
        }
    }

    /// The synthesiser was given something to do.
    pub(super) fn owe(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// The synthesiser has answered with audio. After the last text it still owes the end.
    pub(super) fn pay(&mut self, now: Instant) {
        self.owed_since = (self.audio == Audio::Finishing).then_some(now);
    }

    /// When the synthesiser has failed if no audio comes. While the listener has something to hear,
    /// nobody waits.
    pub(super) fn voice_due(&self, patience: Duration) -> Option<Instant> {
        let since = self.owed_since.filter(|_| self.expects_audio())?;
        Some(self.playout.ends_at().map_or(since, |dry| dry.max(since)) + patience)
    }

    /// The text that reached the listener: what was played, or what was shown if that is more.
    pub(super) fn heard(&self, now: Instant) -> &str {
        let played = self.words.text(self.script.text(), self.playout.played(now), self.playout.sent());
        let shown = self.script.shown();
        if shown.len() > played.len() { shown } else { played }
    }

    /// How much of the text has audio, in bytes.
    pub(super) fn spoken(&self) -> usize {
        match self.has_sounded() {
            true => self.words.text(self.script.text(), Duration::MAX, self.playout.sent()).len(),
            false => 0,
        }
    }

    /// Whether everything that the listener will get of it has reached them.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        if self.is_reading() || !self.is_committed() || self.playout.is_held() {
            return false;
        }
        match self.playout.mouth() {
            Mouth::Silent => !self.expects_audio() || self.script.text().trim().is_empty(),
            Mouth::Ended => true,
            Mouth::Standing | Mouth::Running { .. } => self.over_at().is_some_and(|at| at <= now),
        }
    }

    /// When it is over if the player reports nothing more.
    pub(super) fn over_at(&self) -> Option<Instant> {
        let slack = if self.playout.reports() { PLAYER_PATIENCE } else { Duration::ZERO };
        let all_sent = !self.expects_audio() && !self.is_reading() && !self.playout.is_held();
        self.playout.ends_at().filter(|_| all_sent).map(|at| at + slack)
    }
}
