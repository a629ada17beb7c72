//! How the record of a grant changes when a person consents or disconnects.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use super::{GrantLifecycle, record::tell};
use crate::oauth::{
    Alert, Ending, Tokens,
    grant::{Data, Held, Plain, Standing},
};

/// Consents that are counted. Above any provider's limit.
const MOST_CONSENTS: usize = 256;

impl GrantLifecycle {
    /// The record after a consent.
    pub(super) fn consented(&mut self, now: Timestamp, tokens: Tokens) -> Data {
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
    pub(super) fn disconnected(&self, now: Timestamp) -> Option<Data> {
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
}
