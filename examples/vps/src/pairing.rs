//! Who is paired: the desk with its key, what people are told, and the routes of the operator.
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

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use livos_core::{
    seal::{SealedError, SealedStore},
    secret::Secret,
    store::{Family, Lifetime, Put, Store},
    supervise::Supervisor,
    time::{Clock, SystemClock, Timestamp},
};
use livos_integrations::pairing::{
    ChannelName, Device, DeviceId, News, PairingCode, PairingConfig, PairingDesk, PairingInput,
    PairingOutput, PairingState, Refusal, Rights, Sender, Standing,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::BoxError;

use crate::{channels::Apps, config, durable::Durable};

/// The key that makes stored hashes of codes useless without it.
pub const KEY: Family = Family::new(
    "pairing",
    "key",
    Lifetime::Forever { reason: "codes that wait are checked with it" },
    "the key of pairing codes, sealed",
);

/// What somebody is told who was paired.
pub const PAIRED: &str = "You are paired: from now on I answer you here.";

/// Pairing in this deployment. Cloning shares it.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    desk: OnceCell<PairingDesk>,
    store: Arc<dyn Store>,
    secrets: SealedStore,
    config: PairingConfig,
    apps: Apps,
    supervisor: Supervisor,
}

impl Desk {
    /// Opens it; the first start makes its key. A store that is away does not keep the server from
    /// starting, and is asked again when somebody writes.
    pub async fn open(
        config: &config::Pairing,
        apps: Apps,
        durable: &Durable,
        supervisor: &Supervisor,
    ) -> Result<Option<Self>, BoxError> {
        if apps.is_empty() {
            return Ok(None);
        }
        let mut bounds = PairingConfig::default();
        bounds.approval = config.approval;
        let desk = Self(Arc::new(Inner {
            desk: OnceCell::new(),
            store: Arc::clone(&durable.store),
            secrets: durable.secrets.clone(),
            config: bounds,
            apps,
            supervisor: supervisor.clone(),
        }));
        match desk.inner().await {
            Err(error) if error.downcast_ref().is_some_and(SealedError::is_temporary) => {
                tracing::warn!(%error, "the key of pairing can't be read yet; nobody is answered until it is");
            }
            opened => drop(opened?),
        }
        Ok(Some(desk))
    }

    /// The apps in which people pair.
    pub fn apps(&self) -> &Apps {
        &self.0.apps
    }

    /// The store behind it.
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Who is paired now.
    pub async fn state(&self) -> Result<PairingState, BoxError> {
        Ok(self.inner().await?.state(SystemClock.now()).await?)
    }

    /// Redeems a code, tells the others, and answers what to tell its sender.
    pub async fn redeem(&self, sender: Sender, label: String, code: PairingCode) -> Result<String, BoxError> {
        let now = SystemClock.now();
        let input = PairingInput::Redeem { sender, label, code };
        let outputs = self.inner().await?.apply(now, input).await?;
        let told = outputs.iter().find_map(|output| match output {
            PairingOutput::Paired(_) => Some(PAIRED.to_owned()),
            PairingOutput::AwaitingApproval(_) => {
                Some("The code is right, and the owner is asked to let you in.".to_owned())
            }
            PairingOutput::Refused(refusal) => Some(refused(now, *refusal)),
            _ => None,
        });
        self.spread(outputs.iter().filter(|output| !matches!(output, PairingOutput::Paired(_))));
        Ok(told.unwrap_or_default())
    }

    async fn inner(&self) -> Result<&PairingDesk, BoxError> {
        let Inner { desk, store, secrets, config, .. } = &*self.0;
        desk.get_or_try_init(|| async {
            Ok(PairingDesk::new(Arc::clone(store), key(secrets).await?, *config)?)
        })
        .await
    }

    /// Decides for the operator, and tells everybody who is to be told.
    async fn decide(&self, input: PairingInput) -> Result<(), Response> {
        let now = SystemClock.now();
        let applied = async { Ok(self.inner().await?.apply(now, input).await?) };
        let outputs = applied.await.map_err(|error| unavailable(&error))?;
        self.spread(outputs.iter());
        answer_refusal(now, &outputs)
    }

