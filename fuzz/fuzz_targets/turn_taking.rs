//! Any dialogue with turn taking keeps the law of machines.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use livos_fuzz::law::{self, Time};
use livos_voice::{
    generation::Generation,
    stt::{Transcript, TranscriptKind},
    turn::{Mode, TurnConfig, TurnInput, TurnTaking},
    vad::VadState,
};

const WORDS: [&str; 6] = ["", "hello", "hello there", "what is", "Stop.", "uh"];

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let mode = if first % 2 == 0 { Mode::PushToTalk } else { Mode::OpenMicrophone };
    let mut machine = TurnTaking::new(TurnConfig::default(), mode);
    law::play(&mut machine, Instant::start(), data, |data, now| {
        let words =
            |data: &mut arbitrary::Unstructured<'_>| data.choose(&WORDS).map(|word| (*word).to_owned());
        Ok(match data.int_in_range(0..=16)? {
            0 => TurnInput::Mode(Mode::PushToTalk),
            1 => TurnInput::Mode(Mode::OpenMicrophone),
            2 => TurnInput::Pressed,
            3 => TurnInput::Released,
            4 | 5 => TurnInput::Vad {
                state: *data.choose(&[
                    VadState::Quiet,
                    VadState::Starting,
                    VadState::Speaking,
                    VadState::Stopping,
                ])?,
                last_voiced: match data.arbitrary::<Option<u8>>()? {
                    Some(before) => now.checked_sub(Duration::from_millis(before.into())),
                    None => None,
                },
            },
            6 | 7 => TurnInput::Transcript(Transcript {
                kind: *data.choose(&[TranscriptKind::Interim, TranscriptKind::Final])?,
                text: words(data)?,
                words: Vec::new(),
                start: Duration::from_millis(data.arbitrary::<u16>()?.into()),
                end: Duration::from_millis(data.arbitrary::<u16>()?.into()),
                end_of_speech: data.arbitrary()?,
            }),
            8 => TurnInput::Finalized,
            9 => TurnInput::Recognising(data.arbitrary()?),
            10 => TurnInput::ProviderStartOfTurn,
            11 => TurnInput::ProviderEagerEndOfTurn(words(data)?),
            12 => TurnInput::ProviderTurnResumed,
            13 => TurnInput::ProviderEndOfTurn(words(data)?),
            14 => TurnInput::Typed(words(data)?),
            15 => {
                let generation = Generation(data.int_in_range(0..=8)?);
                if data.arbitrary()? {
                    TurnInput::PlayoutStarted(generation)
                } else {
                    TurnInput::PlayoutEnded(generation)
                }
            }
            _ => TurnInput::Stop,
        })
    });
});
