//! Any dialogue with the watch of a mailbox keeps the law of machines, and nothing is told twice.
#![no_main]

use std::time::Duration;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use livos_core::time::Timestamp;
use livos_fuzz::law::{self, Time};
use livos_integrations::gmail::{
    HistoryId, Remaining, Synced, WatchConfig, WatchFailure, WatchInput, WatchRenewal, WatchState,
};

fn failure(data: &mut Unstructured<'_>) -> arbitrary::Result<WatchFailure> {
    Ok(match data.int_in_range(0..=3)? {
        0 => WatchFailure::Temporary { retry_after: None },
        1 => WatchFailure::Temporary {
            retry_after: Some(Duration::from_secs(data.arbitrary::<u16>()?.into())),
        },
        2 => WatchFailure::Lasting,
        _ => WatchFailure::TokenDead,
    })
}

fuzz_target!(|data: &[u8]| {
    let mut machine = WatchRenewal::new(WatchConfig::push("projects/p/topics/t"), WatchState::default(), 1);
    law::play(&mut machine, Timestamp::start(), data, |data, now| {
        Ok(match data.int_in_range(0..=9)? {
            0 | 1 => WatchInput::Started,
            2 => WatchInput::Armed {
                expires_at: now.plus(Duration::from_secs(data.int_in_range(0..=604_800)?)),
            },
            3 => WatchInput::ArmFailed(failure(data)?),
            4 => WatchInput::Notified { history_id: HistoryId(data.arbitrary::<u8>()?.into()) },
            5 => WatchInput::SyncFailed(failure(data)?),
            6 => WatchInput::TokenDied,
            7 => WatchInput::Consented,
            8 => WatchInput::ClockSetBack,
            _ => WatchInput::Synced(Synced {
                cursor: HistoryId(data.arbitrary::<u8>()?.into()),
                new: data.int_in_range(0..=2)?,
                rest: *data.choose(&[Remaining::Nothing, Remaining::More, Remaining::QueueFull])?,
                skipped: data.arbitrary()?,
            }),
        })
    });
});
