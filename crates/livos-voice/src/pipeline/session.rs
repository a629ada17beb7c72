//! The driver of a voice session: it carries events between its parts and does what turn taking
//! decides.

mod answering;
mod listening;
mod providers;
mod speaking;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use livos_core::{
    budget::Meter,
    conversation::{ConversationId, Inbound, Reply, ReplyError, ReplyErrorKind, ReplyEvent},
    drive::{self, Drive},
};
use tower_service::Service;

use self::providers::{Recogniser, Synthesiser, close, forward, run};
use crate::{
    connection::ConnectionState,
    meter::AudioMeter,
    pipeline::{SessionConfig, answer::Answer, ears::Ears, opener::Openers, voice::Voice},
    stt::{SpeechToText, SttCommand},
    transport::{
        AudioTransport, Hello, Incoming, Outgoing,
        clock::PeerClock,
        protocol::{self, ErrorCode, ServerMessage},
    },
    tts::{TextToSpeech, TtsCommand},
    turn::{TurnInput, TurnTaking},
    vad::{Earshot, Vad, VadState},
};

/// Commands that may wait for the recogniser: 10 s of frames. Beyond, the oldest audio is dropped
/// and counted; a turn must never wait.
const MAX_WAITING_AUDIO: usize = 500;
/// Clauses that may wait for the synthesiser before the reply is not read on.
const MAX_WAITING_TEXT: usize = 32;
/// How long a client that reports its player may take to report the end before time decides. A page
/// in the background is slow.
const PLAYER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a listener who is far behind is looked at again.
const AHEAD_CHECK: Duration = Duration::from_millis(500);
/// How long the connections may take to close at the end.
const LINGER: Duration = Duration::from_secs(3);
/// The oldest event that a client may tell of. Older is a broken clock.
const OLDEST_EVENT: Duration = Duration::from_secs(5);
/// The longest delay that a client may claim to have measured. A longer one is a clock that was
/// set.
const LONGEST_MEASURE_MS: f64 = 120_000.0;
/// Final words that end this much before the audio cover it: no word is shorter.
const COVERED: Duration = Duration::from_millis(60);

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
                    transport
                        .send(Outgoing::Message(ErrorCode::Internal.message("audio cannot be converted")));
                    transport.send(Outgoing::Close(Some(ErrorCode::Internal)));
                    let closed = async { while poll_fn(|cx| transport.poll_receive(cx)).await.is_some() {} };
                    let _ = tokio::time::timeout(LINGER, closed).await;
                    return;
                }
            };
        // Both connections open now: the first answer should not wait for a handshake.
        let (recogniser, synthesiser) = (Recogniser::new(self.stt.open()), Synthesiser::new(self.tts.open()));
        let continued = hello.conversation.as_deref().and_then(|id| ConversationId::try_from(id).ok());
        let openers = Openers::new(self.config.opener.clone(), rand::random());
        let mut live = Box::new(Live {
            transport,
            responder: self.responder,
            conversation: continued.unwrap_or_else(|| self.config.conversation.clone()),
            drain: self.drain,
            turn: Drive::new(TurnTaking::new(self.config.turn.clone(), hello.mode)),
            ears,
            voice,
            stt: recogniser,
            tts: synthesiser,
            audio_meter: self.meter.clone().map(AudioMeter::new),
            meter: self.meter,
            answer: None,
            reports: false,
            clock: PeerClock::new(drive::now()),
            openers,
            draining_until: None,
            over: false,
            config: self.config,
        });
        live.greet(&hello);
        live.serve().await;
        live.leave().await;
    }
}

struct Live<S, T> {
    transport: T,
    responder: S,
    config: SessionConfig,
    conversation: ConversationId,
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    turn: Drive<TurnTaking>,
    ears: Ears,
    voice: Voice,
    stt: Recogniser,
    tts: Synthesiser,
    audio_meter: Option<AudioMeter>,
    meter: Option<Meter>,
    answer: Option<Answer>,
    /// The client has told of its player before.
    reports: bool,
    clock: PeerClock,
    openers: Option<Openers>,
    draining_until: Option<Instant>,
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

