//! What the twin makes of the sound that reached it.
//!
//! Whatever the way of hearing, it works on received samples only: audio that never arrived gives
//! no word, and no word gets a time that was not heard.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::sphinx::{Sphinx, Utterance};
use crate::tones::{Decoder, Word};

/// How the twin finds words in speech.
#[derive(Debug, Clone)]
pub enum Hearing {
    /// Decodes the letters of [`crate::tones`]: every word is really heard.
    Tones,
    /// Gives each utterance the next of these sentences, its words spread over the sound. After the
    /// last comes the first again.
    Script(Vec<String>),
    /// Recognises English speech offline.
    Sphinx(Sphinx),
}

impl Hearing {
    /// Real recognition where PocketSphinx is installed, else a script. Must be called inside a
    /// tokio runtime.
    pub fn detect() -> Self {
        match Sphinx::start() {
            Ok(sphinx) => Self::Sphinx(sphinx),
            Err(error) => {
                tracing::info!(%error, "hearing from a script");
                Self::default_script()
            }
        }
    }

    /// A few questions and requests in English.
    pub fn default_script() -> Self {
        let sentences = [
            "What time is it?",
            "Turn on the kitchen light.",
            "Hello, how are you today?",
            "Please tell me about the weather in London.",
        ];
        Self::Script(sentences.map(str::to_owned).to_vec())
    }
}

/// The sentences of a script, shared by all connections of a twin.
#[derive(Debug, Default)]
pub(super) struct Script {
    sentences: Vec<String>,
    next: AtomicUsize,
}

impl Script {
    fn next(&self) -> Vec<String> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let sentence = self.sentences.get(index % self.sentences.len().max(1));
        sentence.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect()
    }
}

/// [`Hearing`] with the state that connections share.
#[derive(Debug, Clone)]
pub(super) enum Ears {
    Tones,
    Script(Arc<Script>),
    Sphinx(Sphinx),
}

impl From<Hearing> for Ears {
    fn from(hearing: Hearing) -> Self {
        match hearing {
            Hearing::Tones => Self::Tones,
            Hearing::Script(sentences) => {
                Self::Script(Arc::new(Script { sentences, next: AtomicUsize::new(0) }))
            }
            Hearing::Sphinx(sphinx) => Self::Sphinx(sphinx),
        }
    }
}

/// Words that may still be in the making.
pub(super) type Words = BoxFuture<'static, Vec<Word>>;

/// Seconds of speech that a word of a script takes while its utterance goes on.
const SCRIPT_WORD: f64 = 0.3;

/// Finds words in the speech of one connection. All times are seconds of audio received on it.
#[derive(Debug)]
pub(super) enum Recogniser {
    Tones { decoder: Decoder, words: Vec<Word> },
    Script { script: Arc<Script>, rest: Option<Rest>, words: Vec<Word> },
    Sphinx { sphinx: Sphinx, rate: u32, utterance: Option<Utterance> },
}

/// The words of a sentence that were not spoken yet.
#[derive(Debug)]
pub(super) struct Rest {
    words: std::collections::VecDeque<String>,
    since: f64,
}

impl Recogniser {
    pub(super) fn new(ears: &Ears, rate: u32) -> Self {
        match ears {
            Ears::Tones => Self::Tones { decoder: Decoder::new(rate), words: Vec::new() },
            Ears::Script(script) => {
                Self::Script { script: Arc::clone(script), rest: None, words: Vec::new() }
            }
            Ears::Sphinx(sphinx) => Self::Sphinx { sphinx: sphinx.clone(), rate, utterance: None },
        }
    }

    /// An utterance began at `start`; `before` is the audio from a little earlier up to now. Where
    /// it resumes an earlier one, a script has nothing to add to the sentence.
    pub(super) fn begin(&mut self, start: f64, before: &[i16], clock: f64, resumes: bool) {
        match self {
            Self::Tones { .. } => {}
            Self::Script { script, rest, .. } => {
                if rest.is_none() && !resumes {
                    *rest = Some(Rest { words: script.next().into(), since: start });
                }
            }
            Self::Sphinx { sphinx, rate, utterance } => {
                if utterance.is_none() {
                    let from = clock - before.len() as f64 / f64::from(*rate);
                    let mut begun = sphinx.utterance(*rate, from);
                    begun.push(before);
                    *utterance = Some(begun);
                }
            }
        }
    }

    /// The next samples, up to `clock`. `speaking` tells whether they are sound of an utterance
    /// that began.
    pub(super) fn hear(&mut self, samples: &[i16], clock: f64, speaking: bool) {
        match self {
            Self::Tones { decoder, words } => words.extend(decoder.push(samples)),
            Self::Script { rest: Some(rest), words, .. } if speaking => {
                // The last word waits for the end of the utterance, wherever that is.
                while clock - rest.since >= SCRIPT_WORD && rest.words.len() > 1 {
                    let Some(text) = rest.words.pop_front() else { break };
                    let end = rest.since + SCRIPT_WORD;
                    words.push(Word { text, start: rest.since, end });
                    rest.since = end;
                }
            }
            Self::Script { .. } => {}
            Self::Sphinx { utterance, .. } => {
                if let Some(utterance) = utterance {
                    utterance.push(samples);
                }
            }
        }
    }

    /// The words known so far that were not taken.
    pub(super) fn heard(&self) -> Vec<Word> {
        match self {
            Self::Tones { words, .. } | Self::Script { words, .. } => words.clone(),
            Self::Sphinx { utterance, .. } => utterance.as_ref().map_or_else(Vec::new, Utterance::heard),
        }
    }

    /// Whether the utterance under way has words, certain or to come.
    pub(super) fn has_words(&self) -> bool {
        match self {
            Self::Tones { words, .. } => !words.is_empty(),
            Self::Script { rest, words, .. } => rest.is_some() || !words.is_empty(),
            Self::Sphinx { utterance, .. } => utterance.is_some(),
        }
    }

    /// Whether other words are known than a moment ago, from a recogniser that learns them in its
    /// own time.
    pub(super) fn take_news(&self) -> bool {
        matches!(self, Self::Sphinx { utterance: Some(utterance), .. } if utterance.take_news())
    }

    /// Takes the words known so far, where they will not change any more.
    pub(super) fn take(&mut self) -> Vec<Word> {
        match self {
            Self::Tones { words, .. } | Self::Script { words, .. } => std::mem::take(words),
            Self::Sphinx { .. } => Vec::new(),
        }
    }

    /// The utterance is over, its last sound was at `end`: all words that were not taken.
    pub(super) fn finish(&mut self, end: f64) -> Words {
        match self {
            Self::Tones { words, .. } => std::future::ready(std::mem::take(words)).boxed(),
            Self::Script { rest, words, .. } => {
                let mut finished = std::mem::take(words);
                if let Some(rest) = rest.take() {
                    let each = (end - rest.since).max(0.0) / rest.words.len().max(1) as f64;
                    finished.extend(rest.words.into_iter().enumerate().map(|(index, text)| {
                        let start = rest.since + index as f64 * each;
                        Word { text, start, end: start + each }
                    }));
                }
                std::future::ready(finished).boxed()
            }
            Self::Sphinx { utterance, .. } => match utterance.take() {
                Some(utterance) => utterance.finish().boxed(),
                None => std::future::ready(Vec::new()).boxed(),
            },
        }
    }
}
