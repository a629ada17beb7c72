//! The ends of the provider sessions that the pipeline holds: commands that wait, and drivers to
//! poll.

use std::{future::Future, pin::Pin};

use livos_core::budget::{Meter, NotAdmitted};
use tokio::sync::mpsc;

use super::outlet::Outlet;
use crate::{
    generation::Generation,
    meter::AudioMeter,
    stt::{Driver, SttCommand, SttEvent, SttSession},
    tts::{TtsCommand, TtsEvent, TtsSession},
};

/// Commands that may wait for the recogniser: 10 s of frames. Beyond, the oldest audio is dropped
/// and counted; a turn must never wait.
const MAX_WAITING_AUDIO: usize = 500;
/// Pieces of text that may wait for the synthesiser before the reply is not read on.
const MAX_WAITING_TEXT: usize = 32;

pub(super) struct RecogniserEnd {
    pub(super) events: mpsc::Receiver<SttEvent>,
    pub(super) driver: Option<Driver>,
    /// Its channel of events is open.
    pub(super) open: bool,
    pub(super) outlet: Outlet<SttCommand, AudioMeter>,
}

pub(super) struct SynthesiserEnd {
    pub(super) events: mpsc::Receiver<TtsEvent>,
    pub(super) driver: Option<Driver>,
    /// Its channel of events is open.
    pub(super) open: bool,
    /// Its events are wanted; while they are not, they hold the provider back.
    pub(super) taken: bool,
    pub(super) outlet: Outlet<TtsCommand, Meter>,
}

impl RecogniserEnd {
    pub(super) fn new((session, driver): (SttSession, Driver), meter: Option<Meter>) -> Self {
        let outlet = Outlet::new(session.commands, meter.map(AudioMeter::new));
        Self { events: session.events, driver: Some(driver), open: true, outlet }
    }

    /// Sends a command after those that wait. An error is a limit that is reached.
    pub(super) fn command(&mut self, command: SttCommand) -> Result<(), NotAdmitted> {
        let Some(command) = self.outlet.offer(command)? else { return Ok(()) };
        let waiting = &mut self.outlet.waiting;
        if waiting.len() >= MAX_WAITING_AUDIO
            && let Some(oldest) = waiting.iter().position(|waiting| matches!(waiting, SttCommand::Audio(_)))
        {
            metrics::counter!("livos_voice_dropped_frames_total").increment(1);
            waiting.remove(oldest);
        }
        waiting.push_back(command);
        Ok(())
    }

    /// Gives up the audio that waits.
    pub(super) fn drop_audio(&mut self) {
        let before = self.outlet.waiting.len();
        self.outlet.waiting.retain(|command| !matches!(command, SttCommand::Audio(_)));
        let dropped = before - self.outlet.waiting.len();
        metrics::counter!("livos_voice_dropped_frames_total").increment(dropped as u64);
    }
}

impl SynthesiserEnd {
    pub(super) fn new((session, driver): (TtsSession, Driver), meter: Option<Meter>) -> Self {
        let outlet = Outlet::new(session.commands, meter);
        Self { events: session.events, driver: Some(driver), open: true, taken: true, outlet }
    }

    /// Whether more text may be made for it.
    pub(super) fn has_room(&self) -> bool {
        self.outlet.waiting.len() < MAX_WAITING_TEXT
    }

    /// Sends a command after those that wait. An error is a limit that is reached.
    pub(super) fn command(&mut self, command: TtsCommand) -> Result<(), NotAdmitted> {
        let command = self.outlet.offer(command)?;
        self.outlet.waiting.extend(command);
        Ok(())
    }

    /// Cancels what is of this generation or older. It costs nothing.
    pub(super) fn cancel(&mut self, cancelled: Generation) -> Result<(), NotAdmitted> {
        self.outlet.waiting.retain(|command| match command {
            TtsCommand::Speak { generation, .. } | TtsCommand::Finish(generation) => *generation > cancelled,
            TtsCommand::Cancel(_) | TtsCommand::Close => true,
        });
        self.command(TtsCommand::Cancel(cancelled))
    }

    /// The answer whose text waits first.
    pub(super) fn waiting_generation(&self) -> Option<Generation> {
        self.outlet.waiting.iter().find_map(|command| match command {
            TtsCommand::Speak { generation, .. } | TtsCommand::Finish(generation) => Some(*generation),
            TtsCommand::Cancel(_) | TtsCommand::Close => None,
        })
    }
}

/// Runs a future to its end, once; pending after that. Cancel safe.
pub(super) async fn run(future: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match future {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
    *future = None;
}

/// Asks a driver to close, and runs it to its end.
pub(super) async fn close<C, E>(
    driver: &mut Option<Driver>,
    commands: &mpsc::Sender<C>,
    command: C,
    events: &mut mpsc::Receiver<E>,
) {
    let ask = async {
        let _ = commands.send(command).await;
        while events.recv().await.is_some() {}
    };
    let run = async {
        if let Some(driver) = driver.take() {
            driver.await;
        }
    };
    tokio::join!(ask, run);
}
