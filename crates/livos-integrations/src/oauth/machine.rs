//! The life of one grant, in any number of processes: when it is refreshed, by whom, what is saved before what, and when a person is told.
//!
//! The record in the store is the one truth, and each decision is one write of it under the version that was read. So a refresh goes: claim the lease
//! (a write), ask the provider, write what came of it, use it. A process that is killed in between leaves a lease that ends by itself, and the old
//! tokens; one that finds another version looks again before it believes anything, even `invalid_grant`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::VecDeque, time::Duration};

use livos_core::{backoff::Backoff, machine::Machine, secret::Secret, time::Timestamp};

use super::{
    AccessToken, Alert, Ending, EndpointError, GrantState, GrantStatus, LifecycleConfig, Record, TokenError,
    Tokens,
    grant::{Attempts, Data, Held, Lease, Plain, Standing, Told},
};

/// What may happen to a grant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GrantInput {
    /// The store was read.
    Loaded {
        /// What is there, and its version.
        found: Option<(Record, u64)>,
    },
    /// The store was read, and what is there can't be opened.
    Unreadable,
    /// The record was written, and has this version.
    Saved {
        /// The version.
        version: u64,
    },
    /// Another version stands in the store; nothing was written.
    Conflict,
    /// The store could not be read or written.
    StoreFailed,
    /// Somebody needs an access token.
    Wanted,
    /// An API refused the access token with this serial.
    Rejected {
        /// Its serial.
        serial: u64,
    },
    /// The provider gave tokens for the refresh token.
    Refreshed(Tokens),
    /// It did not.
    RefreshFailed(EndpointError),
    /// Somebody consented, and the code was exchanged for these.
    Granted(Tokens),
    /// The account is to be disconnected.
    Disconnect,
    /// The provider was told; or could not be.
    Revoked(Result<(), EndpointError>),
    /// The person was told.
    Raised,
    /// The person could not be told.
    RaiseFailed,
}

/// What a grant asks of its driver. Each ends with one input.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GrantOutput {
    /// Read the record: ends with `Loaded`, `Unreadable` or `StoreFailed`.
    Load,
    /// Write the record where this version still stands: ends with `Saved`, `Conflict` or `StoreFailed`.
    Save {
        /// What to write.
        record: Record,
        /// What it was made from.
        expected: Expected,
    },
    /// Refresh: ends with `Refreshed` or `RefreshFailed`.
    Refresh {
        /// What to refresh with.
        refresh_token: Secret,
    },
    /// Tell the provider that the grant is over: ends with `Revoked`.
    Revoke {
        /// One of its tokens.
        token: Secret,
    },
    /// Tell a person: ends with `Raised` or `RaiseFailed`.
    Raise(Alert),
}

/// What has to stand in the store for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// This version.
    Version(u64),
    /// Whatever it is: nobody can read it.
    Anything,
}

/// What a caller gets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Access {
    /// This token.
    Ready(AccessToken),
    /// Something is under way that ends with a token or an error.
    Wait,
    /// No token.
    Refused(TokenError),
}

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
        next: Next,
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

/// What is due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Look,
    Refresh,
    /// The access token is over and there is no way to another.
    End,
    Revoke,
    Raise,
    WarnOfEnd(Timestamp),
    WarnOfIdle(Timestamp),
}

