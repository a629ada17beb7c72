//! The gateway decision as a machine: when to connect, what to say, when a peer is dead, and what
//! of the session can be resumed.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use livos_core::{
    machine::Machine,
    reconnect::{Reconnect, ReconnectConfig, ReconnectInput, ReconnectOutput},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    Command, GatewayInput, GatewayOutput, Incoming, Presence, Session, Stop,
    close::{AfterClose, after_close},
    sends::{Sends, Urgency},
};

/// How the gateway is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The waits between connections. A connection is sound after a minute: Discord's first
    /// heartbeat is due within one.
    pub reconnect: ReconnectConfig,
    /// How long the peer may take to greet. 20 s: it does so at once, or not at all.
    pub hello_timeout: Duration,
    /// How long a session may take to begin or to be resumed, counted from the last event of it. 60
    /// s: a replay of hours is many events.
    pub ready_timeout: Duration,
    /// Connections to the session's own address that may fail in a row before the main address is
    /// asked. 3: some seconds of a broken host.
    pub resume_attempts: u32,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let mut reconnect = ReconnectConfig::default();
        reconnect.stable_after = Duration::from_secs(60);
        Self {
            reconnect,
            hello_timeout: Duration::from_secs(20),
            ready_timeout: Duration::from_secs(60),
            resume_attempts: 3,
        }
    }
}

/// Closes so that the session can be resumed.
const KEEP_SESSION: u16 = 4000;
/// A peer that asks for heartbeats more often would use up what may be sent.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// A peer that asks for them more seldom could be dead for as long.
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
enum State {
    /// No connection, and none asked for.
    Apart,
    /// Asked whether a session may be begun.
    Reserving,
    /// It may not, until then.
    Denied { until: Instant },
    /// A connection is being opened.
    Opening,
    /// It is open.
    Greeting { by: Instant },
    /// Identify or resume was sent.
    Beginning { by: Instant, beat: Beat },
    /// Events flow.
    Live { beat: Beat },
    /// For good.
    Stopped,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    interval: Duration,
    at: Instant,
    /// The last regular one has no answer yet.
    unanswered: bool,
}

/// Keeps one bot at the gateway. See the [module](super).
///
/// ```
/// use std::time::{Duration, Instant};
/// use livos_core::machine::Machine;
/// use livos_integrations::discord::gateway::{Command, Gateway, GatewayConfig, GatewayInput as Input, GatewayOutput as Output, Incoming, Session};
///
/// let session = Session { id: "s".into(), resume_url: "wss://resume.test".into(), sequence: 41 };
/// let mut gateway = Gateway::new(GatewayConfig::default(), Some(session.clone()), 7);
/// let now = Instant::now();
/// gateway.handle_input(now, Input::Start);
/// assert_eq!(gateway.poll_output(), Some(Output::Connect { resume_url: Some("wss://resume.test".into()) }));
/// gateway.handle_input(now, Input::Opened);
/// gateway.handle_input(now, Input::Message(Incoming::Hello { heartbeat_interval: Duration::from_secs(41) }));
/// assert_eq!(gateway.poll_output(), Some(Output::Send(Command::Resume(session))));
/// ```
#[derive(Debug, Clone)]
pub struct Gateway {
    config: GatewayConfig,
    reconnect: Reconnect,
    random: SmallRng,
    session: Option<Session>,
    /// The last event that came on this connection, processed or not.
    received: Option<u64>,
    /// An identify was counted and not yet sent.
    allowed: bool,
    /// Openings of the session's own address that failed in a row.
    failed_openings: u32,
    state: State,
    sends: Sends,
    presence: Option<Presence>,
    outputs: VecDeque<GatewayOutput>,
}

impl Gateway {
    /// Idle until [`GatewayInput::Start`]; resumes `session` where there is one. All jitter comes
    /// from `seed`.
    pub fn new(config: GatewayConfig, session: Option<Session>, seed: u64) -> Self {
        Self {
            config,
            reconnect: Reconnect::new(config.reconnect, seed),
            random: SmallRng::seed_from_u64(seed),
            session,
            received: None,
            allowed: false,
            failed_openings: 0,
            state: State::Apart,
            sends: Sends::default(),
            presence: None,
            outputs: VecDeque::new(),
        }
    }

