//! Answers on their way out to people: once, in messages that a provider takes, and as soon as
//! there is something to see.
//!
//! [`deliver`] takes an agent's [`Reply`](livos_core::conversation::Reply) to an [`Outlet`], which
//! is one chat of one provider. [`Draft`] decides what is shown when, [`split`] what stands in
//! which message, and the [`Outbox`] keeps what a crash must not forget.

mod deliver;
mod draft;
mod outbox;
mod outlet;
mod split;

#[cfg(feature = "telegram")]
pub(crate) use self::split::Fence;
pub use self::{
    deliver::{DeliverConfig, DeliverError, deliver},
    draft::{Draft, DraftConfig, DraftInput, DraftOutput},
    outbox::{FAMILIES, Outbox, OutboxError},
    outlet::{Outlet, SendError, SendFailure},
    split::{Limit, Unit, split},
};
