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

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response, Sse, sse},
};
use http::StatusCode;
use livos_core::{
    conversation::{Channel, ConversationId, Inbound, ReplyErrorKind, Speaker},
    supervise::Load,
    user::UserId,
};
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt;

use super::events::{Events, error_body};
use crate::{conversation, providers::Responder};

/// The longest message, in bytes. 32 KiB: longer than anybody types, far below the model's window.
const MAX_TEXT: usize = 32 * 1024;

#[derive(Clone)]
pub struct Answering {
    pub responder: Responder,
    /// Counts the answers under way.
    pub load: Load,
}

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    text: String,
    #[serde(default)]
    conversation: Option<String>,
}

pub async fn chat(
    State(answering): State<Answering>,
    body: Result<Json<ChatRequest>, JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text()),
    };
    if request.text.trim().is_empty() || request.text.len() > MAX_TEXT {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "text must be 1 to 32768 bytes and not blank");
    }
    let conversation = match request.conversation.as_deref().map(ConversationId::try_from) {
        None => conversation::begin(),
        Some(Ok(conversation)) => conversation,
        Some(Err(error)) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    let alive = answering.load.begin("answer");
    // Only the owner's credentials reach this.
    let (speaker, payer) = (Speaker::Owner, UserId::owner());
    let inbound = Inbound::new(conversation.clone(), Channel::Chat, speaker, payer, request.text);
    match answering.responder.oneshot(inbound).await {
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
