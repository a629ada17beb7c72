//! The state of a provider connection, in the words every part and the page use.

use std::time::Duration;

/// Where a connection stands. Data moves in `Connected` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The first attempt is under way.
    Connecting,
    /// Open; the provider answers.
    Connected,
    /// Lost, or open but mute: waiting `wait` before attempt number `attempt` (from 1).
    Reconnecting {
        /// Which attempt comes next.
        attempt: u32,
        /// How long until it.
        wait: Duration,
    },
    /// Finishing what was sent before closing.
    Draining,
    /// Closed; no further attempt comes.
    Closed,
}
