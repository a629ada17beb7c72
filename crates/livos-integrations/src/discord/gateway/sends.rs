//! How much may still be sent on one connection: Discord cuts it at 120 events in 60 seconds.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Why something is sent. What keeps the connection alive has room that nothing else takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Identify, resume and the regular heartbeats: 13 a minute at the most.
    Vital,
    /// The heartbeat that a peer asks for out of turn, as often as it likes.
    Asked,
    /// What the bot shows of itself.
    Spare,
}

/// The window of what was sent last.
#[derive(Debug, Clone, Default)]
pub(super) struct Sends(VecDeque<Instant>);

const WINDOW: Duration = Duration::from_secs(60);

impl Sends {
    /// Counts one, unless there is no room.
    pub(super) fn take(&mut self, now: Instant, urgency: Urgency) -> bool {
        self.forget(now);
        let room = self.0.len() < most(urgency);
        if room {
            self.0.push_back(now);
        }
        room
    }

    /// When there is room again; none where there is.
    pub(super) fn room_at(&self, urgency: Urgency) -> Option<Instant> {
        let excess = (self.0.len() + 1).checked_sub(most(urgency))?;
        excess.checked_sub(1).and_then(|last| self.0.get(last)).map(|sent| *sent + WINDOW)
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|sent| *sent + WINDOW <= now) {
            self.0.pop_front();
        }
    }
}

const fn most(urgency: Urgency) -> usize {
    match urgency {
        Urgency::Vital => 120,
        Urgency::Asked => 106,
        Urgency::Spare => 100,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make their `now` from a real instant.
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more_than_its_share_and_heartbeats_keep_theirs() {
        let (mut sends, start) = (Sends::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let spare = (0..200).filter(|n| sends.take(at(*n), Urgency::Spare)).count();
        assert_eq!(spare, 100);
        assert_eq!(sends.room_at(Urgency::Spare), Some(at(60_000)));
        let asked = (200..300).filter(|n| sends.take(at(*n), Urgency::Asked)).count();
        let vital = (300..400).filter(|n| sends.take(at(*n), Urgency::Vital)).count();
        assert_eq!((asked, vital), (6, 14));
        assert_eq!(sends.room_at(Urgency::Vital), Some(at(60_000)));
        assert!(sends.take(at(60_000), Urgency::Vital), "the first has left the window");
        assert!(!sends.take(at(60_000), Urgency::Spare), "and the rest of it stands");
    }
}
