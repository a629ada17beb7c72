//! Pairing for the operator.
//!
//! | route | what |
//! | --- | --- |
//! | `GET /v1/pairing` | the devices, those that wait for approval among them |
//! | `POST /v1/pairing/codes` | `{"channel": "telegram", "rights": "paired" \| "owner"}` issues a code: `{"code", "expires_at_ms"}` |
//! | `POST /v1/pairing/devices/{id}/approve` | lets in who waits for it; 204 |
//! | `DELETE /v1/pairing/devices/{id}` | ends a pairing, or refuses who waits; 204 |
//! | `DELETE /v1/pairing/devices` | ends all pairings and all codes; 204 |
//!
//! All are behind the login, and there only where a chat app is configured. A refusal is
//! `{"kind", "message", "retry_after_ms"}`.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http::StatusCode;
use livos_core::{
    http::describe,
    time::{Clock, SystemClock, Timestamp},
};
use livos_integrations::pairing::{
    ChannelName, Device, DeviceId, PairingInput, PairingOutput, Refusal, Rights, Standing,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::BoxError;

use super::desk::Desk;

pub fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/pairing", get(show))
        .route("/v1/pairing/codes", post(issue))
        .route("/v1/pairing/devices", delete(revoke_all))
        .route("/v1/pairing/devices/{id}", delete(revoke))
        .route("/v1/pairing/devices/{id}/approve", post(approve))
        .with_state(desk)
}

async fn show(State(desk): State<Desk>) -> Response {
    match desk.state().await {
        Ok(state) => {
            let devices: Vec<_> = state.devices().iter().map(shown).collect();
            Json(json!({ "devices": devices })).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

fn shown(device: &Device) -> Value {
    let (standing, until) = match device.standing {
        Standing::Paired => ("paired", None),
        Standing::AwaitingApproval { until } => ("awaiting_approval", Some(until.unix_ms())),
    };
    json!({
        "id": device.id, "channel": device.sender.channel(), "sender": device.sender.id(), "label": device.label,
        "rights": device.rights, "since_ms": device.since.unix_ms(), "standing": standing, "until_ms": until,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRequest {
    channel: ChannelName,
    rights: Rights,
}

async fn issue(State(desk): State<Desk>, body: Result<Json<CodeRequest>, JsonRejection>) -> Response {
    let CodeRequest { channel, rights } = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection.status(), "rejected", &rejection.body_text(), None),
    };
    if !desk.apps().contains_key(&channel) {
        let message = format!("no channel {channel} is configured");
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "unknown_channel", &message, None);
    }
    let outputs = match desk.issue(channel, rights).await {
        Ok(outputs) => outputs,
        Err(error) => return unavailable(&error),
    };
    if let Some(refused) = refusal_in(&outputs) {
        return refusal(SystemClock.now(), refused);
    }
    let code = outputs.iter().find_map(|output| match output {
        PairingOutput::Issued { code, expires_at } => {
            Some(json!({ "code": code, "expires_at_ms": expires_at.unix_ms() }))
        }
        _ => None,
    });
    (StatusCode::CREATED, Json(code)).into_response()
}

async fn approve(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    decided(&desk, device(&id).map(PairingInput::Approve)).await
}

async fn revoke(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    decided(&desk, device(&id).map(PairingInput::Revoke)).await
}

async fn revoke_all(State(desk): State<Desk>) -> Response {
    decided(&desk, Some(PairingInput::RevokeAll)).await
}

/// The device of a path. What is no number is no device either.
fn device(id: &str) -> Option<DeviceId> {
    id.parse().ok().map(DeviceId)
}

async fn decided(desk: &Desk, input: Option<PairingInput>) -> Response {
    let Some(input) = input else { return refusal(SystemClock.now(), Refusal::UnknownDevice) };
    match desk.decide(input).await {
        Ok(outputs) => match refusal_in(&outputs) {
            Some(refused) => refusal(SystemClock.now(), refused),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Err(error) => unavailable(&error),
    }
}

fn refusal_in(outputs: &[PairingOutput]) -> Option<Refusal> {
    outputs.iter().find_map(|output| match output {
        PairingOutput::Refused(refused) => Some(*refused),
        _ => None,
    })
}

fn refusal(now: Timestamp, refusal: Refusal) -> Response {
    let message = refusal.to_string();
    match refusal {
        Refusal::TooManyCodes { until } => {
            refuse(StatusCode::TOO_MANY_REQUESTS, "too_many_codes", &message, Some((now, until)))
        }
        Refusal::UnknownDevice => refuse(StatusCode::NOT_FOUND, "unknown_device", &message, None),
        _ => refuse(StatusCode::CONFLICT, "rejected", &message, None),
    }
}

fn refuse(status: StatusCode, kind: &str, message: &str, wait: Option<(Timestamp, Timestamp)>) -> Response {
    let after = wait.map(|(now, until)| u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX));
    (status, Json(json!({ "kind": kind, "message": message, "retry_after_ms": after }))).into_response()
}

fn unavailable(error: &BoxError) -> Response {
    tracing::error!(error = describe(&**error), "pairing could not decide");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string(), None)
}
