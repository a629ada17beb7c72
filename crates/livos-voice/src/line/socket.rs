//! An open WebSocket that never makes its owner wait for a peer that does not read.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_util::{Sink, SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::connect::BoxIo;

/// What a socket reports.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// There is room for a message that had none.
    Room,
    /// A text message came. Other messages carry nothing in the protocols of our providers.
    Text(Utf8Bytes),
    /// The socket is closed or broken, with the reason for the log.
    Lost(String),
}

/// An open socket. Dropping it sends a close frame, as far as that is possible without waiting.
pub(super) struct Socket {
    stream: WebSocketStream<BoxIo>,
    /// Something written may still have to be flushed.
    unflushed: bool,
}

impl Socket {
    pub(super) fn new(stream: WebSocketStream<BoxIo>) -> Self {
        Self { stream, unflushed: false }
    }

    /// Whether the peer has read enough to take a message.
    pub(super) fn has_room(&mut self) -> Result<bool, String> {
        // A line without room polls `event` for it next, and that leaves a waker.
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.stream).poll_ready(&mut cx) {
            Poll::Ready(ready) => ready.map(|()| true).map_err(|error| error.to_string()),
            Poll::Pending => Ok(false),
        }
    }

    /// Sends a message for which there is room. [`Socket::event`] flushes it.
    pub(super) fn send(&mut self, message: Message) -> Result<(), String> {
        Pin::new(&mut self.stream).start_send(message).map_err(|error| error.to_string())?;
        self.unflushed = true;
        Ok(())
    }

    /// The next event; flushes meanwhile. [`SocketEvent::Room`] comes only when `want_room`. Cancel
    /// safe.
    pub(super) async fn event(&mut self, want_room: bool) -> SocketEvent {
        poll_fn(|cx| self.poll_event(want_room, cx)).await
    }

    fn poll_event(&mut self, want_room: bool, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(SocketEvent::Lost(error.to_string())),
                Poll::Pending => {}
            }
        }
        if want_room {
            match Pin::new(&mut self.stream).poll_ready(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(SocketEvent::Room),
                Poll::Ready(Err(error)) => return Poll::Ready(SocketEvent::Lost(error.to_string())),
                Poll::Pending => {}
            }
        }
        loop {
            let message = match self.stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(SocketEvent::Lost(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(SocketEvent::Lost("closed".into())),
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Message::Text(text) => return Poll::Ready(SocketEvent::Text(text)),
                Message::Close(frame) => return Poll::Ready(SocketEvent::Lost(farewell(frame))),
                // A ping leaves a pong behind.
                Message::Ping(_) => {
                    self.unflushed = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Sends a close frame and waits for the peer's.
    pub(super) async fn close(&mut self) {
        if self.stream.send(normal_close()).await.is_ok() {
            while self.stream.next().await.is_some_and(|message| message.is_ok()) {}
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A peer that has no room now learns of the end by the end of the stream.
        let mut cx = Context::from_waker(Waker::noop());
        let mut stream = Pin::new(&mut self.stream);
        if matches!(stream.as_mut().poll_ready(&mut cx), Poll::Ready(Ok(())))
            && stream.as_mut().start_send(normal_close()).is_ok()
        {
            let _ = stream.poll_flush(&mut cx);
        }
    }
}

fn normal_close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") }))
}

fn farewell(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("closed with {}: {}", u16::from(frame.code), frame.reason),
        None => "closed".into(),
    }
}
