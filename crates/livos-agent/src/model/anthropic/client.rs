//! The client: one request, one stream of events, over whatever HTTP service it was given.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use livos_core::{
    conversation::{ReplyError, ReplyErrorKind, TokenUsage},
    http::{BoxError, HttpClient, ResponseBody, retry_after},
    secret::Secret,
    time::{Clock, SystemClock},
};

use super::{
    AnthropicConfig, InvalidConfig,
    sse::{Event, Parser},
    wire::{self, Delta, ErrorBody, StreamEvent},
};
use crate::{
    model::{Model, ModelEvent, ModelRequest, ModelStream},
    tokens,
};

/// The most of an error's body that is read, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;
/// The longest wait of a provider that is passed on; a longer one is cut to it. An hour: nobody is
/// left alone for longer without being asked again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How long the end of a body may lag behind its last event.
const END_OF_BODY: Duration = Duration::from_millis(50);

/// A client of Anthropic, or of any server that speaks its protocol. Cloning shares the HTTP client
/// and its connections.
#[derive(Clone)]
pub struct Anthropic {
    config: Arc<AnthropicConfig>,
    http: HttpClient,
}

impl Anthropic {
    /// A client over this HTTP client, with a configuration that is checked here, once.
    ///
    /// The HTTP client keeps its connections: a fresh TLS handshake would cost every answer one to
    /// three round trips.
    pub fn new(config: AnthropicConfig, http: HttpClient) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self { config: Arc::new(config), http })
    }

    /// A client over [`HttpClient::over_tls`].
    #[cfg(feature = "tls")]
    pub fn over_tls(config: AnthropicConfig) -> Result<Self, InvalidConfig> {
        let http =
            HttpClient::over_tls().map_err(|_| InvalidConfig("the TLS library refused its own defaults"))?;
        Self::new(config, http)
    }

    fn request(&self, request: &ModelRequest) -> Result<Request<Bytes>, ReplyError> {
        let refuse = |error: BoxError| {
            ReplyError::new(ReplyErrorKind::Rejected, "the request to the model can't be built")
                .with_source(error)
        };
        let body = wire::body(&self.config, request).map_err(|error| refuse(error.into()))?;
        let address = format!("{}/v1/messages", self.config.base_url.to_string().trim_end_matches('/'));
        let mut key =
            HeaderValue::from_str(self.config.key.expose()).map_err(|error| refuse(error.into()))?;
        key.set_sensitive(true);
        Request::post(address)
            .header("x-api-key", key)
            .header("anthropic-version", "2023-06-01")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream")
            .body(Bytes::from(body))
            .map_err(|error| refuse(error.into()))
    }

    /// Sends the request and waits for the head of the answer.
    async fn send(&self, request: &ModelRequest) -> Result<ResponseBody, ReplyError> {
        let request = self.request(request)?;
        let response = self.http.send(request).await.map_err(unreachable)?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = body.read_start(MAX_ERROR_BODY).await;
        let said: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
        Err(refused(head.status, &head.headers, &said, &self.config.key))
    }
}

impl Model for Anthropic {
    fn answer(&self, request: ModelRequest) -> ModelStream {
        let client = self.clone();
        Box::pin(stream::unfold(
            Answer::Asking { client, request },
            |answer| async move { answer.next().await },
        ))
    }
}

/// One answer as it comes in.
#[allow(clippy::large_enum_variant)] // One lives in each stream's own box.
enum Answer {
    Asking { client: Anthropic, request: ModelRequest },
    Reading(Reading),
    Over,
}

struct Reading {
    body: ResponseBody,
    parser: Parser,
    ready: std::collections::VecDeque<Result<ModelEvent, ReplyError>>,
    usage: TokenUsage,
    /// Output that was estimated because the provider has not reported it yet.
    estimated: u64,
    stop_reason: Option<String>,
    finished: bool,
    config: Arc<AnthropicConfig>,
}

type Next = Option<(Result<ModelEvent, ReplyError>, Answer)>;

impl Answer {
    async fn next(self) -> Next {
        match self {
            Self::Asking { client, request } => {
                let limit = client.config.first_event_timeout;
                let asked = tokio::time::timeout(limit, client.send(&request)).await;
                match asked.unwrap_or_else(|_| Err(mute(limit))) {
                    Ok(body) => Box::pin(Reading::new(body, client.config).next()).await,
                    Err(error) => Some((Err(error), Self::Over)),
                }
            }
            Self::Reading(reading) => reading.next().await,
            Self::Over => None,
        }
    }
}

impl Reading {
    fn new(body: ResponseBody, config: Arc<AnthropicConfig>) -> Self {
        Self {
            body,
            parser: Parser::default(),
            ready: std::collections::VecDeque::new(),
            usage: TokenUsage::default(),
            estimated: 0,
            stop_reason: None,
            finished: false,
            config,
        }
    }

    async fn next(mut self) -> Next {
        loop {
            match self.ready.pop_front() {
                Some(Err(error)) => return Some((Err(error), Answer::Over)),
                Some(Ok(event @ ModelEvent::Finished(_))) => {
                    self.read_to_the_end().await;
                    return Some((Ok(event), Answer::Over));
                }
                Some(Ok(event)) => return Some((Ok(event), Answer::Reading(self))),
                None => {}
            }
            if let Err(error) = self.read().await {
                return Some((Err(error), Answer::Over));
            }
        }
    }

