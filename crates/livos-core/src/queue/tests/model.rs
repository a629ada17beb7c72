//! Random histories of a queue, against a list that is searched from the front.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::testing::matrix;

/// A step of a history. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { kind: usize, key: Option<u8>, delay: u64, priority: u8, attempts: u32 },
    Lease { kinds: Vec<usize>, visibility: u64 },
    Extend { lease: usize, visibility: u64 },
    Ack { lease: usize },
    Nack { lease: usize, how: u8, after: u64 },
    Pass(u64),
    Replay { dead: usize },
    Discard { dead: usize },
}

const KINDS: [&str; 3] = ["free", "narrow", "slow"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3usize, prop::option::of(0..6u8), prop_oneof![3 => Just(0u64), 1 => 1..40u64], 0..3u8, 1..4u32)
            .prop_map(|(kind, key, delay, priority, attempts)| Step::Enqueue { kind, key, delay, priority, attempts }),
        6 => (prop::collection::vec(0..3usize, 0..3), 1..30u64)
            .prop_map(|(kinds, visibility)| Step::Lease { kinds, visibility }),
        1 => (any::<usize>(), 1..30u64).prop_map(|(lease, visibility)| Step::Extend { lease, visibility }),
        3 => any::<usize>().prop_map(|lease| Step::Ack { lease }),
        2 => (any::<usize>(), 0..3u8, prop_oneof![Just(0u64), 1..30u64])
            .prop_map(|(lease, how, after)| Step::Nack { lease, how, after }),
        4 => (0..25u64).prop_map(Step::Pass),
        1 => any::<usize>().prop_map(|dead| Step::Replay { dead }),
        1 => any::<usize>().prop_map(|dead| Step::Discard { dead }),
    ]
}

fn config() -> QueueConfig {
    let mut config = QueueConfig { refuse_at: 12, ..QueueConfig::default() };
    config.kinds.insert(kind(1), KindPolicy::default().with_concurrency(1));
    config.kinds.insert(kind(2), KindPolicy::default().with_rate(2, Duration::from_secs(20)));
    config
}

fn kind(index: usize) -> JobKind {
    KINDS[index].try_into().unwrap()
}

/// A job of the model; times are in seconds since the start.
#[derive(Debug, Clone)]
struct Modelled {
    id: u64,
    kind: usize,
    priority: u8,
    attempts: u32,
    most: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Ready,
    Waiting(u64),
    Leased(u64, u64),
    Dead,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    jobs: Vec<Modelled>,
    keys: Vec<(usize, u8, u64, u64)>,
    ids: u64,
    leases: u64,
    /// When the slow kind was leased.
    slow: Vec<u64>,
}

const REMEMBERED: u64 = 50;

impl Model {
    fn enqueue(&mut self, kind: usize, key: Option<u8>, delay: u64, priority: u8, attempts: u32) -> Enqueued {
        self.keys.retain(|(_, _, _, until)| *until > self.now);
        let known = self.keys.iter().find(|(k, known, _, _)| *k == kind && Some(*known) == key);
        let known = known.map(|(_, _, id, _)| *id);
        let is_dead = |id: &u64| self.jobs.iter().any(|job| job.id == *id && job.state == State::Dead);
        if let Some(id) = known.filter(|id| !is_dead(id)) {
            return Enqueued::Duplicate(JobId(id));
        }
        let depth = self.jobs.iter().filter(|job| job.state != State::Dead).count() as u64;
        if depth >= 12 {
            return Enqueued::Full { depth };
        }
        // Sent again, a dead job lives again.
        self.jobs.retain(|job| Some(job.id) != known);
        self.keys.retain(|(_, _, id, _)| Some(*id) != known);
        self.ids += 1;
        self.keys.extend(key.map(|key| (kind, key, self.ids, self.now + REMEMBERED)));
        let state = if delay == 0 { State::Ready } else { State::Waiting(self.now + delay) };
        self.jobs.push(Modelled { id: self.ids, kind, priority, attempts: 0, most: attempts, state });
        Enqueued::Enqueued(JobId(self.ids))
    }

