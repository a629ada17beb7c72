//! The reconnect decision as a machine.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::{
    backoff::{Backoff, BackoffConfig},
    machine::Machine,
};

/// How a connection is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ReconnectConfig {
    /// The waits between attempts.
    pub backoff: BackoffConfig,
    /// A connection that lived this long was sound: the waits start again. 10 s: Deepgram refuses a
    /// bad stream within ten seconds.
    pub stable_after: Duration,
    /// The longest wait before the first attempt after a sound connection was lost. 100 ms: a
    /// routine close is repaired before the listener notices, and a thousand sessions still do not
    /// return in the same millisecond.
    pub first_retry: Duration,
    /// The longest wait that a busy peer may ask for. 60 s: a peer that names a day would else
    /// silence a session that it may well take again in a minute.
    pub max_retry_after: Duration,
    /// Attempts in a row after which to give up; `None` for never.
    pub give_up_after: Option<u32>,
}

crate::with_fields!(ReconnectConfig {
    with_backoff => backoff: BackoffConfig,
    with_stable_after => stable_after: Duration,
    with_first_retry => first_retry: Duration,
    with_max_retry_after => max_retry_after: Duration,
    with_give_up_after => give_up_after: Option<u32>,
});

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            backoff: BackoffConfig::default(),
            stable_after: Duration::from_secs(10),
            first_retry: Duration::from_millis(100),
            max_retry_after: Duration::from_secs(60),
            give_up_after: None,
        }
    }
}

/// What happened to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReconnectInput {
    /// Connect for the first time. Ignored once started.
    Start,
    /// The attempt succeeded.
    Connected,
    /// The attempt failed, or the connection was lost, or it was replaced because it was mute.
    Lost,
    /// The attempt failed because the peer is busy, and it said for how long.
    Busy {
        /// Not before then. Shorter than the wait that is due anyway, it changes nothing.
        retry_after: Duration,
    },
    /// The peer refused for good: another attempt would be refused too.
    Refused,
    /// No more attempts: the owner is finishing.
    Drain,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectOutput {
    /// Connect now. The last connection, if any, is gone.
    Connect {
        /// Attempts in a row, from 1.
        attempt: u32,
    },
    /// Nothing to do but to tell: the next attempt comes after the delay.
    Wait {
        /// The number of the attempt that will come.
        attempt: u32,
        /// How long until it.
        delay: Duration,
    },
    /// There will be no more attempts.
    GiveUp,
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReconnectState {
    /// Not started.
    Idle,
    /// An attempt is under way.
    Connecting {
        /// Its number.
        attempt: u32,
    },
    /// Connected.
    Connected {
        /// Since when.
        since: Instant,
    },
    /// Waiting for the next attempt.
    Reconnecting {
        /// Its number.
        attempt: u32,
        /// When it comes.
        at: Instant,
    },
    /// For good.
    Closed,
}

/// Keeps one connection. See [`ReconnectConfig`].
#[derive(Debug, Clone)]
pub struct Reconnect {
    config: ReconnectConfig,
    backoff: Backoff,
    state: ReconnectState,
    /// Attempts since the last sound connection.
    failures: u32,
    output: Option<ReconnectOutput>,
}

impl Reconnect {
    /// Not connected, and idle until [`ReconnectInput::Start`]. The jitter comes from `seed`.
    pub fn new(config: ReconnectConfig, seed: u64) -> Self {
        let backoff = Backoff::new(config.backoff, seed);
        Self { config, backoff, state: ReconnectState::Idle, failures: 0, output: None }
    }

    /// Where the connection stands.
    pub fn state(&self) -> ReconnectState {
        self.state
    }

    fn lost(&mut self, now: Instant, at_least: Duration) {
        let sound = match self.state {
            ReconnectState::Connected { since } => {
                now.saturating_duration_since(since) >= self.config.stable_after
            }
            ReconnectState::Connecting { .. } => false,
            ReconnectState::Idle | ReconnectState::Reconnecting { .. } | ReconnectState::Closed => return,
        };
        if sound {
            self.backoff.reset();
            self.failures = 0;
        }
        self.failures += 1;
        if self.config.give_up_after.is_some_and(|limit| self.failures > limit) {
            return self.close();
        }
        let delay = if sound {
            self.backoff.jitter_up_to(self.config.first_retry)
        } else {
            self.backoff.next_delay()
        };
        let delay = delay.max(at_least.min(self.config.max_retry_after));
        self.state = ReconnectState::Reconnecting { attempt: self.failures, at: now + delay };
        self.output = Some(ReconnectOutput::Wait { attempt: self.failures, delay });
    }

    fn close(&mut self) {
        if self.state != ReconnectState::Closed {
            self.state = ReconnectState::Closed;
            self.output = Some(ReconnectOutput::GiveUp);
        }
    }

    fn connect(&mut self, attempt: u32) {
        self.state = ReconnectState::Connecting { attempt };
        self.output = Some(ReconnectOutput::Connect { attempt });
    }
}

impl Machine for Reconnect {
    type Input = ReconnectInput;
    type Output = ReconnectOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: ReconnectInput) {
        match (input, self.state) {
            (ReconnectInput::Start, ReconnectState::Idle) => self.connect(1),
            (ReconnectInput::Connected, ReconnectState::Connecting { .. }) => {
                self.state = ReconnectState::Connected { since: now };
            }
            (ReconnectInput::Lost, _) => self.lost(now, Duration::ZERO),
            (ReconnectInput::Busy { retry_after }, _) => self.lost(now, retry_after),
            (ReconnectInput::Refused | ReconnectInput::Drain, _) => self.close(),
            (ReconnectInput::Start | ReconnectInput::Connected, _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let ReconnectState::Reconnecting { attempt, at } = self.state
            && at <= now
        {
            self.connect(attempt);
        }
    }

    fn poll_output(&mut self) -> Option<ReconnectOutput> {
        self.output.take()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            ReconnectState::Reconnecting { at, .. } => Some(at),
            _ => None,
        }
    }
}
