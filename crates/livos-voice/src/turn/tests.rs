//! Turn taking as dialogues: what happens when, and what must be decided when.

use std::time::{Duration, Instant};

use livos_core::machine::Machine;
use proptest::prelude::*;

use super::{Mode, TurnConfig, TurnInput, TurnOutput, TurnState, TurnTaking};
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
                format!("commit {} {:?} {}", c.generation, c.text, since(c.end_of_speech))
            }
            TurnOutput::Abandon(generation) => format!("abandon {generation}"),
            TurnOutput::Interrupt(generation) => format!("interrupt {generation}"),
            TurnOutput::Pause(generation) => format!("pause {generation}"),
            TurnOutput::Resume(generation) => format!("resume {generation}"),
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

const ANSWERING: [(u64, &str); 3] = [(0, "commit 1 \"go on\" 0"), (0, "thinking"), (1000, "speaking")];

#[track_caller]
fn check_answering(mode: Mode, inputs: Vec<(u64, TurnInput)>, expected: &[(u64, &str)]) {
    check(mode, [answering(), inputs].concat(), &[&ANSWERING, expected].concat());
}

#[test]
fn a_released_turn_is_committed_with_its_final_words() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (400, interim("turn on", 0, 400)),
            (800, Released),
            (1000, fixed("Turn on the lamp.", 0, 780)),
            (1001, Finalized),
            (1500, started(1)),
            (3000, ended(1)),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (1001, "commit 1 \"Turn on the lamp.\" 800"),
            (1001, "thinking"),
            (1500, "speaking"),
            (3000, "idle"),
        ],
    );
}

#[test]
fn without_an_answer_to_the_finalize_the_interim_words_count() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (400, fixed("Turn on", 0, 400)),
            (500, interim("the lamp", 400, 500)),
            (800, Released),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (1400, "commit 1 \"Turn on the lamp\" 800"),
            (1400, "thinking"),
        ],
    );
}

#[test]
fn a_button_held_in_silence_ends_idle() {
    check(
        PushToTalk,
        vec![(0, Pressed), (800, Released), (900, fixed("", 0, 800)), (900, Finalized)],
        &[(0, "open"), (0, "listening"), (800, "close"), (800, "finalize"), (900, "idle")],
    );
}

#[test]
fn a_turn_disturbed_by_a_lost_connection_waits_for_the_replayed_words() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (400, interim("turn", 0, 400)),
            (500, TurnInput::Recognising(false)),
            (800, Released),
            (2000, TurnInput::Recognising(true)),
            (3000, fixed("Turn on the lamp.", 0, 780)),
            (3000, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (3000, "commit 1 \"Turn on the lamp.\" 800"),
            (3000, "thinking"),
        ],
    );
}

#[test]
fn the_button_interrupts_a_speaking_agent_at_once() {
    check_answering(
        PushToTalk,
        vec![(2000, Pressed), (2500, Released), (2600, fixed("Stop.", 0, 500)), (2600, Finalized)],
        &[
            (2000, "open"),
            (2000, "interrupt 1"),
            (2000, "listening"),
            (2500, "close"),
            (2500, "finalize"),
            (2600, "commit 2 \"Stop.\" 2500"),
            (2600, "thinking"),
        ],
    );
}

#[test]
fn a_press_before_the_answer_sounds_continues_the_question() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (500, Released),
            (600, fixed("What is the weather", 0, 500)),
            (600, Finalized),
            (700, Pressed),
            (1200, Released),
            (1300, fixed("in Paris?", 500, 1000)),
            (1300, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (500, "close"),
            (500, "finalize"),
            (600, "commit 1 \"What is the weather\" 500"),
            (600, "thinking"),
            (700, "open"),
            (700, "interrupt 1"),
            (700, "listening"),
            (1200, "close"),
            (1200, "finalize"),
            (1300, "commit 2 \"What is the weather in Paris?\" 1200"),
            (1300, "thinking"),
        ],
    );
}

