//! One process with a grant, its store and the alerts that it raised.

use super::*;

/// A machine with a store that works, and a provider that is told what to answer.
pub(super) struct Process {
    pub(super) machine: GrantLifecycle,
    pub(super) now: Timestamp,
    pub(super) stored: Option<(Record, u64)>,
    pub(super) store_works: bool,
    /// What the store keeps back: answered by `release`.
    pub(super) said: Vec<String>,
}

impl Process {
    pub(super) fn new(config: LifecycleConfig) -> Self {
        let machine = GrantLifecycle::new(config, 1);
        let mut process = Self { machine, now: START, stored: None, store_works: true, said: Vec::new() };
        process.settle();
        process.said.clear();
        process
    }

    /// After a consent to these, with a refresh token.
    pub(super) fn connected(config: LifecycleConfig) -> Self {
        let mut process = Self::new(config);
        process.input(GrantInput::Granted(tokens("a1", Some("r1"))));
        process.said.clear();
        process
    }

    /// Gives the machine an input and returns its outputs, except those for the store.
    pub(super) fn input(&mut self, input: GrantInput) -> Vec<String> {
        self.machine.handle_input(self.now, input);
        self.settle();
        std::mem::take(&mut self.said)
    }

    /// Time passes, and each deadline is met when it comes.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now.plus(time);
        while let Some(deadline) = self.machine.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.machine.handle_timeout(deadline);
            self.settle();
        }
        self.now = end;
        std::mem::take(&mut self.said)
    }

    pub(super) fn settle(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            let answer = match output {
                _ if !self.store_works && matches!(output, GrantOutput::Load | GrantOutput::Save { .. }) => {
                    GrantInput::StoreFailed
                }
                GrantOutput::Load => GrantInput::Loaded { found: self.stored.clone() },
                GrantOutput::Save { record, expected } => self.write(record, expected),
                other => {
                    self.said.push(short(&other));
                    continue;
                }
            };
            self.machine.handle_input(self.now, answer);
        }
    }

    pub(super) fn write(&mut self, record: Record, expected: Expected) -> GrantInput {
        let stands = self.stored.as_ref().map(|(_, version)| *version);
        let fits = match expected {
            Expected::Anything => true,
            Expected::Nothing => stands.is_none(),
            Expected::Version(version) => stands == Some(version),
        };
        if !fits {
            return GrantInput::Conflict;
        }
        let version = stands.unwrap_or(0) + 1;
        self.stored = Some((record, version));
        GrantInput::Saved { version }
    }

    pub(super) fn gets(&self) -> String {
        gets(&self.machine, self.now)
    }

    pub(super) fn state(&self) -> GrantState {
        self.machine.status().state
    }

    /// The same grant in a process that starts now.
    pub(super) fn restarted(&self) -> Self {
        let machine = GrantLifecycle::new(config(), 2);
        let mut process = Self {
            machine,
            now: self.now,
            stored: self.stored.clone(),
            store_works: self.store_works,
            said: Vec::new(),
        };
        process.settle();
        process
    }
}
