//! Random dialogues with a machine, held to its law.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use arbitrary::{Result, Unstructured};
use livos_core::{machine::Machine, testing::check_law, time::Timestamp};

/// The most inputs of one dialogue: what goes wrong after more goes wrong after fewer.
const MAX_STEPS: usize = 200;

/// A kind of time that a dialogue can move through.
pub trait Time: Copy + Ord {
    /// Some beginning.
    fn start() -> Self;
    /// This much later.
    fn later(self, by: Duration) -> Self;
}

impl Time for Instant {
    fn start() -> Self {
        Instant::now()
    }

    fn later(self, by: Duration) -> Self {
        self + by
    }
}

impl Time for Timestamp {
    fn start() -> Self {
        Timestamp::from_unix_ms(1_800_000_000_000)
    }

    fn later(self, by: Duration) -> Self {
        self.plus(by)
    }
}

/// Plays inputs that `input` makes of `data`, at growing times from `start` on, and checks the law
/// at each step.
pub fn play<M>(
    machine: &mut M,
    start: M::Time,
    data: &[u8],
    mut input: impl FnMut(&mut Unstructured<'_>, M::Time) -> Result<M::Input>,
) where
    M: Machine + Debug,
    M::Time: Time + Debug,
    M::Output: Debug,
{
    let mut data = Unstructured::new(data);
    let mut now = start;
    let mut dialogue = Vec::new();
    while dialogue.len() < MAX_STEPS && !data.is_empty() {
        let (Ok(wait), Ok(scale)) = (data.arbitrary::<u8>(), data.int_in_range(0..=13)) else { break };
        now = now.later(Duration::from_millis(u64::from(wait) << scale));
        let Ok(input) = input(&mut data, now) else { break };
        dialogue.push((now, input));
    }
    check_law(machine, dialogue);
}
