//! The ends of the provider sessions that the pipeline holds: commands that wait, and drivers to
//! poll.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{COVERED, MAX_WAITING_AUDIO};
use crate::{
    audio::Frame,
    generation::Generation,
    stt::{Driver, SttCommand, SttSession},
    tts::{TtsCommand, TtsSession},
};

pub(super) struct Recogniser {
    pub(super) session: SttSession,
    pub(super) driver: Option<Driver>,
    /// It may still report something.
    pub(super) running: bool,
    pub(super) waiting: VecDeque<SttCommand>,
    /// Audio given to it.
    pub(super) given: Duration,
    /// Up to where it has answered with final words.
    pub(super) answered_to: Duration,
    /// When it was last asked for its last words, and had answered.
    pub(super) asked: Option<Instant>,
    pub(super) answered: Option<Instant>,
}

pub(super) struct Synthesiser {
    pub(super) session: TtsSession,
    pub(super) driver: Option<Driver>,
    /// It may still report something.
    pub(super) running: bool,
    /// It can speak.
    pub(super) usable: bool,
    pub(super) waiting: VecDeque<TtsCommand>,
}

impl Recogniser {
    pub(super) fn new((session, driver): (SttSession, Driver)) -> Self {
        Self {
            session,
            driver: Some(driver),
            running: true,
            waiting: VecDeque::new(),
            given: Duration::ZERO,
            answered_to: Duration::ZERO,
            asked: None,
            answered: None,
        }
    }

    pub(super) fn give(&mut self, frame: Frame) {
        self.given += frame.duration();
        self.command(SttCommand::Audio(frame));
    }

    /// Whether final words cover everything it was given, or no answer can be expected.
    pub(super) fn has_answered(&self) -> bool {
        !self.running || self.answered_to + COVERED >= self.given
    }

    pub(super) fn command(&mut self, command: SttCommand) {
        let command = match self.waiting.is_empty() {
            true => match self.session.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(command)) => command,
            },
            false => command,
        };
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

impl Synthesiser {
    pub(super) fn new((session, driver): (TtsSession, Driver)) -> Self {
        Self { session, driver: Some(driver), running: true, usable: true, waiting: VecDeque::new() }
    }

    pub(super) fn command(&mut self, command: TtsCommand) {
        let command = match self.waiting.is_empty() {
            true => match self.session.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(command)) => command,
            },
            false => command,
        };
        self.waiting.push_back(command);
    }

    pub(super) fn cancel(&mut self, cancelled: Generation) {
        self.waiting.retain(|command| match command {
            TtsCommand::Speak { generation, .. } | TtsCommand::Finish(generation) => *generation > cancelled,
            TtsCommand::Cancel(_) | TtsCommand::Close => true,
        });
        self.command(TtsCommand::Cancel(cancelled));
    }
}

pub(super) async fn run(driver: &mut Option<Driver>) {
    match driver {
        Some(driver) => driver.await,
        None => std::future::pending().await,
    }
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
