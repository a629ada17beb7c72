//! What the listener sends, and what the recogniser makes of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use livos_core::{
    conversation::{Inbound, Reply, ReplyError},
    drive,
};
use tower_service::Service;

use super::{LONGEST_MEASURE_MS, Live, OLDEST_EVENT};
use crate::{
    audio::Frame,
    connection::ConnectionState,
    generation::Generation,
    stt::{SttEvent, TranscriptKind},
    transport::{
        AudioTransport, Incoming,
        protocol::{ClientMessage, ErrorCode, PlayoutState, ServerMessage},
    },
    turn::TurnInput,
    vad::VadState,
};

impl<S, T> Live<S, T>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
    T: AudioTransport,
{
    pub(super) fn receive(&mut self, incoming: Option<Incoming>) {
        match incoming {
            Some(Incoming::Audio(bytes)) => self.hear(bytes),
            Some(Incoming::Message(message)) => self.told(message),
            Some(Incoming::Hello(_)) => {}
            None => self.over = true,
        }
    }

    pub(super) fn hear(&mut self, bytes: Bytes) {
        let now = drive::now();
        let Some(frame) = self.ears.hear(now, bytes) else { return };
        while let Some((state, silent_for)) = self.ears.next_change() {
            let last_voiced = silent_for.and_then(|age| now.checked_sub(age));
            self.turn.input(TurnInput::Vad { state, last_voiced });
            // The gate must stand as decided before the frame meets it.
            while let Some(output) = self.turn.poll_output() {
                self.decide(output);
            }
        }
        if let Some(frame) = self.ears.pass(frame) {
            self.give(frame);
        }
    }

    /// Gives audio that passed the gate to the recogniser, where the budget holds it.
    pub(super) fn give(&mut self, frame: Frame) {
        if frame.is_empty() {
            return;
        }
        match self.audio_meter.as_mut().map_or(Ok(()), |meter| meter.admit(frame.duration())) {
            Ok(()) => self.stt.give(frame),
            Err(_) => {
                self.fail(ErrorCode::BudgetExhausted, "the day's budget for speech recognition is spent");
            }
        }
    }

    pub(super) fn told(&mut self, message: ClientMessage) {
        let now = drive::now();
        match message {
            ClientMessage::Hello { .. } => {}
            ClientMessage::Mode { mode, client_vad } => {
                if self.ears.listen(mode, client_vad) {
                    // What the detector before thought is nobody's to end.
                    self.turn.input(TurnInput::Vad { state: VadState::Quiet, last_voiced: None });
                }
                self.turn.input(TurnInput::Mode(mode));
            }
            ClientMessage::Press { at_ms } => {
                self.clock.saw(now, at_ms);
                if !self.stt.running {
                    self.tell(
                        ErrorCode::SpeechUnavailable
                            .message("speech cannot be recognised just now; typing works"),
                    );
                }
                self.turn.input(TurnInput::Pressed);
            }
            ClientMessage::Release { at_ms } => {
                self.clock.saw(now, at_ms);
                self.turn.input(TurnInput::Released);
            }
            ClientMessage::Vad { state, last_voiced_ms } => {
                let last_voiced = Some(self.clock.place(now, last_voiced_ms, OLDEST_EVENT));
                if self.ears.client_detects() {
                    self.turn.input(TurnInput::Vad { state, last_voiced });
                }
            }
            ClientMessage::Text { text } => self.turn.input(TurnInput::Typed(text)),
            ClientMessage::Stop => self.turn.input(TurnInput::Stop),
            ClientMessage::Playout { generation, played_ms, state, at_ms } => {
                self.clock.saw(now, at_ms);
                self.played(generation, played_ms, state, self.clock.place(now, at_ms, OLDEST_EVENT));
            }
            ClientMessage::Measured { silence_ms, playout_ms, .. } => {
                for (name, ms) in [
                    ("livos_voice_to_voice_seconds", silence_ms),
                    ("livos_voice_playout_delay_seconds", playout_ms),
                ] {
                    if (0.0..=LONGEST_MEASURE_MS).contains(&ms) {
                        metrics::histogram!(name).record(ms / 1000.0);
                    }
                }
            }
            ClientMessage::Ping { at_ms } => {
                self.clock.saw(now, at_ms);
                let server_ms = self.clock.ours(now);
                self.tell(ServerMessage::Pong { at_ms, server_ms });
            }
            ClientMessage::Bye => self.over = true,
        }
    }

    pub(super) fn played(
        &mut self,
        generation: Generation,
        played_ms: f64,
        state: PlayoutState,
        at: Instant,
    ) {
        self.reports = true;
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.generation == generation) else {
            return;
        };
        let played = Duration::try_from_secs_f64(played_ms / 1000.0).unwrap_or(Duration::ZERO);
        answer.playout.report(at, played, state);
        match state {
            PlayoutState::Started | PlayoutState::Playing => {
                self.turn.input(TurnInput::PlayoutStarted(generation));
            }
            // A player that has run dry before everything was sent goes on when more comes.
            PlayoutState::Ended => answer.player_ended = answer.sent_all,
            PlayoutState::Held => {}
        }
    }

    // What the recogniser reports.

    pub(super) fn recognised(&mut self, event: Option<SttEvent>) {
        match event {
            Some(SttEvent::State(state)) => {
                self.turn.input(TurnInput::Recognising(state == ConnectionState::Connected));
                self.tell_connection("speech to text", state);
            }
            Some(SttEvent::Transcript(transcript)) => {
                if transcript.kind == TranscriptKind::Final {
                    self.stt.answered_to = self.stt.answered_to.max(transcript.end);
                }
                self.turn.input(TurnInput::Transcript(transcript));
                if let Some(text) = self.turn.machine().said() {
                    self.tell(ServerMessage::Transcript { text, is_final: false });
                }
            }
            Some(SttEvent::Finalized) => self.finalized(),
            Some(SttEvent::StartOfTurn) => self.turn.input(TurnInput::ProviderStartOfTurn),
            Some(SttEvent::EagerEndOfTurn(text)) => self.turn.input(TurnInput::ProviderEagerEndOfTurn(text)),
            Some(SttEvent::TurnResumed) => self.turn.input(TurnInput::ProviderTurnResumed),
            Some(SttEvent::EndOfTurn(text)) => {
                self.stt.answered = Some(drive::now());
                self.turn.input(TurnInput::ProviderEndOfTurn(text));
            }
            Some(SttEvent::Billed(total)) => tracing::trace!(?total, "audio billed"),
            Some(SttEvent::Failed(reason)) => {
                self.tell(ErrorCode::SpeechUnavailable.message(reason));
                self.stt.running = false;
                self.finalized();
            }
            None => {
                self.stt.running = false;
                self.finalized();
            }
        }
    }

    pub(super) fn finalized(&mut self) {
        self.stt.answered = Some(drive::now());
        self.turn.input(TurnInput::Finalized);
    }
}
