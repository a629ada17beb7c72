//! What is alive at this moment, and how much was begun.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Counts work: voice sessions, answers, jobs. Cloning shares it.
///
/// An idle TCP connection is no work: a scraper's, which is always open, would hide every leak from
/// `supervise::memory`. Shows `livos_live{kind}`.
#[derive(Clone, Default)]
pub struct Load(Arc<Counts>);

#[derive(Default)]
struct Counts {
    live: AtomicU64,
    begun: AtomicU64,
}

impl Load {
    /// No work yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Work of this kind begins, and lasts for as long as what is answered lives.
    pub fn begin(&self, kind: &'static str) -> Alive {
        // Begun first: a reader in between sees work that has begun, and none that never existed.
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.live.fetch_add(1, Ordering::SeqCst);
        metrics::gauge!("livos_live", "kind" => kind).increment(1.0);
        Alive { counts: Arc::clone(&self.0), kind }
    }

    /// How much is alive.
    pub fn live(&self) -> u64 {
        self.0.live.load(Ordering::SeqCst)
    }

    /// How much was ever begun. Where it has not changed between two looks, and nothing lived at
    /// either, nothing lived in between.
    pub fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("live", &self.live()).field("begun", &self.begun()).finish()
    }
}

/// A piece of work under way; it is over when this is dropped.
#[must_use = "the work is over when this is dropped"]
pub struct Alive {
    counts: Arc<Counts>,
    kind: &'static str,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
        metrics::gauge!("livos_live", "kind" => self.kind).decrement(1.0);
    }
}

impl fmt::Debug for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alive").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_alive_until_it_is_dropped_and_begun_for_ever() {
        let load = Load::new();
        let (one, two) = (load.begin("voice"), load.clone().begin("job"));
        assert_eq!((load.live(), load.begun()), (2, 2));
        drop(one);
        assert_eq!((load.live(), load.begun()), (1, 2));
        drop(two);
        assert_eq!((load.live(), load.begun()), (0, 2));
    }
}
