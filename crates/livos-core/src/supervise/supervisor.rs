//! Every spawned task has an owner and a name; a panic ends one task and not the process.
//!
//! The platform that LivOS replaces restarted three times an hour, because any error anywhere took
//! everything down. Here a panic is caught, counted and logged with its backtrace; a task that must
//! live is restarted alone, with backoff; and at the end every task is joined, or cut and reported
//! by name.

use std::{
    backtrace::Backtrace,
    cell::Cell,
    collections::{BTreeMap, HashMap},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::{Pulse, Unwell, pulse};
use crate::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    drive::now,
};

/// Owns tasks. Cloning shares it.
///
/// Counts `livos_task_panics_total{task}` and `livos_task_restarts_total{task}`, and shows
/// `livos_tasks{task}`.
#[derive(Debug, Clone, Default)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    tasks: Mutex<HashMap<u64, (&'static str, Option<AbortHandle>)>>,
    next: AtomicU64,
    panics: AtomicU64,
    pulses: Mutex<Vec<Arc<pulse::State>>>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Panicked,
}

/// A task that lived this long was sound: the waits before restarts start again.
const SOUND_AFTER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Owns nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` under `name` until it ends. A panic in it is caught, counted and logged.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.track(name, |inner| async move {
            inner.guard(name, task).await;
        });
    }

    /// Runs what `make` makes, and after a panic, or an end before the drain, makes and runs it
    /// again, with growing waits. Ends with the drain: the task itself is expected to watch the
    /// same signal.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_restarting<F, T>(&self, name: &'static str, drain: DrainSignal, mut make: F)
    where
        F: FnMut() -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.track(name, move |inner| async move {
            let seed =
                name.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            let mut backoff = Backoff::new(BackoffConfig::default(), seed);
            loop {
                let started = tokio::time::Instant::now();
                let end = inner.guard(name, make()).await;
                if drain.is_draining() {
                    return;
                }
                if started.elapsed() >= SOUND_AFTER {
                    backoff.reset();
                }
                let wait = backoff.next_delay();
                tracing::warn!(
                    task = name,
                    panicked = end == End::Panicked,
                    ?wait,
                    "a task ended and is restarted"
                );
                metrics::counter!("livos_task_restarts_total", "task" => name).increment(1);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = drain.draining() => return,
                }
            }
        });
    }

    /// A pulse for a task that the process can't do without, with the time for which it may be
    /// silent; see [`Pulse::beating`]. From now on it is missed where it does not beat.
    pub fn pulse(&self, name: &'static str, patience: Duration) -> Pulse {
        let pulse = Pulse::new(name, patience);
        let mut pulses = self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|pulse| !pulse.is_over());
        pulses.push(pulse.state());
        pulse
    }

    /// Whether every pulse beats; names one that does not.
    pub fn check(&self) -> Result<(), Unwell> {
        let pulses = self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().try_for_each(|pulse| pulse.check(now()))
    }

    /// How many tasks live.
    pub fn live(&self) -> usize {
        self.0.tasks().len()
    }

    /// How many tasks of each name live.
    pub fn live_by_name(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        self.0.tasks().values().for_each(|(name, _)| *names.entry(*name).or_default() += 1);
        names
    }

    /// How many panics were caught.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    /// Waits until every task has ended, for at most `within`; then cuts what is left, and answers
    /// the names of what was cut.
    ///
    /// Tasks end by themselves when they see the drain, so begin it first.
    pub async fn shut_down(&self, within: Duration) -> Vec<&'static str> {
        self.0.tracker.close();
        if tokio::time::timeout(within, self.0.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let left: Vec<_> = self.0.tasks().values().cloned().collect();
        left.iter().filter_map(|(_, abort)| abort.as_ref()).for_each(AbortHandle::abort);
        // An aborted task ends at its next await; one that never awaits cannot be waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.tracker.wait()).await;
        left.into_iter().map(|(name, _)| name).collect()
    }

    fn track<T: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        make: impl FnOnce(Arc<Inner>) -> T,
    ) {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.tasks().insert(id, (name, None));
        metrics::gauge!("livos_tasks", "task" => name).increment(1.0);
        let entry = Entry { inner: Arc::clone(&self.0), id, name };
        let task = make(Arc::clone(&self.0));
        let handle = self.0.tracker.spawn(async move {
            let _entry = entry;
            task.await;
        });
        // The task may have ended already, and its entry with it.
        if let Some((_, abort)) = self.0.tasks().get_mut(&id) {
            *abort = Some(handle.abort_handle());
        }
    }
}

/// Removes a task from the list however it ends.
struct Entry {
    inner: Arc<Inner>,
    id: u64,
    name: &'static str,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.tasks().remove(&self.id);
        metrics::gauge!("livos_tasks", "task" => self.name).decrement(1.0);
    }
}

thread_local! {
    /// The name of the supervised task that this thread polls now.
    static CURRENT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, (&'static str, Option<AbortHandle>)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a future to its end, or to its first panic.
    async fn guard(&self, name: &'static str, task: impl Future<Output = ()>) -> End {
        let mut task = pin!(task);
        let end = std::future::poll_fn(|cx| {
            let outer = CURRENT.replace(Some(name));
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            CURRENT.set(outer);
            match polled {
                Ok(poll) => poll.map(|()| End::Finished),
                Err(_) => Poll::Ready(End::Panicked),
            }
        })
        .await;
        if end == End::Panicked {
            self.panics.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("livos_task_panics_total", "task" => name).increment(1);
        }
        end
    }
}

/// Installs the process-level panic hook: every panic, supervised or not, is logged once through
/// `tracing` with its task, place and backtrace. The message of a panic is logged too, so panics
/// must not quote peer input or secrets. A second call does nothing.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let task = CURRENT.get().unwrap_or("unsupervised");
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("a panic without a message");
            let backtrace = Backtrace::force_capture();
            tracing::error!(task, place, message, %backtrace, "a panic");
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::drain::Drain;

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_one_task_and_is_counted() {
        let supervisor = Supervisor::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        supervisor.spawn("bad", async { panic!("deliberate, in a test") });
        supervisor.spawn("good", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = done.send(());
        });
        assert_eq!(supervisor.live(), 2);
        finished.await.unwrap();
        assert_eq!(supervisor.shut_down(Duration::from_secs(1)).await, Vec::<&str>::new());
        assert_eq!((supervisor.panics(), supervisor.live()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_task_that_panicked_is_restarted_and_with_growing_waits() {
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let (bad, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (runs, stop) = (Arc::clone(&bad), signal.clone());
        supervisor.spawn_restarting("bad", signal.clone(), move || {
            let (run, stop) = (runs.fetch_add(1, Ordering::SeqCst), stop.clone());
            async move {
                assert!(run >= 3, "deliberate, in a test");
                stop.draining().await;
            }
        });
        let (runs, stop) = (Arc::clone(&good), signal.clone());
        supervisor.spawn_restarting("good", signal, move || {
            runs.fetch_add(1, Ordering::SeqCst);
            let stop = stop.clone();
            async move { stop.draining().await }
        });
        // Three waits of at most 1, 2 and 4 s.
        tokio::time::sleep(Duration::from_millis(7_100)).await;
        assert_eq!((bad.load(Ordering::SeqCst), good.load(Ordering::SeqCst), supervisor.panics()), (4, 1, 3));
        assert_eq!(supervisor.live_by_name(), BTreeMap::from([("bad", 1), ("good", 1)]));
        drain.begin();
        assert!(supervisor.shut_down(Duration::from_secs(1)).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_in_time_is_cut_and_named() {
        let supervisor = Supervisor::new();
        supervisor.spawn("stubborn", std::future::pending());
        assert_eq!(supervisor.shut_down(Duration::from_secs(5)).await, ["stubborn"]);
        assert_eq!(supervisor.live(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn pulses_that_rest_are_forgotten() {
        let supervisor = Supervisor::new();
        for _ in 0..100 {
            supervisor.pulse("brief", Duration::from_secs(1)).beating(async {}).await;
        }
        assert!(supervisor.0.pulses.lock().unwrap().len() <= 1);
    }
}
