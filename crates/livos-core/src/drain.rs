//! A drain: stop taking work, finish or close what runs, exit within a bounded time (P-07).
//!
//! The process that owns the [`Drain`] begins it when a [`Termination`] comes; everything else
//! holds a [`DrainSignal`]. The bound on the time is the owner's, in
//! [`crate::supervise::Supervisor::shut_down`].

use tokio::sync::watch;

/// Begins the drain. Dropping it begins the drain too: what nobody can stop any more must not run
/// for ever.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// Tells when to stop. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct DrainSignal(watch::Receiver<bool>);

impl Drain {
    /// A drain that has not begun, and its signal.
    pub fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), DrainSignal(receiver))
    }

    /// Begins it; again does nothing.
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

/// Hears the signals that ask the process to end: SIGTERM and SIGINT, elsewhere Ctrl-C. From the
/// moment it is made they don't kill the process by themselves any more, so make it before anybody
/// is told that the process is ready, and exit at once when a second one comes.
#[derive(Debug)]
pub struct Termination {
    #[cfg(unix)]
    signals: [(&'static str, tokio::signal::unix::Signal); 2],
}

#[cfg(unix)]
impl Termination {
    /// Listens from now on. Must be called inside a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (term, int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { signals: [("SIGTERM", term), ("SIGINT", int)] })
    }

    /// Waits for the next, and answers its name. Cancel safe.
    pub async fn next(&mut self) -> std::io::Result<&'static str> {
        let [(term_name, term), (int_name, int)] = &mut self.signals;
        Ok(tokio::select! {
            _ = term.recv() => *term_name,
            _ = int.recv() => *int_name,
        })
    }
}

#[cfg(not(unix))]
impl Termination {
    /// Listens once somebody waits.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next, and answers its name.
    pub async fn next(&mut self) -> std::io::Result<&'static str> {
        tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everybody_learns_of_a_drain_once_it_began() {
        let (drain, signal) = Drain::new();
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
        let (drain, signal) = Drain::new();
        drop(drain);
        signal.draining().await;
        assert!(signal.is_draining());
    }
}
