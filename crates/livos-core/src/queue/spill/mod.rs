//! A queue in Redis that goes on taking jobs while Redis is away (P-20).
//!
//! What can't be enqueued there goes into a file of this process, which is as durable as what it
//! stands in for. When Redis is back it is moved over in order, at a bounded and jittered rate, so
//! that the return of a server is not its next outage. Each job is moved under a dedupe key, so an
//! enqueue whose answer was lost does not become two jobs.

mod envelope;
mod mover;
mod queue;

pub(crate) use queue::FAMILIES;
pub use queue::{Health, SpillConfig, SpillQueue};
