//! Dialogues with the gateway.

use std::time::{Duration, Instant};

use livos_core::{machine::Machine, testing::check_law};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(41_250);

/// A gateway and its time.
struct Pair {
    gateway: Gateway,
    now: Instant,
}

impl Pair {
    fn new(session: Option<Session>) -> Self {
        Self { gateway: Gateway::new(GatewayConfig::default(), session, 3), now: Instant::now() }
    }

    fn tell(&mut self, input: GatewayInput) -> Vec<GatewayOutput> {
        self.gateway.handle_input(self.now, input);
        self.outputs()
    }

    fn hear(&mut self, message: Incoming) -> Vec<GatewayOutput> {
        self.tell(GatewayInput::Message(message))
    }

    fn outputs(&mut self) -> Vec<GatewayOutput> {
        std::iter::from_fn(|| self.gateway.poll_output()).collect()
    }

    /// Goes to the next deadline.
    fn wait(&mut self) -> Vec<GatewayOutput> {
        self.now = self.gateway.poll_timeout().expect("a deadline");
        self.gateway.handle_timeout(self.now);
        self.outputs()
    }

    fn hello(&mut self) -> Vec<GatewayOutput> {
        self.tell(GatewayInput::Opened);
        self.hear(Incoming::Hello { heartbeat_interval: INTERVAL })
    }

    /// Connected, with a session of its own.
    fn live() -> Self {
        let mut pair = Self::new(None);
        assert_eq!(pair.tell(GatewayInput::Start), [GatewayOutput::ReserveIdentify]);
        assert_eq!(pair.tell(GatewayInput::IdentifyAllowed), [GatewayOutput::Connect { resume_url: None }]);
        assert_eq!(pair.hello(), [GatewayOutput::Send(Command::Identify)]);
        assert_eq!(pair.hear(Incoming::Ready(session(1))), [GatewayOutput::Began(session(1))]);
        pair
    }

    fn processed(&mut self, sequence: u64) {
        let input = GatewayInput::Processed { session: "s1".into(), sequence };
        assert_eq!(self.tell(input), []);
    }
}

fn session(sequence: u64) -> Session {
    Session { id: "s1".into(), resume_url: "wss://resume.test".into(), sequence }
}

fn heartbeat(sequence: u64) -> GatewayOutput {
    GatewayOutput::Send(Command::Heartbeat { sequence: Some(sequence) })
}

fn resumes(sequence: u64) -> [GatewayOutput; 1] {
    [GatewayOutput::Send(Command::Resume(session(sequence)))]
}

const CLOSE: GatewayOutput = GatewayOutput::Close { code: 4000 };

fn connect_to_resume() -> GatewayOutput {
    GatewayOutput::Connect { resume_url: Some("wss://resume.test".into()) }
}

#[test]
fn the_first_heartbeat_comes_at_a_random_part_of_the_interval_and_the_others_at_all_of_it() {
    let mut firsts = Vec::new();
    for seed in 0..50 {
        let mut pair = Pair::live();
        pair.gateway = Gateway::new(GatewayConfig::default(), Some(session(1)), seed);
        pair.tell(GatewayInput::Start);
        pair.hello();
        let hello = pair.now;
        assert_eq!(pair.wait(), [heartbeat(1)]);
        firsts.push(pair.now - hello);
        let first = pair.now;
        pair.hear(Incoming::HeartbeatAck);
        pair.hear(Incoming::Resumed { sequence: 2 });
        assert_eq!(pair.wait(), [heartbeat(2)]);
        assert_eq!(pair.now - first, INTERVAL);
    }
    assert!(firsts.iter().all(|wait| *wait <= INTERVAL));
    assert!(firsts.iter().any(|wait| *wait < INTERVAL / 4) && firsts.iter().any(|wait| *wait > INTERVAL / 2));
}

#[test]
fn a_peer_that_does_not_answer_a_heartbeat_is_left_and_its_session_resumed() {
    let mut pair = Pair::live();
    pair.hear(Incoming::Dispatch { sequence: 5 });
    pair.processed(4);
    assert_eq!(pair.wait(), [heartbeat(5)], "a heartbeat names what came");
    let outputs = pair.wait();
    assert!(matches!(outputs[..], [CLOSE, GatewayOutput::Wait { .. }]), "{outputs:?}");
    assert_eq!(pair.wait(), [connect_to_resume()]);
    assert_eq!(pair.hello(), resumes(4), "a resume names what was processed");
}

#[test]
fn a_heartbeat_that_is_asked_for_is_sent_at_once_and_does_not_count_as_unanswered() {
    let mut pair = Pair::live();
    assert_eq!(pair.hear(Incoming::HeartbeatRequest), [heartbeat(1)]);
    assert_eq!(pair.wait(), [heartbeat(1)]);
}

