//! Which audio is sent where, what is fixed, and what must be sent again after a loss. Pure.
//!
//! The session's audio is one row of samples; a connection carries a piece of it and counts time
//! from that piece's start. After a loss the next connection begins at the end of the last word
//! that a final transcript fixed, so that no word can be lost, and the cut lies in the silence
//! after that word, so that none can be heard twice. What is left is the tail of that word where
//! the provider put its end too early: whatever ends within [`TAIL`] of it is that tail and no
//! word.
//!
//! Places count bytes of the session's audio.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::audio::AudioFormat;

/// Bytes of a second of the session's audio.
const SECOND: u64 = 32_000;
/// No word is longer. Silence that a final transcript covers needs no second hearing, except where
/// a word may already have begun in it.
const LONGEST_WORD: u64 = 2 * SECOND;
/// 60 ms: the provider's ends of words are some hundredths of a second wrong, and no word is
/// shorter.
const TAIL: u64 = SECOND * 6 / 100;
/// 20 ms: an answer that stops this much before the end of speech is an answer to all of it.
const SLACK: u64 = SECOND / 50;

/// How long this much audio lasts.
pub(super) fn lasting(bytes: u64) -> Duration {
    AudioFormat::SPEECH.duration_of(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// How much audio lasts this long.
pub(super) fn bytes_in(duration: Duration) -> u64 {
    AudioFormat::SPEECH.bytes_in(duration) as u64
}

/// An end of speech that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Ending {
    place: u64,
    /// When the provider was asked on this connection.
    asked: Option<Instant>,
    /// Whether the wait ran out, and the session went on without an answer. Its words may still
    /// come.
    given_up: bool,
}

/// The bookkeeping of one session. See the module.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Everything that the session was given.
    written: u64,
    /// What this connection was sent, up to here.
    sent: u64,
    /// Where this connection began.
    base: u64,
    /// Final up to here.
    covered: u64,
    /// The end of the last fixed word.
    spoken: u64,
    /// On this connection, what ends up to here was heard before.
    heard_before: u64,
    ending: Option<Ending>,
    /// Questions on this connection whose answer was not seen but is no longer waited for.
    stale: u32,
}

