//! Several processes over one store and one strict provider, in every order of events, with a store
//! and a provider that fail.

use livos_core::machine::Machine;
use proptest::prelude::*;

use super::*;

/// A provider that rotates refresh tokens and ends the grant when one is used twice: the one that
/// punishes every mistake.
struct Provider {
    epoch: u32,
    current: String,
    issued: u32,
    dead: bool,
    rotates: bool,
    /// The clients' own mistakes.
    reused: u32,
    /// Answers to whatever was alive when it was asked.
    deaths: u32,
}

impl Provider {
    fn consent(&mut self) -> Tokens {
        (self.epoch, self.dead) = (self.epoch + 1, false);
        self.issue()
    }

    fn issue(&mut self) -> Tokens {
        self.issued += 1;
        self.current = format!("r{}.{}", self.epoch, self.issued);
        tokens(&format!("a{}", self.issued), Some(&self.current))
    }

    fn refresh(&mut self, token: &str) -> Result<Tokens, EndpointError> {
        if self.dead {
            return Err(EndpointError::InvalidGrant(None));
        }
        if token != self.current {
            let same_epoch = token.starts_with(&format!("r{}.", self.epoch));
            self.reused += u32::from(same_epoch);
            return Err(EndpointError::InvalidGrant(None));
        }
        if !self.rotates {
            return Ok(tokens("again", None));
        }
        Ok(self.issue())
    }
}

struct World {
    now: Timestamp,
    processes: Vec<GrantLifecycle>,
    /// What each process has under way, and since when.
    under_way: Vec<Option<(Timestamp, GrantOutput)>>,
    stored: Option<(Record, u64)>,
    /// Down, it is down for all of them.
    store_works: bool,
    provider: Provider,
    alerts: Vec<Alert>,
}

/// Every effect ends within so much time: its driver sees to it.
const fn longest(output: &GrantOutput) -> Duration {
    Duration::from_secs(match output {
        GrantOutput::Load | GrantOutput::Save { .. } => 10,
        GrantOutput::Refresh { .. } | GrantOutput::Revoke { .. } => 20,
        GrantOutput::Raise(_) => 30,
    })
}

impl World {
    fn new(processes: usize, rotates: bool) -> Self {
        let provider = Provider {
            epoch: 0,
            current: String::new(),
            issued: 0,
            dead: false,
            rotates,
            reused: 0,
            deaths: 0,
        };
        let machines =
            (0..processes).map(|holder| GrantLifecycle::new(LifecycleConfig::google(), holder as u64));
        let mut world = Self {
            now: START,
            processes: machines.collect(),
            under_way: vec![None; processes],
            stored: None,
            store_works: true,
            provider,
            alerts: Vec::new(),
        };
        (0..processes).for_each(|process| world.collect(process));
        world
    }

    fn collect(&mut self, process: usize) {
        for output in drain(&mut self.processes[process]) {
            assert!(
                self.under_way[process].is_none(),
                "two things under way: {:?} and {output:?}",
                self.under_way[process]
            );
            self.under_way[process] = Some((self.now, output));
        }
    }

    fn input(&mut self, process: usize, input: GrantInput) {
        self.processes[process].handle_input(self.now, input);
        self.collect(process);
    }

    /// What is under way comes to its end; well, where `fate` is zero.
    fn finish(&mut self, process: usize, fate: u8) {
        let Some((_, output)) = self.under_way[process].take() else { return };
        let input = match output {
            GrantOutput::Load | GrantOutput::Save { .. } if !self.store_works => GrantInput::StoreFailed,
            GrantOutput::Load => GrantInput::Loaded { found: self.stored.clone() },
            GrantOutput::Save { record, expected } => {
                let written = self.write(record, expected);
                // The store did it, and its answer was lost.
                if fate == 2 { GrantInput::StoreFailed } else { written }
            }
            GrantOutput::Refresh { .. } if fate == 1 => GrantInput::RefreshFailed(unavailable()),
            GrantOutput::Refresh { refresh_token } => match self.provider.refresh(refresh_token.expose()) {
                Ok(tokens) => GrantInput::Refreshed(tokens),
                Err(error) => GrantInput::RefreshFailed(error),
            },
            GrantOutput::Revoke { .. } => GrantInput::Revoked(Ok(())),
            GrantOutput::Raise(_) if fate == 1 => GrantInput::RaiseFailed,
            GrantOutput::Raise(alert) => {
                self.alerts.push(alert);
                GrantInput::Raised
            }
        };
        self.input(process, input);
    }

    fn write(&mut self, record: Record, expected: Expected) -> GrantInput {
        let stands = self.stored.as_ref().map(|(_, version)| *version);
        let wanted = match expected {
            Expected::Nothing => None,
            Expected::Version(version) => Some(version),
            Expected::Anything => stands,
        };
        if stands != wanted {
            return GrantInput::Conflict;
        }
        let version = stands.unwrap_or(0) + 1;
        self.stored = Some((record, version));
        GrantInput::Saved { version }
    }

