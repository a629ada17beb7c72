//! What outlives the process: the store and the queue, in one embedded file, or in a Redis that
//! several processes share.
//!
//! A feature that keeps something or does something later uses the two traits in [`Durable`], and
//! declares its job kinds and key families. With a Redis, the file holds the jobs that could not be
//! enqueued while it was away.

mod config;
mod families;
mod janitor;
mod jobs;
mod open;
mod secrets;
mod work;

pub use self::{
    config::DurableConfig,
    families::Families,
    janitor::Janitor,
    jobs::{Jobs, Kinds},
    open::Durable,
    work::{WorkConfig, start},
};
