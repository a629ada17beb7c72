//! What a UTC day may cost, decided before it is spent.
//!
//! A [`Budget`] is a plain value: reserve before the work, settle with what it really took, release
//! what was never begun. A [`Meter`] is the shared handle that parts of a process hold. A stop is
//! enforced at the reservation, so nothing is spent past it; the platform that LivOS replaces found
//! out from the invoice (P-02, P-14).
//!
//! A budget in memory is one process's and starts again with it. If several processes share a
//! budget, or it must outlive a restart, the meter draws portions of it from the store: see
//! `usage::Usage::meter`.

#[cfg_attr(not(feature = "usage"), allow(dead_code))]
mod meter;
#[cfg_attr(not(feature = "usage"), allow(dead_code))]
mod purse;
mod value;

#[cfg(feature = "usage")]
pub(crate) use meter::Drawn;
pub use meter::Meter;
#[cfg(feature = "usage")]
pub(crate) use purse::Glance;
use purse::Purse;
pub use value::{Budget, Exhausted, Level, Limit, NotAdmitted, Period, Reservation, Unit};
