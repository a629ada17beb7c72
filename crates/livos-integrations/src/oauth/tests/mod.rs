//! Histories of a grant: dialogues by hand, and processes that share one store in every order of
//! events.

mod dialogues;
mod endings;
mod law;
mod process;
mod processes;

use std::time::Duration;

use livos_core::{machine::Machine, secret::Secret, time::Timestamp};

use super::*;

const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Tokens as a consent gives them.
fn tokens(access: &str, refresh: Option<&str>) -> Tokens {
    let mut tokens = Tokens::new(Secret::new(access));
    tokens.refresh_token = refresh.map(Secret::new);
    tokens.lifetime = Some(Duration::from_secs(3_599));
    tokens
}

/// Google's rules, without chance.
fn config() -> LifecycleConfig {
    let mut config = LifecycleConfig::google();
    config.jitter = Duration::ZERO;
    (config.backoff.jitter, config.store_backoff.jitter) = (0.0, 0.0);
    config
}

fn unavailable() -> EndpointError {
    EndpointError::unavailable("a test")
}

/// One output, in short.
fn short(output: &GrantOutput) -> String {
    match output {
        GrantOutput::Load => "load".into(),
        GrantOutput::Save { .. } => "save".into(),
        GrantOutput::Refresh { refresh_token } => format!("refresh with {}", refresh_token.expose()),
        GrantOutput::Revoke { token } => format!("revoke {}", token.expose()),
        GrantOutput::Raise(alert) => format!("raise: {alert}"),
    }
}

/// What a caller gets, in short.
fn gets(machine: &GrantLifecycle, now: Timestamp) -> String {
    match machine.access(now) {
        TokenAccess::Ready(token) => token.secret().expose().to_owned(),
        TokenAccess::Wait => "wait".into(),
        TokenAccess::Refused(error) => error.to_string(),
    }
}

fn drain(machine: &mut GrantLifecycle) -> Vec<GrantOutput> {
    std::iter::from_fn(|| machine.poll_output()).collect()
}
