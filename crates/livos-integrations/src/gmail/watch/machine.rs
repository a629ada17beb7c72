//! The decision when to renew, when to look, and when to tell a person.
//!
//! - A watch is renewed at the time that was persisted; a failure is told once, until it recovers,
//!   and mail is polled for meanwhile.
//! - The expiry is verified by the clock at every check. That a watch is *heard* is verified too:
//!   another process that stops it, or a subscription that expired, leaves it looking sound.
//! - Pushes and polls ask for the same look at the mailbox. There is one at a time; what is asked
//!   for meanwhile is asked for once more.
//! - A grant that is gone ends all of it with one word to a person. Until consent comes back the
//!   mailbox is only tried at every check, which costs nothing where the token layer answers by
//!   itself.
//! - What a person must hear is persisted before it is said, and crossed out after.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::VecDeque, time::Duration};

use livos_core::{backoff::Backoff, machine::Machine, time::Timestamp};

use super::{
    WatchAlert, WatchConfig, WatchState,
    event::{Remaining, SyncReason, Synced, WatchFailure, WatchInput, WatchOutput},
    phase::{Look, Phase, Renewal},
};
use crate::gmail::HistoryId;

/// Keeps a mailbox watched. See the module.
#[derive(Debug, Clone)]
pub struct WatchRenewal {
    config: WatchConfig,
    state: WatchState,
    phase: Phase,
    cursor: Option<HistoryId>,
    /// Looks in a row that found mail of which no push told.
    silent: u32,
    /// Looks in a row that failed.
    failed: u32,
    renewing: Backoff,
    syncing: Backoff,
    output: VecDeque<WatchOutput>,
}

impl WatchRenewal {
    /// A watch that goes on from `state`, idle until [`WatchInput::Started`]. The jitter of its
    /// waits comes from `seed`.
    pub fn new(config: WatchConfig, state: WatchState, seed: u64) -> Self {
        let backoff = |seed| Backoff::new(config.backoff, seed);
        Self {
            renewing: backoff(seed),
            syncing: backoff(seed.wrapping_add(1)),
            config,
            state,
            phase: Phase::Idle,
            cursor: None,
            silent: 0,
            failed: 0,
            output: VecDeque::new(),
        }
    }

    /// What it remembers.
    pub fn state(&self) -> &WatchState {
        &self.state
    }

    fn start(&mut self, now: Timestamp) {
        let untold: Vec<WatchAlert> = self.state.pending.iter().copied().collect();
        if self.state.consent_lost {
            self.output.push_back(WatchOutput::Disable);
            self.phase = Phase::Lost { look: Look::UnderWay { reason: SyncReason::Probe, again: false } };
            self.output.push_back(WatchOutput::Sync(SyncReason::Probe));
        } else {
            let ending = |at: Timestamp| at.since(now) < self.config.expiry_margin;
            let renew_at = self.state.renew_at.filter(|_| !self.state.expires_at.is_some_and(ending));
            self.watch(now, renew_at.unwrap_or(now), SyncReason::Start);
            self.output.push_back(WatchOutput::Sync(SyncReason::Start));
        }
        untold.into_iter().for_each(|alert| self.say(alert));
        self.meet(now);
    }

    /// Watches from now on, with a look under way.
    fn watch(&mut self, now: Timestamp, renew_at: Timestamp, reason: SyncReason) {
        // A time that a clock wrote which was ahead must not be waited for.
        let renew_at = renew_at.min(now.plus(self.config.renew_after));
        self.phase = Phase::Watching {
            renewal: if self.config.topic.is_some() { Renewal::Due(renew_at) } else { Renewal::Never },
            look: Look::UnderWay { reason, again: false },
            check_at: now.plus(self.config.check_every),
            expected: None,
        };
    }

    /// Looks at the mailbox now, or once more after the look that is under way.
    fn look(&mut self, reason: SyncReason) {
        let (Phase::Watching { look, .. } | Phase::Lost { look }) = &mut self.phase else { return };
        match look {
            Look::Due { .. } => {
                *look = Look::UnderWay { reason, again: false };
                self.output.push_back(WatchOutput::Sync(reason));
            }
            Look::UnderWay { again, .. } => *again = true,
        }
    }

    fn armed(&mut self, now: Timestamp, expires_at: Timestamp) {
        let Phase::Watching { renewal, .. } = &mut self.phase else { return };
        // One that ends sooner than it should is renewed sooner, with a seventh of its time left,
        // as on day six of seven.
        let most = (expires_at.since(now) / 7 * 6).max(self.config.backoff.first);
        let renew_at = now.plus(self.config.renew_after.min(most));
        *renewal = Renewal::Due(renew_at);
        (self.state.renew_at, self.state.expires_at) = (Some(renew_at), Some(expires_at));
        self.renewing.reset();
        self.persist();
        self.recover(WatchAlert::RenewalFailing);
        self.recover(WatchAlert::WatchExpired);
    }

