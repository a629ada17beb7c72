//! One context: text that waits, speech that is under way, and when the next thing of it is due. Time is an argument.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Config;
use crate::{latency::Profile, random::Random, tones::Word};

/// Words after which the provider speaks without waiting for more.
const ENOUGH_WORDS: usize = 8;

pub(super) struct Context {
    pub(super) id: String,
    /// Everything of the request that may not change.
    pub(super) fixed: Value,
    pub(super) rate: u32,
    timestamps: bool,
    buffer_delay: Duration,
    waiting: String,
    waiting_until: Option<Instant>,
    /// Pieces to speak, and marks of a flush between them.
    queue: VecDeque<Piece>,
    speech: Option<Speech>,
    /// Seconds of audio sent so far.
    sent: f64,
    flushes: u32,
    finished: bool,
    cancelled: bool,
    expires: Instant,
}

pub(super) enum Piece {
    Text(String),
    Flush,
}

struct Speech {
    bytes: Vec<u8>,
    words: VecDeque<Word>,
    at: usize,
    due: Instant,
}

/// What a context wants of the session.
pub(super) enum Step {
    /// Make sound of this text and give it back with [`Context::speak`].
    Synthesize(String),
    /// Send these messages.
    Send(Vec<Value>),
    /// The context is over.
    Over(Option<Value>),
}

impl Context {
    pub(super) fn new(
        id: &str,
        fixed: Value,
        request: &Value,
        rate: u32,
        config: &Config,
        now: Instant,
    ) -> Self {
        let delay = request["max_buffer_delay_ms"].as_u64().unwrap_or(3_000).min(5_000);
        Self {
            id: id.to_owned(),
            fixed,
            rate,
            timestamps: request["add_timestamps"].as_bool().unwrap_or(false),
            buffer_delay: Duration::from_millis(delay),
            waiting: String::new(),
            waiting_until: None,
            queue: VecDeque::new(),
            speech: None,
            sent: 0.0,
            flushes: 0,
            finished: false,
            cancelled: false,
            // Until the first audio, a context is kept for as long as text may be gathered for it.
            expires: now + config.context_expiry + Duration::from_secs(5),
        }
    }

    /// More text, or the end of it.
    pub(super) fn input(&mut self, now: Instant, transcript: &str, more: bool, flush: bool) {
        self.waiting.push_str(transcript);
        self.finished |= !more;
        let ended = self.waiting.trim_end().ends_with(['.', '!', '?', '…']);
        let enough = self.waiting.split_whitespace().count() >= ENOUGH_WORDS;
        if self.finished || flush || self.buffer_delay.is_zero() || ended || enough {
            self.release();
        } else if !self.waiting.is_empty() {
            self.waiting_until.get_or_insert(now + self.buffer_delay);
        }
        if flush {
            self.queue.push_back(Piece::Flush);
        }
    }

    fn release(&mut self) {
        self.waiting_until = None;
        let text = std::mem::take(&mut self.waiting);
        if !text.is_empty() {
            self.queue.push_back(Piece::Text(text));
        }
    }

    pub(super) fn cancel(&mut self, stops: bool) {
        self.queue.clear();
        self.waiting.clear();
        self.waiting_until = None;
        self.cancelled = true;
        if stops {
            self.speech = None;
        }
    }

    /// The sound of a text that was asked for. Its first chunk is due after `delay`.
    pub(super) fn speak(&mut self, now: Instant, delay: Duration, samples: &[i16], words: Vec<Word>) {
        let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.speech = Some(Speech { bytes, words: words.into(), at: 0, due: now + delay });
    }

    /// When the next step is due.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match (&self.speech, self.queue.is_empty()) {
            (Some(speech), _) => speech.due,
            (None, false) => now,
            (None, true) if self.finished || self.cancelled => now,
            (None, true) => self.waiting_until.unwrap_or(self.expires).min(self.expires),
        }
    }

    /// The next step; call it when it is due.
    pub(super) fn step(&mut self, now: Instant, config: &Config, random: &mut Random) -> Step {
        if self.waiting_until.is_some_and(|until| until <= now) {
            self.release();
        }
        if let Some(speech) = &mut self.speech {
            let chunk = chunk_bytes(self.rate, config, random);
            let end = (speech.at + chunk).min(speech.bytes.len());
            let (from, to) = (seconds(speech.at, self.rate), seconds(end, self.rate));
            let mut messages = Vec::new();
            let begun =
                speech.words.iter().take_while(|word| word.start < to || end == speech.bytes.len()).count();
            if begun > 0 && self.timestamps {
                let words: Vec<Word> = speech.words.drain(..begun).collect();
                messages.push(timestamps(&self.id, &words, self.sent - from));
            }
            if end > speech.at {
                messages.push(audio(&self.id, &speech.bytes[speech.at..end], self.flushes));
            }
            self.sent += to - from;
            speech.at = end;
            self.expires = now + config.context_expiry;
            if speech.at == speech.bytes.len() {
                self.speech = None;
            } else if let (Some(speed), Profile::Seed) = (config.speed, config.profile) {
                speech.due = now + Duration::from_secs_f64((to - from) / speed);
            }
            return Step::Send(messages);
        }
        match self.queue.pop_front() {
            Some(Piece::Text(text)) => Step::Synthesize(text),
            Some(Piece::Flush) => {
                self.flushes += 1;
                let id = self.flushes;
                Step::Send(vec![json!({
                    "type": "flush_done", "context_id": self.id, "flush_id": id, "flush_done": true, "done": false, "status_code": 206,
                })])
            }
            // Nothing more comes, or nothing came for too long.
            None if self.cancelled && !self.finished => Step::Over(None),
            None if self.finished || self.expires <= now => Step::Over(Some(self.done())),
            None => Step::Send(Vec::new()),
        }
    }

    fn done(&self) -> Value {
        json!({ "type": "done", "context_id": self.id, "done": true, "status_code": 206 })
    }
}

/// Chunks vary in length, as the provider's do; in bytes, whole samples unless odd ones are wanted.
fn chunk_bytes(rate: u32, config: &Config, random: &mut Random) -> usize {
    let seconds = random.between(0.020, 0.120);
    let samples = (seconds * f64::from(rate)) as usize;
    samples * 2 + usize::from(config.odd_chunks)
}

fn seconds(bytes: usize, rate: u32) -> f64 {
    bytes as f64 / 2.0 / f64::from(rate)
}

fn audio(context: &str, bytes: &[u8], flushes: u32) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut message = json!({
        "type": "chunk", "context_id": context, "data": STANDARD.encode(bytes), "done": false, "status_code": 206, "step_time": 12.5,
    });
    if flushes > 0 {
        message["flush_id"] = json!(flushes);
    }
    message
}

fn timestamps(context: &str, words: &[Word], offset: f64) -> Value {
    let list = |time: fn(&Word) -> f64| {
        words.iter().map(|word| ((time(word) + offset) * 1e4).round() / 1e4).collect::<Vec<_>>()
    };
    json!({
        "type": "timestamps", "context_id": context, "done": false, "status_code": 206,
        "word_timestamps": {
            "words": words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(),
            "start": list(|word| word.start), "end": list(|word| word.end),
        },
    })
}
