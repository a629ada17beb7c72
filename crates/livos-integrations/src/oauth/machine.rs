//! The life of one grant, in any number of processes: when it is refreshed, by whom, what is saved
//! before what, and when a person is told.
//!
//! The record in the store is the one truth, and each decision is one write of it under the version
//! that was read. So a refresh goes: claim the lease (a write), ask the provider, write what came
//! of it, use it. A process that is killed in between leaves a lease that ends by itself, and the
//! old tokens; one that finds another version looks again before it believes anything, even
//! `invalid_grant`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod answers;
mod change;
mod messages;
mod plan;
mod record;
mod saving;
mod view;

use std::{collections::VecDeque, time::Duration};

use livos_core::{backoff::Backoff, machine::Machine, time::Timestamp};

pub use self::messages::{Expected, GrantInput, GrantOutput, TokenAccess};
use self::record::{Action, end, tell};
use super::{
    Alert, Ending, LifecycleConfig, Tokens,
    grant::{Data, Standing},
};

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

/// The shortest wait: deadlines must move on.
const LEAST: Duration = Duration::from_millis(1);

impl GrantLifecycle {
    /// A grant that is read from the store first. `holder` is random, and tells this process from
    /// the others.
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
            // What can't be read stays as it is: the key may come back. So this one alert is not
            // written before it is raised.
            return self.raise();
        }
        if self.belongs_to_another(now) {
            self.doing = Doing::Waiting { look_at: now.plus(self.config.poll.max(LEAST)) };
            return;
        }
        self.begin(now, action);
    }

    /// Whether another process is at it: by its lease, or by what it may still have in memory after
    /// that.
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

    /// Begins what is due. The write that claims the lease comes first, and carries what is known
    /// by then.
    fn begin(&mut self, now: Timestamp, action: Action) {
        let mut data = self.data.clone();
        data.lease = Some(self.lease(now));
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

    /// A clock that was set back would keep an old token for too long.
    fn notice_clock(&mut self, now: Timestamp) {
        self.looked_at = self.looked_at.min(now);
        let soon = now.plus(self.config.store_backoff.longest.max(LEAST));
        if let Doing::LoadLater { at } | Doing::SaveLater { at } = &mut self.doing {
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
            Doing::SaveLater { at } if *at <= now => self.save_again(now),
            _ => self.proceed(now),
        }
    }

    fn poll_output(&mut self) -> Option<GrantOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.doing {
            Doing::LoadLater { at } | Doing::SaveLater { at } | Doing::Waiting { look_at: at } => Some(*at),
            Doing::Resting => self.plan().map(|(at, _)| at),
            Doing::Loading
            | Doing::Saving { .. }
            | Doing::Refreshing { .. }
            | Doing::Revoking
            | Doing::Raising => None,
        }
    }
}
