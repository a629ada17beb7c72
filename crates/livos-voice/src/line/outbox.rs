//! What a session has to tell a listener that may lag.
//!
//! A session puts its events here without waiting, and its driver delivers them next to everything
//! else it does. So a listener that lags holds back the provider, which is not read while the
//! outbox is full, but never the commands of the listener itself.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// Events that wait for a listener.
#[derive(Debug)]
pub(crate) struct Outbox<E> {
    waiting: VecDeque<E>,
    events: mpsc::Sender<E>,
    bound: usize,
}

/// Nobody listens any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl<E> Outbox<E> {
    /// Delivers to `events`, and is full with `bound` events.
    pub(crate) fn new(events: mpsc::Sender<E>, bound: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(2 * bound), events, bound }
    }

    /// Whether the provider must be held back. What the session still has to tell of what it has
    /// already read is taken all the same.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.bound
    }

    /// Adds an event. If the newest one that waits is of the `same` kind it is replaced, so that
    /// the states of a long outage need no memory.
    pub(crate) fn push(&mut self, event: E, same: impl FnOnce(&E, &E) -> bool) {
        match self.waiting.back_mut() {
            Some(newest) if same(newest, &event) => *newest = event,
            _ => self.waiting.push_back(event),
        }
    }

    /// Drops what nobody wants any more.
    #[cfg_attr(not(feature = "cartesia"), allow(dead_code, reason = "only speech is interrupted"))]
    pub(crate) fn retain(&mut self, keep: impl FnMut(&E) -> bool) {
        self.waiting.retain(keep);
    }

    /// Delivers one event, or waits until nobody listens. Cancel safe.
    pub(crate) async fn deliver(&mut self) -> Result<(), Gone> {
        if self.waiting.is_empty() {
            self.events.closed().await;
            return Err(Gone);
        }
        let permit = self.events.reserve().await.map_err(|_| Gone)?;
        if let Some(event) = self.waiting.pop_front() {
            permit.send(event);
        }
        Ok(())
    }

    /// Delivers what is left.
    pub(crate) async fn finish(self) {
        for event in self.waiting {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }
}
