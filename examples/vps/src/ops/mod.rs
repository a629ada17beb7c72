//! The process and its operator: the log, traces, the service manager, and the watch over memory.

mod config;
mod logs;
mod memory;
mod process;
#[cfg(feature = "otel")]
mod telemetry;

pub use self::{
    config::{LogFormat, OpsConfig},
    logs::Logs,
    memory::watch_config,
    process::{Ending, PATIENCE, ending, manager, report},
};
