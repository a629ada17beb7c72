//! What one account allowed: the tokens of it, what is known about them, and the record that is
//! kept of both.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use livos_core::{secret::Secret, time::Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Alert, Ending, EndpointError};

/// What a token endpoint answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tokens {
    /// What API calls carry.
    pub access_token: Secret,
    /// What gets the next access token; most providers send it with the first answer only.
    pub refresh_token: Option<Secret>,
    /// How long the access token lives, as far as the provider says.
    pub lifetime: Option<Duration>,
    /// How long the refresh token lives, where access was given for a time.
    pub refresh_lifetime: Option<Duration>,
    /// What was allowed; empty where the provider does not say, and all that was asked for is
    /// meant.
    pub scopes: Vec<String>,
    /// Who allowed it, from the ID token that came with the answer.
    pub account: Option<Account>,
    /// The provider's clock, to the second.
    pub server_time: Option<Timestamp>,
}

impl Tokens {
    /// Tokens of which nothing else is known.
    pub fn new(access_token: Secret) -> Self {
        Self {
            access_token,
            refresh_token: None,
            lifetime: None,
            refresh_lifetime: None,
            scopes: Vec::new(),
            account: None,
            server_time: None,
        }
    }
}

/// An account at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Account {
    /// The provider's number of it, which stays when the address changes.
    pub subject: String,
    /// Its address, where the provider told.
    pub email: Option<String>,
}

/// An access token, and which of a grant's tokens it is.
#[derive(Debug, Clone)]
pub struct AccessToken {
    pub(super) secret: Secret,
    pub(super) serial: u64,
    pub(super) obtained_at: Timestamp,
    pub(super) usable_until: Option<Timestamp>,
}

impl AccessToken {
    /// The token. Put it into a header, never into a log.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Whether it may be used at this time. Where the clock was set back behind the token's own
    /// beginning, nobody knows.
    pub(super) fn is_good(&self, now: Timestamp, tolerance: Duration) -> bool {
        self.usable_until.is_none_or(|until| now < until) && self.obtained_at <= now.plus(tolerance)
    }

    /// Which of the grant's tokens it is: each refresh gives a higher number, in all processes.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

/// How a grant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantState {
    /// It was not read from the store yet.
    Unknown,
    /// Its access token is good, and was refreshed when it should be.
    Fresh,
    /// It is being refreshed, here or in another process.
    Refreshing,
    /// The last refresh failed and will be tried again. The access token may still be good.
    Failing,
    /// The provider refuses the client.
    Misconfigured,
    /// Nothing works until somebody consents.
    NeedsConsent(Ending),
}

/// All that may be shown of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantStatus {
    /// How it stands.
    pub state: GrantState,
    /// Who allowed it.
    pub account: Option<Account>,
    /// What was allowed.
    pub scopes: Vec<String>,
    /// When the consent was given.
    pub consented_at: Option<Timestamp>,
    /// When the consent ends, as far as that is known.
    pub consent_ends_at: Option<Timestamp>,
    /// The last refresh that gave a token, or the consent.
    pub refreshed_at: Option<Timestamp>,
    /// The last refresh that was tried.
    pub attempted_at: Option<Timestamp>,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
    /// Refreshes that failed since one succeeded.
    pub failures: u32,
    /// Why the last one failed.
    pub last_failure: Option<String>,
    /// Whether something is in memory alone because the store failed.
    pub unsaved: bool,
    /// How far the provider's clock is ahead of this one, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// Which of the grant's tokens is the newest.
    pub serial: u64,
}

impl GrantStatus {
    /// How old the access token is.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.refreshed_at.map(|at| now.since(at))
    }
}

/// What is kept of a grant between processes and restarts. It has the tokens in the clear once it
/// is serialized, so it goes into a sealed store and nowhere else.
#[derive(Debug, Clone, Default)]
pub struct Record(pub(super) Box<Data>);

impl Record {
    /// The record as a text.
    pub fn to_secret(&self) -> Secret {
        // Maps with text keys and numbers can't fail to serialize.
        Secret::new(serde_json::to_string(&self.0).unwrap_or_default())
    }

    /// Reads it back; none where it is not of this program, or of a newer one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let data: Data = serde_json::from_slice(bytes).ok()?;
        (data.format == FORMAT).then(|| Self(Box::new(data)))
    }
}

