//! Turns taken by the button.

use super::*;

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

#[test]
fn an_empty_final_does_not_take_back_the_words_that_it_covers() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (600, interim("Yeah.", 0, 600)),
            (700, Released),
            (800, fixed("", 0, 700)),
            (800, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (700, "close"),
            (700, "finalize"),
            (800, "commit 1 \"Yeah.\" 700"),
            (800, "thinking"),
        ],
    );
}

#[test]
fn an_empty_final_of_audio_before_the_interim_words_does_not_double_them() {
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (600, interim("turn on", 0, 600)),
            (650, fixed("", 0, 100)),
            (700, fixed("Turn on.", 100, 600)),
            (700, Released),
            (800, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (700, "close"),
            (700, "finalize"),
            (800, "commit 1 \"Turn on.\" 700"),
            (800, "thinking"),
        ],
    );
}

#[test]
fn a_word_that_begins_just_before_what_was_covered_is_new() {
    // The first turn covers 500 ms. Of the next answer "lamp" begins one sample before that, and
    // "the" was said in the first turn.
    let TurnInput::Transcript(mut late) = fixed("the lamp off", 300, 900) else { unreachable!() };
    late.words[1].start = Duration::from_millis(500) - Duration::from_micros(63);
    check(
        PushToTalk,
        vec![
            (0, Pressed),
            (500, Released),
            (600, fixed("Turn the", 0, 500)),
            (600, Finalized),
            (700, started(1)),
            (800, Pressed),
            (1200, Released),
            (1300, TurnInput::Transcript(late)),
            (1300, Finalized),
        ],
        &[
            (0, "open"),
            (0, "listening"),
            (500, "close"),
            (500, "finalize"),
            (600, "commit 1 \"Turn the\" 500"),
            (600, "thinking"),
            (700, "speaking"),
            (800, "open"),
            (800, "interrupt 1"),
            (800, "listening"),
            (1200, "close"),
            (1200, "finalize"),
            (1300, "commit 2 \"lamp off\" 1200"),
            (1300, "thinking"),
        ],
    );
}

/// Pressed from 0 to 800 while the recogniser is away; given up at 6800.
fn unheard() -> Vec<(u64, TurnInput)> {
    vec![(0, Pressed), (100, TurnInput::Recognising(false)), (800, Released)]
}

const UNHEARD: [(u64, &str); 6] =
    [(0, "open"), (0, "listening"), (800, "close"), (800, "finalize"), (6800, "unheard"), (6800, "idle")];

#[test]
fn words_that_the_recogniser_finds_soon_after_it_is_back_are_answered() {
    let late = vec![
        (20_000, TurnInput::Recognising(true)),
        (21_000, fixed("Turn on", 0, 400)),
        (21_500, fixed("the lamp.", 400, 780)),
        (21_500, Finalized),
    ];
    check(
        PushToTalk,
        [unheard(), late].concat(),
        &[
            &UNHEARD[..],
            &[(21_000, "listening"), (21_500, "commit 1 \"Turn on the lamp.\" 800"), (21_500, "thinking")],
        ]
        .concat(),
    );
}

#[test]
fn words_that_come_much_too_late_are_not_answered() {
    check(
        PushToTalk,
        [unheard(), vec![(37_000, fixed("Hello.", 0, 780)), (37_000, Finalized)]].concat(),
        &UNHEARD,
    );
}

#[test]
fn words_that_come_late_join_the_turn_that_the_user_has_begun() {
    let again = vec![
        (8000, Pressed),
        (8100, fixed("Turn on", 0, 780)),
        (8500, Released),
        (8600, fixed("the lamp.", 800, 1300)),
        (8600, Finalized),
    ];
    check(
        PushToTalk,
        [unheard(), again].concat(),
        &[
            &UNHEARD[..],
            &[
                (8000, "open"),
                (8000, "listening"),
                (8500, "close"),
                (8500, "finalize"),
                (8600, "commit 1 \"Turn on the lamp.\" 8500"),
                (8600, "thinking"),
            ],
        ]
        .concat(),
    );
}

#[test]
fn a_user_who_types_or_stops_waits_for_no_late_words() {
    for (input, expected) in
        [(Stop, vec![]), (typed("Hi"), vec![(7000, "commit typed 1 \"Hi\" 7000"), (7000, "thinking")])]
    {
        let late = vec![(7000, input), (8000, fixed("Hello.", 0, 780)), (8000, Finalized)];
        check(PushToTalk, [unheard(), late].concat(), &[&UNHEARD[..], &expected].concat());
    }
}
