//! Answers as dialogues: what happens when, and what must be asked for when.

mod failure;
mod law;
mod opener;
mod playout;
mod speech;
mod voice_outage;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use livos_core::{
    conversation::{ConversationId, Finish, ReplyError, ReplyErrorKind, ReplyEvent, Speaker},
    machine::Machine,
    user::UserId,
};

use super::{
    event::{AnswerInput, AnswerOutput, Measure},
    latency::Recognition,
    machine::Answers,
    opener::{OpenerConfig, Openers},
    voice::Voice,
};
use crate::{
    audio::{AudioFormat, Frame, SampleRate},
    generation::Generation,
    pipeline::SessionConfig,
    transport::protocol::{PlayoutState, ServerMessage},
    tts::{SpokenWord, TtsEvent},
    turn::{Commit, Origin, TurnInput},
};

use AnswerInput::{BudgetSpent, Drain, Replying};

const ANSWER: &str = "One two three four five.";
/// Each spoken word lasts this long, in milliseconds.
const WORD: u64 = 200;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(ms: u64) -> Instant {
    *ORIGIN + Duration::from_millis(ms)
}

/// One dialogue and what must come of it. Outputs of the same time are one row, joined by ` | `.
#[track_caller]
fn check(inputs: Vec<(u64, AnswerInput)>, expected: &[(u64, &str)]) {
    check_with(config(), SampleRate::Hz24000, inputs, expected);
}

fn config() -> SessionConfig {
    SessionConfig::new(ConversationId::try_from("test").unwrap(), Speaker::Owner, UserId::owner())
}

fn machine(config: SessionConfig, rate: SampleRate) -> Answers {
    let openers = Openers::new(config.opener.clone(), 0);
    Answers::new(config, openers, Voice::new(rate).unwrap())
}

#[track_caller]
fn check_with(
    config: SessionConfig,
    rate: SampleRate,
    inputs: Vec<(u64, AnswerInput)>,
    expected: &[(u64, &str)],
) {
    let mut answers = machine(config, rate);
    let mut rows: Vec<(u64, String)> = Vec::new();
    let end = (1_000_000, None);
    for (ms, input) in inputs.into_iter().map(|(ms, input)| (ms, Some(input))).chain([end]) {
        while let Some(deadline) = answers.poll_timeout().filter(|deadline| *deadline <= at(ms)) {
            let due = deadline.saturating_duration_since(*ORIGIN).as_millis() as u64;
            let before = rows.last().map_or(0, |row| row.0);
            let now = deadline.max(at(before));
            answers.handle_timeout(now);
            drain(&mut answers, due.max(before), &mut rows);
            assert!(answers.poll_timeout().is_none_or(|next| next > now), "a deadline stays in the past");
        }
        if let Some(input) = input {
            answers.handle_input(at(ms), input);
            drain(&mut answers, ms, &mut rows);
        }
    }
    let rows: Vec<(u64, &str)> = rows.iter().map(|(ms, row)| (*ms, row.as_str())).collect();
    assert_eq!(rows, expected);
}

fn drain(answers: &mut Answers, ms: u64, rows: &mut Vec<(u64, String)>) {
    while let Some(output) = answers.poll_output() {
        let shown = show(&output);
        match rows.last_mut() {
            Some((last, row)) if *last == ms => {
                row.push_str(" | ");
                row.push_str(&shown);
            }
            _ => rows.push((ms, shown)),
        }
    }
}

fn show(output: &AnswerOutput) -> String {
    match output {
        AnswerOutput::Ask(text) => format!("ask {text:?}"),
        AnswerOutput::CommitReply => "commit".to_owned(),
        AnswerOutput::StopReading => "stop reading".to_owned(),
        AnswerOutput::DropReply => "drop".to_owned(),
        AnswerOutput::Heard(heard) => format!("heard {:?}{}", heard.text, cut(heard.complete)),
        AnswerOutput::ResponderFailed(error) => format!("failed: {error}"),
        AnswerOutput::Speak { generation, text } => format!("speak {generation} {text:?}"),
        AnswerOutput::Finish(generation) => format!("finish {generation}"),
        AnswerOutput::Cancel(generation) => format!("cancel {generation}"),
        AnswerOutput::TakeAudio(true) => "take audio".to_owned(),
        AnswerOutput::TakeAudio(false) => "leave audio".to_owned(),
        AnswerOutput::Audio { generation, bytes } => format!("audio {generation} {}", bytes.len()),
        AnswerOutput::Waterfall { generation, stamps, opener } => {
            let parts = stamps.parts().map(|part| part.as_millis());
            format!("waterfall {generation} {parts:?}{}", opener.as_deref().unwrap_or_default())
        }
        AnswerOutput::Tell(message) => show_message(message),
        AnswerOutput::Turn(TurnInput::PlayoutStarted(generation)) => format!("playing {generation}"),
        AnswerOutput::Turn(TurnInput::PlayoutEnded(generation)) => format!("played {generation}"),
        AnswerOutput::Turn(other) => format!("{other:?}"),
        AnswerOutput::Measure(Measure::Opener) => "opener".to_owned(),
        AnswerOutput::Measure(Measure::AnswerBegan(waited)) => format!("began {}", waited.as_millis()),
        AnswerOutput::Measure(Measure::LateSynthesis) => "late".to_owned(),
        AnswerOutput::Measure(Measure::Billed(total)) => format!("billed {total}"),
        AnswerOutput::End(code, _) => format!("end {code:?}"),
    }
}

