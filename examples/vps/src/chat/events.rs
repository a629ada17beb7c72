//! A reply as server-sent events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::sse;
use futures_util::Stream;
use livos_core::{
    conversation::{
        ConversationId, Finish, Heard, Reply, ReplyError, ReplyErrorKind, ReplyEvent, TokenUsage,
    },
    supervise::Alive,
};
use serde_json::{Value, json};

/// A reply as server-sent events. Dropped in the middle, it tells the reply what was sent.
pub struct Events {
    reply: Reply,
    ready: VecDeque<sse::Event>,
    sent: String,
    told: bool,
    ended: bool,
    _alive: Alive,
}

impl Events {
    /// The events of this reply, of which the first names the conversation.
    pub fn new(reply: Reply, conversation: &ConversationId, alive: Alive) -> Self {
        let start = event("start", &json!({ "conversation": conversation.as_str() }));
        let ready = VecDeque::from([start]);
        Self { reply, ready, sent: String::new(), told: false, ended: false, _alive: alive }
    }

    fn take(&mut self, next: Option<Result<ReplyEvent, ReplyError>>) {
        match next {
            Some(Ok(ReplyEvent::Text(text))) => {
                self.sent.push_str(&text);
                self.ready.push_back(event("text", &json!({ "text": text })));
            }
            Some(Ok(ReplyEvent::Usage(usage))) => self.ready.push_back(event("usage", &usage_body(&usage))),
            Some(Ok(ReplyEvent::Finished(finish))) => {
                self.tell(true);
                self.ready.push_back(event("done", &json!({ "finish": finish_name(finish) })));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                self.tell(false);
                self.ready.push_back(event("error", &error_body(&error)));
                self.ended = true;
            }
            None => self.ended = true,
        }
    }

    fn tell(&mut self, complete: bool) {
        if !std::mem::replace(&mut self.told, true) {
            self.reply.heard(Heard { text: std::mem::take(&mut self.sent), complete });
        }
    }
}

impl Stream for Events {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.reply).poll_next(cx) {
                Poll::Ready(next) => self.take(next),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.tell(false);
    }
}

fn event(name: &'static str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}

fn usage_body(usage: &TokenUsage) -> Value {
    json!({
        "input": usage.input, "cache_write": usage.cache_write, "cache_read": usage.cache_read,
        "output": usage.output, "estimated": usage.estimated,
    })
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Complete => "complete",
        Finish::Length => "length",
        _ => "refused",
    }
}

/// An error as the data of an event, or as the body of a refusal.
pub fn error_body(error: &ReplyError) -> Value {
    let kind = match error.kind() {
        ReplyErrorKind::Busy => "busy",
        ReplyErrorKind::Rejected | ReplyErrorKind::Unauthorized => "rejected",
        ReplyErrorKind::Limit => "limit",
        _ => "unavailable",
    };
    let retry_after = error.retry_after().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    json!({ "kind": kind, "message": error.to_string(), "retry_after_ms": retry_after })
}
