//! The server and whoever runs it: the service manager, the watch over memory, and why the program
//! ends.

use std::{process::ExitCode, time::Duration};

use livos_core::{
    drain::{DrainSignal, Termination},
    supervise::{
        Load, Supervisor,
        memory::{self, MemoryConfig, MemoryWatch},
        notify::Notifier,
        watchdog,
    },
};
use tower::BoxError;

use crate::config::{self, SoftLimit};

/// How long a task that the server can't do without may give no sign of life. 20 s: with the 30 s
/// of the unit's watchdog, a server that hangs is killed within a minute; nothing that works takes
/// that long to return.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often the service manager is told what goes on.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// Why the program ends.
pub struct Ending {
    /// In a word, for the log.
    pub reason: &'static str,
    /// What the service manager is told by it.
    pub code: ExitCode,
}

/// The service manager, as the environment names it.
pub fn manager() -> Result<Notifier, BoxError> {
    Ok(Notifier::new(std::env::var_os("NOTIFY_SOCKET").as_deref())?)
}

/// Feeds the watchdog where there is one, and says now and then what goes on.
pub fn report(manager: &Notifier, supervisor: &Supervisor, load: &Load, drain: &DrainSignal) {
    let variable = |name| std::env::var(name).ok();
    let (time, watched) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
    if let Some(timeout) = watchdog::timeout(time.as_deref(), watched.as_deref(), std::process::id()) {
        let well = supervisor.clone();
        let feeding = watchdog::feed(manager.clone(), timeout, move || well.check(), drain.clone());
        supervisor.spawn("watchdog", feeding);
    }
    if manager.is_heard() {
        let (manager, load, drain) = (manager.clone(), load.clone(), drain.clone());
        supervisor.spawn("status", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(STATUS_EVERY) => manager.status(&format!("serving, {} at work", load.live())),
                    () = drain.draining() => return,
                }
            }
        });
    }
}

/// Waits for a signal, or for too much memory.
pub async fn ending(
    config: &config::Memory,
    load: Load,
    drain: DrainSignal,
    signals: &mut Termination,
) -> std::io::Result<Ending> {
    let watch = memory::watch(MemoryWatch::new(memory_config(config)), memory::resident, load, drain);
    tokio::select! {
        signal = signals.next() => Ok(Ending { reason: signal?, code: ExitCode::SUCCESS }),
        Some(_) = watch => Ok(Ending { reason: "memory", code: ExitCode::from(memory::EXIT_CODE) }),
    }
}

fn memory_config(config: &config::Memory) -> MemoryConfig {
    let mut watch = MemoryConfig::default();
    watch.soft_limit = match config.soft_limit {
        SoftLimit::Off => None,
        SoftLimit::Bytes(bytes) => Some(bytes),
        SoftLimit::Share(percent) => match memory::limit() {
            Ok(limit) => {
                let soft_limit = limit.bytes / 100 * percent;
                tracing::info!(soft_limit, of = limit.bytes, by = %limit.source, "memory is limited");
                Some(soft_limit)
            }
            Err(error) => {
                tracing::warn!(%error, "nobody says how much memory there is, so none is too much");
                None
            }
        },
    };
    watch.sample_every = config.sample_every.unwrap_or(watch.sample_every);
    watch.over_for = config.over_for.unwrap_or(watch.over_for);
    watch.line_every = config.line_every.unwrap_or(watch.line_every);
    watch
}
