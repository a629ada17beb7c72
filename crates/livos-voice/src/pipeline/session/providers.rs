//! The ends of the provider sessions that the pipeline holds: commands that wait, and drivers to
//! poll.

use std::{collections::VecDeque, future::Future, pin::Pin};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    generation::Generation,
    stt::{Driver, SttCommand, SttSession},
    tts::{TtsCommand, TtsSession},
};

/// Commands that may wait for the recogniser: 10 s of frames. Beyond, the oldest audio is dropped
/// and counted; a turn must never wait.
const MAX_WAITING_AUDIO: usize = 500;
/// Pieces of text that may wait for the synthesiser before the reply is not read on.
const MAX_WAITING_TEXT: usize = 32;

pub(super) struct RecogniserEnd {
    pub(super) session: SttSession,
    pub(super) driver: Option<Driver>,
    /// Its channel of events is open.
    pub(super) open: bool,
    pub(super) waiting: VecDeque<SttCommand>,
}

pub(super) struct SynthesiserEnd {
    pub(super) session: TtsSession,
    pub(super) driver: Option<Driver>,
    /// Its channel of events is open.
    pub(super) open: bool,
    /// Its events are wanted; while they are not, they hold the provider back.
    pub(super) taken: bool,
    pub(super) waiting: VecDeque<TtsCommand>,
}

impl RecogniserEnd {
    pub(super) fn new((session, driver): (SttSession, Driver)) -> Self {
        Self { session, driver: Some(driver), open: true, waiting: VecDeque::new() }
    }

    pub(super) fn command(&mut self, command: SttCommand) {
        let Some(command) = send(&self.session.commands, &self.waiting, command) else { return };
        if self.waiting.len() >= MAX_WAITING_AUDIO
            && let Some(oldest) =
                self.waiting.iter().position(|waiting| matches!(waiting, SttCommand::Audio(_)))
        {
            metrics::counter!("livos_voice_dropped_frames_total").increment(1);
            self.waiting.remove(oldest);
        }
        self.waiting.push_back(command);
    }
}

impl SynthesiserEnd {
    pub(super) fn new((session, driver): (TtsSession, Driver)) -> Self {
        Self { session, driver: Some(driver), open: true, taken: true, waiting: VecDeque::new() }
    }

    /// Whether more text may be made for it.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING_TEXT
    }

    pub(super) fn command(&mut self, command: TtsCommand) {
        let command = send(&self.session.commands, &self.waiting, command);
        self.waiting.extend(command);
    }

    pub(super) fn cancel(&mut self, cancelled: Generation) {
        self.waiting.retain(|command| match command {
            TtsCommand::Speak { generation, .. } | TtsCommand::Finish(generation) => *generation > cancelled,
            TtsCommand::Cancel(_) | TtsCommand::Close => true,
        });
        self.command(TtsCommand::Cancel(cancelled));
    }
}

/// Sends a command at once, or answers it if it must wait behind others.
fn send<C>(commands: &mpsc::Sender<C>, waiting: &VecDeque<C>, command: C) -> Option<C> {
    if !waiting.is_empty() {
        return Some(command);
    }
    match commands.try_send(command) {
        Ok(()) | Err(TrySendError::Closed(_)) => None,
        Err(TrySendError::Full(command)) => Some(command),
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

/// Hands on the first command that waits, once there is room for it.
pub(super) async fn forward<C>(commands: &mpsc::Sender<C>, waiting: &mut VecDeque<C>) {
    if waiting.is_empty() {
        return std::future::pending().await;
    }
    match commands.reserve().await {
        Ok(permit) => {
            if let Some(command) = waiting.pop_front() {
                permit.send(command);
            }
        }
        Err(_) => waiting.clear(),
    }
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