/// The format of records. A newer program that changes it must read the older ones.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Data {
    pub(super) format: u32,
    /// Counts consents and disconnections.
    pub(super) epoch: u64,
    /// Counts access tokens.
    pub(super) serial: u64,
    pub(super) standing: Standing,
    pub(super) lease: Option<Lease>,
    pub(super) attempts: Attempts,
    /// Consents of the last months, oldest first.
    pub(super) consents: Vec<Timestamp>,
    pub(super) told: Told,
    /// Alerts that nobody was told of yet.
    pub(super) outbox: Vec<Alert>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            format: FORMAT,
            epoch: 0,
            serial: 0,
            standing: Standing::default(),
            lease: None,
            attempts: Attempts::default(),
            consents: Vec::new(),
            told: Told::default(),
            outbox: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Nobody consented yet.
    #[default]
    Nothing,
    Held(Held),
    Ended {
        why: Ending,
        at: Timestamp,
    },
    /// To be revoked at the provider.
    Disconnecting {
        token: Plain,
    },
}

/// A grant that is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) access_token: Plain,
    pub(super) refresh_token: Option<Plain>,
    /// When the request was sent that this access token answers: the lifetime counts from there at
    /// the latest.
    pub(super) obtained_at: Timestamp,
    /// None: it does not end by itself.
    pub(super) lifetime: Option<Duration>,
    pub(super) consented_at: Timestamp,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) scopes: Vec<String>,
    pub(super) account: Option<Account>,
}

impl Held {
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.lifetime.map(|lifetime| self.obtained_at.plus(lifetime))
    }
}

/// One process refreshes, or tells of an alert; the others wait and read what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) holder: u64,
    pub(super) until: Timestamp,
}

/// How refreshing went since it last succeeded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Attempts {
    pub(super) at: Option<Timestamp>,
    pub(super) failures: u32,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) last: Option<String>,
    pub(super) refused: Option<String>,
}

impl Attempts {
    pub(super) fn failed(&mut self, now: Timestamp, error: &EndpointError, retry_at: Timestamp) {
        self.at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.retry_at = Some(retry_at);
        self.last = Some(error.to_string());
        self.refused = match error {
            EndpointError::Refused(error) => Some(error.clone()),
            _ => None,
        };
    }
}

/// What was told already, so that it is told once.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    pub(super) consent_ends: bool,
    pub(super) idle: bool,
    pub(super) failing: bool,
    pub(super) misconfigured: bool,
}

/// A secret that serializes, inside of a record and nowhere else.
#[derive(Debug, Clone)]
pub(super) struct Plain(pub(super) Secret);

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Secret::deserialize(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_and_shows_no_token() {
        let now = Timestamp::from_unix_ms(1_800_000_000_000);
        let held = Held {
            access_token: Plain(Secret::new("access-123")),
            refresh_token: Some(Plain(Secret::new("refresh-123"))),
            obtained_at: now,
            lifetime: Some(Duration::from_secs(3_599)),
            consented_at: now,
            ends_at: None,
            scopes: vec!["mail".into()],
            account: Some(Account { subject: "1".into(), email: None }),
        };
        let data = Data { serial: 7, standing: Standing::Held(held), ..Data::default() };
        let record = Record(Box::new(data));
        assert!(!format!("{record:?}").contains("123"), "{record:?}");
        let text = record.to_secret();
        let back = Record::parse(text.expose().as_bytes()).unwrap();
        assert_eq!(back.to_secret().expose(), text.expose());
        let Standing::Held(held) = back.0.standing else { panic!("it is held") };
        assert_eq!((held.access_token.0.expose(), back.0.serial), ("access-123", 7));
        assert_eq!(held.expires_at(), Some(now.plus(Duration::from_secs(3_599))));
    }

    #[test]
    fn a_record_of_another_format_is_not_guessed_at() {
        let text = Record::default().to_secret();
        assert!(Record::parse(text.expose().as_bytes()).is_some());
        for other in ["", "{}", "null", &text.expose().replace("\"format\":1", "\"format\":2")] {
            assert!(Record::parse(other.as_bytes()).is_none(), "{other}");
        }
    }
}
