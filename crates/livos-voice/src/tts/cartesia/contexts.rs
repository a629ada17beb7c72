//! One reply across the contexts and connections that speak it: what was sent, what came back, and
//! where to go on after a break.
//!
//! Positions in the text are bytes, positions in the audio are samples from the first sample of the
//! reply, whatever context it came in.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::{audio::AudioFormat, generation::Generation, tts::SpokenWord};

const FORMAT: AudioFormat = AudioFormat::VOICE;
/// How far ahead of the last placed word the next one is looked for, in bytes. The provider skips
/// what it does not speak (an emoji, a tag); a word much further on is another of the same
/// spelling.
const LOOK_AHEAD: usize = 64;

/// The pause at a break: about as short as one between two words is.
const SEAM: Duration = Duration::from_millis(60);

/// A reply that is being spoken.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) generation: Generation,
    /// All text that came so far.
    text: String,
    /// No more text will come.
    finished: bool,
    /// The context that speaks now, its place in the text and in the audio.
    context: Option<Context>,
    /// Contexts so far; part of their ids.
    contexts: u32,
    /// Samples of the reply that have come.
    received: u64,
    /// The words of the reply that have come, in order.
    words: Vec<Placed>,
    /// Text before this has been spoken by words that have come.
    spoken: usize,
    last_chunk: Option<Instant>,
}

#[derive(Debug)]
struct Context {
    id: String,
    /// Samples of the reply before its first.
    audio_base: u64,
    /// Text of the reply that was sent to it ends here.
    sent: usize,
    /// The provider was told that no more comes.
    finish_sent: bool,
    /// The provider has ended it.
    over: bool,
}

#[derive(Debug, Clone)]
struct Placed {
    /// Where it ends in the text.
    text_end: usize,
    end: Duration,
}

/// Text to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submission {
    pub(super) context: String,
    pub(super) transcript: String,
    pub(super) more: bool,
}

impl Reply {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            generation,
            text: String::new(),
            finished: false,
            context: None,
            contexts: 0,
            received: 0,
            words: Vec::new(),
            spoken: 0,
            last_chunk: None,
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The id of the context that speaks now.
    pub(super) fn context_id(&self) -> Option<&str> {
        self.context.as_ref().map(|context| context.id.as_str())
    }

    /// Whether the provider owes audio: something that was sent has not been spoken.
    pub(super) fn is_owed(&self) -> bool {
        self.context.as_ref().is_some_and(|context| {
            !context.over && (context.finish_sent || !is_silent(&self.text[self.spoken..context.sent]))
        })
    }

    /// What to send now, if anything. A context that has nothing left to say and has been still for
    /// `idle`, or that the provider ended, is left for a new one.
    ///
    /// Only what can be spoken opens or continues a context: the provider refuses a transcript
    /// without letters and digits, such as an emoji, and with it the whole reply. Such text waits
    /// for what follows it.
    pub(super) fn submit(&mut self, now: Instant, idle: Duration) -> Option<Submission> {
        self.leave_stale_context(now, idle);
        let sent = self.context.as_ref().map_or(self.spoken, |context| context.sent);
        let mut transcript = self.text[sent..].to_owned();
        if is_silent(&transcript) {
            let unfinished = self.context.as_ref().is_some_and(|context| !context.finish_sent);
            if !(self.finished && unfinished) {
                return None;
            }
            transcript.clear();
        }
        let (generation, audio_base) = (self.generation, self.received);
        let contexts = &mut self.contexts;
        let context = self.context.get_or_insert_with(|| {
            *contexts += 1;
            // Unique on a socket that is shared by one session only, and readable in a log.
            let id = format!("reply-{generation}-{contexts}");
            Context { id, audio_base, sent, finish_sent: false, over: false }
        });
        context.sent = self.text.len();
        context.finish_sent = self.finished;
        Some(Submission { context: context.id.clone(), transcript, more: !self.finished })
    }

