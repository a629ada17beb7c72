//! What every backend of the queue must do. The tests of each backend run it: those of this crate
//! and those of third parties.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // It is a test, for others to call.

use std::{sync::Arc, time::Duration};

use super::{
    Advance, Advanced, Cadence, Cursor, Depth, Enqueued, JobKind, KindPolicy, Lease, LeaseError, Missed,
    Nack, NewJob, Queue, QueueConfig, QueueError, Repeat,
};
use crate::time::Timestamp;

/// The present of the contract.
pub const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// The configuration of the queues that [`check`] gets.
pub fn config() -> QueueConfig {
    let mut config = QueueConfig { refuse_at: 20, alert_at: 10, ..QueueConfig::default() };
    config.kinds.insert(kind("narrow"), KindPolicy::default().with_concurrency(1));
    config.kinds.insert(kind("slow"), KindPolicy::default().with_rate(2, MINUTE));
    config
}

/// Runs empty queues, each created with [`config`], through the contract. Panics if it is broken.
pub async fn check<F: Future<Output = Arc<dyn Queue>>>(make: impl Fn() -> F) {
    order(&*make().await).await;
    dedupe(&*make().await).await;
    bounds(&*make().await).await;
    cursors(&*make().await).await;
    delays(&*make().await).await;
    leases(&*make().await).await;
    fences(&*make().await).await;
    retries(&*make().await).await;
    poison(&*make().await).await;
    outages(&*make().await).await;
    dead_letters(&*make().await).await;
    redeliveries(&*make().await).await;
    policies(&*make().await).await;
    repeats(&*make().await).await;
    clocks(&*make().await).await;
    invalid(&*make().await).await;
    contention(make().await).await;
}

fn kind(name: &str) -> JobKind {
    name.try_into().expect("a valid kind")
}

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn job(payload: &'static str) -> NewJob {
    NewJob::new(kind("plain"), payload)
}

async fn enqueue(queue: &dyn Queue, now: Timestamp, job: NewJob) -> Enqueued {
    queue.enqueue(now, job).await.expect("enqueue")
}

async fn lease(queue: &dyn Queue, now: Timestamp) -> Option<Lease> {
    queue.lease(now, &[], MINUTE).await.expect("lease")
}

async fn payload(queue: &dyn Queue, now: Timestamp) -> Option<String> {
    let lease = lease(queue, now).await?;
    Some(String::from_utf8(lease.payload.to_vec()).expect("text"))
}

/// A second value for the same lease, which only a backend can make: stands for a worker that was
/// taken over from.
fn stale(lease: &Lease) -> Lease {
    Lease::new(lease.job().clone(), lease.fence())
}

fn retry(seconds: u64) -> Nack {
    Nack::Retry { after: Duration::from_secs(seconds), reason: "not yet".into() }
}

async fn order(queue: &dyn Queue) {
    assert_eq!(lease(queue, START).await, None);
    let jobs = [
        job("third"),
        job("first").with_priority(200),
        job("fourth"),
        NewJob::new(kind("other"), "second").with_priority(150),
        job("last").with_priority(0),
    ];
    for job in jobs {
        assert!(matches!(enqueue(queue, START, job).await, Enqueued::Enqueued(_)));
    }
    let only =
        queue.lease(START, &[kind("other")], MINUTE).await.expect("lease").expect("a job of that kind");
    assert_eq!((only.payload.as_ref(), &only.kind), (b"second".as_slice(), &kind("other")));
    assert_eq!((only.attempt, only.max_attempts, only.enqueued_at), (1, 10, START));
    assert_eq!(queue.lease(START, &[kind("other")], MINUTE).await.expect("lease"), None);
    queue.nack(START, only, Nack::Release).await.expect("held");
    for expected in ["first", "second", "third", "fourth", "last"] {
        assert_eq!(
            payload(queue, START).await.as_deref(),
            Some(expected),
            "by priority over all kinds, then by age"
        );
    }
    assert_eq!(queue.depth().await.expect("depth"), Depth { leased: 5, ..Depth::default() });
}

