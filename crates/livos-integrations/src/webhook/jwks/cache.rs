//! Which keys are known, whether they may be used, and whether others may be asked for: decisions
//! without a clock and without a connection.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::VecDeque, time::Duration};

use livos_core::time::Timestamp;

use super::Key;

/// How long keys are fresh where their server does not say so.
const USUAL_AGE: Duration = Duration::from_secs(3600);
/// The least and the most that a server may say.
const SHORTEST_AGE: Duration = Duration::from_secs(60);
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);
/// Ids that are remembered as unknown. What does not fit is held off by the time between fetches.
const MAX_UNKNOWN: usize = 64;
/// How long an id is unknown before it may be looked for again. Ten minutes: a key is published
/// long before it signs.
const UNKNOWN_FOR: Duration = Duration::from_secs(600);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Use it.
    Found(Key),
    /// The keys have to be fetched first, and may be.
    Fetch,
    /// The provider has no such key.
    Unknown,
    /// Nothing can be said: the keys were asked for a moment ago.
    Unavailable {
        /// When they may be asked for again.
        retry_after: Duration,
    },
}

/// The keys of one provider. Bounded, whatever is asked.
#[derive(Debug, Clone)]
pub struct KeyCache {
    min_interval: Duration,
    max_stale: Duration,
    keys: Vec<Key>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
    begun_at: Option<Timestamp>,
    unknown: VecDeque<(String, Timestamp)>,
}

impl KeyCache {
    /// No keys yet.
    pub fn new(min_interval: Duration, max_stale: Duration) -> Self {
        Self {
            min_interval,
            max_stale,
            keys: Vec::new(),
            fetched_at: Timestamp::default(),
            fresh_until: Timestamp::default(),
            begun_at: None,
            unknown: VecDeque::new(),
        }
    }

    /// What is known of the key with this id.
    pub fn lookup(&self, now: Timestamp, kid: &str) -> Lookup {
        let usable = now.since(self.fetched_at) <= self.max_stale;
        let key = self.keys.iter().find(|key| usable && key.kid() == kid);
        let wait = self.wait(now);
        match key {
            Some(key) if now < self.fresh_until || wait.is_some() => Lookup::Found(key.clone()),
            None if self.is_unknown(now, kid) => Lookup::Unknown,
            _ => wait.map_or(Lookup::Fetch, |retry_after| Lookup::Unavailable { retry_after }),
        }
    }

