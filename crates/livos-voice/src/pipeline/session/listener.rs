//! What the client sends, on its way to the machine that it concerns.

use std::time::{Duration, Instant};

use livos_core::{
    conversation::{Inbound, Reply, ReplyError},
    drive,
};
use tower_service::Service;

use super::Live;
use crate::{
    pipeline::{
        answer::{event::AnswerInput, latency},
        ears::EarsInput,
    },
    transport::{
        AudioTransport, Incoming,
        protocol::{ClientMessage, ServerMessage},
    },
    turn::TurnInput,
};

/// The oldest event that a client may tell of. Older is a broken clock.
const OLDEST_EVENT: Duration = Duration::from_secs(5);

impl<S, T> Live<S, T>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
    T: AudioTransport,
{
    pub(super) fn receive(&mut self, incoming: Option<Incoming>) {
        match incoming {
            Some(Incoming::Audio(frame)) => self.ears.input(EarsInput::Audio(frame)),
            Some(Incoming::Message(message)) => self.told(message),
            Some(Incoming::Hello(_)) => {}
            None => self.over = true,
        }
    }

    fn told(&mut self, message: ClientMessage) {
        let now = drive::now();
        match message {
            ClientMessage::Hello { .. } => {}
            ClientMessage::Mode { mode, client_vad } => {
                self.ears.input(EarsInput::Listen { mode, client_vad });
            }
            ClientMessage::Press { at_ms } => {
                self.clock.saw(now, at_ms);
                self.ears.input(EarsInput::Pressed);
            }
            ClientMessage::Release { at_ms } => {
                self.clock.saw(now, at_ms);
                self.ears.input(EarsInput::Released);
            }
            ClientMessage::Vad { state, last_voiced_ms } => {
                let last_voiced = self.place(now, last_voiced_ms);
                self.ears.input(EarsInput::ClientVad { state, last_voiced });
            }
            ClientMessage::Text { text } => self.turn.input(TurnInput::Typed(text)),
            ClientMessage::Stop => self.turn.input(TurnInput::Stop),
            ClientMessage::Playout { generation, played_ms, state, at_ms } => {
                self.clock.saw(now, at_ms);
                let played = Duration::try_from_secs_f64(played_ms / 1000.0).unwrap_or_default();
                let at = self.place(now, at_ms);
                self.answers.input(AnswerInput::Playout { generation, played, state, at });
            }
            ClientMessage::Measured { silence_ms, playout_ms, .. } => {
                latency::record_measured(silence_ms, playout_ms);
            }
            ClientMessage::Ping { at_ms } => {
                self.clock.saw(now, at_ms);
                let server_ms = self.clock.ours(now);
                self.tell(ServerMessage::Pong { at_ms, server_ms });
            }
            ClientMessage::Bye => self.over = true,
        }
    }

    /// A time of the client's clock on ours.
    fn place(&self, now: Instant, at_ms: f64) -> Instant {
        self.clock.place(now, at_ms, OLDEST_EVENT)
    }
}
