//! What pairing remembers: devices, codes that wait, and guesses.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::BTreeMap, fmt};

use livos_core::{conversation::Speaker, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::code::HashedCode;

/// A way in, such as `telegram` or `discord:1234` for one bot of several: 1 to 64 of
/// `a-z 0-9 - _ . :`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(String);

/// A name that could be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a channel has 1 to 64 of 'a-z', '0-9', '-', '_', '.' and ':'; a sender has 1 to 128 printable characters without blanks"
)]
pub struct InvalidName;

impl TryFrom<String> for ChannelName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b':')
        };
        let sound = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        if sound { Ok(Self(name)) } else { Err(InvalidName) }
    }
}

impl TryFrom<&str> for ChannelName {
    type Error = InvalidName;

    fn try_from(name: &str) -> Result<Self, InvalidName> {
        name.to_owned().try_into()
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Somebody on a channel, by the id that the provider vouches for. User names change hands and are
/// not ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sender {
    channel: ChannelName,
    id: String,
}

impl Sender {
    /// A sender with the provider's id, of 1 to 128 printable characters without blanks.
    pub fn new(channel: ChannelName, id: impl Into<String>) -> Result<Self, InvalidName> {
        let id = id.into();
        let sound = (1..=128).contains(&id.len()) && !id.chars().any(|c| c.is_control() || c.is_whitespace());
        if sound { Ok(Self { channel, id }) } else { Err(InvalidName) }
    }

    /// Where.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Who, in the provider's words.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.id)
    }
}

/// What a paired sender may do. A member of a group is never paired: see [`super::Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rights {
    /// Talks to the agent.
    Paired,
    /// The operator: may also issue codes, approve and revoke.
    Owner,
}

impl From<Rights> for Speaker {
    fn from(rights: Rights) -> Self {
        match rights {
            Rights::Paired => Self::Paired,
            Rights::Owner => Self::Owner,
        }
    }
}

/// The number of a device. It is never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub u64);

/// Whether a device may already talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is paired.
    Paired,
    /// It came with a right code, and the owner has not approved it yet.
    AwaitingApproval {
        /// From when on it is forgotten.
        until: Timestamp,
    },
}

/// A paired sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its number.
    pub id: DeviceId,
    /// Who.
    pub sender: Sender,
    /// What it calls itself, for people; nothing is decided by it. At most 64 characters are kept.
    pub label: String,
    /// What it may do.
    pub rights: Rights,
    /// When it came.
    pub since: Timestamp,
    /// Whether it may talk.
    pub standing: Standing,
}

/// A code that waits for its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub code: HashedCode,
    pub channel: ChannelName,
    pub rights: Rights,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Wrong guesses of one sender.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Guesses {
    pub at: Vec<Timestamp>,
    pub locked_until: Option<Timestamp>,
}

/// All that pairing remembers, in the form in which it is stored. Bounded: by the devices, the
/// codes that wait, and the guesses of a window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PairingState {
    pub(super) next_device: u64,
    pub(super) devices: Vec<Device>,
    pub(super) pending: Vec<Pending>,
    #[serde(with = "pairs")]
    pub(super) guesses: BTreeMap<Sender, Guesses>,
    pub(super) channels: BTreeMap<ChannelName, Vec<Timestamp>>,
}

impl PairingState {
    /// What this sender may do at `now`; none for a stranger, and for one who is not approved yet.
    pub fn rights(&self, sender: &Sender) -> Option<Rights> {
        let device = self.devices.iter().find(|device| device.sender == *sender)?;
        (device.standing == Standing::Paired).then_some(device.rights)
    }

    /// All devices, in the order in which they came.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
}

/// JSON has no maps by sender.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Guesses, Sender};

    pub(super) fn serialize<S: Serializer>(
        guesses: &BTreeMap<Sender, Guesses>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(guesses)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Sender, Guesses>, D::Error> {
        Ok(Vec::<(Sender, Guesses)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for name in ["", "Telegram", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(ChannelName::try_from(name).is_err(), "{name:?}");
        }
        let channel = ChannelName::try_from("discord:1").unwrap();
        for id in ["", "a b", "a\nb", &"x".repeat(129)] {
            assert!(Sender::new(channel.clone(), id).is_err(), "{id:?}");
        }
        assert_eq!(Sender::new(channel, "42").unwrap().to_string(), "discord:1/42");
    }
}
