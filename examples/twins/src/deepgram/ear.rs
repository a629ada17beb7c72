//! The twin's audio clock and its sense of speech: energy in the samples that really arrived.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::hearing::{Ears, Recogniser};

/// Audio is looked at in blocks this long.
pub(super) const BLOCK: f64 = 0.010;
/// A block is loud from this root mean square on, about -36 dB of full scale.
const LOUD: f64 = 500.0;
/// Fewer loud blocks in a row are a click, not speech.
const SPEECH_BLOCKS: u32 = 3;
/// Audio from before speech was certain that belongs to it, in seconds.
const BEFORE: f64 = 0.3;

/// Turns received bytes into blocks with a time, and tells when someone speaks.
#[derive(Debug)]
pub(super) struct Ear {
    rate: u32,
    channels: usize,
    block: usize,
    bytes: VecDeque<u8>,
    blocks: u64,
    before: VecDeque<i16>,
    loud_run: u32,
    pub(super) recogniser: Recogniser,
    /// When the utterance began that is being spoken, or was since it was last finished.
    pub(super) speech_start: Option<f64>,
    /// Whether speech that begins now belongs to the utterance before.
    pub(super) resumes: bool,
    /// The end of the last loud block.
    pub(super) last_loud: f64,
    /// When the last loud block arrived.
    pub(super) last_loud_at: Instant,
}

impl Ear {
    pub(super) fn new(ears: &Ears, rate: u32, channels: usize) -> Self {
        Self {
            rate,
            channels,
            block: ((f64::from(rate) * BLOCK) as usize).max(1),
            bytes: VecDeque::new(),
            blocks: 0,
            before: VecDeque::new(),
            loud_run: 0,
            recogniser: Recogniser::new(ears, rate),
            speech_start: None,
            resumes: false,
            last_loud: 0.0,
            last_loud_at: Instant::now(),
        }
    }

    /// Seconds of audio heard on this connection.
    pub(super) fn clock(&self) -> f64 {
        (self.blocks * self.block as u64) as f64 / f64::from(self.rate)
    }

    /// Seconds since something loud was heard.
    pub(super) fn silence(&self) -> f64 {
        (self.clock() - self.last_loud).max(0.0)
    }

    /// Takes the bytes of a message, whatever they are; an odd byte waits for the next.
    pub(super) fn accept(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Hears the next block; answers whether speech began in it, or `None` where the bytes do not
    /// fill a block.
    pub(super) fn step(&mut self) -> Option<bool> {
        let width = 2 * self.channels;
        if self.bytes.len() < self.block * width {
            return None;
        }
        let mut samples = Vec::with_capacity(self.block);
        for _ in 0..self.block {
            let mut sum = 0;
            for _ in 0..self.channels {
                let low = self.bytes.pop_front().unwrap_or_default();
                let high = self.bytes.pop_front().unwrap_or_default();
                sum += i32::from(i16::from_le_bytes([low, high]));
            }
            samples.push((sum / self.channels as i32) as i16);
        }
        self.blocks += 1;
        let clock = self.clock();
        let power = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        let loud = (power / samples.len() as f64).sqrt() >= LOUD;
        self.loud_run = if loud { self.loud_run + 1 } else { 0 };
        let begins = self.speech_start.is_none() && self.loud_run >= SPEECH_BLOCKS;
        let speaking = loud && self.speech_start.is_some();
        self.recogniser.hear(&samples, clock, speaking);
        self.before.extend(&samples);
        let keep = (BEFORE * f64::from(self.rate)) as usize;
        if self.before.len() > keep {
            self.before.drain(..self.before.len() - keep);
        }
        if begins {
            let start = clock - f64::from(SPEECH_BLOCKS) * BLOCK;
            self.speech_start = Some(start);
            self.recogniser.begin(start, self.before.make_contiguous(), clock, self.resumes);
        }
        if loud && self.speech_start.is_some() {
            self.last_loud = clock;
            self.last_loud_at = Instant::now();
        }
        Some(begins)
    }
}
