//! The driver of a synthesis session: one socket, kept and replaced, and the reply that is spoken
//! over it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use futures_util::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use livos_core::{
    drive::{Drive, now},
    keep_alive::{KeepAlive, KeepAliveConfig, KeepAliveInput, KeepAliveOutput},
    reconnect::{Reconnect, ReconnectInput, ReconnectOutput},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{CartesiaConfig, contexts::Reply, wire};
use crate::{
    audio::{AudioFormat, Frame},
    connect::{BoxIo, Connector},
    connection::ConnectionState,
    generation::Generation,
    tts::{Driver, TtsCommand, TtsEvent, TtsSession},
    ws::{self, OpenError},
};

/// Pieces of text that may wait. 64: an answer has a few; more means that the session is stuck.
const COMMANDS: usize = 64;
/// Audio and words that may wait for the listener. 64 messages of the provider, some seconds of
/// audio: beyond that the provider is held back.
const EVENTS: usize = 64;
/// How long a message may take to be written. 5 s: a peer that does not read for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<BoxIo>;
type Opening = BoxFuture<'static, Result<Box<Socket>, OpenError>>;

pub(super) fn open(config: Arc<CartesiaConfig>, connector: Connector) -> (TtsSession, Driver) {
    let (commands, incoming) = mpsc::channel(COMMANDS);
    let (outgoing, events) = mpsc::channel(EVENTS);
    let session = Session {
        reconnect: Drive::new(Reconnect::new(config.reconnect, rand::random())),
        config,
        connector,
        events: outgoing,
        opening: None,
        line: None,
        reply: None,
        newest: Generation(0),
        retries: 0,
        retry_at: None,
        characters: 0,
        closing: false,
    };
    (TtsSession { commands, events }, Box::pin(session.run(incoming)))
}

struct Session {
    config: Arc<CartesiaConfig>,
    connector: Connector,
    events: mpsc::Sender<TtsEvent>,
    reconnect: Drive<Reconnect>,
    opening: Option<Opening>,
    line: Option<Line>,
    reply: Option<Reply>,
    /// The newest generation that was begun or cancelled; nothing older is spoken.
    newest: Generation,
    /// Retries of the current reply, and when the next one is due.
    retries: u32,
    retry_at: Option<Instant>,
    characters: u64,
    closing: bool,
}

/// An open connection.
struct Line {
    socket: Box<Socket>,
    /// Its ping is the moment to replace it: there is no keep-alive message in this protocol.
    keep_alive: Drive<KeepAlive>,
    buffer: BytesMut,
    /// Half a sample that waits for its other half.
    odd: Option<u8>,
}

/// What woke the driver.
enum Wake {
    Command(Option<TtsCommand>),
    Reconnect(ReconnectOutput),
    Opened(Result<Box<Socket>, OpenError>),
    Message(Option<Result<Message, tokio_tungstenite::tungstenite::Error>>),
    KeepAlive(KeepAliveOutput),
    Retry,
}

impl Session {
    async fn run(mut self, mut commands: mpsc::Receiver<TtsCommand>) {
        self.reconnect.input(ReconnectInput::Start);
        while !self.closing {
            match self.wake(&mut commands).await {
                Wake::Command(command) => self.command(command).await,
                Wake::Reconnect(output) => self.reconnect(output).await,
                Wake::Opened(result) => self.opened(result).await,
                Wake::Message(message) => self.message(message).await,
                Wake::KeepAlive(output) => self.keep_alive(output).await,
                Wake::Retry => {
                    self.retry_at = None;
                    self.submit().await;
                }
            }
        }
        if let Some(mut line) = self.line.take() {
            let _ = tokio::time::timeout(WRITE_TIMEOUT, line.socket.close()).await;
        }
        self.tell(TtsEvent::State(ConnectionState::Closed)).await;
    }