    /// A body that is dropped before its end costs an HTTP/1.1 connection, and the next turn a
    /// handshake. The end comes right behind the last event; a server that keeps it back is not
    /// waited for.
    async fn read_to_the_end(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
        let _ = tokio::time::timeout(END_OF_BODY, rest).await;
    }

    async fn read(&mut self) -> Result<(), ReplyError> {
        let broken = |message: &str| ReplyError::new(ReplyErrorKind::Unavailable, message);
        let limit = self.config.idle_timeout;
        let bytes = tokio::time::timeout(limit, self.body.next()).await.map_err(|_| mute(limit))?;
        let bytes = bytes
            .ok_or_else(|| broken("the model's answer ended before it was whole"))?
            .map_err(broke_off)?;
        let mut events = Vec::new();
        let parsed = self.parser.push(&bytes, |event| events.push(event));
        events.iter().try_for_each(|event| self.take(event))?;
        parsed.map_err(|error| broken("the model's answer can't be read").with_source(error))
    }

    fn take(&mut self, event: &Event) -> Result<(), ReplyError> {
        if self.finished {
            return Ok(());
        }
        let event: StreamEvent = serde_json::from_str(&event.data).map_err(|error| {
            ReplyError::new(
                ReplyErrorKind::Unavailable,
                "the model's server sent an event that is not of the protocol",
            )
            .with_source(error)
        })?;
        match event {
            StreamEvent::MessageStart { message } => {
                message.usage.update(&mut self.usage);
                self.estimated = self.usage.output;
                self.report(true);
            }
            StreamEvent::ContentBlockDelta { delta: Delta::TextDelta { text } } => {
                self.estimated += tokens::estimate(&text);
                self.ready.push_back(Ok(ModelEvent::Text(text)));
            }
            StreamEvent::MessageDelta { delta, usage } => {
                usage.update(&mut self.usage);
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.report(false);
            }
            StreamEvent::MessageStop => {
                self.finished = true;
                self.ready.push_back(Ok(ModelEvent::Finished(wire::finish(self.stop_reason.as_deref()))));
            }
            StreamEvent::Error { error } => {
                let body = ErrorBody { error };
                let status = status_of(&body.error.kind);
                let error = refused(status, &HeaderMap::new(), &body, &self.config.key);
                self.ready.push_back(Err(error));
            }
            StreamEvent::ContentBlockDelta { .. } | StreamEvent::Other => {}
        }
        Ok(())
    }

    /// An answer that is cut off never gets its final figures: until they come, output is an
    /// estimate and says so.
    fn report(&mut self, estimated: bool) {
        let output = if estimated { self.estimated } else { self.usage.output };
        self.ready.push_back(Ok(ModelEvent::Usage(TokenUsage { output, estimated, ..self.usage })));
    }
}

fn unreachable(error: BoxError) -> ReplyError {
    ReplyError::new(ReplyErrorKind::Unavailable, "the model's server could not be reached").with_source(error)
}

fn broke_off(error: BoxError) -> ReplyError {
    ReplyError::new(ReplyErrorKind::Unavailable, "the model's answer broke off").with_source(error)
}

fn mute(limit: Duration) -> ReplyError {
    let message = format!("the model's server said nothing for {} s", limit.as_secs_f32());
    ReplyError::new(ReplyErrorKind::Unavailable, message)
}

/// The status that stands for an error inside a stream that began with 200.
fn status_of(kind: &str) -> StatusCode {
    match kind {
        "overloaded_error" | "rate_limit_error" => StatusCode::TOO_MANY_REQUESTS,
        "authentication_error" | "permission_error" => StatusCode::UNAUTHORIZED,
        "api_error" | "timeout_error" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// By status, without the key, as <https://docs.anthropic.com/en/api/errors> lists them; the
/// provider's own word on retrying goes before.
fn refused(status: StatusCode, headers: &HeaderMap, body: &ErrorBody, key: &Secret) -> ReplyError {
    const OVERLOADED: u16 = 529;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = match status.as_u16() {
        429 | OVERLOADED => ReplyErrorKind::Busy,
        401 | 403 => ReplyErrorKind::Unauthorized,
        408 | 409 | 500..=599 => ReplyErrorKind::Unavailable,
        _ => ReplyErrorKind::Rejected,
    };
    let kind = match text("x-should-retry") {
        Some("false") if kind == ReplyErrorKind::Unavailable => ReplyErrorKind::Rejected,
        Some("true") if kind == ReplyErrorKind::Rejected => ReplyErrorKind::Unavailable,
        _ => kind,
    };
    let milliseconds =
        text("retry-after-ms").and_then(|value| value.trim().parse().ok()).map(Duration::from_millis);
    let after = milliseconds.or_else(|| retry_after(headers, SystemClock.now()));
    let after = after.map(|after| after.min(MAX_RETRY_AFTER));
    let whose = match kind {
        ReplyErrorKind::Rejected => "the model's server refused the request",
        ReplyErrorKind::Unauthorized => "the model's server refused our key",
        _ => "the model's server failed",
    };
    let short = |text: &str, most| key.redact(text).chars().take(most).collect::<String>();
    let (code, error, what) = (status.as_u16(), short(&body.error.kind, 64), short(&body.error.message, 200));
    ReplyError::new(kind, format!("{whose} ({code} {error}): {what}")).with_retry_after(after)
}

impl std::fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anthropic").field("config", &self.config).finish_non_exhaustive()
    }
}
