//! Checks any [`Machine`] against its law, and starts servers. For tests, behind the feature
//! `test-util`.

mod disk;
mod matrix;
#[cfg(feature = "postgres")]
mod postgres_server;
#[cfg(feature = "redis")]
mod redis_server;

use std::{collections::VecDeque, fmt::Debug};

#[cfg(feature = "postgres")]
pub use self::postgres_server::PostgresServer;
#[cfg(feature = "redis")]
pub use self::redis_server::RedisServer;
pub use self::{disk::SmallDisk, matrix::matrix};
use crate::machine::Machine;

/// No machine has this much to say about one event.
const MAX_OUTPUTS: usize = 10_000;
/// Nor this many deadlines between two events of a test.
const MAX_DEADLINES: usize = 100_000;

/// Plays a dialogue of (time, input), in order of time, and answers all outputs with the time they
/// came at. Deadlines between the inputs are met at their time. After each step the
/// [law](crate::machine) is checked.
///
/// # Panics
///
/// Where the machine breaks the law: a drain that does not end, a deadline that has passed but
/// still stands, or a timeout before the deadline that changes what the machine says or shows of
/// itself by `Debug`.
pub fn check_law<M>(
    machine: &mut M,
    dialogue: impl IntoIterator<Item = (M::Time, M::Input)>,
) -> Vec<(M::Time, M::Output)>
where
    M: Machine + Debug,
    M::Time: Debug,
    M::Output: Debug,
{
    let mut said = Vec::new();
    let mut dialogue: VecDeque<_> = dialogue.into_iter().collect();
    while let Some((at, input)) = dialogue.pop_front() {
        let mut met = 0;
        while let Some(deadline) = machine.poll_timeout().filter(|deadline| *deadline <= at) {
            machine.handle_timeout(deadline);
            drain(machine, deadline, &mut said);
            let next = machine.poll_timeout();
            assert!(
                next.is_none_or(|next| next > deadline),
                "the deadline {deadline:?} was met and stands: {machine:?}"
            );
            met += 1;
            assert!(met < MAX_DEADLINES, "deadlines without end before {at:?}: {machine:?}");
        }
        machine.handle_input(at, input);
        drain(machine, at, &mut said);
        if machine.poll_timeout().is_none_or(|deadline| deadline > at) {
            let before = format!("{machine:?}");
            machine.handle_timeout(at);
            let early = machine.poll_output();
            assert!(early.is_none(), "a timeout before its time made {machine:?} say {early:?}");
            assert_eq!(before, format!("{machine:?}"), "a timeout before its time changed something");
        }
    }
    said
}

fn drain<M>(machine: &mut M, at: M::Time, said: &mut Vec<(M::Time, M::Output)>)
where
    M: Machine + Debug,
{
    let before = said.len();
    while let Some(output) = machine.poll_output() {
        said.push((at, output));
        assert!(said.len() - before < MAX_OUTPUTS, "the drain does not end: {machine:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks the rule that its tests name.
    #[derive(Debug, Default)]
    struct Broken {
        chatters: bool,
        stands_still: bool,
        fidgets: Option<u32>,
        deadline: Option<u64>,
    }

    impl Machine for Broken {
        type Input = ();
        type Output = ();
        type Time = u64;

        fn handle_input(&mut self, now: u64, (): ()) {
            self.deadline = Some(now + 1);
        }

        fn handle_timeout(&mut self, _: u64) {
            if !self.stands_still && self.fidgets.is_none() {
                self.deadline = None;
            }
            if let Some(times) = &mut self.fidgets {
                *times += 1;
            }
        }

        fn poll_output(&mut self) -> Option<()> {
            self.chatters.then_some(())
        }

        fn poll_timeout(&self) -> Option<u64> {
            self.deadline
        }
    }

    #[test]
    #[should_panic(expected = "the drain does not end")]
    fn endless_output_is_found() {
        check_law(&mut Broken { chatters: true, ..Broken::default() }, [(1, ())]);
    }

    #[test]
    #[should_panic(expected = "was met and stands")]
    fn a_deadline_that_stays_in_the_past_is_found() {
        let mut machine = Broken { stands_still: true, deadline: Some(0), ..Broken::default() };
        check_law(&mut machine, [(5, ())]);
    }

    #[test]
    #[should_panic(expected = "changed something")]
    fn a_timeout_that_is_not_due_and_acts_is_found() {
        check_law(&mut Broken { fidgets: Some(0), ..Broken::default() }, [(1, ())]);
    }
}
