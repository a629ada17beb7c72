//! What is due next, and when.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use livos_core::time::Timestamp;

use super::{GrantLifecycle, record::Action};
use crate::oauth::grant::{Held, Standing};

impl GrantLifecycle {
    /// What is due next, and when.
    pub(super) fn plan(&self) -> Option<(Timestamp, Action)> {
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
}

/// So long before `at`, but not before the beginning.
fn earlier(at: Timestamp, before: Duration, beginning: Timestamp) -> Timestamp {
    beginning.plus(at.since(beginning).saturating_sub(before))
}
