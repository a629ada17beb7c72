//! A service that refuses a source which keeps sending what proves nothing.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tower_service::Service;

use super::{
    config::Source,
    table::{self, Key, Table},
};
use crate::webhook::verify::Body;

/// Answers 429 with `Retry-After` to a source without tokens, before anything of its request is
/// read. A request takes its token when it comes in, so that a hundred slow ones at one time are
/// counted too, and gets it back from [`crate::webhook::Verify`] at the moment it is verified.
#[derive(Debug, Clone)]
pub struct SourceLimit<S> {
    inner: S,
    table: Arc<Mutex<Table>>,
    count_verified: bool,
}

impl<S> SourceLimit<S> {
    pub(super) fn new(inner: S, table: Arc<Mutex<Table>>, count_verified: bool) -> Self {
        Self { inner, table, count_verified }
    }
}

/// The token of a request, as one of its extensions.
#[derive(Clone)]
pub(in super::super) struct Token {
    table: Arc<Mutex<Table>>,
    bucket: Key,
}

impl Token {
    /// The request proved to be the provider's. Called once.
    pub(in super::super) fn give_back(&self) {
        lock(&self.table).give_back(now(), self.bucket);
    }
}

/// The table, also after a holder of the lock panicked: it is never left half changed.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
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
        let taken = lock(&self.table).take(now(), source);
        match taken {
            Ok(bucket) => {
                if !self.count_verified {
                    request.extensions_mut().insert(Token { table: Arc::clone(&self.table), bucket });
                }
                Limited(State::Let(Box::pin(self.inner.call(request))))
            }
            Err(wait) => {
                metrics::counter!("livos_webhook_limited_total").increment(1);
                Limited(State::Refused(refusal(wait)))
            }
        }
    }
}

fn refusal(wait: Duration) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer of a limited service.
pub struct Limited<F>(State<F>);

enum State<F> {
    Let(Pin<Box<F>>),
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
            State::Let(inner) => inner.as_mut().poll(cx),
        }
    }
}
