//! Turn taking as dialogues: what happens when, and what must be decided when.

mod interruption;
mod open_microphone;
mod push_to_talk;

use std::time::{Duration, Instant};

use livos_core::machine::Machine;
use proptest::prelude::*;

use super::{Mode, Origin, TurnConfig, TurnInput, TurnOutput, TurnState, TurnTaking};
use crate::{
    generation::Generation,
    stt::{Transcript, TranscriptKind, Word},
    vad::VadState,
};

use Mode::{OpenMicrophone, PushToTalk};
use TurnInput::{Finalized, Pressed, Released, Stop};

/// Runs the inputs at their milliseconds, with every timeout between them, and compares what was
/// decided when.
#[track_caller]
fn check(mode: Mode, inputs: Vec<(u64, TurnInput)>, expected: &[(u64, &str)]) {
    check_with(TurnConfig { speculate: false, ..TurnConfig::default() }, mode, inputs, expected);
}

#[track_caller]
fn check_with(config: TurnConfig, mode: Mode, inputs: Vec<(u64, TurnInput)>, expected: &[(u64, &str)]) {
    let origin = Instant::now();
    let mut turn = TurnTaking::new(config, mode);
    let mut decided = Vec::new();
    let end = (1_000_000, None);
    for (at, input) in inputs.into_iter().map(|(at, input)| (at, Some(input))).chain([end]) {
        let at = origin + Duration::from_millis(at);
        while let Some(deadline) = turn.poll_timeout().filter(|deadline| *deadline <= at) {
            turn.handle_timeout(deadline);
            drain(&mut turn, origin, deadline, &mut decided);
            assert_ne!(turn.poll_timeout(), Some(deadline), "a deadline stays in the past");
        }
        if let Some(mut input) = input {
            if let TurnInput::Vad { last_voiced, .. } = &mut input {
                *last_voiced = Some(at);
            }
            turn.handle_input(at, input);
            drain(&mut turn, origin, at, &mut decided);
        }
    }
    let expected: Vec<_> = expected.iter().map(|(at, what)| (*at, (*what).to_owned())).collect();
    assert_eq!(decided, expected);
}

fn drain(turn: &mut TurnTaking, origin: Instant, at: Instant, decided: &mut Vec<(u64, String)>) {
    while let Some(output) = turn.poll_output() {
        let since = |time: Instant| time.duration_since(origin).as_millis() as u64;
        let what = match output {
            TurnOutput::OpenGate => "open".to_owned(),
            TurnOutput::CloseGate => "close".to_owned(),
            TurnOutput::Finalize => "finalize".to_owned(),
            TurnOutput::Speculate(c) => format!("speculate {} {:?}", c.generation, c.text),
            TurnOutput::Commit(c) => {
                let how = if c.origin == Origin::Typed { "commit typed" } else { "commit" };
                format!("{how} {} {:?} {}", c.generation, c.text, since(c.end_of_speech))
            }
            TurnOutput::Abandon(generation) => format!("abandon {generation}"),
            TurnOutput::Interrupt(generation) => format!("interrupt {generation}"),
            TurnOutput::Pause(generation) => format!("pause {generation}"),
            TurnOutput::Resume(generation) => format!("resume {generation}"),
            TurnOutput::Unheard => "unheard".to_owned(),
            TurnOutput::State(state) => format!("{state:?}").to_lowercase(),
        };
        decided.push((since(at), what));
    }
}

fn heard(kind: TranscriptKind, text: &str, from: u64, to: u64) -> TurnInput {
    let (start, end) = (Duration::from_millis(from), Duration::from_millis(to));
    let each = (end - start) / text.split_whitespace().count().max(1) as u32;
    let words = text.split_whitespace().enumerate();
    let words = words.map(|(at, word)| Word {
        text: word.to_owned(),
        start: start + each * at as u32,
        end: start + each * (at as u32 + 1),
        confidence: 1.0,
    });
    let words = words.collect();
    let text = text.to_owned();
    TurnInput::Transcript(Transcript { kind, text, words, start, end, end_of_speech: false })
}

fn interim(text: &str, from: u64, to: u64) -> TurnInput {
    heard(TranscriptKind::Interim, text, from, to)
}

fn fixed(text: &str, from: u64, to: u64) -> TurnInput {
    heard(TranscriptKind::Final, text, from, to)
}

/// The last voiced audio is that of the moment.
fn vad(state: VadState) -> TurnInput {
    TurnInput::Vad { state, last_voiced: None }
}

fn started(generation: u32) -> TurnInput {
    TurnInput::PlayoutStarted(Generation(generation))
}

fn ended(generation: u32) -> TurnInput {
    TurnInput::PlayoutEnded(Generation(generation))
}

fn typed(text: &str) -> TurnInput {
    TurnInput::Typed(text.to_owned())
}

