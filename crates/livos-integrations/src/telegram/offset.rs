//! Where polling goes on: one after the last update, unless the ids started over.
//!
//! Telegram forgets what is below the offset of a poll, so an offset is asked for only after it was
//! written with its jobs. Ids grow by one, but after a silent week they may begin anywhere, also
//! lower; an offset of before would then pass over what is new. So after six silent days polling
//! begins at the oldest that is left, which confirms nothing, and what the server sends is
//! followed, up or down; the queue's dedupe keys tell what is new.
//! <https://core.telegram.org/bots/api#update>
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use bytes::Bytes;
use livos_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where polling goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offset {
    /// One after the last update; zero before the first.
    next: i64,
    /// When that came.
    at: Timestamp,
}

impl Offset {
    /// Silence after which Telegram may start over with a random id. Six days: one less than
    /// Telegram says, because clocks differ.
    pub const SILENT: Duration = Duration::from_secs(6 * 86_400);

    /// The offset to poll with; zero for the oldest that is left.
    pub fn request(self, now: Timestamp) -> i64 {
        if now.since(self.at) >= Self::SILENT { 0 } else { self.next }
    }

    /// After an update with this id.
    #[must_use]
    pub fn after(self, id: i64, now: Timestamp) -> Self {
        Self { next: id.saturating_add(1), at: now }
    }

    /// As it is stored in the same transaction as the jobs.
    pub fn to_position(self) -> Bytes {
        serde_json::to_vec(&self).unwrap_or_default().into()
    }

    /// As it was written; the beginning where that can't be read, which repeats at most what was
    /// not confirmed.
    pub fn of_position(position: &[u8]) -> Self {
        serde_json::from_slice(position).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(days: u64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).plus(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn polling_begins_at_the_oldest_and_goes_on_after_the_last() {
        let offset = Offset::default();
        assert_eq!(offset.request(day(0)), 0);
        assert_eq!(offset.after(41, day(0)).request(day(5)), 42);
    }

    #[test]
    fn after_silent_days_nothing_is_passed_over() {
        let offset = Offset::default().after(900, day(0));
        assert_eq!((offset.request(day(5)), offset.request(day(6)), offset.request(day(400))), (901, 0, 0));
        let restarted = offset.after(17, day(8));
        assert_eq!(restarted.request(day(8)), 18, "lower ids are followed");
        // A clock that was set back is no silence.
        assert_eq!(restarted.request(day(1)), 18);
    }

    #[test]
    fn what_was_written_is_read_and_nonsense_is_the_beginning() {
        let offset = Offset::default().after(i64::from(i32::MAX), day(0));
        assert_eq!(Offset::of_position(&offset.to_position()), offset);
        assert_eq!(Offset::of_position(b"nonsense"), Offset::default());
    }

    proptest! {
        #[test]
        fn an_offset_is_never_negative_and_confirms_only_what_was_taken(ids in prop::collection::vec(0..i64::MAX, 1..20)) {
            let offset = ids.iter().fold(Offset::default(), |offset, id| offset.after(*id, day(0)));
            let last = ids.last().copied().unwrap_or(0);
            prop_assert!(offset.request(day(0)) > 0 && offset.request(day(0)) <= last.saturating_add(1));
        }
    }
}
