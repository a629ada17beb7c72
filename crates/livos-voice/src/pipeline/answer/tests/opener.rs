//! A sentence that is said where the answer is late.

use super::*;

#[track_caller]
fn check(inputs: Vec<(u64, AnswerInput)>, expected: &[(u64, &str)]) {
    let config = SessionConfig { opener: OpenerConfig::new(["Let me see."]), ..config() };
    check_with(config, SampleRate::Hz24000, inputs, expected);
}

/// The question of 0 is opened with a sentence of three words that sounds from 900 on.
fn opened() -> Vec<(u64, AnswerInput)> {
    let words = ["Let", "me", "see."].into_iter().zip(0..);
    let spoken = words.flat_map(|(text, n)| [(900, audio(1)), (900, word(1, n, text))]);
    [(150, spoken_at(0))].into_iter().chain(spoken).collect()
}

fn spoken_at(end_of_speech: u64) -> AnswerInput {
    spoken(1, "Time?", end_of_speech)
}

const OPENED: [(u64, &str); 3] = [
    (150, r#"you "Time?" | ask "Time?" | commit"#),
    (850, r#"opener | speak 1 "Let me see. ""#),
    (
        900,
        "start 1 | audio 1 9600 | waterfall 1 [150, 0, 0, 700, 0, 50, 0]Let me see. | playing 1 | word 1 Let | audio 1 9600 | word 1 me \
        | audio 1 9600 | word 1 see.",
    ),
];

/// The answer of two words comes at 2200 and sounds.
fn answered_late() -> Vec<(u64, AnswerInput)> {
    vec![
        (2200, Replying),
        (2200, text("One two.")),
        (2200, finished()),
        (2250, audio(1)),
        (2250, word(1, 3, "One")),
        (2250, audio(1)),
        (2250, word(1, 4, "two.")),
        (2250, done(1)),
    ]
}

const ANSWERED_LATE: [(u64, &str); 2] = [
    (2200, r#"commit | stop reading | speak 1 "One two." | began 2200 | finish 1"#),
    (2250, "audio 1 9600 | word 1 One | audio 1 9600 | word 1 two. | all sent 1"),
];

#[test]
fn an_answer_that_is_late_is_opened_with_a_sentence_that_is_no_part_of_it() {
    check(
        [opened(), answered_late()].concat_inputs(),
        &[
            &OPENED[..],
            &ANSWERED_LATE,
            // The listener is shown what was said; the responder remembers what it answered.
            &[(2650, r#"over 1 "Let me see. One two." | heard "One two." | played 1"#)],
        ]
        .concat(),
    );
}

#[test]
fn an_answer_in_time_is_not_opened() {
    check(
        vec![
            (150, spoken_at(0)),
            (800, Replying),
            (800, text("One two.")),
            (800, finished()),
            (849, interrupt(1)),
        ],
        &[
            (150, r#"you "Time?" | ask "Time?" | commit"#),
            (800, r#"commit | stop reading | speak 1 "One two." | began 800 | finish 1"#),
            (849, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_turn_that_was_long_in_the_making_is_opened_at_once() {
    check(
        vec![(1000, spoken_at(0)), (1100, interrupt(1))],
        &[
            (1000, r#"you "Time?" | ask "Time?" | commit | opener | speak 1 "Let me see. ""#),
            (1100, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_user_who_interrupts_an_opener_has_heard_nothing_of_the_answer() {
    check(
        [opened(), vec![(1700, interrupt(1))]].concat_inputs(),
        &[&OPENED[..], &[(1700, r#"clear 1 | cancel 1 | over 1 "Let me see.", cut | heard "", cut"#)]]
            .concat(),
    );
}

#[test]
fn an_answer_that_is_interrupted_is_remembered_without_its_opener() {
    check(
        [opened(), answered_late(), vec![(2400, interrupt(1))]].concat_inputs(),
        &[
            &OPENED[..],
            &ANSWERED_LATE,
            &[(2400, r#"clear 1 | cancel 1 | over 1 "Let me see. One", cut | heard "One", cut"#)],
        ]
        .concat(),
    );
}

#[test]
fn a_failure_after_an_opener_is_excused() {
    check(
        [opened(), vec![(2200, failed()), (2300, interrupt(1))]].concat_inputs(),
        &[
            &OPENED[..],
            &[
                (2200, r#"failed: no model | speak 1 "Sorry, I cannot answer just now." | began 2200 | finish 1"#),
                (2300, r#"clear 1 | cancel 1 | over 1 "Let me see.", cut | heard "", cut"#),
            ],
        ]
        .concat(),
    );
}

#[test]
fn a_user_who_types_is_not_told_to_wait() {
    check(
        vec![(0, typed(1, "Time?", 0)), (2000, interrupt(1))],
        &[(0, r#"you "Time?" | ask "Time?" | commit"#), (2000, r#"over 1 "", cut | heard "", cut"#)],
    );
}

#[test]
fn without_a_voice_and_while_held_nothing_is_said_before_the_answer() {
    check(
        vec![(0, AnswerInput::SynthesiserClosed), (0, spoken_at(0)), (2000, interrupt(1))],
        &[(0, r#"you "Time?" | ask "Time?" | commit"#), (2000, r#"over 1 "", cut | heard "", cut"#)],
    );
    check(
        vec![
            (0, spoken_at(0)),
            (500, AnswerInput::Pause(Generation(1))),
            (2000, AnswerInput::Resume(Generation(1))),
            (2001, interrupt(1)),
        ],
        &[
            (0, r#"you "Time?" | ask "Time?" | commit"#),
            (500, "leave audio"),
            (2000, r#"take audio | opener | speak 1 "Let me see. ""#),
            (2001, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}
