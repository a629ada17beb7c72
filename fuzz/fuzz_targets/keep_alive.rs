//! Any dialogue with the keep-alive machine keeps the law of machines.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use livos_core::keep_alive::{KeepAlive, KeepAliveConfig, KeepAliveInput};
use livos_fuzz::law::{self, Time};

fuzz_target!(|data: &[u8]| {
    let mut machine = KeepAlive::new(KeepAliveConfig::default());
    law::play(&mut machine, Instant::start(), data, |data, _| {
        Ok(*data.choose(&[KeepAliveInput::Sent, KeepAliveInput::Expect, KeepAliveInput::Received])?)
    });
});
