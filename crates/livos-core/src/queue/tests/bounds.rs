//! The bounds that a queue has unless it is told otherwise, and the alert before they are reached.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::AtomicU64},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::*;
use crate::time::Timestamp;

/// Counters by name.
#[derive(Default)]
struct Counters(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Counters {
    fn read(&self, name: &str) -> u64 {
        let counters = self.0.lock().unwrap();
        counters.get(name).map_or(0, |value| value.load(std::sync::atomic::Ordering::SeqCst))
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.name().to_owned()).or_default()))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn five_hundred_jobs_are_taken_with_one_alert_at_a_hundred() {
    let (counters, now) = (Counters::default(), Timestamp::from_unix_ms(1_800_000_000_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
    let queue = EmbeddedQueue::new(file, QueueConfig::default());
    let enqueue = |n: u64| {
        let job = NewJob::new(JobKind::from_static("mail"), n.to_string());
        metrics::with_local_recorder(&counters, || runtime.block_on(queue.enqueue(now, job))).unwrap()
    };
    for n in 1..=500 {
        assert!(matches!(enqueue(n), Enqueued::Enqueued(_)), "job {n}");
        assert_eq!(counters.read("livos_queue_alerts_total"), u64::from(n >= 100), "after job {n}");
    }
    assert_eq!(enqueue(501), Enqueued::Full { depth: 500 });
    assert_eq!(counters.read("livos_queue_refused_total"), 1);
}
