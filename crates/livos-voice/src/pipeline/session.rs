//! The driver of a voice session: it carries events between its parts and does what turn taking decides.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use livos_core::{
    budget::Meter,
    conversation::{Channel, ConversationId, Heard, Inbound, Reply, ReplyError, ReplyEvent},
    drive::{self, Drive},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tower::ServiceExt;
use tower_service::Service;

use super::{
    SessionConfig,
    answer::{Answer, MAX_ANSWER},
    ears::Ears,
    latency::{PARTS, Stamps},
    voice::Voice,
};
use crate::{
    audio::Frame,
    connection::ConnectionState,
    generation::Generation,
    meter::{AudioMeter, admit_characters},
    stt::{Driver, SpeechToText, SttCommand, SttEvent, SttSession, TranscriptKind},
    transport::{
        AudioTransport, Hello, Incoming, Outgoing,
        clock::PeerClock,
        protocol::{self, ClientMessage, ErrorCode, LatencyPart, PlacedWord, PlayoutState, ServerMessage},
    },
    tts::{TextToSpeech, TtsCommand, TtsEvent, TtsSession},
    turn::{Commit, TurnInput, TurnOutput, TurnTaking},
    vad::{Earshot, Vad},
};

/// Commands that may wait for the recogniser: 10 s of frames. Beyond, the oldest audio is dropped and counted; a turn must never wait.
const MAX_WAITING_AUDIO: usize = 500;
/// Clauses that may wait for the synthesiser before the reply is not read on.
const MAX_WAITING_TEXT: usize = 32;
/// How long a client that reports its player may take to report the end before time decides. A page in the background is slow.
const PLAYER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a listener who is far behind is looked at again.
const AHEAD_CHECK: Duration = Duration::from_millis(500);
/// How long the connections may take to close at the end.
const LINGER: Duration = Duration::from_secs(3);
/// The oldest event that a client may tell of. Older is a broken clock.
const OLDEST_EVENT: Duration = Duration::from_secs(5);
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

    /// Spends audio and characters from `meter` before they are sent, and ends when they are refused.
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Ends soon after `drain` resolves: the answer under way may finish within [`SessionConfig::drain_patience`].
    pub fn with_drain(mut self, drain: impl Future<Output = ()> + Send + 'static) -> Self {
        self.drain = Box::pin(drain);
        self
    }

    /// Runs the session to its end: the client leaves or breaks a rule, the budget is spent, or the drain is done. Dropping the future
    /// closes every connection at once.
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
            typed: false,
            reports: false,
            clock: PeerClock::new(drive::now()),
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
    /// The message being handed to turn taking was typed, so its answer is shown as well as spoken.
    typed: bool,
    /// The client has told of its player before.
    reports: bool,
    clock: PeerClock,
    draining_until: Option<Instant>,
    /// The client, an error or the drain has ended the session.
    over: bool,
}

struct Recogniser {
    session: SttSession,
    driver: Option<Driver>,
    /// It may still report something.
    running: bool,
    waiting: VecDeque<SttCommand>,
    /// Audio given to it.
    given: Duration,
    /// Up to where it has answered with final words.
    answered_to: Duration,
    /// When it was last asked for its last words, and had answered.
    asked: Option<Instant>,
    answered: Option<Instant>,
}

struct Synthesiser {
    session: TtsSession,
    driver: Option<Driver>,
    /// It may still report something.
    running: bool,
    /// It can speak.
    usable: bool,
    waiting: VecDeque<TtsCommand>,
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
                () = tokio::time::sleep_until(deadline.unwrap_or_else(drive::now).into()), if deadline.is_some() => self.speak(),
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

    /// The next time at which something is due without an event.
    fn deadline(&self) -> Option<Instant> {
        let answer = self.answer.as_ref();
        let ended = answer.and_then(|answer| answer.over_at(PLAYER_PATIENCE));
        let look = answer.is_some_and(|answer| !answer.held) && !self.has_room();
        let piece =
            answer.filter(|answer| answer.is_committed()).and_then(|answer| answer.chunker.poll_timeout());
        let times = [ended, piece, look.then(|| drive::now() + AHEAD_CHECK), self.draining_until];
        times.into_iter().flatten().min()
    }

