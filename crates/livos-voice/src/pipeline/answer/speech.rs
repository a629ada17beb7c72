//! What the synthesiser reports on the answer under way, and what becomes of the answer if it does
//! not: the rest comes as text.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use super::{
    event::{AnswerOutput, Measure},
    machine::{Answers, Synthesiser},
    state::Audio,
};
use crate::{
    audio::Frame,
    generation::Generation,
    pipeline::connection,
    transport::protocol::{ErrorCode, PlacedWord, ServerMessage},
    tts::{SpokenWord, TtsEvent},
    turn::TurnInput,
};

impl Answers {
    pub(super) fn synthesised(&mut self, now: Instant, event: TtsEvent) {
        let current =
            self.committed().filter(|answer| answer.expects_audio()).map(|answer| answer.generation);
        match event {
            TtsEvent::State(state) => self.tell(connection::message("text to speech", state)),
            TtsEvent::Audio { generation, frame } if Some(generation) == current => self.audio(now, &frame),
            TtsEvent::Words { generation, words } if Some(generation) == current => self.words(words),
            TtsEvent::Truncate { generation, at } if Some(generation) == current => self.truncate(now, at),
            TtsEvent::Done(generation) if Some(generation) == current => self.audio_whole(Audio::Whole),
            TtsEvent::Failed { generation, reason } if Some(generation) == current => {
                self.tell(ErrorCode::VoiceUnavailable.message(reason));
                self.go_on_as_text(now);
            }
            TtsEvent::Billed(total) => self.put(AnswerOutput::Measure(Measure::Billed(total))),
            TtsEvent::Refused(reason) => {
                self.tell(ErrorCode::VoiceUnavailable.message(reason));
                self.synthesiser_gone(now);
            }
            _ => self.put(AnswerOutput::Measure(Measure::LateSynthesis)),
        }
    }

    pub(super) fn synthesiser_gone(&mut self, now: Instant) {
        self.synthesiser = Synthesiser::Gone;
        self.go_on_as_text(now);
    }

    /// The synthesiser owes audio for too long.
    pub(super) fn synthesiser_late(&mut self, now: Instant, generation: Generation) {
        if self.synthesiser == Synthesiser::Usable {
            self.synthesiser = Synthesiser::Doubtful;
            let message = "the voice does not answer just now, so the answer comes as text";
            self.tell(ErrorCode::VoiceUnavailable.message(message));
        }
        self.put(AnswerOutput::Cancel(generation));
        self.go_on_as_text(now);
    }

    /// When the answer that waits for audio has waited too long.
    pub(super) fn voice_due(&self) -> Option<(Instant, Generation)> {
        let answer = self.current.as_ref().filter(|_| self.flow.is_open())?;
        Some((answer.voice_due(self.config.voice_patience)?, answer.generation))
    }

    fn audio(&mut self, now: Instant, frame: &Frame) {
        let Some(answer) = &mut self.current else { return };
        self.synthesiser = Synthesiser::Usable;
        answer.pay(now);
        let bytes = self.voice.convert(frame);
        if bytes.is_empty() {
            return;
        }
        let (generation, first) = (answer.generation, !answer.has_sounded());
        answer.playout.send(now, frame.duration());
        if !first {
            return self.put(AnswerOutput::Audio { generation, bytes });
        }
        answer.stamps.first_audio = Some(now);
        let opener = Some(answer.script.opener()).filter(|opener| !opener.is_empty()).map(str::to_owned);
        let (stamps, reports) = (answer.stamps, answer.playout.reports());
        self.tell(ServerMessage::SpeechStart { generation });
        self.put(AnswerOutput::Audio { generation, bytes });
        self.put(AnswerOutput::Waterfall { generation, stamps, opener });
        if !reports {
            self.put(AnswerOutput::Turn(TurnInput::PlayoutStarted(generation)));
        }
    }

    fn words(&mut self, words: Vec<SpokenWord>) {
        let Some(answer) = &mut self.current else { return };
        let placed = words.iter().map(|word| PlacedWord {
            text: word.text.clone(),
            start_ms: milliseconds(word.start),
            end_ms: milliseconds(word.end),
        });
        let message = ServerMessage::Words { generation: answer.generation, words: placed.collect() };
        answer.words.push(words);
        self.tell(message);
    }

    fn truncate(&mut self, now: Instant, at: Duration) {
        let Some(answer) = &mut self.current else { return };
        answer.playout.truncate(now, at);
        answer.words.truncate(at);
        let generation = answer.generation;
        self.voice.reset();
        self.tell(ServerMessage::Truncate { generation, at_ms: milliseconds(at) });
    }

    /// No more audio of the answer comes.
    fn audio_whole(&mut self, audio: Audio) {
        let Some(answer) = self.current.as_mut().filter(|answer| answer.expects_audio()) else { return };
        answer.audio = audio;
        let generation = answer.generation;
        if !answer.has_sounded() {
            return;
        }
        let bytes = self.voice.flush();
        if !bytes.is_empty() {
            self.put(AnswerOutput::Audio { generation, bytes });
        }
        self.tell(ServerMessage::SpeechEnd { generation });
    }

    /// What was not spoken is shown.
    fn go_on_as_text(&mut self, now: Instant) {
        let Some(answer) = self.current.as_mut().filter(|answer| answer.audio != Audio::Mute) else { return };
        let spoken = answer.spoken();
        answer.script.show_from(spoken);
        self.audio_whole(Audio::Mute);
        self.speak(now);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
