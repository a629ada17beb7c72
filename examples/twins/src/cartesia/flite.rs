//! English speech by Debian's flite, a child process for each piece of text.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{process::Command, sync::Semaphore};

use super::voice::Speech;
use crate::{connection::lock, tones::Word};

const BINARY: &str = "flite";
/// Ten times as long as the longest piece takes on a slow machine.
const SPEAK_WITHIN: Duration = Duration::from_secs(20);
/// Children at once: more would only slow each other down.
const CHILDREN: usize = 2;
/// Pieces kept, because a demo says the same sentences again and again.
const KEPT: usize = 32;
/// The header of the files that flite writes.
const WAV_HEADER: usize = 44;

/// Synthesis is not available, or a piece of it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FliteError {
    /// The program is not installed.
    #[error("{BINARY} was not found (apt-get install flite)")]
    NoProgram,
    /// The program could not be run.
    #[error("{BINARY} could not be run")]
    Run(#[from] std::io::Error),
    /// The program took too long.
    #[error("{BINARY} did not answer in time")]
    Late,
    /// The program's answer is not what it should be.
    #[error("{BINARY} answered without speech")]
    Answer,
}

/// A synthesizer. A clone shares its memory of what was said.
#[derive(Debug, Clone)]
pub struct Flite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<VecDeque<(String, Speech)>>,
    children: Semaphore,
}

impl Flite {
    /// Samples a second of the voice `slt`.
    pub(super) const RATE: u32 = 16_000;

    /// The synthesizer, where it is installed.
    pub fn find() -> Result<Self, FliteError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(BINARY).is_file()) {
            return Err(FliteError::NoProgram);
        }
        Ok(Self(Arc::new(Inner { kept: Mutex::default(), children: Semaphore::new(CHILDREN) })))
    }

    pub(super) async fn speak(&self, text: &str) -> Result<Speech, FliteError> {
        if let Some((_, speech)) = lock(&self.0.kept).iter().find(|(kept, _)| kept == text) {
            return Ok(speech.clone());
        }
        let _turn = self.0.children.acquire().await.map_err(|_| FliteError::Answer)?;
        let spoken = tokio::time::timeout(SPEAK_WITHIN, run(text)).await;
        let speech = spoken.map_err(|_| FliteError::Late)??;
        let mut kept = lock(&self.0.kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((text.to_owned(), speech.clone()));
        Ok(speech)
    }
}

async fn run(text: &str) -> Result<Speech, FliteError> {
    let file = tempfile::NamedTempFile::new()?;
    let output = Command::new(BINARY)
        .args(["-voice", "slt", "-psdur", "-t", text, "-o"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    // A moment's work: what was just written is still in memory.
    let wave = std::fs::read(file.path())?;
    let rate = wave.get(24..28).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let audio = wave.get(WAV_HEADER..).filter(|_| output.status.success() && rate == Some(Flite::RATE));
    let audio = audio.ok_or(FliteError::Answer)?;
    let samples = audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let words = place(text, &voiced(&String::from_utf8_lossy(&output.stdout)));
    Ok(Speech { samples, words })
}

/// The stretches of speech between pauses, from lines like `pau:0.164 hh:0.255`: each sound with
/// its end.
fn voiced(printed: &str) -> Vec<(f64, f64)> {
    let mut stretches: Vec<(f64, f64)> = Vec::new();
    let (mut before, mut in_speech) = (0.0, false);
    for sound in printed.split_whitespace() {
        let Some((name, end)) = sound.split_once(':') else { continue };
        let Ok(end) = end.parse::<f64>() else { continue };
        match (name == "pau", in_speech, stretches.last_mut()) {
            (true, ..) => in_speech = false,
            (false, true, Some(stretch)) => stretch.1 = end,
            _ => {
                in_speech = true;
                stretches.push((before, end));
            }
        }
        before = end;
    }
    stretches
}

/// Places words by their length: phrase by phrase where the pauses are those of the punctuation,
/// else over all speech.
fn place(text: &str, voiced: &[(f64, f64)]) -> Vec<Word> {
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).collect();
    let phrases: Vec<&[&str]> =
        words.split_inclusive(|word| word.ends_with([',', '.', ';', ':', '!', '?'])).collect();
    if phrases.len() == voiced.len() {
        let placed = phrases.iter().zip(voiced).flat_map(|(phrase, stretch)| spread(phrase, &[*stretch]));
        return placed.collect();
    }
    spread(&words, voiced)
}

fn spread(words: &[&str], voiced: &[(f64, f64)]) -> Vec<Word> {
    let length: f64 = voiced.iter().map(|(start, end)| end - start).sum();
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).count() as f64;
    let all: f64 = words.iter().map(|word| letters(word)).sum();
    let mut said = 0.0;
    let place = |word: &&str| {
        let from = said;
        said += letters(word) / all * length;
        Word { text: (*word).to_owned(), start: after(from, voiced, false), end: after(said, voiced, true) }
    };
    words.iter().map(place).collect()
}

/// When so much speech has sounded; at a pause, its beginning or its end.
fn after(mut speech: f64, voiced: &[(f64, f64)], is_end: bool) -> f64 {
    for (start, end) in voiced {
        let length = end - start;
        if speech < length || is_end && speech <= length + 1e-9 {
            return start + speech.min(length);
        }
        speech -= length;
    }
    voiced.last().map_or(0.0, |(_, end)| *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "pau:0.1 hh:0.2 ow:0.5 pau:0.7 m:0.8 ay:1.1 pau:1.3 \n";

    fn times(text: &str) -> Vec<(f64, f64)> {
        let round = |at: f64| (at * 1000.0).round() / 1000.0;
        place(text, &voiced(PRINTED)).iter().map(|word| (round(word.start), round(word.end))).collect()
    }

    #[test]
    fn words_lie_in_their_phrase_and_leave_the_pauses_out() {
        assert_eq!(times("Ho, my my"), [(0.1, 0.5), (0.7, 0.9), (0.9, 1.1)]);
    }

    #[test]
    fn words_are_spread_over_all_speech_where_pauses_are_not_those_of_the_text() {
        assert_eq!(times("ho my"), [(0.1, 0.5), (0.7, 1.1)]);
        assert_eq!(times("abcd"), [(0.1, 1.1)]);
        assert_eq!(times("- ,"), []);
    }
}