    /// The session, as far as it was processed.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether events flow.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    fn reconnecting(&mut self, now: Instant, input: ReconnectInput) {
        self.reconnect.handle_input(now, input);
        self.obey_reconnect();
    }

    fn obey_reconnect(&mut self) {
        while let Some(output) = self.reconnect.poll_output() {
            match output {
                ReconnectOutput::Connect { .. } if self.session.is_some() || self.allowed => self.connect(),
                ReconnectOutput::Connect { .. } => self.reserve(),
                ReconnectOutput::Wait { delay, .. } => self.outputs.push_back(GatewayOutput::Wait { delay }),
                ReconnectOutput::GiveUp => {}
            }
        }
    }

    fn reserve(&mut self) {
        self.state = State::Reserving;
        self.outputs.push_back(GatewayOutput::ReserveIdentify);
    }

    fn connect(&mut self) {
        let own = self.failed_openings < self.config.resume_attempts;
        let resume_url = self.session.as_ref().filter(|_| own).map(|session| Arc::clone(&session.resume_url));
        self.state = State::Opening;
        self.received = self.session.as_ref().map(|session| session.sequence);
        self.sends = Sends::default();
        self.outputs.push_back(GatewayOutput::Connect { resume_url });
    }

    fn message(&mut self, now: Instant, message: Incoming) {
        match (message, &mut self.state) {
            (Incoming::Hello { heartbeat_interval }, State::Greeting { .. }) => {
                let interval = heartbeat_interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
                let at = now + interval.mul_f64(self.random.random());
                let beat = Beat { interval, at, unanswered: false };
                self.state = State::Beginning { by: now + self.config.ready_timeout, beat };
                self.begin(now);
            }
            (Incoming::HeartbeatRequest, State::Beginning { .. } | State::Live { .. }) => {
                self.beat(now, Urgency::Asked);
            }
            (Incoming::HeartbeatAck, State::Beginning { beat, .. } | State::Live { beat }) => {
                beat.unanswered = false;
            }
            // It may come in place of a hello too.
            (Incoming::Reconnect, State::Greeting { .. } | State::Beginning { .. } | State::Live { .. }) => {
                self.leave(now, AfterClose::Resume);
            }
            (Incoming::InvalidSession { resumable }, State::Beginning { .. } | State::Live { .. }) => {
                let after = if resumable { AfterClose::Resume } else { AfterClose::NewSession };
                self.leave(now, after);
            }
            (Incoming::Ready(session), State::Beginning { beat, .. }) => {
                self.received = Some(session.sequence);
                let beat = *beat;
                self.session = Some(session.clone());
                self.outputs.push_back(GatewayOutput::Began(session));
                self.live(now, beat);
            }
            (Incoming::Resumed { sequence }, State::Beginning { beat, .. }) => {
                let beat = *beat;
                self.received = self.received.max(Some(sequence));
                self.outputs.push_back(GatewayOutput::Resumed);
                self.live(now, beat);
            }
            (Incoming::Dispatch { sequence }, State::Beginning { by, .. }) => {
                *by = now + self.config.ready_timeout;
                self.received = self.received.max(Some(sequence));
            }
            (Incoming::Dispatch { sequence } | Incoming::Resumed { sequence }, State::Live { .. }) => {
                self.received = self.received.max(Some(sequence));
            }
            _ => {}
        }
    }

    fn begin(&mut self, now: Instant) {
        self.sends.take(now, Urgency::Vital);
        let command = match &self.session {
            Some(session) => Command::Resume(session.clone()),
            None => {
                self.allowed = false;
                Command::Identify
            }
        };
        self.outputs.push_back(GatewayOutput::Send(command));
    }

    fn live(&mut self, now: Instant, beat: Beat) {
        self.failed_openings = 0;
        self.state = State::Live { beat };
        self.reconnecting(now, ReconnectInput::Connected);
        self.show(now);
    }

    fn beat(&mut self, now: Instant, urgency: Urgency) {
        if self.sends.take(now, urgency) {
            let sequence = self.received;
            self.outputs.push_back(GatewayOutput::Send(Command::Heartbeat { sequence }));
        }
    }

    fn show(&mut self, now: Instant) {
        if self.is_live() && self.presence.is_some() && self.sends.take(now, Urgency::Spare) {
            let wished =
                self.presence.take().map(|presence| GatewayOutput::Send(Command::Presence(presence)));
            self.outputs.extend(wished);
        }
    }

    /// Closes the connection that is open, and goes on without it.
    fn leave(&mut self, now: Instant, after: AfterClose) {
        self.outputs.push_back(GatewayOutput::Close { code: KEEP_SESSION });
        self.lost(now, after);
    }

    fn lost(&mut self, now: Instant, after: AfterClose) {
        if let AfterClose::Stop(fatal) = after {
            return self.stop(now, Stop::Fatal(fatal));
        }
        if after == AfterClose::NewSession {
            self.forget();
        }
        self.state = State::Apart;
        self.reconnecting(now, ReconnectInput::Lost);
    }

    fn forget(&mut self) {
        if self.session.take().is_some() {
            self.outputs.push_back(GatewayOutput::Forgot);
        }
        self.failed_openings = 0;
    }

    fn stop(&mut self, now: Instant, why: Stop) {
        if matches!(self.state, State::Stopped) {
            return;
        }
        if self.is_open() {
            self.outputs.push_back(GatewayOutput::Close { code: KEEP_SESSION });
        }
        self.state = State::Stopped;
        self.presence = None;
        self.reconnecting(now, ReconnectInput::Drain);
        self.outputs.push_back(GatewayOutput::Stop(why));
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Beginning { .. } | State::Live { .. })
    }

    fn beat_mut(&mut self) -> Option<&mut Beat> {
        match &mut self.state {
            State::Beginning { beat, .. } | State::Live { beat } => Some(beat),
            _ => None,
        }
    }

    /// The regular heartbeat is due.
    fn on_beat(&mut self, now: Instant) {
        let Some(beat) = self.beat_mut().filter(|beat| beat.at <= now) else { return };
        if beat.unanswered {
            // Open but mute: the peer is dead, whatever the connection says.
            return self.leave(now, AfterClose::Resume);
        }
        beat.unanswered = true;
        beat.at = now + beat.interval;
        self.beat(now, Urgency::Vital);
    }
}

