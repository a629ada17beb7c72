//! Words in tones, heard back whole or not at all.

use super::*;
use crate::random::Random;

const SENTENCE: &str =
    "Turn on the kitchen light, it's 10:45 (or \"so\")! Really? Yes; 50% a/b & bookkeeper-ish.";

fn heard(samples: &[i16], rate: u32) -> Vec<String> {
    decode(samples, rate).into_iter().map(|word| word.text).collect()
}

fn expected(text: &str) -> Vec<String> {
    text.to_lowercase().split_whitespace().map(str::to_owned).collect()
}

/// Linear interpolation: a worse resampler than any that the pipeline would use.
fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let length = samples.len() as u64 * u64::from(to) / u64::from(from);
    let at = |index: usize| f64::from(samples.get(index).copied().unwrap_or(0));
    (0..length)
        .map(|index| {
            let position = index as f64 * f64::from(from) / f64::from(to);
            let whole = position as usize;
            let part = position - whole as f64;
            (at(whole) * (1.0 - part) + at(whole + 1) * part) as i16
        })
        .collect()
}

#[test]
fn every_character_is_read_back_at_every_rate() {
    for rate in [16_000, 22_050, 24_000, 44_100, 48_000] {
        assert_eq!(heard(&encode(SENTENCE, rate), rate), expected(SENTENCE), "at {rate}");
        let alphabet = String::from_utf8(ALPHABET.to_vec()).unwrap();
        assert_eq!(heard(&encode(&alphabet, rate), rate), [alphabet]);
    }
}

#[test]
fn resampling_changes_nothing() {
    for (from, to) in [(16_000, 48_000), (24_000, 48_000), (24_000, 16_000), (48_000, 24_000)] {
        let samples = resample(&encode(SENTENCE, from), from, to);
        assert_eq!(heard(&samples, to), expected(SENTENCE), "{from} to {to}");
    }
}

#[test]
fn a_different_volume_and_some_noise_change_nothing() {
    let mut random = Random::new(5);
    let samples: Vec<i16> = encode(SENTENCE, 16_000)
        .into_iter()
        .map(|sample| (f64::from(sample) * 0.4 + 100.0 * random.normal()) as i16)
        .collect();
    assert_eq!(heard(&samples, 16_000), expected(SENTENCE));
}

#[test]
fn a_cut_anywhere_drops_the_incomplete_word_and_nothing_else() {
    let (samples, words) = speak("alpha bravo charlie", 16_000);
    for cut in (0..samples.len()).step_by(97) {
        let seconds = cut as f64 / 16_000.0;
        let before = heard(&samples[..cut], 16_000);
        let after = heard(&samples[cut..], 16_000);
        let complete = |word: &&Word| word.end <= seconds - 0.004;
        let begun = |word: &&Word| word.end <= seconds;
        assert!(before.len() >= words.iter().filter(complete).count(), "{cut} {before:?}");
        assert!(
            before.len() <= words.iter().filter(|word| word.end <= seconds + 0.015).count(),
            "{cut} {before:?}"
        );
        let remaining = words.iter().filter(|word| word.start >= seconds).count();
        assert!(after.len() >= remaining, "{cut} {after:?}");
        assert!(after.len() + words.iter().filter(begun).count() <= words.len() + 1, "{cut} {after:?}");
        for word in before.iter().chain(&after) {
            assert!(["alpha", "bravo", "charlie"].contains(&word.as_str()), "{cut} {word}");
        }
    }
}

#[test]
fn a_lost_frame_inside_a_word_drops_that_word() {
    let (samples, words) = speak("alpha bravo charlie", 16_000);
    let from = (words[1].start * 16_000.0) as usize + 800;
    let mut holed = samples[..from].to_vec();
    holed.extend_from_slice(&samples[from + 800..]);
    assert_eq!(heard(&holed, 16_000), ["alpha", "charlie"]);
}

#[test]
fn times_are_those_of_the_words() {
    let (samples, words) = speak("one, two three", 24_000);
    let mut delayed = vec![0; 24_000];
    delayed.extend(&samples);
    let heard = decode(&delayed, 24_000);
    assert_eq!(heard.len(), words.len());
    for (word, heard) in words.iter().zip(&heard) {
        assert_eq!(word.text, heard.text);
        assert!((heard.start - 1.0 - word.start).abs() < 0.005, "{word:?} {heard:?}");
        assert!((heard.end - 1.0 - word.end).abs() < 0.005, "{word:?} {heard:?}");
    }
    assert!((duration("one, two three") - samples.len() as f64 / 24_000.0).abs() < 0.001);
}

#[test]
fn the_decoder_hears_the_same_in_any_pieces() {
    let samples = encode(SENTENCE, 16_000);
    let mut random = Random::new(9);
    for _ in 0..3 {
        let mut decoder = Decoder::new(16_000);
        let mut words = Vec::new();
        let mut rest = samples.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(700) as usize));
            words.extend(decoder.push(piece));
            rest = after;
        }
        words.extend(decoder.finish());
        assert_eq!(words, decode(&samples, 16_000));
    }
}

#[test]
fn noise_and_silence_are_no_words() {
    let mut random = Random::new(2);
    let noise: Vec<i16> = (0..32_000).map(|_| (4000.0 * random.normal()) as i16).collect();
    assert!(decode(&noise, 16_000).is_empty());
    assert!(decode(&vec![0; 32_000], 16_000).is_empty());
    assert!(encode("  ", 16_000).is_empty() && encode("\u{e9}\u{4e2d}", 16_000).is_empty());
}
