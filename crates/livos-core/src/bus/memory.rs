//! The bus inside one process.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Bus, BusConfig, BusError, Subscription, Topic, api::check_payload, hub::Hub};

/// A [`Bus`] that reaches this process only. Cloning shares it; subscriptions end when the last
/// clone is dropped.
#[derive(Clone)]
pub struct MemoryBus(Arc<Hub>);

impl MemoryBus {
    /// A bus that nobody listens to.
    pub fn new(config: BusConfig) -> Self {
        Self(Arc::new(Hub::new(config)))
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<(), BusError> {
        check_payload(&payload)?;
        self.0.deliver(topic.as_str(), &payload);
        Ok(())
    }

    fn subscribe(&self, topics: &[Topic]) -> Result<Subscription, BusError> {
        let (feed, subscription) = self.0.subscribe(topics)?;
        feed.begin();
        Ok(subscription)
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBus").finish_non_exhaustive()
    }
}
