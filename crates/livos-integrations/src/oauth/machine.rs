//! The life of one grant, in any number of processes: when it is refreshed, by whom, what is saved before what, and when a person is told.
//!
//! The record in the store is the one truth, and each decision is one write of it under the version that was read. So a refresh goes: claim the lease
//! (a write), ask the provider, write what came of it, use it. A process that is killed in between leaves a lease that ends by itself, and the old
//! tokens; one that finds another version looks again before it believes anything, even `invalid_grant`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod change;
mod messages;
mod plan;
mod view;

use std::{collections::VecDeque, time::Duration};

use livos_core::{backoff::Backoff, machine::Machine, time::Timestamp};

pub use self::messages::{Access, Expected, GrantInput, GrantOutput};
use self::{
    change::{end, tell},
    plan::Action,
};
use super::{
    Alert, Ending, EndpointError, LifecycleConfig, Record, Tokens,
    grant::{Attempts, Data, Held, Lease, Plain, Standing, Told},
};

/// The machine. Starts by reading the store.
#[derive(Debug)]
pub struct GrantLifecycle {
    config: LifecycleConfig,
    /// This process among those that share the grant.
    holder: u64,
    backoff: Backoff,
    store_backoff: Backoff,
    jitter: Duration,
    /// The truth as far as it is known here.
    data: Data,
    version: Expected,
    doing: Doing,
    is_known: bool,
    is_unreadable: bool,
    /// The data has something that the store does not have.
    is_unsaved: bool,
    looked_at: Timestamp,
    /// Another process's lease was seen to have run out then, and the store has worked since.
    lapsed_at: Option<Timestamp>,
    /// Nothing is begun before: the store failed.
    store_at: Option<Timestamp>,
    /// No alert is raised before: the last one did not come through.
    raise_at: Option<Timestamp>,
    /// A refresh is forced then, because a token was refused.
    forced_at: Option<Timestamp>,
    granted: Option<Tokens>,
    is_disconnecting: bool,
    /// Alerts that were raised here, by epoch, until the store knows.
    raised: Vec<(u64, Alert)>,
    clock_skew_ms: Option<i64>,
    outputs: VecDeque<GrantOutput>,
}

/// What is under way. One thing at a time.
#[derive(Debug)]
enum Doing {
    Loading,
    LoadLater {
        at: Timestamp,
    },
    Resting,
    /// Another process has the lease.
    Waiting {
        look_at: Timestamp,
    },
    Saving {
        data: Box<Data>,
        next: Next,
    },
    /// What is in memory alone is written again then.
    SaveLater {
        at: Timestamp,
    },
    Refreshing {
        since: Timestamp,
    },
    Revoking,
    Raising,
}

/// What a write was for: it comes after the write, and only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Rest,
    Refresh,
    Raise,
}

/// The shortest wait: deadlines must move on.
const LEAST: Duration = Duration::from_millis(1);
/// Alerts that wait in a record. There are few kinds, and each is told once.
const MOST_ALERTS: usize = 16;

impl GrantLifecycle {
    /// A grant that is read from the store first. `holder` is random, and tells this process from the others.
    pub fn new(config: LifecycleConfig, holder: u64) -> Self {
        let mut backoff = Backoff::new(config.backoff, holder);
        let store_backoff = Backoff::new(config.store_backoff, holder.wrapping_add(1));
        Self {
            jitter: backoff.jitter_up_to(config.jitter),
            config,
            holder,
            backoff,
            store_backoff,
            data: Data::default(),
            version: Expected::Nothing,
            doing: Doing::Loading,
            is_known: false,
            is_unreadable: false,
            is_unsaved: false,
            looked_at: Timestamp::from_unix_ms(i64::MIN),
            lapsed_at: None,
            store_at: None,
            raise_at: None,
            forced_at: None,
            granted: None,
            is_disconnecting: false,
            raised: Vec::new(),
            clock_skew_ms: None,
            outputs: VecDeque::from([GrantOutput::Load]),
        }
    }

