//! When a request may be sent: Discord's buckets, its global limit, and the count of invalid
//! requests that would ban the address.
//!
//! A pure value. Before a request it is asked with [`Limits::admit`]; after the answer it learns
//! with [`Limits::observe`], or with [`Limits::abandon`] where there was none. Discord tells the
//! limits of a route only in its answers: until the first of them, requests of a route go one at a
//! time.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Requests a second over all routes. 45: Discord allows 50, and its clock is not ours.
    pub global_per_second: u32,
    /// Invalid answers (401, 403, 429) in ten minutes after which nothing is sent. 1,000: at 10,000
    /// the address is banned for an hour, for everybody behind it.
    pub invalid: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { global_per_second: 45, invalid: 1_000 }
    }
}

/// Where a request goes, as far as limits are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The method and the path with its ids left out: requests of one name share a limit.
    pub name: &'static str,
    /// The channel, server or webhook: each has a limit of its own.
    pub major: String,
    /// The whole path, for what is remembered of single addresses. Never shown: the path of a
    /// webhook holds its token.
    pub path: String,
    /// Whether it counts against the bot's global limit and carries its token. Answers to
    /// interactions do not.
    pub bot: bool,
}

/// May it go?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Now. It is counted; tell what became of it.
    Go,
    /// Ask again then.
    At(Instant),
    /// Ask again when another request was answered.
    AfterAnswer,
    /// No.
    Refused(Withheld),
}

/// Why a request is not sent at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withheld {
    /// Discord refused the bot's token before.
    #[error("discord refused the bot's token, and nothing is asked of it any more")]
    Unauthorized,
    /// The same address was refused a short while ago.
    #[error("discord answered {0} at this address a short while ago")]
    Remembered(u16),
    /// Too many requests were refused.
    #[error("discord refused so many requests that a further one could get this address banned")]
    Invalid,
}

/// What an answer said.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `X-RateLimit-Bucket`.
    pub bucket: Option<String>,
    /// `X-RateLimit-Limit`.
    pub limit: Option<u32>,
    /// `X-RateLimit-Remaining`.
    pub remaining: Option<u32>,
    /// `X-RateLimit-Reset-After`.
    pub reset_after: Option<Duration>,
    /// For 429: how long to wait.
    pub retry_after: Option<Duration>,
    /// For 429: whether the global limit was met.
    pub global: bool,
    /// For 429: whether others used up the limit, which is no fault of ours.
    pub shared: bool,
}

/// The state of all limits. See the [module](self).
#[derive(Debug, Clone)]
pub struct Limits {
    config: LimitsConfig,
    /// The bucket that Discord named for a route.
    named: HashMap<&'static str, String>,
    buckets: HashMap<(String, String), Bucket>,
    sent: VecDeque<Instant>,
    global_until: Option<Instant>,
    invalid: VecDeque<Instant>,
    unauthorized: bool,
    remembered: HashMap<String, (u16, Instant)>,
}

#[derive(Debug, Clone)]
struct Bucket {
    limit: u32,
    remaining: u32,
    reset_at: Option<Instant>,
    blocked_until: Option<Instant>,
    in_flight: u32,
}

/// Buckets and remembered addresses that are kept; a personal agent has some dozens.
const MOST: usize = 4096;
/// The window of invalid requests.
const INVALID_WINDOW: Duration = Duration::from_secs(600);
/// How long no request goes to a route that Discord refused. Not forever, because a person may
/// change the bot's permissions.
const REMEMBERED: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

impl Limits {
    /// Nothing is known yet.
    pub fn new(config: LimitsConfig) -> Self {
        Self {
            config,
            named: HashMap::new(),
            buckets: HashMap::new(),
            sent: VecDeque::new(),
            global_until: None,
            invalid: VecDeque::new(),
            unauthorized: false,
            remembered: HashMap::new(),
        }
    }

