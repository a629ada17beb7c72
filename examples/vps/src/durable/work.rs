//! The worker and the tasks that keep the queue in order.

use std::{sync::Arc, time::Duration};

use livos_core::{
    backoff::BackoffConfig,
    drain::DrainSignal,
    queue::{self, Repeat, Worker, WorkerConfig},
    supervise::{Load, Supervisor},
    time::{Clock, SystemClock},
};

use super::{jobs::Jobs, open::Durable};

/// How often queue depths are read for the metrics, and how often a repeated job that could not be
/// defined is tried again.
const WATCH: Duration = Duration::from_secs(5);

/// How the worker works.
#[derive(Debug, Clone)]
pub struct WorkConfig {
    /// The most jobs at one time.
    pub concurrency: usize,
    /// The waits of a job during an outage.
    pub outage: BackoffConfig,
    /// How long a job may go on once the drain has begun. Time to give back what does not finish
    /// must be left of the time that the whole drain may take.
    pub drain_patience: Duration,
    /// How long the worker may show no sign of life before the watchdog is told.
    pub pulse_patience: Duration,
}

/// Runs the worker and what keeps the queue in order, until the drain.
pub fn start(
    durable: &Durable,
    jobs: Jobs,
    config: &WorkConfig,
    supervisor: &Supervisor,
    load: &Load,
    drain: &DrainSignal,
) {
    if let Some(spill) = &durable.spill {
        let (spill, signal) = (Arc::clone(spill), drain.clone());
        supervisor.spawn_restarting("spilled jobs", drain.clone(), move || {
            let (spill, signal) = (Arc::clone(&spill), signal.clone());
            async move { spill.run(signal).await }
        });
    }
    let mut working = WorkerConfig::default();
    working.kinds = jobs.kinds().cloned().collect();
    working.concurrency = config.concurrency;
    working.outage = config.outage;
    working.drain_patience = config.drain_patience;
    let (dispatcher, repeats) = jobs.into_parts();
    let (queue, signal, load) = (Arc::clone(&durable.queue), drain.clone(), load.clone());
    let pulse = supervisor.pulse("jobs", config.pulse_patience);
    supervisor.spawn_restarting("jobs", drain.clone(), move || {
        let worker = Worker::new(Arc::clone(&queue), dispatcher.clone(), SystemClock, working.clone());
        pulse.clone().beating(worker.with_load(load.clone()).run(signal.clone()))
    });
    let (queue, signal) = (Arc::clone(&durable.queue), drain.clone());
    supervisor.spawn_restarting("depth of the queue", drain.clone(), move || {
        queue::observe(Arc::clone(&queue), WATCH, signal.clone())
    });
    let (durable, signal) = (durable.clone(), drain.clone());
    supervisor.spawn_restarting("repeated jobs", drain.clone(), move || {
        watch(durable.clone(), repeats.clone(), signal.clone())
    });
}

/// Defines the repeated jobs as soon as that is possible, and counts spilled ones for the metrics.
async fn watch(durable: Durable, mut repeats: Vec<Repeat>, drain: DrainSignal) {
    loop {
        while let Some(repeat) = repeats.last() {
            if let Err(error) = durable.queue.repeat(SystemClock.now(), repeat.clone()).await {
                tracing::warn!(%error, name = repeat.name, "a repeated job could not be defined yet");
                break;
            }
            repeats.pop();
        }
        if let Some(spill) = &durable.spill {
            metrics::gauge!("livos_queue_spilled").set(spill.health().spilled as f64);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = drain.draining() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use livos_core::{
        drain::Drain,
        queue::{Job, JobKind, KindPolicy, NewJob, Outcome},
    };
    use tokio::sync::mpsc;
    use tower::BoxError;

    use super::*;
    use crate::{
        config::{Document, Environment},
        durable::{DurableConfig, Families, Janitor},
    };

    #[tokio::test]
    async fn jobs_go_to_the_handler_of_their_kind_and_a_drain_ends_everything() {
        const KIND: JobKind = JobKind::from_static("greeting");
        const JANITOR: JobKind = JobKind::from_static("janitor");
        let lookup = |name: &str| (name == "LIVOS_STORE").then(|| ":memory:".to_owned());
        let mut document = Document::parse("", None, Environment::new(&lookup)).unwrap();
        let config = DurableConfig::read(&mut document).unwrap();
        let (done, mut greeted) = mpsc::unbounded_channel();
        let handler = tower::service_fn(move |lease: Job| {
            let told = done.send(lease.payload);
            async move { told.map(|()| Outcome::Done).map_err(BoxError::from) }
        });
        let kinds = [(KIND, KindPolicy::DEFAULT)].into_iter().chain(Janitor::kinds()).collect();
        let durable = Durable::open(&config, kinds).await.unwrap();
        let jobs = Janitor::jobs(&durable, Families::of_the_core()).on(KIND, handler);
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let patience = Duration::from_secs(5);
        let config = WorkConfig {
            concurrency: 2,
            outage: BackoffConfig::default(),
            drain_patience: patience,
            pulse_patience: patience,
        };
        start(&durable, jobs, &config, &supervisor, &Load::new(), &signal);
        for kind in [KIND, JANITOR] {
            durable.queue.enqueue(SystemClock.now(), NewJob::new(kind, "hello")).await.unwrap();
        }
        assert_eq!(greeted.recv().await.unwrap(), "hello");
        while durable.queue.depth().await.unwrap().total() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(durable.queue.dead(None, 10).await.unwrap(), [], "the janitor works too");
        let repeats = durable.queue.repeats().await.unwrap();
        assert_eq!(repeats.iter().map(|(repeat, _)| repeat.name.as_str()).collect::<Vec<_>>(), ["janitor"]);
        drain.begin();
        assert_eq!(supervisor.shut_down(Duration::from_secs(20)).await, Vec::<&str>::new());
        durable.close().await;
        assert!(durable.queue.depth().await.is_err(), "closed");
    }
}
