//! A synthesiser that does not answer: mute, unreachable, or in a loop of reconnects. The answer
//! comes as text, with one sentence why.

use super::*;

const AS_TEXT: &str = r#"error VoiceUnavailable | cancel 1 | show 1 "One two three four five." | over 1 "One two three four five." | heard "One two three four five." | played 1"#;

#[test]
fn an_answer_that_nobody_speaks_comes_as_text() {
    check(answered(), &[ANSWERED[0], ANSWERED[1], (6300, AS_TEXT)]);
}

#[test]
fn a_synthesiser_that_stops_in_the_middle_has_the_rest_shown() {
    let inputs = vec![(350, audio(1)), (350, word(1, 0, "One"))];
    check(
        [answered(), inputs].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1 | word 1 One"),
            (
                6550,
                r#"error VoiceUnavailable | cancel 1 | all sent 1 | show 1 " two three four five." | over 1 "One two three four five." | heard "One two three four five." | played 1"#,
            ),
        ],
    );
}

#[test]
fn a_synthesiser_that_never_says_that_it_is_done_does_not_keep_the_floor() {
    let mut inputs = sounding();
    inputs.pop();
    let mut answers = machine(config(), SampleRate::Hz24000);
    inputs.into_iter().for_each(|(ms, input)| answers.handle_input(at(ms), input));
    while answers.poll_output().is_some() {}
    assert_eq!(answers.poll_timeout(), Some(at(7350)));
    answers.handle_timeout(at(7350));
    let told: Vec<String> =
        std::iter::from_fn(|| answers.poll_output()).map(|output| show(&output)).collect();
    assert_eq!(
        told,
        [
            "error VoiceUnavailable",
            "cancel 1",
            "all sent 1",
            r#"over 1 "One two three four five.""#,
            r#"heard "One two three four five.""#,
            "played 1",
        ]
    );
}

#[test]
fn the_next_answer_is_shown_at_once_and_the_voice_is_tried_again() {
    let next = vec![
        (10_000, spoken(2, "More.", 10_000)),
        (10_300, Replying),
        (10_300, text("Six. ")),
        (10_300, finished()),
        (20_000, spoken(3, "More.", 20_000)),
        (20_300, Replying),
        (20_300, text("Seven. ")),
        (20_350, audio(3)),
        (20_400, interrupt(3)),
        (30_000, spoken(4, "More.", 30_000)),
        (30_300, Replying),
        (30_300, text("Eight. ")),
        (30_350, interrupt(4)),
    ];
    check(
        [answered(), next].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (6300, AS_TEXT),
            (10_000, r#"you "More." | ask "More." | commit"#),
            (10_300, r#"commit | show 2 "Six. " | speak 2 "Six. " | began 300 | stop reading | finish 2"#),
            // Nothing is said a second time about the same outage.
            (16_300, r#"cancel 2 | over 2 "Six. " | heard "Six. " | played 2"#),
            (20_000, r#"you "More." | ask "More." | commit"#),
            (20_300, r#"commit | show 3 "Seven. " | speak 3 "Seven. " | began 300"#),
            (20_350, "start 3 | audio 3 9600 | waterfall 3 [0, 0, 0, 300, 0, 50, 0] | playing 3"),
            (20_400, r#"clear 3 | cancel 3 | over 3 "Seven. ", cut | heard "Seven. ", cut"#),
            // It has spoken, so the voice is trusted again.
            (30_000, r#"you "More." | ask "More." | commit"#),
            (30_300, r#"commit | speak 4 "Eight. " | began 300"#),
            (30_350, r#"cancel 4 | over 4 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_responder_that_thinks_between_two_sentences_is_not_the_fault_of_the_voice() {
    check(
        vec![
            (0, spoken(1, "Go.", 0)),
            (300, Replying),
            (300, text("One. ")),
            (350, audio(1)),
            (20_000, text("Two. ")),
            (20_050, audio(1)),
            (20_100, interrupt(1)),
        ],
        &[
            (0, r#"you "Go." | ask "Go." | commit"#),
            (300, r#"commit | speak 1 "One. " | began 300"#),
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1"),
            (20_000, r#"speak 1 "Two. ""#),
            (20_050, "audio 1 9600"),
            (20_100, r#"clear 1 | cancel 1 | over 1 "One.", cut | heard "One.", cut"#),
        ],
    );
}

#[test]
fn audio_that_is_not_taken_is_not_late() {
    check(
        [
            answered(),
            vec![
                (310, AnswerInput::Pause(Generation(1))),
                (20_000, AnswerInput::Resume(Generation(1))),
                (25_999, audio(1)),
                (26_000, interrupt(1)),
            ],
        ]
        .concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (310, "leave audio"),
            (20_000, "take audio"),
            (25_999, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 25699, 0] | playing 1"),
            (26_000, r#"clear 1 | cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}
