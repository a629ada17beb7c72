//! A sign of life of a task that the process can't do without.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

use crate::drive::now;

/// The pulse of one task, from [`Supervisor::pulse`](super::Supervisor::pulse). Cloning shares it,
/// for tasks that are restarted.
///
/// It shows that the task is polled and returns from it: neither dead nor blocked. It can't show
/// that the task does anything useful.
#[derive(Clone)]
pub struct Pulse(Arc<State>);

#[derive(Debug)]
pub(super) struct State {
    name: &'static str,
    patience: Duration,
    /// When the task last gave a sign of life; none while it has no reason to.
    last: Mutex<Option<Instant>>,
}

impl Pulse {
    pub(super) fn new(name: &'static str, patience: Duration) -> Self {
        Self(Arc::new(State { name, patience, last: Mutex::new(Some(now())) }))
    }

    /// For the list of pulses.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.0)
    }

    /// Runs a task, with its pulse. When it ends by itself its pulse rests; when it panics or is
    /// cut off, its pulse has stopped, and a restart counts as a sign of life only after it lived
    /// for a quarter of the patience.
    pub async fn beating(self, task: impl Future<Output = ()>) {
        self.0.last().get_or_insert_with(now);
        let mut task = pin!(task);
        let every = (self.0.patience / 4).max(Duration::from_millis(1));
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut task => break,
                _ = beat.tick() => *self.0.last() = Some(now()),
            }
        }
        *self.0.last() = None;
    }
}

impl State {
    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it rests and nobody is left who could make it beat again.
    pub(super) fn is_over(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.last().is_none()
    }

    pub(super) fn check(&self, now: Instant) -> Result<(), Unwell> {
        let silent = self.last().map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if silent > self.patience { Err(Unwell { task: self.name, silent }) } else { Ok(()) }
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("task", &self.0.name).finish_non_exhaustive()
    }
}

/// A task that the process can't do without gives no sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task {task:?} has given no sign of life for {} s", silent.as_secs())]
pub struct Unwell {
    /// Its name.
    pub task: &'static str,
    /// For how long.
    pub silent: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drain::Drain,
        supervise::{Supervisor, install_panic_hook},
    };

    const PATIENCE: Duration = Duration::from_secs(8);

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_is_well_and_one_that_ended_in_order_is_missed_by_nobody() {
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let task = supervisor.pulse("server", PATIENCE).beating(async move { signal.draining().await });
        supervisor.spawn("server", task);
        pass(3600).await;
        assert_eq!(supervisor.check(), Ok(()));
        drain.begin();
        assert!(supervisor.shut_down(PATIENCE).await.is_empty());
        pass(3600).await;
        assert_eq!(supervisor.check(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panicked_or_was_never_run_is_missed() {
        install_panic_hook();
        let supervisor = Supervisor::new();
        let pulse = supervisor.pulse("server", PATIENCE);
        supervisor.spawn("server", pulse.beating(async { panic!("deliberate, in a test") }));
        pass(8).await;
        assert_eq!(supervisor.check(), Ok(()), "patience");
        pass(1).await;
        let unwell = supervisor.check().unwrap_err();
        assert_eq!(unwell.to_string(), "the task \"server\" has given no sign of life for 9 s");
        let supervisor = Supervisor::new();
        let _never = supervisor.pulse("worker", PATIENCE);
        pass(9).await;
        assert_eq!(supervisor.check().map_err(|unwell| unwell.task), Err("worker"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarted_task_is_well_again_once_it_lives_and_one_that_only_panics_is_not() {
        install_panic_hook();
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let (pulse, mut left, stop) = (supervisor.pulse("worker", PATIENCE), 3, signal.clone());
        supervisor.spawn_restarting("worker", signal.clone(), move || {
            left -= 1;
            let (fails, stop) = (left >= 0, stop.clone());
            pulse.clone().beating(async move {
                assert!(!fails, "deliberate, in a test");
                stop.draining().await;
            })
        });
        pass(60).await;
        assert_eq!((supervisor.check(), supervisor.panics()), (Ok(()), 3));
        let pulse = supervisor.pulse("hopeless", PATIENCE);
        supervisor.spawn_restarting("hopeless", signal, move || {
            pulse.clone().beating(async { panic!("deliberate, in a test") })
        });
        pass(60).await;
        assert_eq!(supervisor.check().map_err(|unwell| unwell.task), Err("hopeless"));
    }

    /// The runtime has two workers, and one of them is held up by a task that does not return.
    #[test]
    fn a_task_that_blocks_is_missed_while_others_go_on() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let supervisor = Supervisor::new();
            let (free, held) = std::sync::mpsc::channel::<()>();
            let patience = Duration::from_millis(20);
            let blocked = async move {
                let _ = held.recv();
            };
            supervisor.spawn("blocked", supervisor.pulse("blocked", patience).beating(blocked));
            supervisor.spawn(
                "sound",
                supervisor.pulse("sound", Duration::from_secs(60)).beating(std::future::pending()),
            );
            let unwell = loop {
                match supervisor.check() {
                    Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(unwell) => break unwell,
                }
            };
            assert_eq!(unwell.task, "blocked");
            drop(free);
        });
    }
}
