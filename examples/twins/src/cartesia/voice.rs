//! How the twin makes sound of text: tones that a test can read back, the flite synthesiser, or a hum for those who have neither.

use std::{f64::consts::TAU, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::tones::{self, Word};

/// A way to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voice {
    /// Every letter a tone: what was heard can be read back from the samples.
    #[default]
    Tones,
    /// Debian's flite, voice `slt`, as a child process.
    Flite,
    /// A hum in the rhythm of the words, for people without flite.
    Shaped,
}

/// What flite may take for one clause. It needs some tens of milliseconds.
const FLITE_LIMIT: Duration = Duration::from_secs(10);
/// What flite writes at most for one clause: a minute.
const MAX_WAV: usize = 2 * 16_000 * 60;
const FLITE_RATE: u32 = 16_000;
/// A sample of flite louder than this is voice.
const VOICED: i16 = 200;

impl Voice {
    /// The best voice that this machine has.
    pub async fn detect() -> Self {
        match flite("ok").await {
            Some(samples) if !samples.is_empty() => Self::Flite,
            _ => Self::Shaped,
        }
    }

    /// The audio of `text` and its words, in seconds from its first sample.
    pub(super) async fn speak(self, text: &str, rate: u32) -> (Vec<i16>, Vec<Word>) {
        match self {
            Self::Tones => tones::speak(text, rate),
            Self::Shaped => hum(text, rate),
            Self::Flite => match flite(text).await {
                Some(samples) => {
                    let words = place(text, &samples);
                    (resample(&samples, FLITE_RATE, rate), words)
                }
                None => hum(text, rate),
            },
        }
    }
}

/// What flite makes of a text, at 16 kHz; nothing when it is not there or fails.
async fn flite(text: &str) -> Option<Vec<i16>> {
    if !text.chars().any(char::is_alphanumeric) {
        return Some(Vec::new());
    }
    // The text comes by a pipe and not as an argument, because it may begin with a dash; the sound goes to a file, because flite seeks in it.
    let out = tempfile::NamedTempFile::new().ok()?;
    let mut child = Command::new("flite")
        .args(["-voice", "slt", "/dev/stdin"])
        .arg(out.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    stdin.write_all(text.as_bytes()).await.ok()?;
    drop(stdin);
    timeout(FLITE_LIMIT, child.wait()).await.ok()?.ok()?;
    let wav = tokio::fs::read(out.path()).await.ok()?;
    let data = wav.get(44..)?;
    Some(
        data[..data.len().min(MAX_WAV)]
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect(),
    )
}

/// Places words by their letters over the part of the audio that is voiced; flite does not say where they are.
fn place(text: &str, samples: &[i16]) -> Vec<Word> {
    let voiced = |sample: &i16| sample.unsigned_abs() > VOICED.unsigned_abs();
    let first = samples.iter().position(voiced).unwrap_or(0);
    let last = samples.iter().rposition(voiced).unwrap_or(0);
    let seconds = |sample: usize| sample as f64 / f64::from(FLITE_RATE);
    spread(text, seconds(first), seconds(last))
}

/// Words one after the other between two times, each as long as its letters, and its punctuation a pause.
fn spread(text: &str, from: f64, to: f64) -> Vec<Word> {
    let weight = |word: &str| {
        let pause = if word.ends_with(['.', '!', '?', ',', ';', ':']) { 3.0 } else { 0.5 };
        (word.chars().filter(|c| c.is_alphanumeric()).count() as f64 + 1.0, pause)
    };
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).collect();
    let total: f64 = words.iter().map(|word| weight(word).0 + weight(word).1).sum();
    let unit = (to - from).max(0.0) / total.max(1.0);
    let mut at = from;
    words
        .into_iter()
        .map(|word| {
            let (letters, pause) = weight(word);
            let start = at;
            at += (letters + pause) * unit;
            Word { text: word.to_owned(), start, end: start + letters * unit }
        })
        .collect()
}

/// A soft hum, a syllable for every third letter, 15 letters a second.
fn hum(text: &str, rate: u32) -> (Vec<i16>, Vec<Word>) {
    let letters = text.chars().count() as f64;
    let words = spread(text, 0.05, 0.05 + letters / 15.0);
    let end = words.last().map_or(0.0, |word| word.end + 0.1);
    let mut samples = vec![0i16; (end * f64::from(rate)) as usize];
    for word in &words {
        let (from, to) = ((word.start * f64::from(rate)) as usize, (word.end * f64::from(rate)) as usize);
        let length = (to - from).max(1) as f64;
        for (n, sample) in samples[from..to].iter_mut().enumerate() {
            let (seconds, place) = (n as f64 / f64::from(rate), n as f64 / length);
            let swell = (place * std::f64::consts::PI).sin();
            let tone = (seconds * 180.0 * TAU).sin() + 0.5 * (seconds * 360.0 * TAU).sin();
            *sample = (tone * swell * 5_000.0) as i16;
        }
    }
    (samples, words)
}

/// Changes the sample rate by a windowed sinc, good enough for speech.
fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    const REACH: f64 = 16.0;
    if from == to {
        return samples.to_vec();
    }
    let step = f64::from(from) / f64::from(to);
    // Below the lower of the two rates' limits, so that nothing folds back.
    let cut = (1.0 / step).min(1.0);
    let length = (samples.len() as f64 / step) as usize;
    (0..length)
        .map(|n| {
            let at = n as f64 * step;
            let (first, last) =
                ((at - REACH / cut).ceil().max(0.0) as usize, (at + REACH / cut).floor() as usize);
            let sum: f64 = (first..=last.min(samples.len().saturating_sub(1)))
                .map(|k| {
                    let x = (k as f64 - at) * cut;
                    let sinc = if x.abs() < 1e-9 {
                        1.0
                    } else {
                        (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
                    };
                    let window = 0.5 + 0.5 * (std::f64::consts::PI * x / REACH).cos();
                    f64::from(samples[k]) * sinc * window * cut
                })
                .sum();
            sum.clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_survives_a_change_of_rate() {
        let (samples, _) = tones::speak("hello world", 16_000);
        let up = resample(&samples, 16_000, 24_000);
        let heard: Vec<String> = tones::decode(&up, 24_000).into_iter().map(|word| word.text).collect();
        assert_eq!(heard, ["hello", "world"]);
    }

    #[test]
    fn words_follow_each_other_within_the_voiced_span() {
        let words = spread("One, two three.", 0.1, 1.1);
        assert_eq!(
            words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(),
            ["One,", "two", "three."]
        );
        assert!(
            words[0].start == 0.1
                && words.windows(2).all(|pair| pair[0].end <= pair[1].start)
                && words[2].end <= 1.1
        );
    }

    #[tokio::test]
    async fn flite_speaks_where_it_is_installed() {
        let required = std::env::var_os("LIVOS_REQUIRE_SPEECH").is_some();
        let voice = Voice::detect().await;
        if voice != Voice::Flite {
            assert!(!required, "flite is needed: apt-get install flite");
            return;
        }
        let (samples, words) = voice.speak("Turn on the kitchen light.", 24_000).await;
        let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 1_000).count();
        assert!(samples.len() > 24_000 && loud > 5_000);
        assert_eq!((words.len(), words[4].text.as_str()), (5, "light."));
    }
}