    /// Does what is due. Called after everything that happens.
    fn proceed(&mut self, now: Timestamp) {
        if !matches!(self.doing, Doing::Resting) {
            return;
        }
        if let Some(tokens) = self.granted.take() {
            let data = self.consented(now, tokens);
            return self.save(data, Next::Rest);
        }
        if std::mem::take(&mut self.is_disconnecting)
            && let Some(data) = self.disconnected(now)
        {
            return self.save(data, Next::Rest);
        }
        let Some((at, action)) = self.plan() else { return };
        if at > now {
            return;
        }
        if action == Action::Look {
            return self.load();
        }
        if self.is_unreadable {
            // What can't be read stays as it is: the key may come back. So this one alert is not written before it is raised.
            return self.raise();
        }
        if self.belongs_to_another(now) {
            self.doing = Doing::Waiting { look_at: now.plus(self.config.poll.max(LEAST)) };
            return;
        }
        self.begin(now, action);
    }

    /// Whether another process is at it: by its lease, or by what it may still have in memory after that.
    fn belongs_to_another(&mut self, now: Timestamp) -> bool {
        let Some(lease) = self.data.lease.filter(|lease| lease.holder != self.holder) else {
            self.lapsed_at = None;
            return false;
        };
        if lease.until > now {
            self.lapsed_at = None;
            return true;
        }
        now < self.lapsed_at.get_or_insert(now).plus(self.config.grace)
    }

    /// Begins what is due. The write that claims the lease comes first, and carries what is known by then.
    fn begin(&mut self, now: Timestamp, action: Action) {
        let mut data = self.data.clone();
        data.lease = Some(self.lease(now));
        let next = match action {
            Action::Refresh => Next::Refresh,
            Action::Raise => Next::Raise,
            Action::End => {
                end(&mut data, now, Ending::NoRefreshToken);
                Next::Raise
            }
            Action::WarnOfEnd(at) => {
                data.told.consent_ends = true;
                tell(&mut data, Alert::ConsentEnds { at });
                Next::Raise
            }
            Action::WarnOfIdle(at) => {
                data.told.idle = true;
                tell(&mut data, Alert::IdleEnds { at });
                Next::Raise
            }
            Action::Revoke => {
                if let Standing::Disconnecting { token } = &self.data.standing {
                    self.outputs.push_back(GrantOutput::Revoke { token: token.0.clone() });
                    self.doing = Doing::Revoking;
                }
                return;
            }
            Action::Look => return,
        };
        self.save(data, next);
    }

    fn raise(&mut self) {
        if let Some(alert) = self.data.outbox.first() {
            self.outputs.push_back(GrantOutput::Raise(alert.clone()));
            self.doing = Doing::Raising;
        }
    }

    fn load(&mut self) {
        self.outputs.push_back(GrantOutput::Load);
        self.doing = Doing::Loading;
    }

    fn save(&mut self, data: Data, next: Next) {
        self.outputs
            .push_back(GrantOutput::Save { record: Record(Box::new(data.clone())), expected: self.version });
        self.doing = Doing::Saving { data: Box::new(data), next };
    }

    fn loaded(&mut self, now: Timestamp, found: Option<(Record, u64)>) {
        self.version = found.as_ref().map_or(Expected::Nothing, |(_, version)| Expected::Version(*version));
        let theirs = found.map(|(record, _)| *record.0).unwrap_or_default();
        (self.is_known, self.is_unreadable, self.looked_at) = (true, false, now);
        self.store_recovered();
        self.doing = Doing::Resting;
        let ours = (self.data.epoch, self.data.serial);
        if self.is_unsaved && ours > (theirs.epoch, theirs.serial) {
            // Somebody wrote what was gone beyond here already: nothing that the provider gave may be lost.
            self.data.serial = self.data.serial.max(theirs.serial + 1);
            return self.save_again(now);
        }
        self.is_unsaved = false;
        if theirs.serial != self.data.serial || theirs.epoch != self.data.epoch {
            self.forced_at = None;
            self.jitter = self.backoff.jitter_up_to(self.config.jitter);
        }
        self.data = theirs;
        let (epoch, raised) = (self.data.epoch, &self.raised);
        self.data.outbox.retain(|alert| !raised.contains(&(epoch, alert.clone())));
        // A lease by a clock that is ahead of ours ends by ours.
        if let Some(lease) = &mut self.data.lease {
            lease.until = lease.until.min(now.plus(self.config.lease));
        }
        self.notice_clock(now);
        self.proceed(now);
    }

