//! The driver of long polling: waits for its turn, asks, enqueues, and only then lets Telegram
//! forget.
//!
//! Jobs and offset are written in one step of the queue, and the next poll confirms them. Killed at
//! any instant, what was not confirmed comes again, and what was enqueued is a duplicate (P-19).
//! Two pollers throw each other out with 409; a guard in the store makes the second one wait, over
//! all processes that share the store, and its fence keeps one that slept through its turn from
//! writing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use livos_core::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    queue::{Advance, Advanced, NewJob, Queue, QueueError},
    store::{Guard, InvalidKey, Store, Tenure, Waiting},
    time::{Clock, Timestamp},
};

use super::{Bot, ErrorKind, Offset, TelegramError, job};

/// How a poller polls.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PollerConfig {
    /// How long the server may keep a poll waiting. 50 s: the longest it allows, and the fewest
    /// requests.
    pub wait: Duration,
    /// Updates of one poll, up to 100. 100: they are small, and one write takes them all.
    pub limit: u8,
    /// The kinds of updates that are sent to us. Messages, edited ones, and buttons: what an agent
    /// answers to.
    pub allowed_updates: Vec<String>,
    /// The name of this process for the guard. `livos`: right where one process runs, which then
    /// waits for nobody when it is started again. Processes that run at one time need different
    /// names.
    pub holder: String,
    /// How long the guard holds without being kept, which happens every third of it. 30 s: a dead
    /// poller is taken over from half a minute later.
    pub guard: Duration,
    /// What to do while a webhook is set. It is waited for: it may be another server's, and to
    /// delete it would steal its updates.
    pub on_webhook: OnWebhook,
    /// The waits after polls that failed.
    pub backoff: BackoffConfig,
    /// The wait after a conflict. 30 s: the other program either goes on polling for longer than
    /// that, or has ended by then.
    pub conflict: Duration,
}

impl Default for PollerConfig {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(50),
            limit: 100,
            allowed_updates: ["message", "edited_message", "callback_query"].map(str::to_owned).to_vec(),
            holder: "livos".into(),
            guard: Duration::from_secs(30),
            on_webhook: OnWebhook::Wait,
            backoff: BackoffConfig::default(),
            conflict: Duration::from_secs(30),
        }
    }
}

/// What a poller does about a webhook that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWebhook {
    /// Says so, and waits until somebody deletes it.
    Wait,
    /// Deletes it. What waits there is polled then.
    Delete,
}

/// How a poller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PollStatus {
    /// It does not run.
    Stopped,
    /// Another process polls.
    Waiting {
        /// Its name.
        holder: String,
        /// Until when, unless it goes on.
        until: Timestamp,
    },
    /// It polls.
    Polling,
    /// Somebody polls with this token who does not know of our guard.
    Conflict,
    /// A webhook is set.
    Webhook,
    /// The queue is full: nothing is confirmed until there is room.
    Full,
    /// It tries again.
    Failing {
        /// Why.
        reason: String,
    },
}

/// Polls the updates of one bot into a queue.
#[derive(Debug)]
pub struct Poller<C> {
    bot: Bot,
    queue: Queued,
    guard: Guard,
    clock: C,
    config: PollerConfig,
    cursor: String,
    status: Mutex<PollStatus>,
}

struct Queued(Arc<dyn Queue>);

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

/// Why polling came to an end.
enum End {
    /// Somebody else polls by now.
    Lost,
    Drained,
    /// The token is wrong.
    Refused(TelegramError),
}

/// How long a full queue is left alone: its workers need some time for a job.
const FULL: Duration = Duration::from_secs(1);
/// How long the last poll may take, which only confirms.
const GOODBYE: Duration = Duration::from_secs(5);

impl<C: Clock> Poller<C> {
    /// A poller of `bot` into `queue`, with its guard in `store`.
    pub fn new(
        bot: Bot,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        clock: C,
        config: PollerConfig,
    ) -> Result<Self, InvalidKey> {
        let cursor = format!("telegram/{}", bot.id());
        let guard = Guard::new(store, &cursor, config.holder.clone(), config.guard)?;
        Ok(Self {
            bot,
            queue: Queued(queue),
            guard,
            clock,
            config,
            cursor,
            status: Mutex::new(PollStatus::Stopped),
        })
    }

