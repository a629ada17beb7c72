//! How text becomes sound, and when each of its words sounds.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{flite::Flite, resample::resample};
use crate::tones::{self, Word};

/// How the twin speaks.
#[derive(Debug, Clone)]
pub enum Voice {
    /// In the letters of [`crate::tones`]: a test can check what was heard, sample by sample.
    Tones,
    /// In English, by a speech synthesizer.
    Flite(Flite),
    /// Hums each word for as long as it takes to say, which is easier on the ear than tones where
    /// no synthesizer is installed.
    Shaped,
}

impl Voice {
    /// Real speech where flite is installed, else a hum. Must be called inside a tokio runtime.
    pub fn detect() -> Self {
        match Flite::find() {
            Ok(flite) => Self::Flite(flite),
            Err(error) => {
                tracing::info!(%error, "speaking with a hum");
                Self::Shaped
            }
        }
    }

    /// The audio of `text`; `None` where the synthesizer failed.
    pub(super) fn speak(&self, text: &str, rate: u32) -> BoxFuture<'static, Option<Speech>> {
        let text = text.to_owned();
        match self {
            Self::Tones => Box::pin(async move { Some(speak_tones(&text, rate)) }),
            Self::Shaped => Box::pin(async move { Some(hum(&text, rate)) }),
            Self::Flite(flite) => {
                let flite = flite.clone();
                Box::pin(async move {
                    if !text.chars().any(char::is_alphanumeric) {
                        return Some(Speech::default());
                    }
                    match flite.speak(&text).await {
                        Ok(spoken) => Some(Speech::at_rate(&spoken, Flite::RATE, rate)),
                        Err(error) => {
                            tracing::warn!(%error, "text was not spoken");
                            None
                        }
                    }
                })
            }
        }
    }
}

/// Audio and its words, in seconds from its first sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Speech {
    pub(super) samples: Arc<[i16]>,
    pub(super) words: Vec<Word>,
}

impl Speech {
    fn at_rate(speech: &Self, from: u32, to: u32) -> Self {
        Self { samples: resample(&speech.samples, from, to).into(), words: speech.words.clone() }
    }
}

fn speak_tones(text: &str, rate: u32) -> Speech {
    // The highest tones need 12 kHz; at 8 kHz they are lost, as a telephone loses them.
    let native = rate.max(16_000);
    let (samples, words) = tones::speak(text, native);
    Speech::at_rate(&Speech { samples: samples.into(), words }, native, rate)
}

/// Fifteen characters a second, as people speak.
const SECONDS_PER_CHARACTER: f64 = 1.0 / 15.0;
const HUM_HZ: f64 = 160.0;

fn hum(text: &str, rate: u32) -> Speech {
    let rate = f64::from(rate);
    let (mut samples, mut words) = (Vec::new(), Vec::new());
    for word in text.split_whitespace() {
        let start = samples.len() as f64 / rate;
        let seconds = word.chars().count() as f64 * SECONDS_PER_CHARACTER;
        samples.extend((0..(seconds * rate) as usize).map(|index| {
            let at = index as f64 / rate;
            let swell = (std::f64::consts::PI * at / seconds).sin();
            let voice: f64 = (1..=4)
                .map(|partial| {
                    (std::f64::consts::TAU * HUM_HZ * f64::from(partial) * at).sin() / f64::from(partial)
                })
                .sum();
            (6_000.0 * swell * voice) as i16
        }));
        let end = samples.len() as f64 / rate;
        words.push(Word { text: word.to_owned(), start, end });
        let pause = if word.ends_with([',', '.', ';', ':', '!', '?']) { 0.25 } else { SECONDS_PER_CHARACTER };
        samples.resize(samples.len() + (pause * rate) as usize, 0);
    }
    Speech { samples: samples.into(), words }
}
