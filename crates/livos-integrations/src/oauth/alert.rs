//! What a person should hear about a grant, once.

use std::fmt;

use livos_core::time::Timestamp;

use super::Ending;

/// Something that a person should hear of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Alert {
    /// The grant ended, and what needs it stands still until somebody consents.
    NeedsConsent(Ending),
    /// The provider refuses the client: its id, its secret or what it asks for.
    Misconfigured(String),
    /// Refreshing has failed since then.
    Failing {
        /// Since when.
        since: Timestamp,
    },
    /// The consent ends soon, by a rule that renewing tokens does not stop.
    ConsentEnds {
        /// When.
        at: Timestamp,
    },
    /// Nothing was refreshed for so long that the provider will forget the grant.
    IdleEnds {
        /// When.
        at: Timestamp,
    },
    /// So many consents were given lately that the provider will soon end the oldest without a
    /// word.
    ManyConsents {
        /// How many.
        count: u32,
        /// How many live at one time.
        limit: u32,
    },
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsConsent(why) => write!(f, "access has ended and needs a new consent: {why}"),
            Self::Misconfigured(error) => {
                write!(f, "the provider refuses this client ({error}): check its id and secret")
            }
            Self::Failing { since } => {
                write!(f, "access could not be renewed since {}", moment(*since))
            }
            Self::ConsentEnds { at } => {
                write!(
                    f,
                    "the consent ends at {}; consent again before, or publish the app where it is in testing",
                    moment(*at)
                )
            }
            Self::IdleEnds { at } => {
                write!(f, "access was not renewed for long; the provider will end it at {}", moment(*at))
            }
            Self::ManyConsents { count, limit } => write!(
                f,
                "{count} consents were given in the last months; the provider keeps {limit} alive and ends the oldest without a word"
            ),
        }
    }
}

/// As in 2026-11-23 09:05 UTC.
fn moment(at: Timestamp) -> String {
    let minutes = at.since(at.day().start()).as_secs() / 60;
    format!("{} {:02}:{:02} UTC", at.day(), minutes / 60, minutes % 60)
}

/// An alert on its way to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Which grant it is about, by its id.
    pub grant: String,
    /// What happened.
    pub alert: Alert,
    /// The page of this server that starts a new consent, for a person who is allowed to give it.
    pub consent_link: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.grant, self.alert, self.consent_link)
    }
}
