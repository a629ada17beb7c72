//! Who listens to what, in this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{BusConfig, BusError, Feed, Gap, Subscription, Topic, channel};

/// The subscriptions of one bus.
pub(super) struct Hub {
    config: BusConfig,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    feeds: Vec<(Feed, Vec<Topic>)>,
    by_topic: HashMap<Topic, Vec<Feed>>,
}

impl Lists {
    /// Forgets subscribers that are gone.
    fn prune(&mut self) {
        self.feeds.retain(|(feed, _)| !feed.is_gone());
        self.by_topic.retain(|_, feeds| {
            feeds.retain(|feed| !feed.is_gone());
            !feeds.is_empty()
        });
    }
}

impl Hub {
    pub(super) fn new(config: BusConfig) -> Self {
        Self { config, lists: Mutex::default() }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription that has not begun.
    pub(super) fn subscribe(&self, topics: &[Topic]) -> Result<(Feed, Subscription), BusError> {
        if topics.is_empty() {
            return Err(BusError::NoTopic);
        }
        let mut lists = self.lists();
        lists.prune();
        if lists.feeds.len() >= self.config.subscriptions {
            return Err(BusError::Full(lists.feeds.len()));
        }
        let mut topics = topics.to_vec();
        topics.sort();
        topics.dedup();
        let (feed, subscription) = channel(self.config.backlog);
        for topic in &topics {
            lists.by_topic.entry(topic.clone()).or_default().push(feed.clone());
        }
        lists.feeds.push((feed.clone(), topics));
        Ok((feed, subscription))
    }

    /// Hands a message to everybody who listens to this topic.
    pub(super) fn deliver(&self, topic: &str, payload: &Bytes) {
        let lists = self.lists();
        if let Some((topic, feeds)) = lists.by_topic.get_key_value(topic) {
            feeds.iter().for_each(|feed| feed.send(topic, payload));
        }
    }

    /// All topics that anybody listens to.
    #[cfg(feature = "redis")]
    pub(super) fn topics(&self) -> std::collections::BTreeSet<Topic> {
        let mut lists = self.lists();
        lists.prune();
        lists.by_topic.keys().cloned().collect()
    }

    /// Begins the subscriptions of which every topic is heard.
    #[cfg(feature = "redis")]
    pub(super) fn begin(&self, heard: &std::collections::BTreeSet<Topic>) {
        let lists = self.lists();
        let ready = lists.feeds.iter().filter(|(_, topics)| topics.iter().all(|topic| heard.contains(topic)));
        ready.for_each(|(feed, _)| feed.begin());
    }

    /// Tells everybody whose subscription has begun of a gap.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "in memory nothing is lost but by lagging")
    )]
    pub(super) fn resync(&self, gap: Gap) {
        self.lists().feeds.iter().for_each(|(feed, _)| feed.resync(gap));
    }
}
