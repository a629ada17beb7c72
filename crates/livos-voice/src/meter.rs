//! What a voice session spends, set against the day's budget before it is spent (P-02).
//!
//! Audio is reserved a block at a time, so that the shared budget is touched once a second and not
//! with every frame.

use std::time::Duration;

use livos_core::budget::{Meter, NotAdmitted, Reservation, Unit};

/// Audio reserved at a time. One second: what a session that ends may have set aside for nothing,
/// for a moment.
const BLOCK: Duration = Duration::from_secs(1);

/// Meters the audio that one session sends to speech to text.
#[derive(Debug)]
pub struct AudioMeter {
    meter: Meter,
    block: Option<Reservation>,
    used: Duration,
}

impl AudioMeter {
    /// A meter for one session, which spends from `meter`.
    pub fn new(meter: Meter) -> Self {
        Self { meter, block: None, used: Duration::ZERO }
    }

    /// What it spends from.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Asks for `audio` before it is sent. After an error nothing of it was counted; after
    /// [`NotAdmitted::NotYet`] keep the audio and ask again once the meter is
    /// [topped up](Meter::topped_up).
    pub fn admit(&mut self, audio: Duration) -> Result<(), NotAdmitted> {
        let left = self.block.as_ref().map_or(Duration::ZERO, |block| milliseconds(block) - self.used);
        let Some(missing) = audio.checked_sub(left).filter(|missing| !missing.is_zero()) else {
            self.used += audio;
            return Ok(());
        };
        let amount = missing.max(BLOCK).as_micros().div_ceil(1000) as u64;
        let (block, _) = self.meter.reserve(Unit::AudioMs, amount)?;
        if let Some(full) = self.block.replace(block) {
            let amount = full.amount();
            self.meter.settle(full, amount);
        }
        self.used = missing;
        Ok(())
    }
}

impl Drop for AudioMeter {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.meter.settle(block, self.used.as_millis() as u64);
        }
    }
}

fn milliseconds(block: &Reservation) -> Duration {
    Duration::from_millis(block.amount())
}

/// Asks for the characters of a text before it is spoken.
pub fn admit_characters(meter: &Meter, text: &str) -> Result<(), NotAdmitted> {
    meter.spend(Unit::Characters, text.chars().count() as u64).map(drop)
}

#[cfg(test)]
mod tests {
    use livos_core::{
        budget::{Budget, Limit},
        time::Timestamp,
    };

    use super::*;

    fn meter(stop: u64) -> Meter {
        let clock = livos_core::time::ManualClock::new(Timestamp::from_unix_ms(0));
        let limits = [(Unit::AudioMs, Limit::stop_at(stop)), (Unit::Characters, Limit::stop_at(stop))];
        Meter::with_clock(Budget::new(limits, Timestamp::from_unix_ms(0)), std::sync::Arc::new(clock))
    }

    #[test]
    fn audio_is_refused_once_the_budget_is_spent_and_counted_to_the_frame() {
        let meter = meter(2_000);
        let mut audio = AudioMeter::new(meter.clone());
        let frame = Duration::from_millis(20);
        let admitted = (0..200).take_while(|_| audio.admit(frame).is_ok()).count();
        assert_eq!(admitted, 100);
        drop(audio);
        assert_eq!(meter.settled(Unit::AudioMs), 2_000);
    }

    #[test]
    fn what_was_set_aside_and_not_sent_is_given_back() {
        let meter = meter(2_000);
        let mut audio = AudioMeter::new(meter.clone());
        (0..7).for_each(|_| audio.admit(Duration::from_millis(20)).unwrap());
        drop(audio);
        assert_eq!(meter.settled(Unit::AudioMs), 140);
    }

    #[test]
    fn characters_are_counted_as_people_see_them() {
        let meter = meter(5);
        assert!(admit_characters(&meter, "héllo").is_ok());
        assert!(admit_characters(&meter, "!").is_err());
    }
}
