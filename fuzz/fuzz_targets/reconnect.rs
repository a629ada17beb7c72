//! Any dialogue with the reconnect machine keeps the law of machines.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use livos_core::reconnect::{Reconnect, ReconnectConfig, ReconnectInput};
use livos_fuzz::law::{self, Time};

fuzz_target!(|data: &[u8]| {
    let Some((seed, data)) = data.split_first() else { return };
    let mut machine = Reconnect::new(ReconnectConfig::default(), (*seed).into());
    law::play(&mut machine, Instant::start(), data, |data, _| {
        Ok(match data.int_in_range(0..=5)? {
            0 => ReconnectInput::Start,
            1 => ReconnectInput::Connected,
            2 => ReconnectInput::Lost,
            3 => ReconnectInput::Busy { retry_after: Duration::from_millis(data.arbitrary::<u32>()?.into()) },
            4 => ReconnectInput::Refused,
            _ => ReconnectInput::Drain,
        })
    });
});
