//! Decides about codes, guesses and devices.
//!
//! A code is spent by the first sender who presents it, whatever comes of it: on the wrong channel,
//! or with no room for a device, it is gone as well. A sender that is locked out learns nothing,
//! since its guesses are not compared with anything. What a guess costs is persisted before it is
//! answered, so that a restart forgives none.
//!
//! The clock may be set back: a code that was then issued in the future is dropped, and a guess or
//! a lockout counts from the new present on, so neither ends early and neither lasts longer than it
//! may.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

use livos_core::{machine::Machine, secret::Secret, time::Timestamp};

use super::{
    ChannelName, Device, DeviceId, PairingCode, PairingConfig, PairingState, Rights, Sender, Standing,
    code::{ENTROPY, HashedCode},
    state::Pending,
};

/// What may happen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PairingInput {
    /// The owner wants a code for a sender on `channel`.
    Issue {
        /// Where it may be redeemed, and nowhere else.
        channel: ChannelName,
        /// What its sender may do.
        rights: Rights,
        /// From a cryptographic source of randomness; never used twice.
        entropy: [u8; ENTROPY],
    },
    /// A sender presents a code.
    Redeem {
        /// Who, as the provider vouches.
        sender: Sender,
        /// What it calls itself.
        label: String,
        /// What it typed.
        code: PairingCode,
    },
    /// The owner lets a sender in by hand, without a code and without a guess.
    Admit {
        /// Who.
        sender: Sender,
        /// What the owner calls it.
        label: String,
        /// What it may do.
        rights: Rights,
    },
    /// The owner approves who waits for it.
    Approve(DeviceId),
    /// The owner refuses who waits for approval, or ends a pairing.
    Revoke(DeviceId),
    /// The owner ends all pairings and all codes, its own among them.
    RevokeAll,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairingOutput {
    /// Store this before anything that follows is done.
    Persist(Box<PairingState>),
    /// Show this code to the owner, and to nobody else.
    Issued {
        /// The code, as a person reads it.
        code: String,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// Tell the sender that it is paired.
    Paired(Device),
    /// Tell the sender that the owner is asked.
    AwaitingApproval(Device),
    /// Nothing was changed, or only that a guess was counted and a code spent.
    Refused(Refusal),
    /// Tell a paired device.
    Notify {
        /// Which.
        to: Sender,
        /// What.
        news: News,
    },
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// As many codes wait on the channel as may.
    #[error("as many codes as may wait on this channel already; the first of them ends at {until}", until = until.unix_ms())]
    TooManyCodes {
        /// When the first of them ends.
        until: Timestamp,
    },
    /// No such code waits: it is wrong, spent or expired.
    #[error(
        "this code does not pair: it is wrong, was used before, or is over. {left} more attempts are left this hour"
    )]
    Wrong {
        /// Attempts that are left before a lockout.
        left: u32,
    },
    /// The sender guessed too often; no code of it is looked at.
    #[error("too many wrong codes: locked until {until}", until = until.unix_ms())]
    Locked {
        /// When it ends.
        until: Timestamp,
    },
    /// Too many wrong codes came in on the channel, from all senders together. No code is looked at
    /// there until then.
    #[error("too many wrong codes on this channel: pairing is held until {until}", until = until.unix_ms())]
    ChannelHeld {
        /// When it ends.
        until: Timestamp,
    },
    /// The code was for another channel, and is spent.
    #[error("this code was issued for another channel, and is spent")]
    OtherChannel,
    /// The sender has these rights already, or waits for approval.
    #[error("this sender is paired already, or waits to be approved")]
    Known,
    /// There are as many devices as may be. The code is spent.
    #[error("as many devices are paired as may be: revoke one first")]
    TooManyDevices,
    /// There is no device of this number, or none that waits for approval.
    #[error("there is no such device, or it does not wait for approval")]
    UnknownDevice,
}

/// What paired devices are told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// A device was paired.
    Paired(Device),
    /// A device waits for the owner's approval. Owners are told.
    Asks(Device),
    /// A pairing was ended.
    Revoked(Device),
    /// A sender was locked out. Owners are told.
    LockedOut {
        /// Who.
        sender: Sender,
        /// Until when.
        until: Timestamp,
    },
    /// Pairing is held on a channel, which is being guessed at. Owners are told.
    ChannelHeld {
        /// Which.
        channel: ChannelName,
        /// Until when.
        until: Timestamp,
    },
}

/// Pairing as a machine over its stored state.
#[derive(Debug, Clone)]
pub struct Pairing {
    config: PairingConfig,
    key: Secret,
    state: PairingState,
    outputs: VecDeque<PairingOutput>,
    /// When something ends next.
    due: Option<Timestamp>,
    /// The latest time it was told, to notice a clock that was set back.
    seen: Timestamp,
}

/// The longest label that is kept, in characters.
const MAX_LABEL: usize = 64;

