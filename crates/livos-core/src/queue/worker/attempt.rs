//! One attempt at a job: the service works while the lease is kept.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::config::Outcome;
use crate::{
    queue::{Job, Lease, LeaseError, Queue},
    time::Clock,
};

/// How an attempt ended.
pub(super) enum Ended {
    /// The service answered, failed or panicked.
    Worked(Lease, Outcome),
    /// The drain ran out of patience.
    CutOff(Lease),
    /// Another worker may have the job by now.
    Lost,
}

/// What an attempt needs to keep its lease.
pub(super) struct Attempt<C> {
    pub queue: Arc<dyn Queue>,
    pub clock: C,
    pub visibility: Duration,
    pub cut_off: CancellationToken,
}

impl<C: Clock> Attempt<C> {
    /// Lets the service work, and extends the lease every third of its time.
    pub async fn run<S>(&self, mut lease: Lease, service: S) -> Ended
    where
        S: Service<Job, Response = Outcome>,
        S::Error: fmt::Display,
    {
        let mut work = pin!(caught(work(service, lease.job().clone())));
        let mut held_until = Instant::now() + self.visibility;
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return Ended::Worked(lease, outcome),
                () = self.cut_off.cancelled() => return Ended::CutOff(lease),
                () = tokio::time::sleep(self.visibility / 3) => {}
            }
            let (asked, mut outcome) = (Instant::now(), None);
            let mut extending = self.queue.extend(self.clock.now(), lease, self.visibility);
            // The lease is inside: to drop the call would be to lose it.
            let extended = loop {
                tokio::select! {
                    biased;
                    done = &mut work, if outcome.is_none() => outcome = Some(done),
                    extended = &mut extending => break extended,
                }
            };
            lease = match extended {
                Ok(renewed) => {
                    held_until = asked + self.visibility;
                    renewed
                }
                Err(LeaseError::Failed { lease, source })
                    if outcome.is_some() || Instant::now() < held_until =>
                {
                    tracing::warn!(error = %source, "a lease could not be extended yet");
                    *lease
                }
                // To go on would be to do the work twice.
                Err(_) => return Ended::Lost,
            };
            if let Some(outcome) = outcome {
                return Ended::Worked(lease, outcome);
            }
        }
    }
}

async fn work<S>(mut service: S, job: Job) -> Outcome
where
    S: Service<Job, Response = Outcome>,
    S::Error: fmt::Display,
{
    let failed = |error: S::Error| Outcome::Retry { after: None, reason: error.to_string() };
    if let Err(error) = std::future::poll_fn(|cx| service.poll_ready(cx)).await {
        return failed(error);
    }
    service.call(job).await.unwrap_or_else(failed)
}

/// A panic of the service is a failed attempt.
async fn caught(work: impl Future<Output = Outcome>) -> Outcome {
    let mut work = pin!(work);
    std::future::poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut work).poll(cx)));
        polled.unwrap_or_else(|_| {
            Poll::Ready(Outcome::Retry { after: None, reason: "the service panicked".into() })
        })
    })
    .await
}
