//! `WS /v1/voice`: who may open a session, and the one task that runs it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Extension, Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use livos_core::{budget::Meter, conversation::ConversationId};
use livos_voice::{
    pipeline::{SessionConfig, VoiceSession, opener::OpenerConfig},
    transport::websocket::{self, WebSocketTransport},
    turn::TurnConfig,
};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tracing::Instrument;

use crate::{
    app::App,
    auth::{Credential, origin_allowed},
    config::Config,
};

/// What all sessions share.
pub struct Settings {
    /// The times of turn taking.
    pub turn: TurnConfig,
    /// What is said while a late answer is waited for.
    pub opener: OpenerConfig,
    /// What is simulated.
    pub simulated: Vec<String>,
    /// The day's budget.
    pub meter: Meter,
    /// How long an answer may go on once the drain has begun.
    pub drain_patience: Duration,
}

impl Settings {
    /// The defaults of the pipeline, and what the configuration sets.
    pub fn new(config: &Config, simulated: Vec<String>, meter: Meter) -> Self {
        let voice = &config.voice;
        let mut turn = TurnConfig::default();
        for (slot, value) in [
            (&mut turn.min_delay, voice.min_delay),
            (&mut turn.max_delay, voice.max_delay),
            (&mut turn.finalize_after, voice.finalize_after),
            (&mut turn.finalize_timeout, voice.finalize_timeout),
            (&mut turn.recovery_timeout, voice.recovery_timeout),
            (&mut turn.min_interruption, voice.min_interruption),
            (&mut turn.false_interruption, voice.false_interruption),
            (&mut turn.max_turn, voice.max_turn),
        ] {
            *slot = value.unwrap_or(*slot);
        }
        turn.speculate = voice.speculate.unwrap_or(turn.speculate);
        let mut opener = OpenerConfig::new(&voice.openers);
        opener.after = voice.opener_after.unwrap_or(opener.after);
        // The other half is for closing: a client that is cut off would not know why.
        let drain_patience = config.server.drain_timeout / 2;
        Self { turn, opener, simulated, meter, drain_patience }
    }

    fn session(&self, conversation: ConversationId) -> SessionConfig {
        let mut config = SessionConfig::new(conversation);
        config.turn = self.turn.clone();
        config.opener.clone_from(&self.opener);
        config.simulated.clone_from(&self.simulated);
        config.drain_patience = self.drain_patience;
        config
    }
}

/// Upgrades to a voice session, or says why not.
pub async fn upgrade(
    State(app): State<App>,
    Extension(credential): Extension<Credential>,
    mut request: Request,
) -> Response {
    if !origin_allowed(request.headers(), credential, &app.allowed_origins) {
        return refuse(StatusCode::FORBIDDEN, "this origin may not open a voice session");
    }
    if !hyper_tungstenite::is_upgrade_request(&request) {
        return refuse(StatusCode::UPGRADE_REQUIRED, "open this address as a WebSocket");
    }
    if app.drain.is_draining() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
    }
    let Ok(permit) = Arc::clone(&app.voice_permits).try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many voice sessions as this server allows are open",
        );
    };
    // `hyper_tungstenite` answers the handshake; the socket itself is made here, from the upgraded
    // stream.
    let upgraded = hyper::upgrade::on(&mut request);
    let supervisor = app.supervisor.clone();
    match hyper_tungstenite::upgrade(&mut request, None) {
        Ok((response, _)) => {
            let session = async move {
                match upgraded.await {
                    Ok(stream) => run(app, stream, permit).await,
                    Err(error) => tracing::debug!(%error, "a voice session was not upgraded"),
                }
            };
            supervisor.spawn("voice session", session.instrument(tracing::info_span!("voice session")));
            response.map(axum::body::Body::new)
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Runs one session to its end. The permit goes back when it is over.
async fn run(app: App, stream: hyper::upgrade::Upgraded, permit: OwnedSemaphorePermit) {
    let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(stream), role, Some(websocket::config())).await;
    let _alive = app.load.begin("voice session");
    let open = metrics::gauge!("livos_voice_sessions");
    open.increment(1.0);
    let config = app.voice.session(app.new_conversation());
    let drain = app.drain.clone();
    VoiceSession::new(Arc::clone(&app.stt), Arc::clone(&app.tts), app.responder.clone(), config)
        .with_meter(app.voice.meter.clone())
        .with_drain(async move { drain.draining().await })
        .run(WebSocketTransport::new(socket))
        .await;
    open.decrement(1.0);
    drop(permit);
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "kind": "rejected", "message": message }))).into_response()
}