impl Pairing {
    /// Goes on from a stored state; `key` is the server's own, kept apart from the state, and makes
    /// the hashes of codes useless without it. The configuration has been checked.
    pub fn new(config: PairingConfig, key: Secret, state: PairingState) -> Self {
        let mut pairing =
            Self { config, key, state, outputs: VecDeque::new(), due: None, seen: Timestamp::default() };
        pairing.due = pairing.next_due();
        pairing
    }

    /// What is remembered.
    pub fn state(&self) -> &PairingState {
        &self.state
    }

    fn issue(&mut self, now: Timestamp, channel: ChannelName, rights: Rights, entropy: &[u8; ENTROPY]) {
        let waiting = self.state.pending.iter().filter(|pending| pending.channel == channel);
        let ends: Vec<_> = waiting.map(|pending| pending.expires_at).collect();
        if let Some(until) = ends.iter().min().filter(|_| ends.len() >= self.config.pending) {
            return self.refuse(Refusal::TooManyCodes { until: *until });
        }
        let code = PairingCode::generate(self.config.code_length, entropy);
        let expires_at = now.plus(self.config.code_lifetime);
        let hashed = HashedCode::new(&code, &self.key, entropy);
        self.state.pending.push(Pending { code: hashed, channel, rights, issued_at: now, expires_at });
        self.persist();
        self.outputs.push_back(PairingOutput::Issued { code: code.to_string(), expires_at });
    }

    fn redeem(&mut self, now: Timestamp, sender: Sender, label: &str, code: &PairingCode) {
        if let Some(until) = self.state.guesses.get(&sender).and_then(|guesses| guesses.locked_until) {
            return self.refuse(Refusal::Locked { until });
        }
        if let Some(until) = self.held(sender.channel()) {
            return self.refuse(Refusal::ChannelHeld { until });
        }
        // All are compared, so that the time taken does not tell which one it was.
        let key = &self.key;
        let hit = self.state.pending.iter().enumerate().fold(None, |hit, (at, pending)| {
            let found = pending.code.is(code, key);
            if found { Some(at) } else { hit }
        });
        let Some(hit) = hit else {
            let left = self.guessed(now, &sender);
            return self.refuse(Refusal::Wrong { left });
        };
        let pending = self.state.pending.remove(hit);
        if pending.channel != *sender.channel() {
            self.guessed(now, &sender);
            return self.refuse(Refusal::OtherChannel);
        }
        self.state.guesses.remove(&sender);
        let standing = if self.config.approval {
            Standing::AwaitingApproval { until: now.plus(self.config.approval_within) }
        } else {
            Standing::Paired
        };
        self.add(now, sender, label, pending.rights, standing);
    }

    /// A new device, or one whose rights grow.
    fn add(&mut self, now: Timestamp, sender: Sender, label: &str, rights: Rights, standing: Standing) {
        let known = self.state.devices.iter().position(|device| device.sender == sender);
        let known = known.map(|at| (at, self.state.devices[at].standing, self.state.devices[at].rights));
        // An owner's word by hand ends the wait for it.
        let settles = |had: Standing| had != Standing::Paired && standing == Standing::Paired;
        let refusal = match known {
            Some((_, had, was)) if rights <= was && !settles(had) => Some(Refusal::Known),
            None if self.state.devices.len() >= self.config.devices => Some(Refusal::TooManyDevices),
            _ => None,
        };
        if let Some(refusal) = refusal {
            self.persist();
            return self.refuse(refusal);
        }
        if let Some((at, ..)) = known {
            self.state.devices.remove(at);
        }
        self.state.next_device += 1;
        let device = Device {
            id: DeviceId(self.state.next_device),
            sender,
            label: label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect(),
            rights,
            since: now,
            standing,
        };
        self.state.devices.push(device.clone());
        self.persist();
        if standing == Standing::Paired {
            self.outputs.push_back(PairingOutput::Paired(device.clone()));
            self.tell(|other| other.id != device.id, &News::Paired(device.clone()));
        } else {
            self.outputs.push_back(PairingOutput::AwaitingApproval(device.clone()));
            self.tell(|other| other.rights == Rights::Owner, &News::Asks(device));
        }
    }

    fn approve(&mut self, id: DeviceId) {
        let waiting = |device: &&mut Device| device.id == id && device.standing != Standing::Paired;
        let Some(device) = self.state.devices.iter_mut().find(waiting) else {
            return self.refuse(Refusal::UnknownDevice);
        };
        device.standing = Standing::Paired;
        let device = device.clone();
        self.persist();
        self.outputs.push_back(PairingOutput::Paired(device.clone()));
        self.tell(|other| other.id != id, &News::Paired(device));
    }

    fn revoke(&mut self, id: DeviceId) {
        let Some(at) = self.state.devices.iter().position(|device| device.id == id) else {
            return self.refuse(Refusal::UnknownDevice);
        };
        let device = self.state.devices.remove(at);
        self.persist();
        self.tell(|_| true, &News::Revoked(device));
    }

