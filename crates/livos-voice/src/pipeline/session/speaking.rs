//! What the synthesiser says, on its way to the listener.

use std::time::Duration;

use livos_core::{
    conversation::{Heard, Inbound, Reply, ReplyError},
    drive,
};
use tower_service::Service;

use super::Live;
use crate::{
    audio::Frame,
    pipeline::latency::PARTS,
    transport::{
        AudioTransport, Outgoing,
        protocol::{ErrorCode, LatencyPart, PlacedWord, ServerMessage},
    },
    tts::TtsEvent,
    turn::TurnInput,
};

impl<S, T> Live<S, T>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
    T: AudioTransport,
{
    pub(super) fn synthesised(&mut self, event: Option<TtsEvent>) {
        let current =
            self.answer.as_ref().filter(|answer| answer.is_committed()).map(|answer| answer.generation);
        match event {
            Some(TtsEvent::State(state)) => self.tell_connection("text to speech", state),
            Some(TtsEvent::Audio { generation, frame }) if Some(generation) == current => {
                self.send_audio(&frame);
            }
            Some(TtsEvent::Words { generation, words }) if Some(generation) == current => {
                let ms = |time: Duration| time.as_secs_f64() * 1000.0;
                let placed = words.iter().map(|word| PlacedWord {
                    text: word.text.clone(),
                    start_ms: ms(word.start),
                    end_ms: ms(word.end),
                });
                self.tell(ServerMessage::Words { generation, words: placed.collect() });
                if let Some(answer) = &mut self.answer {
                    answer.words.push(words);
                }
            }
            Some(TtsEvent::Truncate { generation, at }) if Some(generation) == current => {
                if let Some(answer) = &mut self.answer {
                    answer.playout.truncate(drive::now(), at);
                    answer.words.truncate(at);
                }
                self.voice.reset();
                self.tell(ServerMessage::Truncate { generation, at_ms: at.as_secs_f64() * 1000.0 });
            }
            Some(TtsEvent::Done(generation)) if Some(generation) == current => self.sent_all(),
            Some(TtsEvent::Failed { generation, reason }) if Some(generation) == current => {
                self.tell(ErrorCode::VoiceUnavailable.message(reason));
                self.go_on_as_text();
            }
            Some(TtsEvent::Billed(total)) => tracing::trace!(total, "characters billed"),
            Some(TtsEvent::Refused(reason)) => {
                self.tts.usable = false;
                self.tell(ErrorCode::VoiceUnavailable.message(reason));
                self.go_on_as_text();
            }
            // Late audio of an answer that was cut off.
            Some(_) => metrics::counter!("livos_voice_late_synthesis_total").increment(1),
            None => {
                self.tts.running = false;
                self.tts.usable = false;
                self.go_on_as_text();
            }
        }
    }

    pub(super) fn send_audio(&mut self, frame: &Frame) {
        let bytes = self.voice.convert(frame);
        let now = drive::now();
        let Some(answer) = self.answer.as_mut().filter(|_| !bytes.is_empty()) else { return };
        let generation = answer.generation;
        let first = !std::mem::replace(&mut answer.started, true);
        if first {
            answer.stamps.first_audio = Some(now);
            self.transport.send(Outgoing::Message(ServerMessage::SpeechStart { generation }));
        }
        answer.playout.send(now, frame.duration());
        self.transport.send(Outgoing::Audio { generation, bytes });
        if first {
            self.first_audio_sent();
        }
    }

    pub(super) fn first_audio_sent(&mut self) {
        let Some(answer) = &mut self.answer else { return };
        let generation = answer.generation;
        let sent = drive::now();
        answer.stamps.sent = Some(sent);
        let parts = PARTS.iter().zip(answer.stamps.parts()).map(|(name, took)| {
            metrics::histogram!("livos_voice_turn_seconds", "part" => *name).record(took.as_secs_f64());
            LatencyPart { name: (*name).to_owned(), ms: took.as_secs_f64() * 1000.0 }
        });
        let waterfall = ServerMessage::Waterfall {
            generation,
            parts: parts.collect(),
            opener: Some(answer.opener()).filter(|opener| !opener.is_empty()).map(str::to_owned),
            from_ms: self.clock.ours(answer.stamps.end_of_speech),
            sent_ms: self.clock.ours(sent),
        };
        if !answer.playout.reports() {
            self.turn.input(TurnInput::PlayoutStarted(generation));
        }
        self.tell(waterfall);
    }

    pub(super) fn sent_all(&mut self) {
        let Some(answer) = &mut self.answer else { return };
        answer.sent_all = true;
        if answer.started {
            let (generation, bytes) = (answer.generation, self.voice.flush());
            if !bytes.is_empty() {
                self.transport.send(Outgoing::Audio { generation, bytes });
            }
            self.tell(ServerMessage::SpeechEnd { generation });
        }
    }

    /// What was not spoken is shown.
    pub(super) fn go_on_as_text(&mut self) {
        let Some(answer) = self.answer.as_mut().filter(|answer| !answer.mute) else { return };
        answer.mute = true;
        let spoken = answer.words.text(&answer.text, Duration::MAX, answer.playout.sent()).len();
        let spoken = if answer.started { spoken } else { 0 };
        answer.shown = answer.shown.or(Some(spoken));
        if !answer.sent_all {
            self.sent_all();
        }
        self.speak();
    }

    pub(super) fn close_answer(&mut self, complete: bool) {
        let Some(answer) = self.answer.take() else { return };
        let generation = answer.generation;
        let text = if complete { answer.text.as_str() } else { answer.heard(drive::now()) };
        // Who answers is told of the answer alone: an opener in the history would teach the model
        // to begin with one too.
        let heard = Heard { text: answer.without_opener(text).to_owned(), complete };
        if !complete {
            if answer.started {
                self.tell(ServerMessage::Clear { generation });
            }
            if answer.fed > 0 {
                self.tts.cancel(generation);
            }
            self.voice.reset();
        }
        if answer.is_committed() {
            self.tell(ServerMessage::ReplyEnd { generation, heard: text.to_owned(), complete });
        }
        answer.close(heard);
        if complete {
            self.turn.input(TurnInput::PlayoutEnded(generation));
        }
    }
}
