//! Updates that are delivered to a webhook, and tried again until they are taken or too old.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Telegram,
    failure::{Answer, Failure},
    params::Params,
    updates::Pending,
};
use crate::{connection::lock, random::Random};

/// An answer of the receiver, or why there was none.
pub type CourierFuture = BoxFuture<'static, Result<Response<Bytes>, String>>;

/// Carries a delivery to its receiver.
#[derive(Clone)]
pub struct Courier(Arc<dyn Fn(Request<Full<Bytes>>) -> CourierFuture + Send + Sync>);

impl Courier {
    /// Carries by this function: a test needs no socket.
    pub fn new(carry: impl Fn(Request<Full<Bytes>>) -> CourierFuture + Send + Sync + 'static) -> Self {
        Self(Arc::new(carry))
    }

    /// Carries over TCP.
    fn tcp() -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        Self::new(move |request| {
            let client = client.clone();
            Box::pin(async move {
                let response = client.request(request).await.map_err(|error| error.to_string())?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, 1 << 20).collect().await.map_err(|error| error.to_string())?;
                Ok(Response::from_parts(head, body.to_bytes()))
            })
        })
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Webhook {
    url: String,
    secret: Option<String>,
    max_connections: usize,
    /// The number of the webhook that is set; the deliverer of an older one ends.
    generation: u64,
    set_at: Option<Instant>,
    last_error: Option<(u64, String)>,
    pub(super) courier: Option<Courier>,
    /// Requests that were made.
    pub(super) deliveries: u64,
}

impl Webhook {
    pub(super) fn is_set(&self) -> bool {
        !self.url.is_empty()
    }
}

