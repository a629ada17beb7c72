//! The driver of the work: leases jobs, hands them to a service, extends their leases while it
//! works, and settles them.

mod attempt;
mod config;
mod driver;
#[cfg(test)]
mod tests;

pub use self::{
    config::{Outcome, WorkerConfig},
    driver::Worker,
};