#[test]
fn op_7_leaves_and_resumes_even_in_place_of_a_hello() {
    let mut pair = Pair::live();
    assert_eq!(pair.hear(Incoming::Reconnect)[0], CLOSE);
    assert_eq!(pair.wait(), [connect_to_resume()]);
    assert_eq!(pair.tell(GatewayInput::Opened), []);
    assert_eq!(pair.hear(Incoming::Reconnect)[0], CLOSE);
    assert_eq!(pair.wait(), [connect_to_resume()]);
    assert_eq!(pair.hello(), resumes(1));
}

#[test]
fn op_9_resumes_where_it_may_and_else_begins_a_session_that_was_counted() {
    let mut pair = Pair::live();
    assert_eq!(pair.hear(Incoming::InvalidSession { resumable: true })[0], CLOSE);
    assert_eq!(pair.wait(), [connect_to_resume()]);
    pair.hello();
    assert_eq!(pair.hear(Incoming::InvalidSession { resumable: false })[..2], [CLOSE, GatewayOutput::Forgot]);
    assert_eq!(pair.wait(), [GatewayOutput::ReserveIdentify]);
    assert_eq!(pair.tell(GatewayInput::IdentifyDenied { wait: 5 * SECOND }), []);
    let denied = pair.now;
    assert_eq!(pair.wait(), [GatewayOutput::ReserveIdentify]);
    assert_eq!(pair.now - denied, 5 * SECOND);
    assert_eq!(pair.tell(GatewayInput::IdentifyAllowed), [GatewayOutput::Connect { resume_url: None }]);
    assert_eq!(pair.hello(), [GatewayOutput::Send(Command::Identify)]);
}

#[test]
fn what_an_older_session_still_processes_says_nothing_of_the_new_one() {
    let mut pair = Pair::live();
    pair.tell(GatewayInput::Processed { session: "older".into(), sequence: 900 });
    assert_eq!(pair.gateway.session().unwrap().sequence, 1);
}

#[test]
fn an_identify_that_was_counted_and_not_sent_is_not_counted_again() {
    let mut pair = Pair::new(None);
    pair.tell(GatewayInput::Start);
    pair.tell(GatewayInput::IdentifyAllowed);
    pair.tell(GatewayInput::NotOpened { retry_after: None });
    assert_eq!(pair.wait(), [GatewayOutput::Connect { resume_url: None }]);
}

#[test]
fn codes_that_end_the_session_begin_a_new_one_and_fatal_ones_stop() {
    for (code, forgets) in [(None, false), (Some(4000), false), (Some(4007), true), (Some(4009), true)] {
        let mut pair = Pair::live();
        let outputs = pair.tell(GatewayInput::Lost { code });
        assert_eq!(outputs.contains(&GatewayOutput::Forgot), forgets, "{code:?}");
        assert!(!outputs.contains(&CLOSE), "it is closed already");
    }
    let mut pair = Pair::live();
    let stop = GatewayOutput::Stop(Stop::Fatal(Fatal::DisallowedIntents));
    assert_eq!(pair.tell(GatewayInput::Lost { code: Some(4014) }), [CLOSE, stop]);
    assert_eq!(pair.gateway.poll_timeout(), None);
    assert_eq!(pair.tell(GatewayInput::Start), []);
}

#[test]
fn a_resume_address_that_can_t_be_reached_is_left_for_the_main_one_and_the_session_kept() {
    let mut pair = Pair::new(Some(session(9)));
    assert_eq!(pair.tell(GatewayInput::Start), [connect_to_resume()]);
    for failures in 1..=3 {
        pair.tell(GatewayInput::NotOpened { retry_after: None });
        let resume_url = (failures < 3).then(|| "wss://resume.test".into());
        assert_eq!(pair.wait(), [GatewayOutput::Connect { resume_url }]);
    }
    assert_eq!(pair.hello(), resumes(9));
}

#[test]
fn a_peer_that_does_not_greet_or_begin_in_time_is_left() {
    let mut pair = Pair::new(Some(session(9)));
    pair.tell(GatewayInput::Start);
    pair.tell(GatewayInput::Opened);
    let opened = pair.now;
    assert_eq!(pair.wait()[0], CLOSE);
    assert_eq!(pair.now - opened, 20 * SECOND);
    pair.wait();
    pair.hello();
    let hello = pair.now;
    let outputs = loop {
        let outputs = pair.wait();
        if outputs.contains(&CLOSE) {
            break outputs;
        }
        pair.hear(Incoming::HeartbeatAck);
    };
    assert_eq!(outputs[1], GatewayOutput::Forgot, "a session that can't be resumed is given up");
    assert_eq!(pair.now - hello, 60 * SECOND);
}

#[test]
fn a_presence_waits_for_room_and_only_the_newest_is_sent() {
    let mut pair = Pair::live();
    let shown = |text: u32| Presence { idle: false, text: text.to_string() };
    let sent: usize = (0..150).map(|n| pair.tell(GatewayInput::Show(shown(n))).len()).sum();
    assert_eq!(sent, 99, "and the identify makes a hundred");
    let mut outputs = Vec::new();
    while !outputs.contains(&GatewayOutput::Send(Command::Presence(shown(149)))) {
        outputs = pair.wait();
        assert_eq!(outputs.len(), 1);
        pair.hear(Incoming::HeartbeatAck);
    }
}

