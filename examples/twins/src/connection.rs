//! The register of a twin's connections, and what is wrong with each of them.
//!
//! One future owns a connection with everything on it: the byte stream, HTTP, the WebSocket
//! session. Cutting a connection is dropping that future, so nothing of it can linger, and the
//! count of open connections is exact.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    fault::{Fault, Refusal, Target, When},
    latency::Latency,
    random::Random,
};

/// What all twins have: connections, faults and a seed. A clone is the same host.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    label: &'static str,
    seed: u64,
    latency: Latency,
    state: Mutex<HostState>,
}

#[derive(Debug, Default)]
struct HostState {
    open: BTreeMap<u64, Arc<Connection>>,
    total: u64,
    accepted: u64,
    next: VecDeque<(Fault, u32)>,
    each: Vec<Fault>,
    refusals: VecDeque<(Refusal, u32)>,
}

impl Host {
    /// The host of a provider called `label`.
    pub fn new(label: &'static str, seed: u64, latency: Latency) -> Self {
        Self(Arc::new(Inner { label, seed, latency, state: Mutex::default() }))
    }

    /// The provider's waiting times.
    pub fn latency(&self) -> &Latency {
        &self.0.latency
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.state().open.values().filter(|connection| !connection.is_administrative()).count()
    }

    /// Connections since the start.
    pub fn total_connections(&self) -> u64 {
        self.state().total
    }

    /// Makes something go wrong on the connections that are open now.
    pub fn inject(&self, fault: Fault) {
        self.inject_into(Target::Open, fault);
    }

    /// Makes something go wrong on some connections.
    pub fn inject_into(&self, target: Target, fault: Fault) {
        let mut state = self.state();
        match target {
            Target::Open => {
                for connection in state.open.values().filter(|connection| !connection.is_administrative()) {
                    connection.arm(fault.clone());
                }
            }
            Target::Next(count) => state.next.push_back((fault, count)),
            Target::Each => state.each.push(fault),
        }
    }

    /// Refuses the next `count` requests or handshakes.
    pub fn refuse(&self, count: u32, refusal: Refusal) {
        self.state().refusals.push_back((refusal, count));
    }

    /// Forgets the faults and refusals that have not happened yet. Those already on open
    /// connections stay.
    pub fn clear_faults(&self) {
        let mut state = self.state();
        state.next.clear();
        state.each.clear();
        state.refusals.clear();
    }

    /// Cuts every connection abruptly; answers how many there were.
    pub fn kill_connections(&self) -> usize {
        let mut state = self.state();
        let before = state.open.len();
        state.open.retain(|_, connection| {
            let spared = connection.is_administrative();
            if !spared {
                connection.cut();
            }
            spared
        });
        before - state.open.len()
    }

    /// Takes the refusal that is due for the next request.
    pub fn next_refusal(&self) -> Option<Refusal> {
        let mut state = self.state();
        let (refusal, left) = state.refusals.front_mut()?;
        let refusal = refusal.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            state.refusals.pop_front();
        }
        Some(refusal)
    }

    pub(crate) fn open(&self) -> Open {
        let mut state = self.state();
        state.accepted += 1;
        state.total += 1;
        let id = state.accepted;
        let mut random = Random::derive(self.0.seed, self.0.label, id);
        let round_trip = self.0.latency.round_trip.sample(&mut random);
        let connection = Arc::new(Connection {
            id,
            round_trip,
            state: Mutex::new(State::new(random)),
            changed: Notify::new(),
            closing: Notify::new(),
        });
        for fault in &state.each {
            connection.arm(fault.clone());
        }
        if let Some((fault, left)) = state.next.front_mut() {
            connection.arm(fault.clone());
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.next.pop_front();
            }
        }
        state.open.insert(id, Arc::clone(&connection));
        Open { host: self.clone(), connection }
    }

    /// Takes a connection out of the figures: it serves the operator, not a client of the provider.
    pub(crate) fn mark_administrative(&self, connection: &Connection) {
        let mut state = self.state();
        if connection.become_administrative() {
            state.total -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        lock(&self.0.state)
    }
}

/// A registered connection; dropping it takes it out of the register.
#[derive(Debug)]
pub(crate) struct Open {
    host: Host,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.host.state().open.remove(&self.connection.id);
    }
}

/// One connection, as its session and its byte stream see it.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    round_trip: Duration,
    state: Mutex<State>,
    changed: Notify,
    closing: Notify,
}

#[derive(Debug)]
struct State {
    random: Random,
    armed: Vec<(Fault, Trigger)>,
    sent: u64,
    received: u64,
    messages: u64,
    requests: u64,
    administrative: bool,
    cut: bool,
    muted: bool,
    half: bool,
    garbage: bool,
    garbage_message: bool,
    bytes_per_second: Option<u32>,
    close: Option<(u16, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Trigger {
    At(Instant),
    Sent(u64),
    Received(u64),
    Messages(u64),
}

/// What the byte stream does with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Pass,
    Slowly(u32),
    Swallow,
    Half,
    Garbage,
    Never,
}

impl Connection {
    /// The number of this connection, from 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The network's round trip on this connection.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// An independent random stream for this connection's session.
    pub fn random(&self) -> Random {
        let mut state = self.state();
        Random::new((state.random.unit() * 9e15) as u64)
    }

