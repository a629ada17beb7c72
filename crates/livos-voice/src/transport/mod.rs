//! How audio and events reach the listener.
//!
//! [`AudioTransport`] is the seam: the pipeline neither knows sockets nor parses messages. What a
//! transport hands over is already valid: the [`Hello`] comes first and once, audio has whole
//! samples, and no message is out of order.

pub mod clock;
pub mod intake;
pub mod protocol;
#[cfg(feature = "websocket")]
mod upgrade;
#[cfg(feature = "websocket")]
pub mod websocket;

use std::task::{Context, Poll};

use bytes::Bytes;

use self::protocol::{ClientMessage, ErrorCode, ServerMessage};
#[cfg(feature = "websocket")]
pub use self::upgrade::{Upgrade, UpgradeError, UpgradedIo, upgrade};
use crate::{
    audio::{Frame, SampleRate},
    generation::Generation,
    turn::Mode,
};

/// The connection to one listener.
///
/// ```
/// use std::task::{Context, Poll};
///
/// use livos_voice::transport::{AudioTransport, Incoming, Outgoing};
/// use tokio::sync::mpsc;
///
/// /// A listener in the same process.
/// struct Local {
///     incoming: mpsc::Receiver<Incoming>,
///     outgoing: mpsc::Sender<Outgoing>,
/// }
///
/// impl AudioTransport for Local {
///     fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
///         self.incoming.poll_recv(cx)
///     }
///
///     fn send(&mut self, message: Outgoing) {
///         if self.outgoing.try_send(message).is_err() {
///             self.incoming.close(); // It does not read, or it has gone.
///         }
///     }
/// }
/// ```
pub trait AudioTransport: Send {
    /// The next thing from the listener, or `None` forever once the connection is over.
    /// Polling it also writes what was sent, so it must be polled while anything is to go out.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>>;

    /// Sends, in order, without waiting. The buffer is bounded: a listener that does not read what
    /// it is sent is closed.
    fn send(&mut self, message: Outgoing);
}

/// The valid opening of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The rate of the audio the client sends: 16 or 48 kHz.
    pub input_rate: SampleRate,
    /// The rate of the audio the client wants: 24 or 48 kHz.
    pub output_rate: SampleRate,
    /// How the user takes the floor.
    pub mode: Mode,
    /// The earlier conversation to go on with, as the client named it.
    pub conversation: Option<String>,
    /// The client detects speech itself.
    pub client_vad: bool,
}

/// What comes from the listener.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// Always the first, and only then.
    Hello(Hello),
    /// Audio at the rate of the `Hello`.
    Audio(Frame),
    /// Anything else but a `hello`.
    Message(ClientMessage),
}

/// What is sent to the listener.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outgoing {
    /// A message. A `Clear` overtakes unsent audio of its generation and older, which is dropped.
    Message(ServerMessage),
    /// Audio at the rate of the `Hello`.
    Audio {
        /// Which reply it speaks.
        generation: Generation,
        /// Whole samples, at the rate of the `Hello`.
        bytes: Bytes,
    },
    /// Close, after what was sent before: normally, or for an error that was told before.
    Close(Option<ErrorCode>),
}
