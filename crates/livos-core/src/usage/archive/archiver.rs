//! Copies finished days from the counters into an archive, before the counters expire.

use std::{sync::Arc, time::Duration};

use super::{ArchiveError, UsageArchive};
use crate::{
    drain::DrainSignal,
    store::Store,
    time::{Clock, SystemClock, Timestamp},
    usage::counters::{Counters, DAY, WEEK},
};

/// Keys that are looked at in one go.
const PAGE: usize = 200;

/// What one round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Archived {
    /// Finished days that were found, each once for every hash that knows it.
    pub days: usize,
}

/// Archives every finished day that the store still knows, again and again.
///
/// A day is written as it stands and not added to anything, so a round that crashed is repeated
/// whole, and several processes may do the same work. Days are read from the hash of the day and
/// from that of the week, which lives for two weeks: a server that was off for a weekend, or whose
/// archive could not be reached, misses no day.
#[derive(Clone)]
pub struct Archiver {
    counters: Counters,
    archive: Arc<dyn UsageArchive>,
    clock: Arc<dyn Clock>,
}

impl Archiver {
    /// An hour: a finished day waits for at least a day, so two dozen rounds may fail.
    pub const EVERY: Duration = Duration::from_secs(3600);

    /// From the counters in `store` into `archive`, on the machine's clock.
    pub fn new(store: Arc<dyn Store>, archive: Arc<dyn UsageArchive>) -> Self {
        Self::with_clock(store, archive, Arc::new(SystemClock))
    }

    /// The same on another clock.
    pub fn with_clock(store: Arc<dyn Store>, archive: Arc<dyn UsageArchive>, clock: Arc<dyn Clock>) -> Self {
        Self { counters: Counters { store }, archive, clock }
    }

    /// One round: everything that was finished at `now`.
    pub async fn round(&self, now: Timestamp) -> Result<Archived, ArchiveError> {
        let mut archived = Archived::default();
        for family in [DAY, WEEK] {
            let mut after: Option<String> = None;
            loop {
                let (days, next) = self.counters.finished(now, &family, after.as_deref(), PAGE).await?;
                if !days.is_empty() {
                    self.archive.keep(&days).await?;
                    archived.days += days.len();
                }
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        metrics::gauge!("livos_usage_archived_at_seconds").set(now.unix_ms() as f64 / 1000.0);
        Ok(archived)
    }

    /// A round now and then every [`Archiver::EVERY`], until the drain begins. A round that fails
    /// is logged, counted in `livos_usage_archive_failures_total` and made up for by the next.
    pub async fn run(self, drain: DrainSignal) {
        loop {
            let round = async {
                match self.round(self.clock.now()).await {
                    Ok(archived) => tracing::debug!(days = archived.days, "finished days are archived"),
                    Err(error) => {
                        tracing::error!(%error, "finished days could not be archived; it is tried again");
                        metrics::counter!("livos_usage_archive_failures_total").increment(1);
                    }
                }
                tokio::time::sleep(Self::EVERY).await;
            };
            tokio::select! {
                () = round => {}
                () = drain.draining() => return,
            }
        }
    }
}

impl std::fmt::Debug for Archiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver").finish_non_exhaustive()
    }
}