    fn leave_stale_context(&mut self, now: Instant, idle: Duration) {
        let Some(context) = &self.context else { return };
        if context.finish_sent && !context.over {
            return;
        }
        let still = self.last_chunk.is_some_and(|at| now.saturating_duration_since(at) > idle);
        let said = is_silent(&self.text[self.spoken..context.sent]);
        if context.over || still && said {
            self.spoken = self.spoken.max(context.sent);
            self.context = None;
        }
    }

    /// Audio of the context that speaks now; answers nothing for any other.
    pub(super) fn audio(&mut self, now: Instant, bytes: usize) {
        self.received += (bytes / AudioFormat::BYTES_PER_SAMPLE) as u64;
        self.last_chunk = Some(now);
    }

    /// Words of the context that speaks now, with times from its own beginning in seconds; answers
    /// them placed in the reply.
    pub(super) fn words(&mut self, words: &[String], starts: &[f64], ends: &[f64]) -> Vec<SpokenWord> {
        let Some(context) = &self.context else { return Vec::new() };
        let (base, sent) = (samples_to_time(context.audio_base), context.sent);
        let mut placed = Vec::with_capacity(words.len());
        for ((word, start), end) in words.iter().zip(starts).zip(ends) {
            let Some((from, to)) = locate(&self.text[..sent], self.spoken, word) else { continue };
            let start = base + seconds(*start);
            let end = base + seconds(*end);
            self.words.push(Placed { text_end: to, end: end.max(start) });
            self.spoken = to;
            placed.push(SpokenWord { text: self.text[from..to].to_owned(), start, end: end.max(start) });
        }
        placed
    }

    /// The provider ended the current context. True when that was the end of the reply.
    pub(super) fn context_done(&mut self) -> bool {
        let Some(context) = &mut self.context else { return false };
        context.over = true;
        context.finish_sent && context.sent == self.text.len()
    }

    /// The context is lost with its connection, or failed: the reply goes on after the last word
    /// whose audio came whole. Answers where the audio that came after it, if any, is void from.
    pub(super) fn interrupted(&mut self) -> Option<Duration> {
        self.context.take()?;
        let received = samples_to_time(self.received);
        let whole = self.words.iter().take_while(|word| word.end <= received).count();
        let void_words = self.words.len() > whole;
        self.words.truncate(whole);
        let last = self.words.last();
        self.spoken = last.map_or(0, |word| word.text_end);
        let at = last.map_or(Duration::ZERO, |word| word.end);
        self.received = time_to_samples(at);
        self.last_chunk = None;
        (void_words || received > samples_to_time(self.received)).then(|| samples_to_time(self.received))
    }

    /// The pause to play where a reply was broken and goes on: its last word may have lost the
    /// pause after it, and would run into the next one. Counts it as received.
    pub(super) fn seam(&mut self) -> Option<Duration> {
        (self.received > 0 && !self.is_complete()).then(|| {
            self.received += time_to_samples(SEAM);
            SEAM
        })
    }

    /// Whether all text was spoken and no more comes: nothing is left to send after a break.
    pub(super) fn is_complete(&self) -> bool {
        self.finished && is_silent(&self.text[self.spoken..])
    }
}

/// Where a word of the provider stands in the text, from `from` on: the whole token between white
/// space that holds it.
///
/// The provider may drop or change punctuation and case. A word that is not found takes the place
/// of the next token, so that the count of words still holds.
fn locate(text: &str, from: usize, word: &str) -> Option<(usize, usize)> {
    let core = core_of(word);
    let mut tokens = tokens(text, from).peekable();
    let first = tokens.peek().copied();
    if core.is_empty() {
        return first.filter(|(start, end)| core_of(&text[*start..*end]).is_empty());
    }
    let near = tokens.take_while(|(start, _)| start.saturating_sub(from) <= LOOK_AHEAD);
    let same = near.into_iter().find(|(start, end)| core_of(&text[*start..*end]) == core);
    same.or(first)
}

fn tokens(text: &str, from: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let rest = &text[from..];
    rest.split_whitespace().map(move |token| {
        let start = from + (token.as_ptr() as usize - rest.as_ptr() as usize);
        (start, start + token.len())
    })
}