impl Machine for Gateway {
    type Input = GatewayInput;
    type Output = GatewayOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: GatewayInput) {
        match (input, &self.state) {
            (_, State::Stopped) => {}
            (GatewayInput::Start, _) => self.reconnecting(now, ReconnectInput::Start),
            (GatewayInput::IdentifyAllowed, State::Reserving) => {
                self.allowed = true;
                self.connect();
            }
            (GatewayInput::IdentifyDenied { wait }, State::Reserving) => {
                self.state = State::Denied { until: now + wait.max(Duration::from_millis(1)) };
            }
            (GatewayInput::Opened, State::Opening) => {
                self.state = State::Greeting { by: now + self.config.hello_timeout };
            }
            (GatewayInput::NotOpened { retry_after }, State::Opening) => {
                self.failed_openings = self.failed_openings.saturating_add(1);
                self.state = State::Apart;
                let busy = retry_after.map(|retry_after| ReconnectInput::Busy { retry_after });
                self.reconnecting(now, busy.unwrap_or(ReconnectInput::Lost));
            }
            (GatewayInput::Message(message), _) => self.message(now, message),
            (GatewayInput::Lost { code }, _) if self.is_open() => self.lost(now, after_close(code)),
            (GatewayInput::Processed { session, sequence }, _) => {
                // What was under way when a session ended tells nothing of the next one.
                if let Some(current) = self.session.as_mut().filter(|current| current.id == session) {
                    current.sequence = current.sequence.max(sequence);
                }
            }
            (GatewayInput::Overwhelmed, _) if self.is_open() => self.leave(now, AfterClose::Resume),
            (GatewayInput::Show(presence), _) => {
                self.presence = Some(presence);
                self.show(now);
            }
            (GatewayInput::Refused(fatal), _) => self.stop(now, Stop::Fatal(fatal)),
            (GatewayInput::Drain, _) => self.stop(now, Stop::Drained),
            (
                GatewayInput::IdentifyAllowed
                | GatewayInput::IdentifyDenied { .. }
                | GatewayInput::Opened
                | GatewayInput::NotOpened { .. }
                | GatewayInput::Lost { .. }
                | GatewayInput::Overwhelmed,
                _,
            ) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.reconnect.poll_timeout().is_some_and(|at| at <= now) {
            self.reconnect.handle_timeout(now);
            self.obey_reconnect();
        }
        match &self.state {
            State::Denied { until } if *until <= now => self.reserve(),
            State::Greeting { by } if *by <= now => self.leave(now, AfterClose::Resume),
            // A session that can't be resumed in that time is given up; what it held is fetched
            // over HTTP.
            State::Beginning { by, .. } if *by <= now => self.leave(now, AfterClose::NewSession),
            _ => {}
        }
        self.on_beat(now);
        if self.presence.is_some() && self.sends.room_at(Urgency::Spare).is_none_or(|at| at <= now) {
            self.show(now);
        }
    }

    fn poll_output(&mut self) -> Option<GatewayOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let (own, beat) = match &self.state {
            State::Denied { until } => (Some(*until), None),
            State::Greeting { by } => (Some(*by), None),
            State::Beginning { by, beat } => (Some(*by), Some(beat.at)),
            State::Live { beat } => (None, Some(beat.at)),
            State::Apart | State::Reserving | State::Opening | State::Stopped => (None, None),
        };
        let room = self.presence.as_ref().filter(|_| self.is_live());
        let room = room.and_then(|_| self.sends.room_at(Urgency::Spare));
        [self.reconnect.poll_timeout(), own, beat, room].into_iter().flatten().min()
    }
}
