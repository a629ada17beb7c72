//! The driver of an answer: from the agent's stream into a chat, once.

use std::time::Duration;

use futures_util::StreamExt;
use livos_core::{
    conversation::{Finish, Heard, Reply, ReplyError, ReplyErrorKind, ReplyEvent},
    machine::Machine,
    queue::{Job, Outcome},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Draft, DraftConfig, DraftInput, DraftOutput, Outbox, Outlet, SendError, SendFailure,
    outbox::{Entry, MAX_ANSWER, OutboxError},
};

/// How an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliverConfig {
    /// Whether an answer is shown before it is whole. True: a person sees within a second that
    /// something comes.
    pub previews: bool,
    /// How long a provider that takes nothing is waited for before the job is given back. 2 min:
    /// longer, and the worker is of more use elsewhere.
    pub patience: Duration,
}

impl Default for DeliverConfig {
    fn default() -> Self {
        Self { previews: true, patience: Duration::from_secs(120) }
    }
}

/// An answer was not delivered, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    /// The provider takes nothing for now. What was posted is written down, and the next attempt
    /// goes on from there.
    #[error("the provider takes nothing for {} s", after.as_secs())]
    Later {
        /// When it may.
        after: Duration,
    },
    /// Nothing can be written there any more, or not this.
    #[error("the answer can't be written there")]
    Impossible(#[source] SendError),
    /// The agent failed.
    #[error("the agent failed: {0}")]
    Agent(#[source] ReplyError),
    /// The outbox failed.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl DeliverError {
    /// What becomes of the job; for a failure of the agent see [`Outcome::of_failed_reply`].
    pub fn outcome(&self, job: &Job) -> Outcome {
        let retry = |after| Outcome::Retry { after, reason: self.to_string() };
        match self {
            Self::Later { after } => retry(Some(*after)),
            Self::Impossible(error) => {
                let source = std::error::Error::source(error).map(|source| format!(": {source}"));
                Outcome::Dead { reason: format!("{self}: {error}{}", source.unwrap_or_default()) }
            }
            Self::Agent(error) => Outcome::of_failed_reply(job, error, self.to_string()),
            Self::Outbox(_) => retry(None),
        }
    }
}

/// What is waited for before something that failed without a word of the provider is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Delivers the answer of this name, which is the same for every attempt, such as the dedupe key of
/// its job. `ask` is called where no earlier attempt got the whole answer; its reply is committed
/// at once.
///
/// Everything that matters after a crash is in the outbox before it happens. Dropping the future is
/// as safe as a crash.
pub async fn deliver<F, E>(
    outlet: &dyn Outlet,
    outbox: &Outbox,
    name: &str,
    config: DeliverConfig,
    ask: impl FnOnce() -> F,
) -> Result<(), DeliverError>
where
    F: Future<Output = Result<Reply, E>>,
    E: Into<ReplyError>,
{
    let mut entry = outbox.open(name).await?;
    entry.settle(outlet.is_idempotent());
    let known = entry.answer().map(str::to_owned);
    let mut draft_config = DraftConfig::new(outlet.limit(), outlet.gap());
    draft_config.previews = config.previews;
    let draft = Draft::new(draft_config, entry.posted());
    let mut delivery =
        Delivery { outlet, name, config, entry, draft, waited: Duration::ZERO, gives_up: None };
    if let Some(answer) = known {
        delivery.draft.handle_input(now(), DraftInput::Text(answer));
        delivery.draft.handle_input(now(), DraftInput::End);
        return delivery.show().await;
    }
    let answered = async {
        let mut reply = ask().await.map_err(|error| DeliverError::Agent(error.into()))?;
        reply.commit();
        delivery.follow(&mut reply).await?;
        delivery.entry.finish(delivery.draft.text()).await?;
        Ok::<_, DeliverError>(reply)
    };
    let mut reply = tokio::select! {
        answered = answered => answered?,
        never = show_typing(outlet) => match never {},
    };
    delivery.draft.handle_input(now(), DraftInput::End);
    let shown = delivery.show().await;
    // What comes later comes as well: only what can't be written was not read.
    if !matches!(shown, Err(DeliverError::Impossible(_))) {
        reply.heard(Heard { text: delivery.draft.text().to_owned(), complete: true });
    }
    shown
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Shows that somebody is at work, for as long as it is polled. What fails is of no matter.
async fn show_typing(outlet: &dyn Outlet) -> std::convert::Infallible {
    loop {
        if let Err(error) = outlet.typing().await {
            tracing::debug!(%error, "typing is not shown");
        }
        sleep(outlet.typing_every()).await;
    }
}

struct Delivery<'a> {
    outlet: &'a dyn Outlet,
    name: &'a str,
    config: DeliverConfig,
    entry: Entry,
    draft: Draft,
    /// For how long nothing was taken.
    waited: Duration,
    /// Nothing is taken for longer than we wait; the answer is only collected.
    gives_up: Option<Duration>,
}

impl Delivery<'_> {
    /// Reads an answer to its end, and shows it meanwhile.
    async fn follow(&mut self, reply: &mut Reply) -> Result<(), DeliverError> {
        loop {
            let due = self.draft.poll_timeout().map(Instant::from_std);
            let event = tokio::select! {
                biased;
                event = reply.next() => event,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.draft.handle_timeout(now());
                    self.carry_out().await?;
                    continue;
                }
            };
            match event {
                Some(event) => {
                    if self.take(event)? {
                        return Ok(());
                    }
                }
                None => {
                    let error = ReplyError::new(
                        ReplyErrorKind::Unavailable,
                        "the agent's answer ended before it was whole",
                    );
                    return Err(DeliverError::Agent(error));
                }
            }
            self.carry_out().await?;
        }
    }

    /// Takes an event in; true for the last.
    fn take(&mut self, event: Result<ReplyEvent, ReplyError>) -> Result<bool, DeliverError> {
        match event.map_err(DeliverError::Agent)? {
            ReplyEvent::Text(mut text) => {
                let room = MAX_ANSWER.saturating_sub(self.draft.text().len());
                if text.len() > room {
                    tracing::warn!(name = self.name, "an answer is longer than may be, and is cut off");
                    text.truncate(text.floor_char_boundary(room));
                }
                self.draft.handle_input(now(), DraftInput::Text(text));
                Ok(false)
            }
            ReplyEvent::Finished(Finish::Refused) if self.draft.text().trim().is_empty() => {
                let error = ReplyError::new(ReplyErrorKind::Rejected, "the model declined to answer");
                Err(DeliverError::Agent(error))
            }
            ReplyEvent::Finished(_) if self.draft.text().trim().is_empty() => {
                let error = ReplyError::new(ReplyErrorKind::Rejected, "the model's answer is empty");
                Err(DeliverError::Agent(error))
            }
            ReplyEvent::Finished(_) => Ok(true),
            _ => Ok(false),
        }
    }

    /// Shows what is left of an answer that is whole.
    async fn show(&mut self) -> Result<(), DeliverError> {
        loop {
            if self.carry_out().await? {
                return Ok(());
            }
            if let Some(after) = self.gives_up {
                return Err(DeliverError::Later { after });
            }
            // Nothing is due only where all is shown; should that ever be wrong, the answer must
            // not be given up silently.
            let Some(due) = self.draft.poll_timeout() else {
                return Err(DeliverError::Later { after: AGAIN });
            };
            sleep_until(Instant::from_std(due)).await;
            self.draft.handle_timeout(now());
        }
    }

    /// Carries out what is to be done; true when all is shown.
    async fn carry_out(&mut self) -> Result<bool, DeliverError> {
        while let Some(output) = self.draft.poll_output() {
            if self.gives_up.is_some() {
                return Ok(false);
            }
            let input = match output {
                DraftOutput::Delivered => return Ok(true),
                DraftOutput::Post { part, text } => self.post(part, &text).await?,
                DraftOutput::Edit { part, text } => self.edit(part, &text).await?,
                DraftOutput::Remove { part } => self.remove(part).await?,
            };
            self.draft.handle_input(now(), input);
        }
        Ok(false)
    }

    async fn post(&mut self, part: usize, text: &str) -> Result<DraftInput, DeliverError> {
        self.entry.posting().await?;
        match self.outlet.post(text, &format!("{}/{part}", self.name)).await {
            Ok(message) => {
                self.entry.posted_as(Some(message)).await?;
                Ok(self.done())
            }
            Err(error) => match error.kind() {
                SendFailure::Unknown if !self.outlet.is_idempotent() && self.entry.answer().is_some() => {
                    tracing::warn!(name = self.name, %error, "a message may be posted, and is not posted again");
                    self.entry.posted_as(None).await?;
                    Ok(self.done())
                }
                kind => {
                    self.entry.not_posted().await?;
                    self.failed(kind, error)
                }
            },
        }
    }

    async fn edit(&mut self, part: usize, text: &str) -> Result<DraftInput, DeliverError> {
        let Some(message) = self.entry.message(part) else { return Ok(self.done()) };
        match self.outlet.edit(message, text).await {
            Ok(()) => Ok(self.done()),
            // Deleted by its reader, most likely: that is their last word on it.
            Err(error) if error.kind() == SendFailure::Refused => {
                tracing::warn!(name = self.name, ?error, "a message can't be changed, and stays as it is");
                Ok(self.done())
            }
            Err(error) => self.failed(error.kind(), error),
        }
    }

    async fn remove(&mut self, part: usize) -> Result<DraftInput, DeliverError> {
        if let Some(message) = self.entry.message(part)
            && let Err(error) = self.outlet.remove(message).await
        {
            return self.failed(error.kind(), error);
        }
        self.entry.removed().await?;
        Ok(self.done())
    }

    fn done(&mut self) -> DraftInput {
        self.waited = Duration::ZERO;
        DraftInput::Done
    }

    fn failed(&mut self, kind: SendFailure, error: SendError) -> Result<DraftInput, DeliverError> {
        let wait = match kind {
            SendFailure::Later(wait) => wait,
            SendFailure::NotSent | SendFailure::Unknown => AGAIN,
            SendFailure::Gone | SendFailure::Refused => return Err(DeliverError::Impossible(error)),
        };
        self.waited += wait;
        if self.waited > self.config.patience {
            self.gives_up = Some(wait);
        }
        Ok(DraftInput::Later(wait))
    }
}