#[test]
fn a_stuck_button_ends_at_the_longest_turn() {
    check(
        PushToTalk,
        vec![(0, Pressed), (1000, fixed("Hello.", 0, 900)), (300_100, Finalized), (400_000, Released)],
        &[
            (0, "open"),
            (0, "listening"),
            (300_000, "close"),
            (300_000, "finalize"),
            (300_100, "commit 1 \"Hello.\" 300000"),
            (300_100, "thinking"),
        ],
    );
}

#[test]
fn a_finished_sentence_ends_after_the_short_delay() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Starting)),
            (60, vad(VadState::Speaking)),
            (1000, vad(VadState::Stopping)),
            (1300, fixed("Turn on the lamp.", 0, 1000)),
            (1301, Finalized),
        ],
        &[
            (60, "open"),
            (60, "listening"),
            (1200, "close"),
            (1200, "finalize"),
            (1400, "commit 1 \"Turn on the lamp.\" 1000"),
            (1400, "thinking"),
        ],
    );
}

#[test]
fn a_dangling_word_waits_and_the_turn_goes_on() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (1000, vad(VadState::Stopping)),
            (1300, fixed("I would like to", 0, 1000)),
            (1301, Finalized),
            (2000, vad(VadState::Speaking)),
            (2500, vad(VadState::Stopping)),
            (2800, fixed("sleep.", 1000, 1600)),
            (2800, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (1200, "close"),
            (1200, "finalize"),
            (2000, "open"),
            (2700, "close"),
            (2700, "finalize"),
            (2900, "commit 1 \"I would like to sleep.\" 2500"),
            (2900, "thinking"),
        ],
    );
}

#[test]
fn speech_before_the_answer_sounds_joins_the_question() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (1000, vad(VadState::Quiet)),
            (1200, fixed("What is the weather?", 0, 1000)),
            (1200, Finalized),
            (1600, vad(VadState::Starting)),
            (1700, vad(VadState::Speaking)),
            (2000, interim("in", 1000, 1200)),
            (2100, vad(VadState::Quiet)),
            (2300, fixed("In Paris.", 1000, 1500)),
            (2300, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (1000, "close"),
            (1000, "finalize"),
            (1400, "commit 1 \"What is the weather?\" 1000"),
            (1400, "thinking"),
            (1600, "pause 1"),
            (1700, "open"),
            (2000, "interrupt 1"),
            (2000, "listening"),
            (2100, "close"),
            (2100, "finalize"),
            (2500, "commit 2 \"What is the weather? In Paris.\" 2100"),
            (2500, "thinking"),
        ],
    );
}

#[test]
fn long_noise_before_the_answer_asks_the_question_again() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (1000, vad(VadState::Quiet)),
            (1200, fixed("Hello?", 0, 1000)),
            (1200, Finalized),
            (1700, vad(VadState::Speaking)),
            (3000, vad(VadState::Quiet)),
            (3100, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (1000, "close"),
            (1000, "finalize"),
            (1400, "commit 1 \"Hello?\" 1000"),
            (1400, "thinking"),
            (1700, "open"),
            (1700, "pause 1"),
            (2200, "interrupt 1"),
            (2200, "listening"),
            (3000, "close"),
            (3000, "finalize"),
            (3400, "commit 2 \"Hello?\" 3000"),
            (3400, "thinking"),
        ],
    );
}

#[test]
fn a_word_during_playout_interrupts() {
    check_answering(
        OpenMicrophone,
        vec![
            (2000, vad(VadState::Starting)),
            (2060, vad(VadState::Speaking)),
            (2300, interim("no", 0, 200)),
            (2600, vad(VadState::Quiet)),
            (2800, fixed("No.", 0, 300)),
            (2800, Finalized),
        ],
        &[
            (2000, "pause 1"),
            (2060, "open"),
            (2300, "interrupt 1"),
            (2300, "listening"),
            (2600, "close"),
            (2600, "finalize"),
            (3000, "commit 2 \"No.\" 2600"),
            (3000, "thinking"),
        ],
    );
}

