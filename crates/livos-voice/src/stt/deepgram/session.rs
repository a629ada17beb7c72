//! The driver of a recognition session, the same for both dialects: it keeps the connection, keeps
//! audio for a second sending, and watches a provider that is open but mute.
//!
//! Audio is always written into a ring first and sent from there or, when nothing is waiting,
//! straight from the frame. So there is no state in which audio is refused: without a connection,
//! or behind a peer that does not read, it simply waits, up to the bound of the ring.

use std::{
    collections::VecDeque,
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use livos_core::{
    drive::{Drive, now},
    keep_alive::{KeepAlive, KeepAliveConfig, KeepAliveInput, KeepAliveOutput},
    reconnect::{Reconnect, ReconnectInput, ReconnectOutput},
};
use tokio::sync::mpsc;
use tokio_tungstenite::{WebSocketStream, tungstenite};

use super::{
    config::{Config, Timing},
    replay::{Replay, bytes_in, lasting},
    wire,
};
use crate::{
    audio::{AudioFormat, Frame, Ring},
    connect::{BoxIo, Connector},
    connection::ConnectionState,
    stt::{Driver, SttCommand, SttEvent, SttSession, Transcript},
    ws::{self, Limits, Link, LinkEvent, OpenError},
};

/// Commands that may wait for the driver: over a second of 20 ms frames.
const COMMANDS: usize = 64;
/// Events that may wait for the listener in the channel, and again as many in the driver before it
/// stops reading the socket.
const EVENTS: usize = 64;
/// Kept audio is sent in pieces of 100 ms, which the provider calls a good size.
const PIECE: u64 = 3200;
/// An end of speech is owed an answer when at least 300 ms of audio had none; of less, the provider
/// may have nothing to say.
const OWED: u64 = 9600;

/// An unused connection that is repaired within this wait is replaced without telling. 100 ms: the
/// wait after a sound connection.
const QUIET: Duration = Duration::from_millis(100);

/// What a dialect makes of the provider's messages, and what it says itself.
pub(super) trait Dialect: Send + 'static {
    /// Whether audio may flow as soon as the socket is open.
    const READY_ON_OPEN: bool;
    /// The least audio of a message, in bytes; 0 to send frames as they come.
    const LEAST: u64;

    /// What keeps an idle connection open.
    fn keep_alive(&self) -> tungstenite::Message;
    /// The message that asks for an answer to the end of speech.
    fn question(&self) -> &'static str;
    /// Silence that must come before the question.
    fn trailing_silence(&self) -> u64;
    /// Silence to send when no audio was sent for so long, because the provider's clock would stand
    /// still.
    fn padding(&self) -> Option<(Duration, u64)>;
    /// A new connection takes over; what was provisional is void.
    fn reopened(&mut self, out: &mut VecDeque<Heard>);
    /// A message came.
    fn heard(&mut self, message: wire::Message, replay: &mut Replay, out: &mut VecDeque<Heard>);
}

/// What a dialect concluded from a message.
#[derive(Debug)]
pub(super) enum Heard {
    /// For the listener.
    Event(SttEvent),
    /// Audio may flow.
    Ready,
    /// The end of speech is answered.
    Answered,
    /// The provider gave up on this connection.
    Broken(String),
    /// The provider has said its last word.
    Over,
}

/// Opens a session of this dialect.
pub(super) fn open<D: Dialect>(
    config: &Config,
    request: &Request<()>,
    connector: &Connector,
    dialect: D,
) -> (SttSession, Driver) {
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let (events, event_receiver) = mpsc::channel(EVENTS);
    let mut watch = KeepAliveConfig::default();
    watch.interval = config.timing.keep_alive_interval;
    watch.mute_after = config.timing.mute_after;
    // Keyed anew by the system, so that the sessions of one process jitter differently.
    let seed = RandomState::new().build_hasher().finish();
    let session = Session {
        timing: config.timing,
        limits: config.limits,
        watch,
        request: request.clone(),
        connector: connector.clone(),
        dialect,
        reconnect: Drive::new(Reconnect::new(config.reconnect, seed)),
        replay: Replay::default(),
        ring: Ring::new(AudioFormat::SPEECH.bytes_in(config.timing.retained)),
        outbox: VecDeque::with_capacity(2 * EVENTS),
        heard: VecDeque::with_capacity(8),
        stage: Stage::Closed,
        closing: None,
        billed: 0,
        billed_told: 0,
        quiet: false,
        dormant: false,
    };
    let session = Box::pin(session.run(commands, events));
    (SttSession { commands: command_sender, events: event_receiver }, session)
}

