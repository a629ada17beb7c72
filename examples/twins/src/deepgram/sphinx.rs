//! Offline recognition by Debian's PocketSphinx, streamed while the user talks.
//!
//! `pocketsphinx_continuous` is a child process that reads raw audio from its standard input and
//! prints what it understood when the input ends, some 30 to 150 ms later. It takes half a second
//! to load its model, so one is kept warm and each understands one utterance. It prints nothing
//! before the end; so interim words come from another child that is given the utterance so far.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{connection::lock, tones::Word};

const BINARY: &str = "pocketsphinx_continuous";
/// The Debian package that brings the model keeps it here.
const MODEL: &str = "/usr/share/pocketsphinx/model/en-us";
const MODEL_RATE: u32 = 16_000;
/// Audio that waits for a child which is still loading; older audio of a longer wait is lost and
/// the words with it.
const QUEUED_PIECES: usize = 1024;
/// The longest utterance that is understood, in samples.
const LONGEST: usize = 60 * MODEL_RATE as usize;
/// Speech between two looks at what was said so far, in samples.
const INTERIM_EVERY: usize = MODEL_RATE as usize / 2;
/// A child that takes longer than this, and than the audio that it was given, to answer is given
/// up: on a busy machine it is slow, and never stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Recognition is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SphinxError {
    /// The program could not be started.
    #[error("{BINARY} did not start (apt-get install pocketsphinx pocketsphinx-en-us)")]
    NoProgram(#[source] std::io::Error),
    /// The English model is missing.
    #[error("no model at {MODEL} (apt-get install pocketsphinx-en-us)")]
    NoModel,
}

/// Recognisers with a loaded model: one for the next utterance, one for a look at it. A clone is
/// the same pool.
#[derive(Debug, Clone)]
pub struct Sphinx(Arc<[Mutex<Option<Child>>; 2]>);

/// What a recogniser is for. Looks yield the processor to utterances, whose answer somebody waits
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Utterance,
    Look,
}

impl Sphinx {
    /// Starts the pool. Must be called inside a tokio runtime.
    pub fn start() -> Result<Self, SphinxError> {
        if !Path::new(MODEL).exists() {
            return Err(SphinxError::NoModel);
        }
        let warm = |purpose| spawn(purpose).map(|child| Mutex::new(Some(child)));
        let utterance = warm(Purpose::Utterance).map_err(SphinxError::NoProgram)?;
        let look = warm(Purpose::Look).map_err(SphinxError::NoProgram)?;
        Ok(Self(Arc::new([utterance, look])))
    }

    fn child(&self, purpose: Purpose) -> std::io::Result<Child> {
        let child = lock(&self.0[purpose as usize]).take();
        child.map_or_else(|| spawn(purpose), Ok)
    }

    /// Has a child load its model for the next time; not earlier, because loading would slow down
    /// the recognition under way.
    fn warm_up(&self, purpose: Purpose) {
        let mut warm = lock(&self.0[purpose as usize]);
        if warm.is_none() {
            match spawn(purpose) {
                Ok(child) => *warm = Some(child),
                Err(error) => tracing::warn!(%error, "no recogniser kept warm"),
            }
        }
    }

    pub(super) fn utterance(&self, rate: u32, from: f64) -> Utterance {
        let (pieces, queue) = mpsc::channel(QUEUED_PIECES);
        let sphinx = self.clone();
        let answer = tokio::spawn(async move { sphinx.understand(Purpose::Utterance, queue).await });
        Utterance {
            sphinx: self.clone(),
            rate,
            from,
            phase: 0,
            so_far: Vec::new(),
            looked_at: 0,
            look: None,
            interim: Arc::default(),
            news: Arc::default(),
            pieces,
            answer,
        }
    }

    /// Feeds a child until the pieces end, and reads its words. Times are seconds from the first
    /// sample.
    async fn understand(&self, purpose: Purpose, mut pieces: mpsc::Receiver<Vec<u8>>) -> Vec<Word> {
        let answer = async {
            let mut child = self.child(purpose)?;
            let mut given = 0;
            if let Some(mut input) = child.stdin.take() {
                while let Some(piece) = pieces.recv().await {
                    input.write_all(&piece).await?;
                    given += piece.len();
                }
            }
            let mut printed = String::new();
            if let Some(output) = &mut child.stdout {
                let reading = output.read_to_string(&mut printed);
                let length = Duration::from_secs_f64(given as f64 / f64::from(2 * MODEL_RATE));
                tokio::time::timeout(ANSWER_WITHIN + length, reading).await??;
            }
            Ok::<_, std::io::Error>(printed)
        };
        let answer = answer.await;
        self.warm_up(purpose);
        match answer {
            Ok(printed) => words(&printed),
            Err(error) => {
                tracing::warn!(%error, "an utterance was not recognised");
                Vec::new()
            }
        }
    }
}

