//! Any dialogue with the keeper of a grant keeps the law of machines, whatever another process left
//! in the store.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use livos_core::{machine::Machine, secret::Secret, time::Timestamp};
use livos_fuzz::law::{self, Time};
use livos_integrations::oauth::{
    EndpointError, GrantInput, GrantLifecycle, GrantOutput, LifecycleConfig, Record, TokenAccess, Tokens,
};

/// Deadlines of the other process: a week of it, with a warning, an end and a new consent.
const DEADLINES: usize = 600;

/// What another process writes in the life of a grant: leases, tokens, alerts, ends.
static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let mut machine = GrantLifecycle::new(LifecycleConfig::google_testing(), 2);
    let (mut now, mut version, mut records) = (Timestamp::start(), 0, Vec::new());
    for deadline in 0..DEADLINES {
        match deadline {
            20 => machine.handle_input(now, GrantInput::Granted(tokens(Some(3600), true))),
            500 => machine.handle_input(now, GrantInput::Disconnect),
            _ => {}
        }
        while let Some(output) = machine.poll_output() {
            let input = match output {
                GrantOutput::Load => GrantInput::Loaded { found: None },
                GrantOutput::Save { record, .. } => {
                    records.push(record);
                    version += 1;
                    GrantInput::Saved { version }
                }
                GrantOutput::Refresh { .. } => GrantInput::Refreshed(tokens(Some(3600), false)),
                GrantOutput::Revoke { .. } => GrantInput::Revoked(Ok(())),
                _ => GrantInput::Raised,
            };
            machine.handle_input(now, input);
        }
        now = machine.poll_timeout().unwrap_or(now).max(now);
        machine.handle_timeout(now);
    }
    records
});

fn tokens(lifetime: Option<u64>, refresh: bool) -> Tokens {
    let mut tokens = Tokens::new(Secret::new("access"));
    tokens.refresh_token = refresh.then(|| Secret::new("refresh"));
    tokens.lifetime = lifetime.map(Duration::from_secs);
    tokens
}

fn any_tokens(data: &mut Unstructured<'_>) -> Result<Tokens> {
    let seconds = data.arbitrary::<Option<u16>>()?.map(u64::from);
    let mut tokens = tokens(seconds, data.arbitrary()?);
    let ends = data.arbitrary::<Option<u32>>()?;
    tokens.refresh_lifetime = ends.map(|seconds| Duration::from_secs(u64::from(seconds) % 1_000_000));
    Ok(tokens)
}

fn any_error(data: &mut Unstructured<'_>) -> Result<EndpointError> {
    Ok(match data.int_in_range(0..=2)? {
        0 => EndpointError::InvalidGrant(None),
        1 => EndpointError::Refused("invalid_client".into()),
        _ => EndpointError::Unavailable {
            what: "a test".into(),
            retry_after: data.arbitrary::<Option<u32>>()?.map(|seconds| Duration::from_secs(seconds.into())),
        },
    })
}

fn any_input(data: &mut Unstructured<'_>) -> Result<GrantInput> {
    Ok(match data.int_in_range(0..=16)? {
        0 => GrantInput::Loaded { found: None },
        1 | 2 => {
            GrantInput::Loaded { found: Some((data.choose(&RECORDS)?.clone(), data.int_in_range(1..=9)?)) }
        }
        3 => GrantInput::Unreadable,
        4..=6 => GrantInput::Saved { version: data.int_in_range(1..=9)? },
        7 => GrantInput::Conflict,
        8 => GrantInput::StoreFailed,
        9 => GrantInput::Wanted,
        10 => GrantInput::Rejected { serial: data.int_in_range(0..=9)? },
        11 => GrantInput::Refreshed(any_tokens(data)?),
        12 => GrantInput::RefreshFailed(any_error(data)?),
        13 => GrantInput::Granted(any_tokens(data)?),
        14 => GrantInput::Disconnect,
        15 if data.arbitrary()? => GrantInput::Revoked(Ok(())),
        15 => GrantInput::Revoked(Err(any_error(data)?)),
        _ if data.arbitrary()? => GrantInput::Raised,
        _ => GrantInput::RaiseFailed,
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((holder, data)) = data.split_first() else { return };
    let mut machine = GrantLifecycle::new(LifecycleConfig::google_testing(), (*holder).into());
    let mut end = Timestamp::start();
    law::play(&mut machine, Timestamp::start(), data, |data, now| {
        end = now;
        any_input(data)
    });
    if let TokenAccess::Ready(token) = machine.access(end) {
        assert_eq!(token.serial(), machine.status().serial, "the newest token is handed out");
    }
});