async fn dedupe(queue: &dyn Queue) {
    let same = || job("x").deduped_by("delivery/1", 2 * MINUTE);
    let Enqueued::Enqueued(id) = enqueue(queue, START, same()).await else { panic!("the first is new") };
    assert_eq!(enqueue(queue, at(1), same()).await, Enqueued::Duplicate(id));
    let other = NewJob::new(kind("other"), "x").deduped_by("delivery/1", MINUTE);
    assert!(matches!(enqueue(queue, START, other).await, Enqueued::Enqueued(_)), "another kind, another key");
    let done = queue.lease(at(2), &[kind("plain")], MINUTE).await.expect("lease").expect("the job");
    queue.ack(at(2), done).await.expect("held");
    assert_eq!(
        enqueue(queue, at(119), same()).await,
        Enqueued::Duplicate(id),
        "remembered after it was done"
    );
    assert!(
        matches!(enqueue(queue, at(120), same()).await, Enqueued::Enqueued(new) if new > id),
        "forgotten in time"
    );
}

async fn bounds(queue: &dyn Queue) {
    for n in 0..20u32 {
        let job = job("x").deduped_by(n.to_string(), MINUTE);
        assert!(matches!(enqueue(queue, START, job).await, Enqueued::Enqueued(_)));
    }
    let held = lease(queue, START).await.expect("a job");
    let one_more = || job("x").deduped_by("one more", MINUTE);
    assert_eq!(enqueue(queue, START, one_more()).await, Enqueued::Full { depth: 20 }, "leased jobs count");
    let known = enqueue(queue, START, job("x").deduped_by("3", MINUTE)).await;
    assert!(matches!(known, Enqueued::Duplicate(_)), "a duplicate is one, full or not");
    queue.ack(START, held).await.expect("held");
    assert!(
        matches!(enqueue(queue, START, one_more()).await, Enqueued::Enqueued(_)),
        "what was refused was not remembered"
    );
}

async fn cursors(queue: &dyn Queue) {
    let read = |fence: u64, numbers: std::ops::Range<u32>| {
        numbers.fold(Advance::new("channel/1", fence), |advance, n| {
            let job = NewJob::new(kind("plain"), n.to_string()).deduped_by(n.to_string(), MINUTE);
            // Every fifth is nothing to do about.
            advance.step((n % 5 != 4).then_some(job), format!("\0{n}:"))
        })
    };
    let advance = async |advance| queue.advance(START, advance).await.expect("advance");
    let stands = async |name| queue.cursor(name).await.expect("cursor");
    let at = |n: u32, fence| Some(Cursor { position: format!("\0{n}:").into(), fence });
    assert_eq!(stands("channel/1").await, None);
    assert_eq!(
        advance(Advance::new("channel/1", 9)).await,
        Advanced::Moved { steps: 0, enqueued: 0, duplicates: 0 }
    );
    assert_eq!(stands("channel/1").await, None, "no step, no position");
    assert_eq!(advance(read(1, 0..10)).await, Advanced::Moved { steps: 10, enqueued: 8, duplicates: 0 });
    assert_eq!((stands("channel/1").await, stands("channel/2").await), (at(9, 1), None));
    assert_eq!(
        advance(read(1, 8..12)).await,
        Advanced::Moved { steps: 4, enqueued: 2, duplicates: 1 },
        "repeats are none"
    );
    // Ten are in; ten more fit.
    assert_eq!(advance(read(3, 12..30)).await, Advanced::Moved { steps: 13, enqueued: 10, duplicates: 0 });
    assert_eq!(
        stands("channel/1").await,
        at(24, 3),
        "behind what is in, and over what is nothing to do about"
    );
    assert_eq!(advance(read(3, 25..30)).await, Advanced::Moved { steps: 0, enqueued: 0, duplicates: 0 });
    assert_eq!(stands("channel/1").await, at(24, 3), "a full queue moves nothing");
    let held = lease(queue, START).await.expect("a job");
    queue.ack(START, held).await.expect("held");
    assert_eq!(advance(read(2, 25..26)).await, Advanced::Stale { fence: 3 }, "taken over from");
    assert_eq!(queue.depth().await.expect("depth").total(), 19, "and nothing enqueued");
    assert_eq!(advance(read(3, 25..26)).await, Advanced::Moved { steps: 1, enqueued: 1, duplicates: 0 });
    for broken in [Advance::new("", 1), Advance::new("a\n", 1), read(1, 0..1001)] {
        assert!(matches!(queue.advance(START, broken).await, Err(QueueError::Invalid(_))));
    }
}

async fn delays(queue: &dyn Queue) {
    enqueue(queue, START, job("later").not_before(at(30))).await;
    enqueue(queue, START, job("past").not_before(at(0))).await;
    assert_eq!(payload(queue, START).await.as_deref(), Some("past"));
    assert_eq!(payload(queue, at(29)).await, None);
    assert_eq!(queue.next_due(at(29)).await.expect("next_due"), Some(at(30)));
    assert_eq!(payload(queue, at(30)).await.as_deref(), Some("later"));
}