    /// Time passes. What is under way ends in time, and deadlines are met.
    fn wait(&mut self, time: Duration, fate: u8) {
        let end = self.now.plus(time);
        loop {
            let due = (0..self.processes.len()).filter_map(|process| match &self.under_way[process] {
                Some((since, output)) => Some((since.plus(longest(output)), process)),
                None => self.processes[process].poll_timeout().map(|at| (at, process)),
            });
            let Some((at, process)) = due.min().filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            if self.under_way[process].is_some() {
                self.finish(process, fate);
            } else {
                self.processes[process].handle_timeout(self.now);
                self.collect(process);
            }
        }
        self.now = end;
    }

    /// A process is killed, and starts again with nothing but the store.
    fn kill(&mut self, process: usize, holder: u64) {
        self.under_way[process] = None;
        self.processes[process] = GrantLifecycle::new(LifecycleConfig::google(), 1_000 + holder);
        self.collect(process);
    }

    /// Everything works for an hour.
    fn calm(&mut self) {
        self.store_works = true;
        for _ in 0..240 {
            for process in 0..self.processes.len() {
                self.finish(process, 0);
            }
            self.wait(Duration::from_secs(15), 0);
            for process in 0..self.processes.len() {
                self.input(process, GrantInput::Wanted);
            }
        }
        for _ in 0..20 {
            (0..self.processes.len()).for_each(|process| self.finish(process, 0));
        }
    }

    fn consent_alerts(&self) -> usize {
        self.alerts.iter().filter(|alert| matches!(alert, Alert::NeedsConsent(_))).count()
    }
}

#[derive(Debug, Clone)]
enum Event {
    Finish(usize, u8),
    Wait(u64, u8),
    Want(usize),
    Reject(usize),
    Store(bool),
    Die,
}

fn any_event(processes: usize) -> impl Strategy<Value = Event> {
    let fate = prop_oneof![6 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)];
    let also = fate.clone();
    prop_oneof![
        20 => (0..processes, fate).prop_map(|(process, fate)| Event::Finish(process, fate)),
        6 => (0u64..2_000, also).prop_map(|(seconds, fate)| Event::Wait(seconds, fate)),
        4 => (0..processes).prop_map(Event::Want),
        2 => (0..processes).prop_map(Event::Reject),
        2 => any::<bool>().prop_map(Event::Store),
        1 => Just(Event::Die),
    ]
}

fn play(world: &mut World, events: &[Event]) {
    for event in events {
        match *event {
            Event::Finish(process, fate) => world.finish(process, fate),
            Event::Wait(seconds, fate) => world.wait(Duration::from_secs(seconds), fate),
            Event::Want(process) => world.input(process, GrantInput::Wanted),
            Event::Reject(process) => {
                let serial = world.processes[process].status().serial;
                world.input(process, GrantInput::Rejected { serial });
            }
            Event::Store(works) => world.store_works = works,
            Event::Die => {
                world.provider.deaths += u32::from(!world.provider.dead);
                world.provider.dead = true;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_order_of_events_uses_a_refresh_token_twice_or_loses_the_grant(
        events in prop::collection::vec(any_event(3), 0..150),
    ) {
        let mut world = World::new(3, true);
        world.calm();
        let tokens = world.provider.consent();
        world.input(0, GrantInput::Granted(tokens));
        world.calm();
        play(&mut world, &events);
        world.calm();
        prop_assert_eq!(world.provider.reused, 0, "a rotated token was used again");
        for process in &world.processes {
            let access = process.access(world.now);
            if world.provider.dead {
                prop_assert!(matches!(access, TokenAccess::Refused(TokenError::NeedsConsent(_))), "{:?}", access);
            } else {
                prop_assert!(matches!(access, TokenAccess::Ready(_)), "{:?} in {:?}", access, process);
            }
        }
        prop_assert_eq!(world.consent_alerts(), world.provider.deaths as usize, "one alert for a death: {:?}", &world.alerts);
    }

    /// A kill may lose the answer of a refresh: with a provider that rotates strictly that ends the
    /// grant, with any other nothing is lost.
    #[test]
    fn kills_lose_nothing_that_a_provider_forgives(
        events in prop::collection::vec((any_event(2), prop::option::weighted(0.2, 0usize..2)), 0..150),
    ) {
        let mut world = World::new(2, false);
        world.calm();
        let tokens = world.provider.consent();
        world.input(0, GrantInput::Granted(tokens));
        world.calm();
        for (index, (event, killed)) in events.into_iter().enumerate() {
            play(&mut world, &[event]);
            if let Some(process) = killed {
                world.kill(process, index as u64);
            }
        }
        world.calm();
        let alerts = world.consent_alerts();
        if world.provider.dead {
            prop_assert!(alerts >= 1, "a death is told, though a kill may repeat it");
        } else {
            for process in &world.processes {
                prop_assert!(matches!(process.access(world.now), TokenAccess::Ready(_)), "{:?}", process);
            }
        }
    }
}