struct Session<D> {
    timing: Timing,
    limits: Limits,
    watch: KeepAliveConfig,
    request: Request<()>,
    connector: Connector,
    dialect: D,
    reconnect: Drive<Reconnect>,
    replay: Replay,
    ring: Ring,
    /// What the listener has not taken yet.
    outbox: VecDeque<SttEvent>,
    heard: VecDeque<Heard>,
    stage: Stage,
    closing: Option<Closing>,
    /// Bytes of audio sent on all connections.
    billed: u64,
    billed_told: u64,
    /// The connection was lost unused, and the listener was not told.
    quiet: bool,
    /// The provider closed a connection that nobody used: the next one waits for audio.
    dormant: bool,
}

type Opening = Pin<Box<dyn Future<Output = Result<WebSocketStream<BoxIo>, OpenError>> + Send>>;

enum Stage {
    Closed,
    Opening(Opening),
    Open(Box<Open>),
}

struct Open {
    link: Link,
    keep_alive: Drive<KeepAlive>,
    /// Audio may flow.
    ready: bool,
    /// A message had no room.
    full: bool,
    /// Bytes of audio sent since the last message came.
    unanswered: u64,
    audio_sent_at: Instant,
    carried_audio: bool,
    /// While kept audio is being sent: when the next piece may go.
    replaying: Option<Instant>,
}

struct Closing {
    by: Instant,
    asked: bool,
}

enum StageEvent {
    Opened(Result<Box<WebSocketStream<BoxIo>>, OpenError>),
    KeepAlive(KeepAliveOutput),
    Link(LinkEvent),
}

impl Stage {
    async fn next(&mut self, want_room: bool) -> StageEvent {
        match self {
            Self::Closed => std::future::pending().await,
            Self::Opening(opening) => StageEvent::Opened(opening.await.map(Box::new)),
            Self::Open(open) => {
                let want_room = want_room && open.full;
                tokio::select! {
                    biased;
                    event = open.link.event(want_room) => StageEvent::Link(event),
                    output = open.keep_alive.next() => StageEvent::KeepAlive(output),
                }
            }
        }
    }
}

impl<D: Dialect> Session<D> {
    async fn run(mut self, mut commands: mpsc::Receiver<SttCommand>, events: mpsc::Sender<SttEvent>) {
        self.tell(SttEvent::State(ConnectionState::Connecting));
        self.reconnect.input(ReconnectInput::Start);
        while !self.is_over() {
            self.pump().await;
            let deadline = self.deadline();
            let timer = tokio::time::sleep_until(deadline.unwrap_or_else(now).into());
            tokio::select! {
                biased;
                permit = events.reserve(), if !self.outbox.is_empty() => match (permit, self.outbox.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    // Nobody listens any more.
                    _ => return,
                },
                () = events.closed(), if self.outbox.is_empty() => return,
                output = self.reconnect.next() => self.reconnecting(output),
                () = timer, if deadline.is_some() => self.on_time(now()),
                event = self.stage.next(true), if self.outbox.len() < EVENTS => self.on_stage(event).await,
                command = commands.recv(), if self.closing.is_none() => self.on_command(command).await,
            }
        }
        self.tell_billed(true);
        self.tell(SttEvent::State(ConnectionState::Closed));
        for event in self.outbox {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.by <= now())
    }

    fn tell(&mut self, event: SttEvent) {
        // Only the newest state matters to a listener that is behind, so a long outage cannot fill
        // the memory.
        if let (Some(last @ SttEvent::State(_)), SttEvent::State(_)) = (self.outbox.back_mut(), &event) {
            *last = event;
        } else {
            self.outbox.push_back(event);
        }
    }

