//! The breaker round a service.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::{Admission, Breaker, BreakerConfig, BreakerState};

/// Refuses calls to a service that fails. All services that it makes share one breaker.
#[derive(Debug, Clone)]
pub struct BreakerLayer {
    name: &'static str,
    breaker: Arc<Mutex<Breaker>>,
}

impl BreakerLayer {
    /// A breaker for what is called `name` in logs and metrics (`livos_breaker_open{name}`,
    /// `livos_breaker_refused_total{name}`).
    pub fn new(name: &'static str, config: BreakerConfig) -> Self {
        Self { name, breaker: Arc::new(Mutex::new(Breaker::new(config))) }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        lock(&self.breaker).state()
    }

    /// Makes one call, if it is let through. `failed` says of an error whether the dependency is to
    /// blame.
    ///
    /// A call that is dropped before its end counts as a failure: what nobody waited for took too
    /// long.
    pub async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        failed: impl Fn(&E) -> bool,
    ) -> Result<T, Broken<E>> {
        let outcome = self.admit().map_err(|retry_after| Broken::Open { retry_after })?;
        outcome.of(call.await, failed)
    }

    /// The same for a dependency that bounds its own time and has a question cheaper than any call:
    /// when a probe is due, `probe` is made first, and the call only if that succeeds.
    ///
    /// A call that is dropped before its end counts for nothing, because its caller had other
    /// reasons than the dependency; only a dropped probe is a failure.
    pub async fn call_after<T, E>(
        &self,
        probe: impl Future<Output = Result<(), E>>,
        call: impl Future<Output = Result<T, E>>,
        failed: impl Fn(&E) -> bool,
    ) -> Result<T, Broken<E>> {
        let open = |retry_after| Broken::Open { retry_after };
        let mut outcome = self.admit().map_err(open)?;
        if outcome.admission == Admission::Probe {
            outcome.of(probe.await, &failed)?;
            outcome = self.admit().map_err(open)?;
        }
        outcome.end = if outcome.admission == Admission::Probe { End::Failed } else { End::Unknown };
        outcome.of(call.await, failed)
    }

    /// Asks for a call; where it is refused, answers how long to stay away.
    fn admit(&self) -> Result<Outcome, Duration> {
        match lock(&self.breaker).admit(Instant::now()) {
            Admission::Refuse { retry_after } => {
                metrics::counter!("livos_breaker_refused_total", "name" => self.name).increment(1);
                Err(retry_after)
            }
            admission => Ok(Outcome { layer: self.clone(), admission, end: End::Failed }),
        }
    }
}

/// Tells the breaker how a call ended, however it ended.
struct Outcome {
    layer: BreakerLayer,
    admission: Admission,
    /// As things stand: what it is when it is dropped.
    end: End,
}

enum End {
    Succeeded,
    Failed,
    Unknown,
}

impl Outcome {
    fn of<T, E>(mut self, answer: Result<T, E>, failed: impl Fn(&E) -> bool) -> Result<T, Broken<E>> {
        self.end = if answer.as_ref().is_err_and(failed) { End::Failed } else { End::Succeeded };
        answer.map_err(Broken::Service)
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let mut breaker = lock(&self.layer.breaker);
        let name = self.layer.name;
        match self.end {
            End::Succeeded => {
                breaker.succeed(self.admission);
                if self.admission == Admission::Probe {
                    tracing::info!(name, "it answers again");
                }
            }
            End::Failed => {
                if breaker.fail(Instant::now(), self.admission) {
                    tracing::error!(name, "it fails, and is left alone for a while");
                }
            }
            End::Unknown => {}
        }
        let open = !matches!(breaker.state(), BreakerState::Closed);
        metrics::gauge!("livos_breaker_open", "name" => name).set(f64::from(u8::from(open)));
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> BreakerService<S> {
        BreakerService { inner, layer: self.clone() }
    }
}

/// A service behind a breaker. Every error of the inner service counts as its failure.
#[derive(Debug, Clone)]
pub struct BreakerService<S> {
    inner: S,
    layer: BreakerLayer,
}

impl<S, R> Service<R> for BreakerService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = Broken<S::Error>;
    type Future = BoxFuture<'static, Result<S::Response, Broken<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Broken::Service)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.layer.admit() {
            // The call is not even begun.
            Err(retry_after) => Box::pin(std::future::ready(Err(Broken::Open { retry_after }))),
            Ok(outcome) => {
                let call = self.inner.call(request);
                Box::pin(async move { outcome.of(call.await, |_| true) })
            }
        }
    }
}

