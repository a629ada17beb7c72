//! Sounds over the agent's voice: interruptions, and noise that only holds it.

use super::*;

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
fn a_typed_message_interrupts_and_is_answered_at_once() {
    check_answering(
        PushToTalk,
        vec![(2000, typed("stop that")), (2001, typed("  "))],
        &[
            (2000, "interrupt 1"),
            (2000, "commit typed 2 \"stop that\" 2000"),
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
fn an_interruption_whose_final_words_are_empty_was_meant() {
    check_answering(
        OpenMicrophone,
        vec![
            (2000, vad(VadState::Speaking)),
            (2300, interim("no", 0, 200)),
            (2600, vad(VadState::Quiet)),
            (2800, fixed("", 0, 600)),
            (2800, Finalized),
        ],
        &[
            (2000, "open"),
            (2000, "pause 1"),
            (2300, "interrupt 1"),
            (2300, "listening"),
            (2600, "close"),
            (2600, "finalize"),
            (3000, "commit 2 \"no\" 2600"),
            (3000, "thinking"),
        ],
    );
}
