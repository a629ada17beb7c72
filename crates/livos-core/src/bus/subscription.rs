//! One subscriber's mailbox: bounded, and honest about what did not fit.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::Topic;

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message that was published.
    Message {
        /// The topic it was published to.
        topic: Topic,
        /// The bytes, as they were published.
        payload: Bytes,
    },
    /// Something may have been lost: read the state from where it is kept. Messages that come later
    /// are newer than what was lost.
    Resync(Gap),
}

/// Why a subscriber should read the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Gap {
    /// The subscriber was too slow, and these many messages are gone. Those that still waited are
    /// among them, because the state holds them too.
    Lagged(u64),
    /// The connection to the server was lost and is back; nobody knows what was published
    /// meanwhile.
    Reconnected,
    /// The subscription has just begun; nobody knows what was published before.
    Began,
}

/// A mailbox for one subscriber with room for `backlog` messages: the end of the bus, and the end
/// of the subscriber. For implementations of a bus.
pub fn channel(backlog: usize) -> (Feed, Subscription) {
    let state = State { waiting: VecDeque::new(), gap: None, begun: false, ended: false, gone: false };
    let mailbox =
        Arc::new(Mailbox { backlog: backlog.max(1), state: Mutex::new(state), news: Notify::new() });
    (Feed(Arc::new(End(Arc::clone(&mailbox)))), Subscription(mailbox))
}

struct Mailbox {
    backlog: usize,
    state: Mutex<State>,
    news: Notify,
}

struct State {
    waiting: VecDeque<(Topic, Bytes)>,
    gap: Option<Gap>,
    begun: bool,
    ended: bool,
    gone: bool,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What waits is older than the gap, and would come after it: the state holds it, so it goes.
    fn gap(&mut self, gap: Gap) {
        self.waiting.clear();
        self.gap = Some(match (self.gap, gap) {
            (Some(Gap::Lagged(before)), Gap::Lagged(more)) => Gap::Lagged(before.saturating_add(more)),
            (before, gap) => before.map_or(gap, |before| before.max(gap)),
        });
    }
}

/// The bus's end of a subscription. Never waits. Cloning shares it; when the last clone is dropped,
/// the subscription ends.
#[derive(Clone)]
pub struct Feed(Arc<End>);

struct End(Arc<Mailbox>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.news.notify_one();
    }
}

impl Feed {
    /// From now on messages are taken; those before would be of a time that nobody can place. Again
    /// does nothing.
    pub fn begin(&self) {
        let mut state = self.0.0.state();
        if !std::mem::replace(&mut state.begun, true) {
            state.gap(Gap::Began);
            drop(state);
            self.0.0.news.notify_one();
        }
    }

    /// Tells of a gap, if the subscription has begun.
    pub fn resync(&self, gap: Gap) {
        let mut state = self.0.0.state();
        if state.begun {
            state.gap(gap);
            drop(state);
            self.0.0.news.notify_one();
        }
    }

    /// Hands a message over, or makes it a gap where there is no room.
    pub fn send(&self, topic: &Topic, payload: &Bytes) {
        let mut state = self.0.0.state();
        if !state.begun || state.gone {
            return;
        }
        if state.waiting.len() < self.0.0.backlog {
            state.waiting.push_back((topic.clone(), payload.clone()));
        } else {
            let lost = state.waiting.len() as u64 + 1;
            state.gap(Gap::Lagged(lost));
            metrics::counter!("livos_bus_lost_total").increment(lost);
        }
        drop(state);
        self.0.0.news.notify_one();
    }

    /// Whether nobody is left to listen.
    pub fn is_gone(&self) -> bool {
        self.0.0.state().gone
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// A subscriber's end. Dropping it ends the subscription.
pub struct Subscription(Arc<Mailbox>);

impl Subscription {
    /// The next event; none once the bus is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if self.0.state().ended {
                // The last event may have come between the two looks.
                return self.try_next();
            }
            // The bus rings once for whatever came since the last look.
            self.0.news.notified().await;
        }
    }

    /// An event that is already there.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut state = self.0.state();
        if let Some(gap) = state.gap.take() {
            return Some(Event::Resync(gap));
        }
        let (topic, payload) = state.waiting.pop_front()?;
        Some(Event::Message { topic, payload })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.gone = true;
        state.waiting = VecDeque::new();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
