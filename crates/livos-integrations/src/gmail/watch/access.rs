//! Whether jobs of Gmail may be worked on: shut while the grant is gone, so that they wait in the
//! queue instead of failing one by one.

use std::sync::Arc;

use livos_core::drain::{Drain, DrainSignal};
use tokio::sync::watch;

/// Whether jobs of Gmail may be worked on. Clones share it.
#[derive(Debug, Clone)]
pub struct MailboxAccess(Arc<watch::Sender<bool>>);

impl Default for MailboxAccess {
    /// Open until a [`super::Watcher`] finds otherwise.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }
}

impl MailboxAccess {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is open. Cancel safe.
    pub async fn opened(&self) {
        self.becomes(true).await;
    }

    /// Waits until it is shut. Cancel safe.
    pub async fn shut(&self) {
        self.becomes(false).await;
    }

    /// Runs `work` for as long as it is open: a [`livos_core::queue::Worker`] on the jobs of Gmail,
    /// for instance. When it shuts, the work is drained: running jobs finish or go back to the
    /// queue. When it opens, the work starts again. Returns when `drain` begins and the work has
    /// ended, or when the work ends by itself.
    ///
    /// ```
    /// # use livos_core::{drain::DrainSignal, queue::{Job, Outcome, Queue, Worker, WorkerConfig}, time::SystemClock};
    /// # use livos_integrations::gmail::{MailboxAccess, MailJob};
    /// # use std::sync::Arc;
    /// # async fn example<S>(access: MailboxAccess, queue: Arc<dyn Queue>, service: S, drain: DrainSignal)
    /// # where S: tower::Service<Job, Response = Outcome, Error = std::convert::Infallible> + Clone + Send + 'static, S::Future: Send {
    /// let worker = |drain| {
    ///     let mut config = WorkerConfig::default();
    ///     config.kinds = vec![MailJob::kind()];
    ///     Worker::new(Arc::clone(&queue), service.clone(), SystemClock, config).run(drain)
    /// };
    /// access.while_open(drain, worker).await;
    /// # }
    /// ```
    pub async fn while_open<F>(&self, drain: DrainSignal, mut work: impl FnMut(DrainSignal) -> F)
    where
        F: Future<Output = ()>,
    {
        loop {
            tokio::select! {
                biased;
                () = drain.draining() => return,
                () = self.opened() => {}
            }
            let stop = Drain::new();
            let stopping = stop.signal();
            let work = work(stopping);
            tokio::pin!(work);
            tokio::select! {
                biased;
                () = &mut work => return,
                () = drain.draining() => {}
                () = self.shut() => {}
            }
            stop.begin();
            work.await;
        }
    }

    pub(super) fn set(&self, open: bool) {
        self.0.send_if_modified(|now| std::mem::replace(now, open) != open);
    }

    async fn becomes(&self, open: bool) {
        // The sender is this one: it does not go away while it is waited for.
        let _ = self.0.subscribe().wait_for(|now| *now == open).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_drained_when_access_is_lost_and_begins_again_when_it_is_back() {
        let (access, begun, ended) = (MailboxAccess::default(), AtomicU32::new(0), AtomicU32::new(0));
        let drain = Drain::new();
        let draining = drain.signal();
        let work = |drain: DrainSignal| {
            begun.fetch_add(1, Ordering::SeqCst);
            let ended = &ended;
            async move {
                drain.draining().await;
                ended.fetch_add(1, Ordering::SeqCst);
            }
        };
        let count = || (begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
        let settle = || tokio::time::sleep(std::time::Duration::from_millis(1));
        let script = async {
            settle().await;
            assert_eq!(count(), (1, 0));
            access.set(false);
            settle().await;
            assert_eq!((count(), access.is_open()), ((1, 1), false));
            access.set(true);
            settle().await;
            assert_eq!(count(), (2, 1));
            drain.begin();
        };
        tokio::join!(access.while_open(draining, work), script);
        assert_eq!(count(), (2, 2));
    }
}
