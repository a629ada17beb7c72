//! The handle on a budget that the parts of a process share.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, mpsc};

use super::{Budget, Level, NotAdmitted, Purse, Reservation, Unit};
use crate::time::{Clock, SystemClock};

/// A shared budget: a [`Budget`] on a clock, or portions drawn from the store. Cloning shares it.
/// Every call is short and never waits.
///
/// Counts `livos_spent_total{unit}` and `livos_budget_refused_total{unit}`.
#[derive(Clone)]
pub struct Meter {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Day { budget: Arc<Mutex<Budget>>, clock: Arc<dyn Clock> },
    Drawn { shared: Arc<Drawn>, _held: mpsc::Sender<()> },
}

/// What a drawn meter and its keeper share.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    purse: Mutex<Purse>,
    /// Rung when something was spent, and when there was not enough.
    pub(crate) spent: Notify,
    /// Rung when the keeper has brought more, or the ledger's refusal.
    pub(crate) topped_up: Arc<Notify>,
}

impl Drawn {
    /// Looks at the purse, for a moment.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Purse) -> T) -> T {
        // A panic cannot leave the counters half changed in a way that matters more than losing
        // them all would.
        look(&mut self.purse.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Meter {
    /// Meters `budget` on the machine's clock.
    pub fn new(budget: Budget) -> Self {
        Self::with_clock(budget, Arc::new(SystemClock))
    }

    /// Meters `budget` on another clock.
    pub fn with_clock(budget: Budget, clock: Arc<dyn Clock>) -> Self {
        Self { source: Source::Day { budget: Arc::new(Mutex::new(budget)), clock } }
    }

    /// Spends what a keeper puts into the purse. The receiver ends once every clone of the meter is
    /// gone.
    pub(crate) fn drawn(shared: Arc<Drawn>) -> (Self, mpsc::Receiver<()>) {
        let (held, gone) = mpsc::channel(1);
        (Self { source: Source::Drawn { shared, _held: held } }, gone)
    }

    /// See [`Budget::reserve`]. A drawn meter may also answer [`NotAdmitted::NotYet`].
    pub fn reserve(&self, unit: Unit, amount: u64) -> Result<(Reservation, Level), NotAdmitted> {
        let reserved = match &self.source {
            Source::Day { budget, clock } => Ok(lock(budget).reserve(clock.now(), unit, amount)?),
            Source::Drawn { shared, .. } => shared.with(|purse| purse.reserve(unit, amount)),
        };
        if let Err(NotAdmitted::Exhausted(_)) = reserved {
            metrics::counter!("livos_budget_refused_total", "unit" => unit.name()).increment(1);
        }
        self.tell();
        reserved
    }

    /// See [`Budget::settle`].
    pub fn settle(&self, reservation: Reservation, used: u64) {
        let unit = reservation.unit();
        match &self.source {
            Source::Day { budget, clock } => lock(budget).settle(clock.now(), reservation, used),
            Source::Drawn { shared, .. } => {
                shared.with(|purse| purse.settle(unit, reservation.amount(), used));
            }
        }
        self.tell();
        metrics::counter!("livos_spent_total", "unit" => unit.name()).increment(used);
    }

    /// See [`Budget::release`].
    pub fn release(&self, reservation: Reservation) {
        self.settle(reservation, 0);
    }

    /// Reserves and settles in one step, for work whose size is known before it begins.
    pub fn spend(&self, unit: Unit, amount: u64) -> Result<Level, NotAdmitted> {
        let (reservation, level) = self.reserve(unit, amount)?;
        self.settle(reservation, amount);
        Ok(level)
    }

    /// Resolves when a drawn meter has been topped up, or refused more, since the future was made;
    /// at once for a meter that never answers [`NotAdmitted::NotYet`]. Make it before you ask, so
    /// that no top-up is missed, and bound the wait: while the store is away nothing is topped up.
    /// Dropping it has no effect.
    pub fn topped_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let topped_up = match &self.source {
            Source::Day { .. } => None,
            Source::Drawn { shared, .. } => Some(Arc::clone(&shared.topped_up).notified_owned()),
        };
        async move {
            if let Some(topped_up) = topped_up {
                topped_up.await;
            }
        }
    }

    /// See [`Budget::settled`]. A drawn meter answers zero: what was settled is asked of the store.
    pub fn settled(&self, unit: Unit) -> u64 {
        match &self.source {
            Source::Day { budget, .. } => lock(budget).settled(unit),
            Source::Drawn { .. } => 0,
        }
    }

    fn tell(&self) {
        if let Source::Drawn { shared, .. } = &self.source {
            shared.spent.notify_one();
        }
    }
}

fn lock(budget: &Mutex<Budget>) -> std::sync::MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Day { budget, .. } => f.debug_tuple("Meter").field(&*lock(budget)).finish(),
            Source::Drawn { shared, .. } => f.debug_tuple("Meter").field(shared).finish(),
        }
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
