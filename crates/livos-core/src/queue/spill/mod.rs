//! A queue in Redis that still takes jobs while Redis is away (P-20).
//!
//! A job that Redis can't take goes into a file of this process, which is as durable as an embedded
//! queue. When Redis is back, the jobs are moved there in order, at a bounded and jittered rate, so
//! that the return of the server is not its next outage. Each job is moved under a dedupe key, so
//! that an enqueue whose answer was lost does not become two jobs.

mod envelope;
mod mover;
mod queue;

pub(crate) use queue::FAMILIES;
pub use queue::{Health, SpillConfig, SpillQueue};
