//! A synthesis session: one reply after another on a line to the provider.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use http::Request;
use livos_core::{drive::now, keep_alive::KeepAliveConfig};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::{CartesiaConfig, contexts::Reply, decoder::Decoder, wire};
use crate::{
    audio::{AudioFormat, Frame},
    connect::Connector,
    connection::ConnectionState,
    generation::Generation,
    line::{Line, LineConfig, LineEvent, Loss, Outbox, until},
    tts::{Driver, TtsCommand, TtsEvent, TtsSession},
};

/// Pieces of text that may wait. 64: an answer has a few; more means that the session is stuck.
const COMMANDS: usize = 64;
/// Audio and words that may wait for the listener in the channel, and again as many in the driver.
/// 64 messages of the provider, some seconds of audio: beyond that the provider is held back.
const EVENTS: usize = 64;
/// Cancelled contexts whose cancellation may wait for a peer that does not read. 16: beyond that a
/// new connection ends them all.
const MAX_CANCELS: usize = 16;

pub(super) fn open(
    config: Arc<CartesiaConfig>,
    request: Request<()>,
    connector: Connector,
) -> (TtsSession, Driver) {
    let (commands, incoming) = mpsc::channel(COMMANDS);
    let (outgoing, events) = mpsc::channel(EVENTS);
    let mut keep_alive = KeepAliveConfig::default();
    keep_alive.interval = config.recycle_after;
    keep_alive.mute_after = config.mute_after;
    let line = LineConfig { limits: config.limits, reconnect: config.reconnect, keep_alive };
    let session = Session {
        line: Line::new(connector, request, line, rand::random()),
        config,
        outbox: Outbox::new(outgoing, EVENTS),
        decoder: Decoder::default(),
        cancels: VecDeque::new(),
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
    line: Line,
    outbox: Outbox<TtsEvent>,
    decoder: Decoder,
    /// Cancellations that had no room yet.
    cancels: VecDeque<String>,
    reply: Option<Reply>,
    /// The newest generation that was begun or cancelled; nothing older is spoken.
    newest: Generation,
    /// Retries of the current reply, and when the next one is due.
    retries: u32,
    retry_at: Option<Instant>,
    characters: u64,
    closing: bool,
}

impl Session {
    async fn run(mut self, mut commands: mpsc::Receiver<TtsCommand>) {
        while !self.closing {
            let retry_at = self.retry_at;
            tokio::select! {
                biased;
                command = commands.recv() => self.on_command(command),
                delivered = self.outbox.deliver() => if delivered.is_err() { return },
                () = until(retry_at), if retry_at.is_some() => {
                    self.retry_at = None;
                    self.submit();
                }
                event = self.line.next(), if !self.outbox.is_full() => self.on_line(event),
            }
        }
        self.tell(TtsEvent::State(ConnectionState::Closed));
        tokio::join!(self.outbox.finish(), self.line.close());
    }

    fn on_command(&mut self, command: Option<TtsCommand>) {
        match command {
            Some(TtsCommand::Speak { generation, text }) => {
                if let Some(reply) = self.begin(generation) {
                    reply.push(&text);
                    self.submit();
                }
            }
            Some(TtsCommand::Finish(generation)) => {
                if let Some(reply) = self.begin(generation) {
                    reply.finish();
                    self.submit();
                    self.end_if_complete();
                }
            }
            Some(TtsCommand::Cancel(generation)) => {
                self.newest = self.newest.max(generation);
                if self.reply.as_ref().is_some_and(|reply| reply.generation <= generation) {
                    self.cancel();
                }
            }
            Some(TtsCommand::Close) | None => {
                self.line.drain();
                self.closing = true;
            }
        }
    }

    /// Makes `generation` the one that is spoken; `None` when it is too old.
    fn begin(&mut self, generation: Generation) -> Option<&mut Reply> {
        if self.reply.as_ref().is_none_or(|reply| reply.generation != generation) {
            // A generation that has ended or was cancelled does not come back.
            if generation <= self.newest {
                return None;
            }
            self.cancel();
            self.newest = generation;
            (self.retries, self.retry_at) = (0, None);
            self.reply = Some(Reply::new(generation));
        }
        self.reply.as_mut()
    }

    /// Drops the current reply. The provider is told, and whatever it still sends of it belongs to
    /// no context that is known here.
    fn cancel(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        self.retry_at = None;
        self.decoder.reset();
        self.line.received();
        // What the listener has not taken yet is not wanted any more.
        self.outbox.retain(|event| generation_of(event).is_none_or(|of| of > reply.generation));
        if let Some(context) = reply.context_id() {
            self.cancels.push_back(wire::cancel(context));
            self.send_cancels();
        }
        self.tell(TtsEvent::Billed(self.characters));
    }

    /// True when none is left.
    fn send_cancels(&mut self) -> bool {
        while !self.cancels.is_empty() && self.line.has_room() {
            if let Some(cancel) = self.cancels.pop_front() {
                self.line.send(Message::text(cancel));
            }
        }
        if self.cancels.len() > MAX_CANCELS {
            self.replace();
        }
        self.cancels.is_empty()
    }

    fn on_line(&mut self, event: LineEvent) {
        match event {
            LineEvent::Connecting { attempt: 1 } => self.tell(TtsEvent::State(ConnectionState::Connecting)),
            LineEvent::Connecting { .. } => {}
            LineEvent::Waiting { attempt, wait } => {
                self.tell(TtsEvent::State(ConnectionState::Reconnecting { attempt, wait }));
            }
            LineEvent::Opened => {
                self.line.connected();
                self.tell(TtsEvent::State(ConnectionState::Connected));
                self.submit();
            }
            LineEvent::Failed(error) => {
                tracing::debug!(%error, "text to speech: an attempt to connect failed");
                self.line.reconnect();
            }
            LineEvent::Refused(error) => {
                self.closing = true;
                self.tell(TtsEvent::Refused(error.to_string()));
            }
            LineEvent::GaveUp => self.closing = true,
            LineEvent::Lost(loss) => self.lost(&loss),
            // In the middle of a reply the connection is not idle.
            LineEvent::Idle if self.reply.is_none() => {
                tracing::debug!(
                    "text to speech: the idle connection is replaced before the provider closes it"
                );
                self.replace();
            }
            LineEvent::Idle => {}
            LineEvent::Room => self.submit(),
            LineEvent::Text(text) => self.on_text(&text),
        }
    }

    fn lost(&mut self, loss: &Loss) {
        if matches!(loss, Loss::Mute | Loss::Stalled) {
            tracing::warn!("text to speech: the connection is {loss}, and is replaced");
            metrics::counter!("livos_mute_connections_total", "provider" => "tts").increment(1);
        }
        self.replace();
    }

    /// The connection is gone, or is given up; the reply goes on over the next one.
    fn replace(&mut self) {
        self.cancels.clear();
        self.line.hang_up();
        self.line.reconnect();
        self.interrupted();
    }

    fn on_text(&mut self, text: &str) {
        match serde_json::from_str::<wire::Incoming<'_>>(text) {
            Ok(incoming) => self.incoming(&incoming),
            Err(error) => {
                tracing::warn!(%error, "text to speech: a message is not of the protocol and is skipped");
            }
        }
    }

    fn incoming(&mut self, incoming: &wire::Incoming<'_>) {
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
                return self.replace();
            }
            None => return,
        }
        self.line.received();
        match &*incoming.kind {
            "chunk" => self.chunk(incoming.data.as_deref().unwrap_or_default()),
            "timestamps" => self.words(incoming),
            "done" => self.context_done(),
            "error" => self.failed(incoming),
            // `flush_done`, `phoneme_timestamps` and what the provider may add.
            _ => {}
        }
        if self.reply.as_ref().is_some_and(Reply::is_owed) {
            self.line.expect();
        }
    }

    fn chunk(&mut self, data: &str) {
        let Some(reply) = &mut self.reply else { return };
        let Some(bytes) = self.decoder.decode(data) else {
            tracing::warn!("text to speech: a chunk of audio is not base64 and is skipped");
            return;
        };
        reply.audio(now(), bytes.len());
        let generation = reply.generation;
        // The decoder answers whole samples.
        if let Ok(frame) = Frame::new(AudioFormat::VOICE, bytes)
            && !frame.is_empty()
        {
            self.tell(TtsEvent::Audio { generation, frame });
        }
    }

    fn words(&mut self, incoming: &wire::Incoming<'_>) {
        let (Some(times), Some(reply)) = (&incoming.word_timestamps, &mut self.reply) else { return };
        let words = reply.words(&times.words, &times.start, &times.end);
        let generation = reply.generation;
        if !words.is_empty() {
            self.tell(TtsEvent::Words { generation, words });
        }
    }

    fn context_done(&mut self) {
        let Some(reply) = &mut self.reply else { return };
        if reply.context_done() {
            self.end();
        } else {
            // The provider ended the context before we did: what comes next goes into another.
            self.submit();
        }
    }

    /// The provider failed one context: busy or broken is tried again, a refusal is not.
    fn failed(&mut self, incoming: &wire::Incoming<'_>) {
        let Some(reply) = &mut self.reply else { return };
        let (generation, reason) = (reply.generation, incoming.error_text());
        let passing = incoming.status_code.is_none_or(|status| status == 429 || status >= 500);
        if !passing || self.retries >= self.config.retries {
            self.reply = None;
            let reason = format!("the text to speech provider failed: {reason}");
            self.tell(TtsEvent::Failed { generation, reason });
            return self.tell(TtsEvent::Billed(self.characters));
        }
        tracing::debug!(reason, "text to speech: a context failed and is tried again");
        self.retry_at = Some(now() + self.config.retry_delay * 2u32.saturating_pow(self.retries));
        self.retries += 1;
        self.interrupted();
    }

    fn interrupted(&mut self) {
        self.decoder.reset();
        let Some(reply) = &mut self.reply else { return };
        let generation = reply.generation;
        let truncated = reply.interrupted();
        let pause = reply.seam();
        if let Some(at) = truncated {
            self.tell(TtsEvent::Truncate { generation, at });
        }
        if let Some(pause) = pause {
            let silence = vec![0; AudioFormat::VOICE.bytes_in(pause)];
            if let Ok(frame) = Frame::new(AudioFormat::VOICE, silence.into()) {
                self.tell(TtsEvent::Audio { generation, frame });
            }
        }
        self.end_if_complete();
    }

    fn end_if_complete(&mut self) {
        if self.reply.as_ref().is_some_and(|reply| reply.is_complete() && !reply.is_owed()) {
            self.end();
        }
    }

    fn end(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        self.line.received();
        self.decoder.reset();
        self.tell(TtsEvent::Done(reply.generation));
        self.tell(TtsEvent::Billed(self.characters));
    }

    /// Sends what waits, when there is room on a connection and no retry is due later.
    fn submit(&mut self) {
        if !self.send_cancels() || self.retry_at.is_some() || !self.line.has_room() {
            return;
        }
        let idle = self.config.context_idle;
        let Some(submission) = self.reply.as_mut().and_then(|reply| reply.submit(now(), idle)) else {
            return;
        };
        self.characters += submission.transcript.chars().count() as u64;
        let message =
            wire::generate(&self.config, &submission.context, &submission.transcript, submission.more);
        self.line.send(Message::text(message));
        self.line.expect();
    }

    fn tell(&mut self, event: TtsEvent) {
        let same = |last: &TtsEvent, new: &TtsEvent| match last {
            TtsEvent::State(_) => matches!(new, TtsEvent::State(_)),
            TtsEvent::Billed(_) => matches!(new, TtsEvent::Billed(_)),
            _ => false,
        };
        self.outbox.push(event, same);
    }
}

/// The reply that an event belongs to.
fn generation_of(event: &TtsEvent) -> Option<Generation> {
    match event {
        TtsEvent::Audio { generation, .. }
        | TtsEvent::Words { generation, .. }
        | TtsEvent::Truncate { generation, .. }
        | TtsEvent::Failed { generation, .. }
        | TtsEvent::Done(generation) => Some(*generation),
        TtsEvent::State(_) | TtsEvent::Billed(_) | TtsEvent::Refused(_) => None,
    }
}