fn show_message(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Transcript { text, .. } => format!("you {text:?}"),
        ServerMessage::SpeechStart { generation } => format!("start {generation}"),
        ServerMessage::SpeechEnd { generation } => format!("all sent {generation}"),
        ServerMessage::Words { generation, words } => format!("word {generation} {}", words[0].text),
        ServerMessage::Truncate { generation, at_ms } => format!("truncate {generation} {at_ms}"),
        ServerMessage::Clear { generation } => format!("clear {generation}"),
        ServerMessage::Pause { generation } => format!("pause {generation}"),
        ServerMessage::Resume { generation } => format!("resume {generation}"),
        ServerMessage::Reply { generation, text } => format!("show {generation} {text:?}"),
        ServerMessage::ReplyEnd { generation, heard, complete } => {
            format!("over {generation} {heard:?}{}", cut(*complete))
        }
        ServerMessage::Error { code, .. } => format!("error {code:?}"),
        other => format!("{other:?}"),
    }
}

fn cut(complete: bool) -> &'static str {
    if complete { "" } else { ", cut" }
}

fn commit_of(generation: u32, text: &str, end_of_speech: u64, origin: Origin) -> Commit {
    Commit {
        generation: Generation(generation),
        text: text.to_owned(),
        end_of_speech: at(end_of_speech),
        origin,
    }
}

/// A spoken turn that ended at that time.
fn spoken(generation: u32, text: &str, end_of_speech: u64) -> AnswerInput {
    let commit = commit_of(generation, text, end_of_speech, Origin::Spoken);
    AnswerInput::Commit { commit, recognition: Recognition::default() }
}

fn typed(generation: u32, text: &str, end_of_speech: u64) -> AnswerInput {
    let commit = commit_of(generation, text, end_of_speech, Origin::Typed);
    AnswerInput::Commit { commit, recognition: Recognition::default() }
}

fn speculate(generation: u32, text: &str, end_of_speech: u64) -> AnswerInput {
    AnswerInput::Speculate(commit_of(generation, text, end_of_speech, Origin::Spoken))
}

fn interrupt(generation: u32) -> AnswerInput {
    AnswerInput::Interrupt(Generation(generation))
}

fn text(text: &str) -> AnswerInput {
    AnswerInput::Replied(ReplyEvent::Text(text.to_owned()))
}

fn finished() -> AnswerInput {
    AnswerInput::Replied(ReplyEvent::Finished(Finish::Complete))
}

fn failed() -> AnswerInput {
    AnswerInput::ReplyFailed(ReplyError::new(ReplyErrorKind::Unavailable, "no model"))
}

/// Audio of one word.
fn audio(generation: u32) -> AnswerInput {
    let bytes = vec![9u8; AudioFormat::VOICE.bytes_in(Duration::from_millis(WORD))];
    let frame = Frame::new(AudioFormat::VOICE, bytes.into()).unwrap();
    AnswerInput::Synthesised(TtsEvent::Audio { generation: Generation(generation), frame })
}

/// The word that begins so many words into the audio.
fn word(generation: u32, n: u64, text: &str) -> AnswerInput {
    let (start, end) = (Duration::from_millis(n * WORD), Duration::from_millis((n + 1) * WORD));
    let words = vec![SpokenWord { text: text.to_owned(), start, end }];
    AnswerInput::Synthesised(TtsEvent::Words { generation: Generation(generation), words })
}

fn done(generation: u32) -> AnswerInput {
    AnswerInput::Synthesised(TtsEvent::Done(Generation(generation)))
}

fn player(generation: u32, played: u64, state: PlayoutState, seen: u64) -> AnswerInput {
    let played = Duration::from_millis(played);
    AnswerInput::Playout { generation: Generation(generation), played, state, at: at(seen) }
}

/// The question is committed at 0 and answered with [`ANSWER`] at 300.
fn answered() -> Vec<(u64, AnswerInput)> {
    vec![(0, spoken(1, "Count.", 0)), (300, Replying), (300, text(ANSWER)), (300, finished())]
}

const ANSWERED: [(u64, &str); 2] = [
    (0, r#"you "Count." | ask "Count." | commit"#),
    (300, r#"commit | stop reading | speak 1 "One two three four five." | began 300 | finish 1"#),
];

/// The same, and all its audio comes at 350.
fn sounding() -> Vec<(u64, AnswerInput)> {
    let words = ["One", "two", "three", "four", "five."].into_iter().zip(0..);
    let spoken = words.flat_map(|(text, n)| [(350, audio(1)), (350, word(1, n, text))]);
    answered().into_iter().chain(spoken).chain([(350, done(1))]).collect()
}

const SOUNDING: &str = "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1 | word 1 One | audio 1 9600 \
    | word 1 two | audio 1 9600 | word 1 three | audio 1 9600 | word 1 four | audio 1 9600 | word 1 five. | all sent 1";

/// The sounding answer goes on so.
#[track_caller]
fn check_sounding(inputs: Vec<(u64, AnswerInput)>, expected: &[(u64, &str)]) {
    check([sounding(), inputs].concat_inputs(), &[&ANSWERED, &[(350, SOUNDING)][..], expected].concat());
}

/// Inputs are not `Clone`, because errors are not.
trait ConcatInputs {
    fn concat_inputs(self) -> Vec<(u64, AnswerInput)>;
}

impl<const N: usize> ConcatInputs for [Vec<(u64, AnswerInput)>; N] {
    fn concat_inputs(self) -> Vec<(u64, AnswerInput)> {
        self.into_iter().flatten().collect()
    }
}
