//! The watchdog of the service manager, fed while the process is well: one that hangs is killed and
//! started again.

use std::time::Duration;

use super::{Unwell, notify::Notifier};
use crate::drain::DrainSignal;

/// After how long a silent process is killed, from the variables WATCHDOG_USEC and WATCHDOG_PID.
/// None where this process is not watched: a child inherits the variables and not the watch.
pub fn timeout(microseconds: Option<&str>, watched: Option<&str>, own: u32) -> Option<Duration> {
    if watched.is_some_and(|watched| watched.parse() != Ok(own)) {
        return None;
    }
    microseconds?.parse().ok().filter(|time| *time > 0).map(Duration::from_micros)
}

/// Says that the process lives, twice in each timeout, for as long as `well` finds nothing wrong;
/// ends with the drain, and says it once more then. So a drain must take less than the timeout.
///
/// Spawn it on the runtime that does the work: while its workers are blocked it is silent, which is
/// the point. How late it comes is the lag of the runtime, shown as `livos_runtime_lag_seconds`.
pub async fn feed(
    manager: Notifier,
    timeout: Duration,
    well: impl Fn() -> Result<(), Unwell>,
    drain: DrainSignal,
) {
    let every = (timeout / 2).max(Duration::from_millis(1));
    let mut was_well = true;
    loop {
        match well() {
            Ok(()) => {
                manager.alive();
                if !std::mem::replace(&mut was_well, true) {
                    tracing::info!("the watchdog is fed again");
                    manager.status("well again");
                }
            }
            Err(unwell) => {
                if std::mem::replace(&mut was_well, false) {
                    tracing::error!(%unwell, ?timeout, "the watchdog is not fed: without a sign of life the process is restarted");
                    manager.status(&unwell.to_string());
                }
            }
        }
        let due = tokio::time::Instant::now() + every;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {
                metrics::gauge!("livos_runtime_lag_seconds").set(due.elapsed().as_secs_f64());
            }
            () = drain.draining() => return manager.alive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_watched_process_has_a_timeout() {
        let table = [
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some("x"), None),
            (None, Some("7"), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), None, None),
        ];
        for (time, watched, expected) in table {
            let timeout = timeout(time, watched, 7);
            assert_eq!(timeout, expected.map(Duration::from_secs), "{time:?} {watched:?}");
        }
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_twice_in_each_timeout_while_all_is_well_and_not_else() {
        use std::sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        };

        use crate::{
            drain::Drain,
            supervise::notify::tests::{manager, received},
        };

        let (_folder, socket, notifier) = manager();
        let drain = Drain::new();
        let signal = drain.signal();
        let well = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&well);
        let check = move || match asked.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Unwell { task: "worker", silent: Duration::from_secs(60) }),
        };
        let dog = tokio::spawn(feed(notifier, Duration::from_secs(30), check, signal));
        let heard = || std::iter::from_fn(|| received(&socket)).collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(heard(), ["WATCHDOG=1"; 5]);
        well.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(heard(), ["STATUS=the task \"worker\" has given no sign of life for 60 s"]);
        well.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(heard(), ["WATCHDOG=1", "STATUS=well again"]);
        drain.begin();
        dog.await.unwrap();
        assert_eq!(heard(), ["WATCHDOG=1"]);
    }
}
