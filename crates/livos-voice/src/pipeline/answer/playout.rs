//! What the listener's player is doing, and how far it has come in an answer.
//!
//! A client that reports its player is believed, within what it was sent; between two reports, and
//! for a client that reports nothing, time does what a player would.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::transport::protocol::PlayoutState;

/// The player's position in one answer.
#[derive(Debug, Clone, Default)]
pub struct Playout {
    sent: Duration,
    /// The position when `mouth` last changed.
    played: Duration,
    /// The furthest position that the client has reported: it was heard, whatever comes later.
    reported: Duration,
    mouth: Mouth,
    /// The player was told to hold.
    held: bool,
    /// The client reports its player, so nothing is assumed until it does.
    reports: bool,
}

/// What the player is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mouth {
    /// It was sent nothing yet.
    #[default]
    Silent,
    /// It is held, has not begun, or has played everything sent so far.
    Standing,
    /// It plays since then, from the position at that time.
    Running {
        /// When the position was taken.
        since: Instant,
    },
    /// It has played all that it will ever get.
    Ended,
}

impl Playout {
    /// Nothing sent yet. A client that `reports` is waited for; another plays what arrives.
    pub fn new(reports: bool) -> Self {
        Self { reports, ..Self::default() }
    }

    /// `audio` more was sent.
    pub fn send(&mut self, now: Instant, audio: Duration) {
        // A player that ran dry made no progress until now.
        self.settle(now);
        self.sent += audio;
        if !self.reports && !self.held {
            self.mouth = Mouth::Running { since: now };
        } else if self.mouth == Mouth::Silent {
            self.mouth = Mouth::Standing;
        }
    }

    /// The player was told to hold, or not to begin.
    pub fn pause(&mut self, now: Instant) {
        self.settle(now);
        self.held = true;
        self.stand();
    }

    /// The player was told to go on.
    pub fn resume(&mut self, now: Instant) {
        self.held = false;
        if !self.sent.is_zero() {
            self.mouth = Mouth::Running { since: now };
        }
    }

    /// The client reported its player, as it was at `at`.
    pub fn report(&mut self, at: Instant, played: Duration, state: PlayoutState) {
        self.reports = true;
        if self.mouth == Mouth::Silent {
            return;
        }
        // A browser that suspends its audio reports that nothing was played.
        self.reported = self.reported.max(played).min(self.sent);
        self.played = self.reported;
        let runs = matches!(state, PlayoutState::Started | PlayoutState::Playing) && !self.held;
        match runs {
            true => self.mouth = Mouth::Running { since: at },
            false => self.stand(),
        }
    }

    /// Everything was sent, and the client reported that it was played.
    pub fn end(&mut self) {
        if self.mouth != Mouth::Silent {
            self.mouth = Mouth::Ended;
        }
    }

    /// What was sent from `at` on is void.
    pub fn truncate(&mut self, now: Instant, at: Duration) {
        self.sent = self.sent.min(at);
        self.reported = self.reported.min(at);
        self.settle(now);
    }

    /// How much was sent.
    pub fn sent(&self) -> Duration {
        self.sent
    }

    /// How much was played.
    pub fn played(&self, now: Instant) -> Duration {
        let ran = match self.mouth {
            Mouth::Running { since } => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        (self.played + ran).min(self.sent)
    }

    /// How much was sent and not yet played.
    pub fn ahead(&self, now: Instant) -> Duration {
        self.sent - self.played(now)
    }

    /// When everything sent will have been played; `None` unless the player runs.
    pub fn ends_at(&self) -> Option<Instant> {
        match self.mouth {
            Mouth::Running { since } => Some(since + self.sent.saturating_sub(self.played)),
            _ => None,
        }
    }

    /// What the player is doing.
    pub fn mouth(&self) -> Mouth {
        self.mouth
    }

    /// Whether the player was told to hold.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the client reports its player.
    pub fn reports(&self) -> bool {
        self.reports
    }

    fn stand(&mut self) {
        if self.mouth != Mouth::Silent {
            self.mouth = Mouth::Standing;
        }
    }

    fn settle(&mut self, now: Instant) {
        self.played = self.played(now);
        if let Mouth::Running { since } = &mut self.mouth {
            *since = now;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_client_that_reports_nothing_plays_what_arrives_and_stops_when_dry() {
        let start = Instant::now();
        let at = |t| start + ms(t);
        let mut playout = Playout::new(false);
        playout.send(at(0), ms(100));
        assert_eq!((playout.played(at(40)), playout.ends_at()), (ms(40), Some(at(100))));
        playout.send(at(300), ms(100));
        assert_eq!((playout.played(at(310)), playout.ahead(at(310))), (ms(110), ms(90)));
        playout.pause(at(320));
        assert_eq!((playout.played(at(900)), playout.ends_at()), (ms(120), None));
        playout.resume(at(1000));
        assert_eq!(playout.ends_at(), Some(at(1080)));
        playout.truncate(at(1010), ms(120));
        assert_eq!((playout.sent(), playout.played(at(2000))), (ms(120), ms(120)));
    }

    #[test]
    fn a_reporting_client_is_believed_within_what_it_was_sent() {
        let start = Instant::now();
        let at = |t| start + ms(t);
        let mut playout = Playout::new(true);
        playout.send(at(0), ms(1000));
        assert_eq!((playout.played(at(500)), playout.ends_at()), (ms(0), None));
        playout.report(at(500), ms(0), PlayoutState::Started);
        assert_eq!(playout.played(at(700)), ms(200));
        playout.report(at(700), ms(150), PlayoutState::Held);
        assert_eq!(playout.played(at(900)), ms(150));
        playout.report(at(900), ms(1_000_000), PlayoutState::Ended);
        assert_eq!(playout.played(at(900)), ms(1000));
    }

    #[test]
    fn what_was_played_is_not_taken_back_by_a_suspended_player() {
        let start = Instant::now();
        let at = |t| start + ms(t);
        let mut playout = Playout::new(true);
        playout.send(at(0), ms(1000));
        playout.report(at(450), ms(400), PlayoutState::Playing);
        playout.report(at(500), ms(0), PlayoutState::Held);
        assert_eq!(playout.played(at(900)), ms(400));
        // Audio that is void was played all the same, but its place is taken by other words.
        playout.truncate(at(900), ms(200));
        playout.send(at(900), ms(800));
        playout.report(at(950), ms(0), PlayoutState::Held);
        assert_eq!(playout.played(at(950)), ms(200));
    }
}
