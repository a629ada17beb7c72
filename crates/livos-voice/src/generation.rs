//! The number of an agent reply. An interruption raises it, and everything that carries an older
//! number is dropped.
//!
//! Nothing has to be cancelled in the right order, and no late audio of an interrupted reply can
//! reach the listener.

use serde::{Deserialize, Serialize};

/// The number of one agent reply within a voice session, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The number of the next reply.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