/// A question asked by button, its answer sounding from 1000 ms on.
fn answering() -> Vec<(u64, TurnInput)> {
    vec![(0, typed("go on")), (1000, started(1))]
}

const ANSWERING: [(u64, &str); 3] = [(0, "commit typed 1 \"go on\" 0"), (0, "thinking"), (1000, "speaking")];

#[track_caller]
fn check_answering(mode: Mode, inputs: Vec<(u64, TurnInput)>, expected: &[(u64, &str)]) {
    check(mode, [answering(), inputs].concat(), &[&ANSWERING, expected].concat());
}

fn any_input() -> impl Strategy<Value = TurnInput> {
    let generation = (0u32..6).prop_map(Generation);
    let text = prop::sample::select(vec!["", "yes", "turn on the", "lamp."]).prop_map(str::to_owned);
    let states = vec![VadState::Quiet, VadState::Starting, VadState::Speaking, VadState::Stopping];
    prop_oneof![
        4 => prop::sample::select(states).prop_map(vad),
        2 => Just(Pressed),
        2 => Just(Released),
        1 => prop::sample::select(vec![PushToTalk, OpenMicrophone]).prop_map(TurnInput::Mode),
        2 => (text.clone(), 0u64..5000).prop_map(|(text, at)| interim(&text, at, at + 300)),
        2 => (text.clone(), 0u64..5000).prop_map(|(text, at)| fixed(&text, at, at + 300)),
        3 => Just(Finalized),
        1 => any::<bool>().prop_map(TurnInput::Recognising),
        1 => Just(TurnInput::ProviderStartOfTurn),
        1 => text.clone().prop_map(TurnInput::ProviderEagerEndOfTurn),
        1 => Just(TurnInput::ProviderTurnResumed),
        1 => text.clone().prop_map(TurnInput::ProviderEndOfTurn),
        1 => text.prop_map(TurnInput::Typed),
        2 => generation.clone().prop_map(TurnInput::PlayoutStarted),
        2 => generation.prop_map(TurnInput::PlayoutEnded),
        1 => Just(Stop),
    ]
}

/// What must hold of any dialogue.
#[derive(Default)]
struct Oracle {
    last: Generation,
    speculated: Option<Generation>,
    committed: Generation,
    floor: TurnState,
}

impl Oracle {
    fn see(&mut self, output: &TurnOutput) {
        match output {
            TurnOutput::Speculate(commit) => {
                assert!(commit.generation > self.last && self.speculated.is_none());
                self.last = commit.generation;
                self.speculated = Some(commit.generation);
            }
            TurnOutput::Commit(commit) => {
                assert!(!commit.text.trim().is_empty());
                assert!(commit.generation > self.committed, "committed twice");
                assert!(
                    self.speculated.take().map_or(commit.generation > self.last, |s| s == commit.generation)
                );
                (self.last, self.committed) = (commit.generation, commit.generation);
            }
            TurnOutput::Abandon(generation) => assert_eq!(self.speculated.take(), Some(*generation)),
            TurnOutput::Interrupt(generation) => assert_eq!(*generation, self.committed),
            TurnOutput::State(state) => {
                assert_ne!(*state, self.floor);
                self.floor = *state;
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn any_dialogue_keeps_the_law(inputs in prop::collection::vec((0u64..2000, any_input()), 0..60)) {
        let mut turn = TurnTaking::new(TurnConfig::default(), PushToTalk);
        let (mut now, mut oracle, mut pressed) = (Instant::now(), Oracle::default(), false);
        let mut settle = |turn: &mut TurnTaking, now: Instant, pressed: bool| {
            let mut outputs = 0;
            while let Some(output) = turn.poll_output() {
                oracle.see(&output);
                outputs += 1;
                assert!(outputs < 100, "the drain does not end");
            }
            assert!(turn.mode() == OpenMicrophone || pressed || !turn.gate_open(), "an open gate with the button up");
            assert!(turn.poll_timeout().is_none_or(|deadline| deadline > now), "a deadline in the past");
        };
        for (wait, input) in inputs {
            let at = now + Duration::from_millis(wait);
            while let Some(deadline) = turn.poll_timeout().filter(|deadline| *deadline <= at) {
                turn.handle_timeout(deadline);
                settle(&mut turn, deadline, pressed);
            }
            now = at;
            match &input {
                Pressed => pressed = true,
                Released => pressed = false,
                _ => {}
            }
            turn.handle_input(now, input);
            settle(&mut turn, now, pressed);
            turn.handle_timeout(now);
            prop_assert!(turn.poll_output().is_none(), "a timeout before its time changed something");
        }
        // With nothing more to come, every turn of the user ends, and the gate with it.
        while let Some(deadline) = turn.poll_timeout() {
            turn.handle_timeout(deadline);
            settle(&mut turn, deadline, pressed);
        }
        prop_assert!(!turn.gate_open());
    }
}
