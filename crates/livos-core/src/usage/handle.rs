//! The handle on everybody's usage: reserves, settles, records and reports.

use std::{fmt, sync::Arc};

use super::{
    Amounts, Bookkeeper, Hold, Tally, UsageError,
    entry::{Entries, Entry},
    ledger::{Booking, Report, Shared, UsageConfig},
    limits,
};
use crate::{
    budget::Level,
    store::Store,
    time::{Clock, SystemClock, Timestamp},
    user::UserId,
};

/// Everybody's usage. Cloning shares it; processes share it through their store.
///
/// The counters in the store are the truth. A reservation is a *hold* next to them, with an end.
/// Reserving reads the holds, then the counters, and writes only if the holds did not change
/// meanwhile; settling adds to the counters, then ends the hold. So what is in flight is seen once
/// or twice, and never not at all: a stop holds, however many processes share the store.
///
/// Counts `livos_usage_refused_total{unit,period}` and `livos_usage_warnings_total{unit,period}`.
#[derive(Clone)]
pub struct Usage {
    shared: Arc<Shared>,
    entries: Entries,
}

impl Usage {
    /// Usage in this store on the machine's clock, and the [`Bookkeeper`] that must be run with
    /// it.
    pub fn new(store: Arc<dyn Store>, config: UsageConfig) -> (Self, Bookkeeper) {
        Self::with_clock(store, config, Arc::new(SystemClock))
    }

    /// The same on another clock.
    pub fn with_clock(
        store: Arc<dyn Store>,
        config: UsageConfig,
        clock: Arc<dyn Clock>,
    ) -> (Self, Bookkeeper) {
        let (entries, booked) = Entries::new();
        let shared = Arc::new(Shared::new(store, config, clock));
        let bookkeeper = Bookkeeper::new(Arc::clone(&shared), booked);
        (Self { shared, entries }, bookkeeper)
    }

    /// Sets `amounts` aside for work of this user, or refuses when a limit would be passed.
    /// Estimate high: what is not used is given back.
    pub async fn reserve(&self, user: &UserId, amounts: Amounts) -> Result<(Hold, Level), UsageError> {
        self.set_aside(user, amounts, 1).await
    }

    /// Has the [`Bookkeeper`] do the same for work that is expected and not asked for yet, so that
    /// it need not wait once it is; `give` gets the hold. It is not made unless there is four times
    /// as much left of every limit, because it must not be in the way of work that has been asked
    /// for.
    pub fn reserve_ahead(&self, user: UserId, amounts: Amounts, give: impl FnOnce(Hold) + Send + 'static) {
        let usage = self.clone();
        self.entries.leave(Entry::Ahead(Box::pin(async move {
            match usage.set_aside(&user, amounts, limits::SHARE).await {
                Ok((hold, _)) => give(hold),
                Err(error) => tracing::debug!(%error, %user, "nothing is reserved ahead"),
            }
        })));
    }

    async fn set_aside(
        &self,
        user: &UserId,
        amounts: Amounts,
        room: u64,
    ) -> Result<(Hold, Level), UsageError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let made_at = self.now();
        let level = self.shared.set_aside(user, &id, amounts, room).await?;
        Ok((
            Hold::new(Arc::clone(&self.shared), self.entries.clone(), (user.clone(), id), amounts, made_at),
            level,
        ))
    }

    /// Counts what was used without having been reserved: what nothing limits, or what has already
    /// happened.
    pub async fn record(&self, user: &UserId, used: Tally) -> Result<Booking, UsageError> {
        self.shared.book(user, used).await
    }

    /// Puts the provider's figures in place of an estimate. True when it was done; false when the
    /// booking's day is over and its figures stand, marked as an estimate: a finished day does not
    /// change.
    pub async fn correct(&self, booking: Booking, reported: Amounts) -> Result<bool, UsageError> {
        self.shared.correct(booking, reported).await
    }

    /// What this user used and may still use.
    pub async fn report(&self, user: &UserId) -> Result<Report, UsageError> {
        self.shared.report(user).await
    }

    /// The present of its clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Leaves an entry to the bookkeeper.
    pub(super) fn leave(&self, entry: Entry) {
        self.entries.leave(entry);
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").field("config", self.shared.config()).finish_non_exhaustive()
    }
}
