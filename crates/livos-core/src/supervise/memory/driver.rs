//! Takes the samples, and says what the watch has to say.

use std::io;

use tokio::time::MissedTickBehavior;

use super::{MemoryEvent, MemorySample, MemoryWatch, Overrun};
use crate::{drain::DrainSignal, drive::now, supervise::Load};

/// Samples with `read`, usually [`resident`](super::resident), until the drain, which answers none,
/// or until the soft limit is passed, which answers by how much: drain then, and exit with
/// [`EXIT_CODE`](super::EXIT_CODE). Cancel safe.
///
/// Logs the line, the alarm and the end; shows `livos_memory_resident_bytes` and
/// `livos_memory_soft_limit_bytes`, and counts `livos_memory_growth_alarms_total`. Where memory
/// can't be read it says so once, and goes on trying.
pub async fn watch(
    mut watch: MemoryWatch,
    mut read: impl FnMut() -> io::Result<u64>,
    load: Load,
    drain: DrainSignal,
) -> Option<Overrun> {
    let mut sampling =
        tokio::time::interval(watch.config().sample_every.max(std::time::Duration::from_millis(1)));
    sampling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(limit) = watch.config().soft_limit {
        metrics::gauge!("livos_memory_soft_limit_bytes").set(limit as f64);
    }
    let mut told = false;
    loop {
        tokio::select! {
            _ = sampling.tick() => {}
            () = drain.draining() => return None,
        }
        let resident = match read() {
            Ok(resident) => resident,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the memory of this process can't be read, and is not watched");
                }
                continue;
            }
        };
        metrics::gauge!("livos_memory_resident_bytes").set(resident as f64);
        let sample = MemorySample { resident, live: load.live(), begun: load.begun() };
        for event in watch.sample(now(), sample) {
            match event {
                MemoryEvent::Line(line) => tracing::info!(
                    resident = line.resident,
                    change = line.change,
                    soft_limit = watch.config().soft_limit,
                    live = line.live,
                    begun = line.begun,
                    "memory"
                ),
                MemoryEvent::Growing { bytes } => {
                    metrics::counter!("livos_memory_growth_alarms_total").increment(1);
                    tracing::error!(bytes, resident, "memory grew within an hour without load: a leak");
                }
                MemoryEvent::Over(over) => {
                    tracing::error!(
                        resident = over.resident,
                        soft_limit = over.soft_limit,
                        "memory is past the soft limit: the process ends in order, to be started again"
                    );
                    return Some(over);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use super::*;
    use crate::{drain::Drain, supervise::memory::MemoryConfig};

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_the_limit_is_passed_and_over_what_can_not_be_read() {
        let drain = Drain::new();
        let signal = drain.signal();
        let bytes = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&bytes);
        let watching = watch(
            MemoryWatch::new(MemoryConfig::below(1000)),
            move || match read.load(Ordering::SeqCst) {
                0 => Err(io::Error::other("not yet")),
                bytes => Ok(bytes),
            },
            Load::new(),
            signal,
        );
        let watching = tokio::spawn(watching);
        for below in [0, 100, 800] {
            bytes.store(below, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(!watching.is_finished(), "{below}");
        }
        bytes.store(801, Ordering::SeqCst);
        assert_eq!(watching.await.unwrap(), Some(Overrun { resident: 801, soft_limit: 800 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_it() {
        let drain = Drain::new();
        let signal = drain.signal();
        let watching =
            tokio::spawn(watch(MemoryWatch::new(MemoryConfig::default()), || Ok(1), Load::new(), signal));
        tokio::time::sleep(Duration::from_secs(60)).await;
        drain.begin();
        assert_eq!(watching.await.unwrap(), None);
    }
}