    /// Counts a message that is about to be sent, and answers what to send in its place where a
    /// fault says so.
    pub fn outgoing(&self, message: String) -> String {
        let mut state = self.state();
        let garbage = std::mem::take(&mut state.garbage_message);
        state.messages += 1;
        let message = if garbage {
            format!("{{\"type\": \u{fffd}{:016x}", (state.random.unit() * 9e15) as u64)
        } else {
            message
        };
        self.fire(&mut state);
        message
    }

    /// Ends when a fault asks the session to close, with code and reason. Cancel safe.
    pub async fn close_requested(&self) -> (u16, String) {
        loop {
            if let Some(close) = self.state().close.take() {
                return close;
            }
            self.closing.notified().await;
        }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        let mut state = self.state();
        let now = Instant::now();
        let trigger = match *fault.when() {
            When::Now => Trigger::At(now),
            When::Elapsed(after) => Trigger::At(now + after),
            When::Between(least, most) => {
                let after = state.random.between(least.as_secs_f64(), most.as_secs_f64());
                Trigger::At(now + Duration::from_secs_f64(after.max(0.0)))
            }
            When::Sent(bytes) => Trigger::Sent(state.sent + bytes),
            When::Received(bytes) => Trigger::Received(state.received + bytes),
            When::Messages(count) => Trigger::Messages(state.messages + count),
        };
        state.armed.push((fault, trigger));
        self.fire(&mut state);
        self.changed.notify_one();
    }

    pub(crate) fn cut(&self) {
        self.state().cut = true;
        self.changed.notify_one();
    }

    /// Ends when the stream has to be cut, and lets timed faults happen until then.
    pub(crate) async fn until_cut(&self) {
        loop {
            let deadline = {
                let mut state = self.state();
                self.fire(&mut state);
                if state.cut {
                    return;
                }
                let times = state.armed.iter().filter_map(|(_, trigger)| match trigger {
                    Trigger::At(at) => Some(*at),
                    _ => None,
                });
                times.min()
            };
            match deadline {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    pub(crate) fn did_receive(&self, bytes: usize) {
        let mut state = self.state();
        state.received += bytes as u64;
        self.fire(&mut state);
    }

    pub(crate) fn did_send(&self, bytes: usize) {
        let mut state = self.state();
        state.sent += bytes as u64;
        self.fire(&mut state);
    }

    /// What to do with the next write; faults of one write are used up.
    pub(crate) fn next_write(&self) -> Write {
        let mut state = self.state();
        self.fire(&mut state);
        if state.cut {
            Write::Never
        } else if state.muted {
            Write::Swallow
        } else if std::mem::take(&mut state.half) {
            Write::Half
        } else if std::mem::take(&mut state.garbage) {
            Write::Garbage
        } else {
            state.bytes_per_second.map_or(Write::Pass, Write::Slowly)
        }
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        self.state().random.fill(bytes);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state().cut
    }

    pub(crate) fn did_request(&self) {
        self.state().requests += 1;
    }

    fn is_administrative(&self) -> bool {
        self.state().administrative
    }

    fn become_administrative(&self) -> bool {
        let mut state = self.state();
        if state.requests > 0 || state.administrative {
            return false;
        }
        state.armed.clear();
        state.administrative = true;
        true
    }

    fn fire(&self, state: &mut State) {
        if state.armed.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut index = 0;
        while index < state.armed.len() {
            let due = match state.armed[index].1 {
                Trigger::At(at) => at <= now,
                Trigger::Sent(bytes) => state.sent >= bytes,
                Trigger::Received(bytes) => state.received >= bytes,
                Trigger::Messages(count) => state.messages >= count,
            };
            if !due {
                index += 1;
                continue;
            }
            match state.armed.remove(index).0 {
                Fault::Drop(_) => {
                    state.cut = true;
                    self.changed.notify_one();
                }
                Fault::Stall(_) => state.muted = true,
                Fault::HalfMessage(_) => state.half = true,
                Fault::Garbage(_) => state.garbage = true,
                Fault::GarbageMessage(_) => state.garbage_message = true,
                Fault::Slow { bytes_per_second, .. } => {
                    state.bytes_per_second = Some(bytes_per_second.max(1));
                }
                Fault::Close { code, reason, .. } => {
                    state.close = Some((code, reason));
                    self.closing.notify_one();
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    const fn new(random: Random) -> Self {
        Self {
            random,
            armed: Vec::new(),
            sent: 0,
            received: 0,
            messages: 0,
            requests: 0,
            administrative: false,
            cut: false,
            muted: false,
            half: false,
            garbage: false,
            garbage_message: false,
            bytes_per_second: None,
            close: None,
        }
    }
}

/// Locks whatever happened to an earlier holder: the state is counters and lists, whole after every
/// statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