impl Replay {
    /// The session was given this much more audio.
    pub(super) fn write(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// How much is still to be sent.
    pub(super) fn backlog(&self) -> u64 {
        self.written - self.sent
    }

    /// The place from which to send next.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// This much was sent.
    pub(super) fn send(&mut self, bytes: u64) {
        self.sent = (self.sent + bytes).min(self.written);
    }

    /// A new connection opens, and audio from `oldest` on is still kept. Answers how much audio is
    /// lost for good.
    pub(super) fn reopen(&mut self, oldest: u64) -> Duration {
        let wanted = self.spoken.max(self.covered.saturating_sub(LONGEST_WORD));
        self.base = wanted.max(oldest).min(self.written);
        self.sent = self.base;
        self.heard_before = if self.spoken > 0 { self.spoken + TAIL } else { 0 };
        self.stale = 0;
        if let Some(ending) = &mut self.ending {
            ending.asked = None;
        }
        lasting(self.base.saturating_sub(wanted.max(self.covered)))
    }

    /// The place of a time on this connection; within what it carried, whatever the provider says.
    pub(super) fn place(&self, seconds: f64) -> u64 {
        let samples = (seconds.max(0.0) * SECOND as f64 / 2.0).round();
        // A float beyond the range becomes its end; NaN became 0 above.
        (self.base.saturating_add((samples as u64).saturating_mul(2))).min(self.sent)
    }

    /// Whether a word that ends at this place was heard on an earlier connection.
    pub(super) fn is_repeat(&self, end: u64) -> bool {
        end <= self.heard_before
    }

    /// A final transcript covers the audio up to `end`; its last word, where it has one, ends at
    /// `word`.
    pub(super) fn fix(&mut self, end: u64, word: Option<u64>) {
        self.covered = self.covered.max(end);
        self.spoken = self.spoken.max(word.unwrap_or(0)).min(self.written);
    }

    /// Speech ended. True when that is already answered: a final transcript covers everything.
    pub(super) fn end_speech(&mut self) -> bool {
        if let Some(Ending { asked: Some(_), .. }) = self.ending.take() {
            self.stale += 1;
        }
        if self.covered + SLACK >= self.written {
            return true;
        }
        self.ending = Some(Ending { place: self.written, asked: None, given_up: false });
        false
    }

    /// True when the provider must now be asked to answer the end of speech: all of it was sent.
    pub(super) fn should_ask(&self) -> bool {
        self.ending.is_some_and(|ending| ending.asked.is_none() && self.sent >= ending.place)
    }

    /// The provider was asked.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Some(ending) = &mut self.ending {
            ending.asked = Some(now);
        }
    }

    /// True while an end of speech waits to be asked or answered.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some_and(|ending| !ending.given_up)
    }

    /// When the wait for the answer runs out.
    pub(super) fn give_up_at(&self, timeout: Duration) -> Option<Instant> {
        self.ending.filter(|ending| !ending.given_up)?.asked.map(|at| at + timeout)
    }

    /// The wait ran out.
    pub(super) fn give_up(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.given_up = true;
        }
    }

    /// A final transcript up to `end` came, as the answer to a question or by itself. True when it
    /// answers the end of speech that the session still waits for.
    pub(super) fn answer(&mut self, end: u64, from_question: bool) -> bool {
        let Some(ending) = self.ending else {
            self.stale -= u32::from(from_question && self.stale > 0);
            return false;
        };
        let whole = end + SLACK >= ending.place;
        if from_question && !whole && self.stale > 0 {
            self.stale -= 1;
            return false;
        }
        let answered = whole || (from_question && ending.asked.is_some());
        if !answered {
            return false;
        }
        self.stale = if from_question { 0 } else { self.stale + u32::from(ending.asked.is_some()) };
        self.ending = None;
        !ending.given_up
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make their `now` from a real instant.
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> u64 {
        millis * 32
    }

    /// A session on its first connection that was given and has sent `millis`.
    fn sent(millis: u64) -> Replay {
        let mut replay = Replay::default();
        replay.reopen(0);
        replay.write(ms(millis));
        replay.send(ms(millis));
        replay
    }

    #[test]
    fn a_new_connection_begins_after_the_last_fixed_word() {
        let mut replay = sent(5000);
        replay.fix(ms(3000), Some(ms(2900)));
        assert_eq!(replay.reopen(0), Duration::ZERO);
        assert_eq!((replay.sent(), replay.backlog()), (ms(2900), ms(2100)));
        replay.send(ms(2100));
        assert_eq!(replay.place(0.25), ms(3150));
        assert!(replay.is_repeat(ms(2940)) && !replay.is_repeat(ms(3000)));
    }

    #[test]
    fn covered_silence_is_not_sent_again_beyond_a_word() {
        let mut replay = sent(20_000);
        replay.fix(ms(3000), Some(ms(2900)));
        replay.fix(ms(19_000), None);
        replay.reopen(0);
        assert_eq!(replay.sent(), ms(17_000));
    }

    #[test]
    fn what_is_no_longer_kept_is_lost_and_counted() {
        let mut replay = sent(40_000);
        replay.fix(ms(1000), Some(ms(1000)));
        assert_eq!(replay.reopen(ms(10_000)), Duration::from_secs(9));
        assert_eq!(replay.sent(), ms(10_000));
    }

    #[test]
    fn an_end_of_speech_is_asked_once_its_audio_is_sent_and_again_on_a_new_connection() {
        let (now, mut replay) = (Instant::now(), sent(1000));
        replay.write(ms(100));
        assert!(!replay.end_speech() && !replay.should_ask());
        replay.send(ms(100));
        assert!(replay.should_ask());
        replay.asked(now);
        assert!(!replay.should_ask());
        assert_eq!(replay.give_up_at(Duration::from_secs(1)), Some(now + Duration::from_secs(1)));
        replay.reopen(0);
        assert!(!replay.should_ask(), "nothing was sent yet");
        replay.send(ms(1100));
        assert!(replay.should_ask());
    }

    #[test]
    fn the_late_answer_to_an_earlier_question_does_not_end_the_later_speech() {
        let (now, mut replay) = (Instant::now(), sent(1000));
        assert!(!replay.end_speech());
        replay.asked(now);
        replay.give_up();
        replay.write(ms(500));
        replay.send(ms(500));
        assert!(!replay.end_speech());
        replay.asked(now);
        assert!(!replay.answer(ms(1000), true), "the first question's");
        assert!(replay.answer(ms(1500), true));
        assert!(!replay.answer(ms(1500), true), "only once");
    }

    #[test]
    fn speech_that_is_covered_needs_no_question() {
        let mut replay = sent(1000);
        replay.fix(ms(990), Some(ms(900)));
        assert!(replay.end_speech());
        assert!(!replay.should_ask());
    }

    /// What may happen to a session.
    #[derive(Debug, Clone)]
    enum Step {
        Write(u64),
        Send(u64),
        /// A final up to a share of what is open, the last word this much before its end.
        Final(f64, u64),
        Lost,
        EndSpeech,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1u64..400).prop_map(Step::Write),
            4 => (1u64..800).prop_map(Step::Send),
            2 => (0.0..1.0, 0u64..900).prop_map(|(share, gap)| Step::Final(share, gap)),
            1 => Just(Step::Lost),
            1 => Just(Step::EndSpeech),
        ]
    }

    proptest! {
        #[test]
        fn no_audio_after_the_last_fixed_word_is_ever_skipped(steps in prop::collection::vec(step(), 0..200)) {
            let mut replay = sent(0);
            let (mut spoken, mut covered) = (0, 0);
            for step in steps {
                match step {
                    Step::Write(millis) => replay.write(ms(millis)),
                    Step::Send(millis) => {
                        let before = replay.sent();
                        replay.send(ms(millis));
                        prop_assert!(replay.sent() >= before && replay.sent() <= replay.written);
                    }
                    Step::Final(share, gap) => {
                        let seconds = (replay.sent - replay.base) as f64 / SECOND as f64 * share;
                        let end = replay.place(seconds);
                        let word = end.saturating_sub(ms(gap)).max(replay.base);
                        prop_assert!(end <= replay.sent && end >= replay.base);
                        replay.fix(end, Some(word));
                        (spoken, covered) = (spoken.max(word), covered.max(end));
                    }
                    Step::Lost => {
                        prop_assert_eq!(replay.reopen(0), Duration::ZERO);
                        // Nothing that may hold an unheard word is left out; nothing that was said
                        // is said again.
                        prop_assert!(replay.sent() >= spoken);
                        prop_assert!(replay.sent() <= covered.max(spoken));
                        prop_assert!(replay.sent() == spoken || covered - replay.sent() == LONGEST_WORD);
                        prop_assert_eq!(replay.place(0.0), replay.sent());
                    }
                    Step::EndSpeech => {
                        let answered = replay.end_speech();
                        prop_assert_eq!(answered, covered + SLACK >= replay.written);
                    }
                }
                prop_assert_eq!(replay.sent() + replay.backlog(), replay.written);
            }
        }

        #[test]
        fn times_of_a_lying_provider_stay_within_what_was_sent(seconds in prop::num::f64::ANY) {
            let replay = sent(1000);
            prop_assert!(replay.place(seconds) <= ms(1000));
        }
    }
}