    async fn wake(&mut self, commands: &mut mpsc::Receiver<TtsCommand>) -> Wake {
        let retry_at = self.retry_at;
        let retry = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let opening = async {
            match &mut self.opening {
                Some(opening) => opening.await,
                None => std::future::pending().await,
            }
        };
        let line = async {
            match &mut self.line {
                Some(line) => tokio::select! {
                    message = line.socket.next() => Wake::Message(message),
                    output = line.keep_alive.next() => Wake::KeepAlive(output),
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            output = self.reconnect.next() => Wake::Reconnect(output),
            result = opening => Wake::Opened(result),
            () = retry => Wake::Retry,
            wake = line => wake,
        }
    }

    async fn command(&mut self, command: Option<TtsCommand>) {
        match command {
            Some(TtsCommand::Speak { generation, text }) => {
                if self.begin(generation).await {
                    if let Some(reply) = &mut self.reply {
                        reply.push(&text);
                    }
                    self.submit().await;
                }
            }
            Some(TtsCommand::Finish(generation)) => {
                if self.begin(generation).await {
                    if let Some(reply) = &mut self.reply {
                        reply.finish();
                    }
                    self.submit().await;
                    self.end_if_complete().await;
                }
            }
            Some(TtsCommand::Cancel(generation)) => {
                self.newest = self.newest.max(generation);
                if self.reply.as_ref().is_some_and(|reply| reply.generation <= generation) {
                    self.cancel().await;
                }
            }
            Some(TtsCommand::Close) | None => {
                self.reconnect.input(ReconnectInput::Drain);
                self.closing = true;
            }
        }
    }

    /// Makes `generation` the one that is spoken; false when it is too old.
    async fn begin(&mut self, generation: Generation) -> bool {
        if self.reply.as_ref().is_some_and(|reply| reply.generation == generation) {
            return true;
        }
        // A generation that has ended or was cancelled does not come back.
        if generation <= self.newest {
            return false;
        }
        self.cancel().await;
        self.newest = generation;
        (self.retries, self.retry_at) = (0, None);
        self.reply = Some(Reply::new(generation));
        true
    }

    /// Drops the current reply. The provider is told, and whatever it still sends of it belongs to
    /// no context that is known here.
    async fn cancel(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        self.retry_at = None;
        if let Some(context) = reply.context_id() {
            let message = wire::cancel(context);
            self.send(message).await;
        }
        if let Some(line) = &mut self.line {
            line.odd = None;
            line.keep_alive.input(KeepAliveInput::Received);
        }
        self.tell(TtsEvent::Billed(self.characters)).await;
    }

    async fn reconnect(&mut self, output: ReconnectOutput) {
        match output {
            ReconnectOutput::Connect { attempt } => {
                if attempt == 1 {
                    self.tell(TtsEvent::State(ConnectionState::Connecting)).await;
                }
                let (mut connector, config) = (self.connector.clone(), Arc::clone(&self.config));
                let opening = async move {
                    let request = config.request().map_err(|error| OpenError::Request(error.into()))?;
                    ws::open(&mut connector, request, &config.limits)
                        .await
                        .map(|(socket, _)| Box::new(socket))
                };
                self.opening = Some(opening.boxed());
            }
            ReconnectOutput::Wait { attempt, delay } => {
                self.tell(TtsEvent::State(ConnectionState::Reconnecting { attempt, wait: delay })).await;
            }
            ReconnectOutput::GiveUp => self.closing = true,
        }
    }

    async fn opened(&mut self, result: Result<Box<Socket>, OpenError>) {
        self.opening = None;
        match result {
            Ok(socket) => {
                let mut timing = KeepAliveConfig::default();
                timing.interval = self.config.recycle_after;
                timing.mute_after = self.config.mute_after;
                let mut keep_alive = Drive::new(KeepAlive::new(timing));
                keep_alive.input(KeepAliveInput::Sent);
                self.line = Some(Line { socket, keep_alive, buffer: BytesMut::new(), odd: None });
                self.reconnect.input(ReconnectInput::Connected);
                self.tell(TtsEvent::State(ConnectionState::Connected)).await;
                self.submit().await;
            }
            Err(error) if error.is_fatal() => {
                self.reconnect.input(ReconnectInput::Refused);
                self.tell(TtsEvent::Refused(error.to_string())).await;
            }
            Err(error) => {
                tracing::debug!(%error, "text to speech: an attempt to connect failed");
                self.reconnect.input(error.reconnect_input());
            }
        }
    }

    async fn message(&mut self, message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) {
        match message {
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<wire::Incoming<'_>>(&text) {
                Ok(incoming) => self.incoming(&incoming).await,
                Err(error) => {
                    tracing::warn!(%error, "text to speech: a message is not of the protocol and is skipped");
                }
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => self.lost().await,
            // Pings are answered by the socket itself; this protocol has no binary messages.
            Some(Ok(_)) => {}
        }
    }

    async fn incoming(&mut self, incoming: &wire::Incoming<'_>) {
        let current = self.reply.as_ref().and_then(Reply::context_id);
        match &incoming.context_id {
            Some(context) if Some(&**context) == current => {}
            // Late audio of an interrupted reply, or of a context that was left.
            Some(_) => return,
            None if &*incoming.kind == "error" => {
                tracing::warn!(
                    reason = incoming.error_text(),
                    "text to speech: the provider reports an error of the connection"
                );
                return self.lost().await;
            }
            None => return,
        }
        if let Some(line) = &mut self.line {
            line.keep_alive.input(KeepAliveInput::Received);
        }
        match &*incoming.kind {
            "chunk" => self.chunk(incoming.data.as_deref().unwrap_or_default()).await,
            "timestamps" => self.words(incoming).await,
            "done" => self.context_done().await,
            "error" => self.failed(incoming).await,
            // `flush_done`, `phoneme_timestamps` and what the provider may add.
            _ => {}
        }
        let owed = self.reply.as_ref().is_some_and(Reply::is_owed);
        if let (true, Some(line)) = (owed, &mut self.line) {
            line.keep_alive.input(KeepAliveInput::Expect);
        }
    }

    async fn chunk(&mut self, data: &str) {
        let (Some(line), Some(reply)) = (&mut self.line, &mut self.reply) else { return };
        let Some(bytes) = line.decode(data) else {
            tracing::warn!("text to speech: a chunk of audio is not base64 and is skipped");
            return;
        };
        reply.audio(now(), bytes.len());
        let generation = reply.generation;
        // The buffer holds whole samples.
        if let Ok(frame) = Frame::new(AudioFormat::VOICE, bytes)
            && !frame.is_empty()
        {
            self.tell(TtsEvent::Audio { generation, frame }).await;
        }
    }

    async fn words(&mut self, incoming: &wire::Incoming<'_>) {
        let (Some(times), Some(reply)) = (&incoming.word_timestamps, &mut self.reply) else { return };
        let words = reply.words(&times.words, &times.start, &times.end);
        let generation = reply.generation;
        if !words.is_empty() {
            self.tell(TtsEvent::Words { generation, words }).await;
        }
    }

    async fn context_done(&mut self) {
        let Some(reply) = &mut self.reply else { return };
        if reply.context_done() {
            self.end().await;
        } else {
            // The provider ended the context before we did: what comes next goes into another.
            self.submit().await;
        }
    }

    /// The provider failed one context: busy or broken is tried again, a refusal is not.
    async fn failed(&mut self, incoming: &wire::Incoming<'_>) {
        let Some(reply) = &mut self.reply else { return };
        let (generation, reason) = (reply.generation, incoming.error_text());
        let passing = incoming.status_code.is_none_or(|status| status == 429 || status >= 500);
        if !passing || self.retries >= self.config.retries {
            self.reply = None;
            let reason = format!("the text to speech provider failed: {reason}");
            self.tell(TtsEvent::Failed { generation, reason }).await;
            return self.tell(TtsEvent::Billed(self.characters)).await;
        }
        tracing::debug!(reason, "text to speech: a context failed and is tried again");
        self.retry_at = Some(Instant::now() + self.config.retry_delay * 2u32.saturating_pow(self.retries));
        self.retries += 1;
        self.interrupted().await;
    }

    async fn keep_alive(&mut self, output: KeepAliveOutput) {
        match output {
            KeepAliveOutput::PeerDead => {
                tracing::warn!("text to speech: the connection is open but mute, and is replaced");
                metrics::counter!("livos_mute_connections_total", "provider" => "tts").increment(1);
                self.lost().await;
            }
            KeepAliveOutput::SendPing if self.reply.is_none() => {
                tracing::debug!(
                    "text to speech: the idle connection is replaced before the provider closes it"
                );
                self.lost().await;
            }
            // In the middle of a reply the connection is not idle.
            KeepAliveOutput::SendPing => {}
        }
    }

    /// The connection is gone, or is given up; the reply goes on over the next one.
    async fn lost(&mut self) {
        if let Some(mut line) = self.line.take() {
            // A courtesy that must not hold anything up.
            let _ = tokio::time::timeout(Duration::from_millis(10), line.socket.close()).await;
        }
        self.reconnect.input(ReconnectInput::Lost);
        self.interrupted().await;
    }

    async fn interrupted(&mut self) {
        if let Some(line) = &mut self.line {
            line.odd = None;
        }
        let Some(reply) = &mut self.reply else { return };
        let generation = reply.generation;
        if let Some(at) = reply.interrupted() {
            self.tell(TtsEvent::Truncate { generation, at }).await;
        }
        if let Some(pause) = self.reply.as_mut().and_then(Reply::seam) {
            let silence = vec![0; AudioFormat::VOICE.bytes_in(pause)];
            if let Ok(frame) = Frame::new(AudioFormat::VOICE, silence.into()) {
                self.tell(TtsEvent::Audio { generation, frame }).await;
            }
        }
        self.end_if_complete().await;
    }

    async fn end_if_complete(&mut self) {
        if self.reply.as_ref().is_some_and(|reply| reply.is_complete() && !reply.is_owed()) {
            self.end().await;
        }
    }

    async fn end(&mut self) {
        if let Some(reply) = self.reply.take() {
            if let Some(line) = &mut self.line {
                line.keep_alive.input(KeepAliveInput::Received);
                line.odd = None;
            }
            self.tell(TtsEvent::Done(reply.generation)).await;
            self.tell(TtsEvent::Billed(self.characters)).await;
        }
    }

    /// Sends what waits, when there is a connection and no retry is due later.
    async fn submit(&mut self) {
        if self.line.is_none() || self.retry_at.is_some() {
            return;
        }
        let Some(submission) =
            self.reply.as_mut().and_then(|reply| reply.submit(now(), self.config.context_idle))
        else {
            return;
        };
        self.characters += submission.transcript.chars().count() as u64;
        let message =
            wire::generate(&self.config, &submission.context, &submission.transcript, submission.more);
        self.send(message).await;
        if let Some(line) = &mut self.line {
            line.keep_alive.input(KeepAliveInput::Expect);
        }
    }

    async fn send(&mut self, message: String) {
        let Some(line) = &mut self.line else { return };
        line.keep_alive.input(KeepAliveInput::Sent);
        let sending = line.socket.send(Message::text(message));
        if !matches!(tokio::time::timeout(WRITE_TIMEOUT, sending).await, Ok(Ok(()))) {
            // The reader sees the same break, and reports it once.
            tracing::debug!("text to speech: a message could not be sent");
        }
    }

    async fn tell(&mut self, event: TtsEvent) {
        if self.events.send(event).await.is_err() {
            self.closing = true;
        }
    }
}

impl Line {
    /// Audio from base64 in a buffer that is used again once the frames made of it are gone. Keeps
    /// half a sample for the next chunk.
    fn decode(&mut self, data: &str) -> Option<bytes::Bytes> {
        self.buffer.clear();
        let carried = usize::from(self.odd.is_some());
        self.buffer.resize(carried + data.len() / 4 * 3 + 3, 0);
        if let Some(odd) = self.odd.take() {
            self.buffer[0] = odd;
        }
        let decoded = STANDARD.decode_slice(data, &mut self.buffer[carried..]).ok()?;
        let mut length = carried + decoded;
        if length % AudioFormat::BYTES_PER_SAMPLE == 1 {
            length -= 1;
            self.odd = Some(self.buffer[length]);
        }
        self.buffer.truncate(length);
        Some(self.buffer.split().freeze())
    }
}