    /// Carries events until the session is over.
    async fn serve(&mut self) {
        while !self.over {
            let deadline = self.deadline();
            let reading = self.answer.as_ref().is_some_and(Answer::is_reading)
                && self.tts.waiting.len() < MAX_WAITING_TEXT;
            let listening = self.tts.running && self.has_room();
            tokio::select! {
                incoming = poll_fn(|cx| self.transport.poll_receive(cx)) => self.receive(incoming),
                output = self.turn.next() => self.decide(output),
                event = self.stt.session.events.recv(), if self.stt.running => self.recognised(event),
                event = self.tts.session.events.recv(), if listening => self.synthesised(event),
                () = run(&mut self.stt.driver), if self.stt.driver.is_some() => self.stt.driver = None,
                () = run(&mut self.tts.driver), if self.tts.driver.is_some() => self.tts.driver = None,
                () = forward(&self.stt.session.commands, &mut self.stt.waiting) => {}
                () = forward(&self.tts.session.commands, &mut self.tts.waiting) => {}
                event = next_event(self.answer.as_mut()), if reading => self.replied(event),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(drive::now).into()), if deadline.is_some() => self.due(),
                () = &mut self.drain, if self.draining_until.is_none() => {
                    self.draining_until = Some(drive::now() + self.config.drain_patience);
                }
            }
            self.settle();
        }
    }

    /// Does what follows from the last event, until nothing more does.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.turn.poll_output() {
                self.decide(output);
            }
            let now = drive::now();
            if !self.answer.as_ref().is_some_and(|answer| answer.is_over(now, PLAYER_PATIENCE)) {
                break;
            }
            self.close_answer(true);
        }
        let waited = self.draining_until.is_some_and(|until| self.answer.is_none() || until <= drive::now());
        if waited && !self.over {
            self.fail(ErrorCode::Draining, "the server is shutting down");
        }
    }

    /// A deadline may have passed.
    fn due(&mut self) {
        let now = drive::now();
        if let Some(last_audio) = self.ears.starved(now) {
            self.turn.input(TurnInput::Vad { state: VadState::Quiet, last_voiced: Some(last_audio) });
        }
        let patience = self.config.responder_patience;
        if let Some(answer) = self.answer.as_mut().filter(|a| a.is_reading() && a.asked + patience <= now) {
            answer.end();
            let error = ReplyError::new(ReplyErrorKind::Unavailable, "the responder took too long");
            self.replied(Some(Err(error)));
        }
        self.open_with_a_sentence(now);
        self.speak();
    }

    /// The next time at which something is due without an event.
    fn deadline(&self) -> Option<Instant> {
        let answer = self.answer.as_ref();
        let ended = answer.and_then(|answer| answer.over_at(PLAYER_PATIENCE));
        let look = answer.is_some_and(|answer| !answer.held) && !self.has_room();
        let spoken = answer.filter(|answer| answer.is_committed() && !answer.mute && !answer.finished);
        let piece = spoken.and_then(|answer| answer.chunker.poll_timeout());
        let patience = self.config.responder_patience;
        let reply = answer.filter(|answer| answer.is_reading()).map(|answer| answer.asked + patience);
        let look = look.then(|| drive::now() + AHEAD_CHECK);
        let opener = answer.and_then(Answer::opener_due);
        let times = [ended, piece, opener, reply, self.ears.starves_at(), look, self.draining_until];
        times.into_iter().flatten().min()
    }

    /// Whether the listener can be sent more audio: the answer is not held, and they are not too
    /// far behind.
    fn has_room(&self) -> bool {
        let limit = self.config.max_audio_ahead;
        self.answer.as_ref().is_none_or(|answer| !answer.held && answer.playout.ahead(drive::now()) < limit)
    }

    fn tell(&mut self, message: ServerMessage) {
        self.transport.send(Outgoing::Message(message));
    }

    fn tell_connection(&mut self, provider: &str, state: ConnectionState) {
        let connected = state == ConnectionState::Connected;
        let state = match state {
            ConnectionState::Connecting => "connecting".to_owned(),
            ConnectionState::Connected => "connected".to_owned(),
            ConnectionState::Reconnecting { attempt, wait } => {
                format!("reconnecting, attempt {attempt} in {:.1} s", wait.as_secs_f64())
            }
            ConnectionState::Draining => "closing".to_owned(),
            ConnectionState::Closed => "closed".to_owned(),
        };
        self.tell(ServerMessage::Connection { provider: provider.to_owned(), state, connected });
    }

    /// Ends the session for an error.
    fn fail(&mut self, code: ErrorCode, message: &str) {
        self.tell(code.message(message));
        self.transport.send(Outgoing::Close(Some(code)));
        self.over = true;
    }

    /// Closes what is open, within a bound.
    async fn leave(&mut self) {
        self.close_answer(false);
        self.transport.send(Outgoing::Close(None));
        let Self { transport, stt, tts, .. } = self;
        let closing = async {
            tokio::join!(
                async { while poll_fn(|cx| transport.poll_receive(cx)).await.is_some() {} },
                close(&mut stt.driver, &stt.session.commands, SttCommand::Close, &mut stt.session.events),
                close(&mut tts.driver, &tts.session.commands, TtsCommand::Close, &mut tts.session.events),
            )
        };
        if tokio::time::timeout(LINGER, closing).await.is_err() {
            tracing::debug!("a connection did not close within {LINGER:?}");
        }
    }
}

async fn next_event(answer: Option<&mut Answer>) -> Option<Result<ReplyEvent, ReplyError>> {
    match answer {
        Some(answer) => poll_fn(|cx| answer.poll_event(cx)).await,
        None => std::future::pending().await,
    }
}
