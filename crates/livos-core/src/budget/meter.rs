//! The handle on a budget that the parts of a process share.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Budget, Exhausted, Level, Reservation, Unit};
use crate::time::{Clock, SystemClock};

/// A shared [`Budget`] on a clock. Cloning shares it. Every call is short and never waits.
///
/// Counts `livos_spent_total{unit}` and `livos_budget_refused_total{unit}`.
#[derive(Clone)]
pub struct Meter {
    budget: Arc<Mutex<Budget>>,
    clock: Arc<dyn Clock>,
}

impl Meter {
    /// Meters `budget` on the machine's clock.
    pub fn new(budget: Budget) -> Self {
        Self::with_clock(budget, Arc::new(SystemClock))
    }

    /// Meters `budget` on another clock.
    pub fn with_clock(budget: Budget, clock: Arc<dyn Clock>) -> Self {
        Self { budget: Arc::new(Mutex::new(budget)), clock }
    }

    /// See [`Budget::reserve`].
    pub fn reserve(&self, unit: Unit, amount: u64) -> Result<(Reservation, Level), Exhausted> {
        let reserved = self.lock().reserve(self.clock.now(), unit, amount);
        if reserved.is_err() {
            metrics::counter!("livos_budget_refused_total", "unit" => unit.name()).increment(1);
        }
        reserved
    }

    /// See [`Budget::settle`].
    pub fn settle(&self, reservation: Reservation, used: u64) {
        let unit = reservation.unit();
        self.lock().settle(self.clock.now(), reservation, used);
        metrics::counter!("livos_spent_total", "unit" => unit.name()).increment(used);
    }

    /// See [`Budget::release`].
    pub fn release(&self, reservation: Reservation) {
        self.lock().release(self.clock.now(), reservation);
    }

    /// Reserves and settles in one step, for work whose size is known before it begins.
    pub fn spend(&self, unit: Unit, amount: u64) -> Result<Level, Exhausted> {
        let (reservation, level) = self.reserve(unit, amount)?;
        self.settle(reservation, amount);
        Ok(level)
    }

    /// See [`Budget::settled`].
    pub fn settled(&self, unit: Unit) -> u64 {
        self.lock().settled(unit)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Budget> {
        // A panic cannot leave the counters half changed in a way that matters more than losing them all would.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&*self.lock()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Limit,
        time::{ManualClock, Timestamp},
    };

    #[test]
    fn clones_spend_from_one_budget() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
        let budget = Budget::new([(Unit::AudioMs, Limit::stop_at(100))], clock.now());
        let meter = Meter::with_clock(budget, Arc::clone(&clock) as Arc<dyn Clock>);
        let other = meter.clone();
        assert_eq!(meter.spend(Unit::AudioMs, 70), Ok(Level::Ok));
        assert!(other.spend(Unit::AudioMs, 40).is_err());
        clock.advance(std::time::Duration::from_secs(86_400));
        assert_eq!(other.spend(Unit::AudioMs, 40), Ok(Level::Ok));
        assert_eq!(meter.settled(Unit::AudioMs), 40);
    }
}
