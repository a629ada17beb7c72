//! The process: what the service manager is told, and why the program ends.

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
    config: MemoryConfig,
    load: Load,
    drain: DrainSignal,
    signals: &mut Termination,
) -> std::io::Result<Ending> {
    let watch = memory::watch(MemoryWatch::new(config), memory::resident, load, drain);
    tokio::select! {
        signal = signals.next() => Ok(Ending { reason: signal?, code: ExitCode::SUCCESS }),
        Some(_) = watch => Ok(Ending { reason: "memory", code: ExitCode::from(memory::EXIT_CODE) }),
    }
}