    fn lease(&mut self, kinds: &[usize], visibility: u64) -> Option<(u64, u64, u32)> {
        for job in &mut self.jobs {
            match job.state {
                State::Leased(_, until) if until <= self.now && job.attempts >= job.most => {
                    job.state = State::Dead;
                }
                State::Leased(_, until) | State::Waiting(until) if until <= self.now => {
                    job.state = State::Ready;
                }
                _ => {}
            }
        }
        let narrow = self.jobs.iter().any(|job| job.kind == 1 && matches!(job.state, State::Leased(..)));
        // Two at first, then one in ten seconds: the bucket is full again twenty seconds after it
        // was empty.
        let mut full_at = 0;
        for at in &self.slow {
            full_at = full_at.max(*at) + 10;
        }
        let slow = full_at.saturating_sub(10) > self.now;
        let allowed = |job: &&mut Modelled| {
            job.state == State::Ready
                && (kinds.is_empty() || kinds.contains(&job.kind))
                && !(job.kind == 1 && narrow)
                && !(job.kind == 2 && slow)
        };
        let job = self.jobs.iter_mut().filter(allowed).min_by_key(|job| (u8::MAX - job.priority, job.id))?;
        self.leases += 1;
        job.attempts += 1;
        job.state = State::Leased(self.leases, self.now + visibility);
        if job.kind == 2 {
            self.slow.push(self.now);
        }
        Some((job.id, self.leases, job.attempts))
    }

    fn held(&mut self, fence: u64) -> Option<&mut Modelled> {
        let held = |job: &&mut Modelled| matches!(job.state, State::Leased(lease, _) if lease == fence);
        self.jobs.iter_mut().find(held)
    }

    fn dead(&self) -> Vec<u64> {
        self.jobs.iter().filter(|job| job.state == State::Dead).map(|job| job.id).collect()
    }

    fn depth(&self) -> Depth {
        let count = |is: fn(&State) -> bool| self.jobs.iter().filter(|job| is(&job.state)).count() as u64;
        Depth {
            ready: count(|state| *state == State::Ready),
            waiting: count(|state| matches!(state, State::Waiting(_))),
            leased: count(|state| matches!(state, State::Leased(..))),
            dead: count(|state| *state == State::Dead),
        }
    }
}

