//! Responders, synthesisers and budgets that fail, and sessions that end.

use super::*;

#[test]
fn a_responder_that_fails_is_excused() {
    check(
        vec![(0, spoken(1, "Hello", 0)), (300, failed()), (350, audio(1)), (350, done(1))],
        &[
            (0, r#"you "Hello" | ask "Hello" | commit"#),
            (300, r#"failed: no model | speak 1 "Sorry, I cannot answer just now." | began 300 | finish 1"#),
            // There was no text of the responder to wait for.
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 0, 300, 50, 0] | playing 1 | all sent 1"),
            (
                550,
                r#"over 1 "Sorry, I cannot answer just now." | heard "Sorry, I cannot answer just now." | played 1"#,
            ),
        ],
    );
}

#[test]
fn a_responder_that_fails_in_the_middle_is_not_excused() {
    check(
        vec![
            (0, spoken(1, "Hello", 0)),
            (300, Replying),
            (300, text("Well, ")),
            (400, failed()),
            (500, interrupt(1)),
        ],
        &[
            (0, r#"you "Hello" | ask "Hello" | commit"#),
            (300, "commit"),
            (400, r#"failed: no model | speak 1 "Well, " | began 400 | finish 1"#),
            (500, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_speculation_that_fails_is_asked_again_at_the_commit() {
    check(
        vec![
            (0, speculate(1, "Hello", 0)),
            (100, failed()),
            (200, spoken(1, "Hello", 0)),
            (250, interrupt(1)),
        ],
        &[
            (0, r#"ask "Hello""#),
            (100, "drop"),
            (200, r#"you "Hello" | ask "Hello" | commit"#),
            (250, r#"over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_responder_that_says_nothing_is_given_up() {
    check(
        vec![(0, typed(1, "Hello", 0)), (60_050, interrupt(1))],
        &[
            (0, r#"you "Hello" | ask "Hello" | commit"#),
            (
                60_000,
                r#"stop reading | failed: the responder took too long | show 1 "Sorry, I cannot answer just now." | speak 1 "Sorry, I cannot answer just now." | began 60000 | finish 1"#,
            ),
            (
                60_050,
                r#"cancel 1 | over 1 "Sorry, I cannot answer just now.", cut | heard "Sorry, I cannot answer just now.", cut"#,
            ),
        ],
    );
}

#[test]
fn each_word_of_the_responder_gives_it_more_time() {
    check(
        vec![
            (0, spoken(1, "Go.", 0)),
            (50_000, Replying),
            (50_000, text("One. ")),
            (50_050, audio(1)),
            (109_000, text("Two. ")),
            (109_050, audio(1)),
            (168_000, interrupt(1)),
        ],
        &[
            (0, r#"you "Go." | ask "Go." | commit"#),
            (50_000, r#"commit | speak 1 "One. " | began 50000"#),
            (50_050, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 50000, 0, 50, 0] | playing 1"),
            (109_000, r#"speak 1 "Two. ""#),
            (109_050, "audio 1 9600"),
            (168_000, r#"clear 1 | cancel 1 | over 1 "One. Two. ", cut | heard "One. Two. ", cut"#),
        ],
    );
}

#[test]
fn without_a_voice_the_answer_comes_as_text() {
    let refused = || AnswerInput::Synthesised(TtsEvent::Refused("the key was refused".into()));
    let expected: &[(u64, &str)] = &[
        (0, r#"you "Count." | ask "Count." | commit"#),
        (100, "error VoiceUnavailable"),
        (
            300,
            r#"commit | show 1 "One two three four five." | stop reading | over 1 "One two three four five." | heard "One two three four five." | played 1"#,
        ),
    ];
    let mut inputs = answered();
    inputs.insert(1, (100, refused()));
    check(inputs, expected);
    let before = [(0, "error VoiceUnavailable | you \"Count.\" | ask \"Count.\" | commit"), expected[2]];
    check([vec![(0, refused())], answered()].concat_inputs(), &before);
}

#[test]
fn what_a_failed_synthesiser_did_not_speak_is_shown() {
    let failed = TtsEvent::Failed { generation: Generation(1), reason: "it broke".into() };
    let inputs = vec![
        (350, audio(1)),
        (350, word(1, 0, "One")),
        (400, AnswerInput::Synthesised(failed)),
        (420, audio(1)),
    ];
    check(
        [answered(), inputs].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1 | word 1 One"),
            (400, r#"error VoiceUnavailable | all sent 1 | show 1 " two three four five.""#),
            (420, "late"),
            (550, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn a_failure_of_another_generation_concerns_nobody() {
    let failed = TtsEvent::Failed { generation: Generation(7), reason: "it broke".into() };
    check_sounding(
        vec![(360, AnswerInput::Synthesised(failed)), (370, AnswerInput::Synthesised(TtsEvent::Billed(24)))],
        &[
            (360, "late"),
            (370, "billed 24"),
            (1350, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn a_spent_budget_ends_the_session() {
    check(
        [answered(), vec![(300, BudgetSpent), (300, AnswerInput::Close)]].concat_inputs(),
        &[
            ANSWERED[0],
            (
                300,
                r#"commit | stop reading | speak 1 "One two three four five." | began 300 | finish 1 | end BudgetExhausted | cancel 1 | over 1 "", cut | heard "", cut"#,
            ),
        ],
    );
}

#[test]
fn a_refused_piece_takes_those_behind_it_along() {
    let mut answers = machine(config(), SampleRate::Hz24000);
    for input in [spoken(1, "Go.", 0), Replying, text("First, one two three, then four. And five. ")] {
        answers.handle_input(at(0), input);
    }
    while !matches!(answers.poll_output(), Some(AnswerOutput::Speak { .. })) {}
    answers.handle_input(at(0), BudgetSpent);
    let left: Vec<String> =
        std::iter::from_fn(|| answers.poll_output()).map(|output| show(&output)).collect();
    assert_eq!(left, ["began 0", "end BudgetExhausted"]);
}

#[test]
fn a_drain_lets_the_answer_finish() {
    check_sounding(
        vec![(500, Drain)],
        &[(
            1350,
            r#"over 1 "One two three four five." | heard "One two three four five." | played 1 | end Draining"#,
        )],
    );
    check(vec![(500, Drain)], &[(500, "end Draining")]);
}

#[test]
fn a_drain_does_not_wait_longer_than_its_patience() {
    check(
        vec![(0, spoken(1, "Go.", 0)), (500, Drain), (5600, AnswerInput::Close)],
        &[
            (0, r#"you "Go." | ask "Go." | commit"#),
            (5500, "end Draining"),
            (5600, r#"over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_session_that_ends_tells_what_was_heard() {
    check_sounding(
        vec![(800, AnswerInput::Close)],
        &[(800, r#"clear 1 | cancel 1 | over 1 "One two", cut | heard "One two", cut"#)],
    );
    check(
        vec![(0, speculate(1, "Hello", 0)), (100, AnswerInput::Close)],
        &[(0, r#"ask "Hello""#), (100, "drop")],
    );
}
