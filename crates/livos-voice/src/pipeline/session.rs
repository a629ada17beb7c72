//! The plumbing of a voice session: it moves what happens into the machines and runs what they ask
//! for.
//!
//! Three machines decide: the ears (what reaches the recogniser), turn taking (who holds the
//! floor), and the answers (what the listener hears). Each output is run before the next one is
//! taken, so each machine sees the effects of its outputs in order.

mod listener;
mod outlet;
mod providers;
mod responder;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use livos_core::{
    budget::{Meter, NotAdmitted},
    conversation::{Channel, ConversationId, Inbound, Reply, ReplyError},
    drive::{self, Drive},
};
use tower::ServiceExt;
use tower_service::Service;

use self::{
    providers::{RecogniserEnd, SynthesiserEnd, close, run},
    responder::Line,
};
use super::{
    answer::{
        event::{AnswerInput, AnswerOutput, Measure},
        latency::Stamps,
        machine::Answers,
        opener::Openers,
        voice::Voice,
    },
    config::SessionConfig,
    ears::{Ears, EarsInput, EarsOutput},
};
use crate::{
    generation::Generation,
    stt::{SpeechToText, SttCommand, SttEvent, Transcript},
    transport::{
        AudioTransport, Hello, Incoming, Outgoing,
        clock::PeerClock,
        protocol::{self, ErrorCode, ServerMessage},
    },
    tts::{TextToSpeech, TtsCommand, TtsEvent},
    turn::{TurnInput, TurnOutput, TurnTaking},
    vad::{Earshot, Vad},
};

/// How long the connections may take to close at the end.
const LINGER: Duration = Duration::from_secs(3);

/// What the user is told when the store of the budget is away for too long.
const UNCHECKED: &str = "the budget for speech can't be checked just now; try again in a minute";

/// What the user is told when the recogniser did not answer.
const UNHEARD: &str = "your words could not be recognised, because the service for it does not answer; they are answered if it is \
    back within half a minute";

/// What a session is made of. See [`VoiceSession::run`].
pub struct VoiceSession<S> {
    stt: Arc<dyn SpeechToText>,
    tts: Arc<dyn TextToSpeech>,
    responder: S,
    config: SessionConfig,
    vad: Box<dyn Vad>,
    meter: Option<Meter>,
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> VoiceSession<S>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
{
    /// A session that hears by `stt`, answers by `responder` and speaks by `tts`.
    pub fn new(
        stt: Arc<dyn SpeechToText>,
        tts: Arc<dyn TextToSpeech>,
        responder: S,
        config: SessionConfig,
    ) -> Self {
        let vad = Box::new(Earshot::default());
        Self { stt, tts, responder, config, vad, meter: None, drain: Box::pin(std::future::pending()) }
    }

    /// Detects speech on the server by `vad` instead of [`Earshot`].
    pub fn with_vad(mut self, vad: impl Vad + 'static) -> Self {
        self.vad = Box::new(vad);
        self
    }

    /// Spends audio and characters from `meter` before they are sent, and ends when they are
    /// refused.
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Ends soon after `drain` resolves: the answer under way may finish within
    /// [`SessionConfig::drain_patience`].
    pub fn with_drain(mut self, drain: impl Future<Output = ()> + Send + 'static) -> Self {
        self.drain = Box::pin(drain);
        self
    }

    /// Runs the session to its end: the client leaves or breaks a rule, the budget is spent, or the
    /// drain is done. Dropping the future closes every connection at once.
    pub async fn run(self, mut transport: impl AudioTransport) {
        let Some(Incoming::Hello(hello)) = poll_fn(|cx| transport.poll_receive(cx)).await else { return };
        let (ears, voice) =
            match (Ears::new(&hello, self.vad, self.config.detector), Voice::new(hello.output_rate)) {
                (Ok(ears), Ok(voice)) => (ears, voice),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "no resampler");
                    return refuse(transport).await;
                }
            };
        let continued = hello.conversation.as_deref().and_then(|id| ConversationId::try_from(id).ok());
        let openers = Openers::new(self.config.opener.clone(), rand::random());
        let mut live = Box::new(Live {
            transport,
            responder: self.responder,
            line: Line::Idle,
            conversation: continued.unwrap_or_else(|| self.config.conversation.clone()),
            drain: Some(self.drain),
            turn: Drive::new(TurnTaking::new(self.config.turn.clone(), hello.mode)),
            ears: Drive::new(ears),
            answers: Drive::new(Answers::new(self.config.clone(), openers, voice)),
            // Both connections open now: the first answer should not wait for a handshake.
            stt: RecogniserEnd::new(self.stt.open(), self.meter.clone()),
            tts: SynthesiserEnd::new(self.tts.open(), self.meter),
            clock: PeerClock::new(drive::now()),
            over: false,
            config: self.config,
        });
        live.greet(&hello);
        live.serve().await;
        live.leave().await;
    }
}

