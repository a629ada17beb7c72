//! Claim, keep and release around a piece of work.

use std::{convert::Infallible, fmt, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Guard};
use crate::{
    drain::DrainSignal,
    store::StoreError,
    time::{Clock, Timestamp},
};

/// The longest wait between two claims. 5 s: a holder that gives up is followed soon.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Why a process still waits for a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Another holder has it.
    Taken {
        /// The name of that holder.
        holder: String,
        /// When its time is over, unless it keeps the guard.
        until: Timestamp,
    },
    /// The store failed, or the lowest fence could not be read. It is tried again.
    Failed {
        /// The error, for a log or a status.
        reason: String,
    },
}

/// The time during which a guard is held. Clones are of the same time.
#[derive(Debug, Clone)]
pub struct Tenure {
    fence: u64,
    lost: CancellationToken,
}

impl Tenure {
    /// Higher than that of every earlier holder. What the work writes carries it, so that writes
    /// after a take-over are refused.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Ends when the guard is lost. The work should then stop without writing anything more.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Guard {
    /// Waits for the guard, works while it is held, and releases it. `None` if the drain began
    /// before the guard was claimed.
    ///
    /// `above` reads the fence that the next one must exceed, before each claim; `told` hears why
    /// it still waits, at each try. The work is never cut off: it watches [`Tenure::lost`] and the
    /// drain, and ends by itself.
    ///
    /// An error of the store says nothing about who holds the guard, so it means the same
    /// everywhere. While the guard is claimed, it is tried again. While it is held, it counts as
    /// held until its lifetime has passed since the last answer, and is lost then. When it is
    /// released, it is left to expire.
    ///
    /// Dropping the future while it waits changes nothing; dropping it later leaves the guard to
    /// expire.
    pub async fn hold<A, E, W>(
        &self,
        clock: &impl Clock,
        drain: &DrainSignal,
        above: impl Fn() -> A,
        told: impl FnMut(Waiting),
        work: impl FnOnce(Tenure) -> W,
    ) -> Option<W::Output>
    where
        A: Future<Output = Result<u64, E>>,
        E: fmt::Display,
        W: Future,
    {
        let (fence, claimed) = tokio::select! {
            biased;
            () = drain.draining() => return None,
            claimed = self.wait(clock, above, told) => claimed,
        };
        let lost = CancellationToken::new();
        let working = work(Tenure { fence, lost: lost.clone() });
        let output = tokio::select! {
            output = working => output,
            never = self.keep_on(clock, fence, claimed, &lost) => match never {},
        };
        if !lost.is_cancelled()
            && let Err(error) = self.release(clock.now(), fence).await
        {
            tracing::warn!(%error, guard = %self.key(), "a guard could not be released, and will expire");
        }
        Some(output)
    }

    /// The fence, and when it was asked for.
    async fn wait<A, E>(
        &self,
        clock: &impl Clock,
        above: impl Fn() -> A,
        mut told: impl FnMut(Waiting),
    ) -> (u64, Instant)
    where
        A: Future<Output = Result<u64, E>>,
        E: fmt::Display,
    {
        loop {
            let asked = Instant::now();
            let claim = match above().await {
                Ok(above) => self.claim(clock.now(), above).await.map_err(|error| describe(&error)),
                Err(error) => Err(error.to_string()),
            };
            told(match claim {
                Ok(Claim::Held { fence }) => return (fence, asked),
                Ok(Claim::Taken { holder, until }) => Waiting::Taken { holder, until },
                Err(reason) => Waiting::Failed { reason },
            });
            sleep(ASK_AGAIN.min(self.lifetime() / 3)).await;
        }
    }

    /// Keeps the guard, and tells once when it is lost.
    async fn keep_on(
        &self,
        clock: &impl Clock,
        fence: u64,
        claimed: Instant,
        lost: &CancellationToken,
    ) -> Infallible {
        let mut held_until = claimed + self.lifetime();
        loop {
            sleep(self.lifetime() / 3).await;
            let asked = Instant::now();
            match self.keep(clock.now(), fence).await {
                Ok(Claim::Held { .. }) => held_until = asked + self.lifetime(),
                Err(error) if Instant::now() < held_until => {
                    tracing::warn!(%error, guard = %self.key(), "a guard could not be kept yet");
                }
                Ok(Claim::Taken { .. }) | Err(_) => break,
            }
        }
        lost.cancel();
        std::future::pending().await
    }
}

