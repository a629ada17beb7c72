//! What is counted, and amounts of it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{budget::Unit, conversation::TokenUsage};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Answers of a model.
    Turns,
    /// Tools that were called.
    ToolCalls,
    /// Tokens that a model read and no cache held.
    InputTokens,
    /// Tokens that a model wrote.
    OutputTokens,
    /// Tokens that a model read from its provider's cache.
    CacheReadTokens,
    /// Tokens that were written to the provider's cache.
    CacheWriteTokens,
    /// Characters that were said to the agent and by it.
    Characters,
    /// Audio sent to speech to text, in milliseconds. Counted finer than the second in which it is
    /// shown, so that nothing is lost by rounding.
    SttMs,
    /// Characters sent to text to speech.
    TtsCharacters,
    /// Money, in millionths of a dollar.
    MicroDollars,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Turns,
        Self::ToolCalls,
        Self::InputTokens,
        Self::OutputTokens,
        Self::CacheReadTokens,
        Self::CacheWriteTokens,
        Self::Characters,
        Self::SttMs,
        Self::TtsCharacters,
        Self::MicroDollars,
    ];

    /// A name for counters, logs and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::ToolCalls => "tool_calls",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::CacheReadTokens => "cache_read_tokens",
            Self::CacheWriteTokens => "cache_write_tokens",
            Self::Characters => "characters",
            Self::SttMs => "stt_ms",
            Self::TtsCharacters => "tts_characters",
            Self::MicroDollars => "micro_dollars",
        }
    }

    /// The metric of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The unit whose limits it counts towards; the four kinds of tokens share one.
    pub const fn unit(self) -> Option<Unit> {
        match self {
            Self::Turns | Self::ToolCalls | Self::Characters => None,
            Self::InputTokens | Self::OutputTokens | Self::CacheReadTokens | Self::CacheWriteTokens => {
                Some(Unit::Tokens)
            }
            Self::SttMs => Some(Unit::AudioMs),
            Self::TtsCharacters => Some(Unit::Characters),
            Self::MicroDollars => Some(Unit::MicroDollars),
        }
    }
}

/// So much of each metric. Sums stop at the largest number and do not wrap.
///
/// ```
/// use livos_core::usage::{Amounts, Metric};
///
/// let turn = Amounts::of(Metric::Turns, 1).with(Metric::OutputTokens, 58);
/// let two = turn.plus(&turn);
/// assert_eq!((two.get(Metric::OutputTokens), two.get(Metric::ToolCalls)), (116, 0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts([u64; Metric::ALL.len()]);

impl Amounts {
    /// Of one metric.
    pub fn of(metric: Metric, amount: u64) -> Self {
        Self::default().with(metric, amount)
    }

    /// The same with so much of this metric.
    #[must_use]
    pub fn with(mut self, metric: Metric, amount: u64) -> Self {
        self.0[metric as usize] = amount;
        self
    }

    /// What a model reported of one answer.
    pub fn of_tokens(usage: &TokenUsage) -> Self {
        Self::of(Metric::InputTokens, usage.input)
            .with(Metric::OutputTokens, usage.output)
            .with(Metric::CacheReadTokens, usage.cache_read)
            .with(Metric::CacheWriteTokens, usage.cache_write)
    }

    /// So much of this metric.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize]
    }

    /// Everything that counts towards the limits of this unit.
    pub fn unit(&self, unit: Unit) -> u64 {
        let of_unit = self.iter().filter(|(metric, _)| metric.unit() == Some(unit));
        of_unit.fold(0, |sum, (_, amount)| sum.saturating_add(amount))
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_add)
    }

    /// The larger of each.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        self.combine(other, u64::max)
    }

    /// Without the other, of which there may be more.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_sub)
    }

    /// So many times as much of everything.
    #[must_use]
    pub fn times(mut self, factor: u64) -> Self {
        self.0.iter_mut().for_each(|amount| *amount = amount.saturating_mul(factor));
        self
    }

    /// Whether there is at least as much of everything as of the other.
    pub fn covers(&self, other: &Self) -> bool {
        other.minus(self).is_zero()
    }

    /// Whether there is nothing of anything.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Each metric of which there is something.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u64)> {
        Metric::ALL.into_iter().zip(self.0).filter(|(_, amount)| *amount > 0)
    }

    fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut combined = *self;
        combined.0.iter_mut().zip(other.0).for_each(|(one, other)| *one = with(*one, other));
        combined
    }
}

impl FromIterator<(Metric, u64)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Metric, u64)>>(amounts: I) -> Self {
        amounts.into_iter().fold(Self::default(), |all, (metric, amount)| {
            all.with(metric, all.get(metric).saturating_add(amount))
        })
    }
}

impl fmt::Debug for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(metric, amount)| (metric.name(), amount))).finish()
    }
}

impl Serialize for Amounts {
    /// As a map from names to amounts, without what there is nothing of.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|(metric, amount)| (metric.name(), amount)))
    }
}

impl<'de> Deserialize<'de> for Amounts {
    /// A name that is not known is of a newer release that shares the store, and left out.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(from)?;
        Ok(named.into_iter().filter_map(|(name, amount)| Some((Metric::named(&name)?, amount))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_place_and_its_name() {
        for (place, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!((metric as usize, Metric::named(metric.name())), (place, Some(metric)));
        }
    }

    #[test]
    fn amounts_are_written_by_name_and_unknown_names_are_left_out() {
        let amounts = Amounts::of(Metric::SttMs, 1500).with(Metric::MicroDollars, 120);
        let text = serde_json::to_string(&amounts).unwrap();
        assert_eq!(text, r#"{"stt_ms":1500,"micro_dollars":120}"#);
        assert_eq!(serde_json::from_str::<Amounts>(&text).unwrap(), amounts);
        assert_eq!(
            serde_json::from_str::<Amounts>(r#"{"smells":3,"stt_ms":1500,"micro_dollars":120}"#).unwrap(),
            amounts
        );
        assert!(serde_json::from_str::<Amounts>(r#"{"stt_ms":-1}"#).is_err());
    }

    #[test]
    fn the_kinds_of_tokens_share_a_limit_and_sums_do_not_wrap() {
        let usage = TokenUsage { input: 1, cache_write: 20, cache_read: 300, output: 4000, estimated: false };
        assert_eq!(Amounts::of_tokens(&usage).unit(Unit::Tokens), 4321);
        let most = Amounts::of(Metric::InputTokens, u64::MAX);
        assert_eq!(most.plus(&Amounts::of_tokens(&usage)).unit(Unit::Tokens), u64::MAX);
    }
}