    /// How long no fetch may begin, if any time.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        // A clock that was set back does not hold it up.
        let begun_at = self.begun_at.filter(|begun_at| *begun_at <= now)?;
        self.min_interval.checked_sub(now.since(begun_at)).filter(|wait| !wait.is_zero())
    }

    fn is_unknown(&self, now: Timestamp, kid: &str) -> bool {
        let mut unknown = self.unknown.iter();
        unknown.any(|(known, since)| known == kid && *since <= now && now.since(*since) < UNKNOWN_FOR)
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.begun_at = Some(now);
    }

    /// A fetch brought these keys. `wanted` is the id that it was made for.
    pub fn fetched(&mut self, now: Timestamp, keys: Vec<Key>, max_age: Option<Duration>, wanted: &str) {
        self.keys = keys;
        self.fetched_at = now;
        self.fresh_until = now.plus(max_age.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE));
        self.unknown.retain(|(kid, _)| self.keys.iter().all(|key| key.kid() != kid));
        if self.keys.iter().all(|key| key.kid() != wanted) {
            self.unknown.retain(|(kid, _)| kid != wanted);
            self.unknown.truncate(MAX_UNKNOWN - 1);
            self.unknown.push_front((wanted.to_owned(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn keys(kids: &[&str]) -> Vec<Key> {
        let n = URL_SAFE_NO_PAD.encode([7; 256]);
        let entry = |kid: &&str| json!({ "kid": kid, "kty": "RSA", "n": n, "e": "AQAB" });
        let set = json!({ "keys": kids.iter().map(entry).collect::<Vec<_>>() });
        super::super::document::keys(set.to_string().as_bytes()).unwrap_or_default()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000 + seconds * 1000)
    }

    fn cache() -> KeyCache {
        KeyCache::new(Duration::from_secs(60), Duration::from_secs(24 * 3600))
    }

    /// A cache that fetched these at time 0, fresh for an hour.
    fn with(kids: &[&str]) -> KeyCache {
        let mut cache = cache();
        cache.begin(at(0));
        cache.fetched(at(0), keys(kids), None, kids[0]);
        cache
    }

    fn is_found(lookup: &Lookup) -> bool {
        matches!(lookup, Lookup::Found(_))
    }

    #[test]
    fn keys_are_fetched_when_first_needed_and_used_while_they_are_fresh() {
        assert_eq!(cache().lookup(at(0), "a"), Lookup::Fetch);
        let cache = with(&["a"]);
        assert!(is_found(&cache.lookup(at(0), "a")) && is_found(&cache.lookup(at(3599), "a")));
        assert_eq!(cache.lookup(at(3600), "a"), Lookup::Fetch);
    }

    #[test]
    fn while_the_server_fails_old_keys_are_used_up_to_a_bound() {
        let mut cache = with(&["a"]);
        for minute in 60..24 * 60 {
            assert_eq!(cache.lookup(at(minute * 60), "a"), Lookup::Fetch);
            cache.begin(at(minute * 60));
            assert!(is_found(&cache.lookup(at(minute * 60), "a")), "in minute {minute}");
        }
        cache.begin(at(24 * 3600 + 1));
        assert!(matches!(cache.lookup(at(24 * 3600 + 1), "a"), Lookup::Unavailable { .. }));
    }

    #[test]
    fn strangers_cause_one_fetch_a_minute_whatever_they_ask_for() {
        let mut cache = with(&["a"]);
        let mut fetches = 0;
        for n in 0..36_000 {
            let (now, kid) = (at(60 + n / 10), format!("stranger-{n}"));
            if cache.lookup(now, &kid) == Lookup::Fetch {
                fetches += 1;
                cache.begin(now);
                cache.fetched(now, keys(&["a"]), None, &kid);
            }
            assert!(is_found(&cache.lookup(now, "a")), "and nobody else suffers");
        }
        assert_eq!(fetches, 60, "in an hour");
        assert!(cache.unknown.len() <= MAX_UNKNOWN);
    }

    #[test]
    fn an_id_that_the_provider_does_not_have_is_not_looked_for_again_soon() {
        let mut cache = with(&["a"]);
        cache.begin(at(100));
        cache.fetched(at(100), keys(&["a"]), None, "x");
        assert_eq!(cache.lookup(at(200), "x"), Lookup::Unknown);
        assert_eq!(cache.lookup(at(100 + 600), "x"), Lookup::Fetch);
        cache.begin(at(700));
        cache.fetched(at(700), keys(&["a", "x"]), None, "x");
        assert!(is_found(&cache.lookup(at(701), "x")), "it was published meanwhile");
    }

    #[test]
    fn a_new_key_is_found_a_minute_after_the_last_fetch_at_the_latest() {
        let mut cache = with(&["a"]);
        assert_eq!(cache.lookup(at(10), "b"), Lookup::Unavailable { retry_after: Duration::from_secs(50) });
        assert_eq!(cache.lookup(at(60), "b"), Lookup::Fetch);
        cache.begin(at(60));
        cache.fetched(at(60), keys(&["a", "b"]), None, "b");
        assert!(is_found(&cache.lookup(at(60), "b")));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let cache = with(&["a"]);
        assert_eq!(cache.lookup(at(-1000), "b"), Lookup::Fetch);
        assert!(is_found(&cache.lookup(at(-1000), "a")));
    }
}