    fn arm_failed(&mut self, now: Timestamp, failure: WatchFailure) {
        if failure == WatchFailure::TokenDead {
            return self.lose(now);
        }
        let wait = self.wait_after(failure, true);
        let Phase::Watching { renewal, .. } = &mut self.phase else { return };
        *renewal = Renewal::Due(now.plus(wait));
        self.state.renew_at = Some(now.plus(wait));
        self.persist();
        self.raise(WatchAlert::RenewalFailing);
    }

    fn notified(&mut self, history_id: HistoryId) {
        self.silent = 0;
        self.recover(WatchAlert::PushSilent);
        if self.cursor.is_some_and(|cursor| history_id <= cursor) {
            return;
        }
        if let Phase::Watching { expected, .. } = &mut self.phase {
            *expected = (*expected).max(Some(history_id));
            self.look(SyncReason::Push);
        }
    }

    fn synced(&mut self, now: Timestamp, synced: Synced) {
        if matches!(self.phase, Phase::Lost { .. }) {
            self.regain(now);
        }
        self.cursor = Some(synced.cursor);
        self.failed = 0;
        self.syncing.reset();
        self.recover(WatchAlert::SyncFailing);
        if synced.skipped {
            self.output.push_back(WatchOutput::Alert(WatchAlert::MailSkipped));
        }
        self.listen_for_silence(now, synced);
        let Phase::Watching { look, expected, .. } = &mut self.phase else { return };
        let again = look.is_asked_again();
        let behind = expected.is_some_and(|expected| expected > synced.cursor);
        let (wait, reason) = match synced.rest {
            Remaining::QueueFull => (self.config.full_wait, SyncReason::Rest),
            Remaining::Nothing if behind && !again => (self.config.lag, SyncReason::Push),
            Remaining::Nothing | Remaining::More => (self.config.poll_every, SyncReason::Poll),
        };
        *look = Look::Due { at: now.plus(wait), reason };
        match synced.rest {
            Remaining::More => self.look(SyncReason::Rest),
            Remaining::Nothing if behind && again => self.look(SyncReason::Push),
            // Looked for once more after the lag; beyond that it is the poll's.
            Remaining::Nothing => *expected = None,
            Remaining::QueueFull => {}
        }
    }

    /// Counts looks that found what a push should have told.
    fn listen_for_silence(&mut self, now: Timestamp, synced: Synced) {
        let Phase::Watching { renewal, look, .. } = &mut self.phase else { return };
        let polled = matches!(look, Look::UnderWay { reason: SyncReason::Poll, again: false });
        let alive = self.state.expires_at.is_some_and(|expires_at| expires_at > now);
        if !polled || !alive || synced.new == 0 {
            return;
        }
        self.silent += 1;
        if self.silent >= self.config.silent_polls {
            self.silent = 0;
            renewal.hasten(now);
            self.raise(WatchAlert::PushSilent);
        }
    }

    fn sync_failed(&mut self, now: Timestamp, failure: WatchFailure) {
        let watching = matches!(self.phase, Phase::Watching { .. });
        if failure == WatchFailure::TokenDead && watching {
            return self.lose(now);
        }
        self.failed += 1;
        let wait = self.wait_after(failure, false);
        let (Phase::Watching { look, .. } | Phase::Lost { look }) = &mut self.phase else { return };
        let consented = look.is_asked_again() && !watching;
        *look = Look::Due {
            at: now.plus(wait),
            reason: if watching { SyncReason::Rest } else { SyncReason::Probe },
        };
        if consented {
            self.look(SyncReason::Probe);
        } else if watching && (failure == WatchFailure::Lasting || self.failed >= self.config.failed_syncs) {
            self.raise(WatchAlert::SyncFailing);
        }
    }

    fn wait_after(&mut self, failure: WatchFailure, renewal: bool) -> Duration {
        match failure {
            WatchFailure::Temporary { retry_after } => {
                let backoff = if renewal { &mut self.renewing } else { &mut self.syncing };
                backoff.next_delay().max(retry_after.unwrap_or_default()).min(self.config.check_every)
            }
            WatchFailure::Lasting | WatchFailure::TokenDead => self.config.check_every,
        }
    }

