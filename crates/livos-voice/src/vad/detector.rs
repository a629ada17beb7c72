//! From scores to states: hysteresis, so that one odd window neither starts nor ends speech.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::{Vad, VadState};
use crate::audio::{AudioFormat, Frame};

/// How scores become states.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DetectorConfig {
    /// A window with at least this score is voiced. 0.5: the model's own boundary.
    pub start: f32,
    /// Once speech began, a window with at least this score still is. 0.35: the ends of words are
    /// faint.
    pub stop: f32,
    /// Voiced audio that makes speech sure. 80 ms: longer than a click, shorter than a syllable.
    pub min_speech: Duration,
    /// Unvoiced audio after which speech may be ending. 100 ms: longer than the silence inside a
    /// consonant.
    pub min_silence: Duration,
    /// Unvoiced audio after which it is over. 300 ms: the recogniser is told to finish at this
    /// point, and turn taking waits on.
    pub hangover: Duration,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            start: 0.5,
            stop: 0.35,
            min_speech: Duration::from_millis(80),
            min_silence: Duration::from_millis(100),
            hangover: Duration::from_millis(300),
        }
    }
}

/// Cuts 16 kHz audio into a detector's windows and follows its scores. Time is counted in audio, so
/// it runs as fast as audio comes.
pub struct Detector {
    vad: Box<dyn Vad>,
    config: DetectorConfig,
    window: Vec<i16>,
    state: VadState,
    /// Voiced audio in a row while starting; unvoiced in a row since the last voiced window.
    voiced: Duration,
    unvoiced: Duration,
    heard_any: bool,
}

impl Detector {
    /// Follows `vad` by `config`.
    pub fn new(vad: Box<dyn Vad>, config: DetectorConfig) -> Self {
        let window = Vec::with_capacity(vad.window());
        Self {
            vad,
            config,
            window,
            state: VadState::Quiet,
            voiced: Duration::ZERO,
            unvoiced: Duration::ZERO,
            heard_any: false,
        }
    }

    /// What the detector made of the audio so far.
    pub fn state(&self) -> VadState {
        self.state
    }

    /// Hears a frame of 16 kHz audio of any length. Calls `change` for each change of state with
    /// the new state and how much audio has passed since the last voiced window, where there was
    /// one. Never allocates.
    pub fn push(&mut self, frame: &Frame, mut change: impl FnMut(VadState, Option<Duration>)) {
        for sample in frame.iter() {
            self.window.push(sample);
            if self.window.len() < self.vad.window() {
                continue;
            }
            let score = self.vad.score(&self.window);
            let length = AudioFormat::SPEECH.duration_of(self.window.len() * 2);
            self.window.clear();
            let before = self.state;
            self.step(score, length);
            if self.state != before {
                change(self.state, self.heard_any.then_some(self.unvoiced));
            }
        }
    }

    /// Forgets what was heard.
    pub fn reset(&mut self) {
        self.vad.reset();
        self.window.clear();
        self.state = VadState::Quiet;
        (self.voiced, self.unvoiced, self.heard_any) = (Duration::ZERO, Duration::ZERO, false);
    }

    fn step(&mut self, score: f32, length: Duration) {
        let speaking = matches!(self.state, VadState::Speaking | VadState::Stopping);
        let voiced = score >= if speaking { self.config.stop } else { self.config.start };
        if voiced {
            self.voiced += length;
            self.unvoiced = Duration::ZERO;
            self.heard_any = true;
        } else {
            self.voiced = Duration::ZERO;
            self.unvoiced += length;
        }
        self.state = match self.state {
            VadState::Quiet | VadState::Starting if !voiced => VadState::Quiet,
            VadState::Quiet | VadState::Starting if self.voiced >= self.config.min_speech => {
                VadState::Speaking
            }
            VadState::Quiet | VadState::Starting => VadState::Starting,
            VadState::Speaking | VadState::Stopping if voiced => VadState::Speaking,
            VadState::Speaking | VadState::Stopping if self.unvoiced >= self.config.hangover => {
                VadState::Quiet
            }
            VadState::Stopping => VadState::Stopping,
            VadState::Speaking if self.unvoiced >= self.config.min_silence => VadState::Stopping,
            VadState::Speaking => VadState::Speaking,
        };
    }
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector")
            .field("state", &self.state)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Scores a window of 10 ms by its first sample: a hundredth of it.
    struct Scripted;

    impl Vad for Scripted {
        fn window(&self) -> usize {
            160
        }

        fn score(&mut self, samples: &[i16]) -> f32 {
            f32::from(samples[0]) / 100.0
        }

        fn reset(&mut self) {}
    }

    fn audio(scores: &[i16]) -> Bytes {
        scores.iter().flat_map(|score| [*score; 160]).flat_map(i16::to_le_bytes).collect()
    }

    /// The states that come out, each with the 10 ms window at which it came and the age of the
    /// last voiced one in ms.
    fn check(scores: &[i16], expected: &[(usize, VadState, u64)]) {
        let mut detector = Detector::new(Box::new(Scripted), DetectorConfig::default());
        let mut found = Vec::new();
        for (n, score) in scores.iter().enumerate() {
            let frame = Frame::new(AudioFormat::SPEECH, audio(&[*score])).unwrap();
            detector.push(&frame, |state, age| {
                found.push((n, state, age.map_or(0, |age| age.as_millis() as u64)));
            });
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn speech_starts_is_sure_and_ends() {
        let scores = [vec![0; 3], vec![90; 10], vec![0; 40]].concat();
        check(
            &scores,
            &[
                (3, VadState::Starting, 0),
                (10, VadState::Speaking, 0),
                (22, VadState::Stopping, 100),
                (42, VadState::Quiet, 300),
            ],
        );
    }

    #[test]
    fn a_click_is_no_speech() {
        check(&[vec![90; 5], vec![0; 50]].concat(), &[(0, VadState::Starting, 0), (5, VadState::Quiet, 10)]);
    }

    #[test]
    fn faint_ends_of_words_are_still_speech() {
        let scores = [vec![90; 8], vec![40; 60]].concat();
        check(&scores, &[(0, VadState::Starting, 0), (7, VadState::Speaking, 0)]);
    }

    proptest! {
        #[test]
        fn any_cutting_into_frames_gives_the_same_states(
            scores in prop::collection::vec(0i16..100, 1..80), cuts in prop::collection::vec(1usize..900, 1..20),
        ) {
            let run = |cuts: &[usize]| {
                let (mut detector, mut found, all) = (Detector::new(Box::new(Scripted), DetectorConfig::default()), Vec::new(), audio(&scores));
                let mut at = 0;
                for cut in cuts.iter().cycle() {
                    if at == all.len() { break; }
                    let end = (at + cut * 2).min(all.len());
                    detector.push(&Frame::new(AudioFormat::SPEECH, all.slice(at..end)).unwrap(), |state, age| found.push((state, age)));
                    at = end;
                }
                found
            };
            prop_assert_eq!(run(&cuts), run(&[160]));
        }
    }
}