fn spawn(purpose: Purpose) -> std::io::Result<Child> {
    let mut command = match purpose {
        Purpose::Utterance => Command::new(BINARY),
        Purpose::Look => {
            let mut command = Command::new("nice");
            command.args(["-n", "10", BINARY]);
            command
        }
    };
    command
        .args(["-infile", "/dev/stdin", "-time", "yes", "-logfn", "/dev/null"])
        // The second and third pass double the time to the answer and change little.
        .args(["-fwdflat", "no", "-bestpath", "no"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// Reads the lines `word start end confidence`. The line before them, the sentence, has no numbers.
fn words(printed: &str) -> Vec<Word> {
    printed
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (text, start, end, _) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let (start, end) = (start.parse().ok()?, end.parse().ok()?);
            // Other pronunciations are numbered: `the(2)`. Fillers are `<sil>`, `[NOISE]` and
            // `++um++`.
            let text = text.split('(').next()?;
            let filler = text.starts_with(['<', '[', '+']);
            (!filler && fields.next().is_none()).then(|| Word { text: text.to_owned(), start, end })
        })
        .collect()
}

/// One utterance that is being recognised. Dropping it kills its child.
#[derive(Debug)]
pub(super) struct Utterance {
    sphinx: Sphinx,
    rate: u32,
    from: f64,
    phase: u32,
    so_far: Vec<i16>,
    looked_at: usize,
    look: Option<JoinHandle<()>>,
    interim: Arc<Mutex<Vec<Word>>>,
    news: Arc<AtomicBool>,
    pieces: mpsc::Sender<Vec<u8>>,
    answer: JoinHandle<Vec<Word>>,
}

impl Utterance {
    pub(super) fn push(&mut self, samples: &[i16]) {
        let before = self.so_far.len();
        for sample in samples {
            // Nearest sample: the model hears nothing above 7 kHz, and every rate of speech is
            // close enough to 16 kHz for it.
            self.phase += MODEL_RATE;
            while self.phase >= self.rate && self.so_far.len() < LONGEST {
                self.phase -= self.rate;
                self.so_far.push(*sample);
            }
            self.phase %= self.rate;
        }
        let piece = bytes(&self.so_far[before..]);
        if !piece.is_empty() && self.pieces.try_send(piece).is_err() {
            tracing::warn!("a recogniser did not keep up: part of an utterance is lost");
        }
        if self.so_far.len() - self.looked_at >= INTERIM_EVERY
            && self.look.as_ref().is_none_or(JoinHandle::is_finished)
        {
            self.look();
        }
    }

    pub(super) fn heard(&self) -> Vec<Word> {
        lock(&self.interim).clone()
    }

    /// Whether a look was finished since the last time this was asked.
    pub(super) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::Relaxed)
    }

    pub(super) fn finish(mut self) -> impl Future<Output = Vec<Word>> + Send + 'static {
        let from = self.from;
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.pieces, closed));
        async move {
            let words = (&mut self.answer).await.unwrap_or_default();
            words.into_iter().map(|word| later(word, from)).collect()
        }
    }

    fn look(&mut self) {
        self.looked_at = self.so_far.len();
        let (sphinx, interim, from) = (self.sphinx.clone(), Arc::clone(&self.interim), self.from);
        let news = Arc::clone(&self.news);
        let piece = bytes(&self.so_far);
        self.look = Some(tokio::spawn(async move {
            let (pieces, queue) = mpsc::channel(1);
            // The queue has room for the one piece.
            let _ = pieces.try_send(piece);
            drop(pieces);
            let words = sphinx.understand(Purpose::Look, queue).await;
            *lock(&interim) = words.into_iter().map(|word| later(word, from)).collect();
            news.store(true, Ordering::Relaxed);
        }));
    }
}

impl Drop for Utterance {
    fn drop(&mut self) {
        self.answer.abort();
        if let Some(look) = &self.look {
            look.abort();
        }
    }
}

fn later(word: Word, by: f64) -> Word {
    Word { start: word.start + by, end: word.end + by, ..word }
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timed_words_are_read_and_fillers_left_out() {
        let printed = "what time\n<s> 0.080 0.350 1.000300\nwhat 0.360 0.950 0.958098\n<sil> 0.96 0.97 1.0\n\
                       the(2) 0.97 1.000 0.5\n[NOISE] 1.0 1.1 1.0\n++um++ 1 2 1\n</s> 1.1 1.230 1.000000\n";
        let read = words(printed);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0], Word { text: "what".into(), start: 0.36, end: 0.95 });
        assert_eq!(read[1].text, "the");
    }
}