/// Whether a lease was still held.
fn held(answer: Result<(), LeaseError>) -> Option<()> {
    match answer {
        Ok(()) => Some(()),
        Err(error) if error.is_lost() => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Plays a history to both, and compares every answer.
async fn play(queue: Arc<dyn Queue>, steps: Vec<Step>) {
    let (mut model, mut leases) = (Model::default(), Vec::<(Job, u64)>::new());
    for (number, step) in steps.into_iter().enumerate() {
        let now = contract::START.plus(Duration::from_secs(model.now));
        let at = format!("step {number}, {step:?}");
        // Also leases that were settled or taken over, as a confused worker might hold them.
        let pick = |index: usize| {
            let (job, fence) = leases.get(index % leases.len().max(1))?;
            Some(Lease::new(job.clone(), *fence))
        };
        match step {
            Step::Enqueue { kind: k, key, delay, priority, attempts } => {
                let mut job = NewJob::new(kind(k), "x").with_priority(priority).with_max_attempts(attempts);
                job.dedupe = key.map(|key| DedupeKey {
                    key: key.to_string(),
                    retention: Duration::from_secs(REMEMBERED),
                });
                job.not_before = (delay > 0).then(|| now.plus(Duration::from_secs(delay)));
                let expected = model.enqueue(k, key, delay, priority, attempts);
                assert_eq!(queue.enqueue(now, job).await.unwrap(), expected, "{at}");
            }
            Step::Lease { kinds, visibility } => {
                let named: Vec<JobKind> = kinds.iter().map(|k| kind(*k)).collect();
                let expected = model.lease(&kinds, visibility);
                let lease = queue.lease(now, &named, Duration::from_secs(visibility)).await.unwrap();
                let found = lease.as_ref().map(|lease| (lease.id.0, lease.fence(), lease.attempt));
                assert_eq!(found, expected, "{at}");
                leases.extend(lease.map(|lease| (lease.job().clone(), lease.fence())));
            }
            Step::Extend { lease, visibility } => {
                let Some(lease) = pick(lease) else { continue };
                let (fence, until) = (lease.fence(), model.now + visibility);
                let expected = model.held(fence).map(|job| job.state = State::Leased(fence, until));
                let extended = queue.extend(now, lease, Duration::from_secs(visibility)).await;
                assert_eq!(held(extended.map(drop)), expected, "{at}");
            }
            Step::Ack { lease } => {
                let Some(lease) = pick(lease) else { continue };
                let expected = model.held(lease.fence()).map(|job| job.id);
                if let Some(id) = expected {
                    model.jobs.retain(|job| job.id != id);
                }
                assert_eq!(held(queue.ack(now, lease).await), expected.map(|_| ()), "{at}");
            }
            Step::Nack { lease, how, after } => {
                let Some(lease) = pick(lease) else { continue };
                let until = model.now + after;
                let expected = model.held(lease.fence()).map(|job| match how {
                    0 => (job.state, job.attempts) = (State::Ready, job.attempts - 1),
                    1 if job.attempts < job.most && after == 0 => job.state = State::Ready,
                    1 if job.attempts < job.most => job.state = State::Waiting(until),
                    _ => job.state = State::Dead,
                });
                let reason = "deliberate, in a test".to_owned();
                let how = match how {
                    0 => Nack::Release,
                    1 => Nack::Retry { after: Duration::from_secs(after), reason },
                    _ => Nack::Dead { reason },
                };
                assert_eq!(held(queue.nack(now, lease, how).await), expected, "{at}");
            }
            Step::Pass(seconds) => model.now += seconds,
            Step::Replay { dead } | Step::Discard { dead } => {
                let all = model.dead();
                let Some(id) = all.get(dead % all.len().max(1)).copied() else { continue };
                if matches!(step, Step::Replay { .. }) {
                    assert!(queue.replay(now, JobId(id)).await.unwrap(), "{at}");
                    model.ids += 1;
                    let mut job = model.jobs.iter().find(|job| job.id == id).cloned().unwrap();
                    (job.id, job.attempts, job.state) = (model.ids, 0, State::Ready);
                    model.jobs.push(job);
                } else {
                    assert!(queue.discard(JobId(id)).await.unwrap(), "{at}");
                }
                model.jobs.retain(|job| job.id != id);
            }
        }
        assert_eq!(queue.depth().await.unwrap(), model.depth(), "{at}");
    }
    let dead: Vec<u64> = queue.dead(None, 1000).await.unwrap().iter().map(|letter| letter.id.0).collect();
    let mut expected = model.dead();
    expected.sort_unstable();
    assert_eq!(dead, expected);
}

#[cfg(feature = "redis")]
#[test]
fn any_history_of_the_queue_in_redis_is_that_of_the_model() {
    use crate::{
        redis::{Redis, RedisConfig},
        testing::RedisServer,
    };
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
    let number = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(matrix(1000) as u32));
    let histories = prop::collection::vec(step(), 1..60);
    let played = runner.run(&histories, |steps| {
        number.set(number.get() + 1);
        let queue = RedisQueue::new(redis.clone(), &format!("model-{}", number.get()), config()).unwrap();
        let _: () = runtime.block_on(play(Arc::new(queue), steps));
        Ok(())
    });
    played.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(matrix(1000) as u32))]

    #[test]
    fn any_history_of_the_embedded_queue_is_that_of_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        runtime.block_on(play(Arc::new(EmbeddedQueue::new(file, config())), steps));
    }
}

/// Every step is synced, so these files are where that costs nothing.
#[test]
fn any_history_of_the_queue_in_a_file_is_that_of_the_model() {
    let (folder, number) = (crate::embedded::fast_folder(), std::cell::Cell::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(matrix(1000) as u32));
    let played = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.redb", number.get()));
        let file = Embedded::open(&path, EmbeddedConfig::default()).unwrap();
        let _: () = runtime.block_on(play(Arc::new(EmbeddedQueue::new(file, config())), steps));
        std::fs::remove_file(path).unwrap();
        Ok(())
    });
    played.unwrap();
}
