//! How an event of Discord's becomes a job: the same on both ways in, so that neither can make it
//! twice.

use std::time::Duration;

use livos_core::queue::{JobKind, NewJob};

use super::event::{Event, InvalidEvent};

/// How jobs are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobConfig {
    /// Their kind. `discord`.
    pub kind: JobKind,
    /// How long an id is remembered. 7 days: Discord replays minutes, and what is fetched after an
    /// outage is at most a day old.
    pub remembered: Duration,
    /// Whether only the user who asked sees the answer to an interaction. False: in a server, the
    /// others see what the bot was asked to say.
    pub ephemeral: bool,
}

impl Default for JobConfig {
    fn default() -> Self {
        let kind = JobKind::from_static("discord");
        Self { kind, remembered: Duration::from_secs(7 * 24 * 3600), ephemeral: false }
    }
}

impl JobConfig {
    /// The job of an event.
    pub(super) fn job(&self, event: &Event) -> Result<NewJob, InvalidEvent> {
        let payload = event.to_bytes()?;
        Ok(NewJob::new(self.kind.clone(), payload).deduped_by(event.dedupe_key(), self.remembered))
    }
}
