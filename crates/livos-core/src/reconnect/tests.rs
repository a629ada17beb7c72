//! Histories of a connection.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{machine::Machine, testing::check_law};

const SECOND: Duration = Duration::from_secs(1);

fn machine() -> Reconnect {
    let mut config = ReconnectConfig::default();
    config.backoff.jitter = 0.0;
    Reconnect::new(config, 1)
}

/// Feeds (at, input) and answers the output of each step.
fn play(
    machine: &mut Reconnect,
    start: Instant,
    steps: &[(Duration, ReconnectInput)],
) -> Vec<Option<ReconnectOutput>> {
    let step = |(at, input): &(Duration, ReconnectInput)| {
        machine.handle_timeout(start + *at);
        let waited = machine.poll_output();
        machine.handle_input(start + *at, *input);
        machine.poll_output().or(waited)
    };
    steps.iter().map(step).collect()
}

#[test]
fn failed_attempts_wait_one_two_four_seconds() {
    let (mut machine, mut now) = (machine(), Instant::now());
    machine.handle_input(now, ReconnectInput::Start);
    for (attempt, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30)] {
        assert!(matches!(machine.poll_output(), Some(ReconnectOutput::Connect { .. })));
        machine.handle_input(now, ReconnectInput::Lost);
        let delay = seconds * SECOND;
        assert_eq!(machine.poll_output(), Some(ReconnectOutput::Wait { attempt, delay }));
        now += delay;
        machine.handle_timeout(now);
    }
}

#[test]
fn a_sound_connection_that_is_lost_is_replaced_at_once() {
    let (mut machine, start) = (machine(), Instant::now());
    let outputs = play(
        &mut machine,
        start,
        &[
            (Duration::ZERO, ReconnectInput::Start),
            (Duration::ZERO, ReconnectInput::Lost),
            (SECOND, ReconnectInput::Connected),
            (60 * SECOND, ReconnectInput::Lost),
        ],
    );
    let Some(ReconnectOutput::Wait { attempt: 1, delay }) = outputs[3] else { panic!("{outputs:?}") };
    assert!(delay <= Duration::from_millis(100));
}

#[test]
fn a_connection_that_dies_young_does_not_reset_the_wait() {
    let (mut machine, start) = (machine(), Instant::now());
    let outputs = play(
        &mut machine,
        start,
        &[
            (Duration::ZERO, ReconnectInput::Start),
            (Duration::ZERO, ReconnectInput::Lost),
            (SECOND, ReconnectInput::Connected),
            (2 * SECOND, ReconnectInput::Lost),
        ],
    );
    assert_eq!(outputs[3], Some(ReconnectOutput::Wait { attempt: 2, delay: 2 * SECOND }));
}

#[test]
fn after_a_refusal_or_a_drain_nothing_connects() {
    for end in [ReconnectInput::Refused, ReconnectInput::Drain] {
        let (mut machine, start) = (machine(), Instant::now());
        let steps = [ReconnectInput::Start, end, ReconnectInput::Lost, ReconnectInput::Start, end];
        let outputs = play(&mut machine, start, &steps.map(|input| (SECOND, input)));
        assert_eq!(outputs[1..], [Some(ReconnectOutput::GiveUp), None, None, None]);
        assert_eq!(machine.poll_timeout(), None);
    }
}

#[test]
fn a_busy_peer_is_left_alone_for_as_long_as_it_asks_within_reason() {
    let (mut machine, mut now) = (machine(), Instant::now());
    machine.handle_input(now, ReconnectInput::Start);
    for (asked, waited) in [(0, 1), (7, 7), (1, 4), (86_400, 60)] {
        assert!(matches!(machine.poll_output(), Some(ReconnectOutput::Connect { .. })));
        machine.handle_input(now, ReconnectInput::Busy { retry_after: asked * SECOND });
        let Some(ReconnectOutput::Wait { delay, .. }) = machine.poll_output() else { panic!("it waits") };
        assert_eq!(delay, waited * SECOND);
        now += delay;
        machine.handle_timeout(now);
    }
}

#[test]
fn it_gives_up_after_the_attempts_that_are_allowed() {
    let config = ReconnectConfig { give_up_after: Some(1), ..ReconnectConfig::default() };
    let (mut machine, start) = (Reconnect::new(config, 1), Instant::now());
    machine.handle_input(start, ReconnectInput::Start);
    machine.handle_input(start, ReconnectInput::Lost);
    machine.handle_timeout(start + SECOND);
    machine.handle_input(start + SECOND, ReconnectInput::Lost);
    assert_eq!(machine.poll_output(), Some(ReconnectOutput::GiveUp));
}

fn any_input() -> impl Strategy<Value = ReconnectInput> {
    prop_oneof![
        4 => Just(ReconnectInput::Start),
        8 => Just(ReconnectInput::Connected),
        8 => Just(ReconnectInput::Lost),
        2 => (0u64..100).prop_map(|seconds| ReconnectInput::Busy { retry_after: Duration::from_secs(seconds) }),
        1 => Just(ReconnectInput::Refused),
        1 => Just(ReconnectInput::Drain),
    ]
}

proptest! {
    #[test]
    fn there_is_never_a_second_connection(steps in prop::collection::vec((0u64..40_000, any_input()), 0..200), seed: u64) {
        let mut machine = Reconnect::new(ReconnectConfig::default(), seed);
        let (mut now, mut live) = (Instant::now(), false);
        for (milliseconds, input) in steps {
            now += Duration::from_millis(milliseconds);
            machine.handle_timeout(now);
            while let Some(output) = machine.poll_output() {
                if matches!(output, ReconnectOutput::Connect { .. }) {
                    prop_assert!(!live, "connect while a connection or an attempt lives");
                    live = true;
                }
            }
            prop_assert!(machine.poll_timeout().is_none_or(|at| at > now), "a deadline stayed in the past");
            live &= matches!(input, ReconnectInput::Start | ReconnectInput::Connected);
            machine.handle_input(now, input);
            while let Some(output) = machine.poll_output() {
                if matches!(output, ReconnectOutput::Connect { .. }) {
                    prop_assert!(!live, "connect while a connection or an attempt lives");
                    live = true;
                }
            }
        }
    }

    #[test]
    fn any_history_keeps_the_law(steps in prop::collection::vec((0u64..40_000, any_input()), 0..200), seed: u64) {
        let mut at = Instant::now();
        let dialogue: Vec<_> = steps.into_iter().map(|(milliseconds, input)| {
            at += Duration::from_millis(milliseconds);
            (at, input)
        }).collect();
        let said = check_law(&mut Reconnect::new(ReconnectConfig::default(), seed), dialogue);
        prop_assert!(said.windows(2).all(|pair| pair[0].0 <= pair[1].0), "outputs come in order of time");
    }
}