/// Why a call behind a breaker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken<E> {
    /// It was not made: the dependency fails, and is left alone.
    #[error("it is left alone for {} s because it fails", retry_after.as_secs_f32().ceil())]
    Open {
        /// When it may be worth while to ask again.
        retry_after: Duration,
    },
    /// It was made, and failed.
    #[error(transparent)]
    Service(E),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("deliberate, in a test")]
    struct Failure;

    #[tokio::test]
    async fn an_open_breaker_does_not_call_and_says_when_to_come_back() {
        let layer = BreakerLayer::new("test", BreakerConfig::default());
        for _ in 0..3 {
            let failed = layer.call(async { Err::<(), _>(Failure) }, |_| true).await;
            assert_eq!(failed, Err(Broken::Service(Failure)));
        }
        let refused = layer.call(async { panic!("it was called") }, |_: &Failure| true).await;
        let Err::<(), _>(Broken::Open { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after > Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_probe_goes_before_the_first_call_and_spares_it_where_it_fails() {
        let config = BreakerConfig { failures: 1, open_for: Duration::ZERO, ..BreakerConfig::default() };
        let layer = BreakerLayer::new("test", config);
        let (good, bad) = (|| async { Ok(()) }, || async { Err::<(), _>(Failure) });
        let never = || async { panic!("it was called") };
        assert_eq!(layer.call_after(never(), good(), |_| true).await, Ok(()), "closed, nothing is probed");
        assert_eq!(layer.call_after(never(), bad(), |_| true).await, Err(Broken::Service(Failure)));
        assert_eq!(layer.call_after(bad(), never(), |_| true).await, Err(Broken::Service(Failure)));
        assert_eq!(layer.call_after(good(), good(), |_| true).await, Ok(()));
        assert_eq!(layer.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_says_nothing_about_a_dependency_that_bounds_its_own_time() {
        let config = BreakerConfig { failures: 1, ..BreakerConfig::default() };
        let layer = BreakerLayer::new("test", config);
        let hangs = std::future::pending::<Result<(), Failure>>;
        let gone = Duration::from_millis(1);
        assert!(tokio::time::timeout(gone, layer.call_after(hangs(), hangs(), |_| true)).await.is_err());
        assert_eq!(layer.state(), BreakerState::Closed);
        assert!(tokio::time::timeout(gone, layer.call(hangs(), |_| true)).await.is_err());
        assert!(matches!(layer.state(), BreakerState::Open { .. }), "here it took too long");
    }

    #[tokio::test]
    async fn an_error_that_is_the_callers_own_does_not_count() {
        let layer = BreakerLayer::new("test", BreakerConfig::default());
        for _ in 0..10 {
            let _ = layer.call(async { Err::<(), _>(Failure) }, |_| false).await;
        }
        assert_eq!(layer.state(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_call_that_nobody_waited_for_counts() {
        let layer = BreakerLayer::new("test", BreakerConfig::default());
        for _ in 0..3 {
            let never = layer.call(std::future::pending::<Result<(), Failure>>(), |_| true);
            let _ = tokio::time::timeout(Duration::from_millis(1), never).await;
        }
        assert!(matches!(layer.state(), BreakerState::Open { .. }));
    }

    #[derive(Clone)]
    struct Fails;

    impl Service<()> for Fails {
        type Response = ();
        type Error = Failure;
        type Future = std::future::Ready<Result<(), Failure>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            std::future::ready(Err(Failure))
        }
    }

    #[tokio::test]
    async fn services_of_one_layer_share_its_breaker() {
        let layer = BreakerLayer::new("test", BreakerConfig::default());
        let (mut one, mut other) = (layer.layer(Fails), layer.layer(Fails));
        for _ in 0..3 {
            assert_eq!(one.call(()).await, Err(Broken::Service(Failure)));
        }
        assert!(matches!(other.call(()).await, Err(Broken::Open { .. })));
    }
}
