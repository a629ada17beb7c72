//! Speech that a machine can check: every character is a tone, so what was heard can be read back
//! sample by sample.
//!
//! A word is a start mark, its characters, and an end mark that carries a checksum of them; words
//! are separated by silence. A word that lost its beginning, its end or anything between is
//! therefore not heard at all, rather than heard wrong: that is what lets a test say "no word was
//! lost and none came twice" from audio alone.

use std::f64::consts::TAU;

/// The characters that have a tone. Capital letters fold to lower case; other characters are silent
/// and are left out.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789'.,?!-:;\"()/%&";
/// Sums of characters are told apart modulo this.
const CHECKS: usize = 8;
const START: usize = ALPHABET.len();
const FIRST_CHECK: usize = START + 1;
const TONES: usize = FIRST_CHECK + CHECKS;

/// Below the lowest tone there is room for hum, above the highest there is room for the filters of
/// 16 kHz audio.
const LOWEST_HZ: f64 = 400.0;
/// Twice the resolution of a tone's length, so that neighbours cannot be confused.
const SPACING_HZ: f64 = 75.0;

/// One character: a tone, then a silence that keeps doubled letters apart.
const SLOT: f64 = 0.050;
const TONE: f64 = 0.036;
/// Tones swell and fade this long, so that they do not click into their neighbours' frequencies.
const RAMP: f64 = 0.003;
/// After each word, besides the silence in its last slot.
const WORD_GAP: f64 = 0.060;
const AMPLITUDE: f64 = 0.3 * 32767.0;

/// A word and when it sounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The word, with its punctuation.
    pub text: String,
    /// Seconds from the start of the audio to its start mark.
    pub start: f64,
    /// Seconds from the start of the audio to the end of its end mark.
    pub end: f64,
}

/// The audio of `text` at `rate` samples a second (12 kHz or more), mono.
pub fn encode(text: &str, rate: u32) -> Vec<i16> {
    speak(text, rate).0
}

/// The audio of `text`, and when each of its words sounds, as it was written. The audio ends with
/// the gap after the last word.
pub fn speak(text: &str, rate: u32) -> (Vec<i16>, Vec<Word>) {
    let rate = f64::from(rate);
    let mut samples = Vec::new();
    let mut words = Vec::new();
    let mut at = 0.0;
    for written in text.split_whitespace() {
        let symbols: Vec<usize> = written.chars().filter_map(symbol).collect();
        if symbols.is_empty() {
            continue;
        }
        let start = at;
        for tone in marked(&symbols) {
            silence_until(&mut samples, at, rate);
            append_tone(&mut samples, tone, rate);
            at += SLOT;
        }
        words.push(Word { text: written.to_owned(), start, end: at - (SLOT - TONE) });
        at += WORD_GAP;
    }
    silence_until(&mut samples, at, rate);
    (samples, words)
}

/// 16-bit mono PCM with the 44 bytes of a WAV header.
pub fn wav(samples: &[i16], rate: u32) -> Vec<u8> {
    let length = samples.len() * 2;
    let word = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(44 + length);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&word(36 + length));
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&rate.to_le_bytes());
    bytes.extend_from_slice(&(rate * 2).to_le_bytes());
    bytes.extend_from_slice(b"\x02\0\x10\0data");
    bytes.extend_from_slice(&word(length));
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// How many seconds `text` takes to say.
pub fn duration(text: &str) -> f64 {
    let word = |written: &str| match written.chars().filter_map(symbol).count() {
        0 => 0.0,
        symbols => (symbols + 2) as f64 * SLOT + WORD_GAP,
    };
    text.split_whitespace().map(word).sum()
}

/// The words in `samples`, complete ones only.
pub fn decode(samples: &[i16], rate: u32) -> Vec<Word> {
    let mut decoder = Decoder::new(rate);
    let mut words = decoder.push(samples);
    words.extend(decoder.finish());
    words
}

fn symbol(character: char) -> Option<usize> {
    let character = u8::try_from(character.to_ascii_lowercase()).ok()?;
    ALPHABET.iter().position(|known| *known == character)
}

fn marked(symbols: &[usize]) -> impl Iterator<Item = usize> {
    std::iter::once(START).chain(symbols.iter().copied()).chain(std::iter::once(FIRST_CHECK + check(symbols)))
}

fn check(symbols: &[usize]) -> usize {
    // The place counts too, so that swapped or repeated characters are noticed.
    symbols.iter().enumerate().map(|(place, symbol)| (place + 1) * (symbol + 1)).sum::<usize>() % CHECKS
}

fn frequency(tone: usize) -> f64 {
    LOWEST_HZ + SPACING_HZ * tone as f64
}

fn silence_until(samples: &mut Vec<i16>, seconds: f64, rate: f64) {
    let length = (seconds * rate).round() as usize;
    if length > samples.len() {
        samples.resize(length, 0);
    }
}

fn append_tone(samples: &mut Vec<i16>, tone: usize, rate: f64) {
    let step = TAU * frequency(tone) / rate;
    samples.extend((0..(TONE * rate).round() as usize).map(|index| {
        let seconds = index as f64 / rate;
        let swell = (seconds.min(TONE - seconds) / RAMP).clamp(0.0, 1.0);
        (AMPLITUDE * swell * (step * index as f64).sin()) as i16
    }));
}

