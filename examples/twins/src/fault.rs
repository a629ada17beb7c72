//! What can go wrong on purpose, the same for every twin.
//!
//! A fault has a kind, a moment and a target. Those that break the stream act on its bytes, below
//! HTTP and WebSocket, so that the client under test meets what a broken network gives it: half a
//! message, then nothing.

use std::time::Duration;

/// Something that goes wrong on a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The stream ends abruptly, without a close frame.
    Drop(When),
    /// The stream stays open and takes everything, but nothing more comes out of it.
    Stall(When),
    /// The first half of the next write is delivered, then the stream ends.
    HalfMessage(When),
    /// The next write is replaced by random bytes of the same length.
    Garbage(When),
    /// The next message is replaced by well-framed text that is not JSON.
    GarbageMessage(When),
    /// From then on, at most this many bytes a second come out, in small pieces.
    Slow {
        /// When it begins.
        when: When,
        /// The rate; at least 1.
        bytes_per_second: u32,
    },
    /// The provider closes the WebSocket with a code and a reason.
    Close {
        /// When it closes.
        when: When,
        /// The WebSocket close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: String,
    },
}

impl Fault {
    pub(crate) const fn when(&self) -> &When {
        match self {
            Self::Drop(when)
            | Self::Stall(when)
            | Self::HalfMessage(when)
            | Self::Garbage(when)
            | Self::GarbageMessage(when)
            | Self::Slow { when, .. }
            | Self::Close { when, .. } => when,
        }
    }
}

/// When a fault happens, counted from the moment it was injected or, for later connections, from
/// their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// After this much time.
    Elapsed(Duration),
    /// After a time between the two, drawn from the twin's seed.
    Between(Duration, Duration),
    /// After the twin sent this many bytes (of TCP payload).
    Sent(u64),
    /// After the twin received this many bytes (of TCP payload).
    Received(u64),
    /// After the twin sent this many messages (WebSocket messages or server-sent events).
    Messages(u64),
}

/// Which connections a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Those open now.
    Open,
    /// The next so many.
    Next(u32),
    /// Every later one, until the faults are cleared.
    Each,
}

/// A refused request or WebSocket handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides those that the provider sends with such an answer, such as `retry-after`.
    pub headers: Vec<(String, String)>,
    /// The body; the provider's own error body where `None`.
    pub body: Option<String>,
}

impl Refusal {
    /// A refusal with the provider's own body.
    pub const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}
