//! What both versions do with arriving audio: bill it, refuse to take it too fast, and hear it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Meter, ear::Ear, hearing::Words};
use crate::tones::Word;

/// Audio that may arrive ahead of the cap, in seconds.
const ALLOWANCE: f64 = 1.0;

#[derive(Debug)]
pub(super) struct Intake {
    pub(super) meter: Meter,
    pub(super) ear: Ear,
    /// Bytes of a second.
    bytes_per_second: f64,
    decodable: bool,
    /// When audio received so far has been worked off.
    worked_off: Instant,
    /// No message is read before this.
    pub(super) read_after: Instant,
}

/// The bytes are no audio that this twin can decode.
pub(super) struct Undecodable;

impl Intake {
    pub(super) fn new(meter: Meter, encoding: Option<&str>, rate: u32, channels: usize) -> Self {
        let now = Instant::now();
        Self {
            ear: Ear::new(&meter.twin.0.ears, rate, channels),
            meter,
            bytes_per_second: f64::from(rate) * 2.0 * channels as f64,
            decodable: encoding == Some("linear16"),
            worked_off: now,
            read_after: now,
        }
    }

    pub(super) fn accept(&mut self, bytes: &[u8]) -> Result<(), Undecodable> {
        if !self.decodable {
            return Err(Undecodable);
        }
        let seconds = bytes.len() as f64 / self.bytes_per_second;
        self.meter.audio(seconds);
        if let Some(cap) = self.meter.config().intake_cap {
            let now = Instant::now();
            self.worked_off = self.worked_off.max(now) + Duration::from_secs_f64(seconds / cap);
            self.read_after = self.worked_off.checked_sub(Duration::from_secs_f64(ALLOWANCE)).unwrap_or(now);
        }
        self.ear.accept(bytes);
        Ok(())
    }
}

/// Something to be sent, in its place in the order.
pub(super) struct Due<T> {
    pub(super) at: Instant,
    pub(super) words: Words,
    pub(super) what: T,
}

/// Waits until the first thing may be sent and its words are known. Cancel safe.
pub(super) async fn first_due<T>(queue: &mut VecDeque<Due<T>>) -> Vec<Word> {
    match queue.front_mut() {
        Some(due) => {
            sleep_until(due.at).await;
            (&mut due.words).await
        }
        None => std::future::pending().await,
    }
}

/// Tenths of milliseconds are all that the provider prints.
pub(super) fn seconds(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
