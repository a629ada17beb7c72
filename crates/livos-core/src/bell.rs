//! Wakes those who wait for something to change, so that they need not poll.

use std::time::Duration;

use tokio::sync::watch;

/// Rung when something has changed, such as a job that became ready. Clones are the same bell.
#[derive(Debug, Clone)]
pub struct Bell(watch::Sender<u64>);

impl Bell {
    /// A bell without listeners.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Wakes every listener, now or at its next wait.
    pub fn ring(&self) {
        self.0.send_modify(|rung| *rung = rung.wrapping_add(1));
    }

    /// Listens from now on. A ring before [`News::wait`] is called is not missed.
    pub fn listen(&self) -> News {
        News(self.0.subscribe())
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

/// One listener to a [`Bell`].
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

impl News {
    /// Waits until the bell has rung since the last call, at most this long. It may wake without a
    /// change.
    pub async fn wait(&mut self, at_most: Duration) {
        if let Ok(Err(_)) = tokio::time::timeout(at_most, self.0.changed()).await {
            // The bell is gone and will not ring: do not spin.
            tokio::time::sleep(at_most).await;
        }
    }
}