/// The shortest wait: deadlines must move on.
const LEAST: Duration = Duration::from_millis(1);
/// Consents that are counted. Above any provider's limit.
const MOST_CONSENTS: usize = 256;
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

    /// What a caller gets now.
    pub fn access(&self, now: Timestamp) -> Access {
        match &self.data.standing {
            Standing::Held(held) => match self.usable(held, now) {
                Some(token) => Access::Ready(token),
                None if self.is_busy() => Access::Wait,
                None => Access::Refused(self.obstacle(now)),
            },
            _ if self.is_busy() && (matches!(self.doing, Doing::Loading) || self.granted.is_some()) => {
                Access::Wait
            }
            _ if !self.is_known && !self.is_unreadable => Access::Refused(self.obstacle(now)),
            _ => Access::Refused(TokenError::NeedsConsent(self.ending())),
        }
    }

    /// All that may be shown.
    pub fn status(&self) -> GrantStatus {
        let held = match &self.data.standing {
            Standing::Held(held) => Some(held),
            _ => None,
        };
        let attempts = &self.data.attempts;
        let state = match &self.data.standing {
            _ if !self.is_known && !self.is_unreadable => GrantState::Unknown,
            Standing::Held(_) if self.is_refreshing() => GrantState::Refreshing,
            Standing::Held(_) if attempts.refused.is_some() => GrantState::Misconfigured,
            Standing::Held(_) if attempts.failures > 0 => GrantState::Failing,
            Standing::Held(_) => GrantState::Fresh,
            _ => GrantState::NeedsConsent(self.ending()),
        };
        GrantStatus {
            state,
            account: held.and_then(|held| held.account.clone()),
            scopes: held.map(|held| held.scopes.clone()).unwrap_or_default(),
            consented_at: held.map(|held| held.consented_at),
            consent_ends_at: held.and_then(|held| held.ends_at),
            refreshed_at: held.map(|held| held.obtained_at),
            attempted_at: attempts.at.max(held.map(|held| held.obtained_at)),
            expires_at: held.and_then(Held::expires_at),
            failures: attempts.failures,
            last_failure: attempts.last.clone(),
            unsaved: self.is_unsaved || self.granted.is_some(),
            clock_skew_ms: self.clock_skew_ms,
            serial: self.data.serial,
        }
    }

    /// Whether all that was told to this machine is in the store: none while that is not decided yet.
    pub fn is_saved(&self) -> Option<bool> {
        match self.doing {
            Doing::LoadLater { .. } | Doing::SaveLater { .. } => {
                Some(!self.is_unsaved && self.granted.is_none())
            }
            Doing::Saving { .. } | Doing::Loading => None,
            _ => self.granted.is_none().then_some(!self.is_unsaved),
        }
    }

    fn ending(&self) -> Ending {
        match &self.data.standing {
            _ if self.is_unreadable => Ending::Unreadable,
            Standing::Ended { why, .. } => why.clone(),
            Standing::Disconnecting { .. } => Ending::Disconnected,
            Standing::Nothing | Standing::Held(_) => Ending::NeverGiven,
        }
    }

    fn is_busy(&self) -> bool {
        !matches!(self.doing, Doing::Resting | Doing::LoadLater { .. } | Doing::SaveLater { .. })
    }

    fn is_refreshing(&self) -> bool {
        matches!(
            self.doing,
            Doing::Refreshing { .. } | Doing::Waiting { .. } | Doing::Saving { next: Next::Refresh, .. }
        )
    }

    /// The token, where it may be handed out.
    fn usable(&self, held: &Held, now: Timestamp) -> Option<AccessToken> {
        if self.forced_at.is_some_and(|at| at <= now) {
            return None;
        }
        let usable_until = held.lifetime.map(|lifetime| {
            let remaining = self.config.least_remaining.min(lifetime / 4);
            held.obtained_at.plus(lifetime - remaining)
        });
        usable_until.is_none_or(|until| now < until).then(|| AccessToken {
            secret: held.access_token.0.clone(),
            serial: self.data.serial,
            obtained_at: held.obtained_at,
            usable_until,
        })
    }

    /// What stands between a caller and a token.
    fn obstacle(&self, now: Timestamp) -> TokenError {
        if let Some(error) = &self.data.attempts.refused {
            return TokenError::Misconfigured(error.clone());
        }
        let store_failed = matches!(self.doing, Doing::LoadLater { .. } | Doing::SaveLater { .. })
            || self.store_at.is_some();
        let what = match &self.data.attempts.last {
            _ if store_failed => "the store of the grant fails".to_owned(),
            Some(last) => last.clone(),
            None => "it is too early for the next refresh".to_owned(),
        };
        let retry_after = self.poll_timeout().map_or(self.config.floor, |at| at.since(now)).max(LEAST);
        TokenError::Unavailable { what, retry_after }
    }

    /// What is due next, and when.
    fn plan(&self) -> Option<(Timestamp, Action)> {
        if self.is_unreadable {
            let look = (self.looked_at.plus(self.config.recheck), Action::Look);
            let raise = self.raise_at.unwrap_or(self.looked_at);
            return Some(if self.data.outbox.is_empty() { look } else { (raise, Action::Raise) });
        }
        let mut due: Vec<(Timestamp, Action)> = Vec::with_capacity(4);
        match &self.data.standing {
            Standing::Held(held) => {
                due.extend(self.refresh_due(held));
                due.extend(self.warnings_due(held));
            }
            Standing::Disconnecting { .. } => {
                due.push((self.data.attempts.retry_at.unwrap_or(self.looked_at), Action::Revoke));
            }
            Standing::Nothing | Standing::Ended { .. } => {
                due.push((self.looked_at.plus(self.config.recheck), Action::Look));
            }
        }
        if !self.data.outbox.is_empty() {
            due.push((self.raise_at.unwrap_or(self.looked_at), Action::Raise));
        }
        let (at, action) = due.into_iter().min_by_key(|(at, _)| *at)?;
        Some((self.store_at.map_or(at, |store_at| at.max(store_at)), action))
    }

    fn refresh_due(&self, held: &Held) -> Option<(Timestamp, Action)> {
        if held.refresh_token.is_none() {
            // Nothing renews it: it lasts until it is over or refused.
            let ends = [held.expires_at(), self.forced_at].into_iter().flatten().min()?;
            return Some((ends, Action::End));
        }
        let config = &self.config;
        let by_age = config.longest_unrefreshed.saturating_sub(self.jitter);
        let by_lifetime = held.lifetime.map(|lifetime| lifetime - config.margin.min(lifetime / 2));
        let after = by_lifetime.map_or(by_age, |by_lifetime| by_lifetime.min(by_age)).max(config.floor);
        let due = held.obtained_at.plus(after);
        let due = self.forced_at.map_or(due, |forced_at| forced_at.min(due));
        Some((self.data.attempts.retry_at.map_or(due, |retry_at| retry_at.max(due)), Action::Refresh))
    }

    fn warnings_due(&self, held: &Held) -> impl Iterator<Item = (Timestamp, Action)> {
        let (told, config) = (self.data.told, &self.config);
        let end = held.ends_at.filter(|_| !told.consent_ends);
        let end = end.map(|at| (earlier(at, config.warn_before, held.consented_at), Action::WarnOfEnd(at)));
        let idle = config.idle_lifetime.filter(|_| !told.idle).map(|idle| held.obtained_at.plus(idle));
        let idle =
            idle.map(|at| (earlier(at, config.warn_before_idle, held.obtained_at), Action::WarnOfIdle(at)));
        [end, idle].into_iter().flatten()
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
        data.lease = Some(Lease { holder: self.holder, until: now.plus(self.config.lease) });
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
            return self.save(self.data.clone(), self.after_saving());
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
            self.doing = Doing::SaveLater { at, next };
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

    fn after_saving(&self) -> Next {
        if self.data.outbox.is_empty() { Next::Rest } else { Next::Raise }
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
        let lease = Lease { holder: self.holder, until: now.plus(self.config.lease) };
        data.lease = (next == Next::Raise).then_some(lease);
        self.save(data, next);
    }

    /// The record after a consent.
    fn consented(&mut self, now: Timestamp, tokens: Tokens) -> Data {
        self.notice_server_time(now, &tokens);
        self.backoff.reset();
        self.raised.clear();
        (self.forced_at, self.is_unreadable) = (None, false);
        let config = &self.config;
        let ends = tokens.refresh_lifetime.or(config.consent_lifetime);
        let mut data = Data { epoch: self.data.epoch + 1, serial: self.data.serial + 1, ..Data::default() };
        data.consents = self.data.consents.clone();
        let recent = |at: &Timestamp| config.idle_lifetime.is_none_or(|idle| now.since(*at) < idle);
        data.consents.retain(recent);
        data.consents.push(now);
        data.consents.drain(..data.consents.len().saturating_sub(MOST_CONSENTS));
        let count = u32::try_from(data.consents.len()).unwrap_or(u32::MAX);
        if let Some(limit) = config.consent_limit.filter(|limit| count + config.consents_left >= *limit) {
            tell(&mut data, Alert::ManyConsents { count, limit });
        }
        data.standing = Standing::Held(Held {
            lifetime: self.lifetime(&tokens, tokens.refresh_token.is_some()),
            access_token: Plain(tokens.access_token),
            refresh_token: tokens.refresh_token.map(Plain),
            obtained_at: now,
            consented_at: now,
            ends_at: ends.map(|ends| now.plus(ends)),
            scopes: tokens.scopes,
            account: tokens.account,
        });
        data
    }

    /// The record of a grant that is to be revoked; none where there is nothing to disconnect.
    fn disconnected(&self, now: Timestamp) -> Option<Data> {
        let mut data = Data { epoch: self.data.epoch + 1, serial: self.data.serial, ..Data::default() };
        data.consents.clone_from(&self.data.consents);
        data.standing = match &self.data.standing {
            Standing::Held(held) => {
                let token = held.refresh_token.as_ref().unwrap_or(&held.access_token).clone();
                Standing::Disconnecting { token }
            }
            Standing::Disconnecting { .. } => return None,
            Standing::Nothing if !self.is_unreadable => return None,
            Standing::Nothing | Standing::Ended { .. } => {
                Standing::Ended { why: Ending::Disconnected, at: now }
            }
        };
        Some(data)
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
            return self.save(self.data.clone(), self.after_saving());
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
        if let Doing::LoadLater { at } | Doing::SaveLater { at, .. } = &mut self.doing {
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

/// So long before `at`, but not before the beginning.
fn earlier(at: Timestamp, before: Duration, beginning: Timestamp) -> Timestamp {
    beginning.plus(at.since(beginning).saturating_sub(before))
}

fn end(data: &mut Data, now: Timestamp, why: Ending) {
    data.standing = Standing::Ended { why: why.clone(), at: now };
    data.attempts = Attempts { at: Some(now), ..Attempts::default() };
    tell(data, Alert::NeedsConsent(why));
}

fn tell(data: &mut Data, alert: Alert) {
    if data.outbox.len() < MOST_ALERTS && !data.outbox.contains(&alert) {
        data.outbox.push(alert);
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
            Doing::SaveLater { at, next } if *at <= now => self.save(self.data.clone(), *next),
            _ => self.proceed(now),
        }
    }

    fn poll_output(&mut self) -> Option<GrantOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.doing {
            Doing::LoadLater { at } | Doing::SaveLater { at, .. } | Doing::Waiting { look_at: at } => {
                Some(*at)
            }
            Doing::Resting => self.plan().map(|(at, _)| at),
            Doing::Loading
            | Doing::Saving { .. }
            | Doing::Refreshing { .. }
            | Doing::Revoking
            | Doing::Raising => None,
        }
    }
}
