//! The routes and what they share.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /healthz` | anyone | 200 while the process lives |
//! | `GET /readyz` | anyone | 200 when each dependency is ready, else 503, with the state of each |
//! | `GET /login?token=…` | who holds the one-time link | sets the session cookie |
//! | `GET /` and files | session or token | the web client |
//! | `GET /metrics` | session or token | Prometheus text |
//! | `POST /hooks/{name}` | who can sign for it | a webhook of the configuration, see [`crate::hooks`] |
//! | `WS /v1/voice` | session or token, own `Origin` | a voice session, see `livos_voice::transport::protocol` |
//! | `POST /v1/chat` | session or token | one message, answered as server-sent events |
//! | `GET /v1/usage` | session or token | what was used and may be used, see `usage` |
//! | `GET /v1/usage/days` | session or token | finished days |
//! | `/oauth/google…` | see there | access to Google, see `oauth` |
//! | `/v1/pairing…` | session or token | who may talk in chat apps, see `pairing` |

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::QueryRejection},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header};
use livos_core::{
    conversation::{ConversationId, Inbound, Reply, ReplyError},
    drain::DrainSignal,
    supervise::{Load, Supervisor},
};
use livos_voice::{stt::SpeechToText, tts::TextToSpeech};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower_http::trace::TraceLayer;
use tracing::{Span, field};

use crate::{
    assets,
    auth::{Auth, Credential},
    chat,
    durable::Durable,
    health::Dependencies,
    oauth::Google,
    pairing::Desk,
    usage::{self, Accounts},
    voice,
};

/// The agent, whoever it is.
pub type Responder = BoxCloneSyncService<Inbound, Reply, ReplyError>;

/// The largest request body, in bytes: the longest chat message in JSON with every character
/// escaped, and some room.
const MAX_BODY: usize = 256 * 1024;

/// What every request can reach.
#[derive(Clone)]
pub struct App {
    /// Who may talk to the server.
    pub auth: Arc<Auth>,
    /// Origins beside the page's own that may open a voice socket.
    pub allowed_origins: Arc<[String]>,
    /// What `/readyz` reports.
    pub dependencies: Dependencies,
    /// The store and the queue.
    pub durable: Arc<Durable>,
    /// What was used and may be used.
    pub accounts: Accounts,
    /// Access to Google, where it is configured.
    pub google: Option<Google>,
    /// Who is paired, where a chat app is configured.
    pub pairing: Option<Desk>,
    /// The agent.
    pub responder: Responder,
    /// Speech to text.
    pub stt: Arc<dyn SpeechToText>,
    /// Text to speech.
    pub tts: Arc<dyn TextToSpeech>,
    /// How each voice session is run.
    pub voice: Arc<voice::Settings>,
    /// One permit for each voice session.
    pub voice_permits: Arc<Semaphore>,
    /// Owns the session tasks.
    pub supervisor: Supervisor,
    /// Counts sessions and answers.
    pub load: Load,
    /// Tells when to stop.
    pub drain: DrainSignal,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
}

impl App {
    /// A conversation that nobody has had before.
    pub fn new_conversation(&self) -> ConversationId {
        let id = uuid::Uuid::now_v7().simple().to_string();
        // Thirty-two hexadecimal digits are a valid id; the loop of `try_from` cannot refuse them.
        ConversationId::try_from(id.as_str())
            .unwrap_or_else(|_| unreachable!("hexadecimal digits are a valid id"))
    }
}

/// All routes; `hooks` are those of the webhooks, which prove themselves.
pub fn router(app: App, hooks: Router) -> Router {
    let protected = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/voice", get(voice::upgrade))
        .route("/v1/chat", post(chat::chat))
        .route("/v1/usage", get(usage::show))
        .route("/v1/usage/days", get(usage::days))
        .merge(app.google.as_ref().map(Google::protected).unwrap_or_default())
        .merge(app.pairing.as_ref().map(Desk::protected).unwrap_or_default())
        .fallback(get(files))
        .layer(middleware::from_fn_with_state(app.clone(), authenticate));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/login", get(log_in))
        .merge(app.google.as_ref().map(Google::open_to_all).unwrap_or_default())
        .merge(protected)
        .merge(hooks.with_state(()))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(harden))
        .layer(middleware::from_fn(catch_panic))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(answered)
                // A probe of `/readyz` that is told to wait is no error of ours.
                .on_failure(()),
        )
        .with_state(app)
}

/// A request in the log and in traces: its path without the query, which may hold the token of a
/// login link.
fn span(request: &Request) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    tracing::info_span!("request", %method, path, status = field::Empty)
}

fn answered(response: &Response, _: std::time::Duration, span: &Span) {
    span.record("status", response.status().as_u16());
}

async fn ready(State(app): State<App>) -> Response {
    let durable = app.durable.report();
    let (status, report) = app.dependencies.report(app.drain.is_draining(), durable, Instant::now());
    (status, Json(report)).into_response()
}

async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}

async fn files(request: Request) -> Response {
    assets::serve(request.uri().path())
}

#[derive(Deserialize)]
struct LoginQuery {
    token: String,
}

async fn log_in(State(app): State<App>, query: Result<Query<LoginQuery>, QueryRejection>) -> Response {
    let Ok(Query(LoginQuery { token })) = query else { return login_refused() };
    match app.auth.log_in(&token, Instant::now()) {
        Ok(Some(cookie)) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Ok(None) => login_refused(),
        Err(error) => {
            tracing::error!(%error, "no randomness for a session token");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn login_refused() -> Response {
    assets::page(
        StatusCode::UNAUTHORIZED,
        "This login link does not work",
        "A link works once. Restart the server for a new one.",
    )
}

/// Lets a request through when it carries a credential, and notes which.
async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match app.auth.check(request.headers(), Instant::now()) {
        Some(credential) => {
            request.extensions_mut().insert::<Credential>(credential);
            next.run(request).await
        }
        None => unauthorized(&request),
    }
}

fn unauthorized(request: &Request) -> Response {
    let accepts_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if request.method() == Method::GET && accepts_html {
        return assets::page(
            StatusCode::UNAUTHORIZED,
            "Please log in",
            "Open the login link that the server printed when it started. It works once and sets a cookie in this browser.",
        );
    }
    let body = Json(json!({ "kind": "rejected", "message": "a session cookie or bearer token is needed" }));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

/// Headers that every answer carries. The policy allows this page's own files, WebAssembly for the
/// detector, and nothing else.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' data:; \
             connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A panic in a handler becomes a 500 and touches no other request. The process-level hook has
/// logged it.
async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
