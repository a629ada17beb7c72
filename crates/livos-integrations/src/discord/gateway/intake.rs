//! The durable side of the gateway: what an event asks for is enqueued, then its number is persisted, one event after the other.

use std::{sync::Arc, time::Duration};

use livos_core::{
    backoff::Backoff,
    queue::{Enqueued, NewJob, Queue, QueueError},
    store::{Family, InvalidKey, Key, Lifetime, Put, Store, StoreError},
    time::Clock,
};

use super::{
    ListenerConfig, Session,
    close::Fatal,
    progress::{Mark, Progress},
    wire::Content,
};
use crate::discord::{
    Event, Id, Interaction, Message, Reaction, Response, Rest, RestError, event::WireMessage, intake::admit,
    react,
};

/// Why the bot stopped listening, other than by a drain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Discord refuses the bot until somebody changes something.
    #[error("discord refuses the bot")]
    Refused(#[source] Fatal),
    /// Another process listens for the same bot now; it began later, so it has it.
    #[error("another process took the bot over")]
    TakenOver,
    /// The configuration names a bot that no store can hold.
    #[error("the bot's name is no key")]
    Name(#[from] InvalidKey),
    /// The queue failed for good.
    #[error("a message of discord could not be enqueued")]
    Queue(#[from] QueueError),
    /// The store failed for good.
    #[error("discord's session could not be stored")]
    Store(#[from] StoreError),
}

/// Where the progress of a bot lies.
pub(super) const PROGRESS: Family = Family::new(
    "discord",
    "progress",
    // Sessions live for minutes, and what is fetched after an outage is at most a day old.
    Lifetime::For(Duration::from_secs(30 * 24 * 3600)),
    "what a bot has processed of Discord's gateway",
);

/// Something to be done, in order.
#[derive(Debug)]
pub(super) enum Step {
    /// Take the bot over from whoever had it.
    Claim,
    /// Count an identify.
    Reserve,
    Began {
        session: Session,
        me: Id,
    },
    Forgot,
    Event {
        session: Arc<str>,
        sequence: u64,
        content: Content,
    },
    /// A page of what a channel missed, oldest first; complete where nothing is left.
    Past {
        channel: Id,
        guild: Option<Id>,
        messages: Vec<WireMessage>,
        complete: bool,
    },
}

/// What it came to.
#[derive(Debug)]
pub(super) enum Done {
    Claimed,
    Allowed { url: Option<String> },
    Denied { wait: Duration },
    Refused(Fatal),
    Processed { session: Arc<str>, sequence: u64 },
    Persisted,
}

/// Events without a job whose numbers may be unpersisted: they would only be replayed.
const UNSAVED: u32 = 100;

pub(super) struct Intake<C> {
    pub(super) config: Arc<ListenerConfig>,
    pub(super) rest: Rest,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: C,
    pub(super) progress: Progress,
    key: Key,
    version: Option<u64>,
    unsaved: u32,
}

impl<C: Clock> Intake<C> {
    pub(super) fn new(
        config: Arc<ListenerConfig>,
        rest: Rest,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        clock: C,
    ) -> Result<Self, InvalidKey> {
        let key = PROGRESS.key(&config.name)?;
        let progress = Progress::default();
        Ok(Self { config, rest, queue, store, clock, progress, key, version: None, unsaved: 0 })
    }

    /// Does one thing. What fails for now is tried again until it succeeds or the future is dropped; dropped, it is as if it had not begun.
    pub(super) async fn step(&mut self, step: Step) -> Result<Done, ListenError> {
        match step {
            Step::Claim => self.claim().await.map(|()| Done::Claimed),
            Step::Reserve => self.reserve().await,
            Step::Began { session, me } => {
                self.progress.began(session, me);
                self.save().await.map(|()| Done::Persisted)
            }
            Step::Forgot => {
                self.progress.session = None;
                self.save().await.map(|()| Done::Persisted)
            }
            Step::Event { session, sequence, content } => {
                let enqueued = self.take(content).await?;
                self.progress.processed(&session, sequence);
                self.unsaved += 1;
                if enqueued || self.unsaved >= UNSAVED {
                    self.save().await?;
                }
                Ok(Done::Processed { session, sequence })
            }
            Step::Past { channel, guild, messages, complete } => {
                self.catch_up(channel, guild, messages, complete).await.map(|()| Done::Persisted)
            }
        }
    }

    /// Writes down what was only counted.
    pub(super) async fn flush(&mut self) -> Result<(), ListenError> {
        if self.unsaved > 0 { self.save().await } else { Ok(()) }
    }

    async fn claim(&mut self) -> Result<(), ListenError> {
        self.load().await?;
        loop {
            self.progress.holder += 1;
            if self.try_save().await? {
                return Ok(());
            }
            self.load().await?;
        }
    }

    async fn reserve(&mut self) -> Result<Done, ListenError> {
        let url = match self.rest.gateway().await {
            Ok(info) if info.remaining == 0 => {
                tracing::error!(wait = ?info.reset_after, "discord allows no further session");
                return Ok(Done::Denied { wait: info.reset_after.max(Duration::from_secs(1)) });
            }
            Ok(info) => Some(info.url),
            Err(error) if error.is_unauthorized() => return Ok(Done::Refused(Fatal::AuthenticationFailed)),
            // The gateway may be well though the rest is not, and our own count bounds what is asked of it.
            Err(error) => {
                tracing::warn!(%error, "discord did not say where its gateway is");
                None
            }
        };
        if let Err(wait) = self.progress.reserve(self.clock.now(), self.config.identify) {
            tracing::info!(?wait, "a session of discord has to wait");
            return Ok(Done::Denied { wait });
        }
        self.save().await?;
        Ok(Done::Allowed { url })
    }

    /// Makes what came durable; true where there was a job in it.
    async fn take(&mut self, content: Content) -> Result<bool, ListenError> {
        match content {
            Content::Nothing | Content::Ready { .. } => Ok(false),
            Content::Unreadable(error) => {
                metrics::counter!("livos_discord_unreadable_total").increment(1);
                tracing::error!(error, "an event of discord can't be read, and is skipped");
                Ok(false)
            }
            Content::Message(wire) => self.take_message(*wire).await,
            Content::Interaction(interaction) => self.take_interaction(*interaction).await,
        }
    }

    async fn take_message(&mut self, wire: WireMessage) -> Result<bool, ListenError> {
        let (channel, mark) = (wire.channel_id, Mark { message: wire.id, guild: wire.guild_id });
        let Some(message) = self.admit(wire) else {
            self.progress.read_on(channel, mark);
            return Ok(false);
        };
        self.enqueue(self.job(&Event::Message(message))).await?;
        self.progress.read(channel, mark);
        Ok(true)
    }

    fn admit(&self, wire: WireMessage) -> Option<Message> {
        admit(wire, self.progress.me?, self.config.groups)
    }

    async fn take_interaction(&mut self, interaction: Interaction) -> Result<bool, ListenError> {
        let (response, enqueued) = match react(interaction.kind, self.config.jobs.ephemeral) {
            Reaction::Respond(response) => (response, false),
            Reaction::Enqueue(then) => {
                self.enqueue(self.job(&Event::Interaction(interaction.clone()))).await?;
                (then, true)
            }
        };
        self.respond(&interaction, response).await;
        Ok(enqueued)
    }

    /// In time, or not at all: the answer finds its way without the deferral too.
    async fn respond(&self, interaction: &Interaction, response: Response) {
        const IN_TIME: Duration = Duration::from_secs(3);
        let left = IN_TIME.saturating_sub(self.clock.now().since(interaction.created_at()));
        let body = response.to_json();
        let responding = self.rest.respond(interaction.id, &interaction.token, &body);
        match tokio::time::timeout(left, responding).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "an interaction of discord could not be answered at once")
            }
            Err(_) => tracing::warn!("an interaction of discord was answered too late"),
        }
    }

    fn job(&self, event: &Event) -> Option<NewJob> {
        let job = self.config.jobs.job(event).ok().filter(|job| job.check().is_ok());
        if job.is_none() {
            // Nothing that Discord sends is so long; it would stand in the way of everything after it.
            tracing::error!(key = event.dedupe_key(), "an event of discord is no job, and is skipped");
        }
        job
    }

    /// Enqueues, however long it takes: a queue that is full holds the gateway back.
    async fn enqueue(&self, job: Option<NewJob>) -> Result<(), ListenError> {
        let Some(job) = job else { return Ok(()) };
        let mut backoff = Backoff::new(self.config.retry, rand::random());
        loop {
            match self.queue.enqueue(self.clock.now(), job.clone()).await {
                Ok(Enqueued::Full { depth }) => {
                    tracing::warn!(depth, "the queue is full, and discord's gateway waits");
                }
                Ok(_) => return Ok(()),
                Err(error) if error.is_temporary() => tracing::error!(%error, "a message of discord waits"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn catch_up(
        &mut self,
        channel: Id,
        guild: Option<Id>,
        messages: Vec<WireMessage>,
        complete: bool,
    ) -> Result<(), ListenError> {
        let last = messages.last().map(|message| message.id);
        for wire in messages {
            // What is fetched does not name the server of its channel.
            if let Some(message) = self.admit(WireMessage { guild_id: wire.guild_id.or(guild), ..wire }) {
                metrics::counter!("livos_discord_caught_up_total").increment(1);
                self.enqueue(self.job(&Event::Message(message))).await?;
            }
        }
        if let Some(last) = last {
            self.progress.read(channel, Mark { message: last, guild });
            self.progress.caught_up_to(channel, last);
        }
        if complete {
            self.progress.caught_up(channel);
        }
        self.save().await
    }

    /// Writes the progress, unless another process took the bot over.
    async fn save(&mut self) -> Result<(), ListenError> {
        while !self.try_save().await? {
            // Perhaps our own write, whose answer was lost.
            let (ours, version) = (self.progress.clone(), self.version);
            self.load().await?;
            let holder = std::mem::replace(&mut self.progress, ours).holder;
            if holder > self.progress.holder {
                self.version = version;
                return Err(ListenError::TakenOver);
            }
        }
        Ok(())
    }

    /// False where another version stands there.
    async fn try_save(&mut self) -> Result<bool, ListenError> {
        // A value of maps, texts and numbers is always JSON.
        let value = serde_json::to_vec(&self.progress).unwrap_or_default();
        let mut backoff = Backoff::new(self.config.retry, rand::random());
        loop {
            let put =
                self.store.put_if(self.clock.now(), &self.key, value.clone().into(), self.version).await;
            match put {
                Ok(Put::Written(version)) => {
                    self.version = Some(version);
                    self.unsaved = 0;
                    return Ok(true);
                }
                Ok(Put::Conflict(_)) => return Ok(false),
                Err(error) if error.is_temporary() => tracing::error!(%error, "discord's session waits"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn load(&mut self) -> Result<(), ListenError> {
        let mut backoff = Backoff::new(self.config.retry, rand::random());
        let entry = loop {
            match self.store.get(self.clock.now(), &self.key).await {
                Ok(entry) => break entry,
                Err(error) if error.is_temporary() => tracing::error!(%error, "discord's session waits"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        };
        self.version = entry.as_ref().map(|entry| entry.version);
        self.progress = match entry.map(|entry| serde_json::from_slice(&entry.value)) {
            Some(Ok(progress)) => progress,
            Some(Err(error)) => {
                tracing::error!(%error, "the stored session of discord can't be read, and is begun anew");
                Progress::default()
            }
            None => Progress::default(),
        };
        Ok(())
    }
}

/// What a channel missed, page by page, over HTTP.
pub(super) async fn fetch(
    rest: Rest,
    channel: Id,
    mark: Mark,
    oldest: Id,
    last_page: bool,
) -> Result<Step, RestError> {
    let (from, guild) = (mark.message.max(oldest), mark.guild);
    match rest.messages_after(channel, from).await {
        Ok(messages) => {
            let complete = messages.len() < Rest::PAGE || last_page;
            Ok(Step::Past { channel, guild, messages, complete })
        }
        // A channel that the bot was removed from has nothing for it.
        Err(error) if !error.is_temporary() => {
            tracing::warn!(%channel, %error, "what a channel of discord missed can't be fetched");
            Ok(Step::Past { channel, guild, messages: Vec::new(), complete: true })
        }
        Err(error) => Err(error),
    }
}
