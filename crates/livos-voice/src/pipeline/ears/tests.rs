//! What the ears make of audio, buttons and the recogniser: dialogues, and audio past the gate.

#![allow(clippy::disallowed_methods, reason = "a test makes its own now")]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{audio::SampleRate, vad::Energy};

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(ms: u64) -> Instant {
    *ORIGIN + Duration::from_millis(ms)
}

fn ears(mode: Mode, client_vad: bool, input_rate: SampleRate) -> Ears {
    let hello = Hello { input_rate, output_rate: SampleRate::Hz24000, mode, conversation: None, client_vad };
    Ears::new(&hello, Box::new(Energy::default()), DetectorConfig::default()).unwrap()
}

/// Runs the inputs at their milliseconds, with every timeout between them, and compares what came
/// of it. Audio is left out: its amount is compared.
#[track_caller]
fn check(mut ears: Ears, inputs: Vec<(u64, EarsInput)>, expected: &[(u64, &str)], given: u64) {
    let (mut rows, mut passed) = (Vec::new(), Duration::ZERO);
    let end = (1_000_000, None);
    for (ms, input) in inputs.into_iter().map(|(ms, input)| (ms, Some(input))).chain([end]) {
        while let Some(due) = ears.poll_timeout().filter(|due| *due <= at(ms)) {
            ears.handle_timeout(due);
            drain(&mut ears, due, &mut rows, &mut passed);
            assert_ne!(ears.poll_timeout(), Some(due), "a deadline stays in the past");
        }
        if let Some(input) = input {
            ears.handle_input(at(ms), input);
            drain(&mut ears, at(ms), &mut rows, &mut passed);
        }
    }
    let rows: Vec<(u64, &str)> = rows.iter().map(|(ms, row)| (*ms, row.as_str())).collect();
    assert_eq!(rows, expected);
    assert_eq!(passed, Duration::from_millis(given), "audio for the recogniser");
}

/// Plays the part of turn taking: speech opens the gate, and quiet closes it.
fn drain(ears: &mut Ears, now: Instant, rows: &mut Vec<(u64, String)>, passed: &mut Duration) {
    let since = |time: Instant| time.duration_since(*ORIGIN).as_millis() as u64;
    while let Some(output) = ears.poll_output() {
        let row = match output {
            EarsOutput::Audio(frame) => {
                assert_eq!(frame.format(), AudioFormat::SPEECH);
                *passed += frame.duration();
                continue;
            }
            EarsOutput::Turn(TurnInput::Vad { state, last_voiced }) => {
                match state {
                    VadState::Speaking => ears.handle_input(now, EarsInput::OpenGate),
                    VadState::Quiet => ears.handle_input(now, EarsInput::CloseGate),
                    VadState::Starting | VadState::Stopping => {}
                }
                let voiced = last_voiced.map_or(String::new(), |at| format!(" {}", since(at)));
                format!("{state:?}{voiced}").to_lowercase()
            }
            EarsOutput::Turn(TurnInput::Transcript(_)) => unreachable!("transcripts have their own output"),
            EarsOutput::Turn(input) => format!("{input:?}").to_lowercase(),
            EarsOutput::Transcript(transcript) => format!("heard {:?}", transcript.text),
            EarsOutput::EndOfSpeech => "end of speech".to_owned(),
            EarsOutput::Tell(ServerMessage::Error { code, .. }) => format!("error {code:?}"),
            EarsOutput::Tell(ServerMessage::Connection { state, .. }) => format!("told {state}"),
            other => format!("{other:?}"),
        };
        rows.push((since(now), row));
    }
}

/// 20 ms of sound at 16 kHz.
fn sound(level: i16) -> EarsInput {
    let samples = (0..320).map(|n| if n % 2 == 0 { level } else { -level });
    EarsInput::Audio(Frame::from_samples(AudioFormat::SPEECH, samples))
}

/// Sound of that level from one time to another.
fn sounds(from: u64, to: u64, level: i16) -> Vec<(u64, EarsInput)> {
    (from..to).step_by(20).map(|ms| (ms, sound(level))).collect()
}

fn heard(kind: TranscriptKind, text: &str, end: u64) -> EarsInput {
    let transcript = Transcript::new(kind, text, Duration::ZERO, Duration::from_millis(end));
    EarsInput::Recognised(SttEvent::Transcript(transcript))
}

fn push_to_talk() -> Ears {
    ears(Mode::PushToTalk, false, SampleRate::Hz16000)
}

#[test]
fn audio_outside_press_and_release_reaches_nobody() {
    check(push_to_talk(), sounds(0, 1000, 8000), &[], 0);
}

