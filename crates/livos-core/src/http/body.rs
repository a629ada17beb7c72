//! The body of a response, read as a stream or as a whole within a bound.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::BoxError;

/// The body of a response. Dropping it before its end closes an HTTP/1.1 connection or resets an
/// HTTP/2 stream.
pub struct ResponseBody(Pin<Box<dyn ErasedBody>>);

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is longer than the bound.
    #[error("the response is longer than {limit} bytes")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The connection failed before the end.
    #[error("the response broke off")]
    Broken(#[source] BoxError),
}

impl ResponseBody {
    /// A body of any type.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Box::pin(body))
    }

    /// The next piece of data; `None` at the end. Trailers are skipped. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            let frame = poll_fn(|cx| self.0.as_mut().poll_erased(cx)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub async fn read(mut self, limit: usize) -> Result<Bytes, ReadError> {
        let mut read = BytesMut::new();
        while let Some(data) = self.next().await {
            let data = data.map_err(ReadError::Broken)?;
            if read.len() + data.len() > limit {
                return Err(ReadError::TooLong { limit });
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }

    /// The first `limit` bytes, or as many as came before the body ended or failed: what an error
    /// message of a server is read with.
    pub async fn read_start(mut self, limit: usize) -> Bytes {
        let mut read = BytesMut::new();
        while read.len() < limit {
            let Some(Ok(data)) = self.next().await else { break };
            read.extend_from_slice(&data[..data.len().min(limit - read.len())]);
        }
        read.freeze()
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::new(Whole(Some(bytes)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_erased(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.erased_is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.erased_size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

/// A body whose type and error type are erased.
trait ErasedBody: Send {
    fn poll_erased(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>;
    fn erased_is_end(&self) -> bool;
    fn erased_size_hint(&self) -> SizeHint;
}

impl<B> ErasedBody for B
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    fn poll_erased(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn erased_is_end(&self) -> bool {
        self.is_end_stream()
    }

    fn erased_size_hint(&self) -> SizeHint {
        self.size_hint()
    }
}

/// A body of one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.0.take().filter(|data| !data.is_empty());
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io};

    use super::*;

    /// A body of these pieces.
    struct Pieces(VecDeque<Result<Frame<Bytes>, io::Error>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn body(ends_well: bool) -> ResponseBody {
        let trailers = Frame::trailers(http::HeaderMap::new());
        let mut pieces = VecDeque::from([Ok(Frame::data("one ".into())), Ok(trailers)]);
        pieces.push_back(match ends_well {
            true => Ok(Frame::data("two".into())),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        });
        ResponseBody::new(Pieces(pieces))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        assert_eq!(body(true).read(7).await.unwrap(), "one two");
        assert!(matches!(body(true).read(6).await, Err(ReadError::TooLong { limit: 6 })));
        assert!(matches!(body(false).read(7).await, Err(ReadError::Broken(_))));
        assert_eq!(ResponseBody::from(Bytes::new()).read(0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn the_start_of_a_body_is_what_came_whatever_follows() {
        assert_eq!(body(true).read_start(6).await, "one tw");
        assert_eq!(body(true).read_start(99).await, "one two");
        assert_eq!(body(false).read_start(99).await, "one ");
    }
}
