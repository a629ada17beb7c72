//! From a request to a verified delivery, and from what became of that to an answer.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use livos_core::{queue::Enqueued, time::Clock};
use tower_service::Service;

use super::{body::Body, config::VerifyConfig};
use crate::webhook::{
    check::Check,
    delivery::{Delivery, Verified},
    error::VerifyError,
    limit::Token,
    policy::{ProviderAnswer, ProviderPolicy},
    verifier::{Opened, Verifier},
};

/// A service over HTTP before one that takes verified deliveries, such as
/// [`crate::webhook::Enqueue`].
///
/// In this order: method, length and encoding as the head states them; what the verifier says to
/// the head; the body chunk by chunk, within its length and its time, each through the MAC; the
/// verdict; what is answered at once goes no further; everything else goes to the inner service,
/// and what that made durable is answered as the provider wants it. A request that is dropped
/// before its end may have been enqueued; its repeat is a duplicate then.
#[derive(Clone)]
pub struct Verify<S, C> {
    inner: S,
    gate: Gate<C>,
}

/// What decides whether a request is handed on.
#[derive(Clone)]
struct Gate<C> {
    verifier: Arc<dyn Verifier>,
    policy: Arc<ProviderPolicy>,
    clock: C,
    config: Arc<VerifyConfig>,
}

impl<S, C> Verify<S, C> {
    pub(super) fn new(inner: S, verifier: Arc<dyn Verifier>, clock: C, config: Arc<VerifyConfig>) -> Self {
        let policy = Arc::new(verifier.policy());
        Self { inner, gate: Gate { verifier, policy, clock, config } }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Verify<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify")
            .field("provider", &self.gate.policy.provider)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, C, B> Service<Request<B>> for Verify<S, C>
where
    S: Service<Verified<Delivery>, Response = Enqueued> + Clone + Send + 'static,
    S::Error: fmt::Display + Send,
    S::Future: Send,
    C: Clock + Clone,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// Always ready: the inner service is asked when there is something for it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (gate, inner) = (self.gate.clone(), self.inner.clone());
        Box::pin(async move { Ok(gate.answer(request, inner).await.map(Body::from)) })
    }
}

/// Why there is nothing to hand on.
enum Refusal {
    /// The verifier's reason.
    Verdict(VerifyError),
    /// A bound, or the form of the request.
    Status(StatusCode),
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self::Verdict(error)
    }
}

impl<C: Clock> Gate<C> {
    async fn answer<B, S>(self, request: Request<B>, inner: S) -> Response<Bytes>
    where
        B: http_body::Body,
        S: Service<Verified<Delivery>, Response = Enqueued>,
        S::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        match self.delivery(&head, body).await {
            Ok(delivery) => {
                if let Some(token) = head.extensions.get::<Token>() {
                    token.verified();
                }
                self.hand_on(delivery, inner).await
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Judges the head, and then the body if the head may be the provider's.
    async fn delivery<B: http_body::Body>(
        &self,
        head: &Parts,
        body: B,
    ) -> Result<Verified<Delivery>, Refusal> {
        self.form(head)?;
        let now = self.clock.now();
        let opened = self.verifier.open(now, head)?;
        let Some(mut place) = head.extensions.get::<Token>().and_then(Token::place) else {
            return self.examine(opened, body).await;
        };
        tokio::select! {
            // What has come in whole is judged, even if its place was taken meanwhile.
            biased;
            examined = self.examine(opened, body) => examined,
            () = place.lost() => Err(Refusal::Status(StatusCode::TOO_MANY_REQUESTS)),
        }
    }

    /// Reads and verifies the body.
    async fn examine<B: http_body::Body>(
        &self,
        opened: Opened,
        body: B,
    ) -> Result<Verified<Delivery>, Refusal> {
        let mut check = opened.ready().await?;
        let read = read(&mut check, body, self.config.max_body);
        match tokio::time::timeout(self.config.body_timeout, read).await {
            Ok(read) => read.map_err(Refusal::Status)?,
            Err(_) => return Err(Refusal::Status(StatusCode::REQUEST_TIMEOUT)),
        }
        Ok(check.finish()?)
    }

    /// What the head alone makes impossible.
    fn form(&self, head: &Parts) -> Result<(), Refusal> {
        let refuse = |status| Err(Refusal::Status(status));
        if head.method != Method::POST && !(head.method == Method::GET && self.policy.takes_get) {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        // No provider sends one, and the signature would be over what comes out of it.
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.config.max_body as u64) {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(())
    }

    async fn hand_on<S>(&self, delivery: Verified<Delivery>, inner: S) -> Response<Bytes>
    where
        S: Service<Verified<Delivery>, Response = Enqueued>,
        S::Error: fmt::Display,
    {
        let provider = self.provider();
        let accepted = delivery.answer().unwrap_or(&self.policy.accepted).to_response();
        if delivery.is_answered_at_once() {
            return accepted;
        }
        let id = delivery.id().to_owned();
        match tokio::time::timeout(self.config.enqueue_timeout, call(inner, delivery)).await {
            Ok(Ok(Enqueued::Full { depth })) => {
                tracing::warn!(provider, id, depth, "the queue is full: the provider is asked to come again");
                self.unavailable()
            }
            Ok(Ok(enqueued)) => {
                tracing::debug!(provider, id, ?enqueued, "a delivery was taken");
                metrics::counter!("livos_webhook_taken_total", "provider" => provider).increment(1);
                accepted
            }
            Ok(Err(error)) => {
                tracing::error!(provider, id, %error, "a verified delivery could not be enqueued");
                self.unavailable()
            }
            Err(_) => {
                tracing::error!(provider, id, "the queue did not take a verified delivery in time");
                self.unavailable()
            }
        }
    }

    fn provider(&self) -> String {
        self.policy.provider.clone().into_owned()
    }

    fn unavailable(&self) -> Response<Bytes> {
        let own = self.policy.unavailable.as_ref().map(ProviderAnswer::to_response);
        own.unwrap_or_else(|| unavailable(self.config.retry_after))
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Bytes> {
        let provider = self.provider();
        let (status, reason) = match refusal {
            Refusal::Verdict(error) => {
                tracing::debug!(provider, %error, "a request was refused");
                (self.policy.refusal(error), error.reason())
            }
            Refusal::Status(status) => (*status, "form"),
        };
        metrics::counter!("livos_webhook_refused_total", "provider" => provider, "reason" => reason)
            .increment(1);
        match refusal {
            Refusal::Verdict(VerifyError::KeysUnavailable { retry_after }) => unavailable(*retry_after),
            _ => ProviderAnswer::status(status).to_response(),
        }
    }
}

/// Waits until a service is ready, and calls it.
async fn call<S: Service<R>, R>(mut service: S, request: R) -> Result<S::Response, S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// Reads a body through a check, up to a length.
async fn read<B: http_body::Body>(check: &mut Check, body: B, most: usize) -> Result<(), StatusCode> {
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(mut data) = frame.into_data() else { continue };
        if data.remaining() > most.saturating_sub(check.received()) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        while data.has_remaining() {
            let length = data.chunk().len();
            check.update(data.copy_to_bytes(length));
        }
    }
    Ok(())
}

/// Come again.
fn unavailable(retry_after: Duration) -> Response<Bytes> {
    let mut response = ProviderAnswer::status(StatusCode::SERVICE_UNAVAILABLE).to_response();
    let seconds = HeaderValue::from(retry_after.as_secs().max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
