//! Turns taken by voice: where they end, and what is asked while the end is not sure.

use super::*;

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