    async fn on_command(&mut self, command: Option<SttCommand>) {
        match command {
            Some(SttCommand::Audio(frame)) => self.on_audio(frame).await,
            Some(SttCommand::EndOfSpeech) => {
                if self.replay.end_speech() {
                    self.tell(SttEvent::Finalized);
                } else {
                    // The silence belongs to the speech that ends.
                    let silence = self.dialect.trailing_silence();
                    if silence > 0 {
                        self.pad(silence);
                        self.replay.end_speech();
                    }
                }
            }
            Some(SttCommand::Close) | None => {
                let connected = matches!(&self.stage, Stage::Open(open) if open.ready);
                let wait = if connected { self.timing.close_timeout } else { Duration::ZERO };
                self.closing = Some(Closing { by: now() + wait, asked: false });
                self.reconnect.input(ReconnectInput::Drain);
                self.tell(SttEvent::State(ConnectionState::Draining));
            }
        }
    }

    async fn on_audio(&mut self, frame: Frame) {
        if frame.format() != AudioFormat::SPEECH {
            tracing::error!(format = ?frame.format(), "audio of a wrong format was given to the recogniser");
            return;
        }
        let bytes = frame.into_bytes();
        if bytes.is_empty() {
            // The provider takes an empty message for the end of the stream.
            return;
        }
        let waiting = self.replay.backlog();
        self.ring.push(&bytes);
        self.replay.write(bytes.len() as u64);
        if std::mem::take(&mut self.dormant) {
            self.reconnect.input(ReconnectInput::Lost);
        }
        if waiting == 0 && D::LEAST == 0 {
            self.send_audio(bytes).await;
        }
    }

