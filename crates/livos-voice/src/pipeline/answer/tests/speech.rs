//! From the question to the last word that was heard.

use super::*;

#[test]
fn an_answer_is_spoken_and_its_end_is_its_last_sample() {
    check_sounding(
        vec![],
        &[(1350, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#)],
    );
}

#[test]
fn the_first_clause_is_spoken_before_the_responder_has_finished() {
    check(
        vec![
            (0, spoken(1, "Hm?", 0)),
            (200, Replying),
            (250, text("Well, I think so, but let me ")),
            (400, text("see. ")),
            (500, finished()),
            (600, interrupt(1)),
        ],
        &[
            (0, r#"you "Hm?" | ask "Hm?" | commit"#),
            (200, "commit"),
            (250, r#"speak 1 "Well, I think so, " | began 250"#),
            (400, r#"speak 1 "but let me see. ""#),
            (500, "stop reading | finish 1"),
            (600, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_pause_of_the_responder_lets_the_first_words_go() {
    check(
        vec![
            (0, spoken(1, "Hm?", 0)),
            (100, Replying),
            (100, text("Let me see whe")),
            (300, audio(1)),
            (60_150, interrupt(1)),
        ],
        &[
            (0, r#"you "Hm?" | ask "Hm?" | commit"#),
            (100, "commit"),
            (220, r#"speak 1 "Let me see " | began 220"#),
            (300, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 100, 120, 80, 0] | playing 1"),
            // The responder then says nothing for a minute.
            (60_100, r#"stop reading | failed: the responder took too long | speak 1 "whe" | finish 1"#),
            (60_150, r#"clear 1 | cancel 1 | over 1 "Let me see whe", cut | heard "Let me see whe", cut"#),
        ],
    );
}

#[test]
fn a_speculation_is_silent_until_its_turn_is_sure_and_then_costs_no_time() {
    check(
        vec![
            (0, speculate(1, "Count.", 0)),
            (100, Replying),
            (200, text(ANSWER)),
            (200, finished()),
            (
                400,
                AnswerInput::Commit {
                    commit: commit_of(1, "Count.", 0, Origin::Spoken),
                    recognition: Recognition { asked: Some(at(50)), answered: Some(at(150)) },
                },
            ),
            (450, audio(1)),
            (450, done(1)),
        ],
        &[
            (0, r#"ask "Count.""#),
            (200, "stop reading"),
            (400, r#"you "Count." | commit | speak 1 "One two three four five." | began 400 | finish 1"#),
            // 50 ms of silence before the recogniser was asked, and 250 ms after it had answered.
            (450, "start 1 | audio 1 9600 | waterfall 1 [300, 100, 0, 0, 0, 50, 0] | playing 1 | all sent 1"),
            (650, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn without_an_answer_of_the_recogniser_all_of_the_wait_since_the_question_is_its_own() {
    check(
        vec![
            (
                600,
                AnswerInput::Commit {
                    commit: commit_of(1, "Count.", 0, Origin::Spoken),
                    recognition: Recognition { asked: Some(at(100)), answered: None },
                },
            ),
            (700, Replying),
            (700, text("One. ")),
            (750, audio(1)),
            (760, interrupt(1)),
        ],
        &[
            (600, r#"you "Count." | ask "Count." | commit"#),
            (700, r#"commit | speak 1 "One. " | began 700"#),
            (750, "start 1 | audio 1 9600 | waterfall 1 [100, 500, 0, 100, 0, 50, 0] | playing 1"),
            (760, r#"clear 1 | cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_wrong_speculation_leaves_no_trace_and_is_asked_again() {
    check(
        vec![
            (0, speculate(1, "Count", 0)),
            (100, Replying),
            (100, text("One. ")),
            (200, AnswerInput::Abandon(Generation(1))),
            (300, audio(1)),
            (400, spoken(2, "Count on.", 300)),
            (500, Replying),
            (500, finished()),
        ],
        &[
            (0, r#"ask "Count""#),
            (200, "drop"),
            (300, "late"),
            (400, r#"you "Count on." | ask "Count on." | commit"#),
            (500, r#"commit | stop reading | finish 2 | over 2 "" | heard "" | played 2"#),
        ],
    );
}

#[test]
fn another_generation_at_the_commit_replaces_the_speculation() {
    check(
        vec![
            (0, speculate(1, "Count", 0)),
            (100, Replying),
            (200, spoken(2, "Stop.", 0)),
            (250, interrupt(2)),
        ],
        &[
            (0, r#"ask "Count""#),
            (200, r#"you "Stop." | ask "Stop." | commit"#),
            (250, r#"over 2 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_typed_question_is_answered_as_text_and_aloud() {
    check(
        vec![
            (0, typed(1, "Hello", 0)),
            (300, Replying),
            (300, text(ANSWER)),
            (300, finished()),
            (350, audio(1)),
            (350, done(1)),
        ],
        &[
            (0, r#"you "Hello" | ask "Hello" | commit"#),
            (
                300,
                r#"commit | show 1 "One two three four five." | stop reading | speak 1 "One two three four five." | began 300 | finish 1"#,
            ),
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1 | all sent 1"),
            (550, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn the_recogniser_has_no_part_in_a_typed_turn() {
    let commit = commit_of(1, "Hello", 0, Origin::Typed);
    let recognition = Recognition { asked: Some(at(0)), answered: Some(at(0)) };
    check(
        vec![
            (100, AnswerInput::Commit { commit, recognition }),
            (300, Replying),
            (300, text("One. ")),
            (350, audio(1)),
            (360, interrupt(1)),
        ],
        &[
            (100, r#"you "Hello" | ask "Hello" | commit"#),
            (300, r#"commit | show 1 "One. " | speak 1 "One. " | began 300"#),
            (350, "start 1 | audio 1 9600 | waterfall 1 [100, 0, 0, 200, 0, 50, 0] | playing 1"),
            // What was shown was read.
            (360, r#"clear 1 | cancel 1 | over 1 "One. ", cut | heard "One. ", cut"#),
        ],
    );
}

#[test]
fn audio_is_converted_to_the_rate_of_the_listener() {
    let mut answers = machine(config(), SampleRate::Hz48000);
    let mut bytes = 0;
    for (ms, input) in sounding() {
        answers.handle_input(at(ms), input);
        while let Some(output) = answers.poll_output() {
            if let AnswerOutput::Audio { bytes: piece, .. } = output {
                bytes += piece.len();
            }
        }
    }
    assert_eq!(bytes, 2 * AudioFormat::VOICE.bytes_in(Duration::from_millis(5 * WORD)));
}

#[test]
fn an_answer_without_words_ends_at_once() {
    check(
        vec![(0, spoken(1, "Hm.", 0)), (100, Replying), (100, AnswerInput::ReplyEnded)],
        &[
            (0, r#"you "Hm." | ask "Hm." | commit"#),
            (100, r#"commit | finish 1 | over 1 "" | heard "" | played 1"#),
        ],
    );
}

#[test]
fn an_answer_that_never_stops_is_cut_at_its_limit() {
    let long = "word ".repeat(14_000);
    let mut answers = machine(config(), SampleRate::Hz24000);
    let mut stopped = 0;
    for input in [spoken(1, "Go.", 0), Replying, text(&long), text("more")] {
        answers.handle_input(at(0), input);
        while let Some(output) = answers.poll_output() {
            stopped += usize::from(matches!(output, AnswerOutput::StopReading));
        }
    }
    assert!(stopped > 0, "the reply is read on");
}