    /// Sends news to their chats, in a task of its own: nobody waits for somebody else's provider.
    /// What can't be sent is logged.
    fn spread<'a>(&self, outputs: impl Iterator<Item = &'a PairingOutput>) {
        let now = SystemClock.now();
        let news = outputs.filter_map(|output| match output {
            PairingOutput::Notify { to, news } => Some((to.clone(), headline(now, news)?)),
            PairingOutput::Paired(device) => Some((device.sender.clone(), PAIRED.to_owned())),
            _ => None,
        });
        let news: Vec<_> = news.collect();
        if news.is_empty() {
            return;
        }
        let desk = self.clone();
        self.0.supervisor.spawn("pairing news", async move {
            for (to, text) in news {
                if let Err(error) = desk.tell(&to, &text).await {
                    tracing::warn!(%to, text, error = crate::explain(&*error), "news of pairing did not arrive");
                }
            }
        });
    }

    async fn tell(&self, to: &Sender, text: &str) -> Result<(), BoxError> {
        let app = self.0.apps.get(to.channel()).ok_or("this channel is not configured")?;
        let outlet = app.reach(to.id()).await?;
        outlet.post(text, &uuid::Uuid::now_v7().simple().to_string()).await?;
        Ok(())
    }

    /// The routes for whoever is logged in.
    pub fn protected<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/v1/pairing", get(show))
            .route("/v1/pairing/codes", post(issue))
            .route("/v1/pairing/devices", delete(revoke_all))
            .route("/v1/pairing/devices/{id}", delete(revoke))
            .route("/v1/pairing/devices/{id}/approve", post(approve))
            .with_state(self.clone())
    }
}

/// The key, made where there is none.
async fn key(secrets: &SealedStore) -> Result<Secret, BoxError> {
    let (now, name) = (SystemClock.now(), KEY.key("codes")?);
    if secrets.get(now, &name).await?.is_none() {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let made = Secret::new(URL_SAFE_NO_PAD.encode(random));
        if let Put::Written(_) = secrets.put_if(now, &name, made.clone(), None).await? {
            return Ok(made);
        }
        // Another process was quicker, and its key counts.
    }
    let kept = secrets.get(now, &name).await?.and_then(|kept| kept.secret.to_text());
    Ok(kept.ok_or("the key of pairing is damaged: remove it from the store, and pair with new codes")?)
}

fn minutes(now: Timestamp, until: Timestamp) -> u64 {
    until.since(now).as_secs().div_ceil(60).max(1)
}

/// A refusal in words for whoever sent the code.
fn refused(now: Timestamp, refusal: Refusal) -> String {
    match refusal {
        Refusal::Wrong { left } => {
            format!(
                "This code is wrong, was used before, or is over; you may try {left} more times this hour."
            )
        }
        Refusal::Locked { until } | Refusal::ChannelHeld { until } => {
            format!("Too many wrong codes came in: try again in {} min.", minutes(now, until))
        }
        other => format!("This did not work: {other}."),
    }
}

/// News in words for paired people.
fn headline(now: Timestamp, news: &News) -> Option<String> {
    let who = |device: &Device| format!("{} on {}", plain(&device.label), device.sender.channel());
    Some(match news {
        News::Paired(device) => format!("{} was paired, as device {}.", who(device), device.id.0),
        News::Asks(device) => format!("{} asks to be let in, as device {}.", who(device), device.id.0),
        News::Revoked(device) => format!("The pairing of {} was ended.", who(device)),
        News::LockedOut { sender, until } => {
            format!("{sender} sent too many wrong codes, and is locked out for {} min.", minutes(now, *until))
        }
        News::ChannelHeld { channel, until } => format!(
            "Too many wrong codes came in on {channel}: nobody can pair there for {} min.",
            minutes(now, *until)
        ),
        _ => return None,
    })
}

/// A name that somebody chose, without anything that a chat app would show as a link, a mention or
/// a style.
fn plain(label: &str) -> String {
    let kept: String =
        label.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '\'')).collect();
    if kept.trim().is_empty() { "Somebody".to_owned() } else { kept.trim().to_owned() }
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
    let now = SystemClock.now();
    let issued = async { Ok(desk.inner().await?.issue(now, channel, rights).await?) };
    let outputs = match issued.await {
        Ok(outputs) => outputs,
        Err(error) => return unavailable(&error),
    };
    if let Err(refusal) = answer_refusal(now, &outputs) {
        return refusal;
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
    desk.decide(input).await.err().unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

/// The refusal among the outputs as an answer.
#[allow(clippy::result_large_err)] // It is handed on once, to the connection.
fn answer_refusal(now: Timestamp, outputs: &[PairingOutput]) -> Result<(), Response> {
    let refused = outputs.iter().find_map(|output| match output {
        PairingOutput::Refused(refused) => Some(*refused),
        _ => None,
    });
    refused.map_or(Ok(()), |refused| Err(refusal(now, refused)))
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
    tracing::error!(error = crate::explain(&**error), "pairing could not decide");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string(), None)
}
