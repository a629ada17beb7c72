//! The gate before the recogniser: closed, nothing passes; opened, what was said just before comes
//! first.
//!
//! Closed is the default, and it is why an open microphone in a silent room costs nothing (P-02).
//! While it is closed the newest audio is kept as pre-roll, because a detector, like a finger on a
//! button, is always a little late and the first consonant would be lost.

use std::time::Duration;

use bytes::Bytes;

use crate::audio::{AudioFormat, Frame, Ring};

/// Lets frames through or keeps them back. Counts audio, not time.
#[derive(Debug, Clone)]
pub struct Gate {
    format: AudioFormat,
    pre_roll: Ring,
    open: bool,
}

impl Gate {
    /// How much is kept from before the gate opens. 300 ms: earshot needs some 100 ms of speech to
    /// be sure, and people begin to speak as they press.
    pub const PRE_ROLL: Duration = Duration::from_millis(300);

    /// Closed, for audio of `format`, keeping `pre_roll`.
    pub fn new(format: AudioFormat, pre_roll: Duration) -> Self {
        Self { format, pre_roll: Ring::new(format.bytes_in(pre_roll)), open: false }
    }

    /// Whether audio passes the gate.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Opens, and answers the pre-roll to send first; empty when it was open.
    pub fn open(&mut self) -> Frame {
        self.open = true;
        let (first, second) = self.pre_roll.since(0);
        let mut bytes = Vec::with_capacity(first.len() + second.len());
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
        self.pre_roll.clear();
        Frame::new(self.format, Bytes::from(bytes)).unwrap_or_else(|_| Frame::empty(self.format))
    }

    /// Closes, and forgets the pre-roll: what has passed is not sent twice.
    pub fn close(&mut self) {
        self.open = false;
        self.pre_roll.clear();
    }

    /// Answers the frame when the gate is open; keeps a copy as pre-roll when it is closed. Never
    /// allocates.
    pub fn push(&mut self, frame: Frame) -> Option<Frame> {
        if self.open {
            return Some(frame);
        }
        self.pre_roll.push(frame.bytes());
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(value: u8) -> Frame {
        Frame::new(AudioFormat::SPEECH, Bytes::from(vec![value; 640])).unwrap()
    }

    #[test]
    fn nothing_passes_a_closed_gate_and_the_newest_comes_first_when_it_opens() {
        let mut gate = Gate::new(AudioFormat::SPEECH, Duration::from_millis(40));
        assert!((1..=5).all(|n| gate.push(frame(n)).is_none()));
        let pre_roll = gate.open();
        assert_eq!(pre_roll.bytes()[..], [vec![4u8; 640], vec![5; 640]].concat());
        assert_eq!(gate.push(frame(6)), Some(frame(6)));
        assert!(gate.open().is_empty(), "audio that passed is not pre-roll");
        gate.close();
        assert!(gate.push(frame(7)).is_none());
        assert_eq!(gate.open().bytes()[..], vec![7u8; 640]);
    }
}