/// Loudness is looked at in blocks this long.
const BLOCK: f64 = 0.002;
/// A block is sound from this root mean square on; a tone has about 7000.
const AUDIBLE: f64 = 500.0;
/// A shorter sound than this is no character, nor is a longer one than the next.
const SHORTEST_TONE: f64 = 0.024;
const LONGEST_TONE: f64 = 0.046;
/// Silence that ends a word which has no end mark.
const WORD_ENDS: f64 = 0.040;
/// How much of a sound's power must be in its strongest tone.
const PURITY: f64 = 0.5;

/// Reads words from audio as it comes in.
#[derive(Debug, Clone)]
pub struct Decoder {
    rate: f64,
    block: usize,
    /// Samples seen before those in `pending`.
    seen: u64,
    pending: Vec<i16>,
    sound: Vec<i16>,
    sound_start: f64,
    silent_since: Option<f64>,
    word: Partial,
}

/// What is known of the word that is being heard.
#[derive(Debug, Clone, Default)]
enum Partial {
    #[default]
    None,
    Started {
        start: f64,
        symbols: Vec<usize>,
    },
    /// Something of it was not understood: the rest is skipped.
    Broken,
}

impl Decoder {
    /// A decoder of mono audio at `rate` samples a second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            block: ((f64::from(rate) * BLOCK) as usize).max(1),
            seen: 0,
            pending: Vec::new(),
            sound: Vec::new(),
            sound_start: 0.0,
            silent_since: None,
            word: Partial::None,
        }
    }

    /// Takes the next samples; answers the words that they completed.
    pub fn push(&mut self, samples: &[i16]) -> Vec<Word> {
        let mut words = Vec::new();
        self.pending.extend_from_slice(samples);
        let pending = std::mem::take(&mut self.pending);
        let mut blocks = pending.chunks_exact(self.block);
        for block in &mut blocks {
            let at = self.seen as f64 / self.rate;
            self.seen += block.len() as u64;
            words.extend(self.hear(block, at));
        }
        self.pending = blocks.remainder().to_vec();
        words
    }

    /// The audio is over: answers the word that its last samples completed.
    pub fn finish(&mut self) -> Option<Word> {
        let at = self.seen as f64 / self.rate;
        self.end_of_sound(at)
    }

    fn hear(&mut self, block: &[i16], at: f64) -> Option<Word> {
        let power = block.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / block.len() as f64;
        if power.sqrt() >= AUDIBLE {
            if self.sound.is_empty() {
                self.sound_start = at;
            }
            self.silent_since = None;
            // A sound that is too long is no tone; keeping more of it would only cost memory.
            if (self.sound.len() as f64) < 2.0 * LONGEST_TONE * self.rate {
                self.sound.extend_from_slice(block);
            }
            return None;
        }
        let word = self.end_of_sound(at);
        let silent_since = *self.silent_since.get_or_insert(at);
        if at - silent_since >= WORD_ENDS {
            self.word = Partial::None;
        }
        word
    }

    fn end_of_sound(&mut self, at: f64) -> Option<Word> {
        if self.sound.is_empty() {
            return None;
        }
        let tone = self.tone();
        self.sound.clear();
        match (std::mem::take(&mut self.word), tone) {
            (Partial::None, Some(START)) => {
                self.word = Partial::Started { start: self.sound_start, symbols: Vec::new() };
            }
            (Partial::Started { start, mut symbols }, Some(tone)) if tone < START => {
                symbols.push(tone);
                self.word = Partial::Started { start, symbols };
            }
            (Partial::Started { start, symbols }, Some(tone)) if tone >= FIRST_CHECK => {
                if tone - FIRST_CHECK == check(&symbols) && !symbols.is_empty() {
                    let text = symbols.iter().map(|symbol| char::from(ALPHABET[*symbol])).collect();
                    return Some(Word { text, start, end: at });
                }
            }
            _ => self.word = Partial::Broken,
        }
        None
    }

    fn tone(&self) -> Option<usize> {
        let seconds = self.sound.len() as f64 / self.rate;
        if !(SHORTEST_TONE..=LONGEST_TONE).contains(&seconds) {
            return None;
        }
        let edge = (RAMP * self.rate) as usize;
        let middle = self.sound.get(edge..self.sound.len() - edge)?;
        let total: f64 = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let power = |tone| goertzel(middle, frequency(tone) / self.rate);
        let (tone, strongest) =
            (0..TONES).map(|tone| (tone, power(tone))).max_by(|one, other| one.1.total_cmp(&other.1))?;
        // A pure tone of energy E has n E / 2 in its bin.
        (strongest >= PURITY * total * middle.len() as f64 / 2.0).then_some(tone)
    }
}

fn goertzel(samples: &[i16], cycles_per_sample: f64) -> f64 {
    let coefficient = 2.0 * (TAU * cycles_per_sample).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let next = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    last * last + before * before - coefficient * last * before
}

#[cfg(test)]
mod tests;
