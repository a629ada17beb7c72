//! How a grant is kept fresh. Durations; each default says why.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use livos_core::backoff::BackoffConfig;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a [`GrantLifecycle`](super::GrantLifecycle) behaves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LifecycleConfig {
    /// How long before its end an access token is replaced. 5 min: time for some attempts, and for
    /// a clock that is a little wrong. Of a token that lives shorter than twice this, half of its
    /// life.
    pub margin: Duration,
    /// The longest time between two refreshes, however long a token lives. 30 min: a grant that
    /// ended is found out within that time and not when a token that lives for a day is over.
    pub longest_unrefreshed: Duration,
    /// How much earlier than that at most, drawn again for each token. 2 min: so that several
    /// processes do not refresh at the same moment.
    pub jitter: Duration,
    /// A token with less left is not handed out. 10 s: a request takes that long at worst, and so
    /// may clocks differ.
    pub least_remaining: Duration,
    /// The shortest time between two refreshes, whatever the provider says about lifetimes. 10 s: a
    /// provider that says zero is not hammered.
    pub floor: Duration,
    /// The shortest time from a refresh to one that is forced by a refused token. 60 s: an API that
    /// refuses every token does not cause a refresh for each request.
    pub forced_interval: Duration,
    /// Taken for the lifetime of a token that comes without one. An hour, which is what most
    /// providers give.
    pub assumed_lifetime: Duration,
    /// How long one process may be at a refresh before another takes over. 60 s: the request and
    /// both writes have ended by then, one way or another.
    pub lease: Duration,
    /// How much longer a lease that ran out is left to its holder, counted from when it was seen.
    /// 45 s: the holder may have what the provider gave in memory alone, and tries to write it at
    /// least every 30 s while the store fails. Taking over sooner would use a refresh token that is
    /// spent.
    pub grace: Duration,
    /// How often a process looks whether another one's refresh is done. 500 ms: callers wait for
    /// it.
    pub poll: Duration,
    /// How often a grant that needs a consent is looked at in the store, where another process may
    /// have got it. 60 s, and sooner when somebody asks.
    pub recheck: Duration,
    /// The same when somebody asks. 5 s: somebody may ask often.
    pub recheck_wanted: Duration,
    /// Waits after a refresh that failed. From 2 s to 5 min: a provider's outage is noticed by its
    /// end, and not made worse.
    pub backoff: BackoffConfig,
    /// Waits after the store failed. From 1 s to 30 s: what is not saved yet is at risk.
    pub store_backoff: BackoffConfig,
    /// The longest wait that a provider may ask for. An hour: a grant must not sleep for a day
    /// because a header said so.
    pub longest_retry_after: Duration,
    /// The wait after the provider refused the client. 15 min: only the operator can mend it, and
    /// some refusals mend themselves.
    pub misconfigured_retry: Duration,
    /// Failing for so long is told to a person. An hour: by then the access token is over, and work
    /// stands still.
    pub failing_after: Duration,
    /// How long a consent lasts where that is a rule of the provider and not in its answers. None;
    /// seven days for a Google app in testing.
    pub consent_lifetime: Option<Duration>,
    /// How long before the end of a consent a person is told. Two days: a weekend.
    pub warn_before: Duration,
    /// The provider forgets grants that nobody used for so long. None; six months at Google.
    pub idle_lifetime: Option<Duration>,
    /// How long before that a person is told. 30 days.
    pub warn_before_idle: Duration,
    /// Refresh tokens that the provider keeps alive for one account. None; a hundred at Google.
    pub consent_limit: Option<u32>,
    /// So many consents below the limit a person is told. 10: other clients of the same project
    /// count too.
    pub consents_left: u32,
    /// The clock may be set back by so much before it is taken for wrong. 5 min.
    pub clock_tolerance: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        let mut backoff = BackoffConfig::default();
        (backoff.first, backoff.longest) = (Duration::from_secs(2), 5 * MINUTE);
        Self {
            margin: 5 * MINUTE,
            longest_unrefreshed: 30 * MINUTE,
            jitter: 2 * MINUTE,
            least_remaining: Duration::from_secs(10),
            floor: Duration::from_secs(10),
            forced_interval: MINUTE,
            assumed_lifetime: 60 * MINUTE,
            lease: MINUTE,
            grace: Duration::from_secs(45),
            poll: Duration::from_millis(500),
            recheck: MINUTE,
            recheck_wanted: Duration::from_secs(5),
            backoff,
            store_backoff: BackoffConfig::default(),
            longest_retry_after: 60 * MINUTE,
            misconfigured_retry: 15 * MINUTE,
            failing_after: 60 * MINUTE,
            consent_lifetime: None,
            warn_before: 2 * DAY,
            idle_lifetime: None,
            warn_before_idle: 30 * DAY,
            consent_limit: None,
            consents_left: 10,
            clock_tolerance: 5 * MINUTE,
        }
    }
}

impl LifecycleConfig {
    /// Google's rules: a grant that is not used for six months is forgotten, and of one account and
    /// client a hundred refresh tokens live.
    pub fn google() -> Self {
        Self { idle_lifetime: Some(183 * DAY), consent_limit: Some(100), ..Self::default() }
    }

    /// Google's rules for an app whose consent screen is in testing: a consent lasts seven days,
    /// and no answer says so.
    pub fn google_testing() -> Self {
        Self { consent_lifetime: Some(7 * DAY), ..Self::google() }
    }
}