/// An error of the store with its cause, which says what to do.
fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
    };

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::{
        drain::Drain,
        embedded::StorageError,
        store::{Entry, Found, Key, Put, Store},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    /// The paused clock of the runtime.
    struct Virtual(Instant);

    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_ms(1_800_000_000_000).plus(self.0.elapsed())
        }
    }

    /// One key, which answers at once: an embedded store answers from a thread that the paused
    /// clock does not wait for.
    #[derive(Default)]
    struct OneKey {
        entry: Mutex<Option<Entry>>,
        away: AtomicBool,
    }

    impl OneKey {
        fn there(&self) -> Result<(), StoreError> {
            if self.away.load(Ordering::SeqCst) {
                Err(StorageError::Io("away".into()).into())
            } else {
                Ok(())
            }
        }
    }

    #[async_trait]
    impl Store for OneKey {
        async fn get(&self, _: Timestamp, _: &Key) -> Result<Option<Entry>, StoreError> {
            self.there()?;
            Ok(self.entry.lock().unwrap().clone())
        }

        async fn put_if(
            &self,
            _: Timestamp,
            _: &Key,
            value: Bytes,
            version: Option<u64>,
        ) -> Result<Put, StoreError> {
            self.there()?;
            let mut entry = self.entry.lock().unwrap();
            let found = entry.as_ref().map(|entry| entry.version);
            if found != version {
                return Ok(Put::Conflict(found));
            }
            let version = found.unwrap_or(0) + 1;
            *entry = Some(Entry { value, version });
            Ok(Put::Written(version))
        }

        async fn put(&self, _: Timestamp, _: &Key, _: Bytes) -> Result<u64, StoreError> {
            unreachable!("a guard compares")
        }

        async fn remove(&self, _: Timestamp, _: &Key) -> Result<bool, StoreError> {
            unreachable!("a guard stays")
        }

        async fn add(&self, _: Timestamp, _: &Key, _: &str, _: i64) -> Result<i64, StoreError> {
            unreachable!("a guard does not count")
        }

        async fn counters(&self, _: Timestamp, _: &Key) -> Result<Vec<(String, i64)>, StoreError> {
            unreachable!("a guard does not count")
        }

        async fn scan(
            &self,
            _: Timestamp,
            _: &str,
            _: Option<&str>,
            _: usize,
        ) -> Result<Vec<Found>, StoreError> {
            unreachable!("a guard knows its key")
        }

        async fn collect(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
            unreachable!("a guard frees nothing")
        }
    }

    struct Pair {
        store: Arc<OneKey>,
        clock: Virtual,
        drain: Drain,
        one: Guard,
        other: Guard,
    }

    impl Pair {
        fn new() -> Self {
            let store = Arc::new(OneKey::default());
            let guard =
                |holder| Guard::new(Arc::<OneKey>::clone(&store), "telegram/1", holder, MINUTE).unwrap();
            let (one, other) = (guard("one"), guard("other"));
            Self { store, clock: Virtual(Instant::now()), drain: Drain::new(), one, other }
        }
    }

    async fn zero() -> Result<u64, StoreError> {
        Ok(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_is_kept_while_the_work_lasts_and_free_right_after() {
        let pair = Pair::new();
        let work = async |tenure: Tenure| {
            tokio::select! {
                () = tenure.lost() => panic!("nobody took it"),
                () = sleep(10 * MINUTE) => {}
            }
            assert!(matches!(pair.other.claim(pair.clock.now(), 0).await.unwrap(), Claim::Taken { .. }));
            tenure.fence()
        };
        let nothing = |waiting| panic!("{waiting:?}");
        let above = async || Ok::<_, StoreError>(6);
        assert_eq!(pair.one.hold(&pair.clock, &pair.drain.signal(), above, nothing, work).await, Some(7));
        assert_eq!(pair.other.claim(pair.clock.now(), 0).await.unwrap(), Claim::Held { fence: 8 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_process_waits_tells_why_and_follows_the_first() {
        let pair = Pair::new();
        pair.one.claim(pair.clock.now(), 0).await.unwrap();
        let (told, failing) = (RefCell::new(Vec::new()), RefCell::new(true));
        let above = async || if failing.replace(false) { Err("the cursor can't be read") } else { Ok(0) };
        let drain = pair.drain.signal();
        let fence = pair.other.hold(
            &pair.clock,
            &drain,
            above,
            |waiting| told.borrow_mut().push(waiting),
            async |tenure: Tenure| tenure.fence(),
        );
        assert_eq!(fence.await, Some(2));
        let told = told.into_inner();
        assert_eq!(told[0], Waiting::Failed { reason: "the cursor can't be read".into() });
        assert!(matches!(&told[1], Waiting::Taken { holder, .. } if holder == "one"), "{told:?}");
        assert!(pair.clock.0.elapsed() >= MINUTE, "not before the first one's time was over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_the_waiting_but_not_the_work() {
        let pair = Pair::new();
        let drain = pair.drain.signal();
        let work = async |_| {
            let work = async |_| unreachable!("one has the guard");
            let waiting = |_| {
                pair.drain.begin();
            };
            assert_eq!(pair.other.hold(&pair.clock, &drain, zero, waiting, work).await, None::<()>);
            sleep(MINUTE).await;
            "worked to its end"
        };
        let output = pair.one.hold(&pair.clock, &drain, zero, |waiting| panic!("{waiting:?}"), work).await;
        assert_eq!(output, Some("worked to its end"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_is_taken_over_from_is_told_and_releases_nothing() {
        let pair = Pair::new();
        let work = async |tenure: Tenure| {
            let later = pair.clock.now().plus(MINUTE);
            assert_eq!(pair.other.claim(later, 0).await.unwrap(), Claim::Held { fence: 2 });
            tenure.lost().await;
        };
        let drain = pair.drain.signal();
        pair.one.hold(&pair.clock, &drain, zero, |waiting| panic!("{waiting:?}"), work).await.unwrap();
        assert!(matches!(pair.one.claim(pair.clock.now(), 0).await.unwrap(), Claim::Taken { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_ends_a_tenure_only_when_its_lifetime_is_over() {
        let pair = Pair::new();
        let work = async |tenure: Tenure| {
            pair.store.away.store(true, Ordering::SeqCst);
            tokio::select! {
                () = tenure.lost() => panic!("an error says nothing about who holds it"),
                () = sleep(MINUTE / 2) => {}
            }
            tenure.lost().await;
        };
        let drain = pair.drain.signal();
        pair.one.hold(&pair.clock, &drain, zero, |waiting| panic!("{waiting:?}"), work).await.unwrap();
        let held = pair.clock.0.elapsed();
        assert_eq!(held, MINUTE);
    }
}