/// Closes the connection of a client whose audio cannot be converted.
async fn refuse(mut transport: impl AudioTransport) {
    transport.send(Outgoing::Message(ErrorCode::Internal.message("audio cannot be converted")));
    transport.send(Outgoing::Close(Some(ErrorCode::Internal)));
    let closed = async { while poll_fn(|cx| transport.poll_receive(cx)).await.is_some() {} };
    let _ = tokio::time::timeout(LINGER, closed).await;
}

struct Live<S, T> {
    transport: T,
    responder: S,
    line: Line,
    config: SessionConfig,
    conversation: ConversationId,
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    turn: Drive<TurnTaking>,
    ears: Drive<Ears>,
    answers: Drive<Answers>,
    stt: RecogniserEnd,
    tts: SynthesiserEnd,
    clock: PeerClock,
    /// The client, an error or the drain has ended the session.
    over: bool,
}

impl<S, T> Live<S, T>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
    T: AudioTransport,
{
    fn greet(&mut self, hello: &Hello) {
        let ready = ServerMessage::Ready {
            version: protocol::VERSION,
            conversation: self.conversation.to_string(),
            output_rate: hello.output_rate.hz(),
            simulated: self.config.simulated.clone(),
        };
        self.tell(ready);
    }

    /// Moves events until the session is over.
    async fn serve(&mut self) {
        while !self.over {
            let takes_text = self.tts.has_room();
            let takes_audio = self.tts.open && self.tts.taken;
            tokio::select! {
                incoming = poll_fn(|cx| self.transport.poll_receive(cx)) => self.receive(incoming),
                output = self.ears.next() => self.run_ears(output),
                output = self.turn.next() => self.run_turn(output),
                output = self.answers.next() => self.run_answers(output),
                event = self.stt.events.recv(), if self.stt.open => self.recognised(event),
                event = self.tts.events.recv(), if takes_audio => self.synthesised(event),
                input = self.line.next(), if takes_text => self.answers.input(input),
                () = run(&mut self.stt.driver) => {}
                () = run(&mut self.tts.driver) => {}
                () = run(&mut self.drain) => self.answers.input(AnswerInput::Drain),
                forwarded = self.stt.outlet.forward() => self.audio_admitted(forwarded),
                forwarded = self.tts.outlet.forward() => self.text_admitted(forwarded),
            }
            self.pump();
        }
    }

    /// Runs what the machines ask for, until they ask for nothing more. The answers come first and
    /// the ears last, so that the client is told things in the order in which they were decided,
    /// and a frame meets the gate as its own detections left it.
    fn pump(&mut self) {
        loop {
            if let Some(output) = self.answers.poll_output() {
                self.run_answers(output);
            } else if let Some(output) = self.turn.poll_output() {
                self.run_turn(output);
            } else if let Some(output) = self.ears.poll_output() {
                self.run_ears(output);
            } else {
                return;
            }
        }
    }

    fn run_ears(&mut self, output: EarsOutput) {
        match output {
            EarsOutput::Turn(input) => self.turn.input(input),
            EarsOutput::Transcript(transcript) => self.show(transcript),
            EarsOutput::Audio(frame) => self.tell_recogniser(SttCommand::Audio(frame)),
            EarsOutput::EndOfSpeech => self.tell_recogniser(SttCommand::EndOfSpeech),
            EarsOutput::Tell(message) => self.tell(message),
            EarsOutput::Billed(total) => tracing::trace!(?total, "audio billed"),
        }
    }

    fn run_turn(&mut self, output: TurnOutput) {
        match output {
            TurnOutput::OpenGate => self.ears.input(EarsInput::OpenGate),
            TurnOutput::CloseGate => self.ears.input(EarsInput::CloseGate),
            TurnOutput::Finalize => self.ears.input(EarsInput::Finalize),
            TurnOutput::Speculate(commit) => self.answers.input(AnswerInput::Speculate(commit)),
            TurnOutput::Commit(commit) => {
                let recognition = self.ears.machine().recognition();
                self.answers.input(AnswerInput::Commit { commit, recognition });
            }
            TurnOutput::Abandon(generation) => self.answers.input(AnswerInput::Abandon(generation)),
            TurnOutput::Interrupt(generation) => self.answers.input(AnswerInput::Interrupt(generation)),
            TurnOutput::Pause(generation) => self.answers.input(AnswerInput::Pause(generation)),
            TurnOutput::Resume(generation) => self.answers.input(AnswerInput::Resume(generation)),
            TurnOutput::Unheard => self.tell(ErrorCode::SpeechUnavailable.message(UNHEARD)),
            TurnOutput::State(state) => self.tell(ServerMessage::State { state }),
        }
    }

    fn run_answers(&mut self, output: AnswerOutput) {
        match output {
            AnswerOutput::Ask(text) => self.ask(text),
            AnswerOutput::CommitReply => self.line.commit(),
            AnswerOutput::StopReading => self.line.stop(),
            AnswerOutput::DropReply => self.line = Line::Idle,
            AnswerOutput::Heard(heard) => self.line.heard(heard),
            AnswerOutput::ResponderFailed(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the responder failed");
                self.tell(ErrorCode::ResponderFailed.message(error.to_string()));
            }
            AnswerOutput::Speak { generation, text } => {
                self.tell_synthesiser(TtsCommand::Speak { generation, text });
            }
            AnswerOutput::Finish(generation) => self.tell_synthesiser(TtsCommand::Finish(generation)),
            AnswerOutput::Cancel(generation) => {
                let cancelled = self.tts.cancel(generation);
                self.text_admitted(cancelled);
            }
            AnswerOutput::TakeAudio(taken) => self.tts.taken = taken,
            AnswerOutput::Audio { generation, bytes } => {
                self.transport.send(Outgoing::Audio { generation, bytes });
            }
            AnswerOutput::Waterfall { generation, stamps, opener } => {
                self.tell_waterfall(generation, stamps, opener);
            }
            AnswerOutput::Tell(message) => self.tell(message),
            AnswerOutput::Turn(input) => self.turn.input(input),
            AnswerOutput::Measure(measure) => record(&measure),
            AnswerOutput::End(code, message) => self.end(code, message),
        }
    }

    fn recognised(&mut self, event: Option<SttEvent>) {
        self.stt.open = event.is_some();
        self.ears.input(event.map_or(EarsInput::RecogniserClosed, EarsInput::Recognised));
    }

    fn synthesised(&mut self, event: Option<TtsEvent>) {
        self.tts.open = event.is_some();
        self.answers.input(event.map_or(AnswerInput::SynthesiserClosed, AnswerInput::Synthesised));
    }

    fn ask(&mut self, text: String) {
        let (speaker, payer) = (self.config.speaker, self.config.payer.clone());
        let inbound = Inbound::new(self.conversation.clone(), Channel::Voice, speaker, payer, text);
        self.line = Line::Calling(Box::pin(self.responder.clone().oneshot(inbound)));
    }

    /// Words go to turn taking, and the client sees the turn so far.
    fn show(&mut self, transcript: Transcript) {
        self.turn.input(TurnInput::Transcript(transcript));
        if let Some(text) = self.turn.machine().said() {
            self.tell(ServerMessage::Transcript { text, is_final: false });
        }
    }

    fn tell_recogniser(&mut self, command: SttCommand) {
        let admitted = self.stt.command(command);
        self.audio_admitted(admitted);
    }

    fn tell_synthesiser(&mut self, command: TtsCommand) {
        let admitted = self.tts.command(command);
        self.text_admitted(admitted);
    }

    fn audio_admitted(&mut self, admitted: Result<(), NotAdmitted>) {
        match admitted {
            Ok(()) => {}
            Err(NotAdmitted::Exhausted(exhausted)) => {
                tracing::warn!(%exhausted, "a voice session ends: no more speech may be recognised");
                self.end(ErrorCode::BudgetExhausted, "the day's budget for speech recognition is spent");
            }
            Err(late) => {
                tracing::error!(%late, "speech was not recognised, because its budget could not be checked");
                self.stt.drop_audio();
                self.tell(ErrorCode::SpeechUnavailable.message(UNCHECKED));
            }
        }
    }

    fn text_admitted(&mut self, admitted: Result<(), NotAdmitted>) {
        match admitted {
            Ok(()) => {}
            Err(NotAdmitted::Exhausted(exhausted)) => {
                tracing::warn!(%exhausted, "a voice session ends: no more text may be spoken");
                self.answers.input(AnswerInput::BudgetSpent);
            }
            Err(late) => {
                tracing::error!(%late, "an answer was not spoken, because its budget could not be checked");
                if let Some(generation) = self.tts.waiting_generation() {
                    let failed = TtsEvent::Failed { generation, reason: UNCHECKED.into() };
                    self.answers.input(AnswerInput::Synthesised(failed));
                    let _ = self.tts.cancel(generation);
                }
            }
        }
    }

    fn tell_waterfall(&mut self, generation: Generation, mut stamps: Stamps, opener: Option<String>) {
        let sent = drive::now();
        stamps.sent = Some(sent);
        let parts = stamps.record();
        let (from_ms, sent_ms) = (self.clock.ours(stamps.end_of_speech), self.clock.ours(sent));
        self.tell(ServerMessage::Waterfall { generation, parts, opener, from_ms, sent_ms });
    }

    fn tell(&mut self, message: ServerMessage) {
        self.transport.send(Outgoing::Message(message));
    }

    /// Ends the session for an error.
    fn end(&mut self, code: ErrorCode, message: &str) {
        self.tell(code.message(message));
        self.transport.send(Outgoing::Close(Some(code)));
        self.over = true;
    }

    /// Closes what is open, within a bound.
    async fn leave(&mut self) {
        self.answers.input(AnswerInput::Close);
        self.pump();
        self.transport.send(Outgoing::Close(None));
        let Self { transport, stt, tts, .. } = self;
        let closing = async {
            tokio::join!(
                async { while poll_fn(|cx| transport.poll_receive(cx)).await.is_some() {} },
                close(&mut stt.driver, &stt.outlet.commands, SttCommand::Close, &mut stt.events),
                close(&mut tts.driver, &tts.outlet.commands, TtsCommand::Close, &mut tts.events),
            )
        };
        if tokio::time::timeout(LINGER, closing).await.is_err() {
            tracing::debug!("a connection did not close within {LINGER:?}");
        }
    }
}

fn record(measure: &Measure) {
    match measure {
        Measure::Opener => metrics::counter!("livos_voice_openers_total").increment(1),
        Measure::AnswerBegan(waited) => {
            metrics::histogram!("livos_voice_answer_seconds").record(waited.as_secs_f64());
        }
        Measure::LateSynthesis => metrics::counter!("livos_voice_late_synthesis_total").increment(1),
        Measure::Billed(total) => tracing::trace!(total, "characters billed"),
    }
}
