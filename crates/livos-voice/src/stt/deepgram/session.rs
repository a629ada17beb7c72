//! A recognition session, the same for both dialects: the feed of audio on a line to the provider.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use http::Request;
use livos_core::{drive::now, keep_alive::KeepAliveConfig};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::{
    config::{Config, Timing},
    dialect::{Dialect, Heard},
    feed::{Feed, Pumped},
    replay::lasting,
    wire,
};
use crate::{
    audio::{AudioFormat, Frame},
    connect::Connector,
    connection::ConnectionState,
    line::{Line, LineConfig, LineEvent, Outbox, until},
    stt::{Driver, SttCommand, SttEvent, SttSession},
};

/// Commands that may wait for the driver: over a second of 20 ms frames.
const COMMANDS: usize = 64;
/// Events that may wait for the listener in the channel, and again as many in the driver before it
/// stops reading the socket.
const EVENTS: usize = 64;
/// An unused connection that is repaired within this wait is replaced without telling. 100 ms: the
/// wait after a sound connection.
const QUIET: Duration = Duration::from_millis(100);
/// The bill is told whenever this many bytes were added: a second of audio.
const BILLED_STEP: u64 = 32_000;

/// Opens a session of this dialect.
pub(super) fn open<D: Dialect>(
    config: &Config,
    request: &Request<()>,
    connector: &Connector,
    dialect: D,
) -> (SttSession, Driver) {
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let (events, event_receiver) = mpsc::channel(EVENTS);
    let mut keep_alive = KeepAliveConfig::default();
    keep_alive.interval = config.timing.keep_alive_interval;
    keep_alive.mute_after = config.timing.mute_after;
    let line = LineConfig { limits: config.limits, reconnect: config.reconnect, keep_alive };
    // Keyed by the system for each session, so that those of one process jitter differently.
    let seed = RandomState::new().build_hasher().finish();
    let session = Session {
        timing: config.timing,
        dialect,
        line: Line::new(connector.clone(), request.clone(), line, seed),
        feed: Feed::new(config.timing, D::LEAST),
        outbox: Outbox::new(events, EVENTS),
        heard: VecDeque::with_capacity(8),
        closing: None,
        billed_told: 0,
        quiet: false,
        dormant: false,
    };
    (SttSession { commands: command_sender, events: event_receiver }, Box::pin(session.run(commands)))
}

struct Session<D> {
    timing: Timing,
    dialect: D,
    line: Line,
    feed: Feed,
    /// What the listener has not taken yet.
    outbox: Outbox<SttEvent>,
    heard: VecDeque<Heard>,
    closing: Option<Closing>,
    billed_told: u64,
    /// The connection was lost unused, and the listener was not told.
    quiet: bool,
    /// The provider closed a connection that nobody used: the next one waits for audio.
    dormant: bool,
}

struct Closing {
    by: Instant,
    /// The provider was told.
    told: bool,
}

