//! One connection to a provider: connect, keep alive, connect again, hold back, close.
//!
//! A session with a provider decides what to say; its line decides when there is a connection to
//! say it on. The owner of a line polls it next to its own commands, and nothing that it calls in
//! between waits: a message that has no room is refused, and the line tells once there is room. So
//! a peer that does not read never holds up a command of the listener, such as an interruption.
//!
//! There is never a second connection: the next one is opened only after the owner learned that the
//! last one is gone, and asked for another.

mod open;
mod outbox;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::pending,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::Request;
use livos_core::{
    drive::{Drive, now},
    keep_alive::{KeepAlive, KeepAliveConfig, KeepAliveInput, KeepAliveOutput},
    reconnect::{Reconnect, ReconnectConfig, ReconnectInput, ReconnectOutput},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes},
};

pub use open::{Limits, OpenError};
#[cfg(feature = "deepgram")]
pub(crate) use open::{excerpt, retry_after, secrets_of};
pub(crate) use outbox::Outbox;
use socket::{Socket, SocketEvent};

use crate::connect::{BoxIo, Connector};

/// How long a message may wait for a peer that does not read. 5 s: such a peer is of no use in a
/// conversation, whatever it still sends.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// How long the peer may take to answer our close frame. 1 s: several round trips.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a line is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineConfig {
    pub(crate) limits: Limits,
    pub(crate) reconnect: ReconnectConfig,
    /// The interval after which [`LineEvent::Idle`] comes, and how long an expected answer may
    /// take.
    pub(crate) keep_alive: KeepAliveConfig,
}

/// What happened on a line.
#[derive(Debug)]
pub(crate) enum LineEvent {
    /// An attempt to connect begins.
    Connecting {
        #[cfg_attr(not(feature = "cartesia"), allow(dead_code, reason = "only one client tells it"))]
        attempt: u32,
    },
    /// The next attempt comes after a wait.
    Waiting { attempt: u32, wait: Duration },
    /// The socket is open. The owner calls [`Line::connected`] once the provider is ready.
    Opened,
    /// An attempt failed; the owner calls [`Line::reconnect`] for another.
    Failed(OpenError),
    /// The provider refused for good. No other event follows.
    Refused(OpenError),
    /// The attempts that are allowed are used up. No other event follows.
    GaveUp,
    /// The connection is gone; the owner calls [`Line::reconnect`] for another.
    Lost(Loss),
    /// Nothing was sent for the keep-alive interval.
    Idle,
    /// A message that had no room would have room now.
    Room,
    /// A text message came.
    Text(Utf8Bytes),
}