    fn revoke_all(&mut self) {
        let devices = std::mem::take(&mut self.state.devices);
        self.state.pending.clear();
        self.persist();
        for device in devices {
            let to = device.sender.clone();
            self.outputs.push_back(PairingOutput::Notify { to, news: News::Revoked(device) });
        }
    }

    /// Counts a wrong guess; answers how many are left.
    fn guessed(&mut self, now: Timestamp, sender: &Sender) -> u32 {
        let channel = self.state.channels.entry(sender.channel().clone()).or_default();
        channel.push(now);
        let held = (channel.len() >= self.config.channel_attempts as usize)
            .then(|| channel[0].plus(self.config.window));
        let guesses = self.state.guesses.entry(sender.clone()).or_default();
        guesses.at.push(now);
        let left = self.config.attempts.saturating_sub(u32::try_from(guesses.at.len()).unwrap_or(u32::MAX));
        let locked = (left == 0).then(|| now.plus(self.config.lockout));
        guesses.locked_until = locked;
        self.persist();
        let owner = |device: &Device| device.rights == Rights::Owner;
        if let Some(until) = locked {
            self.tell(owner, &News::LockedOut { sender: sender.clone(), until });
        }
        if let Some(until) = held {
            self.tell(owner, &News::ChannelHeld { channel: sender.channel().clone(), until });
        }
        left
    }

    fn held(&self, channel: &ChannelName) -> Option<Timestamp> {
        let guesses = self.state.channels.get(channel)?;
        let full = guesses.len() >= self.config.channel_attempts as usize;
        full.then(|| guesses[0].plus(self.config.window))
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.outputs.push_back(PairingOutput::Refused(refusal));
    }

    fn persist(&mut self) {
        self.due = self.next_due();
        self.outputs.push_back(PairingOutput::Persist(Box::new(self.state.clone())));
    }

    /// Tells the paired devices of which `of` is true.
    fn tell(&mut self, of: impl Fn(&Device) -> bool, news: &News) {
        let paired = self.state.devices.iter().filter(|device| device.standing == Standing::Paired);
        let told = paired.filter(|device| of(device)).map(|device| device.sender.clone());
        self.outputs.extend(told.map(|to| PairingOutput::Notify { to, news: news.clone() }));
    }

    /// Drops what is over. None of it has to be stored: it is as much over after a restart.
    fn tidy(&mut self, now: Timestamp) {
        let PairingConfig { window, lockout, .. } = self.config;
        let counts = |guesses: &mut Vec<Timestamp>| {
            guesses.iter_mut().for_each(|at| *at = (*at).min(now));
            guesses.retain(|at| at.plus(window) > now);
        };
        let state = &mut self.state;
        state.pending.retain(|pending| pending.issued_at <= now && now < pending.expires_at);
        state.devices.retain(|device| match device.standing {
            Standing::Paired => true,
            Standing::AwaitingApproval { until } => now < until,
        });
        state.guesses.retain(|_, guesses| {
            counts(&mut guesses.at);
            if let Some(until) = guesses.locked_until {
                let until = until.min(now.plus(lockout));
                guesses.locked_until = Some(until);
                return now < until;
            }
            !guesses.at.is_empty()
        });
        state.channels.retain(|_, guesses| {
            counts(guesses);
            !guesses.is_empty()
        });
        self.due = self.next_due();
    }

    fn next_due(&self) -> Option<Timestamp> {
        let PairingState { pending, devices, guesses, channels, .. } = &self.state;
        let codes = pending.iter().map(|pending| pending.expires_at);
        let approvals = devices.iter().filter_map(|device| match device.standing {
            Standing::Paired => None,
            Standing::AwaitingApproval { until } => Some(until),
        });
        let window = self.config.window;
        let senders = guesses.values().filter_map(|guesses| match guesses.locked_until {
            Some(until) => Some(until),
            None => guesses.at.first().map(|at| at.plus(window)),
        });
        let held = channels.values().filter_map(|at| at.first().map(|at| at.plus(window)));
        codes.chain(approvals).chain(senders).chain(held).min()
    }
}

impl Machine for Pairing {
    type Input = PairingInput;
    type Output = PairingOutput;
    type Time = Timestamp;

    fn handle_input(&mut self, now: Timestamp, input: PairingInput) {
        if now < self.seen {
            self.tidy(now);
        }
        self.seen = now;
        self.handle_timeout(now);
        match input {
            PairingInput::Issue { channel, rights, entropy } => self.issue(now, channel, rights, &entropy),
            PairingInput::Redeem { sender, label, code } => self.redeem(now, sender, &label, &code),
            PairingInput::Admit { sender, label, rights } => {
                self.add(now, sender, &label, rights, Standing::Paired);
            }
            PairingInput::Approve(id) => self.approve(id),
            PairingInput::Revoke(id) => self.revoke(id),
            PairingInput::RevokeAll => self.revoke_all(),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.due.is_some_and(|due| due <= now) {
            self.tidy(now);
        }
    }

    fn poll_output(&mut self) -> Option<PairingOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.due
    }
}

#[cfg(test)]
mod tests;
