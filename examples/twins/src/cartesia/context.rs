//! One context: text that waits, the generation under way, and what is to be sent when.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{Slot, request::Generate, voice::Speech};
use crate::{random::Random, tones::Word};

/// Words that are enough to begin before the sentence or the delay is over.
const ENOUGH_WORDS: usize = 8;
/// The shortest and the longest chunk, in seconds of audio.
const CHUNK: (f64, f64) = (0.020, 0.120);
/// Characters that may wait in a context.
const MAX_WAITING: usize = 20_000;

#[derive(Debug)]
pub(super) struct Context {
    pub(super) slot: Slot,
    /// Tells this context from an earlier one of the same name.
    pub(super) number: u64,
    pub(super) rate: u32,
    fixed: Value,
    delay: Duration,
    timestamps: bool,
    buffer: String,
    buffered_at: Instant,
    queue: VecDeque<Item>,
    work: Work,
    /// Flushes so far.
    flushes: u64,
    /// No more input comes.
    pub(super) finished: bool,
    /// Samples of the generations that are over.
    produced: u64,
    /// When the last audio went out, or the context began.
    active_at: Instant,
}

#[derive(Debug)]
enum Item {
    Speak(String),
    Flushed,
}

#[derive(Debug, Default)]
enum Work {
    #[default]
    None,
    Making,
    Streaming(Streaming),
}

#[derive(Debug)]
struct Streaming {
    bytes: Vec<u8>,
    words: VecDeque<Word>,
    sent: usize,
    /// Where the next chunk ends.
    cut: usize,
    begun: Instant,
}

/// What a context does next.
#[derive(Debug)]
pub(super) enum Step {
    Make(String),
    Flushed(u64),
    Words(Vec<Word>),
    Chunk { data: Vec<u8>, flush_id: u64 },
    Done { expired: bool },
}

impl Context {
    pub(super) fn new(slot: Slot, number: u64, first: &Generate, now: Instant) -> Self {
        Self {
            slot,
            number,
            rate: first.rate,
            fixed: first.fixed.clone(),
            delay: Duration::from_millis(first.delay_ms),
            timestamps: first.timestamps,
            buffer: String::new(),
            buffered_at: now,
            queue: VecDeque::new(),
            work: Work::None,
            flushes: 0,
            finished: false,
            produced: 0,
            active_at: now,
        }
    }