#[test]
fn long_speech_without_words_interrupts() {
    check_answering(
        OpenMicrophone,
        vec![(2000, vad(VadState::Speaking)), (4000, vad(VadState::Quiet)), (4100, Finalized)],
        &[
            (2000, "open"),
            (2000, "pause 1"),
            (2500, "interrupt 1"),
            (2500, "listening"),
            (4000, "close"),
            (4000, "finalize"),
            (4100, "idle"),
        ],
    );
}

#[test]
fn a_cough_is_a_false_interruption() {
    check_answering(
        OpenMicrophone,
        vec![(2000, vad(VadState::Starting)), (2050, vad(VadState::Speaking)), (2250, vad(VadState::Quiet))],
        &[(2000, "pause 1"), (2050, "open"), (2250, "close"), (2250, "finalize"), (3500, "resume 1")],
    );
}

#[test]
fn a_recogniser_that_heard_nothing_resumes_at_once() {
    check_answering(
        OpenMicrophone,
        vec![
            (2000, vad(VadState::Speaking)),
            (2250, vad(VadState::Quiet)),
            (2400, fixed("", 0, 250)),
            (2400, Finalized),
            (3000, ended(1)),
        ],
        &[
            (2000, "open"),
            (2000, "pause 1"),
            (2250, "close"),
            (2250, "finalize"),
            (2400, "resume 1"),
            (3000, "idle"),
        ],
    );
}

#[test]
fn a_click_that_never_was_speech_resumes_at_once() {
    check_answering(
        OpenMicrophone,
        vec![(2000, vad(VadState::Starting)), (2040, vad(VadState::Quiet)), (3000, ended(1))],
        &[(2000, "pause 1"), (2040, "resume 1"), (3000, "idle")],
    );
}

#[test]
fn words_that_come_after_the_commit_are_not_said_twice() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (400, interim("turn on the lamp", 0, 400)),
            (500, Released),
            (1200, Pressed),
            (1300, fixed("Turn on the lamp.", 0, 390)),
            (1900, Released),
            (2000, fixed("Please.", 400, 800)),
            (2000, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (500, "close"),
            (500, "finalize"),
            (1100, "commit 1 \"turn on the lamp\" 500"),
            (1100, "thinking"),
            (1200, "open"),
            (1200, "interrupt 1"),
            (1200, "listening"),
            (1900, "close"),
            (1900, "finalize"),
            (2000, "commit 2 \"turn on the lamp Please.\" 1900"),
            (2000, "thinking"),
        ],
    );
}

#[test]
fn an_eager_end_speculates_and_the_end_commits_the_same_reply() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (800, TurnInput::ProviderEagerEndOfTurn("Hello".into())),
            (900, TurnInput::ProviderTurnResumed),
            (1000, TurnInput::ProviderEagerEndOfTurn("Hello there.".into())),
            (1050, vad(VadState::Stopping)),
            (1100, TurnInput::ProviderEndOfTurn("Hello there.".into())),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "speculate 1 \"Hello\""),
            (900, "abandon 1"),
            (1000, "speculate 2 \"Hello there.\""),
            (1100, "close"),
            (1100, "commit 2 \"Hello there.\" 1050"),
            (1100, "thinking"),
        ],
    );
}

#[test]
fn another_text_at_the_end_abandons_the_speculation() {
    check(
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (800, TurnInput::ProviderEagerEndOfTurn("Hello".into())),
            (900, vad(VadState::Stopping)),
            (1000, TurnInput::ProviderEndOfTurn("Hello you.".into())),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "speculate 1 \"Hello\""),
            (1000, "close"),
            (1000, "abandon 1"),
            (1000, "commit 2 \"Hello you.\" 900"),
            (1000, "thinking"),
        ],
    );
}

#[test]
fn the_responder_is_asked_while_the_silence_that_ends_a_turn_is_waited_for() {
    check_with(
        TurnConfig::default(),
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (600, vad(VadState::Stopping)),
            (900, fixed("turn on the lamp", 0, 600)),
            (900, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (900, "speculate 1 \"turn on the lamp\""),
            (1550, "commit 1 \"turn on the lamp\" 600"),
            (1550, "thinking"),
        ],
    );
}