    /// How it stands.
    pub fn status(&self) -> PollStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Polls until the drain; then confirms what is durable, and gives the guard up. Ends with an
    /// error only where the token is refused. Dropping the future is as safe as a crash.
    pub async fn run(&self, drain: DrainSignal) -> Result<(), TelegramError> {
        let ended = self.take_turns(&drain).await;
        self.say(PollStatus::Stopped);
        ended
    }

    async fn take_turns(&self, drain: &DrainSignal) -> Result<(), TelegramError> {
        loop {
            let mut told = None;
            let turn = self.guard.hold(
                &self.clock,
                drain,
                || self.fence(),
                |waiting| self.waiting(waiting, &mut told),
                |tenure| self.turn(tenure, drain),
            );
            match turn.await {
                Some(End::Lost) => {}
                Some(End::Refused(error)) => return Err(error),
                Some(End::Drained) | None => return Ok(()),
            }
        }
    }

    /// The fence of the last poller that wrote.
    async fn fence(&self) -> Result<u64, QueueError> {
        let cursor = self.queue.0.cursor(&self.cursor).await?;
        Ok(cursor.map_or(0, |cursor| cursor.fence))
    }

    /// Shows why it waits; another holder is logged once.
    fn waiting(&self, waiting: Waiting, told: &mut Option<String>) {
        match waiting {
            Waiting::Taken { holder, until } => {
                if told.as_ref() != Some(&holder) {
                    tracing::warn!(
                        bot = self.bot.id(),
                        holder,
                        "another process polls this bot; waiting for it to end"
                    );
                    *told = Some(holder.clone());
                }
                self.say(PollStatus::Waiting { holder, until });
            }
            Waiting::Failed { reason } => self.fail(reason),
        }
    }

    /// Polls while the guard is held.
    async fn turn(&self, tenure: Tenure, drain: &DrainSignal) -> End {
        let end = tokio::select! {
            biased;
            () = drain.draining() => End::Drained,
            () = tenure.lost() => End::Lost,
            end = self.poll(tenure.fence()) => end,
        };
        match &end {
            End::Lost => tracing::warn!(bot = self.bot.id(), "another process polls this bot now"),
            End::Drained => self.confirm().await,
            End::Refused(error) => {
                tracing::error!(bot = self.bot.id(), %error, "this bot can't be polled until an operator sees to it");
            }
        }
        end
    }

