//! The handle on a reservation.

use std::{fmt, sync::Arc};

use super::{
    Amounts, Tally, UsageError,
    entry::{Entries, Entry},
    ledger::{Booking, Shared},
};
use crate::{time::Timestamp, user::UserId};

/// A reservation in the store. Settle it with what the work really used, or release it when the
/// work was never begun. One that is dropped is released by the [`Bookkeeper`](super::Bookkeeper);
/// one whose process crashes ends by itself.
///
/// It belongs to no day: until it is settled it counts against whatever day it is, and what it used
/// is booked on the day on which it is settled.
#[must_use = "what is reserved and dropped is released at once"]
pub struct Hold {
    shared: Arc<Shared>,
    entries: Entries,
    user: UserId,
    id: String,
    amounts: Amounts,
    made_at: Timestamp,
    /// It must still be ended.
    open: bool,
}

impl Hold {
    pub(super) fn new(
        shared: Arc<Shared>,
        entries: Entries,
        (user, id): (UserId, String),
        amounts: Amounts,
        made_at: Timestamp,
    ) -> Self {
        Self { shared, entries, user, id, amounts, made_at, open: true }
    }

    /// Whether work of this user that takes so much can begin with it: it is large enough, and has
    /// half of its life before it.
    pub fn suits(&self, user: &UserId, amounts: &Amounts) -> bool {
        let (now, lifetime) = (self.shared.clock.now(), self.shared.hold_lifetime());
        // Before it was made, a clock was set back, and its end with it.
        let is_young = now >= self.made_at && now.since(self.made_at) < lifetime / 2;
        is_young && self.user == *user && self.amounts.covers(amounts)
    }

    /// What was set aside: an estimate of what the work will use.
    pub fn amounts(&self) -> &Amounts {
        &self.amounts
    }

    /// Counts what was used, which may be more or less, and gives back the rest. A future that is
    /// dropped in the middle may have counted or not; where nothing can be awaited, [`Hold::book`].
    ///
    /// After an error the reservation stands until it ends by itself, because what it was for may
    /// be counted or not.
    pub async fn settle(mut self, used: Tally) -> Result<Booking, UsageError> {
        self.open = false;
        self.shared.settle(&self.user, &self.id, used).await
    }

    /// Gives everything back: the work was never begun.
    pub async fn release(mut self) -> Result<(), UsageError> {
        self.open = false;
        self.shared.end(&self.user, &self.id).await
    }

    /// Like [`Hold::settle`], by the [`Bookkeeper`](super::Bookkeeper), without waiting for it.
    pub fn book(mut self, used: Tally) {
        self.leave(used);
    }

    fn leave(&mut self, used: Tally) {
        if std::mem::replace(&mut self.open, false) {
            self.entries.leave(Entry::Over { user: self.user.clone(), id: self.id.clone(), used });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leave(Tally::default());
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("user", &self.user)
            .field("amounts", &self.amounts)
            .finish_non_exhaustive()
    }
}
