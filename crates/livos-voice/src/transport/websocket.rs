//! The browser protocol over a WebSocket whose handshake is done.
//!
//! Writing never waits: messages join a bounded queue that polling drains. That keeps one slow
//! listener from holding up the decisions of its own session, and lets a `clear` overtake audio
//! that has not left yet.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    AudioTransport, Incoming, Outgoing,
    intake::{HELLO_TIMEOUT, Intake, Violation, expected_hello},
    protocol::{ErrorCode, MAX_AUDIO_MESSAGE, ServerMessage},
};
use crate::generation::Generation;

/// How long the peer may take to answer our close. 2 s: longer only holds a slot of a server that
/// is shutting down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the peer is pinged; proxies cut what is idle for 60 s.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// After how long without any sign the peer is gone: three pings.
const MUTE_AFTER: Duration = Duration::from_secs(45);
/// Bytes that may wait for a slow listener: 30 s of audio at 48 kHz, and its messages.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Messages that may wait for a slow listener; text messages are small but not free.
const MAX_QUEUED: usize = 16 * 1024;

/// The configuration a server should upgrade with: small buffers, and no message longer than the
/// protocol allows.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(256 * 1024)
        .max_message_size(Some(MAX_AUDIO_MESSAGE))
        .max_frame_size(Some(MAX_AUDIO_MESSAGE))
}

/// One client of the browser protocol.
#[derive(Debug)]
pub struct WebSocketTransport<IO> {
    socket: WebSocketStream<IO>,
    intake: Intake,
    /// What waits for the socket; audio with its generation.
    queue: VecDeque<(Option<Generation>, Message)>,
    queued_bytes: usize,
    /// Something was written that the socket has not flushed.
    unflushed: bool,
    state: State,
    /// A message was too long to read, so nothing after it can be read.
    deaf: bool,
    timer: Pin<Box<Sleep>>,
    last_received: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Messages go both ways.
    Open,
    /// Our close is queued or sent; nothing that still comes is handed over.
    Closing,
    Closed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> WebSocketTransport<IO> {
    /// The transport over a server's WebSocket, upgraded with [`config`]. Its deadlines need a
    /// tokio runtime with time.
    pub fn new(socket: WebSocketStream<IO>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            intake: Intake::new(now.into_std()),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            state: State::Open,
            deaf: false,
            timer: Box::pin(tokio::time::sleep_until(now + HELLO_TIMEOUT)),
            last_received: now,
        }
    }

    fn refuse(&mut self, violation: Violation) {
        let fatal = violation.code.close_code().is_some();
        tracing::debug!(code = ?violation.code, fatal, "the client broke a rule: {violation}");
        metrics::counter!("livos_voice_violations_total").increment(1);
        self.send(Outgoing::Message(violation.code.message(violation.message)));
        if fatal {
            self.send(Outgoing::Close(Some(violation.code)));
        }
    }

    /// Writes as much of the queue as the socket takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), tungstenite::Error> {
        while !self.queue.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(()) => {}
            }
            let Some((_, message)) = self.queue.pop_front() else { break };
            self.queued_bytes -= message.len();
            Pin::new(&mut self.socket).start_send(message)?;
            self.unflushed = true;
        }
        if self.unflushed && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.state {
                State::Open if !self.intake.is_open() => self.refuse(expected_hello()),
                State::Open if now - self.last_received >= MUTE_AFTER => self.state = State::Closed,
                State::Open => {
                    self.enqueue(None, Message::Ping(Bytes::new()));
                    self.timer.as_mut().reset(now + PING_INTERVAL);
                }
                State::Closing | State::Closed => self.state = State::Closed,
            }
            if self.state == State::Closed {
                return;
            }
        }
    }

    fn enqueue(&mut self, generation: Option<Generation>, message: Message) {
        self.queued_bytes += message.len();
        self.queue.push_back((generation, message));
        if self.queued_bytes > MAX_QUEUED_BYTES || self.queue.len() > MAX_QUEUED {
            tracing::debug!("the client reads too slowly for what it is sent");
            self.state = State::Closed;
        }
    }

    fn drop_audio_until(&mut self, cleared: Generation) {
        let dropped = &mut self.queued_bytes;
        self.queue.retain(|(generation, message)| {
            let keep = generation.is_none_or(|generation| generation > cleared);
            *dropped -= if keep { 0 } else { message.len() };
            keep
        });
    }

    fn close(&mut self, code: Option<ErrorCode>) {
        let code = code.and_then(ErrorCode::close_code).map_or(CloseCode::Normal, CloseCode::from);
        self.enqueue(None, Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") })));
        if self.state == State::Open {
            self.state = State::Closing;
            self.timer.as_mut().reset(Instant::now() + CLOSE_TIMEOUT);
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(tungstenite::Error::Capacity(error))) if self.state == State::Open => {
                    // The rest of the message is still on the wire: nothing that follows can be
                    // read.
                    self.deaf = true;
                    self.refuse(Violation { code: ErrorCode::TooLarge, message: error.to_string() });
                    return Poll::Pending;
                }
                Some(Err(error)) => {
                    tracing::debug!("the connection to the client broke: {error}");
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(None),
            };
            let now = Instant::now();
            self.last_received = now;
            let checked = match message {
                _ if self.state != State::Open => continue,
                Message::Text(text) => self.intake.text(now.into_std(), &text),
                Message::Binary(bytes) => self.intake.audio(now.into_std(), bytes),
                // The library answers pings and closes itself, when the socket is polled on.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                Message::Close(_) => {
                    self.state = State::Closing;
                    self.timer.as_mut().reset(now + CLOSE_TIMEOUT);
                    self.queue.clear();
                    self.queued_bytes = 0;
                    continue;
                }
            };
            match checked {
                Ok(incoming) => {
                    if let Incoming::Hello(_) = incoming {
                        self.timer.as_mut().reset(now + PING_INTERVAL);
                    }
                    return Poll::Ready(Some(incoming));
                }
                Err(violation) => self.refuse(violation),
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> AudioTransport for WebSocketTransport<IO> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if self.state != State::Closed {
            self.poll_timer(cx);
        }
        if self.state == State::Closed {
            return Poll::Ready(None);
        }
        let received = if self.deaf { Poll::Pending } else { self.poll_read(cx) };
        // Even an ended stream may have the answer to a close to write.
        let written = self.poll_write(cx);
        if let Err(error) = &written {
            tracing::debug!("writing to the client failed: {error}");
        }
        if written.is_err() || matches!(received, Poll::Ready(None)) {
            self.state = State::Closed;
            return Poll::Ready(None);
        }
        received
    }

    fn send(&mut self, message: Outgoing) {
        if self.state != State::Open {
            return;
        }
        match message {
            Outgoing::Message(message) => {
                match &message {
                    ServerMessage::SpeechStart { generation } | ServerMessage::Reply { generation, .. } => {
                        self.intake.spoke(*generation);
                    }
                    ServerMessage::Clear { generation } => self.drop_audio_until(*generation),
                    _ => {}
                }
                match serde_json::to_string(&message) {
                    Ok(json) => self.enqueue(None, Message::Text(json.into())),
                    Err(error) => tracing::error!("a server message has no JSON: {error}"),
                }
            }
            Outgoing::Audio { generation, bytes } => self.enqueue(Some(generation), Message::Binary(bytes)),
            Outgoing::Close(code) => self.close(code),
        }
    }
}

#[cfg(test)]
mod tests;