/// Why a connection is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was open, but an expected answer did not come.
    Mute,
    /// It was open, but the peer did not read for [`STALLED_AFTER`].
    Stalled,
    /// It broke, or the peer closed it.
    Broken(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mute => f.write_str("open but mute"),
            Self::Stalled => f.write_str("open but not read"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

/// One connection to a provider, replaced as often as its owner asks.
pub(crate) struct Line {
    connector: Connector,
    request: Request<()>,
    config: LineConfig,
    reconnect: Drive<Reconnect>,
    stage: Stage,
    /// What the last loss means for the wait before the next attempt.
    loss: ReconnectInput,
}

enum Stage {
    Closed,
    Opening(BoxFuture<'static, Result<Box<WebSocketStream<BoxIo>>, OpenError>>),
    Open(Box<Open>),
}

struct Open {
    socket: Socket,
    keep_alive: Drive<KeepAlive>,
    /// Since when a message has had no room.
    full_since: Option<Instant>,
    /// A write failed: why.
    broken: Option<String>,
}

enum StageEvent {
    Opened(Result<Box<WebSocketStream<BoxIo>>, OpenError>),
    KeepAlive(KeepAliveOutput),
    Socket(SocketEvent),
    Lost(Loss),
}

impl Line {
    /// A line that makes its first attempt when it is polled. `seed` is for the jitter of its
    /// waits.
    pub(crate) fn new(connector: Connector, request: Request<()>, config: LineConfig, seed: u64) -> Self {
        let mut reconnect = Drive::new(Reconnect::new(config.reconnect, seed));
        reconnect.input(ReconnectInput::Start);
        let loss = ReconnectInput::Lost;
        Self { connector, request, config, reconnect, stage: Stage::Closed, loss }
    }

    /// The next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> LineEvent {
        loop {
            let event = tokio::select! {
                biased;
                output = self.reconnect.next() => Some(self.reconnecting(output)),
                event = self.stage.next() => self.on_stage(event),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn reconnecting(&mut self, output: ReconnectOutput) -> LineEvent {
        match output {
            ReconnectOutput::Connect { attempt } => {
                let (mut connector, limits) = (self.connector.clone(), self.config.limits);
                let request = self.request.clone();
                let opening = async move { open::open(&mut connector, request, &limits).await.map(Box::new) };
                self.stage = Stage::Opening(opening.boxed());
                LineEvent::Connecting { attempt }
            }
            ReconnectOutput::Wait { attempt, delay } => LineEvent::Waiting { attempt, wait: delay },
            ReconnectOutput::GiveUp => LineEvent::GaveUp,
        }
    }

    fn on_stage(&mut self, event: StageEvent) -> Option<LineEvent> {
        Some(match event {
            StageEvent::Opened(Ok(socket)) => {
                self.stage = Stage::Open(Box::new(Open::new(*socket, self.config.keep_alive)));
                LineEvent::Opened
            }
            StageEvent::Opened(Err(error)) => {
                self.hang_up();
                self.loss = error.reconnect_input();
                if error.is_fatal() {
                    self.drain();
                    return Some(LineEvent::Refused(error));
                }
                LineEvent::Failed(error)
            }
            StageEvent::KeepAlive(KeepAliveOutput::SendPing) => LineEvent::Idle,
            StageEvent::KeepAlive(KeepAliveOutput::PeerDead) => self.lost(Loss::Mute),
            StageEvent::Lost(loss) => self.lost(loss),
            StageEvent::Socket(SocketEvent::Lost(reason)) => self.lost(Loss::Broken(reason)),
            StageEvent::Socket(SocketEvent::Text(text)) => LineEvent::Text(text),
            StageEvent::Socket(SocketEvent::Room) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.full_since = None;
                }
                LineEvent::Room
            }
        })
    }

    fn lost(&mut self, loss: Loss) -> LineEvent {
        self.hang_up();
        LineEvent::Lost(loss)
    }

    /// The provider is ready: the connection counts as made.
    pub(crate) fn connected(&mut self) {
        self.reconnect.input(ReconnectInput::Connected);
    }

    /// Closes the connection, if there is one, without waiting for the peer. No event follows; the
    /// owner calls [`Line::reconnect`] for another.
    pub(crate) fn hang_up(&mut self) {
        self.stage = Stage::Closed;
        self.loss = ReconnectInput::Lost;
    }

    /// Connects again, after the wait that is due.
    pub(crate) fn reconnect(&mut self) {
        self.stage = Stage::Closed;
        self.reconnect.input(self.loss);
    }

    /// No more attempts to connect: the owner is finishing over the connection that is open.
    pub(crate) fn drain(&mut self) {
        self.reconnect.input(ReconnectInput::Drain);
        // The owner knows.
        while self.reconnect.poll_output().is_some() {}
    }

    /// Whether a message would be taken now. If not, [`LineEvent::Room`] comes once it would.
    pub(crate) fn has_room(&mut self) -> bool {
        let Stage::Open(open) = &mut self.stage else { return false };
        open.has_room()
    }

    /// Sends a message. Answers false, and drops it, when it has no room; see [`Line::has_room`].
    pub(crate) fn send(&mut self, message: Message) -> bool {
        let Stage::Open(open) = &mut self.stage else { return false };
        open.has_room() && open.send(message)
    }

    /// An answer is due from now on. A peer that does not call forth [`Line::received`] in time is
    /// mute, and the connection is lost.
    pub(crate) fn expect(&mut self) {
        self.tell(KeepAliveInput::Expect);
    }

    /// The expected answer came, or is no longer expected.
    pub(crate) fn received(&mut self) {
        self.tell(KeepAliveInput::Received);
    }

    fn tell(&mut self, input: KeepAliveInput) {
        if let Stage::Open(open) = &mut self.stage {
            open.keep_alive.input(input);
        }
    }

    /// Closes the connection as the protocol has it: our close frame, and the peer's answer within
    /// [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(self) {
        if let Stage::Open(mut open) = self.stage {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, open.socket.close()).await;
        }
    }
}

impl Stage {
    async fn next(&mut self) -> StageEvent {
        match self {
            Self::Closed => pending().await,
            Self::Opening(opening) => StageEvent::Opened(opening.await),
            Self::Open(open) => open.next().await,
        }
    }
}

impl Open {
    /// A connection on which nothing was sent yet.
    fn new(socket: WebSocketStream<BoxIo>, keep_alive: KeepAliveConfig) -> Self {
        let mut keep_alive = Drive::new(KeepAlive::new(keep_alive));
        keep_alive.input(KeepAliveInput::Sent);
        Self { socket: Socket::new(socket), keep_alive, full_since: None, broken: None }
    }

    async fn next(&mut self) -> StageEvent {
        if let Some(reason) = self.broken.take() {
            return StageEvent::Lost(Loss::Broken(reason));
        }
        let stalled_at = self.full_since.map(|since| since + STALLED_AFTER);
        tokio::select! {
            biased;
            event = self.socket.event(self.full_since.is_some()) => StageEvent::Socket(event),
            output = self.keep_alive.next() => StageEvent::KeepAlive(output),
            () = until(stalled_at) => StageEvent::Lost(Loss::Stalled),
        }
    }

    fn has_room(&mut self) -> bool {
        if self.full_since.is_some() || self.broken.is_some() {
            return false;
        }
        match self.socket.has_room() {
            Ok(true) => return true,
            Ok(false) => {
                self.full_since = Some(now());
                // A peer that takes nothing will not answer either.
                self.keep_alive.input(KeepAliveInput::Expect);
            }
            Err(reason) => self.broken = Some(reason),
        }
        false
    }

    /// There must be room.
    fn send(&mut self, message: Message) -> bool {
        match self.socket.send(message) {
            Ok(()) => self.keep_alive.input(KeepAliveInput::Sent),
            Err(reason) => self.broken = Some(reason),
        }
        self.broken.is_none()
    }
}

/// Sleeps until then, or forever.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