/// A word without what providers change: case and everything but letters and digits.
fn core_of(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a text has nothing to speak.
fn is_silent(text: &str) -> bool {
    !text.chars().any(char::is_alphanumeric)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn samples_to_time(samples: u64) -> Duration {
    Duration::from_nanos(samples * 1_000_000_000 / u64::from(FORMAT.rate().hz()))
}

fn time_to_samples(time: Duration) -> u64 {
    (FORMAT.bytes_in(time) / AudioFormat::BYTES_PER_SAMPLE) as u64
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_millis(800);

    fn reply(text: &str) -> (Instant, Reply) {
        let mut reply = Reply::new(Generation(1));
        reply.push(text);
        (Instant::now(), reply)
    }

    fn submission(context: &str, transcript: &str, more: bool) -> Submission {
        Submission { context: context.into(), transcript: transcript.into(), more }
    }

    fn words(reply: &mut Reply, words: &[(&str, f64, f64)]) -> Vec<SpokenWord> {
        let texts: Vec<String> = words.iter().map(|(word, ..)| (*word).to_owned()).collect();
        let starts: Vec<f64> = words.iter().map(|(_, start, _)| *start).collect();
        let ends: Vec<f64> = words.iter().map(|(.., end)| *end).collect();
        reply.words(&texts, &starts, &ends)
    }

    /// Audio that ends `ms` into the context's or reply's stream so far.
    fn audio(reply: &mut Reply, now: Instant, ms: u64) {
        reply.audio(now, FORMAT.bytes_in(Duration::from_millis(ms)));
    }

    #[test]
    fn text_is_continued_in_one_context_and_finished_with_an_empty_transcript() {
        let (now, mut reply) = reply("Well, ");
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-1", "Well, ", true)));
        assert_eq!(reply.submit(now, IDLE), None);
        reply.push("yes.");
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-1", "yes.", true)));
        reply.finish();
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-1", "", false)));
        assert_eq!(reply.submit(now, IDLE), None);
        assert!(reply.context_done());
    }

    #[test]
    fn a_reply_without_text_opens_no_context() {
        let (now, mut reply) = reply("");
        reply.finish();
        assert_eq!(reply.submit(now, IDLE), None);
        assert!(reply.is_complete());
    }

    #[test]
    fn what_cannot_be_spoken_opens_no_context_and_goes_with_what_follows() {
        let (now, mut reply) = reply("👍 … ");
        assert_eq!(reply.submit(now, IDLE), None);
        reply.push("Fine.");
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-1", "👍 … Fine.", true)));
        reply.push(" 🙂");
        assert_eq!(reply.submit(now, IDLE), None);
        reply.finish();
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-1", "", false)));
        assert!(reply.context_done());
    }

    #[test]
    fn an_answer_of_marks_alone_is_complete_without_a_context() {
        let (now, mut reply) = reply("👍");
        reply.finish();
        assert_eq!(reply.submit(now, IDLE), None);
        assert!(reply.is_complete() && !reply.is_owed());
    }

    #[test]
    fn a_break_goes_on_after_the_last_whole_word_and_voids_the_rest() {
        let (now, mut reply) = reply("One two three.");
        reply.finish();
        reply.submit(now, IDLE);
        words(&mut reply, &[("One", 0.0, 0.2), ("two", 0.3, 0.5), ("three", 0.6, 0.9)]);
        audio(&mut reply, now, 600);
        assert_eq!(reply.interrupted(), Some(Duration::from_millis(500)));
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-2", " three.", false)));
        let placed = words(&mut reply, &[("three.", 0.0, 0.3)]);
        let three = SpokenWord {
            text: "three.".into(),
            start: Duration::from_millis(500),
            end: Duration::from_millis(800),
        };
        assert_eq!(placed, [three]);
    }

    #[test]
    fn a_pause_parts_the_words_around_a_break() {
        let (now, mut reply) = reply("One two.");
        reply.finish();
        reply.submit(now, IDLE);
        words(&mut reply, &[("One", 0.0, 0.2)]);
        audio(&mut reply, now, 300);
        assert_eq!(reply.interrupted(), Some(Duration::from_millis(200)));
        assert_eq!(reply.seam(), Some(SEAM));
        reply.submit(now, IDLE);
        assert_eq!(reply.interrupted(), Some(Duration::from_millis(200)), "the pause is void with the rest");
        reply.seam();
        reply.submit(now, IDLE);
        let placed = words(&mut reply, &[("two.", 0.0, 0.3)]);
        assert_eq!(placed[0].start, Duration::from_millis(200) + SEAM);
        audio(&mut reply, now, 300);
        reply.interrupted();
        assert_eq!(reply.seam(), None, "nothing comes after the last word");
    }

    #[test]
    fn a_break_before_any_word_starts_over() {
        let (now, mut reply) = reply("One two.");
        reply.submit(now, IDLE);
        audio(&mut reply, now, 100);
        assert_eq!(reply.interrupted(), Some(Duration::ZERO));
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-2", "One two.", true)));
    }

    #[test]
    fn a_break_exactly_after_a_word_voids_nothing() {
        let (now, mut reply) = reply("One two.");
        reply.submit(now, IDLE);
        words(&mut reply, &[("One", 0.0, 0.25)]);
        audio(&mut reply, now, 250);
        assert_eq!(reply.interrupted(), None);
        assert_eq!(reply.submit(now, IDLE), Some(submission("reply-1-2", " two.", true)));
    }

    #[test]
    fn a_break_after_everything_was_spoken_leaves_nothing_to_send() {
        let (now, mut reply) = reply("One two.");
        reply.finish();
        reply.submit(now, IDLE);
        words(&mut reply, &[("One", 0.0, 0.2), ("two.", 0.3, 0.5)]);
        audio(&mut reply, now, 510);
        reply.interrupted();
        assert!(reply.is_complete());
    }

    #[test]
    fn a_context_that_may_have_expired_is_not_used_again() {
        let (now, mut reply) = reply("One. ");
        reply.submit(now, IDLE);
        words(&mut reply, &[("One.", 0.0, 0.2)]);
        audio(&mut reply, now, 200);
        reply.push("Two. ");
        assert_eq!(reply.submit(now + IDLE, IDLE), Some(submission("reply-1-1", "Two. ", true)));
        reply.push("Three.");
        let later = now + 3 * IDLE;
        // "Two." is still owed, so the context lives.
        assert_eq!(reply.submit(later, IDLE), Some(submission("reply-1-1", "Three.", true)));
        words(&mut reply, &[("Two.", 0.3, 0.5), ("Three.", 0.6, 0.8)]);
        audio(&mut reply, later, 800);
        reply.push(" Four.");
        assert_eq!(reply.submit(later + 2 * IDLE, IDLE), Some(submission("reply-1-2", " Four.", true)));
        let placed = words(&mut reply, &[("Four.", 0.0, 0.1)]);
        assert_eq!(
            placed[0].start,
            Duration::from_secs(1),
            "audio of the new context follows that of the old"
        );
    }

    #[test]
    fn words_are_found_again_whatever_became_of_their_punctuation() {
        let (now, mut reply) = reply("Well — it's \"fine\", 🙂 e.g. at 3.14 percent.");
        reply.submit(now, IDLE);
        let spoken = ["well", "it's", "fine", "e.g.", "AT", "3.14", "percent"];
        let times: Vec<(&str, f64, f64)> =
            spoken.iter().enumerate().map(|(n, word)| (*word, n as f64, n as f64 + 0.9)).collect();
        let found: Vec<String> = words(&mut reply, &times).into_iter().map(|word| word.text).collect();
        assert_eq!(found, ["Well", "it's", "\"fine\",", "e.g.", "at", "3.14", "percent."]);
        assert!(!reply.is_owed());
    }

    #[test]
    fn a_word_that_is_spelt_out_takes_the_place_of_the_next() {
        let (now, mut reply) = reply("Pay 23 euros");
        reply.submit(now, IDLE);
        let found = words(&mut reply, &[("Pay", 0.0, 0.1), ("twenty-three", 0.2, 0.5), ("euros", 0.6, 0.9)]);
        assert_eq!(found.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["Pay", "23", "euros"]);
    }
}
