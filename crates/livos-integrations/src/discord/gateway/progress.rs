//! What a bot has processed, as it is persisted: the session, the identifies of the day, and how
//! far each channel was read.
//!
//! All of it is the position of one cursor, which moves in one step with the jobs. A session that
//! can't be resumed (a long outage, a kill between its beginning and its first write) would lose
//! what Discord kept for it; the marks of the channels let it be fetched over HTTP instead.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::BTreeMap, time::Duration};

use livos_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::discord::Id;

/// How many sessions may be begun. Discord *resets the bot's token* after more than 1,000 in a day,
/// so the count is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentifyLimits {
    /// In 24 hours. 900: a tenth is left to whatever else uses the token.
    pub per_day: u32,
    /// At least between two. 5 s: what Discord demands for one shard.
    pub spacing: Duration,
}

impl Default for IdentifyLimits {
    fn default() -> Self {
        Self { per_day: 900, spacing: Duration::from_secs(5) }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Channels whose marks are kept, those with the newest messages. A personal agent talks in a few.
const CHANNELS: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// What can be resumed.
    pub(super) session: Option<Session>,
    /// The bot's own user.
    pub(super) me: Option<Id>,
    identifies: Identifies,
    marks: BTreeMap<Id, Mark>,
    /// Channels whose messages between two sessions are still to be fetched.
    behind: BTreeMap<Id, Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Identifies {
    /// When the first of the day was.
    since: Option<Timestamp>,
    count: u32,
    last: Option<Timestamp>,
}

/// How far a channel was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The last message.
    pub(super) message: Id,
    /// The server of the channel: messages that are fetched do not name it.
    pub(super) guild: Option<Id>,
}

impl Progress {
    /// Counts an identify, or answers how long to wait.
    pub(super) fn reserve(&mut self, now: Timestamp, limits: IdentifyLimits) -> Result<(), Duration> {
        let identifies = &mut self.identifies;
        // A window that lies in the future is that of a clock which was set back: it is not waited
        // for.
        let begun = identifies.since.filter(|since| *since <= now && now.since(*since) < DAY);
        let Some(since) = begun else {
            *identifies = Identifies { since: Some(now), count: 1, last: Some(now) };
            return Ok(());
        };
        let spaced = identifies.last.map_or(now, |last| last.min(now).plus(limits.spacing));
        if spaced > now {
            return Err(spaced.since(now));
        }
        if identifies.count >= limits.per_day {
            return Err(since.plus(DAY).since(now).max(Duration::from_secs(1)));
        }
        identifies.count += 1;
        identifies.last = Some(now);
        Ok(())
    }

    /// A session began that replaces the one before: what was written between the two is to be
    /// fetched.
    pub(super) fn began(&mut self, session: Session, me: Id) {
        for (channel, mark) in &self.marks {
            self.behind.entry(*channel).or_insert(*mark);
        }
        keep_newest(&mut self.behind);
        self.session = Some(session);
        self.me = Some(me);
    }

    /// Everything of the session up to here is durable.
    pub(super) fn processed(&mut self, session: &str, sequence: u64) {
        if let Some(current) = self.session.as_mut().filter(|current| &*current.id == session) {
            current.sequence = current.sequence.max(sequence);
        }
    }

    /// A message of the channel was processed.
    pub(super) fn read(&mut self, channel: Id, mark: Mark) {
        let kept = self.marks.entry(channel).or_insert(mark);
        if kept.message < mark.message {
            *kept = mark;
        }
        keep_newest(&mut self.marks);
    }

    /// A message was seen that is no job: it moves the mark of a channel that has one.
    pub(super) fn read_on(&mut self, channel: Id, mark: Mark) {
        if self.marks.contains_key(&channel) {
            self.read(channel, mark);
        }
    }

    /// A channel whose messages are to be fetched, and from where on.
    pub(super) fn next_behind(&self) -> Option<(Id, Mark)> {
        self.behind.first_key_value().map(|(channel, mark)| (*channel, *mark))
    }

    /// So much of it was fetched and enqueued.
    pub(super) fn caught_up_to(&mut self, channel: Id, message: Id) {
        if let Some(mark) = self.behind.get_mut(&channel) {
            mark.message = mark.message.max(message);
        }
    }

    /// Nothing of it is left, or nothing can be had.
    pub(super) fn caught_up(&mut self, channel: Id) {
        self.behind.remove(&channel);
    }
}

fn keep_newest(marks: &mut BTreeMap<Id, Mark>) {
    while marks.len() > CHANNELS {
        let oldest = marks.iter().min_by_key(|(_, mark)| mark.message).map(|(channel, _)| *channel);
        let Some(oldest) = oldest else { return };
        marks.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn session(id: &str) -> Session {
        Session { id: id.into(), resume_url: "wss://r".into(), sequence: 1 }
    }

    fn mark(message: u64) -> Mark {
        Mark { message: Id::new(message), guild: None }
    }

    #[test]
    fn identifies_are_spaced_and_counted_by_the_day() {
        let (mut progress, limits) =
            (Progress::default(), IdentifyLimits { per_day: 3, ..IdentifyLimits::default() });
        assert_eq!(progress.reserve(at(0), limits), Ok(()));
        assert_eq!(progress.reserve(at(1), limits), Err(Duration::from_secs(4)));
        assert_eq!(progress.reserve(at(5), limits), Ok(()));
        assert_eq!(progress.reserve(at(10), limits), Ok(()));
        assert_eq!(progress.reserve(at(20), limits), Err(Duration::from_secs(86_380)));
        assert_eq!(progress.reserve(at(86_400), limits), Ok(()), "the day is over");
    }

    #[test]
    fn a_clock_that_is_set_back_waits_for_no_future() {
        let mut progress = Progress::default();
        progress.reserve(at(1_000_000), IdentifyLimits::default()).unwrap();
        assert_eq!(progress.reserve(at(0), IdentifyLimits::default()), Ok(()));
    }

    #[test]
    fn a_new_session_fetches_what_every_channel_missed_and_keeps_what_is_still_to_be_fetched() {
        let mut progress = Progress::default();
        progress.began(session("a"), Id::new(1));
        assert_eq!(progress.next_behind(), None, "nothing was read before");
        progress.read(Id::new(7), mark(10));
        progress.read(Id::new(7), mark(9));
        progress.began(session("b"), Id::new(1));
        progress.read(Id::new(7), mark(50));
        progress.began(session("c"), Id::new(1));
        assert_eq!(progress.next_behind(), Some((Id::new(7), mark(10))), "from before the first gap");
        progress.caught_up_to(Id::new(7), Id::new(30));
        assert_eq!(progress.next_behind(), Some((Id::new(7), mark(30))));
        progress.caught_up(Id::new(7));
        assert_eq!(progress.next_behind(), None);
    }

    #[test]
    fn only_the_session_that_is_there_moves() {
        let mut progress = Progress::default();
        progress.began(session("b"), Id::new(1));
        progress.processed("a", 900);
        progress.processed("b", 7);
        progress.processed("b", 3);
        assert_eq!(progress.session.unwrap().sequence, 7);
    }

    #[test]
    fn the_channels_with_the_newest_messages_are_kept() {
        let mut progress = Progress::default();
        for channel in 0..300 {
            progress.read(Id::new(channel), mark(1000 + channel));
        }
        assert_eq!(progress.marks.len(), CHANNELS);
        assert!(progress.marks.contains_key(&Id::new(299)) && !progress.marks.contains_key(&Id::new(0)));
    }
}
