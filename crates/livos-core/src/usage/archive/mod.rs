//! Where finished days stay.

mod archiver;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod error;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_error;
mod store;

use async_trait::async_trait;

pub(crate) use self::store::ARCHIVE;
pub use self::{
    archiver::{Archived, Archiver},
    error::ArchiveError,
    store::StoreArchive,
};
#[cfg(feature = "postgres")]
pub use self::{postgres::PostgresArchive, postgres_error::PostgresError};
use super::DayUsage;
use crate::{time::UtcDay, user::UserId};

/// The most days that are asked for at one time. Ten years.
pub const MOST_DAYS: i64 = 3660;

/// Keeps days for good.
///
/// ```
/// use std::{collections::BTreeMap, sync::Mutex};
///
/// use async_trait::async_trait;
/// use livos_core::time::UtcDay;
/// use livos_core::usage::archive::{ArchiveError, UsageArchive};
/// use livos_core::usage::{DayUsage, Tally};
/// use livos_core::user::UserId;
///
/// /// Keeps days in memory.
/// #[derive(Default)]
/// struct Memory(Mutex<BTreeMap<(UserId, UtcDay), Tally>>);
///
/// #[async_trait]
/// impl UsageArchive for Memory {
///     async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError> {
///         let mut kept = self.0.lock().unwrap();
///         for DayUsage { user, day, tally } in days {
///             kept.entry((user.clone(), *day))
///                 .and_modify(|kept| *kept = kept.max(tally))
///                 .or_insert(*tally);
///         }
///         Ok(())
///     }
///
///     async fn days(
///         &self,
///         user: &UserId,
///         first: UtcDay,
///         last: UtcDay,
///     ) -> Result<Vec<DayUsage>, ArchiveError> {
///         let kept = self.0.lock().unwrap();
///         let days = kept.range((user.clone(), first)..=(user.clone(), last));
///         let day = |((user, day), tally): (&(UserId, UtcDay), &Tally)| DayUsage {
///             user: user.clone(),
///             day: *day,
///             tally: *tally,
///         };
///         Ok(days.map(day).collect())
///     }
/// }
/// ```
#[async_trait]
pub trait UsageArchive: Send + Sync {
    /// Keeps these days. A day that is there already gets the larger of each figure, so that the
    /// same day may be kept any number of times, and from counters of which a part is gone.
    async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError>;

    /// The days of a user from `first` to `last`, in order; days without usage are left out. Of a
    /// longer time than [`MOST_DAYS`], the latest so many.
    async fn days(&self, user: &UserId, first: UtcDay, last: UtcDay) -> Result<Vec<DayUsage>, ArchiveError>;
}

/// The first day of at most [`MOST_DAYS`].
fn bounded(first: UtcDay, last: UtcDay) -> UtcDay {
    first.max(last.plus_days(1 - MOST_DAYS))
}
