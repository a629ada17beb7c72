//! `WS /v1/voice`: who may open a session, and the task that runs it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use livos_core::{
    budget::Meter,
    conversation::Speaker,
    drain::DrainSignal,
    supervise::{Load, Supervisor},
    user::UserId,
};
use livos_voice::{
    pipeline::{SessionConfig, VoiceSession, opener::OpenerConfig},
    stt::SpeechToText,
    transport::websocket::{self, WebSocketTransport},
    tts::TextToSpeech,
    turn::TurnConfig,
};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::WebSocketStream;
use tracing::Instrument;

use crate::{conversation, providers::Responder};

/// What all sessions share.
pub struct Sessions {
    /// The times of turn taking.
    pub turn: TurnConfig,
    /// What is said while a late answer is awaited.
    pub opener: OpenerConfig,
    /// What is simulated, for the client.
    pub simulated: Vec<String>,
    /// The owner's voice budget.
    pub meter: Meter,
    /// How long an answer may go on once the drain has begun.
    pub drain_patience: Duration,
    pub responder: Responder,
    pub stt: Arc<dyn SpeechToText>,
    pub tts: Arc<dyn TextToSpeech>,
    /// One permit for each session.
    pub permits: Arc<Semaphore>,
    pub supervisor: Supervisor,
    pub load: Load,
    /// Tells when to stop.
    pub drain: DrainSignal,
}

impl Sessions {
    fn config(&self) -> SessionConfig {
        let mut config = SessionConfig::new(conversation::begin(), Speaker::Owner, UserId::owner());
        config.turn = self.turn.clone();
        config.opener.clone_from(&self.opener);
        config.simulated.clone_from(&self.simulated);
        config.drain_patience = self.drain_patience;
        config
    }
}

/// Upgrades to a voice session, or says why not.
pub async fn upgrade(State(sessions): State<Arc<Sessions>>, mut request: Request) -> Response {
    if !hyper_tungstenite::is_upgrade_request(&request) {
        return refuse(StatusCode::UPGRADE_REQUIRED, "open this address as a WebSocket");
    }
    if sessions.drain.is_draining() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
    }
    let Ok(permit) = Arc::clone(&sessions.permits).try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many voice sessions as this server allows are open",
        );
    };
    // `hyper_tungstenite` answers the handshake; the socket itself is made here, from the upgraded
    // stream.
    let upgraded = hyper::upgrade::on(&mut request);
    let supervisor = sessions.supervisor.clone();
    match hyper_tungstenite::upgrade(&mut request, None) {
        Ok((response, _)) => {
            let session = async move {
                match upgraded.await {
                    Ok(stream) => run(&sessions, stream, permit).await,
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
async fn run(sessions: &Sessions, stream: hyper::upgrade::Upgraded, permit: OwnedSemaphorePermit) {
    let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(stream), role, Some(websocket::config())).await;
    let _alive = sessions.load.begin("voice session");
    let open = metrics::gauge!("livos_voice_sessions");
    open.increment(1.0);
    let drain = sessions.drain.clone();
    let (stt, tts) = (Arc::clone(&sessions.stt), Arc::clone(&sessions.tts));
    VoiceSession::new(stt, tts, sessions.responder.clone(), sessions.config())
        .with_meter(sessions.meter.clone())
        .with_drain(async move { drain.draining().await })
        .run(WebSocketTransport::new(socket))
        .await;
    open.decrement(1.0);
    drop(permit);
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "kind": "rejected", "message": message }))).into_response()
}
