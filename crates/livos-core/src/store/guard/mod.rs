//! One holder at a time, over all processes that share a store.
//!
//! Two pollers of one bot, or two gateways of one token, throw each other out forever. A guard is a
//! lease on the right to be the only one: it is claimed, kept by claiming it again, and taken over
//! once its time is over. Its fence grows with every holder, so that one that slept through the end
//! of its time can be refused by what it then writes to, such as
//! [`Intake::advance`](crate::queue::Intake::advance).

mod claim;
mod hold;

pub(crate) use claim::GUARDS;
pub use claim::{Claim, Guard};
pub use hold::{Tenure, Waiting};
