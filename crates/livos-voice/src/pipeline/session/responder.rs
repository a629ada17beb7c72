//! The line to the responder: one call, and the reply that it gave.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use livos_core::conversation::{Heard, Reply, ReplyError};

use crate::pipeline::answer::event::AnswerInput;

/// The responder on its way to a reply.
pub(super) type Call = Pin<Box<dyn Future<Output = Result<Reply, ReplyError>> + Send>>;

pub(super) enum Line {
    Idle,
    Calling(Call),
    Streaming(Reply),
    /// The reply is not read any more, and is still to be told what was heard.
    Read(Reply),
}

impl Line {
    /// The next event of the call or the reply; pending while there is none to come. Cancel safe.
    pub(super) async fn next(&mut self) -> AnswerInput {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<AnswerInput> {
        let input = match self {
            Self::Idle | Self::Read(_) => return Poll::Pending,
            Self::Calling(call) => match ready!(call.as_mut().poll(cx)) {
                Ok(reply) => {
                    *self = Self::Streaming(reply);
                    return Poll::Ready(AnswerInput::Replying);
                }
                Err(error) => AnswerInput::ReplyFailed(error),
            },
            Self::Streaming(reply) => match ready!(Pin::new(reply).poll_next(cx)) {
                Some(Ok(event)) => return Poll::Ready(AnswerInput::Replied(event)),
                Some(Err(error)) => AnswerInput::ReplyFailed(error),
                None => AnswerInput::ReplyEnded,
            },
        };
        self.stop();
        Poll::Ready(input)
    }

    /// Makes the reply final, if there is one.
    pub(super) fn commit(&mut self) {
        if let Self::Streaming(reply) | Self::Read(reply) = self {
            reply.commit();
        }
    }

    /// Reads no more; a call without a reply is dropped.
    pub(super) fn stop(&mut self) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Streaming(reply) | Self::Read(reply) => Self::Read(reply),
            Self::Calling(_) | Self::Idle => Self::Idle,
        };
    }

    /// Tells the reply what was heard, and drops it.
    pub(super) fn heard(&mut self, heard: Heard) {
        if let Self::Streaming(mut reply) | Self::Read(mut reply) = std::mem::replace(self, Self::Idle) {
            reply.heard(heard);
        }
    }
}