#[test]
fn by_the_button_only_what_follows_it_is_heard() {
    let inputs = [
        sounds(0, 500, 8000),
        vec![(500, EarsInput::Pressed), (500, EarsInput::OpenGate)],
        sounds(500, 1000, 8000),
        vec![(1000, EarsInput::Released), (1000, EarsInput::CloseGate), (1000, EarsInput::Finalize)],
        sounds(1000, 1500, 8000),
    ];
    check(
        push_to_talk(),
        inputs.into_iter().flatten().collect(),
        &[(500, "pressed"), (1000, "released"), (1000, "end of speech")],
        500,
    );
}

#[test]
fn the_server_detects_speech_and_the_gate_opens_with_what_was_just_before() {
    let inputs = [sounds(0, 1000, 20), sounds(1000, 2000, 8000), sounds(2000, 3000, 20)];
    let mut rows = Vec::new();
    let (mut ears, mut passed) = (ears(Mode::OpenMicrophone, false, SampleRate::Hz16000), Duration::ZERO);
    for (ms, input) in inputs.into_iter().flatten() {
        ears.handle_input(at(ms), input);
        drain(&mut ears, at(ms), &mut rows, &mut passed);
    }
    let states: Vec<&str> = rows.iter().map(|(_, row)| row.split(' ').next().unwrap()).collect();
    assert_eq!(states, ["starting", "speaking", "stopping", "quiet"]);
    // The last voiced audio is that of 1980; the detector works in windows of its own.
    let voiced: u64 = rows[3].1.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((1940..=2000).contains(&voiced), "{voiced}");
    let passed = passed.as_millis();
    assert!((1300..1700).contains(&passed), "{passed} ms: pre-roll, speech, and the silence that ends it");
}

#[test]
fn an_hour_of_silence_in_an_open_microphone_reaches_nobody() {
    let noise = Frame::from_samples(AudioFormat::SPEECH, (0..16_000i16).map(|n| n % 40 - 20));
    // A second of the room's noise in every ten; more would only make the test slow.
    let inputs = (0..360).map(|n| (n * 10_000, EarsInput::Audio(noise.clone()))).collect();
    check(ears(Mode::OpenMicrophone, false, SampleRate::Hz16000), inputs, &[], 0);
}

#[test]
fn a_microphone_muted_in_the_middle_of_speech_ends_it() {
    let inputs = sounds(0, 1000, 8000);
    let mut ears = ears(Mode::OpenMicrophone, false, SampleRate::Hz16000);
    let (mut rows, mut passed) = (Vec::new(), Duration::ZERO);
    for (ms, input) in inputs {
        ears.handle_input(at(ms), input);
        drain(&mut ears, at(ms), &mut rows, &mut passed);
    }
    assert_eq!(ears.poll_timeout(), Some(at(1980)), "a second after the last audio");
    ears.handle_timeout(at(1979));
    assert!(ears.poll_output().is_none(), "a network may stall that long");
    ears.handle_timeout(at(1980));
    drain(&mut ears, at(1980), &mut rows, &mut passed);
    assert_eq!(rows.last(), Some(&(1980, "quiet 980".to_owned())));
    assert_eq!(ears.poll_timeout(), None);
}

#[test]
fn another_detector_ends_the_speech_of_the_one_before() {
    let quiet = |mode, client_vad| EarsInput::Listen { mode, client_vad };
    check(
        ears(Mode::OpenMicrophone, true, SampleRate::Hz16000),
        vec![
            (0, EarsInput::ClientVad { state: VadState::Speaking, last_voiced: at(0) }),
            (100, quiet(Mode::OpenMicrophone, false)),
            (200, quiet(Mode::OpenMicrophone, false)),
            (300, quiet(Mode::PushToTalk, false)),
        ],
        &[
            (0, "speaking 0"),
            (100, "quiet"),
            (100, "mode(openmicrophone)"),
            (200, "mode(openmicrophone)"),
            (300, "quiet"),
            (300, "mode(pushtotalk)"),
        ],
        0,
    );
}

#[test]
fn only_the_detector_that_was_agreed_counts() {
    let vad = || EarsInput::ClientVad { state: VadState::Speaking, last_voiced: at(0) };
    check(ears(Mode::OpenMicrophone, false, SampleRate::Hz16000), vec![(0, vad())], &[], 0);
    check(push_to_talk(), vec![(0, vad())], &[], 0);
    check(ears(Mode::OpenMicrophone, true, SampleRate::Hz16000), sounds(0, 1000, 8000), &[], 0);
}

#[test]
fn audio_at_another_rate_is_converted() {
    let samples = (0..960).map(|n| if n % 2 == 0 { 8000 } else { -8000 });
    let frame = Frame::from_samples(AudioFormat::new(SampleRate::Hz48000), samples);
    let sounds = (0..600).step_by(20).map(|ms| (ms, EarsInput::Audio(frame.clone())));
    let inputs = std::iter::once((0, EarsInput::OpenGate)).chain(sounds);
    let mut ears = ears(Mode::PushToTalk, false, SampleRate::Hz48000);
    let (mut rows, mut passed) = (Vec::new(), Duration::ZERO);
    for (ms, input) in inputs {
        ears.handle_input(at(ms), input);
        drain(&mut ears, at(ms), &mut rows, &mut passed);
    }
    assert!((590..=600).contains(&passed.as_millis()), "{passed:?}");
}

