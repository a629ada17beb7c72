//! The audio of one session on its way to the provider.
//!
//! Audio is always written into a ring first, and sent from there or, when nothing is waiting,
//! straight from the frame. So there is no state in which audio is refused: without a connection,
//! or behind a peer that does not read, it waits, up to the bound of the ring.

use std::time::{Duration, Instant};

use bytes::Bytes;
use livos_core::drive::now;
use tokio_tungstenite::tungstenite::Message;

use super::{
    config::Timing,
    replay::{Replay, bytes_in, lasting},
};
use crate::{
    audio::{AudioFormat, Ring},
    line::Line,
};

/// Kept audio is sent in pieces of 100 ms, which the provider calls a good size.
const PIECE: u64 = 3200;
/// An end of speech is owed an answer when at least 300 ms of audio had none; of less, the provider
/// may have nothing to say.
const OWED: u64 = 9600;

/// The audio of a session: what is kept, and what the current connection has carried.
pub(super) struct Feed {
    pub(super) replay: Replay,
    ring: Ring,
    timing: Timing,
    /// The least audio of a message, in bytes.
    least: u64,
    carried: Option<Carried>,
    /// Bytes of audio sent on all connections.
    billed: u64,
}

/// What the current connection has carried.
struct Carried {
    /// The provider takes audio.
    ready: bool,
    /// Bytes of audio sent since the last message came.
    unanswered: u64,
    audio_sent_at: Instant,
    any: bool,
    /// The connection had no room for the last piece.
    full: bool,
    /// While kept audio is being sent: when the next piece may go.
    replaying: Option<Instant>,
}

/// How far the feed got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Everything that may be sent was sent.
    All,
    /// The connection takes no more for now, or there is none.
    Some,
    /// Audio that this connection has not been sent is no longer kept.
    TooLate,
}

impl Feed {
    pub(super) fn new(timing: Timing, least: u64) -> Self {
        let ring = Ring::new(AudioFormat::SPEECH.bytes_in(timing.retained));
        Self { replay: Replay::default(), ring, timing, least, carried: None, billed: 0 }
    }

    /// Bytes of audio sent on all connections.
    pub(super) fn billed(&self) -> u64 {
        self.billed
    }

    /// Whether there is a connection that takes audio.
    pub(super) fn is_ready(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.ready)
    }

    /// Whether the connection took audio and was never sent any.
    pub(super) fn is_unused(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.ready && !carried.any)
    }

    /// A connection opened. Answers how much audio is lost, because it is no longer kept.
    pub(super) fn opened(&mut self) -> Duration {
        let now = now();
        self.carried = Some(Carried {
            ready: false,
            unanswered: 0,
            audio_sent_at: now,
            any: false,
            full: false,
            replaying: Some(now),
        });
        self.replay.reopen(self.ring.start())
    }

    /// The provider takes audio now.
    pub(super) fn ready(&mut self) {
        let Some(carried) = &mut self.carried else { return };
        carried.ready = true;
        let silence = bytes_in(self.timing.opening_silence);
        if silence > 0 && self.replay.backlog() == 0 {
            self.pad(silence);
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.carried = None;
    }

    pub(super) fn answered(&mut self) {
        if let Some(carried) = &mut self.carried {
            carried.unanswered = 0;
        }
    }

    /// More audio of the session; sent at once if nothing waits before it.
    pub(super) fn write(&mut self, line: &mut Line, bytes: Bytes) {
        let waiting = self.replay.backlog();
        self.ring.push(&bytes);
        self.replay.write(bytes.len() as u64);
        if waiting == 0 && self.least == 0 {
            self.send(line, bytes);
        }
    }

    /// Adds silence to the session's audio.
    pub(super) fn pad(&mut self, bytes: u64) {
        const SILENCE: [u8; PIECE as usize] = [0; PIECE as usize];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE);
            self.ring.push(&SILENCE[..piece as usize]);
            self.replay.write(piece);
            left -= piece;
        }
    }

    /// Sends what waits, as far as the connection takes it. `closing` sends it without pauses.
    pub(super) fn pump(&mut self, line: &mut Line, closing: bool) -> Pumped {
        let flush = self.replay.is_ending() || closing;
        loop {
            let waiting = self.replay.backlog();
            let Some(carried) = self.carried.as_mut().filter(|carried| carried.ready) else {
                return Pumped::Some;
            };
            if waiting == 0 || (waiting < self.least && !flush) {
                // Less than a message is no backlog: a timer for it would fire forever.
                carried.replaying = None;
                return Pumped::All;
            }
            carried.full = !line.has_room();
            if carried.full || !(closing || carried.may_replay(self.timing.replay_speed)) {
                return Pumped::Some;
            }
            if self.replay.sent() < self.ring.start() {
                return Pumped::TooLate;
            }
            let piece = self.piece(waiting.min(PIECE.max(self.least)) as usize);
            self.send(line, piece);
        }
    }

    /// The next audio to send.
    fn piece(&self, length: usize) -> Bytes {
        let (head, tail) = self.ring.since(self.replay.sent());
        let mut piece = Vec::with_capacity(length);
        piece.extend_from_slice(&head[..length.min(head.len())]);
        piece.extend_from_slice(&tail[..length - piece.len()]);
        piece.into()
    }

    fn send(&mut self, line: &mut Line, bytes: Bytes) {
        let length = bytes.len() as u64;
        let Some(carried) = self.carried.as_mut().filter(|carried| carried.ready) else { return };
        if !line.send(Message::Binary(bytes)) {
            return;
        }
        self.replay.send(length);
        self.billed += length;
        carried.audio_sent_at = now();
        carried.any = true;
        carried.unanswered += length;
        if carried.unanswered >= bytes_in(self.timing.answer_due_after) {
            line.expect();
        }
    }

    /// Asks the provider to answer the end of speech, if all of it was sent.
    pub(super) fn ask(&mut self, line: &mut Line, question: &str) {
        if self.replay.should_ask() && line.send(Message::text(question)) {
            self.replay.asked(now());
            if self.carried.as_ref().is_some_and(|carried| carried.unanswered >= OWED) {
                line.expect();
            }
        }
    }

    /// Adds `silence` when the connection was sent no audio for `after`.
    pub(super) fn pad_if_still(&mut self, now: Instant, (after, silence): (Duration, u64)) {
        if let Some(carried) = &mut self.carried
            && carried.ready
            && carried.audio_sent_at + after <= now
        {
            carried.audio_sent_at = now;
            self.pad(silence);
        }
    }

    /// When the feed wants to be pumped, or padded after a pause of `padding`.
    pub(super) fn deadline(&self, padding: Option<Duration>) -> Option<Instant> {
        let carried = self.carried.as_ref().filter(|carried| carried.ready)?;
        let replay = carried.replaying.filter(|_| self.replay.backlog() > 0 && !carried.full);
        [padding.map(|after| carried.audio_sent_at + after), replay].into_iter().flatten().min()
    }
}

impl Carried {
    /// Whether the next piece of kept audio may go; the provider takes it only so much faster than
    /// it sounds.
    fn may_replay(&mut self, speed: f64) -> bool {
        let Some(at) = self.replaying else { return true };
        let now = now();
        if at > now {
            return false;
        }
        let piece = lasting(PIECE).div_f64(speed);
        self.replaying = Some(at.max(now - piece) + piece);
        true
    }
}