    fn saved(&mut self, now: Timestamp, version: u64) {
        let Some((data, next)) = self.take_saving() else { return };
        if data.serial != self.data.serial {
            self.forced_at = None;
        }
        self.data = data;
        self.version = Expected::Version(version);
        (self.is_unsaved, self.is_known, self.is_unreadable) = (false, true, false);
        self.looked_at = now;
        self.store_recovered();
        if self.granted.is_some() || self.is_disconnecting {
            return self.proceed(now);
        }
        match (next, &self.data.standing) {
            (Next::Refresh, Standing::Held(Held { refresh_token: Some(token), .. })) => {
                self.outputs.push_back(GrantOutput::Refresh { refresh_token: token.0.clone() });
                self.doing = Doing::Refreshing { since: now };
            }
            (Next::Raise, _) if !self.data.outbox.is_empty() => self.raise(),
            _ => self.proceed(now),
        }
    }

    /// The store failed or has another version. A claim is given up; what the provider gave is kept in memory until it is written.
    fn not_saved(&mut self, now: Timestamp, conflict: bool) {
        let Some((data, next)) = self.take_saving() else { return };
        self.lapsed_at = self.lapsed_at.filter(|_| conflict);
        let is_claim = next == Next::Refresh;
        if !is_claim {
            if data.serial != self.data.serial {
                self.forced_at = None;
            }
            self.data = data;
            self.is_unsaved = true;
        }
        if conflict {
            return self.load();
        }
        let at = now.plus(self.store_backoff.next_delay().max(LEAST));
        if is_claim {
            self.store_at = Some(at);
            self.proceed(now);
        } else {
            self.doing = Doing::SaveLater { at };
        }
    }

    fn take_saving(&mut self) -> Option<(Data, Next)> {
        match std::mem::replace(&mut self.doing, Doing::Resting) {
            Doing::Saving { data, next } => Some((*data, next)),
            other => {
                self.doing = other;
                None
            }
        }
    }

    fn store_recovered(&mut self) {
        self.store_at = None;
        self.store_backoff.reset();
    }

    /// Writes what is in memory alone. While there is something to tell, the lease stays with the one who tells, and counts from now.
    fn save_again(&mut self, now: Timestamp) {
        let mut data = self.data.clone();
        let next = if data.outbox.is_empty() { Next::Rest } else { Next::Raise };
        data.lease = (next == Next::Raise).then(|| self.lease(now));
        self.save(data, next);
    }

    fn lease(&self, now: Timestamp) -> Lease {
        Lease { holder: self.holder, until: now.plus(self.config.lease) }
    }

