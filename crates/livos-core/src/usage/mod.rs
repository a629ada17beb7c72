//! What each user used, what it cost, and what it may cost: counted and limited in a store that
//! several processes share (P-14, P-22, P-23).
//!
//! The platform that LivOS replaces learned what it had spent from the invoice, forgot its counters
//! at every restart, and counted some things twice. Here work is reserved before it begins, settled
//! with what the provider reports, and what is left is given back. A stop is enforced before the
//! money is spent.
//!
//! **When limits reset.** The day at midnight UTC, the week on Monday at midnight UTC, for
//! everybody and whatever their time zone; the five-hour window gives back what was spent ten
//! minutes at a time. `Zone` (feature `time-zones`) shows these instants on a person's own clock.
//! What is used is booked on the day on which it is settled.
//!
//! **What is an estimate.** What work under way has set aside ([`Report::held`]), and what was
//! booked of answers that were cut off before their provider reported anything
//! ([`Tally::estimated`]). Everything else is as the provider reported it.
//!
//! **Clocks.** A key of the store names its day, so a clock that is stepped back comes back to the
//! counters of that day and not to a new budget.
//!
//! **What lasts.** Counters of a day live for two days and those of a week for two weeks after they
//! were last written. Finished days are copied into a [`UsageArchive`] by [`Archiver`], every hour
//! and at every start; days that nobody archived for two weeks are lost to it.
//!
//! ```
//! use std::sync::Arc;
//! use livos_core::{
//!     budget::{Limit, Period, Unit},
//!     embedded::{Embedded, EmbeddedConfig},
//!     store::EmbeddedStore,
//!     usage::{Amounts, Limits, Metric, Tally, Usage, UsageConfig},
//!     user::UserId,
//! };
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap());
//! let mut config = UsageConfig::default();
//! config.limits = Limits::default().with(Period::Day, Unit::Tokens, Limit::stop_at(10_000));
//! let (usage, bookkeeper) = Usage::new(Arc::new(store), config);
//! tokio::spawn(bookkeeper.run());
//!
//! let owner = UserId::owner();
//! let (hold, _) = usage.reserve(&owner, Amounts::of(Metric::OutputTokens, 8_000)).await.unwrap();
//! assert!(usage.reserve(&owner, Amounts::of(Metric::OutputTokens, 8_000)).await.is_err());
//! hold.settle(Tally::reported(Amounts::of(Metric::OutputTokens, 1_000))).await.unwrap();
//! assert!(usage.reserve(&owner, Amounts::of(Metric::OutputTokens, 8_000)).await.is_ok());
//! # });
//! ```

pub mod archive;
mod bookkeeper;
mod counters;
mod draw;
mod entry;
mod error;
mod handle;
mod hold;
mod holds;
mod ledger;
mod limits;
mod metric;
mod price;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(feature = "time-zones")]
mod zone;

pub use archive::{Archiver, UsageArchive};
pub use bookkeeper::Bookkeeper;
pub use counters::{SLOT, WINDOW_LENGTH};
pub use draw::{DrawConfig, Keeper};
pub use error::UsageError;
pub use handle::Usage;
pub use hold::Hold;
pub use ledger::{Booking, LimitState, PeriodUsage, Report, UsageConfig};
pub use limits::Limits;
pub use metric::{Amounts, Metric};
pub use price::{ModelPrice, Prices, VoicePrice};
pub use tally::{DayUsage, Tally};
#[cfg(feature = "time-zones")]
pub use zone::{UnknownZone, Zone};

use crate::store::Family;

/// The keys that usage writes.
pub const FAMILIES: [Family; 5] =
    [counters::DAY, counters::WEEK, counters::WINDOW, ledger::HOLDS, archive::ARCHIVE];