#[test]
fn a_storm_of_reconnects_slows_down_and_never_asks_for_a_session_more_often_than_allowed() {
    let mut pair = Pair::live();
    let start = pair.now;
    let mut connections = 0;
    while pair.now - start < 600 * SECOND {
        pair.hear(Incoming::Reconnect);
        let outputs = pair.wait();
        assert!(!outputs.contains(&GatewayOutput::ReserveIdentify), "a resume costs no identify");
        connections +=
            outputs.iter().filter(|output| matches!(output, GatewayOutput::Connect { .. })).count();
        pair.tell(GatewayInput::Opened);
    }
    assert!((10..60).contains(&connections), "{connections} connections in ten minutes");
}

#[test]
fn a_drain_keeps_the_session() {
    let mut pair = Pair::live();
    assert_eq!(pair.tell(GatewayInput::Drain), [CLOSE, GatewayOutput::Stop(Stop::Drained)]);
    assert_eq!(pair.gateway.session(), Some(&session(1)));
    assert_eq!(pair.tell(GatewayInput::Drain), []);
}

fn any_input() -> impl Strategy<Value = GatewayInput> {
    let message = prop_oneof![
        4 => (0u64..100_000).prop_map(|ms| Incoming::Hello { heartbeat_interval: Duration::from_millis(ms) }),
        2 => Just(Incoming::HeartbeatRequest),
        4 => Just(Incoming::HeartbeatAck),
        1 => Just(Incoming::Reconnect),
        1 => any::<bool>().prop_map(|resumable| Incoming::InvalidSession { resumable }),
        4 => (1u64..50).prop_map(|sequence| Incoming::Ready(session(sequence))),
        2 => any::<u64>().prop_map(|sequence| Incoming::Resumed { sequence }),
        4 => any::<u64>().prop_map(|sequence| Incoming::Dispatch { sequence }),
    ];
    prop_oneof![
        2 => Just(GatewayInput::Start),
        6 => Just(GatewayInput::IdentifyAllowed),
        1 => (0u32..100).prop_map(|s| GatewayInput::IdentifyDenied { wait: s * SECOND }),
        8 => Just(GatewayInput::Opened),
        1 => (0u32..100).prop_map(|s| GatewayInput::NotOpened { retry_after: (s > 50).then(|| s * SECOND) }),
        20 => message.prop_map(GatewayInput::Message),
        1 => prop::option::of(3_999u16..4_010).prop_map(|code| GatewayInput::Lost { code }),
        2 => any::<u64>().prop_map(|sequence| GatewayInput::Processed { session: "s1".into(), sequence }),
        1 => Just(GatewayInput::Overwhelmed),
        3 => Just(GatewayInput::Show(Presence { idle: true, text: "x".into() })),
    ]
}

proptest! {
    #[test]
    fn any_dialogue_keeps_the_law_with_one_connection_and_counted_identifies(
        steps in prop::collection::vec((0u64..50_000, any_input()), 0..300),
        resumed in any::<bool>(),
        seed: u64,
    ) {
        let mut at = Instant::now();
        let mut dialogue: Vec<_> = steps.into_iter().map(|(wait, input)| {
            at += Duration::from_millis(wait);
            (at, input)
        }).collect();
        dialogue.push((at + SECOND, GatewayInput::Drain));
        let inputs = dialogue.clone();
        let mut gateway = Gateway::new(GatewayConfig::default(), resumed.then(|| session(7)), seed);
        let said = check_law(&mut gateway, dialogue);

        let allowed = inputs.iter().filter(|(_, input)| *input == GatewayInput::IdentifyAllowed).count();
        let identified = said.iter().filter(|(_, output)| *output == GatewayOutput::Send(Command::Identify)).count();
        prop_assert!(identified <= allowed, "an identify that nobody counted");
        let sends: Vec<Instant> = said.iter().filter(|(_, output)| matches!(output, GatewayOutput::Send(_))).map(|(at, _)| *at).collect();
        let connects: Vec<Instant> = said.iter().filter(|(_, output)| matches!(output, GatewayOutput::Connect { .. })).map(|(at, _)| *at).collect();
        for (index, from) in sends.iter().enumerate().filter(|(index, _)| index + 120 < sends.len()) {
            let next = sends[index + 120];
            let reconnected = connects.iter().any(|at| from <= at && *at <= next);
            prop_assert!(reconnected || next - *from >= 60 * SECOND, "121 events in a minute");
        }
        let ends_the_session = said.iter().any(|(_, output)| matches!(output, GatewayOutput::Close { code: 1000 | 1001 }));
        prop_assert!(!ends_the_session);
        let stops = said.iter().filter(|(_, output)| matches!(output, GatewayOutput::Stop(_))).count();
        prop_assert_eq!(stops, 1);
        prop_assert_eq!(gateway.poll_timeout(), None);
    }
}