impl<D: Dialect> Session<D> {
    async fn run(mut self, mut commands: mpsc::Receiver<SttCommand>) {
        self.tell(SttEvent::State(ConnectionState::Connecting));
        while !self.is_over() {
            self.pump();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                delivered = self.outbox.deliver() => if delivered.is_err() { return },
                () = until(deadline), if deadline.is_some() => self.on_time(now()),
                event = self.line.next(), if !self.outbox.is_full() => self.on_line(event),
                command = commands.recv(), if self.closing.is_none() => self.on_command(command),
            }
        }
        self.tell_billed(true);
        self.tell(SttEvent::State(ConnectionState::Closed));
        tokio::join!(self.outbox.finish(), self.line.close());
    }

    fn is_over(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.by <= now())
    }

    fn tell(&mut self, event: SttEvent) {
        self.outbox.push(event, |last, new| matches!((last, new), (SttEvent::State(_), SttEvent::State(_))));
    }

    /// Tells what was billed, whenever a whole second was added, or at once.
    fn tell_billed(&mut self, at_once: bool) {
        let billed = self.feed.billed();
        if billed >= self.billed_told + BILLED_STEP || (at_once && billed > self.billed_told) {
            self.billed_told = billed;
            self.tell(SttEvent::Billed(lasting(billed)));
        }
    }

    fn on_command(&mut self, command: Option<SttCommand>) {
        match command {
            Some(SttCommand::Audio(frame)) => self.on_audio(frame),
            Some(SttCommand::EndOfSpeech) => {
                if self.feed.replay.end_speech() {
                    self.tell(SttEvent::Finalized);
                } else {
                    // The silence belongs to the speech that ends.
                    let silence = self.dialect.trailing_silence();
                    if silence > 0 {
                        self.feed.pad(silence);
                        self.feed.replay.end_speech();
                    }
                }
            }
            Some(SttCommand::Close) | None => {
                let wait = if self.feed.is_ready() { self.timing.close_timeout } else { Duration::ZERO };
                self.closing = Some(Closing { by: now() + wait, told: false });
                self.line.drain();
                self.tell(SttEvent::State(ConnectionState::Draining));
            }
        }
    }

    fn on_audio(&mut self, frame: Frame) {
        if frame.format() != AudioFormat::SPEECH {
            tracing::error!(format = ?frame.format(), "audio of a wrong format was given to the recogniser");
            return;
        }
        // The provider takes an empty message for the end of the stream.
        if frame.is_empty() {
            return;
        }
        if std::mem::take(&mut self.dormant) {
            self.line.reconnect();
        }
        self.feed.write(&mut self.line, frame.into_bytes());
        self.tell_billed(false);
    }

    /// Sends what waits, as far as the connection takes it: kept audio, the question after it, the
    /// farewell.
    fn pump(&mut self) {
        match self.feed.pump(&mut self.line, self.closing.is_some()) {
            Pumped::All => {
                self.feed.ask(&mut self.line, self.dialect.question());
                if let Some(closing) = self.closing.as_mut().filter(|closing| !closing.told) {
                    closing.told = self.line.send(Message::text(wire::CLOSE_STREAM));
                }
            }
            Pumped::Some => {}
            Pumped::TooLate => self.drop_connection("it took no audio for longer than is kept"),
        }
        self.tell_billed(false);
    }

    fn on_line(&mut self, event: LineEvent) {
        match event {
            LineEvent::Connecting { .. } | LineEvent::Room => {}
            LineEvent::Waiting { attempt, wait } => {
                // Nobody has to know of an unused connection that is repaired at once.
                self.quiet &= wait <= QUIET;
                if !self.quiet {
                    self.tell(SttEvent::State(ConnectionState::Reconnecting { attempt, wait }));
                }
            }
            LineEvent::Opened => self.opened(),
            LineEvent::Failed(error) => self.lost(&error.to_string()),
            LineEvent::Refused(error) => {
                let reason = error.to_string();
                tracing::error!(reason, "the recogniser refused for good");
                self.fail(reason);
            }
            LineEvent::GaveUp => {
                self.fail("the recogniser could not be reached in the attempts allowed".into());
            }
            LineEvent::Lost(loss) => self.lost(&loss.to_string()),
            LineEvent::Idle => {
                self.line.send(self.dialect.keep_alive());
            }
            LineEvent::Text(text) => self.on_text(&text),
        }
    }

    /// The session ends here.
    fn fail(&mut self, reason: String) {
        self.closing = Some(Closing { by: now(), told: true });
        self.tell(SttEvent::Failed(reason));
    }

    /// Gives the connection up.
    fn drop_connection(&mut self, reason: &str) {
        self.line.hang_up();
        self.lost(reason);
    }

    /// The connection is gone, or an attempt failed.
    fn lost(&mut self, reason: &str) {
        self.quiet = self.feed.is_unused();
        self.feed.lost();
        if let Some(closing) = &mut self.closing {
            closing.by = now();
            return;
        }
        tracing::info!(reason, "the connection to the recogniser was lost");
        metrics::counter!("livos_stt_connections_lost_total").increment(1);
        // A provider that closes what nobody uses would do so again and again, and may bill each
        // connection a second.
        self.dormant = self.quiet && self.feed.replay.backlog() == 0;
        if !self.dormant {
            self.line.reconnect();
        }
    }

    fn opened(&mut self) {
        let gone = self.feed.opened();
        if !gone.is_zero() {
            tracing::warn!(?gone, "speech was lost: the connection was away for longer than audio is kept");
        }
        self.dialect.reopened(&mut self.heard);
        if D::READY_ON_OPEN {
            self.heard.push_back(Heard::Ready);
        } else {
            self.line.expect();
        }
        self.conclude();
    }

    fn on_text(&mut self, text: &str) {
        let message = match wire::Message::parse(text) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "the recogniser sent a message that cannot be read");
                return;
            }
        };
        self.line.received();
        self.feed.answered();
        self.dialect.heard(message, &mut self.feed.replay, &mut self.heard);
        self.conclude();
    }

    fn conclude(&mut self) {
        while let Some(heard) = self.heard.pop_front() {
            match heard {
                Heard::Event(event) => self.tell(event),
                Heard::Ready => self.ready(),
                Heard::Answered => {
                    self.tell_billed(true);
                    self.tell(SttEvent::Finalized);
                }
                Heard::Broken(reason) => self.drop_connection(&reason),
                Heard::Over => {
                    if let Some(closing) = &mut self.closing {
                        closing.by = now();
                    }
                }
            }
        }
    }

    fn ready(&mut self) {
        self.line.connected();
        if !std::mem::take(&mut self.quiet) {
            self.tell(SttEvent::State(ConnectionState::Connected));
        }
        self.feed.ready();
    }

    fn deadline(&self) -> Option<Instant> {
        let padding = self.dialect.padding().map(|(after, _)| after);
        let answer = self.feed.replay.give_up_at(self.timing.finalize_timeout);
        let closing = self.closing.as_ref().map(|closing| closing.by);
        [answer, closing, self.feed.deadline(padding)].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.feed.replay.give_up_at(self.timing.finalize_timeout).is_some_and(|at| at <= now) {
            self.feed.replay.give_up();
            self.tell_billed(true);
            self.tell(SttEvent::Finalized);
        }
        if let Some(padding) = self.dialect.padding() {
            self.feed.pad_if_still(now, padding);
        }
    }
}
