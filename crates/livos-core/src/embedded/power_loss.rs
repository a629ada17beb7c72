//! A disk that forgets what was not synced: what was acknowledged is there when power is back.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use redb::{Database, StorageBackend};

use super::*;
use crate::{
    queue::{EmbeddedQueue, Enqueued, Intake, JobKind, NewJob, QueueConfig, Work},
    testing::matrix,
    time::{Clock, SystemClock},
};

/// A disk writes sectors whole, and those of one write in any order.
const SECTOR: usize = 512;
/// Power failures of the whole matrix.
const FAILURES: u64 = 100;
/// Jobs that are enqueued at one time, so that several share a commit.
const CALLERS: usize = 4;

/// What the disk was told since the last sync.
#[derive(Debug)]
enum Change {
    Sector(usize, Vec<u8>),
    Length(usize),
}

/// The magnetic part, and the cache that is lost without power.
#[derive(Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    /// What readers see.
    cached: Vec<u8>,
    unsynced: Vec<Change>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Sector(at, data) => {
            let end = at + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(data);
        }
    }
}

impl Platter {
    fn change(&mut self, change: Change) {
        apply(&mut self.cached, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        let Self { synced, unsynced, .. } = self;
        unsynced.drain(..).for_each(|change| apply(synced, &change));
    }

    /// Any part of what was not synced may have reached the platter.
    fn lose_power(&mut self, random: &mut SmallRng) {
        let Self { synced, unsynced, cached } = self;
        unsynced.drain(..).filter(|_| random.random_bool(0.5)).for_each(|change| apply(synced, &change));
        cached.clone_from(synced);
    }
}

/// The disk while it has power: for so many operations that change it.
#[derive(Debug, Clone)]
struct Disk {
    platter: Arc<Mutex<Platter>>,
    power: Arc<Mutex<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut power = lock(&self.power);
        *power = power.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(lock(&self.platter))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.platter).cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (platter, at) = (lock(&self.platter), offset as usize);
        let found = platter.cached.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.powered()?.change(Change::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.powered()?.sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.powered()?;
        for (n, sector) in data.chunks(SECTOR).enumerate() {
            platter.change(Change::Sector(offset as usize + n * SECTOR, sector.to_vec()));
        }
        Ok(())
    }
}

/// The queue on this disk, which has power for so many operations.
fn open(platter: &Arc<Mutex<Platter>>, power: u64) -> Option<EmbeddedQueue> {
    let disk = Disk { platter: Arc::clone(platter), power: Arc::new(Mutex::new(power)) };
    let opener = Box::new(move || Database::builder().create_with_backend(disk.clone()));
    let file = Embedded::start(opener().ok()?, opener, EmbeddedConfig::default()).ok()?;
    Some(EmbeddedQueue::new(file, QueueConfig { refuse_at: u64::MAX, ..QueueConfig::default() }))
}

/// Enqueues numbered jobs until the disk fails; returns those that were acknowledged.
async fn enqueue_until_it_fails(queue: &EmbeddedQueue, first: u64) -> BTreeSet<u64> {
    let callers = (0..CALLERS as u64).map(|caller| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            for n in (first + caller..).step_by(CALLERS) {
                let job = NewJob::new(JobKind::from_static("power"), n.to_string());
                match queue.enqueue(SystemClock.now(), job).await {
                    Ok(Enqueued::Enqueued(_)) => acknowledged.insert(n),
                    _ => break,
                };
            }
            acknowledged
        })
    });
    let mut acknowledged = BTreeSet::new();
    for caller in callers.collect::<Vec<_>>() {
        acknowledged.append(&mut caller.await.unwrap());
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_loss_of_power() {
    let mut random = SmallRng::seed_from_u64(5);
    let platter = Arc::new(Mutex::new(Platter::default()));
    let (mut kept, mut acknowledged, mut next) = (BTreeSet::new(), BTreeSet::new(), 0);
    for _ in 0..matrix(FAILURES) {
        // Sometimes it fails while the file is being opened, or repaired.
        if let Some(queue) = open(&platter, random.random_range(1..400)) {
            let new = enqueue_until_it_fails(&queue, next).await;
            next = new.last().map_or(next, |last| last + 1) + CALLERS as u64;
            acknowledged.extend(new);
        }
        lock(&platter).lose_power(&mut random);
    }
    let queue = open(&platter, u64::MAX).expect("the file opens when power is back");
    let (now, visibility) = (SystemClock.now(), Duration::from_secs(3600));
    while let Some(lease) = queue.lease(now, &[], visibility).await.unwrap() {
        let n: u64 = String::from_utf8_lossy(&lease.payload).parse().unwrap();
        assert!(kept.insert(n), "job {n} is there twice");
    }
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{lost:?} of {} were acknowledged and are lost", acknowledged.len());
    assert!(acknowledged.len() > 50, "{} acknowledged jobs show nothing", acknowledged.len());
}
