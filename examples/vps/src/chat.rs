//! `POST /v1/chat`: one message in, the answer as server-sent events out.
//!
//! Request: `{"text": "…", "conversation": "…"}`; without `conversation` a new one begins. Events,
//! each with JSON data:
//!
//! | event | data |
//! | --- | --- |
//! | `start` | `{"conversation": "…"}` |
//! | `text` | `{"text": "…"}`, the next piece, to be joined verbatim |
//! | `usage` | tokens so far, and whether they are an estimate |
//! | `done` | `{"finish": "complete" \| "length" \| "refused"}` |
//! | `error` | `{"kind": "busy" \| "unavailable" \| "rejected" \| "limit", "message": "…", "retry_after_ms": n \| null}` |
//!
//! The history keeps what was sent: a client that goes away in the middle has read what it was sent
//! and no more.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::Stream;
use http::StatusCode;
use livos_core::{
    conversation::{
        Channel, ConversationId, Finish, Heard, Inbound, Reply, ReplyError, ReplyErrorKind, ReplyEvent,
        TokenUsage,
    },
    supervise::Alive,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::App;

/// The longest message, in bytes. 32 KiB: longer than anybody types, far below the model's window.
const MAX_TEXT: usize = 32 * 1024;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    text: String,
    #[serde(default)]
    conversation: Option<String>,
}

/// Answers one message.
pub async fn chat(State(app): State<App>, body: Result<Json<ChatRequest>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    if request.text.trim().is_empty() || request.text.len() > MAX_TEXT {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "text must be 1 to 32768 bytes and not blank");
    }
    let conversation = match request.conversation.as_deref().map(ConversationId::try_from) {
        None => app.new_conversation(),
        Some(Ok(conversation)) => conversation,
        Some(Err(error)) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    let alive = app.load.begin("answer");
    let inbound = Inbound::new(conversation.clone(), Channel::Chat, request.text);
    match app.responder.clone().oneshot(inbound).await {
        Ok(mut reply) => {
            reply.commit();
            Sse::new(Events::new(reply, &conversation, alive))
                .keep_alive(sse::KeepAlive::default())
                .into_response()
        }
        Err(error) => {
            let status = match error.kind() {
                ReplyErrorKind::Busy | ReplyErrorKind::Limit => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::BAD_GATEWAY,
            };
            (status, Json(error_body(&error))).into_response()
        }
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "kind": "rejected", "message": message, "retry_after_ms": null }))).into_response()
}

fn error_body(error: &ReplyError) -> Value {
    let kind = match error.kind() {
        ReplyErrorKind::Busy => "busy",
        ReplyErrorKind::Rejected => "rejected",
        ReplyErrorKind::Limit => "limit",
        _ => "unavailable",
    };
    let retry_after = error.retry_after().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    json!({ "kind": kind, "message": error.to_string(), "retry_after_ms": retry_after })
}

/// A reply as server-sent events. Dropped in the middle, it tells the reply what was sent.
struct Events {
    reply: Reply,
    ready: VecDeque<sse::Event>,
    sent: String,
    told: bool,
    ended: bool,
    _alive: Alive,
}

impl Events {
    fn new(reply: Reply, conversation: &ConversationId, alive: Alive) -> Self {
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
