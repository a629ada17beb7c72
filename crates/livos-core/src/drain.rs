//! A drain: stop taking work, finish or close what runs, exit within a bounded time (P-07).
//!
//! The process that owns the [`Drain`] begins it when a `Termination` comes (feature `supervise`);
//! everything else holds a [`DrainSignal`]. The bound on the time is the owner's, in
//! `supervise::Supervisor::shut_down`.

#[cfg(feature = "supervise")]
mod termination;

use tokio::sync::watch;

#[cfg(feature = "supervise")]
pub use self::termination::Termination;

/// Begins the drain. Dropping it begins the drain too: what nobody can stop any more must not run
/// forever.
///
/// ```
/// use livos_core::drain::Drain;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let drain = Drain::new();
/// let signal = drain.signal();
/// let task = tokio::spawn(async move { signal.draining().await });
/// drain.begin();
/// task.await.unwrap();
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Drain(watch::Sender<bool>);

/// Tells when to stop. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct DrainSignal(watch::Receiver<bool>);

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal for whatever has to stop when it begins.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal(self.0.subscribe())
    }

    /// Begins it; a second call does nothing.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl DrainSignal {
    /// Waits until the drain begins. Cancel safe; returns at once when it has begun.
    pub async fn draining(&self) {
        // An error means that the owner is gone, which is a drain too.
        let _ = self.0.clone().wait_for(|begun| *begun).await;
    }

    /// Whether it has begun.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_learns_of_a_drain_once_it_began() {
        let drain = Drain::new();
        let signal = drain.signal();
        let other = signal.clone();
        assert!(tokio::time::timeout(Duration::from_secs(60), signal.draining()).await.is_err());
        assert!(!other.is_draining());
        drain.begin();
        other.draining().await;
        signal.draining().await;
        assert!(signal.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_whose_owner_is_gone_has_begun() {
        let drain = Drain::new();
        let signal = drain.signal();
        drop(drain);
        signal.draining().await;
        assert!(signal.is_draining());
    }
}
