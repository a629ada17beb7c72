//! What keeps a server up for months, and tells its service manager the truth (P-07).
//!
//! - [`Supervisor`]: every spawned task has an owner and a name; a panic ends one task and not the
//!   process. A [`Pulse`] shows that a task is not stuck.
//! - [`Load`]: what is alive at this moment, for gauges and for telling a leak from work.
//! - [`memory`]: a process that grows without end is drained and started again before the kernel
//!   kills it in the middle of a sentence.
//! - [`notify`], [`watchdog`]: systemd learns when the server is ready and when it stops, and
//!   restarts it when it hangs; the watchdog is fed only while the runtime and the supervised tasks
//!   are well.

pub mod memory;
pub mod notify;
mod pulse;
mod supervisor;
pub mod watchdog;

pub use self::{
    pulse::{Pulse, Unwell},
    supervisor::{Supervisor, install_panic_hook},
};
pub use crate::load::{Alive, Load};
