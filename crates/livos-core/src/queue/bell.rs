//! Tells workers that there may be a job, so that nobody has to look all the time.

use std::time::Duration;

use tokio::sync::watch;

/// Rung when a job becomes ready. Cloning gives the same bell.
#[derive(Debug, Clone)]
pub struct Bell(watch::Sender<u64>);

impl Bell {
    /// A bell that nobody listens to yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Wakes everybody who listens.
    pub fn ring(&self) {
        self.0.send_modify(|rung| *rung = rung.wrapping_add(1));
    }

    /// Listens from now on: what rings before [`News::wait`] is called is not missed.
    pub fn listen(&self) -> News {
        News(self.0.subscribe())
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

/// One listener.
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

impl News {
    /// Waits until the bell has rung since the last call, at most this long. It may wake for
    /// nothing.
    pub async fn wait(&mut self, at_most: Duration) {
        if let Ok(Err(_)) = tokio::time::timeout(at_most, self.0.changed()).await {
            // The queue is gone, and nothing will ring: that is no reason to spin.
            tokio::time::sleep(at_most).await;
        }
    }
}
