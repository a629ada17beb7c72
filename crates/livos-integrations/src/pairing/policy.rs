//! What becomes of a message before anything reads it: one policy for each channel.
//!
//! Rights come from the server's own state and never from the message. What a sender may do in
//! private is not carried into a group, where others write too: anyone who writes there is a
//! [`Speaker::GroupMember`] (in another agent, a store of private pairings was trusted for commands
//! in rooms).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;

use livos_core::conversation::Speaker;

use super::{PairingState, Rights, Sender};

/// Whom a channel lets in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Who is paired. In groups, paired senders only.
    #[default]
    Pairing,
    /// Who is paired, and these ids of senders and of groups, as the provider writes them.
    AllowList(BTreeSet<String>),
    /// Anybody, with the rights of a paired sender in private. For a bot that has nothing to
    /// protect.
    Open,
    /// Nobody, the owner neither: a channel that is switched off.
    Closed,
}

/// A message, as far as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who wrote it.
    pub sender: &'a Sender,
    /// In which group, by the provider's id; none for a private message.
    pub group: Option<&'a str>,
    /// Whether it mentions the agent or answers it. Without meaning in private.
    pub mentioned: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is answered, with these rights.
    Granted(Speaker),
    /// A private message of somebody who could pair: a code is looked for in it, and nothing else
    /// is.
    NeedsPairing,
    /// It is dropped without an answer.
    Ignored,
}

impl Policy {
    /// Decides about one message.
    pub fn decide(&self, state: &PairingState, arrival: Arrival<'_>) -> Access {
        if *self == Self::Closed {
            return Access::Ignored;
        }
        let rights = state.rights(arrival.sender);
        let listed = |id: &str| matches!(self, Self::AllowList(ids) if ids.contains(id));
        let known = rights.is_some() || *self == Self::Open || listed(arrival.sender.id());
        match arrival.group {
            Some(group) => {
                let welcome = arrival.mentioned && (known || listed(group));
                if welcome { Access::Granted(Speaker::GroupMember) } else { Access::Ignored }
            }
            None if known => Access::Granted(rights.unwrap_or(Rights::Paired).into()),
            // A sender who is on no list can still be given a code.
            None => Access::NeedsPairing,
        }
    }
}

#[cfg(test)]
mod tests {
    use livos_core::time::Timestamp;

    use super::*;
    use crate::pairing::{ChannelName, Device, DeviceId, Standing};

    fn sender(id: &str) -> Sender {
        Sender::new(ChannelName::try_from("telegram").unwrap(), id).unwrap()
    }

    fn state() -> PairingState {
        let device = |id: &str, rights, standing| Device {
            id: DeviceId(1),
            sender: sender(id),
            label: String::new(),
            rights,
            since: Timestamp::default(),
            standing,
        };
        let waiting = Standing::AwaitingApproval { until: Timestamp::from_unix_ms(i64::MAX) };
        let devices = vec![
            device("owner", Rights::Owner, Standing::Paired),
            device("friend", Rights::Paired, Standing::Paired),
            device("waiting", Rights::Paired, waiting),
        ];
        PairingState { devices, ..PairingState::default() }
    }

    #[test]
    fn each_policy_lets_in_whom_it_says() {
        use Access::{Granted, Ignored, NeedsPairing};
        use Speaker::{GroupMember, Owner, Paired};
        let list = Policy::AllowList(["listed".into(), "group".into()].into());
        // By policy: in private, in the group "group" with a mention, and in a group "other" with a
        // mention.
        let table = [
            (Policy::Pairing, "owner", Granted(Owner), Granted(GroupMember), Granted(GroupMember)),
            (Policy::Pairing, "friend", Granted(Paired), Granted(GroupMember), Granted(GroupMember)),
            (Policy::Pairing, "waiting", NeedsPairing, Ignored, Ignored),
            (Policy::Pairing, "stranger", NeedsPairing, Ignored, Ignored),
            (list.clone(), "owner", Granted(Owner), Granted(GroupMember), Granted(GroupMember)),
            (list.clone(), "listed", Granted(Paired), Granted(GroupMember), Granted(GroupMember)),
            (list, "stranger", NeedsPairing, Granted(GroupMember), Ignored),
            (Policy::Open, "owner", Granted(Owner), Granted(GroupMember), Granted(GroupMember)),
            (Policy::Open, "stranger", Granted(Paired), Granted(GroupMember), Granted(GroupMember)),
            (Policy::Closed, "owner", Ignored, Ignored, Ignored),
        ];
        for (policy, id, private, group, other) in table {
            let sender = sender(id);
            let decide =
                |group, mentioned| policy.decide(&state(), Arrival { sender: &sender, group, mentioned });
            assert_eq!(decide(None, false), private, "{policy:?}, {id}, in private");
            assert_eq!(decide(Some("group"), true), group, "{policy:?}, {id}, in the group");
            assert_eq!(decide(Some("other"), true), other, "{policy:?}, {id}, in another group");
            assert_eq!(decide(Some("group"), false), Ignored, "{policy:?}, {id}, without a mention");
        }
    }
}