    /// Adds silence to the session's audio.
    fn pad(&mut self, bytes: u64) {
        const SILENCE: [u8; PIECE as usize] = [0; PIECE as usize];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE);
            self.ring.push(&SILENCE[..piece as usize]);
            self.replay.write(piece);
            left -= piece;
        }
    }

    /// Sends what waits, as far as the connection takes it: kept audio, the question after it, the
    /// farewell.
    async fn pump(&mut self) {
        loop {
            let flush = self.replay.is_ending() || self.closing.is_some();
            let waiting = self.replay.backlog();
            let Stage::Open(open) = &mut self.stage else { return };
            if !open.ready || open.full {
                return;
            }
            if waiting == 0 || (waiting < D::LEAST && !flush) {
                // Less than a message is no backlog: a timer for it would fire for ever.
                open.replaying = None;
                break;
            }
            if let Some(at) = open.replaying.filter(|_| self.closing.is_none()) {
                let now = now();
                if at > now {
                    return;
                }
                let piece = lasting(PIECE).div_f64(self.timing.replay_speed);
                open.replaying = Some(at.max(now - piece) + piece);
            }
            let from = self.replay.sent();
            if from < self.ring.start() {
                self.lost("it took no audio for longer than is kept");
                return;
            }
            let length = waiting.min(PIECE.max(D::LEAST)) as usize;
            let (head, tail) = self.ring.since(from);
            let mut piece = Vec::with_capacity(length);
            piece.extend_from_slice(&head[..length.min(head.len())]);
            piece.extend_from_slice(&tail[..length - piece.len()]);
            self.send_audio(piece.into()).await;
        }
        self.ask().await;
    }

    async fn ask(&mut self) {
        let due = self.replay.should_ask();
        let farewell = self.closing.as_ref().is_some_and(|closing| !closing.asked);
        if due && self.send(tungstenite::Message::text(self.dialect.question())).await {
            self.replay.asked(now());
            if let Stage::Open(open) = &mut self.stage
                && open.unanswered >= OWED
            {
                open.keep_alive.input(KeepAliveInput::Expect);
            }
        }
        if farewell
            && self.send(tungstenite::Message::text(wire::CLOSE_STREAM)).await
            && let Some(closing) = &mut self.closing
        {
            closing.asked = true;
        }
    }

    async fn send_audio(&mut self, bytes: Bytes) {
        let length = bytes.len() as u64;
        if !matches!(&self.stage, Stage::Open(open) if open.ready && !open.full)
            || !self.send(tungstenite::Message::Binary(bytes)).await
        {
            return;
        }
        self.replay.send(length);
        self.billed += length;
        let Stage::Open(open) = &mut self.stage else { return };
        open.audio_sent_at = now();
        open.carried_audio = true;
        open.unanswered += length;
        if open.unanswered >= bytes_in(self.timing.answer_due_after) {
            open.keep_alive.input(KeepAliveInput::Expect);
        }
        self.tell_billed(false);
    }

    /// True when the message is on its way.
    async fn send(&mut self, message: tungstenite::Message) -> bool {
        let Stage::Open(open) = &mut self.stage else { return false };
        match open.link.try_send(message).await {
            Ok(None) => {
                open.keep_alive.input(KeepAliveInput::Sent);
                true
            }
            Ok(Some(_)) => {
                open.full = true;
                // A peer that takes nothing will not answer either.
                open.keep_alive.input(KeepAliveInput::Expect);
                false
            }
            Err(reason) => {
                self.lost(&reason);
                false
            }
        }
    }

    /// Tells what was billed, whenever a whole second was added, or at once.
    fn tell_billed(&mut self, at_once: bool) {
        const STEP: u64 = 32_000;
        if self.billed >= self.billed_told + STEP || (at_once && self.billed > self.billed_told) {
            self.billed_told = self.billed;
            self.tell(SttEvent::Billed(lasting(self.billed)));
        }
    }

    fn reconnecting(&mut self, output: ReconnectOutput) {
        match output {
            ReconnectOutput::Connect { .. } => {
                let (mut connector, limits) = (self.connector.clone(), self.limits);
                let request = self.request.clone();
                self.stage = Stage::Opening(Box::pin(async move {
                    ws::open(&mut connector, request, &limits).await.map(|(socket, _)| socket)
                }));
            }
            ReconnectOutput::Wait { attempt, delay } => {
                // Of an unused connection that is repaired at once, nobody has to know.
                self.quiet &= delay <= QUIET;
                if self.quiet {
                    return;
                }
                self.tell(SttEvent::State(ConnectionState::Reconnecting { attempt, wait: delay }));
            }
            ReconnectOutput::GiveUp if self.closing.is_none() => {
                self.fail("the recogniser could not be reached in the attempts allowed".into());
            }
            _ => {}
        }
    }

    /// The session ends here.
    fn fail(&mut self, reason: String) {
        self.stage = Stage::Closed;
        self.closing = Some(Closing { by: now(), asked: true });
        self.tell(SttEvent::Failed(reason));
    }

    fn lost(&mut self, reason: &str) {
        self.gone(reason, ReconnectInput::Lost);
    }

    fn gone(&mut self, reason: &str, input: ReconnectInput) {
        self.quiet = matches!(&self.stage, Stage::Open(open) if open.ready && !open.carried_audio);
        self.stage = Stage::Closed;
        if let Some(closing) = &mut self.closing {
            closing.by = now();
            return;
        }
        tracing::info!(reason, "the connection to the recogniser was lost");
        metrics::counter!("livos_stt_connections_lost_total").increment(1);
        // A provider that closes what nobody uses would do so again and again, and may bill each
        // connection a second.
        self.dormant = self.quiet && self.replay.backlog() == 0;
        if !self.dormant {
            self.reconnect.input(input);
        }
    }

    async fn on_stage(&mut self, event: StageEvent) {
        match event {
            StageEvent::Opened(Ok(socket)) => self.opened(*socket),
            StageEvent::Opened(Err(error)) if error.is_fatal() => {
                let reason = error.to_string();
                tracing::error!(reason, "the recogniser refused for good");
                // The reason is told here, so the machine's own farewell is of no interest.
                self.fail(reason);
                self.reconnect.input(ReconnectInput::Refused);
            }
            StageEvent::Opened(Err(error)) => self.gone(&error.to_string(), error.reconnect_input()),
            StageEvent::KeepAlive(KeepAliveOutput::PeerDead) => self.lost("open but mute"),
            StageEvent::KeepAlive(_) => {
                let ping = self.dialect.keep_alive();
                self.send(ping).await;
            }
            StageEvent::Link(LinkEvent::Room) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.full = false;
                }
            }
            StageEvent::Link(LinkEvent::Message(tungstenite::Message::Text(text))) => self.on_text(&text),
            StageEvent::Link(LinkEvent::Message(_)) => {}
            StageEvent::Link(LinkEvent::Lost(reason)) => self.lost(&reason),
        }
    }

    fn opened(&mut self, socket: WebSocketStream<BoxIo>) {
        let gone = self.replay.reopen(self.ring.start());
        if !gone.is_zero() {
            tracing::warn!(?gone, "speech was lost: the connection was away for longer than audio is kept");
        }
        let mut keep_alive = Drive::new(KeepAlive::new(self.watch));
        keep_alive.input(KeepAliveInput::Sent);
        if !D::READY_ON_OPEN {
            keep_alive.input(KeepAliveInput::Expect);
        }
        self.stage = Stage::Open(Box::new(Open {
            link: Link::new(socket),
            keep_alive,
            ready: false,
            full: false,
            unanswered: 0,
            audio_sent_at: now(),
            carried_audio: false,
            replaying: Some(now()),
        }));
        self.dialect.reopened(&mut self.heard);
        if D::READY_ON_OPEN {
            self.heard.push_back(Heard::Ready);
        }
        self.conclude();
    }

    fn on_text(&mut self, text: &str) {
        let message = match wire::Message::parse(text) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "the recogniser sent a message that cannot be read");
                return;
            }
        };
        if let Stage::Open(open) = &mut self.stage {
            open.keep_alive.input(KeepAliveInput::Received);
            open.unanswered = 0;
        }
        self.dialect.heard(message, &mut self.replay, &mut self.heard);
        self.conclude();
    }

    fn conclude(&mut self) {
        while let Some(heard) = self.heard.pop_front() {
            match heard {
                Heard::Event(event) => self.tell(event),
                Heard::Ready => self.ready(),
                Heard::Answered => {
                    self.tell_billed(true);
                    self.tell(SttEvent::Finalized);
                }
                Heard::Broken(reason) => self.lost(&reason),
                Heard::Over => {
                    if let Some(closing) = &mut self.closing {
                        closing.by = now();
                    }
                }
            }
        }
    }

    fn ready(&mut self) {
        let Stage::Open(open) = &mut self.stage else { return };
        open.ready = true;
        self.reconnect.input(ReconnectInput::Connected);
        if !std::mem::take(&mut self.quiet) {
            self.tell(SttEvent::State(ConnectionState::Connected));
        }
        let silence = bytes_in(self.timing.opening_silence);
        if silence > 0 && self.replay.backlog() == 0 {
            self.pad(silence);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let mut deadline = self.replay.give_up_at(self.timing.finalize_timeout);
        let mut also = |at: Option<Instant>| deadline = [deadline, at].into_iter().flatten().min();
        also(self.closing.as_ref().map(|closing| closing.by));
        if let Stage::Open(open) = &self.stage
            && open.ready
        {
            also(self.dialect.padding().map(|(after, _)| open.audio_sent_at + after));
            also(open.replaying.filter(|_| self.replay.backlog() > 0 && !open.full));
        }
        deadline
    }

    fn on_time(&mut self, now: Instant) {
        if self.replay.give_up_at(self.timing.finalize_timeout).is_some_and(|at| at <= now) {
            self.replay.give_up();
            self.tell_billed(true);
            self.tell(SttEvent::Finalized);
        }
        if let Stage::Open(open) = &mut self.stage
            && let Some((after, silence)) = self.dialect.padding()
            && open.audio_sent_at + after <= now
        {
            open.audio_sent_at = now;
            self.pad(silence);
        }
    }
}

