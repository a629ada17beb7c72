//! A service that limits the failures of each source.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tower_service::Service;

use super::{
    config::{LimitConfig, Source},
    reserve::{Place, Reserve},
    table::{self, Key, Table},
};
use crate::webhook::verify::Body;

/// Answers 429 with `Retry-After` to the failures of a source that has failed too often. A request
/// takes a token of its source when it comes in, so that a hundred slow ones at one time are
/// counted too, and gets it back from [`crate::webhook::Verify`] at the moment it is verified.
/// Without a token it is verified all the same: its head is judged, and its body is read in a place
/// of a small reserve.
#[derive(Debug, Clone)]
pub struct SourceLimit<S> {
    inner: S,
    limits: Arc<Limits>,
    count_verified: bool,
}

/// What all requests to an endpoint share.
#[derive(Debug)]
struct Limits {
    table: Mutex<Table>,
    /// For sources that were verified before.
    known: Arc<Reserve>,
    /// For all others.
    strangers: Arc<Reserve>,
}

impl Limits {
    /// The table, also after a holder of the lock panicked: it is never left half changed.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> SourceLimit<S> {
    pub(super) fn new(inner: S, config: &LimitConfig) -> Self {
        let limits = Arc::new(Limits {
            table: Mutex::new(Table::new(config)),
            known: Arc::new(Reserve::new(config.reserve)),
            strangers: Arc::new(Reserve::new(config.reserve)),
        });
        Self { inner, limits, count_verified: config.count_verified }
    }
}

/// The token of a request, or that there was none, as one of its extensions.
#[derive(Clone)]
pub(in super::super) struct Token {
    limits: Arc<Limits>,
    source: Key,
    /// Where the token came from. None if the source is over its limit.
    bucket: Option<Key>,
}

impl Token {
    /// The request proved to be the provider's. Called once.
    pub(in super::super) fn verified(&self) {
        let (now, mut table) = (now(), self.limits.table());
        if let Some(bucket) = self.bucket {
            table.give_back(now, bucket);
        }
        table.verified(now, self.source);
    }

    /// The place in which the body of a source over its limit is read.
    pub(in super::super) fn place(&self) -> Option<Place> {
        if self.bucket.is_some() {
            return None;
        }
        let is_known = self.limits.table().was_verified(now(), self.source);
        let reserve = if is_known { &self.limits.known } else { &self.limits.strangers };
        Some(reserve.enter())
    }
}

/// Virtual in a test whose runtime is paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<S, B> Service<Request<B>> for SourceLimit<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Limited<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let source = request.extensions().get::<Source>().and_then(|Source(address)| table::key(*address));
        let taken = self.limits.table().take(now(), source);
        if self.count_verified {
            return match taken {
                Ok(_) => Limited(State::Let(Box::pin(self.inner.call(request)), None)),
                Err(wait) => Limited(State::Refused(refusal(wait))),
            };
        }
        let (bucket, wait) = (taken.ok(), taken.err());
        request.extensions_mut().insert(Token { limits: Arc::clone(&self.limits), source, bucket });
        Limited(State::Let(Box::pin(self.inner.call(request)), wait))
    }
}

fn refusal(wait: Duration) -> Response<Body> {
    metrics::counter!("livos_webhook_limited_total").increment(1);
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer of a limited service.
pub struct Limited<F>(State<F>);

enum State<F> {
    /// Its failure is answered with 429 if it has this long to wait for a token.
    Let(Pin<Box<F>>, Option<Duration>),
    Refused(Response<Body>),
}

impl<F> fmt::Debug for Limited<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = matches!(self.0, State::Refused(_));
        f.debug_struct("Limited").field("refused", &refused).finish_non_exhaustive()
    }
}

impl<F, E> Future for Limited<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.get_mut().0 {
            State::Refused(refusal) => Poll::Ready(Ok(std::mem::take(refusal))),
            State::Let(inner, wait) => {
                let response = ready!(inner.as_mut().poll(cx))?;
                Poll::Ready(Ok(match wait {
                    Some(wait) if response.status().is_client_error() => refusal(*wait),
                    _ => response,
                }))
            }
        }
    }
}
