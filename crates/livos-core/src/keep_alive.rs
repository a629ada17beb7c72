//! Keeps an idle connection open, and notices a peer that is open but mute.
//!
//! Providers close a socket that carries nothing (Deepgram after ten seconds); and a socket can
//! stay open while the service behind it has died, which users hear as dead air. Neither is seen by
//! TCP.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::machine::Machine;

/// When to ping and when to give up on a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAliveConfig {
    /// Nothing sent for this long: send a ping. 4 s: within the 3 to 5 s that Deepgram asks for.
    pub interval: Duration,
    /// An answer was expected and nothing at all came for this long: the peer is dead. 5 s: far
    /// beyond any provider's 99th percentile.
    pub mute_after: Duration,
}

crate::with_fields!(KeepAliveConfig {
    with_interval => interval: Duration,
    with_mute_after => mute_after: Duration,
});

impl Default for KeepAliveConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(4), mute_after: Duration::from_secs(5) }
    }
}

/// What happens on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAliveInput {
    /// Something was sent, a ping too.
    Sent,
    /// From now on an answer is due. Said again before an answer came, it does not move the
    /// deadline.
    Expect,
    /// Something came.
    Received,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAliveOutput {
    /// Send whatever the protocol uses as a ping.
    SendPing,
    /// Replace the connection. Said once.
    PeerDead,
}

/// One connection's keep-alive; make a new one for each connection.
#[derive(Debug, Clone)]
pub struct KeepAlive {
    config: KeepAliveConfig,
    ping_at: Option<Instant>,
    dead_at: Option<Instant>,
    ping_due: bool,
    dead: bool,
}

impl KeepAlive {
    /// For a connection on which nothing was sent yet. The first ping is due one interval after the
    /// first [`KeepAliveInput::Sent`].
    pub fn new(config: KeepAliveConfig) -> Self {
        Self { config, ping_at: None, dead_at: None, ping_due: false, dead: false }
    }
}

impl Machine for KeepAlive {
    type Input = KeepAliveInput;
    type Output = KeepAliveOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: KeepAliveInput) {
        self.handle_timeout(now);
        match input {
            KeepAliveInput::Sent => {
                self.ping_at = Some(now + self.config.interval);
                self.ping_due = false;
            }
            KeepAliveInput::Expect => {
                self.dead_at.get_or_insert(now + self.config.mute_after);
            }
            KeepAliveInput::Received => self.dead_at = None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.ping_at.take_if(|at| *at <= now).is_some() {
            self.ping_due = true;
            // A driver that is too busy to send is asked again, and not at every turn of its loop.
            self.ping_at = Some(now + self.config.interval);
        }
        if self.dead_at.take_if(|at| *at <= now).is_some() {
            self.dead = true;
        }
    }

    fn poll_output(&mut self) -> Option<KeepAliveOutput> {
        if std::mem::take(&mut self.dead) {
            return Some(KeepAliveOutput::PeerDead);
        }
        std::mem::take(&mut self.ping_due).then_some(KeepAliveOutput::SendPing)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.ping_at, self.dead_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make their `now` from a real instant.
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::check_law;

    const SECOND: Duration = Duration::from_secs(1);

    fn outputs(machine: &mut KeepAlive) -> Vec<KeepAliveOutput> {
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    #[test]
    fn a_ping_is_due_after_an_interval_without_sending() {
        let (start, mut machine) = (Instant::now(), KeepAlive::new(KeepAliveConfig::default()));
        machine.handle_input(start, KeepAliveInput::Sent);
        machine.handle_input(start + 3 * SECOND, KeepAliveInput::Sent);
        machine.handle_timeout(start + 4 * SECOND);
        assert_eq!(outputs(&mut machine), []);
        machine.handle_timeout(start + 7 * SECOND);
        assert_eq!(outputs(&mut machine), [KeepAliveOutput::SendPing]);
        assert_eq!(machine.poll_timeout(), Some(start + 11 * SECOND));
    }

    #[test]
    fn a_peer_that_owes_an_answer_and_stays_mute_is_dead() {
        let (start, mut machine) = (Instant::now(), KeepAlive::new(KeepAliveConfig::default()));
        machine.handle_input(start, KeepAliveInput::Expect);
        machine.handle_input(start + 2 * SECOND, KeepAliveInput::Expect);
        machine.handle_timeout(start + 5 * SECOND);
        assert_eq!(outputs(&mut machine), [KeepAliveOutput::PeerDead]);
    }

    #[test]
    fn silence_is_no_death_while_nothing_is_owed() {
        let (start, mut machine) = (Instant::now(), KeepAlive::new(KeepAliveConfig::default()));
        machine.handle_input(start, KeepAliveInput::Expect);
        machine.handle_input(start + SECOND, KeepAliveInput::Received);
        machine.handle_timeout(start + 3600 * SECOND);
        assert_eq!(outputs(&mut machine), []);
        assert_eq!(machine.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn any_history_keeps_the_law_and_never_leaves_more_than_an_interval_without_a_ping(
            steps in prop::collection::vec((0u64..9_000, 0u8..3), 1..100),
        ) {
            let start = Instant::now();
            let mut at = start;
            let inputs = [KeepAliveInput::Sent, KeepAliveInput::Expect, KeepAliveInput::Received];
            let dialogue: Vec<_> = steps.iter().map(|(wait, input)| {
                at += Duration::from_millis(*wait);
                (at, inputs[usize::from(*input)])
            }).collect();
            let said = check_law(&mut KeepAlive::new(KeepAliveConfig::default()), dialogue.clone());
            let sent = dialogue.iter().filter(|(_, input)| *input == KeepAliveInput::Sent).map(|(at, _)| *at);
            let pings = said.iter().filter(|(_, output)| *output == KeepAliveOutput::SendPing).map(|(at, _)| *at);
            let mut signs: Vec<Instant> = sent.chain(pings).collect();
            signs.sort_unstable();
            for pair in signs.windows(2) {
                prop_assert!(pair[1] - pair[0] <= KeepAliveConfig::default().interval);
            }
        }
    }
}