async fn leases(queue: &dyn Queue) {
    enqueue(queue, START, job("x")).await;
    let first = lease(queue, START).await.expect("a job");
    assert_eq!(lease(queue, at(59)).await, None, "hidden while it is leased");
    let first = queue.extend(at(59), first, MINUTE).await.expect("held");
    assert_eq!(lease(queue, at(118)).await, None, "hidden for longer");
    assert_eq!(queue.next_due(at(118)).await.expect("next_due"), Some(at(119)));
    let second = lease(queue, at(119)).await.expect("taken over");
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert!(second.fence() > first.fence());
    queue.ack(at(119), second).await.expect("held");
    assert_eq!(queue.depth().await.expect("depth"), Depth::default());
}

async fn fences(queue: &dyn Queue) {
    enqueue(queue, START, job("x")).await;
    let zombie = lease(queue, START).await.expect("a job");
    let owner = lease(queue, at(60)).await.expect("taken over");
    let lost =
        |answer: Result<(), LeaseError>| assert!(matches!(answer, Err(LeaseError::Lost)), "{answer:?}");
    lost(queue.extend(at(61), stale(&zombie), MINUTE).await.map(drop));
    lost(queue.nack(at(61), stale(&zombie), retry(0)).await);
    lost(queue.ack(at(61), zombie).await);
    let twice = stale(&owner);
    queue.ack(at(61), owner).await.expect("held");
    lost(queue.ack(at(61), twice).await);
    enqueue(queue, START, job("y")).await;
    let slow = lease(queue, at(62)).await.expect("a job");
    queue.ack(at(1000), slow).await.expect("late, but nobody else has it");
}

async fn retries(queue: &dyn Queue) {
    enqueue(queue, START, job("x").with_max_attempts(2)).await;
    let first = lease(queue, START).await.expect("a job");
    queue.nack(START, first, retry(10)).await.expect("held");
    assert_eq!(queue.depth().await.expect("depth"), Depth { waiting: 1, ..Depth::default() });
    assert_eq!(lease(queue, at(9)).await, None);
    let second = lease(queue, at(10)).await.expect("again");
    assert_eq!(second.attempt, 2);
    queue.nack(at(10), second, Nack::Release).await.expect("held");
    let again = lease(queue, at(10)).await.expect("at once");
    assert_eq!(again.attempt, 2, "what was released was not tried");
    queue.nack(at(10), again, retry(10)).await.expect("held");
    assert_eq!(lease(queue, at(1000)).await, None, "its attempts are used up");
    let dead = queue.dead(None, 10).await.expect("dead");
    assert_eq!((dead.len(), dead[0].attempts, dead[0].reason.as_str()), (1, 2, "not yet"));
    assert_eq!((dead[0].enqueued_at, dead[0].died_at), (START, at(10)));
}

/// A job that kills its worker never acks and never nacks.
async fn poison(queue: &dyn Queue) {
    enqueue(queue, START, job("poison").with_max_attempts(3)).await;
    enqueue(queue, START, job("good").with_priority(1)).await;
    for attempt in 1..=3 {
        let poison = lease(queue, at(60 * u64::from(attempt))).await.expect("the poison");
        assert_eq!((poison.payload.as_ref(), poison.attempt), (b"poison".as_slice(), attempt));
    }
    assert_eq!(payload(queue, at(240)).await.as_deref(), Some("good"), "it holds up nobody forever");
    let dead = queue.dead(None, 10).await.expect("dead");
    assert_eq!((dead[0].payload.as_ref(), dead[0].attempts), (b"poison".as_slice(), 3));
    assert!(dead[0].reason.contains("lease expired"), "{}", dead[0].reason);
}

/// An outage of two days, with a probe every five minutes, costs no job and no attempt.
async fn outages(queue: &dyn Queue) {
    enqueue(queue, START, job("x").with_max_attempts(2)).await;
    let mut now = START;
    for waits in 0..576 {
        let probe = lease(queue, now).await.expect("a probe");
        assert_eq!((probe.attempt, probe.waits), (1, waits));
        queue.nack(now, probe, Nack::Wait { after: 5 * MINUTE }).await.expect("held");
        assert_eq!(lease(queue, now.plus(MINUTE)).await, None, "it waits");
        now = now.plus(5 * MINUTE);
    }
    let fault = lease(queue, now).await.expect("the outage is over");
    queue.nack(now, fault, retry(0)).await.expect("held");
    let last = lease(queue, now).await.expect("its second attempt");
    assert_eq!((last.attempt, last.waits), (2, 576));
    queue.nack(now, last, retry(0)).await.expect("held");
    assert_eq!(queue.depth().await.expect("depth"), Depth { dead: 1, ..Depth::default() });
}