    fn refreshed(&mut self, now: Timestamp, tokens: Tokens) {
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

    fn refresh_failed(&mut self, now: Timestamp, error: &EndpointError) {
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

    fn revoked(&mut self, now: Timestamp, result: Result<(), EndpointError>) {
        if !matches!(self.doing, Doing::Revoking) {
            return;
        }
        self.doing = Doing::Resting;
        let mut data = self.data.clone();
        match result {
            Err(error @ EndpointError::Unavailable { .. }) => {
                let wait = self.backoff.next_delay().max(LEAST);
                data.attempts.failed(now, &error, now.plus(wait));
            }
            // What the provider does not know any more is over too.
            Ok(()) | Err(_) => {
                self.backoff.reset();
                data.attempts = Attempts::default();
                data.standing = Standing::Ended { why: Ending::Disconnected, at: now };
            }
        }
        self.save(data, Next::Rest);
    }

    fn raised(&mut self, now: Timestamp, was_told: bool) {
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

    fn unreadable(&mut self, now: Timestamp) {
        self.version = Expected::Anything;
        self.looked_at = now;
        self.store_recovered();
        self.doing = Doing::Resting;
        if self.is_unsaved {
            // What is in memory is better than what nobody can read.
            return self.save_again(now);
        }
        self.data = Data { outbox: std::mem::take(&mut self.data.outbox), ..Data::default() };
        if !std::mem::replace(&mut self.is_unreadable, true) {
            self.data.outbox = vec![Alert::NeedsConsent(Ending::Unreadable)];
        }
        self.proceed(now);
    }

    fn rejected(&mut self, now: Timestamp, serial: u64) {
        if let Standing::Held(held) = &self.data.standing
            && serial == self.data.serial
        {
            let earliest = held.obtained_at.plus(self.config.forced_interval);
            self.forced_at.get_or_insert(earliest.max(now));
        }
    }

    /// Somebody asks, so another process's consent is worth looking for.
    fn wanted(&mut self, now: Timestamp) {
        let is_over = !matches!(self.data.standing, Standing::Held(_));
        if matches!(self.doing, Doing::Resting)
            && is_over
            && self.looked_at.plus(self.config.recheck_wanted) <= now
            && self.store_at.is_none()
        {
            self.load();
        }
    }

    /// A clock that was set back would keep an old token for too long.
    fn notice_clock(&mut self, now: Timestamp) {
        self.looked_at = self.looked_at.min(now);
        let soon = now.plus(self.config.store_backoff.longest.max(LEAST));
        if let Doing::LoadLater { at } | Doing::SaveLater { at } = &mut self.doing {
            *at = soon.min(*at);
        }
        self.store_at = self.store_at.map(|at| at.min(soon));
        self.raise_at = self.raise_at.map(|at| at.min(soon));
        let lease = now.plus(self.config.lease);
        let retry = now.plus(self.config.longest_retry_after);
        if let Standing::Held(held) = &mut self.data.standing
            && held.obtained_at > now.plus(self.config.clock_tolerance)
        {
            held.obtained_at = now;
            self.forced_at = Some(now);
            self.data.attempts.retry_at = self.data.attempts.retry_at.map(|at| at.min(retry));
            if let Some(held) = &mut self.data.lease {
                held.until = held.until.min(lease);
            }
        }
    }

    fn notice_server_time(&mut self, now: Timestamp, tokens: &Tokens) {
        if let Some(theirs) = tokens.server_time {
            self.clock_skew_ms = Some(theirs.unix_ms().saturating_sub(now.unix_ms()));
        }
    }

    /// A lifetime of zero is one that the provider does not know.
    fn lifetime(&self, tokens: &Tokens, renewable: bool) -> Option<Duration> {
        let said = tokens.lifetime.filter(|lifetime| !lifetime.is_zero());
        said.or(renewable.then_some(self.config.assumed_lifetime))
    }
}

impl Machine for GrantLifecycle {
    type Input = GrantInput;
    type Output = GrantOutput;
    type Time = Timestamp;

    fn handle_input(&mut self, now: Timestamp, input: GrantInput) {
        self.notice_clock(now);
        match (input, &self.doing) {
            (GrantInput::Loaded { found }, Doing::Loading) => self.loaded(now, found),
            (GrantInput::Unreadable, Doing::Loading) => self.unreadable(now),
            (GrantInput::StoreFailed, Doing::Loading) => {
                self.lapsed_at = None;
                let at = now.plus(self.store_backoff.next_delay().max(LEAST));
                self.doing = Doing::LoadLater { at };
            }
            (GrantInput::Saved { version }, _) => self.saved(now, version),
            (GrantInput::Conflict, _) => self.not_saved(now, true),
            (GrantInput::StoreFailed, _) => self.not_saved(now, false),
            (GrantInput::Wanted, _) => self.wanted(now),
            (GrantInput::Rejected { serial }, _) => self.rejected(now, serial),
            (GrantInput::Refreshed(tokens), _) => self.refreshed(now, tokens),
            (GrantInput::RefreshFailed(error), _) => self.refresh_failed(now, &error),
            (GrantInput::Granted(tokens), Doing::SaveLater { .. }) => {
                // It joins what is in memory alone already, and is written at once.
                let data = self.consented(now, tokens);
                self.save(data, Next::Rest);
            }
            (GrantInput::Granted(tokens), _) => self.granted = Some(tokens),
            (GrantInput::Disconnect, _) => self.is_disconnecting = true,
            (GrantInput::Revoked(result), _) => self.revoked(now, result),
            (GrantInput::Raised, _) => self.raised(now, true),
            (GrantInput::RaiseFailed, _) => self.raised(now, false),
            (GrantInput::Loaded { .. } | GrantInput::Unreadable, _) => {}
        }
        self.proceed(now);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        match &self.doing {
            Doing::LoadLater { at } | Doing::Waiting { look_at: at } if *at <= now => self.load(),
            Doing::SaveLater { at } if *at <= now => self.save_again(now),
            _ => self.proceed(now),
        }
    }

    fn poll_output(&mut self) -> Option<GrantOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.doing {
            Doing::LoadLater { at } | Doing::SaveLater { at } | Doing::Waiting { look_at: at } => Some(*at),
            Doing::Resting => self.plan().map(|(at, _)| at),
            Doing::Loading
            | Doing::Saving { .. }
            | Doing::Refreshing { .. }
            | Doing::Revoking
            | Doing::Raising => None,
        }
    }
}
