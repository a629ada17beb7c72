//! What others see of a grant: tokens, or why there are none, and how it stands.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::{machine::Machine, time::Timestamp};

use super::{Doing, GrantLifecycle, LEAST, Next, messages::TokenAccess};
use crate::oauth::{
    AccessToken, Ending, GrantState, GrantStatus, TokenError,
    grant::{Held, Standing},
};

impl GrantLifecycle {
    /// What a caller gets now.
    pub fn access(&self, now: Timestamp) -> TokenAccess {
        match &self.data.standing {
            Standing::Held(held) => match self.usable(held, now) {
                Some(token) => TokenAccess::Ready(token),
                None if self.is_busy() => TokenAccess::Wait,
                None => TokenAccess::Refused(self.obstacle(now)),
            },
            _ if self.is_busy() && (matches!(self.doing, Doing::Loading) || self.granted.is_some()) => {
                TokenAccess::Wait
            }
            _ if !self.is_known && !self.is_unreadable => TokenAccess::Refused(self.obstacle(now)),
            _ => TokenAccess::Refused(TokenError::NeedsConsent(self.ending())),
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

    /// Whether all that was told to this machine is in the store: none while that is not decided
    /// yet.
    pub fn is_saved(&self) -> Option<bool> {
        let is_taken = self.granted.is_none() && !self.is_disconnecting;
        match self.doing {
            Doing::LoadLater { .. } | Doing::SaveLater { .. } => Some(!self.is_unsaved && is_taken),
            Doing::Saving { .. } | Doing::Loading => None,
            _ => is_taken.then_some(!self.is_unsaved),
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
}