/// The longest wait that a receiver may ask for.
const MAX_RETRY_AFTER: u64 = 3600;
/// Waits double up to a number between this and twice as much, in seconds.
const MAX_RESEND: u64 = 60;
/// How long an update is tried.
const KEPT: Duration = Duration::from_secs(86_400);
/// How long the receiver may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Telegram {
    /// Sets the webhook, or deletes it where the address is empty.
    pub(super) fn set_webhook(&self, url: &str, params: &Params) -> Answer {
        let now = Instant::now();
        let secret = params.text("secret_token").unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if secret.len() > 256 || !secret.chars().all(allowed) {
            return Err(Failure::bad("secret token contains unallowed characters"));
        }
        let loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
            .iter()
            .any(|start| url.starts_with(start));
        if !url.is_empty() && !url.starts_with("https://") && !loopback {
            return Err(Failure::bad("bad webhook: An HTTPS URL must be provided for webhook"));
        }
        let generation = {
            let mut state = lock(&self.0.state);
            if !url.is_empty() && state.webhook.set_at.is_some_and(|at| now - at < Duration::from_secs(1)) {
                return Err(Failure::flood(Duration::from_secs(1)));
            }
            if params.flag("drop_pending_updates") {
                state.updates.queue.clear();
            }
            state.updates.allow(params);
            let webhook = &mut state.webhook;
            webhook.generation += 1;
            webhook.url = url.to_owned();
            webhook.secret = (!url.is_empty() && !secret.is_empty()).then(|| secret.to_owned());
            webhook.max_connections =
                params.number("max_connections").and_then(|most| most.try_into().ok()).unwrap_or(40);
            webhook.last_error = None;
            if !url.is_empty() {
                webhook.set_at = Some(now);
            }
            webhook.generation
        };
        if !url.is_empty() {
            self.end_poll();
            tokio::spawn(self.clone().deliver(generation));
        }
        self.wake();
        Ok(json!(true))
    }

    pub(super) fn webhook_info(&self) -> Value {
        let mut state = lock(&self.0.state);
        let pending = state.updates.pending(Instant::now());
        let webhook = &state.webhook;
        let mut info =
            json!({ "url": webhook.url, "has_custom_certificate": false, "pending_update_count": pending });
        if webhook.is_set() {
            info["max_connections"] = json!(webhook.max_connections);
            info["ip_address"] = json!("127.0.0.1");
        }
        if let Some((date, message)) = &webhook.last_error {
            (info["last_error_date"], info["last_error_message"]) = (json!(date), json!(message));
        }
        info
    }

    /// Delivers until another webhook is set, or none.
    async fn deliver(self, generation: u64) {
        let courier = lock(&self.0.state).webhook.courier.clone().unwrap_or_else(Courier::tcp);
        let mut random = Random::derive(self.0.config.seed, "webhook", generation);
        let mut changed = self.0.changed.subscribe();
        let mut tries: BTreeMap<i64, Try> = BTreeMap::new();
        let mut under_way: JoinSet<(i64, Result<(), Failed>)> = JoinSet::new();
        loop {
            let now = Instant::now();
            let (due, next) = {
                let mut state = lock(&self.0.state);
                if state.webhook.generation != generation {
                    return;
                }
                state.updates.pending(now);
                let room = state.webhook.max_connections.saturating_sub(under_way.len());
                due(state.updates.queue.iter(), &tries, now, room)
            };
            for pending in due {
                let id = pending.id;
                tries.entry(id).or_default().under_way = true;
                let (twin, courier) = (self.clone(), courier.clone());
                under_way.spawn(async move { (id, twin.deliver_one(&courier, &pending).await) });
            }
            tokio::select! {
                Some(Ok((id, outcome))) = under_way.join_next() => self.settle(&mut tries, &mut random, id, outcome),
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }

    fn settle(
        &self,
        tries: &mut BTreeMap<i64, Try>,
        random: &mut Random,
        id: i64,
        outcome: Result<(), Failed>,
    ) {
        let now = Instant::now();
        let mut state = lock(&self.0.state);
        let Err(failed) = outcome else {
            tries.remove(&id);
            state.updates.queue.retain(|pending| pending.id != id);
            return;
        };
        state.webhook.last_error = Some((self.unix_time(), failed.why));
        let attempt = tries.entry(id).or_default();
        let most = MAX_RESEND + random.below(MAX_RESEND);
        if attempt.failures > 0 {
            attempt.delay = (attempt.delay * 2).min(most);
        }
        let wait = failed.retry_after.unwrap_or(if attempt.failures > 0 { attempt.delay } else { 0 });
        attempt.failures += 1;
        attempt.under_way = false;
        attempt.at = Some(now + Duration::from_secs(wait));
        let too_old =
            |pending: &Pending| pending.id == id && now + Duration::from_secs(wait) > pending.at + KEPT;
        state.updates.queue.retain(|pending| !too_old(pending));
    }

    async fn deliver_one(&self, courier: &Courier, pending: &Pending) -> Result<(), Failed> {
        let (url, secret) = {
            let webhook = &mut lock(&self.0.state).webhook;
            webhook.deliveries += 1;
            (webhook.url.clone(), webhook.secret.clone())
        };
        let mut request = Request::post(&url).header(header::CONTENT_TYPE, "application/json");
        if let Some(secret) = secret {
            request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
        }
        let request = request.body(Full::new(Bytes::from(pending.update.to_string())));
        let request = request.map_err(|error| Failed { why: error.to_string(), retry_after: None })?;
        let answered = tokio::time::timeout(PATIENCE, (courier.0)(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => return Err(Failed { why, retry_after: None }),
            Err(_) => return Err(Failed { why: "Read timeout expired".into(), retry_after: None }),
        };
        if !response.status().is_success() {
            let asked = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let status = response.status();
            let reason = status.canonical_reason().unwrap_or_default();
            let why = format!("Wrong response from the webhook: {} {reason}", status.as_u16());
            return Err(Failed { why, retry_after: asked.map(|seconds: u64| seconds.min(MAX_RETRY_AFTER)) });
        }
        self.carry_out(response.status(), response.body());
        Ok(())
    }

    /// A call that came as the answer to a delivery. Its result is seen by nobody.
    fn carry_out(&self, status: StatusCode, body: &Bytes) {
        let Ok(Value::Object(call)) = serde_json::from_slice::<Value>(body) else { return };
        let Some(method) = call.get("method").and_then(Value::as_str).map(str::to_lowercase) else { return };
        if status.is_success() && !method.starts_with("get") {
            let _ = self.write(0, &method, &Params::of(call));
        }
    }
}

/// A delivery that was not taken.
#[derive(Debug)]
struct Failed {
    why: String,
    retry_after: Option<u64>,
}

/// How an update stands.
#[derive(Debug)]
struct Try {
    under_way: bool,
    failures: u32,
    delay: u64,
    at: Option<Instant>,
}

impl Default for Try {
    fn default() -> Self {
        Self { under_way: false, failures: 0, delay: 1, at: None }
    }
}

/// What may be sent now, the oldest of each chat at most, and when something is due next.
fn due<'a>(
    queue: impl Iterator<Item = &'a Pending>,
    tries: &BTreeMap<i64, Try>,
    now: Instant,
    room: usize,
) -> (Vec<Pending>, Option<Instant>) {
    let (mut busy, mut due, mut next): (Vec<i64>, Vec<Pending>, Option<Instant>) =
        (Vec::new(), Vec::new(), None);
    for pending in queue {
        let chat = pending.update["message"]["chat"]["id"].as_i64().unwrap_or(pending.id);
        if busy.contains(&chat) {
            continue;
        }
        busy.push(chat);
        match tries.get(&pending.id) {
            Some(attempt) if attempt.under_way => {}
            Some(Try { at: Some(at), .. }) if *at > now => {
                next = Some(next.map_or(*at, |next| next.min(*at)));
            }
            _ if due.len() < room => due.push(pending.clone()),
            _ => {}
        }
    }
    (due, next)
}
