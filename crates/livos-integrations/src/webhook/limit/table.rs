//! A bucket of tokens for each source, each as one number: the time at which it will be full again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::config::LimitConfig;

/// One source: an address of IPv4, or a network of IPv6, because a host has 2^64 addresses there.
/// None is everybody who is not known.
pub(super) type Key = Option<IpAddr>;

pub(super) fn key(address: IpAddr) -> Key {
    let [a, b, c, d, ..] = match address.to_canonical() {
        IpAddr::V6(address) => address.segments(),
        address => return Some(address),
    };
    Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
}

/// The buckets of all sources.
#[derive(Debug)]
pub(super) struct Table {
    each: Duration,
    per: Duration,
    most: usize,
    full_at: HashMap<Key, Instant>,
    swept_at: Option<Instant>,
    /// When each source was verified last.
    verified: HashMap<Key, Instant>,
}

/// Verified sources that are remembered, and for how long. GitHub sends from a few dozen addresses.
const VERIFIED: usize = 1024;
const VERIFIED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

impl Table {
    pub(super) fn new(config: &LimitConfig) -> Self {
        let each = config.per / config.requests.max(1);
        Self {
            each,
            per: each * config.requests.max(1),
            most: config.sources,
            full_at: HashMap::new(),
            swept_at: None,
            verified: HashMap::new(),
        }
    }

    /// Takes a token of this source, or says when there is one.
    pub(super) fn take(&mut self, now: Instant, source: Key) -> Result<Key, Duration> {
        let source = self.room(now, source);
        let full_at = self.full_at.entry(source).or_insert(now);
        let later = (*full_at).max(now) + self.each;
        match later.checked_duration_since(now + self.per) {
            None | Some(Duration::ZERO) => {
                *full_at = later;
                Ok(source)
            }
            Some(wait) => Err(wait),
        }
    }

    /// Gives a token back, to the bucket that it came from.
    pub(super) fn give_back(&mut self, now: Instant, source: Key) {
        if let Some(full_at) = self.full_at.get_mut(&source) {
            match full_at.checked_sub(self.each) {
                Some(earlier) if earlier > now => *full_at = earlier,
                // A full bucket says no more than none.
                _ => drop(self.full_at.remove(&source)),
            }
        }
    }

    /// Remembers that this source can sign. If there is no room, the one that was silent for the
    /// longest time is forgotten.
    pub(super) fn verified(&mut self, now: Instant, source: Key) {
        if self.verified.len() >= VERIFIED && !self.verified.contains_key(&source) {
            let oldest = self.verified.iter().min_by_key(|(_, at)| **at).map(|(source, _)| *source);
            oldest.map(|source| self.verified.remove(&source));
        }
        self.verified.insert(source, now);
    }

    /// Whether this source was verified in the last days.
    pub(super) fn was_verified(&self, now: Instant, source: Key) -> bool {
        self.verified.get(&source).is_some_and(|at| now.saturating_duration_since(*at) < VERIFIED_FOR)
    }

    /// The bucket of this source; the common one, where there is no room for another.
    fn room(&mut self, now: Instant, source: Key) -> Key {
        if self.full_at.contains_key(&source) || self.full_at.len() < self.most {
            return source;
        }
        // Once for each token that comes in: a flood from everywhere does not make every request
        // sweep.
        if self.swept_at.is_none_or(|at| now >= at + self.each) {
            self.swept_at = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < self.most { source } else { None }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Any instant will do to count from.
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(n: u32) -> Key {
        key(IpAddr::V4(n.into()))
    }

    fn table(sources: usize) -> Table {
        Table::new(&LimitConfig { sources, ..LimitConfig::default() })
    }

    #[test]
    fn thirty_at_once_and_then_one_every_two_seconds() {
        let (mut table, start) = (table(100), Instant::now());
        let mut taken = Vec::new();
        for tenth in 0..100 {
            while table.take(start + Duration::from_millis(tenth * 100), address(1)).is_ok() {
                taken.push(tenth);
            }
        }
        assert_eq!(taken.iter().filter(|tenth| **tenth == 0).count(), 30);
        assert_eq!(taken[30..], [20, 40, 60, 80]);
        assert_eq!(table.take(start, address(2)), Ok(address(2)), "another source has its own");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut table, now) = (table(100), Instant::now());
        for _ in 0..1000 {
            table.take(now, address(1)).unwrap();
            table.give_back(now, address(1));
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn verified_sources_are_remembered_in_bounded_room_and_for_days() {
        let (mut table, now) = (table(100), Instant::now());
        let after = |n: u32| now + Duration::from_secs(n.into());
        (0..2000).for_each(|n| table.verified(after(n), address(n)));
        assert_eq!(table.verified.len(), VERIFIED);
        assert!(table.was_verified(after(2000), address(1999)));
        assert!(!table.was_verified(after(2000), address(0)), "the oldest was forgotten");
        assert!(!table.was_verified(after(1999) + VERIFIED_FOR, address(1999)));
    }

    #[test]
    fn a_host_of_ipv6_is_one_source_whichever_address_it_takes() {
        let key = |text: &str| key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn more_sources_than_there_is_room_for_share_one_bucket() {
        let (mut table, now) = (table(1000), Instant::now());
        let taken = (0..100_000).filter(|n| table.take(now, address(*n)).is_ok()).count();
        assert_eq!(taken, 1000 + 30);
        assert_eq!(table.len(), 1001);
        let later = now + Duration::from_secs(120);
        assert_eq!(table.take(later, address(7_000_000)), Ok(address(7_000_000)), "room again");
    }

    proptest! {
        #[test]
        fn no_source_gets_more_than_its_share(gaps in prop::collection::vec(0u64..4000, 1..400)) {
            let (mut table, start) = (table(10), Instant::now());
            let (mut at, mut taken) = (Duration::ZERO, 0u64);
            for gap in gaps {
                at += Duration::from_millis(gap);
                taken += u64::from(table.take(start + at, address(1)).is_ok());
                prop_assert!(taken <= 30 + at.as_millis() as u64 / 2000);
            }
        }
    }
}
