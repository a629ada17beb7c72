//! How hard pairing is to break, and how easy to use.

use std::time::Duration;

use super::PairingCode;

/// The bounds of pairing. [`PairingConfig::check`] is called once, when the configuration is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairingConfig {
    /// Characters of a code. 8: 40 bits, which with the bounds below leaves a guesser less than one
    /// chance in a million in a week.
    pub code_length: usize,
    /// How long a code lives. 5 min: time to walk to the other device, and no more.
    pub code_lifetime: Duration,
    /// Codes that may wait on one channel. 3: a person pairs one device at a time, and each waiting
    /// code is one more that may be hit.
    pub pending: usize,
    /// Wrong guesses of a sender within [`Self::window`] before it is locked out. 5: a person who
    /// can't type it by then needs a new code.
    pub attempts: u32,
    /// Wrong guesses on one channel within the window, by all senders together. Beyond it no code
    /// is looked at. 100: a thousand accounts that take turns get no further than twenty do. The
    /// owner can still admit a sender by hand.
    pub channel_attempts: u32,
    /// The time over which guesses count. 1 h.
    pub window: Duration,
    /// How long a sender stays locked out. 1 h.
    pub lockout: Duration,
    /// Whether the owner must approve who came with a right code. Off: the code was the owner's
    /// word.
    pub approval: bool,
    /// How long an approval may take. 1 h: then the sender needs a new code.
    pub approval_within: Duration,
    /// Devices in all. 100: a household has fewer.
    pub devices: usize,
}

impl Default for PairingConfig {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            code_length: PairingCode::MIN_LENGTH,
            code_lifetime: Duration::from_secs(300),
            pending: 3,
            attempts: 5,
            channel_attempts: 100,
            window: hour,
            lockout: hour,
            approval: false,
            approval_within: hour,
            devices: 100,
        }
    }
}

/// Bounds that would not bound anything, or let nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pairing: {0}")]
pub struct InvalidPairingConfig(&'static str);

impl InvalidPairingConfig {
    pub(super) const KEY: Self = Self("the key that guards stored codes has at least 16 characters");
}

impl PairingConfig {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidPairingConfig> {
        let day = Duration::from_secs(24 * 3600);
        let rules = [
            (
                (PairingCode::MIN_LENGTH..=PairingCode::MAX_LENGTH).contains(&self.code_length),
                "a code has 8 to 16 characters",
            ),
            (
                !self.code_lifetime.is_zero() && self.code_lifetime <= day,
                "a code lives for up to a day, and not for no time",
            ),
            ((1..=100).contains(&self.pending), "1 to 100 codes may wait on a channel"),
            ((1..=100).contains(&self.attempts), "a sender has 1 to 100 attempts"),
            ((1..=10_000).contains(&self.channel_attempts), "a channel has 1 to 10,000 attempts"),
            (
                [self.window, self.lockout, self.approval_within].iter().all(|time| !time.is_zero()),
                "a window, a lockout and an approval take some time",
            ),
            ((1..=1000).contains(&self.devices), "1 to 1000 devices may be paired"),
        ];
        rules.iter().find(|(sound, _)| !sound).map_or(Ok(()), |(_, why)| Err(InvalidPairingConfig(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_bounds_without_effect_are_refused() {
        let sound = PairingConfig::default();
        assert_eq!(sound.check(), Ok(()));
        for broken in [
            PairingConfig { code_length: 7, ..sound },
            PairingConfig { code_lifetime: Duration::ZERO, ..sound },
            PairingConfig { attempts: 0, ..sound },
            PairingConfig { channel_attempts: 0, ..sound },
            PairingConfig { window: Duration::ZERO, ..sound },
            PairingConfig { devices: 0, ..sound },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }
}