/// Converts a wire transcript's words, with the places of their ends.
pub(super) fn words(
    replay: &Replay,
    words: Vec<wire::WireWord>,
    span: (u64, u64),
) -> (Vec<crate::stt::Word>, bool, Option<u64>) {
    let (mut kept, mut last) = (Vec::with_capacity(words.len()), None);
    let before = words.len();
    for word in words {
        let start = word.start.map_or(span.0, |at| replay.place(at));
        let end = word.end.map_or(span.1, |at| replay.place(at)).max(start);
        if replay.is_repeat(end) {
            continue;
        }
        last = last.max(Some(end));
        kept.push(crate::stt::Word {
            text: word.punctuated_word.unwrap_or(word.word),
            start: lasting(start),
            end: lasting(end),
            confidence: word.confidence,
        });
    }
    let cut = kept.len() != before;
    (kept, cut, last)
}

/// A transcript of these words: the provider's own text, unless words were cut from it.
pub(super) fn transcript(
    kind: crate::stt::TranscriptKind,
    (words, cut): (Vec<crate::stt::Word>, bool),
    text: String,
    span: (u64, u64),
) -> Transcript {
    let text =
        if cut { words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ") } else { text };
    Transcript { kind, text, words, start: lasting(span.0), end: lasting(span.1), end_of_speech: false }
}
