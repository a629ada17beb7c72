//! The bound on open connections, and which one gives way when it is reached.
//!
//! A connection without a request under way is quiet. It costs a client nothing, so it must never
//! keep others out: it is closed after a while, and at once when a new client needs its place. One
//! client can't hold more than its share, unless it is on this machine, where a proxy would be.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// How long a new connection may take to send its first request. 10 s: a browser takes
/// milliseconds.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection is kept between two requests. 75 s: longer than the 60 s for which common
/// proxies keep theirs, so that a proxy never sends into a connection that is being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// One client's share of all connections. A quarter: a browser opens six.
const SHARE: usize = 4;
/// The part of all connections whose requests may be health checks and webhooks only. An eighth.
const RESERVED: usize = 8;

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    source: IpAddr,
    /// Requests under way.
    busy: usize,
    quiet_since: Instant,
    patience: Duration,
    cut: Arc<Notify>,
}

impl Connections {
    /// At most `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// Takes in a connection. If there are too many, the one that has been quiet for longest is cut
    /// for it; `None` if none is quiet.
    pub fn admit(self: &Arc<Self>, source: IpAddr, now: Instant) -> Option<Connection> {
        let mut open = self.open();
        let of_source = |entry: &&Entry| entry.source == source;
        let share = (self.max / SHARE).max(1);
        let over_share = !source.is_loopback() && open.all.values().filter(of_source).count() >= share;
        if over_share {
            open.cut_quietest(|entry| entry.source == source)?;
        } else if open.all.len() >= self.max {
            open.cut_quietest(|_| true)?;
        }
        let (id, cut) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        let entry =
            Entry { source, busy: 0, quiet_since: now, patience: FIRST_REQUEST, cut: Arc::clone(&cut) };
        open.all.insert(id, entry);
        Some(Connection { id, cut, connections: Arc::clone(self) })
    }

    /// Whether an ordinary request must be refused to keep room for health checks and webhooks.
    pub fn is_crowded(&self) -> bool {
        let busy = self.open().all.values().filter(|entry| entry.busy > 0).count();
        busy > self.max - self.max / RESERVED
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn cut_quietest(&mut self, may_go: impl Fn(&Entry) -> bool) -> Option<()> {
        let quiet = self.all.iter().filter(|(_, entry)| entry.busy == 0 && may_go(entry));
        let id = *quiet.min_by_key(|(_, entry)| entry.quiet_since)?.0;
        // `notify_one` is remembered if nobody waits yet.
        self.all.remove(&id)?.cut.notify_one();
        Some(())
    }
}

/// One open connection. Dropping it gives its place back.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    cut: Arc<Notify>,
    connections: Arc<Connections>,
}

impl Connection {
    /// Waits until it must be closed: it gave way, or was quiet for too long.
    pub async fn overdue(&self) {
        loop {
            let Some(wait) = self.time_left(Instant::now()) else { return };
            tokio::select! {
                () = self.cut.notified() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long it may stay as it is; `None` if no longer.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let open = self.connections.open();
        let entry = open.all.get(&self.id)?;
        if entry.busy > 0 {
            return Some(FIRST_REQUEST);
        }
        let left = entry.patience.saturating_sub(now.saturating_duration_since(entry.quiet_since));
        (!left.is_zero()).then_some(left)
    }

    /// Notes that a request is under way until the guard is dropped.
    pub fn begin_request(&self) -> Busy {
        if let Some(entry) = self.connections.open().all.get_mut(&self.id) {
            entry.busy += 1;
        }
        Busy { id: self.id, connections: Arc::clone(&self.connections) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open().all.remove(&self.id);
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Busy {
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(entry) = self.connections.open().all.get_mut(&self.id) {
            entry.busy -= 1;
            (entry.quiet_since, entry.patience) = (Instant::now(), KEEP_ALIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_connection_that_is_quiet_for_longest_gives_way_and_a_busy_one_never() {
        let (connections, start) = (Connections::new(3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let [first, second, third] = [0, 1, 2].map(|n| connections.admit(HERE, at(n)).unwrap());
        let busy = first.begin_request();
        let fourth = connections.admit(HERE, at(3)).unwrap();
        assert!(second.time_left(at(3)).is_none(), "it has given way");
        assert!(first.time_left(at(3)).is_some() && third.time_left(at(3)).is_some());
        let others = [third.begin_request(), fourth.begin_request()];
        assert!(connections.admit(HERE, at(4)).is_none(), "all are busy");
        drop((busy, others));
        assert!(connections.admit(HERE, at(5)).is_some());
    }

    #[test]
    fn a_client_has_a_share_and_its_own_connections_give_way_for_more() {
        let (connections, now) = (Connections::new(8), Instant::now());
        let other = connections.admit([192, 0, 2, 1].into(), now).unwrap();
        let greedy: Vec<_> = (0..5).map(|_| connections.admit([192, 0, 2, 2].into(), now).unwrap()).collect();
        assert!(other.time_left(now).is_some());
        assert_eq!(greedy.iter().filter(|one| one.time_left(now).is_some()).count(), 2);
    }

    #[test]
    fn a_quiet_connection_has_ten_seconds_and_more_after_its_first_request() {
        let (connections, now) = (Connections::new(8), Instant::now());
        let connection = connections.admit(HERE, now).unwrap();
        assert_eq!(connection.time_left(now), Some(FIRST_REQUEST));
        assert_eq!(connection.time_left(now + FIRST_REQUEST), None);
        drop(connection.begin_request());
        let later = Instant::now() + FIRST_REQUEST;
        assert!(connection.time_left(later).is_some());
        assert_eq!(connection.time_left(later + KEEP_ALIVE), None);
    }

    #[test]
    fn an_eighth_is_kept_for_health_checks_and_webhooks() {
        let (connections, now) = (Connections::new(8), Instant::now());
        let open: Vec<_> = (0..8).map(|_| connections.admit(HERE, now).unwrap()).collect();
        let _seven: Vec<_> = open.iter().take(7).map(Connection::begin_request).collect();
        assert!(!connections.is_crowded());
        let _eighth = open[7].begin_request();
        assert!(connections.is_crowded());
    }
}