    /// The grant is gone.
    fn lose(&mut self, now: Timestamp) {
        if !matches!(self.phase, Phase::Watching { .. }) {
            return;
        }
        let at = now.plus(self.config.check_every);
        self.phase = Phase::Lost { look: Look::Due { at, reason: SyncReason::Probe } };
        self.state.consent_lost = true;
        self.output.push_back(WatchOutput::Disable);
        self.persist();
        self.raise(WatchAlert::ConsentNeeded);
    }

    /// The grant is back: a look went through.
    fn regain(&mut self, now: Timestamp) {
        self.state.consent_lost = false;
        self.watch(now, now, SyncReason::Probe);
        self.persist();
        self.output.push_back(WatchOutput::Enable);
        self.recover(WatchAlert::ConsentNeeded);
    }

    fn clock_set_back(&mut self, now: Timestamp) {
        let config = &self.config;
        match &mut self.phase {
            Phase::Idle => {}
            Phase::Watching { renewal, look, check_at, .. } => {
                renewal.hasten(now.plus(config.renew_after));
                look.hasten(now.plus(config.poll_every));
                *check_at = (*check_at).min(now.plus(config.check_every));
            }
            Phase::Lost { look } => look.hasten(now.plus(config.check_every)),
        }
    }

    /// Does what is due.
    fn meet(&mut self, now: Timestamp) {
        self.verify(now);
        if let Phase::Watching { renewal, .. } = &mut self.phase
            && matches!(renewal, Renewal::Due(at) if *at <= now)
        {
            *renewal = Renewal::UnderWay;
            self.output.push_back(WatchOutput::Renew);
        }
        if let Phase::Watching { look, .. } | Phase::Lost { look } = self.phase
            && let Look::Due { at, reason } = look
            && at <= now
        {
            self.look(reason);
        }
    }

    /// The hourly look at the clock.
    fn verify(&mut self, now: Timestamp) {
        let Phase::Watching { renewal, check_at, .. } = &mut self.phase else { return };
        if *check_at > now {
            return;
        }
        *check_at = now.plus(self.config.check_every);
        let Some(expires_at) = self.state.expires_at.filter(|_| *renewal != Renewal::Never) else { return };
        if expires_at.since(now) < self.config.expiry_margin {
            renewal.hasten(now);
        }
        if expires_at <= now {
            self.raise(WatchAlert::WatchExpired);
        }
    }

    fn raise(&mut self, alert: WatchAlert) {
        if !self.state.raised.contains(&alert) && self.state.pending.insert(alert) {
            self.persist();
            self.say(alert);
        }
    }

    /// Says what is pending, and crosses it out.
    fn say(&mut self, alert: WatchAlert) {
        self.output.push_back(WatchOutput::Alert(alert));
        self.state.pending.remove(&alert);
        self.state.raised.insert(alert);
        self.persist();
    }

    fn recover(&mut self, alert: WatchAlert) {
        if self.state.raised.remove(&alert) {
            self.persist();
            self.output.push_back(WatchOutput::Recovered(alert));
        }
    }

    fn persist(&mut self) {
        self.output.push_back(WatchOutput::Persist(self.state.clone()));
    }
}

impl Machine for WatchRenewal {
    type Input = WatchInput;
    type Output = WatchOutput;
    type Time = Timestamp;

    fn handle_input(&mut self, now: Timestamp, input: WatchInput) {
        match (input, self.phase) {
            (WatchInput::Started, Phase::Idle) => self.start(now),
            (_, Phase::Idle) | (WatchInput::Started, _) => {}
            (WatchInput::Armed { expires_at }, _) => self.armed(now, expires_at),
            (WatchInput::ArmFailed(failure), _) => self.arm_failed(now, failure),
            (WatchInput::Notified { history_id }, _) => self.notified(history_id),
            (WatchInput::Synced(synced), _) => self.synced(now, synced),
            (WatchInput::SyncFailed(failure), _) => self.sync_failed(now, failure),
            (WatchInput::TokenDied, _) => self.lose(now),
            (WatchInput::Consented, Phase::Lost { .. }) => self.look(SyncReason::Probe),
            (WatchInput::Consented, _) => {}
            (WatchInput::ClockSetBack, _) => self.clock_set_back(now),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.meet(now);
    }

    fn poll_output(&mut self) -> Option<WatchOutput> {
        self.output.pop_front()
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Idle => None,
            Phase::Watching { renewal, look, check_at, .. } => {
                let renew_at = match renewal {
                    Renewal::Due(at) => Some(at),
                    Renewal::Never | Renewal::UnderWay => None,
                };
                [renew_at, look.due_at(), Some(check_at)].into_iter().flatten().min()
            }
            Phase::Lost { look } => look.due_at(),
        }
    }
}
