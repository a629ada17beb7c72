//! A byte stream with faults and a network's delay.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::connection::{Connection, Write};

/// Bytes that a slowed stream lets out at once: small enough that frames arrive in pieces.
const SLOW_PIECE: usize = 256;

/// A byte stream that does to its writes what the connection's faults say.
#[derive(Debug)]
pub(crate) struct Stream<I> {
    io: I,
    connection: Arc<Connection>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<I> Stream<I> {
    pub(crate) const fn new(io: I, connection: Arc<Connection>) -> Self {
        Self { io, connection, pause: None }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Stream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.is_cut() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.connection.did_receive(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Stream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let written = match self.connection.next_write() {
            // The owner of this stream is about to drop it, so nobody has to be woken.
            Write::Never => return Poll::Pending,
            Write::Swallow => return Poll::Ready(Ok(bytes.len())),
            Write::Pass => ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?,
            Write::Slowly(bytes_per_second) => {
                let piece = bytes.len().min(SLOW_PIECE);
                let written = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes[..piece]))?;
                let pause = Duration::from_secs_f64(written as f64 / f64::from(bytes_per_second));
                self.pause = Some(Box::pin(sleep(pause)));
                written
            }
            Write::Half => {
                let half = Pin::new(&mut self.io).poll_write(cx, &bytes[..bytes.len() / 2]);
                self.connection.cut();
                let _ = ready!(half)?;
                return Poll::Pending;
            }
            Write::Garbage => {
                let mut garbage = vec![0; bytes.len()];
                self.connection.fill_random(&mut garbage);
                ready!(Pin::new(&mut self.io).poll_write(cx, &garbage))?
            }
        };
        self.connection.did_send(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.next_write() == Write::Swallow {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Bytes that may be under way in one direction of a delayed stream.
const IN_FLIGHT: usize = 1 << 20;

/// Carries bytes from one stream to another, each piece `delay` after it was read, until the end.
pub(crate) async fn carry<R, W>(mut from: R, mut to: W, delay: Duration)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut under_way: VecDeque<(Instant, Bytes)> = VecDeque::new();
    let mut in_flight = 0;
    let mut ended = false;
    let mut buffer = BytesMut::new();
    loop {
        let due = under_way.front().map(|(at, _)| *at);
        if ended && due.is_none() {
            let _ = to.shutdown().await;
            return;
        }
        buffer.reserve(16 * 1024);
        tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some((_, bytes)) = under_way.pop_front() else { continue };
                in_flight -= bytes.len();
                if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
            read = from.read_buf(&mut buffer), if !ended && in_flight < IN_FLIGHT => match read {
                Ok(0) | Err(_) => ended = true,
                Ok(bytes) => {
                    in_flight += bytes;
                    under_way.push_back((Instant::now() + delay, buffer.split().freeze()));
                }
            }
        }
    }
}
