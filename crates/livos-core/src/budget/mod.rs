//! What a UTC day may cost, decided before it is spent.
//!
//! A [`Budget`] is a plain value: reserve before the work, settle with what it really took, release what was never begun. A [`Meter`] is
//! the shared handle that parts of a process hold. A stop is enforced at the reservation, so nothing is spent past it; the
//! platform that LivOS replaces found out from the invoice (P-02, P-14).

mod meter;
mod value;

pub use meter::Meter;
pub use value::{Budget, Exhausted, Level, Limit, Reservation, Unit};
