//! What callers, the provider and the person answer.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use livos_core::time::Timestamp;

use super::{
    Doing, GrantLifecycle, LEAST, Next,
    record::{MOST_ALERTS, end, tell},
};
use crate::oauth::{
    Alert, Ending, EndpointError, Tokens,
    grant::{Attempts, Plain, Standing, Told},
};

/// For how long a provider that does not listen is told that a grant is over. A day: after that it
/// is not going to.
const REVOKE_FOR: Duration = Duration::from_secs(24 * 3600);

impl GrantLifecycle {
    pub(super) fn refreshed(&mut self, now: Timestamp, tokens: Tokens) {
        let Doing::Refreshing { since } = self.doing else { return };
        self.doing = Doing::Resting;
        self.backoff.reset();
        self.notice_server_time(now, &tokens);
        let mut data = self.data.clone();
        let Standing::Held(held) = &mut data.standing else { return self.proceed(now) };
        if self.granted.is_some() {
            // A new consent came meanwhile; these tokens belong to the old one.
            return self.proceed(now);
        }
        held.lifetime = self.lifetime(&tokens, true);
        held.access_token = Plain(tokens.access_token);
        held.obtained_at = since;
        // The old one stays where no new one comes.
        if let Some(rotated) = tokens.refresh_token {
            held.refresh_token = Some(Plain(rotated));
        }
        if !tokens.scopes.is_empty() {
            held.scopes = tokens.scopes;
        }
        if let Some(left) = tokens.refresh_lifetime {
            held.ends_at = Some(since.plus(left));
        }
        data.serial += 1;
        data.attempts = Attempts { at: Some(now), ..Attempts::default() };
        data.told = Told { consent_ends: data.told.consent_ends, ..Told::default() };
        data.lease = None;
        self.jitter = self.backoff.jitter_up_to(self.config.jitter);
        self.save(data, Next::Rest);
    }

    pub(super) fn refresh_failed(&mut self, now: Timestamp, error: &EndpointError) {
        if !matches!(self.doing, Doing::Refreshing { .. }) {
            return;
        }
        self.doing = Doing::Resting;
        if self.granted.is_some() {
            // It was the old grant that failed.
            return self.proceed(now);
        }
        let mut data = self.data.clone();
        let alert = match error {
            EndpointError::InvalidGrant(subtype) => {
                end(&mut data, now, Ending::InvalidGrant(subtype.clone()));
                None
            }
            EndpointError::Refused(name) => {
                data.attempts.failed(now, error, now.plus(self.config.misconfigured_retry.max(LEAST)));
                let first = !std::mem::replace(&mut data.told.misconfigured, true);
                first.then(|| Alert::Misconfigured(name.clone()))
            }
            EndpointError::Unavailable { retry_after, .. } => {
                let asked = retry_after.unwrap_or_default().min(self.config.longest_retry_after);
                let wait = self.backoff.next_delay().max(asked).max(LEAST);
                data.attempts.failed(now, error, now.plus(wait));
                let since = data.attempts.failing_since.unwrap_or(now);
                let long = now.since(since) >= self.config.failing_after && !data.told.failing;
                data.told.failing |= long;
                long.then_some(Alert::Failing { since })
            }
        };
        if let Some(alert) = alert {
            tell(&mut data, alert);
        }
        // While there is something to tell, the lease stays with the one who tells.
        let next = if data.outbox.is_empty() { Next::Rest } else { Next::Raise };
        data.lease = (next == Next::Raise).then(|| self.lease(now));
        self.save(data, next);
    }

    pub(super) fn revoked(&mut self, now: Timestamp, result: Result<(), EndpointError>) {
        if !matches!(self.doing, Doing::Revoking) {
            return;
        }
        self.doing = Doing::Resting;
        let mut data = self.data.clone();
        match result {
            Err(error) if self.may_listen_yet(now, &error) => {
                let wait = self.backoff.next_delay().max(LEAST);
                data.attempts.failed(now, &error, now.plus(wait));
            }
            // What the provider does not know any more is over too, and at some time there is an
            // end to asking.
            Ok(()) | Err(_) => {
                self.backoff.reset();
                data.attempts = Attempts::default();
                data.standing = Standing::Ended { why: Ending::Disconnected, at: now };
            }
        }
        self.save(data, Next::Rest);
    }

    pub(super) fn may_listen_yet(&self, now: Timestamp, error: &EndpointError) -> bool {
        let since = self.data.attempts.failing_since.unwrap_or(now);
        !matches!(error, EndpointError::InvalidGrant(_)) && now.since(since) < REVOKE_FOR
    }

    pub(super) fn raised(&mut self, now: Timestamp, was_told: bool) {
        if !matches!(self.doing, Doing::Raising) {
            return;
        }
        self.doing = Doing::Resting;
        self.raise_at = (!was_told).then(|| now.plus(self.store_backoff.next_delay().max(LEAST)));
        if !was_told {
            return self.proceed(now);
        }
        if self.is_unreadable {
            self.data.outbox.clear();
            return self.proceed(now);
        }
        let mut data = self.data.clone();
        if !data.outbox.is_empty() {
            self.raised.push((data.epoch, data.outbox.remove(0)));
            let excess = self.raised.len().saturating_sub(MOST_ALERTS);
            self.raised.drain(..excess);
        }
        data.lease = data.lease.filter(|_| !data.outbox.is_empty());
        self.save(data, Next::Rest);
    }

    pub(super) fn rejected(&mut self, now: Timestamp, serial: u64) {
        if let Standing::Held(held) = &self.data.standing
            && serial == self.data.serial
        {
            let earliest = held.obtained_at.plus(self.config.forced_interval);
            self.forced_at.get_or_insert(earliest.max(now));
        }
    }

    /// Somebody asks, so another process's consent is worth looking for.
    pub(super) fn wanted(&mut self, now: Timestamp) {
        let is_over = !matches!(self.data.standing, Standing::Held(_));
        if matches!(self.doing, Doing::Resting)
            && is_over
            && self.looked_at.plus(self.config.recheck_wanted) <= now
            && self.store_at.is_none()
        {
            self.load();
        }
    }

    pub(super) fn notice_server_time(&mut self, now: Timestamp, tokens: &Tokens) {
        if let Some(theirs) = tokens.server_time {
            self.clock_skew_ms = Some(theirs.unix_ms().saturating_sub(now.unix_ms()));
        }
    }

    /// A lifetime of zero is one that the provider does not know.
    pub(super) fn lifetime(&self, tokens: &Tokens, renewable: bool) -> Option<Duration> {
        let said = tokens.lifetime.filter(|lifetime| !lifetime.is_zero());
        said.or(renewable.then_some(self.config.assumed_lifetime))
    }
}
