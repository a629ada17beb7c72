//! How fast a chat may be written to, and which chats are left alone for how long.
//!
//! Telegram names about one message a second for a chat, with short bursts, and twenty a minute for
//! a group; it promises none of it, and asks for time with 429 where it is too much.
//! <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The pace of all chats of a bot, and the numbers that groups changed to.
#[derive(Debug, Default)]
pub(super) struct Paces {
    chats: HashMap<i64, Pace>,
    moved: HashMap<i64, i64>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// When its budget is full again.
    full_at: Instant,
    /// Nothing before then.
    closed_until: Instant,
}

/// Chats that are kept in mind; beyond that, those that have nothing to wait for are forgotten
/// first.
const MOST: usize = 4096;
/// What may be written at once after a pause.
const BURST: u32 = 3;

/// The time between two messages, on average.
pub(super) const fn gap(group: bool) -> Duration {
    if group { Duration::from_secs(3) } else { Duration::from_secs(1) }
}

impl Paces {
    /// Takes a message from the budget of a chat, or answers how long to wait.
    pub(super) fn take(&mut self, now: Instant, chat: i64, group: bool) -> Result<(), Duration> {
        let pace = self.of(now, chat);
        if pace.closed_until > now {
            return Err(pace.closed_until - now);
        }
        let full_at = pace.full_at.max(now);
        let most = gap(group) * (BURST - 1);
        match (full_at - now).checked_sub(most) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                pace.full_at = full_at + gap(group);
                Ok(())
            }
        }
    }

    /// Whether a chat is left alone now.
    pub(super) fn is_closed(&mut self, now: Instant, chat: i64) -> bool {
        self.of(now, chat).closed_until > now
    }

    /// Leaves a chat alone for so long.
    pub(super) fn close(&mut self, now: Instant, chat: i64, wait: Duration) {
        let pace = self.of(now, chat);
        pace.closed_until = pace.closed_until.max(now + wait);
    }

    /// The number that a chat has now.
    pub(super) fn number(&self, chat: i64) -> i64 {
        self.moved.get(&chat).copied().unwrap_or(chat)
    }

    /// A chat has another number from now on.
    pub(super) fn moved(&mut self, chat: i64, to: i64) {
        if self.moved.len() >= MOST {
            self.moved.clear();
        }
        self.moved.insert(chat, to);
    }

    fn of(&mut self, now: Instant, chat: i64) -> &mut Pace {
        if self.chats.len() >= MOST && !self.chats.contains_key(&chat) {
            self.chats.retain(|_, pace| pace.full_at.max(pace.closed_until) > now);
        }
        if self.chats.len() >= MOST {
            self.chats.clear();
        }
        self.chats.entry(chat).or_insert(Pace { full_at: now, closed_until: now })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use super::*;

    fn check(group: bool, times: &[(u64, Result<(), u64>)]) {
        let (start, mut paces) = (Instant::now(), Paces::default());
        for (at, expected) in times {
            let taken = paces.take(start + Duration::from_millis(*at), 7, group);
            assert_eq!(taken, expected.map_err(Duration::from_millis), "at {at} ms");
        }
    }

    #[test]
    fn a_burst_is_followed_by_a_message_a_second() {
        check(
            false,
            &[
                (0, Ok(())),
                (0, Ok(())),
                (0, Ok(())),
                (0, Err(1000)),
                (400, Err(600)),
                (1000, Ok(())),
                (1000, Err(1000)),
            ],
        );
        check(false, &[(0, Ok(())), (1000, Ok(())), (2000, Ok(())), (3000, Ok(())), (4000, Ok(()))]);
    }

    #[test]
    fn a_group_gets_twenty_a_minute() {
        let (start, mut paces) = (Instant::now(), Paces::default());
        let taken = (0..600u64)
            .filter(|tenth| paces.take(start + Duration::from_millis(tenth * 100), 7, true).is_ok());
        assert_eq!(taken.count(), 22, "twenty, and the rest of the burst");
    }

    #[test]
    fn a_flood_closes_one_chat_and_no_other() {
        let (start, mut paces) = (Instant::now(), Paces::default());
        paces.close(start, 7, Duration::from_secs(30));
        paces.close(start, 7, Duration::from_secs(10));
        assert_eq!(paces.take(start + Duration::from_secs(10), 7, false), Err(Duration::from_secs(20)));
        assert_eq!((paces.take(start, 8, false), paces.is_closed(start, 8)), (Ok(()), false));
        assert_eq!(paces.take(start + Duration::from_secs(30), 7, false), Ok(()));
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let (start, mut paces) = (Instant::now(), Paces::default());
        for chat in 0..10_000 {
            paces.close(start, chat, Duration::from_secs(60));
            paces.moved(chat, -chat);
        }
        assert!(paces.chats.len() <= MOST && paces.moved.len() <= MOST);
        assert_eq!((paces.number(9_999), paces.number(77_777)), (-9_999, 77_777));
    }
}
