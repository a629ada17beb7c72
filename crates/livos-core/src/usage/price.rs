//! What providers take, as data.
//!
//! Prices are integers of micro-dollars, and the cost of one piece of work is rounded up once, at
//! its end. So no sum drifts, and a budget errs by less than a millionth of a dollar for each
//! piece, to the safe side.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Amounts, Metric};

/// What a model's tokens cost, each in micro-dollars for a million tokens: `1_000_000` is one
/// dollar for a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Tokens that are read and in no cache.
    pub input: u64,
    /// Tokens that are written.
    pub output: u64,
    /// Tokens that are read from the provider's cache.
    pub cache_read: u64,
    /// Tokens that are written to it.
    pub cache_write: u64,
}

const MILLION: u128 = 1_000_000;
const HOUR_MS: u128 = 3_600_000;

impl ModelPrice {
    /// By dollars for a million tokens in and out, with the factors of Anthropic's cache of five
    /// minutes: a tenth of `input` for what is read from it, five quarters for what is written.
    const fn dollars(input: u64, output: u64) -> Self {
        Self {
            input: input * 1_000_000,
            output: output * 1_000_000,
            cache_read: input * 100_000,
            cache_write: input * 1_250_000,
        }
    }

    /// What these tokens cost, in micro-dollars, rounded up.
    pub fn cost(&self, amounts: &Amounts) -> u64 {
        let each = [
            (Metric::InputTokens, self.input),
            (Metric::OutputTokens, self.output),
            (Metric::CacheReadTokens, self.cache_read),
            (Metric::CacheWriteTokens, self.cache_write),
        ];
        let sum = each.into_iter().fold(0u128, |sum, (metric, price)| {
            sum.saturating_add(u128::from(amounts.get(metric)) * u128::from(price))
        });
        up(sum, MILLION)
    }

    /// The dearest way in which a token can be read.
    pub fn dearest_input(&self) -> Metric {
        if self.cache_write > self.input { Metric::CacheWriteTokens } else { Metric::InputTokens }
    }
}

/// What speech costs; none where the price is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VoicePrice {
    /// Micro-dollars for an hour of audio sent to speech to text.
    pub hour: Option<u64>,
    /// Micro-dollars for a million characters sent to text to speech.
    pub million_characters: Option<u64>,
}

impl VoicePrice {
    /// What this much audio and these characters cost, in micro-dollars, each rounded up. Of what
    /// has no price, nothing.
    pub fn cost(&self, amounts: &Amounts) -> u64 {
        let part = |price: Option<u64>, metric, per| {
            up(u128::from(amounts.get(metric)) * u128::from(price.unwrap_or(0)), per)
        };
        let hours = part(self.hour, Metric::SttMs, HOUR_MS);
        hours.saturating_add(part(self.million_characters, Metric::TtsCharacters, MILLION))
    }
}

fn up(amount: u128, per: u128) -> u64 {
    u64::try_from(amount.div_ceil(per)).unwrap_or(u64::MAX)
}

/// The prices that an operator pays. A name stands for itself and for its dated releases:
/// `claude-haiku-4-5` for `claude-haiku-4-5-20251001` too.
///
/// The defaults are list prices as they were known in August 2026, in dollars; check them against
/// your own invoice:
///
/// | provider | what | price |
/// | --- | --- | --- |
/// | Anthropic | `claude-haiku-4-5` | 1 for a million tokens in, 5 out |
/// | | `claude-sonnet-4-6`, `claude-sonnet-5` | 3 in, 15 out |
/// | | `claude-opus-4-8` | 5 in, 25 out |
/// | | `claude-fable-5` | 10 in, 50 out |
/// | | the cache | 0.1 of the price in for what is read, 1.25 for what is written |
/// | Deepgram | `nova-3` | 0.0048 a minute (0.0058 for several languages: set it) |
/// | | `flux` | 0.0077 a minute, the dearest that was seen |
/// | Cartesia | | not known: it depends on the plan, and must be set |
///
/// ```
/// use livos_core::usage::{Amounts, Metric, Prices};
///
/// let mut prices = Prices::default();
/// prices.extend(toml::from_str(r#"
///     [text_to_speech]
///     "sonic-3" = 30_000_000             # micro-dollars for a million characters
///     [speech_to_text]
///     "nova-3" = 348_000                 # micro-dollars for an hour of audio
///     [models."my-own"]
///     input = 0
///     output = 0
///     cache_read = 0
///     cache_write = 0
/// "#).unwrap());
/// let turn = Amounts::of(Metric::InputTokens, 214).with(Metric::CacheReadTokens, 4380).with(Metric::OutputTokens, 58);
/// assert_eq!(prices.model("claude-haiku-4-5-20251001").unwrap().cost(&turn), 214 + 438 + 290);
/// assert_eq!(prices.voice("nova-3", "sonic-3").cost(&Amounts::of(Metric::SttMs, 60_000)), 5_800);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// By the name of the model.
    #[serde(default)]
    pub models: BTreeMap<String, ModelPrice>,
    /// Micro-dollars for an hour of audio, by the name of the recogniser's model.
    #[serde(default)]
    pub speech_to_text: BTreeMap<String, u64>,
    /// Micro-dollars for a million characters, by the name of the voice's model.
    #[serde(default)]
    pub text_to_speech: BTreeMap<String, u64>,
}