    pub(super) fn input(&mut self, input: &Generate, strict: bool, now: Instant) -> Result<(), &'static str> {
        if self.finished {
            return Err("the context takes no more input");
        }
        if strict && self.fixed != input.fixed {
            return Err(
                "all fields but transcript, continue, duration and flush must stay the same in a context",
            );
        }
        let waiting: usize = self.queue.iter().map(Item::len).sum();
        if waiting + self.buffer.len() + input.transcript.len() > MAX_WAITING {
            return Err("too much text waits in the context");
        }
        self.slot.note(|transcript| {
            transcript.text.push_str(&input.transcript);
            transcript.inputs += 1;
            transcript.finished |= !input.more;
        });
        if self.buffer.is_empty() {
            self.buffered_at = now;
        }
        self.buffer.push_str(&input.transcript);
        self.finished = !input.more;
        let own_flush = self.delay.is_zero() && !input.transcript.is_empty();
        if self.finished || input.flush || own_flush {
            self.release(self.buffer.len(), now);
        } else if let Some(ready) = ready(&self.buffer) {
            self.release(ready, now);
        }
        if input.flush || own_flush {
            self.queue.push_back(Item::Flushed);
        }
        Ok(())
    }

    /// Lets the first part of the buffer be spoken.
    fn release(&mut self, length: usize, now: Instant) {
        let rest = self.buffer.split_off(length);
        let text = std::mem::replace(&mut self.buffer, rest);
        self.buffered_at = now;
        if !text.trim().is_empty() {
            self.queue.push_back(Item::Speak(text));
        }
    }

    pub(super) fn cancel(&mut self, stop: bool) {
        self.buffer.clear();
        self.queue.clear();
        self.finished = true;
        self.slot.note(|transcript| transcript.cancelled = true);
        if stop {
            self.work = Work::None;
        }
    }

    /// Speech for the text of [`Step::Make`]; its first byte is due at `begun`.
    pub(super) fn made(&mut self, speech: Speech, begun: Instant) {
        if matches!(self.work, Work::Making) {
            let bytes = speech.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.work =
                Work::Streaming(Streaming { bytes, words: speech.words.into(), sent: 0, cut: 0, begun });
        }
    }

    /// When there is something to do; `None` while speech is being made.
    pub(super) fn due(&self, speed: Option<f64>, expiry: Duration, now: Instant) -> Option<Instant> {
        match &self.work {
            Work::Making => None,
            Work::Streaming(streaming) => {
                let ahead = (streaming.sent / 2) as f64 / f64::from(self.rate);
                let after = speed.map_or(Duration::ZERO, |speed| Duration::from_secs_f64(ahead / speed));
                Some(streaming.begun + after)
            }
            Work::None if !self.queue.is_empty() || self.finished => Some(now),
            Work::None if !self.buffer.is_empty() => Some(self.buffered_at + self.delay),
            Work::None => Some(self.active_at + expiry),
        }
    }

    /// Does what is due. Each step is one message, so that a cancel finds its way between them.
    pub(super) fn step(&mut self, random: &mut Random, odd: bool, now: Instant) -> Option<Step> {
        match &mut self.work {
            Work::Making => None,
            Work::Streaming(streaming) => {
                if streaming.sent >= streaming.bytes.len() {
                    self.produced += (streaming.bytes.len() / 2) as u64;
                    self.active_at = now;
                    self.work = Work::None;
                    return None;
                }
                let flush_id = self.flushes + 1;
                let step = streaming.next(self.rate, self.produced, random, odd, self.timestamps, flush_id);
                self.active_at = now;
                Some(step)
            }
            Work::None => Some(match self.queue.pop_front() {
                Some(Item::Speak(text)) => {
                    self.work = Work::Making;
                    Step::Make(text)
                }
                Some(Item::Flushed) => {
                    self.flushes += 1;
                    Step::Flushed(self.flushes)
                }
                None if self.finished => Step::Done { expired: false },
                None if !self.buffer.is_empty() => {
                    self.release(self.buffer.len(), now);
                    return None;
                }
                None => Step::Done { expired: true },
            }),
        }
    }
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Speak(text) => text.len(),
            Self::Flushed => 0,
        }
    }
}

impl Streaming {
    fn next(
        &mut self,
        rate: u32,
        produced: u64,
        random: &mut Random,
        odd: bool,
        timestamps: bool,
        flush_id: u64,
    ) -> Step {
        let rate = f64::from(rate);
        if self.cut <= self.sent {
            let length = 2 * (random.between(CHUNK.0, CHUNK.1) * rate) as usize + usize::from(odd);
            self.cut = (self.sent + length).min(self.bytes.len());
        }
        let end = self.cut;
        let until = end.div_ceil(2) as f64 / rate;
        if self.words.front().is_some_and(|word| word.start < until) {
            let mut words = Vec::new();
            while let Some(word) = self.words.pop_front_if(|word| word.start < until) {
                let base = produced as f64 / rate;
                words.push(Word { text: word.text, start: base + word.start, end: base + word.end });
            }
            if timestamps {
                return Step::Words(words);
            }
        }
        let data = self.bytes[self.sent..end].to_vec();
        self.sent = end;
        Step::Chunk { data, flush_id }
    }
}

/// How much of the text is enough to begin with: whole sentences, or enough whole words.
fn ready(text: &str) -> Option<usize> {
    let spaces = || text.char_indices().filter(|(_, character)| character.is_whitespace());
    let sentence = spaces().rfind(|(at, _)| text[..*at].ends_with(['.', '!', '?']));
    if let Some((at, space)) = sentence {
        return Some(at + space.len_utf8());
    }
    let (at, space) = spaces().next_back()?;
    let length = at + space.len_utf8();
    (text[..length].split_whitespace().count() >= ENOUGH_WORDS).then_some(length)
}
