//! The record in the store: read, written under the version that was read, and merged with what
//! another process wrote.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use super::{Doing, Expected, GrantLifecycle, GrantOutput, LEAST, Next};
use crate::oauth::{
    Alert, Ending, Record,
    grant::{Data, Held, Lease, Standing},
};

impl GrantLifecycle {
    pub(super) fn load(&mut self) {
        self.outputs.push_back(GrantOutput::Load);
        self.doing = Doing::Loading;
    }

    pub(super) fn save(&mut self, data: Data, next: Next) {
        self.outputs
            .push_back(GrantOutput::Save { record: Record(Box::new(data.clone())), expected: self.version });
        self.doing = Doing::Saving { data: Box::new(data), next };
    }

    pub(super) fn loaded(&mut self, now: Timestamp, found: Option<(Record, u64)>) {
        self.version = found.as_ref().map_or(Expected::Nothing, |(_, version)| Expected::Version(*version));
        let theirs = found.map(|(record, _)| *record.0).unwrap_or_default();
        (self.is_known, self.is_unreadable, self.looked_at) = (true, false, now);
        self.store_recovered();
        self.doing = Doing::Resting;
        let ours = (self.data.epoch, self.data.serial);
        if self.is_unsaved && ours > (theirs.epoch, theirs.serial) {
            // Somebody wrote what was gone beyond here already: nothing that the provider gave may
            // be lost.
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

    pub(super) fn saved(&mut self, now: Timestamp, version: u64) {
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

    /// The store failed or has another version. A claim is given up; what the provider gave is kept
    /// in memory until it is written.
    pub(super) fn not_saved(&mut self, now: Timestamp, conflict: bool) {
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

    pub(super) fn take_saving(&mut self) -> Option<(Data, Next)> {
        match std::mem::replace(&mut self.doing, Doing::Resting) {
            Doing::Saving { data, next } => Some((*data, next)),
            other => {
                self.doing = other;
                None
            }
        }
    }

    pub(super) fn store_recovered(&mut self) {
        self.store_at = None;
        self.store_backoff.reset();
    }

    /// Writes what is in memory alone. While there is something to tell, the lease stays with the
    /// one who tells, and counts from now.
    pub(super) fn save_again(&mut self, now: Timestamp) {
        let mut data = self.data.clone();
        let next = if data.outbox.is_empty() { Next::Rest } else { Next::Raise };
        data.lease = (next == Next::Raise).then(|| self.lease(now));
        self.save(data, next);
    }

    pub(super) fn lease(&self, now: Timestamp) -> Lease {
        Lease { holder: self.holder, until: now.plus(self.config.lease) }
    }

    pub(super) fn unreadable(&mut self, now: Timestamp) {
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
}
