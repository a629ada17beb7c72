//! Publishes the depth of a queue as metrics.

use std::{sync::Arc, time::Duration};

use super::Queue;
use crate::drain::DrainSignal;

/// Publishes the depth at once and then at every interval until the drain:
/// `livos_queue_jobs{state}` for `ready`, `waiting`, `leased` and `dead`, and `livos_queue_depth`
/// for what counts against the bound. One process is enough.
pub async fn observe(queue: Arc<dyn Queue>, every: Duration, drain: DrainSignal) {
    loop {
        match queue.depth().await {
            Ok(depth) => {
                let states = [
                    ("ready", depth.ready),
                    ("waiting", depth.waiting),
                    ("leased", depth.leased),
                    ("dead", depth.dead),
                ];
                for (state, jobs) in states {
                    metrics::gauge!("livos_queue_jobs", "state" => state).set(jobs as f64);
                }
                metrics::gauge!("livos_queue_depth").set(depth.total() as f64);
            }
            Err(error) => tracing::warn!(%error, "the queue could not be asked for its depth"),
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = drain.draining() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::{
        drain::Drain,
        embedded::{Embedded, EmbeddedConfig},
        queue::{EmbeddedQueue, Intake, JobKind, Nack, NewJob, QueueConfig, Work},
        time::Timestamp,
    };

    /// Remembers gauges by their name and label.
    #[derive(Default)]
    struct Gauges(Mutex<HashMap<String, Arc<AtomicU64>>>);

    impl Gauges {
        fn read(&self) -> Vec<(String, f64)> {
            let all = self.0.lock().unwrap();
            let values =
                all.iter().map(|(name, bits)| (name.clone(), f64::from_bits(bits.load(Ordering::SeqCst))));
            let mut values: Vec<_> = values.filter(|(_, value)| *value != 0.0).collect();
            values.sort_by(|one, other| one.0.cmp(&other.0));
            values
        }
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let label = key.labels().map(|label| format!(" {}", label.value())).collect::<String>();
            let name = format!("{}{label}", key.name());
            Gauge::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    async fn fill(queue: &EmbeddedQueue, now: Timestamp) {
        let kind = JobKind::try_from("mail").unwrap();
        for _ in 0..4 {
            queue.enqueue(now, NewJob::new(kind.clone(), "x")).await.unwrap();
        }
        let hour = Duration::from_secs(3600);
        queue.enqueue(now, NewJob::new(kind, "later").not_before(now.plus(hour))).await.unwrap();
        let dead = queue.lease(now, &[], hour).await.unwrap().unwrap();
        queue.nack(now, dead, Nack::Dead { reason: "a test".into() }).await.unwrap();
        let _held = queue.lease(now, &[], hour).await.unwrap().unwrap();
    }

    #[test]
    fn every_state_has_its_gauge() {
        let (gauges, now) = (Gauges::default(), Timestamp::from_unix_ms(1_800_000_000_000));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let queue = EmbeddedQueue::new(
            Embedded::in_memory(EmbeddedConfig::default()).unwrap(),
            QueueConfig::default(),
        );
        runtime.block_on(fill(&queue, now));
        metrics::with_local_recorder(&gauges, || {
            runtime.block_on(async {
                let drain = Drain::new();
                let signal = drain.signal();
                let observing = observe(Arc::new(queue), Duration::from_secs(10), signal);
                tokio::join!(observing, async { drain.begin() });
            });
        });
        let expected = [
            ("livos_queue_depth", 4.0),
            ("livos_queue_jobs dead", 1.0),
            ("livos_queue_jobs leased", 1.0),
            ("livos_queue_jobs ready", 2.0),
            ("livos_queue_jobs waiting", 1.0),
        ];
        assert_eq!(gauges.read(), expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