    /// Whether a request may go now, which counts it.
    pub fn admit(&mut self, now: Instant, route: &Route) -> Admission {
        self.forget(now);
        if self.unauthorized && route.bot {
            return Admission::Refused(Withheld::Unauthorized);
        }
        if let Some((status, _)) = self.remembered.get(&route.path) {
            return Admission::Refused(Withheld::Remembered(*status));
        }
        if self.invalid.len() >= self.config.invalid as usize {
            return Admission::Refused(Withheld::Invalid);
        }
        if let Some(wait) = self.global_wait(now, route) {
            return Admission::At(wait);
        }
        let key = self.key(route);
        let bucket = self.buckets.entry(key).or_insert_with(Bucket::unknown);
        let admission = bucket.admit(now);
        if admission == Admission::Go && route.bot {
            self.sent.push_back(now);
        }
        admission
    }

    /// A request that was admitted was answered.
    pub fn observe(&mut self, now: Instant, route: &Route, answer: &Answer) {
        let old = self.key(route);
        if let Some(name) = &answer.bucket
            && self.named.get(route.name) != Some(name)
        {
            self.named.insert(route.name, name.clone());
            // What is under way goes on under the new name.
            if let Some(bucket) = self.buckets.remove(&old) {
                let known = self
                    .buckets
                    .entry(self.key(route))
                    .or_insert_with(|| Bucket { in_flight: 0, ..bucket.clone() });
                known.in_flight += bucket.in_flight;
            }
        }
        let key = self.key(route);
        let bucket = self.buckets.entry(key).or_insert_with(Bucket::unknown);
        bucket.answered(now, answer);
        if answer.status == 429 {
            let until = now + answer.retry_after.unwrap_or(SECOND);
            let blocked = if answer.global { &mut self.global_until } else { &mut bucket.blocked_until };
            *blocked = (*blocked).max(Some(until));
        }
        self.remember(now, route, answer);
    }

    /// A request that was admitted was never answered.
    pub fn abandon(&mut self, route: &Route) {
        let key = self.key(route);
        if let Some(bucket) = self.buckets.get_mut(&key) {
            bucket.in_flight = bucket.in_flight.saturating_sub(1);
        }
    }

    fn remember(&mut self, now: Instant, route: &Route, answer: &Answer) {
        match answer.status {
            // The token of an interaction ends by itself: that says nothing of the bot's.
            401 if route.bot => self.unauthorized = true,
            401 | 404 if !route.bot => {
                self.remembered.insert(route.path.clone(), (answer.status, now + REMEMBERED));
            }
            403 => {
                self.remembered.insert(route.path.clone(), (403, now + REMEMBERED));
            }
            _ => {}
        }
        if matches!(answer.status, 401 | 403) || (answer.status == 429 && !answer.shared) {
            self.invalid.push_back(now);
        }
    }

    fn global_wait(&self, now: Instant, route: &Route) -> Option<Instant> {
        if !route.bot {
            return None;
        }
        let full = self.sent.len() >= self.config.global_per_second.max(1) as usize;
        let window = self.sent.front().filter(|_| full).map(|first| *first + SECOND);
        window.max(self.global_until).filter(|until| *until > now)
    }

    fn key(&self, route: &Route) -> (String, String) {
        let name = self.named.get(route.name).map_or(route.name, String::as_str);
        (name.to_owned(), route.major.clone())
    }

    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| *sent + SECOND <= now) {
            self.sent.pop_front();
        }
        while self.invalid.front().is_some_and(|at| *at + INVALID_WINDOW <= now) {
            self.invalid.pop_front();
        }
        if self.buckets.len() > MOST {
            self.buckets.retain(|_, bucket| bucket.matters(now));
        }
        self.remembered.retain(|_, (_, until)| *until > now);
        if self.remembered.len() > MOST {
            self.remembered.clear();
        }
    }
}

impl Bucket {
    const fn unknown() -> Self {
        Self { limit: 1, remaining: 1, reset_at: None, blocked_until: None, in_flight: 0 }
    }

    fn matters(&self, now: Instant) -> bool {
        self.in_flight > 0 || self.reset_at.max(self.blocked_until).is_some_and(|until| until > now)
    }

    fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Admission::At(until);
        }
        if self.reset_at.is_none_or(|at| at <= now) {
            // What is under way may be counted in the new window.
            self.remaining = self.limit.saturating_sub(self.in_flight);
            self.reset_at = None;
        }
        match (self.remaining, self.reset_at) {
            (0, Some(at)) => Admission::At(at),
            (0, None) => Admission::AfterAnswer,
            _ => {
                self.remaining -= 1;
                self.in_flight += 1;
                Admission::Go
            }
        }
    }

    fn answered(&mut self, now: Instant, answer: &Answer) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (Some(limit), Some(remaining), Some(reset_after)) =
            (answer.limit, answer.remaining, answer.reset_after)
        else {
            return;
        };
        // Discord has not seen what is under way, so it is taken off. Answers overtake each other:
        // within a window the smallest counts.
        let free = remaining.saturating_sub(self.in_flight);
        let reset_at = now + reset_after;
        let same = self.reset_at.is_some_and(|at| at + SECOND / 2 > reset_at && at > now);
        self.remaining = if same { self.remaining.min(free) } else { free };
        self.reset_at = Some(self.reset_at.filter(|_| same).map_or(reset_at, |at| at.max(reset_at)));
        self.limit = limit.max(1);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make their `now` from a real instant.
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(name: &'static str, major: u64) -> Route {
        Route { name, major: major.to_string(), path: format!("{name}/{major}"), bot: true }
    }

    fn answer(limit: u32, remaining: u32, reset_ms: u64) -> Answer {
        Answer {
            status: 200,
            bucket: Some("abc".into()),
            limit: Some(limit),
            remaining: Some(remaining),
            reset_after: Some(Duration::from_millis(reset_ms)),
            ..Answer::default()
        }
    }

    fn refused(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    const MESSAGES: &str = "POST /channels/messages";

    #[test]
    fn requests_of_an_unknown_route_go_one_at_a_time() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::Go);
        assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::AfterAnswer);
        assert_eq!(limits.admit(now, &route(MESSAGES, 2)), Admission::Go, "another channel");
        limits.observe(now, &route(MESSAGES, 1), &answer(5, 4, 5000));
        for _ in 0..4 {
            assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::Go);
        }
        assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::At(now + Duration::from_secs(5)));
    }

    #[test]
    fn a_request_that_is_never_answered_holds_no_place() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        limits.admit(now, &route(MESSAGES, 1));
        limits.abandon(&route(MESSAGES, 1));
        assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::Go);
    }

    #[test]
    fn routes_that_discord_puts_into_one_bucket_share_it() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        for name in ["a", "b"] {
            limits.admit(now, &route(name, 1));
            limits.observe(now, &route(name, 1), &answer(2, 1, 1000));
        }
        assert_eq!(limits.admit(now, &route("a", 1)), Admission::Go);
        assert_eq!(limits.admit(now, &route("b", 1)), Admission::At(now + SECOND));
    }

    #[test]
    fn the_global_limit_holds_over_all_routes_but_not_for_answers_to_interactions() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        for channel in 0..45 {
            assert_eq!(limits.admit(now, &route(MESSAGES, channel)), Admission::Go);
        }
        assert_eq!(limits.admit(now, &route(MESSAGES, 99)), Admission::At(now + SECOND));
        let callback = Route { bot: false, ..route("callback", 7) };
        assert_eq!(limits.admit(now, &callback), Admission::Go);
        let asked = Answer { status: 429, retry_after: Some(3 * SECOND), global: true, ..Answer::default() };
        limits.observe(now, &route(MESSAGES, 1), &asked);
        assert_eq!(limits.admit(now + 2 * SECOND, &route(MESSAGES, 99)), Admission::At(now + 3 * SECOND));
    }

    #[test]
    fn a_429_blocks_its_bucket_for_as_long_as_it_says() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        limits.admit(now, &route(MESSAGES, 1));
        let asked =
            Answer { status: 429, retry_after: Some(Duration::from_millis(1337)), ..Answer::default() };
        limits.observe(now, &route(MESSAGES, 1), &asked);
        assert_eq!(limits.admit(now, &route(MESSAGES, 1)), Admission::At(now + Duration::from_millis(1337)));
        assert_eq!(limits.admit(now, &route(MESSAGES, 2)), Admission::Go);
    }

    #[test]
    fn a_refused_token_ends_everything_and_a_refused_address_itself_for_a_while() {
        let (mut limits, now) = (Limits::new(LimitsConfig::default()), Instant::now());
        let (secret, hook) = (route(MESSAGES, 1), Route { bot: false, ..route("webhook", 7) });
        limits.admit(now, &secret);
        limits.observe(now, &secret, &refused(403));
        assert_eq!(limits.admit(now, &secret), Admission::Refused(Withheld::Remembered(403)));
        assert_eq!(limits.admit(now + REMEMBERED, &secret), Admission::Go);
        limits.admit(now, &hook);
        limits.observe(now, &hook, &refused(404));
        assert_eq!(limits.admit(now, &hook), Admission::Refused(Withheld::Remembered(404)));
        limits.observe(now, &secret, &refused(401));
        assert_eq!(
            limits.admit(now + 2 * REMEMBERED, &route("other", 3)),
            Admission::Refused(Withheld::Unauthorized)
        );
    }

    #[test]
    fn too_many_invalid_requests_stop_everything_for_ten_minutes_and_shared_ones_do_not_count() {
        let (mut limits, now) =
            (Limits::new(LimitsConfig { invalid: 10, ..LimitsConfig::default() }), Instant::now());
        let shared = Answer { shared: true, ..refused(429) };
        (0..50).for_each(|channel| limits.observe(now, &route(MESSAGES, channel), &shared));
        (0..10).for_each(|channel| limits.observe(now, &route(MESSAGES, channel), &refused(429)));
        assert_eq!(limits.admit(now, &route("other", 1)), Admission::Refused(Withheld::Invalid));
        assert_eq!(limits.admit(now + INVALID_WINDOW, &route("other", 1)), Admission::Go);
    }

    /// A server with one bucket, as strict as the documentation.
    struct Server {
        limit: u32,
        window: Duration,
        used: u32,
        reset_at: Option<Instant>,
    }

    impl Server {
        fn handle(&mut self, now: Instant) -> Answer {
            if self.reset_at.is_none_or(|at| at <= now) {
                (self.used, self.reset_at) = (0, Some(now + self.window));
            }
            let reset_after = self.reset_at.map(|at| at - now).unwrap_or_default();
            self.used += 1;
            match self.limit.checked_sub(self.used) {
                Some(remaining) => {
                    Answer { reset_after: Some(reset_after), ..answer(self.limit, remaining, 0) }
                }
                None => Answer { status: 429, retry_after: Some(reset_after), ..Answer::default() },
            }
        }
    }

    proptest! {
        #[test]
        fn requests_side_by_side_over_a_slow_network_are_never_refused(
            limit in 1u32..8,
            window in 200u64..3000,
            steps in prop::collection::vec((0u64..200, 0u64..150, 0u64..150), 1..200),
        ) {
            let (mut limits, start) = (Limits::new(LimitsConfig::default()), Instant::now());
            let mut server = Server { limit, window: Duration::from_millis(window), used: 0, reset_at: None };
            // (arrives at the server, or comes back; when)
            let mut under_way: Vec<(Instant, Option<Answer>, u64)> = Vec::new();
            let mut now = start;
            for (wait, there, back) in steps {
                let until = now + Duration::from_millis(wait);
                while let Some(index) = (0..under_way.len()).filter(|i| under_way[*i].0 <= until).min_by_key(|i| under_way[*i].0) {
                    let (at, answered, back) = under_way.swap_remove(index);
                    match answered {
                        None => {
                            let answer = server.handle(at);
                            prop_assert!(answer.status == 200, "refused");
                            under_way.push((at + Duration::from_millis(back), Some(answer), 0));
                        }
                        Some(answer) => limits.observe(at, &route(MESSAGES, 1), &answer),
                    }
                }
                now = until;
                if limits.admit(now, &route(MESSAGES, 1)) == Admission::Go {
                    under_way.push((now + Duration::from_millis(there), None, back));
                }
            }
        }
    }
}
