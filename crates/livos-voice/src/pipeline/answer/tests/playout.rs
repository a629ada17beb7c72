//! What the listener's player does to an answer: interruption, holding, reports, and lagging
//! behind.

use super::*;

#[test]
fn an_interruption_keeps_what_was_heard() {
    check_sounding(
        // 450 ms of the answer were played.
        vec![(800, interrupt(1)), (900, audio(1)), (900, done(1))],
        &[
            (800, r#"clear 1 | cancel 1 | over 1 "One two", cut | heard "One two", cut"#),
            (900, "late | late"),
        ],
    );
}

#[test]
fn a_held_answer_goes_on_without_loss() {
    check_sounding(
        vec![(550, AnswerInput::Pause(Generation(1))), (2000, AnswerInput::Resume(Generation(1)))],
        &[
            (550, "pause 1 | leave audio"),
            (2000, "resume 1 | take audio"),
            (2800, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn an_answer_that_is_held_before_it_sounds_waits() {
    let inputs = vec![
        (310, AnswerInput::Pause(Generation(1))),
        // Another generation does not release it.
        (320, AnswerInput::Pause(Generation(7))),
        (330, AnswerInput::Resume(Generation(7))),
        (400, AnswerInput::Resume(Generation(1))),
        (500, interrupt(1)),
    ];
    check(
        [answered(), inputs].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            // The client is told nothing of an answer that it does not know.
            (310, "leave audio"),
            (400, "take audio"),
            (500, r#"cancel 1 | over 1 "", cut | heard "", cut"#),
        ],
    );
}

#[test]
fn a_reporting_player_decides_what_was_heard() {
    check_sounding(
        vec![
            (400, player(1, 0, PlayoutState::Started, 400)),
            (900, player(1, 450, PlayoutState::Held, 900)),
            // A held player has not ended.
            (20_000, interrupt(1)),
        ],
        &[
            (400, "playing 1"),
            (20_000, r#"clear 1 | cancel 1 | over 1 "One two", cut | heard "One two", cut"#),
        ],
    );
}

#[test]
fn a_reporting_player_that_ends_ends_the_answer() {
    check_sounding(
        vec![
            (400, player(1, 0, PlayoutState::Started, 400)),
            (1500, player(1, 1000, PlayoutState::Ended, 1500)),
        ],
        &[
            (400, "playing 1"),
            (1500, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn a_player_that_reports_no_end_is_given_five_seconds() {
    check_sounding(
        vec![(400, player(1, 0, PlayoutState::Started, 400))],
        &[
            (400, "playing 1"),
            (6400, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn a_player_that_runs_dry_has_not_ended() {
    let inputs = vec![
        (350, audio(1)),
        (360, player(1, 0, PlayoutState::Started, 360)),
        (560, player(1, 200, PlayoutState::Ended, 560)),
        (1000, audio(1)),
        (1000, done(1)),
        (1010, player(1, 200, PlayoutState::Playing, 1010)),
        (1210, player(1, 400, PlayoutState::Ended, 1210)),
    ];
    check(
        [answered(), inputs].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (350, "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1"),
            (360, "playing 1"),
            (1000, "audio 1 9600 | all sent 1"),
            (1010, "playing 1"),
            (1210, r#"over 1 "One two three four five." | heard "One two three four five." | played 1"#),
        ],
    );
}

#[test]
fn the_next_answer_waits_for_a_client_that_has_reported_before() {
    check_sounding(
        vec![
            (400, player(1, 0, PlayoutState::Started, 400)),
            (500, interrupt(1)),
            (600, spoken(2, "More.", 600)),
            (700, Replying),
            (700, text("Six. ")),
            (750, audio(2)),
            (750, word(2, 0, "Six.")),
            (900, player(2, 0, PlayoutState::Started, 900)),
            (1050, interrupt(2)),
        ],
        &[
            (400, "playing 1"),
            (500, r#"clear 1 | cancel 1 | over 1 "One", cut | heard "One", cut"#),
            (600, r#"you "More." | ask "More." | commit"#),
            (700, r#"commit | speak 2 "Six. " | began 100"#),
            (750, "start 2 | audio 2 9600 | waterfall 2 [0, 0, 0, 100, 0, 50, 0] | word 2 Six."),
            (900, "playing 2"),
            (1050, r#"clear 2 | cancel 2 | over 2 "Six.", cut | heard "Six.", cut"#),
        ],
    );
}

#[test]
fn audio_that_is_void_is_not_heard() {
    let truncated = TtsEvent::Truncate { generation: Generation(1), at: Duration::from_millis(WORD) };
    let inputs = vec![
        (350, audio(1)),
        (350, word(1, 0, "One")),
        (350, audio(1)),
        (350, word(1, 1, "two")),
        (360, AnswerInput::Synthesised(truncated)),
        (2000, interrupt(1)),
    ];
    check(
        [answered(), inputs].concat_inputs(),
        &[
            ANSWERED[0],
            ANSWERED[1],
            (
                350,
                "start 1 | audio 1 9600 | waterfall 1 [0, 0, 0, 300, 0, 50, 0] | playing 1 | word 1 One | audio 1 9600 | word 1 two",
            ),
            (360, "truncate 1 200"),
            (2000, r#"clear 1 | cancel 1 | over 1 "One", cut | heard "One", cut"#),
        ],
    );
}

#[test]
fn the_listener_is_never_sent_more_than_the_limit_ahead() {
    let mut answers = machine(config(), SampleRate::Hz24000);
    for (ms, input) in answered() {
        answers.handle_input(at(ms), input);
    }
    let (mut sent, mut now, mut fills, mut takes) = (0, 300, 0, true);
    while sent < 1000 {
        while takes {
            answers.handle_input(at(now), audio(1));
            sent += 1;
            let ahead = sent * WORD - (now - 300);
            assert!(ahead < 30_000 + WORD, "{ahead} ms ahead");
            takes = taken(&mut answers, takes);
        }
        fills += 1;
        now =
            answers.poll_timeout().expect("it is looked at again").duration_since(*ORIGIN).as_millis() as u64;
        answers.handle_timeout(at(now));
        takes = taken(&mut answers, takes);
        assert!(takes, "there is room and it is not used");
    }
    // It is filled up in steps of half a second, not with each frame.
    assert!((200..=400).contains(&fills), "{fills}");
}

fn taken(answers: &mut Answers, before: bool) -> bool {
    let mut takes = before;
    while let Some(output) = answers.poll_output() {
        if let AnswerOutput::TakeAudio(now) = output {
            takes = now;
        }
    }
    takes
}
