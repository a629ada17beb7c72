//! How a mailbox is watched, each default with its reason.

use std::time::Duration;

use livos_core::backoff::BackoffConfig;

use crate::gmail::LabelId;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// How much further back than needed a full sync goes. A day: clocks differ, and mail is at times
/// dated before it shows; what was seen is a duplicate.
pub(super) const OVERLAP: Duration = DAY;

/// How a mailbox is watched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WatchConfig {
    /// The Pub/Sub topic, as `projects/P/topics/T`, in the project of the OAuth client. None for
    /// polling alone.
    pub topic: Option<String>,
    /// The label whose mail becomes jobs; all mail where there is none. The inbox: what filters put
    /// away was not meant to be seen at once.
    pub label: Option<LabelId>,
    /// When a watch is renewed, after it was armed. [`WatchConfig::DAILY`], as Google advises: six
    /// more tries before it ends.
    pub renew_after: Duration,
    /// How often the expiry is verified, and the grant tried again after it was lost. An hour.
    pub check_every: Duration,
    /// With less left than this, the watch is renewed at the next check, whatever was planned. 12
    /// h: later than any plan, and early enough for some tries.
    pub expiry_margin: Duration,
    /// How often the mailbox is looked at without a push. 5 minutes: pushes may be dropped, and a
    /// mail that waits longer is late.
    pub poll_every: Duration,
    /// The waits after failures, up to [`WatchConfig::check_every`]. From 10 s to 15 minutes: a
    /// provider that is down for long is not asked often.
    pub backoff: BackoffConfig,
    /// How long a full queue is left alone. 30 s: a worker does some jobs in that time.
    pub full_wait: Duration,
    /// A push may come before the history shows what it tells of: then the mailbox is looked at
    /// once more, after this. 10 s.
    pub lag: Duration,
    /// After this many syncs in a row found mail without a push, the watch is armed again and a
    /// person is told. 3: a single push may well be lost.
    pub silent_polls: u32,
    /// After so many failed looks in a row a person is told. 3: each was tried several times by the
    /// client.
    pub failed_syncs: u32,
    /// How far back a full sync goes at the most. 30 days: beyond that a person should look through
    /// the mail himself, and is told so.
    pub lookback: Duration,
    /// How long it is remembered that a message became a job. 40 days: more than a full sync goes
    /// back.
    pub remembered: Duration,
}

impl WatchConfig {
    /// Renewed every day.
    pub const DAILY: Duration = DAY;
    /// Renewed on the sixth day, the last that leaves a day for trying again.
    pub const DAY_SIX: Duration = Duration::from_secs(6 * 86_400);

    /// Pushes to this topic, and a poll for what they miss.
    pub fn push(topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), ..Self::poll() }
    }

    /// Polling alone.
    pub fn poll() -> Self {
        let mut backoff = BackoffConfig::default();
        (backoff.first, backoff.longest) = (Duration::from_secs(10), Duration::from_secs(900));
        Self {
            topic: None,
            label: Some(LabelId::inbox()),
            renew_after: Self::DAILY,
            check_every: HOUR,
            expiry_margin: 12 * HOUR,
            poll_every: Duration::from_secs(300),
            backoff,
            full_wait: Duration::from_secs(30),
            lag: Duration::from_secs(10),
            silent_polls: 3,
            failed_syncs: 3,
            lookback: 30 * DAY,
            remembered: 40 * DAY,
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidWatch> {
        let topic = self.topic.as_deref().map(|topic| topic.split('/').collect::<Vec<_>>());
        if topic.is_some_and(
            |topic| !matches!(topic[..], ["projects", p, "topics", t] if !p.is_empty() && !t.is_empty()),
        ) {
            return Err(InvalidWatch("a topic is of the form projects/P/topics/T"));
        }
        if self.renew_after < HOUR || self.renew_after > Self::DAY_SIX {
            return Err(InvalidWatch("a watch is renewed after an hour to six days: it ends after seven"));
        }
        let shortest = [self.check_every, self.poll_every, self.full_wait, self.lag].into_iter().min();
        if shortest.is_none_or(|shortest| shortest < Duration::from_secs(1)) {
            return Err(InvalidWatch("gmail is not asked more than once a second"));
        }
        if self.remembered < self.lookback + OVERLAP + DAY {
            return Err(InvalidWatch("a message must be remembered for longer than a full sync goes back"));
        }
        Ok(())
    }
}

/// The configuration can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gmail watch: {0}")]
pub struct InvalidWatch(&'static str);
