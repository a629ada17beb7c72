//! Back-pressure towards the synthesiser: audio is taken while the listener can be sent more.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use super::state::Answer;

/// How far a listener who is too far behind must catch up before more audio is taken, so that the
/// session does not wake for every frame.
const CATCH_UP: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Flow {
    state: State,
    /// The most audio that may be sent ahead of the listener.
    limit: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The answer is held, or the listener is too far behind.
    Stopped,
}

impl Flow {
    pub(super) fn new(limit: Duration) -> Self {
        Self { state: State::Open, limit }
    }

    /// Whether audio is taken now.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether audio is taken from now on, if that has changed.
    pub(super) fn regulate(&mut self, now: Instant, answer: Option<&Answer>) -> Option<bool> {
        let held = answer.is_some_and(|answer| answer.playout.is_held());
        let ahead = answer.map_or(Duration::ZERO, |answer| answer.playout.ahead(now));
        let state = match self.state {
            State::Open if held || ahead >= self.limit => State::Stopped,
            State::Stopped if !held && ahead <= self.low_water() => State::Open,
            State::Open | State::Stopped => return None,
        };
        self.state = state;
        Some(state == State::Open)
    }

    /// When the listener will have caught up.
    pub(super) fn poll_timeout(&self, answer: Option<&Answer>) -> Option<Instant> {
        let answer = answer.filter(|_| self.state == State::Stopped)?;
        answer.playout.ends_at()?.checked_sub(self.low_water())
    }

    fn low_water(&self) -> Duration {
        self.limit.saturating_sub(CATCH_UP)
    }
}
