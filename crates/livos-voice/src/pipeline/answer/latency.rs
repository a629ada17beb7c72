//! Where the milliseconds of a turn went: from its time stamps to parts that sum exactly to the
//! whole.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::transport::protocol::LatencyPart;

/// The longest delay that a client may claim to have measured. A longer one is a clock that was
/// set.
const LONGEST_MEASURE_MS: f64 = 120_000.0;

/// What the recogniser did before a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::pipeline) struct Recognition {
    /// When it was last asked for its last words.
    pub(in crate::pipeline) asked: Option<Instant>,
    /// When it answered that.
    pub(in crate::pipeline) answered: Option<Instant>,
}

/// When each step of a turn was done. A step that did not happen counts as no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// The user stopped speaking.
    pub end_of_speech: Instant,
    /// The recogniser was asked for its last words.
    pub asked: Option<Instant>,
    /// The recogniser had answered that.
    pub answered: Option<Instant>,
    /// Turn taking committed the turn.
    pub committed: Option<Instant>,
    /// The responder was called.
    pub called: Option<Instant>,
    /// The first text of the answer came.
    pub first_text: Option<Instant>,
    /// The first clause went to the synthesiser.
    pub first_clause: Option<Instant>,
    /// Its first audio came.
    pub first_audio: Option<Instant>,
    /// The first audio message was handed to the socket.
    pub sent: Option<Instant>,
}

/// The names of the parts, in order.
pub const PARTS: [&str; 7] = ["end_of_turn", "stt", "decide", "ttft", "clause", "ttfb", "send"];

impl Stamps {
    /// A turn of which only the end of speech is known.
    pub fn new(end_of_speech: Instant) -> Self {
        Self {
            end_of_speech,
            asked: None,
            answered: None,
            committed: None,
            called: None,
            first_text: None,
            first_clause: None,
            first_audio: None,
            sent: None,
        }
    }

    /// The turn was committed. Without an answer in time, all of the wait since the question counts
    /// as the recogniser's.
    pub(super) fn commit(&mut self, now: Instant, end_of_speech: Instant, recognition: Recognition) {
        self.end_of_speech = end_of_speech;
        self.committed = Some(now);
        self.asked = recognition.asked.filter(|asked| *asked >= end_of_speech);
        self.answered = self.asked.and(recognition.answered.or(Some(now)));
    }

    /// How long each of [`PARTS`] took; they sum to the time from `end_of_speech` to the last step.
    ///
    /// `end_of_turn` is the silence that turn taking waited, before and after the recogniser. What
    /// a speculation did before the turn was committed cost no time.
    pub fn parts(&self) -> [Duration; 7] {
        let steps = [
            self.asked,
            self.answered,
            self.committed,
            self.called,
            self.first_text,
            self.first_clause,
            self.first_audio,
            self.sent,
        ];
        let mut before = self.end_of_speech;
        let [asked, answered, waited, decide, ttft, clause, ttfb, send] = steps.map(|step| {
            let at = step.unwrap_or(before).max(before);
            let took = at - before;
            before = at;
            took
        });
        [asked + waited, answered, decide, ttft, clause, ttfb, send]
    }
}

impl Stamps {
    /// Adds the parts to the histograms, and answers them as the client is told them.
    pub(in crate::pipeline) fn record(&self) -> Vec<LatencyPart> {
        let parts = PARTS.iter().zip(self.parts()).map(|(name, took)| {
            metrics::histogram!("livos_voice_turn_seconds", "part" => *name).record(took.as_secs_f64());
            LatencyPart { name: (*name).to_owned(), ms: took.as_secs_f64() * 1000.0 }
        });
        parts.collect()
    }
}

/// Adds what a client measured to the histograms, unless it cannot be true.
pub(in crate::pipeline) fn record_measured(silence_ms: f64, playout_ms: f64) {
    for (name, ms) in
        [("livos_voice_to_voice_seconds", silence_ms), ("livos_voice_playout_delay_seconds", playout_ms)]
    {
        if (0.0..=LONGEST_MEASURE_MS).contains(&ms) {
            metrics::histogram!(name).record(ms / 1000.0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_part_is_the_time_of_its_step() {
        let start = Instant::now();
        let at = |ms| Some(start + Duration::from_millis(ms));
        let stamps = Stamps {
            end_of_speech: start,
            asked: at(200),
            answered: at(350),
            committed: at(400),
            called: at(401),
            first_text: at(900),
            first_clause: at(950),
            first_audio: at(1050),
            sent: at(1051),
        };
        let parts = stamps.parts().map(|part| part.as_millis());
        assert_eq!(parts, [250, 150, 1, 499, 50, 100, 1]);
    }

    proptest! {
        #[test]
        fn the_parts_sum_to_the_whole(offsets in prop::array::uniform8(prop::option::of(0u64..5000))) {
            let start = Instant::now() + Duration::from_secs(5);
            let at = offsets.map(|ms| ms.map(|ms| start - Duration::from_secs(1) + Duration::from_millis(ms)));
            let stamps = Stamps {
                end_of_speech: start,
                asked: at[0],
                answered: at[1],
                committed: at[2],
                called: at[3],
                first_text: at[4],
                first_clause: at[5],
                first_audio: at[6],
                sent: at[7],
            };
            let last = at.iter().flatten().max().copied().unwrap_or(start).max(start);
            prop_assert_eq!(stamps.parts().iter().sum::<Duration>(), last - start);
        }
    }
}