    async fn poll(&self, fence: u64) -> End {
        // Differently for each turn, or processes that lost the server together would come back
        // together.
        let mut backoff = Backoff::new(self.config.backoff, fence ^ self.bot.id().unsigned_abs());
        let mut offset = self.offset(&mut backoff).await;
        loop {
            let request = offset.request(self.clock.now());
            let asked =
                self.bot.updates(request, self.config.limit, self.config.wait, &self.config.allowed_updates);
            match asked.await {
                Ok(updates) => {
                    backoff.reset();
                    self.say(PollStatus::Polling);
                    if !self.enqueue(&mut offset, updates, fence, &mut backoff).await {
                        return End::Lost;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::Unauthorized => return End::Refused(error),
                    ErrorKind::Conflict => self.conflict().await,
                    _ => {
                        let wait = backoff.next_delay();
                        self.fail(error.to_string());
                        tokio::time::sleep(error.retry_after().map_or(wait, |asked| asked.max(wait))).await;
                    }
                },
            }
        }
    }

    async fn offset(&self, backoff: &mut Backoff) -> Offset {
        loop {
            match self.queue.0.cursor(&self.cursor).await {
                Ok(cursor) => {
                    return cursor.map_or(Offset::default(), |cursor| Offset::of_position(&cursor.position));
                }
                Err(error) => {
                    self.fail(error.to_string());
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Makes jobs and offset durable; false where somebody else polls by now.
    async fn enqueue(
        &self,
        offset: &mut Offset,
        updates: Vec<Bytes>,
        fence: u64,
        backoff: &mut Backoff,
    ) -> bool {
        let mut steps: Vec<_> = updates.into_iter().filter_map(|update| self.step(update)).collect();
        while !steps.is_empty() {
            let now = self.clock.now();
            let (mut after, mut advance) = (*offset, Advance::new(self.cursor.clone(), fence));
            for (id, job) in &steps {
                after = after.after(*id, now);
                advance = advance.step(job.clone(), after.to_position());
            }
            let wait = match self.queue.0.advance(now, advance).await {
                Ok(Advanced::Stale { .. }) => return false,
                Ok(Advanced::Moved { steps: taken, enqueued, duplicates }) => {
                    metrics::counter!("livos_telegram_updates_total").increment(enqueued as u64);
                    metrics::counter!("livos_telegram_duplicates_total").increment(duplicates as u64);
                    let taken: Vec<_> = steps.drain(..taken.min(steps.len())).collect();
                    *offset = taken.iter().fold(*offset, |offset, (id, _)| offset.after(*id, now));
                    if steps.is_empty() {
                        return true;
                    }
                    self.say(PollStatus::Full);
                    FULL
                }
                Err(error) => {
                    self.fail(error.to_string());
                    if matches!(error, QueueError::Invalid(_)) {
                        // Checked before, so this says something of the bot as a whole: only an
                        // operator can mend it.
                        tracing::error!(%error, "the queue takes no jobs of this bot");
                    }
                    backoff.next_delay()
                }
            };
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// The step that an update is. One that can't be a job is passed over, so that Telegram does
    /// not send it again and again.
    fn step(&self, update: Bytes) -> Option<(i64, Option<NewJob>)> {
        match job(self.bot.id(), update) {
            Ok((id, job)) => match job.check() {
                Ok(()) => Some((id, Some(job))),
                Err(error) => {
                    tracing::error!(id, %error, "an update is passed over");
                    Some((id, None))
                }
            },
            Err(error) => {
                tracing::error!(%error, "what is no update is passed over");
                None
            }
        }
    }

    /// Somebody else gets the updates: a webhook, or a poller that knows nothing of our guard.
    async fn conflict(&self) {
        let set = self.bot.webhook_info().await.is_ok_and(|info| !info.url.is_empty());
        match (set, self.config.on_webhook) {
            (true, OnWebhook::Delete) => {
                tracing::warn!(bot = self.bot.id(), "deleting the webhook of this bot, to poll it");
                match self.bot.delete_webhook().await {
                    Ok(()) => return,
                    Err(error) => self.fail(error.to_string()),
                }
            }
            (true, OnWebhook::Wait) => {
                tracing::error!(
                    bot = self.bot.id(),
                    "a webhook is set for this bot, and it can't be polled until that is deleted"
                );
                self.say(PollStatus::Webhook);
            }
            (false, _) => {
                tracing::error!(bot = self.bot.id(), "another program polls this bot with the same token");
                self.say(PollStatus::Conflict);
            }
        }
        metrics::counter!("livos_telegram_conflicts_total").increment(1);
        tokio::time::sleep(self.config.conflict).await;
    }

    /// Lets Telegram forget what is durable, so that the next run does not get it again.
    async fn confirm(&self) {
        let Ok(Some(cursor)) = self.queue.0.cursor(&self.cursor).await else { return };
        let request = Offset::of_position(&cursor.position).request(self.clock.now());
        let last = self.bot.updates(request, 1, Duration::ZERO, &self.config.allowed_updates);
        if !matches!(tokio::time::timeout(GOODBYE, last).await, Ok(Ok(_))) {
            tracing::info!("the last updates were not confirmed, and will come again as duplicates");
        }
    }

    fn fail(&self, reason: String) {
        tracing::warn!(bot = self.bot.id(), reason, "polling failed, and is tried again");
        self.say(PollStatus::Failing { reason });
    }

    fn say(&self, status: PollStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