    /// Whether the listener can be sent more audio: the answer is not held, and they are not too far behind.
    fn has_room(&self) -> bool {
        let limit = self.config.max_audio_ahead;
        self.answer.as_ref().is_none_or(|answer| !answer.held && answer.playout.ahead(drive::now()) < limit)
    }

    // What the listener sends.

    fn receive(&mut self, incoming: Option<Incoming>) {
        match incoming {
            Some(Incoming::Audio(bytes)) => self.hear(bytes),
            Some(Incoming::Message(message)) => self.told(message),
            Some(Incoming::Hello(_)) => {}
            None => self.over = true,
        }
    }

    fn hear(&mut self, bytes: Bytes) {
        let now = drive::now();
        let Some(frame) = self.ears.hear(bytes) else { return };
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
    fn give(&mut self, frame: Frame) {
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

    fn told(&mut self, message: ClientMessage) {
        let now = drive::now();
        match message {
            ClientMessage::Hello { .. } => {}
            ClientMessage::Mode { mode, client_vad } => {
                self.ears.listen(mode, client_vad);
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
            ClientMessage::Text { text } => {
                self.typed = true;
                self.turn.input(TurnInput::Typed(text));
                while let Some(output) = self.turn.poll_output() {
                    self.decide(output);
                }
                self.typed = false;
            }
            ClientMessage::Stop => self.turn.input(TurnInput::Stop),
            ClientMessage::Playout { generation, played_ms, state, at_ms } => {
                self.clock.saw(now, at_ms);
                self.played(generation, played_ms, state, self.clock.place(now, at_ms, OLDEST_EVENT));
            }
            ClientMessage::Measured { silence_ms, playout_ms, .. } => {
                metrics::histogram!("livos_voice_to_voice_seconds").record(silence_ms / 1000.0);
                metrics::histogram!("livos_voice_playout_delay_seconds").record(playout_ms / 1000.0);
            }
            ClientMessage::Ping { at_ms } => {
                self.clock.saw(now, at_ms);
                let server_ms = self.clock.ours(now);
                self.tell(ServerMessage::Pong { at_ms, server_ms });
            }
            ClientMessage::Bye => self.over = true,
        }
    }

    fn played(&mut self, generation: Generation, played_ms: f64, state: PlayoutState, at: Instant) {
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

    fn recognised(&mut self, event: Option<SttEvent>) {
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
                if let Some(text) = self.turn.machine().said().filter(|text| !text.is_empty()) {
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

    fn finalized(&mut self) {
        self.stt.answered = Some(drive::now());
        self.turn.input(TurnInput::Finalized);
    }

    // What turn taking decides.

    fn decide(&mut self, output: TurnOutput) {
        match output {
            TurnOutput::OpenGate => {
                let pre_roll = self.ears.open();
                self.give(pre_roll);
            }
            TurnOutput::CloseGate => self.ears.close(),
            TurnOutput::Finalize => {
                self.stt.asked = Some(drive::now());
                self.stt.answered = None;
                if self.stt.has_answered() {
                    self.finalized();
                } else {
                    self.stt.command(SttCommand::EndOfSpeech);
                }
            }
            TurnOutput::Speculate(commit) => self.begin(&commit),
            TurnOutput::Commit(commit) => self.commit(&commit),
            TurnOutput::Abandon(generation) => {
                self.answer.take_if(|answer| answer.generation == generation);
            }
            TurnOutput::Interrupt(generation) => {
                if self.answer.as_ref().is_some_and(|answer| answer.generation <= generation) {
                    self.close_answer(false);
                }
            }
            TurnOutput::Pause(generation) => self.hold(generation, true),
            TurnOutput::Resume(generation) => self.hold(generation, false),
            TurnOutput::State(state) => self.tell(ServerMessage::State { state }),
        }
    }

    fn hold(&mut self, generation: Generation, held: bool) {
        let now = drive::now();
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.generation == generation) else {
            return;
        };
        answer.held = held;
        if held {
            answer.playout.pause(now);
        } else {
            answer.playout.resume(now);
        }
        if answer.started {
            self.tell(match held {
                true => ServerMessage::Pause { generation },
                false => ServerMessage::Resume { generation },
            });
        }
    }

    /// Calls the responder.
    fn begin(&mut self, commit: &Commit) {
        let inbound = Inbound::new(self.conversation.clone(), Channel::Voice, commit.text.clone());
        let inbound = inbound.from_speaker(self.config.speaker);
        let call = Box::pin(self.responder.clone().oneshot(inbound));
        let stamps = Stamps::new(commit.end_of_speech);
        let mut answer = Answer::new(commit.generation, call, stamps, self.reports, self.config.chunk);
        answer.stamps.called = Some(drive::now());
        answer.mute = !self.tts.usable;
        self.answer = Some(answer);
    }

    fn commit(&mut self, commit: &Commit) {
        self.tell(ServerMessage::Transcript { text: commit.text.clone(), is_final: true });
        let now = drive::now();
        if self.answer.as_ref().is_none_or(|answer| answer.generation != commit.generation) {
            self.begin(commit);
        }
        let (typed, asked, answered) = (self.typed, self.stt.asked, self.stt.answered);
        let Some(answer) = &mut self.answer else { return };
        answer.stamps.end_of_speech = commit.end_of_speech;
        answer.stamps.committed = Some(now);
        if !typed {
            // Without an answer in time, all of the wait since the question was for the recogniser.
            answer.stamps.asked = asked.filter(|asked| *asked >= commit.end_of_speech);
            answer.stamps.answered = answer.stamps.asked.and(answered.or(Some(now)));
        }
        answer.shown = (typed || answer.mute).then_some(0);
        answer.commit();
        self.speak();
    }

    // What the responder answers.

    fn replied(&mut self, event: Option<Result<ReplyEvent, ReplyError>>) {
        let Some(answer) = &mut self.answer else { return };
        match event {
            Some(Ok(ReplyEvent::Text(text))) => {
                answer.stamps.first_text.get_or_insert_with(drive::now);
                answer.text.push_str(&text);
                if answer.text.len() > MAX_ANSWER {
                    answer.end();
                }
            }
            Some(Ok(ReplyEvent::Finished(_))) => answer.end(),
            Some(Ok(_)) | None => {}
            // Nothing was promised yet: a commit asks again.
            Some(Err(_)) if !answer.is_committed() => self.answer = None,
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the responder failed");
                if answer.text.trim().is_empty() {
                    answer.text.clone_from(&self.config.apology);
                }
                self.tell(ErrorCode::ResponderFailed.message(error.to_string()));
            }
        }
        self.speak();
    }

    /// Hands on what the answer has to say.
    fn speak(&mut self) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.is_committed()) else { return };
        let generation = answer.generation;
        if let Some(shown) = answer.shown.filter(|shown| *shown < answer.text.len()) {
            let text = answer.text[shown..].to_owned();
            answer.shown = Some(answer.text.len());
            self.transport.send(Outgoing::Message(ServerMessage::Reply { generation, text }));
        }
        if answer.mute || answer.finished {
            return;
        }
        let (now, ended) = (drive::now(), !answer.is_reading());
        if answer.fed < answer.text.len() {
            answer.chunker.push(now, &answer.text[answer.fed..]);
            answer.fed = answer.text.len();
        }
        let mut refused = false;
        while let Some(text) = answer.next_piece(now) {
            answer.stamps.first_clause.get_or_insert(now);
            refused |= self.meter.as_ref().is_some_and(|meter| admit_characters(meter, &text).is_err());
            if refused {
                break;
            }
            self.tts.command(TtsCommand::Speak { generation, text });
        }
        if ended {
            answer.finished = true;
            self.tts.command(TtsCommand::Finish(generation));
        }
        if refused {
            self.fail(ErrorCode::BudgetExhausted, "the day's budget for the voice is spent");
        }
    }

    // What the synthesiser reports.

    fn synthesised(&mut self, event: Option<TtsEvent>) {
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

    fn send_audio(&mut self, frame: &Frame) {
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

    fn first_audio_sent(&mut self) {
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
            from_ms: self.clock.ours(answer.stamps.end_of_speech),
            sent_ms: self.clock.ours(sent),
        };
        if !answer.playout.reports() {
            self.turn.input(TurnInput::PlayoutStarted(generation));
        }
        self.tell(waterfall);
    }

    fn sent_all(&mut self) {
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
    fn go_on_as_text(&mut self) {
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

    fn close_answer(&mut self, complete: bool) {
        let Some(answer) = self.answer.take() else { return };
        let generation = answer.generation;
        let text = if complete { answer.text.as_str() } else { answer.heard(drive::now()) };
        let heard = Heard { text: text.to_owned(), complete };
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
            self.tell(ServerMessage::ReplyEnd { generation, heard: heard.text.clone(), complete });
        }
        answer.close(heard);
        if complete {
            self.turn.input(TurnInput::PlayoutEnded(generation));
        }
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

impl Recogniser {
    fn new((session, driver): (SttSession, Driver)) -> Self {
        Self {
            session,
            driver: Some(driver),
            running: true,
            waiting: VecDeque::new(),
            given: Duration::ZERO,
            answered_to: Duration::ZERO,
            asked: None,
            answered: None,
        }
    }

    fn give(&mut self, frame: Frame) {
        self.given += frame.duration();
        self.command(SttCommand::Audio(frame));
    }

    /// Whether final words cover everything it was given, or no answer can be expected.
    fn has_answered(&self) -> bool {
        !self.running || self.answered_to + COVERED >= self.given
    }

    fn command(&mut self, command: SttCommand) {
        let command = match self.waiting.is_empty() {
            true => match self.session.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(command)) => command,
            },
            false => command,
        };
        if self.waiting.len() >= MAX_WAITING_AUDIO
            && let Some(oldest) =
                self.waiting.iter().position(|waiting| matches!(waiting, SttCommand::Audio(_)))
        {
            metrics::counter!("livos_voice_dropped_frames_total").increment(1);
            self.waiting.remove(oldest);
        }
        self.waiting.push_back(command);
    }
}

impl Synthesiser {
    fn new((session, driver): (TtsSession, Driver)) -> Self {
        Self { session, driver: Some(driver), running: true, usable: true, waiting: VecDeque::new() }
    }

    fn command(&mut self, command: TtsCommand) {
        let command = match self.waiting.is_empty() {
            true => match self.session.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(command)) => command,
            },
            false => command,
        };
        self.waiting.push_back(command);
    }

    fn cancel(&mut self, cancelled: Generation) {
        self.waiting.retain(|command| match command {
            TtsCommand::Speak { generation, .. } | TtsCommand::Finish(generation) => *generation > cancelled,
            TtsCommand::Cancel(_) | TtsCommand::Close => true,
        });
        self.command(TtsCommand::Cancel(cancelled));
    }
}

async fn run(driver: &mut Option<Driver>) {
    match driver {
        Some(driver) => driver.await,
        None => std::future::pending().await,
    }
}

async fn next_event(answer: Option<&mut Answer>) -> Option<Result<ReplyEvent, ReplyError>> {
    match answer {
        Some(answer) => poll_fn(|cx| answer.poll_event(cx)).await,
        None => std::future::pending().await,
    }
}

/// Hands on the first command that waits, once there is room for it.
async fn forward<C>(commands: &mpsc::Sender<C>, waiting: &mut VecDeque<C>) {
    if waiting.is_empty() {
        return std::future::pending().await;
    }
    match commands.reserve().await {
        Ok(permit) => {
            if let Some(command) = waiting.pop_front() {
                permit.send(command);
            }
        }
        Err(_) => waiting.clear(),
    }
}

/// Asks a driver to close, and runs it to its end.
async fn close<C, E>(
    driver: &mut Option<Driver>,
    commands: &mpsc::Sender<C>,
    command: C,
    events: &mut mpsc::Receiver<E>,
) {
    let ask = async {
        let _ = commands.send(command).await;
        while events.recv().await.is_some() {}
    };
    let run = async {
        if let Some(driver) = driver.take() {
            driver.await;
        }
    };
    tokio::join!(ask, run);
}