impl Default for Prices {
    fn default() -> Self {
        let models = [
            ("claude-haiku-4-5", ModelPrice::dollars(1, 5)),
            ("claude-sonnet-4-6", ModelPrice::dollars(3, 15)),
            ("claude-sonnet-5", ModelPrice::dollars(3, 15)),
            ("claude-opus-4-8", ModelPrice::dollars(5, 25)),
            ("claude-fable-5", ModelPrice::dollars(10, 50)),
        ];
        let speech = [("nova-3", 288_000), ("flux", 462_000)];
        Self {
            models: models.map(|(name, price)| (name.to_owned(), price)).into(),
            speech_to_text: speech.map(|(name, price)| (name.to_owned(), price)).into(),
            text_to_speech: BTreeMap::new(),
        }
    }
}

impl Prices {
    /// Takes the other's prices, in place of its own of the same name.
    pub fn extend(&mut self, other: Self) {
        self.models.extend(other.models);
        self.speech_to_text.extend(other.speech_to_text);
        self.text_to_speech.extend(other.text_to_speech);
    }

    /// What this model costs.
    pub fn model(&self, name: &str) -> Option<ModelPrice> {
        find(&self.models, name)
    }

    /// What speech by these two models costs.
    pub fn voice(&self, speech_to_text: &str, text_to_speech: &str) -> VoicePrice {
        VoicePrice {
            hour: find(&self.speech_to_text, speech_to_text),
            million_characters: find(&self.text_to_speech, text_to_speech),
        }
    }
}

/// The longest name that is `name`, or that `name` goes on from with a `-`.
fn find<T: Copy>(prices: &BTreeMap<String, T>, name: &str) -> Option<T> {
    let stands_for =
        |known: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    prices
        .iter()
        .filter(|(known, _)| stands_for(known))
        .max_by_key(|(known, _)| known.len())
        .map(|(_, price)| *price)
}

#[cfg(test)]
#[allow(clippy::disallowed_types)] // The property test runner uses them.
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dated_release_has_the_price_of_its_family_and_a_longer_name_its_own() {
        let mut prices = Prices::default();
        let own = ModelPrice::dollars(2, 3);
        prices.models.insert("claude-haiku-4-5-fast".into(), own);
        let haiku = prices.model("claude-haiku-4-5");
        assert_eq!(
            haiku,
            Some(ModelPrice {
                input: 1_000_000,
                output: 5_000_000,
                cache_read: 100_000,
                cache_write: 1_250_000
            })
        );
        assert_eq!(prices.model("claude-haiku-4-5-20251001"), haiku);
        assert_eq!(prices.model("claude-haiku-4-5-fast-2"), Some(own));
        assert_eq!((prices.model("claude-haiku-4-50"), prices.model("gpt")), (None, None));
        assert_eq!(
            prices.voice("flux-general-en", "sonic-3"),
            VoicePrice { hour: Some(462_000), million_characters: None }
        );
    }

    #[test]
    fn a_cost_is_rounded_up_once() {
        let haiku = Prices::default().model("claude-haiku-4-5").unwrap();
        assert_eq!(haiku.cost(&Amounts::of(Metric::CacheReadTokens, 1)), 1, "a tenth is not nothing");
        let both = Amounts::of(Metric::CacheReadTokens, 5).with(Metric::CacheWriteTokens, 2);
        assert_eq!(haiku.cost(&both), 3, "0.5 and 2.5 are not rounded each");
        assert_eq!(haiku.cost(&Amounts::of(Metric::OutputTokens, u64::MAX)), u64::MAX);
        assert_eq!(haiku.cost(&Amounts::of(Metric::Turns, 9)), 0);
        let voice = VoicePrice { hour: Some(288_000), million_characters: None };
        assert_eq!(voice.cost(&Amounts::of(Metric::SttMs, 60_000).with(Metric::TtsCharacters, 99)), 4_800);
    }

    proptest! {
        #[test]
        fn booking_by_differences_of_a_running_total_costs_what_the_total_costs(
            price in 0u64..10_000_000,
            pieces in prop::collection::vec(0u64..5_000, 0..200),
        ) {
            let voice = VoicePrice { hour: Some(price), million_characters: Some(price) };
            let (mut total, mut booked) = (Amounts::default(), 0);
            for piece in pieces {
                total = total.plus(&Amounts::of(Metric::SttMs, piece).with(Metric::TtsCharacters, piece));
                booked += voice.cost(&total) - booked;
            }
            prop_assert_eq!(booked, voice.cost(&total));
            let exact = u128::from(total.get(Metric::SttMs)) * u128::from(price);
            prop_assert!(u128::from(booked) * HOUR_MS >= exact);
        }
    }
}