#[test]
fn a_question_asked_too_early_is_dropped_when_the_user_goes_on_and_none_is_asked_in_mid_sentence() {
    check_with(
        TurnConfig::default(),
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (600, vad(VadState::Stopping)),
            (900, fixed("What is the weather today", 0, 600)),
            (900, Finalized),
            (950, vad(VadState::Speaking)),
            (1300, vad(VadState::Stopping)),
            (1600, fixed("or", 600, 1300)),
            (1600, Finalized),
            (1700, vad(VadState::Speaking)),
            (2000, vad(VadState::Stopping)),
            (2300, fixed("tomorrow?", 1300, 2000)),
            (2300, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (900, "speculate 1 \"What is the weather today\""),
            (950, "abandon 1"),
            (950, "open"),
            (1500, "close"),
            (1500, "finalize"),
            (1700, "open"),
            (2200, "close"),
            (2200, "finalize"),
            (2300, "speculate 2 \"What is the weather today or tomorrow?\""),
            (2400, "commit 2 \"What is the weather today or tomorrow?\" 2000"),
            (2400, "thinking"),
        ],
    );
}

#[test]
fn a_turn_asks_provisionally_no_more_often_than_it_may() {
    check_with(
        TurnConfig { max_speculations: 1, ..TurnConfig::default() },
        OpenMicrophone,
        vec![
            (0, vad(VadState::Speaking)),
            (600, vad(VadState::Stopping)),
            (900, fixed("Turn it.", 0, 600)),
            (900, Finalized),
            (950, vad(VadState::Speaking)),
            (1300, vad(VadState::Stopping)),
            (1600, fixed("Off.", 600, 1300)),
            (1600, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (800, "close"),
            (800, "finalize"),
            (900, "speculate 1 \"Turn it.\""),
            (950, "abandon 1"),
            (950, "open"),
            (1500, "close"),
            (1500, "finalize"),
            (1700, "commit 2 \"Turn it. Off.\" 1300"),
            (1700, "thinking"),
        ],
    );
}

#[test]
fn a_provider_cannot_end_a_turn_whose_button_is_down() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (500, TurnInput::ProviderEndOfTurn("One.".into())),
            (1000, Released),
            (1100, TurnInput::ProviderEndOfTurn("Two.".into())),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (1000, "close"),
            (1000, "finalize"),
            (1100, "commit 1 \"One. Two.\" 1000"),
            (1100, "thinking"),
        ],
    );
}

#[test]
fn a_typed_message_interrupts_and_is_answered_at_once() {
    check_answering(
        PushToTalk,
        vec![(2000, typed("stop that")), (2001, typed("  "))],
        &[
            (2000, "interrupt 1"),
            (2000, "commit 2 \"stop that\" 2000"),
            (2000, "thinking"),
            (2001, "interrupt 2"),
            (2001, "idle"),
        ],
    );
}

#[test]
fn stop_silences_the_agent() {
    check_answering(PushToTalk, vec![(2000, Stop)], &[(2000, "interrupt 1"), (2000, "idle")]);
}

#[test]
fn a_change_of_mode_ends_the_turn_as_a_release_does() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (500, TurnInput::Mode(OpenMicrophone)),
            (600, fixed("Hello.", 0, 500)),
            (600, Finalized),
            (700, Released),
            (1000, ended(1)),
            (2000, vad(VadState::Speaking)),
            (2100, TurnInput::Mode(PushToTalk)),
            (2200, Finalized),
            (2300, vad(VadState::Speaking)),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (500, "close"),
            (500, "finalize"),
            (600, "commit 1 \"Hello.\" 500"),
            (600, "thinking"),
            (1000, "idle"),
            (2000, "open"),
            (2000, "listening"),
            (2100, "close"),
            (2100, "finalize"),
            (2200, "idle"),
        ],
    );
}

#[test]
fn the_detector_has_no_say_in_push_to_talk() {
    check(PushToTalk, vec![(0, vad(VadState::Speaking)), (500, vad(VadState::Quiet))], &[]);
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