/// What its provider sends again is not swallowed as a duplicate of a job that was given up.
async fn redeliveries(queue: &dyn Queue) {
    let same = || job("x").deduped_by("delivery/1", 60 * MINUTE);
    let Enqueued::Enqueued(first) = enqueue(queue, START, same()).await else { panic!("the first is new") };
    let dying = lease(queue, START).await.expect("a job");
    queue.nack(START, dying, Nack::Dead { reason: "a test".into() }).await.expect("held");
    let again = enqueue(queue, at(1), same()).await;
    assert!(matches!(again, Enqueued::Enqueued(id) if id != first), "{again:?}");
    assert_eq!(queue.depth().await.expect("depth"), Depth { ready: 1, ..Depth::default() });
    assert!(matches!(enqueue(queue, at(2), same()).await, Enqueued::Duplicate(_)), "it lives again");
    let revived = lease(queue, at(2)).await.expect("revived");
    assert_eq!((revived.attempt, revived.payload.as_ref()), (1, b"x".as_slice()));
    queue.ack(at(2), revived).await.expect("held");
    assert!(matches!(enqueue(queue, at(3), same()).await, Enqueued::Duplicate(_)), "it was done");
}

async fn dead_letters(queue: &dyn Queue) {
    for name in ["a", "b", "c"] {
        enqueue(queue, START, job(name)).await;
        let lease = lease(queue, START).await.expect("a job");
        let reason = "x".repeat(5000);
        queue.nack(START, lease, Nack::Dead { reason }).await.expect("held");
    }
    let dead = queue.dead(None, 2).await.expect("dead");
    assert_eq!(dead.iter().map(|letter| letter.payload.as_ref()).collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(dead[0].reason.len() <= 1000, "a reason is bounded");
    let rest = queue.dead(Some(dead[1].id), 10).await.expect("dead");
    assert_eq!((rest.len(), rest[0].payload.as_ref()), (1, b"c".as_slice()));
    assert!(queue.discard(dead[0].id).await.expect("discard"));
    assert!(!queue.discard(dead[0].id).await.expect("discard"));
    assert!(queue.replay(at(5), dead[1].id).await.expect("replay"));
    assert!(!queue.replay(at(5), dead[1].id).await.expect("replay"));
    let again = lease(queue, at(5)).await.expect("replayed");
    assert_eq!((again.payload.as_ref(), again.attempt), (b"b".as_slice(), 1));
    assert_eq!(queue.depth().await.expect("depth"), Depth { leased: 1, dead: 1, ..Depth::default() });
}

async fn policies(queue: &dyn Queue) {
    for name in ["narrow", "slow"] {
        for _ in 0..3 {
            enqueue(queue, START, NewJob::new(kind(name), name)).await;
        }
    }
    enqueue(queue, START, job("plain").with_priority(0)).await;
    let one = lease(queue, START).await.expect("the first of the narrow kind");
    for expected in ["slow", "slow", "plain"] {
        assert_eq!(
            payload(queue, START).await.as_deref(),
            Some(expected),
            "a kind that is held back holds up nobody"
        );
    }
    assert_eq!(lease(queue, START).await, None);
    assert_eq!(queue.next_due(START).await.expect("next_due"), Some(at(30)), "when the rate allows one more");
    queue.ack(START, one).await.expect("held");
    assert_eq!(payload(queue, START).await.as_deref(), Some("narrow"), "room for the next");
    assert_eq!(lease(queue, at(29)).await, None);
    assert_eq!(payload(queue, at(30)).await.as_deref(), Some("slow"));
}

async fn repeats(queue: &dyn Queue) {
    let minute = Repeat::new("minute", kind("plain"), "tick", Cadence::Every(MINUTE));
    queue.repeat(START, minute.clone()).await.expect("repeat");
    queue.repeat(at(30), minute.clone()).await.expect("repeat");
    assert_eq!(
        queue.repeats().await.expect("repeats"),
        [(minute.clone(), at(60))],
        "defined again, it stays as it is"
    );
    assert_eq!(queue.tick(at(59)).await.expect("tick"), 0);
    assert_eq!(queue.next_due(at(59)).await.expect("next_due"), Some(at(60)));
    assert_eq!(queue.tick(at(60)).await.expect("tick"), 1);
    assert_eq!(queue.tick(at(60)).await.expect("tick"), 0, "once for its time, however many ask");
    assert_eq!(queue.tick(at(600)).await.expect("tick"), 1, "one for all that were missed");
    let each = minute.clone().with_missed(Missed::Each);
    queue.repeat(at(600), each).await.expect("repeat");
    assert_eq!(queue.tick(at(780)).await.expect("tick"), 3);
    for _ in 0..5 {
        let lease = lease(queue, at(800)).await.expect("a job");
        assert_eq!(lease.payload.as_ref(), b"tick");
        queue.ack(at(800), lease).await.expect("held");
    }
    assert!(queue.unrepeat("minute").await.expect("unrepeat"));
    assert!(!queue.unrepeat("minute").await.expect("unrepeat"));
    assert_eq!(queue.tick(at(6000)).await.expect("tick"), 0);
    let broken = Repeat::new("broken", kind("plain"), "", Cadence::Every(Duration::ZERO));
    assert!(matches!(queue.repeat(START, broken).await, Err(QueueError::Invalid(_))));
}

/// The clock is set back an hour while a lease is held, and its worker dies.
async fn clocks(queue: &dyn Queue) {
    enqueue(queue, at(3600), job("x")).await;
    let _dead = lease(queue, at(3600)).await.expect("a job");
    assert_eq!(lease(queue, START).await, None);
    queue.tick(START).await.expect("tick");
    assert_eq!(lease(queue, at(59)).await, None, "the lease is as long as it was");
    assert!(lease(queue, at(60)).await.is_some(), "and not an hour longer");
    // Set forward, a lease ends too soon: the work may be done twice, and the late one's ack is
    // refused.
    enqueue(queue, at(60), job("y")).await;
    let early = queue.lease(at(60), &[], MINUTE).await.expect("lease").expect("a job");
    let late = lease(queue, at(7200)).await.expect("taken over");
    assert!(late.fence() != early.fence());
}

async fn invalid(queue: &dyn Queue) {
    let large = NewJob::new(kind("plain"), vec![0; NewJob::MAX_PAYLOAD + 1]);
    assert!(matches!(queue.enqueue(START, large).await, Err(QueueError::Invalid(_))));
    for key in [String::new(), "a\nb".into(), "x".repeat(513)] {
        let job = job("x").deduped_by(key, MINUTE);
        assert!(matches!(queue.enqueue(START, job).await, Err(QueueError::Invalid(_))));
    }
    for name in ["", "UPPER", "a b", "a\0"] {
        assert!(JobKind::try_from(name).is_err(), "{name:?}");
    }
    let largest = NewJob::new(kind("plain"), vec![7; NewJob::MAX_PAYLOAD]);
    enqueue(queue, START, largest).await;
    assert_eq!(lease(queue, START).await.expect("a job").payload.len(), NewJob::MAX_PAYLOAD);
}

/// Many workers and many producers at the same time: each job is done once.
async fn contention(queue: Arc<dyn Queue>) {
    const JOBS: usize = 60;
    let producers = (0..3).map(|_| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            for n in 0..JOBS {
                let job = NewJob::new(kind("plain"), n.to_string()).deduped_by(n.to_string(), MINUTE);
                while let Enqueued::Full { .. } = enqueue(&*queue, START, job.clone()).await {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    let workers = (0..4).map(|_| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let mut done = Vec::new();
            let mut idle = 0;
            while idle < 200 {
                match lease(&*queue, START).await {
                    Some(lease) => {
                        done.push(String::from_utf8(lease.payload.to_vec()).expect("text"));
                        queue.ack(START, lease).await.expect("held");
                        idle = 0;
                    }
                    None => {
                        idle += 1;
                        tokio::task::yield_now().await;
                    }
                }
            }
            done
        })
    });
    let (producers, workers): (Vec<_>, Vec<_>) = (producers.collect(), workers.collect());
    for producer in producers {
        producer.await.expect("a producer");
    }
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.expect("a worker"));
    }
    // A worker may have given up while producers were waiting for room.
    while let Some(left) = payload(&*queue, START).await {
        done.push(left);
    }
    done.sort_by_key(|n| n.parse::<usize>().expect("a number"));
    assert_eq!(done, (0..JOBS).map(|n| n.to_string()).collect::<Vec<_>>());
}