#[test]
fn a_recogniser_whose_final_words_cover_all_it_was_given_is_not_asked() {
    let inputs = [
        vec![(0, EarsInput::OpenGate)],
        sounds(0, 1000, 8000),
        vec![
            (1000, heard(TranscriptKind::Interim, "turn on the lamp", 1000)),
            (1000, EarsInput::Finalize),
            (1100, EarsInput::Recognised(SttEvent::Finalized)),
            (1200, heard(TranscriptKind::Final, "Turn on the lamp.", 940)),
            (1300, EarsInput::Finalize),
        ],
    ];
    check(
        push_to_talk(),
        inputs.into_iter().flatten().collect(),
        &[
            (1000, "heard \"turn on the lamp\""),
            (1000, "end of speech"),
            (1100, "finalized"),
            (1200, "heard \"Turn on the lamp.\""),
            (1300, "finalized"),
        ],
        1000,
    );
}

#[test]
fn the_times_of_the_question_and_of_its_answer_are_kept() {
    let mut ears = push_to_talk();
    ears.handle_input(at(0), EarsInput::OpenGate);
    for (ms, input) in sounds(0, 100, 8000) {
        ears.handle_input(at(ms), input);
        while ears.poll_output().is_some() {}
    }
    ears.handle_input(at(100), EarsInput::Finalize);
    assert_eq!(ears.recognition(), Recognition { asked: Some(at(100)), answered: None });
    ears.handle_input(at(250), EarsInput::Recognised(SttEvent::Finalized));
    assert_eq!(ears.recognition(), Recognition { asked: Some(at(100)), answered: Some(at(250)) });
    ears.handle_input(at(300), EarsInput::Recognised(SttEvent::EndOfTurn("Hi.".into())));
    assert_eq!(ears.recognition(), Recognition { asked: Some(at(100)), answered: Some(at(300)) });
}

#[test]
fn without_a_recogniser_the_user_is_told_and_no_turn_waits() {
    check(
        push_to_talk(),
        vec![
            (0, EarsInput::Recognised(SttEvent::State(ConnectionState::Connected))),
            (100, EarsInput::Recognised(SttEvent::Failed("the key was refused".into()))),
            (150, EarsInput::Recognised(SttEvent::StartOfTurn)),
            (150, EarsInput::RecogniserClosed),
            (200, EarsInput::Pressed),
            (200, EarsInput::OpenGate),
            (200, sound(8000)),
            (300, EarsInput::Finalize),
        ],
        &[
            (0, "recognising(true)"),
            (0, "told connected"),
            (100, "error SpeechUnavailable"),
            (100, "finalized"),
            (200, "error SpeechUnavailable"),
            (200, "pressed"),
            (300, "finalized"),
        ],
        20,
    );
}

#[test]
fn turns_that_the_provider_judges_are_passed_on() {
    let events = [
        (SttEvent::StartOfTurn, "providerstartofturn"),
        (SttEvent::EagerEndOfTurn("Hi".into()), "providereagerendofturn(\"hi\")"),
        (SttEvent::TurnResumed, "providerturnresumed"),
        (SttEvent::EndOfTurn("Hi.".into()), "providerendofturn(\"hi.\")"),
    ];
    for (event, expected) in events {
        check(push_to_talk(), vec![(0, EarsInput::Recognised(event))], &[(0, expected)], 0);
    }
}

proptest! {
    #[test]
    fn a_drain_ends_and_no_deadline_stays_in_the_past(
        events in prop::collection::vec((0u64..3000, 0u8..9, -3i16..3), 0..60),
    ) {
        let mut ears = ears(Mode::OpenMicrophone, false, SampleRate::Hz16000);
        let mut now = 0;
        for (wait, event, level) in events {
            now += wait;
            if ears.poll_timeout().is_some_and(|due| due <= at(now)) {
                ears.handle_timeout(at(now));
            }
            let input = match event {
                0..5 => sound(level * 5000),
                5 => EarsInput::Listen { mode: Mode::OpenMicrophone, client_vad: level == 0 },
                6 => EarsInput::OpenGate,
                7 => EarsInput::CloseGate,
                _ => EarsInput::Finalize,
            };
            ears.handle_input(at(now), input);
            ears.handle_timeout(at(now));
            let mut outputs = 0;
            while ears.poll_output().is_some() {
                outputs += 1;
                prop_assert!(outputs < 100, "the drain does not end");
            }
            prop_assert!(ears.poll_timeout().is_none_or(|due| due > at(now)), "a deadline in the past");
        }
    }
}
