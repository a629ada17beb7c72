//! The durable side of the gateway: an event's job and its number move in one step, one event after
//! the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use livos_core::{
    backoff::Backoff,
    queue::{Advance, Advanced, NewJob, Queue, QueueError},
    store::InvalidKey,
    time::Clock,
};

use super::{
    ListenerConfig, Session,
    close::Fatal,
    progress::{Mark, Progress},
    wire::Content,
};
use crate::discord::{
    ChannelMessage, Event, Id, Interaction, Rest, RestError, event::WireMessage, intake::admit,
};
use crate::interaction::{InteractionAnswer, Reaction, react};

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
    #[error("what came from discord could not be enqueued")]
    Queue(#[from] QueueError),
}

/// Something to be done, in order.
#[derive(Debug)]
pub(super) enum Step {
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
    pub(super) clock: C,
    pub(super) progress: Progress,
    cursor: String,
    fence: u64,
    unsaved: u32,
}

impl<C: Clock> Intake<C> {
    /// Begins where the cursor stands; `fence` is that of the guard.
    pub(super) async fn load(
        config: Arc<ListenerConfig>,
        rest: Rest,
        queue: Arc<dyn Queue>,
        clock: C,
        fence: u64,
    ) -> Result<Self, ListenError> {
        let cursor = cursor(&config);
        let stands = queue.cursor(&cursor).await?;
        let progress = stands.map(|stands| serde_json::from_slice(&stands.position)).transpose();
        let progress = progress.unwrap_or_else(|error| {
            tracing::error!(%error, "the stored session of discord can't be read, and another one is begun");
            None
        });
        let progress = progress.unwrap_or_default();
        Ok(Self { config, rest, queue, clock, progress, cursor, fence, unsaved: 0 })
    }

    /// Does one thing. What fails for now is tried again until it succeeds or the future is
    /// dropped; dropped, it is as if it had not begun.
    pub(super) async fn step(&mut self, step: Step) -> Result<Done, ListenError> {
        match step {
            Step::Reserve => self.reserve().await,
            Step::Began { session, me } => {
                self.progress.began(session, me);
                self.save(None).await.map(|()| Done::Persisted)
            }
            Step::Forgot => {
                self.progress.session = None;
                self.save(None).await.map(|()| Done::Persisted)
            }
            Step::Event { session, sequence, content } => {
                self.progress.processed(&session, sequence);
                self.unsaved += 1;
                self.take(content).await?;
                Ok(Done::Processed { session, sequence })
            }
            Step::Past { channel, guild, messages, complete } => {
                self.catch_up(channel, guild, messages, complete).await.map(|()| Done::Persisted)
            }
        }
    }

    /// Writes down what was only counted.
    pub(super) async fn flush(&mut self) -> Result<(), ListenError> {
        if self.unsaved > 0 { self.save(None).await } else { Ok(()) }
    }

    async fn reserve(&mut self) -> Result<Done, ListenError> {
        let url = match self.rest.gateway().await {
            Ok(info) if info.remaining == 0 => {
                tracing::error!(wait = ?info.reset_after, "discord allows no further session");
                return Ok(Done::Denied { wait: info.reset_after.max(Duration::from_secs(1)) });
            }
            Ok(info) => Some(info.url),
            Err(error) if error.is_unauthorized() => return Ok(Done::Refused(Fatal::AuthenticationFailed)),
            // The gateway may be well though the rest is not, and our own count bounds what is
            // asked of it.
            Err(error) => {
                tracing::warn!(%error, "discord did not say where its gateway is");
                None
            }
        };
        if let Err(wait) = self.progress.reserve(self.clock.now(), self.config.identify) {
            tracing::info!(?wait, "a session of discord has to wait");
            return Ok(Done::Denied { wait });
        }
        self.save(None).await?;
        Ok(Done::Allowed { url })
    }

    /// Makes what came durable, with its number.
    async fn take(&mut self, content: Content) -> Result<(), ListenError> {
        match content {
            Content::Nothing | Content::Ready { .. } => self.count().await,
            Content::Unreadable(error) => {
                metrics::counter!("livos_discord_unreadable_total").increment(1);
                tracing::error!(error, "an event of discord can't be read, and is skipped");
                self.count().await
            }
            Content::Message(wire) => self.take_message(*wire).await,
            Content::Interaction(interaction) => self.take_interaction(*interaction).await,
        }
    }

    /// An event without a job: many of them are one write.
    async fn count(&mut self) -> Result<(), ListenError> {
        if self.unsaved >= UNSAVED { self.save(None).await } else { Ok(()) }
    }

    async fn take_message(&mut self, wire: WireMessage) -> Result<(), ListenError> {
        let (channel, mark) = (wire.channel_id, Mark { message: wire.id, guild: wire.guild_id });
        let Some(message) = self.admit(wire) else {
            self.progress.read_on(channel, mark);
            return self.count().await;
        };
        self.progress.read(channel, mark);
        let job = self.job(&Event::Message(message));
        self.save(job).await
    }

    fn admit(&self, wire: WireMessage) -> Option<ChannelMessage> {
        admit(wire, self.progress.me?, self.config.groups)
    }

    /// A deferral promises an answer, so it comes after what is durable.
    async fn take_interaction(&mut self, interaction: Interaction) -> Result<(), ListenError> {
        let response = match react(interaction.kind, self.config.jobs.ephemeral) {
            Reaction::Respond(response) => response,
            Reaction::Enqueue(then) => {
                let job = self.job(&Event::Interaction(interaction.clone()));
                self.save(job).await?;
                then
            }
        };
        self.respond(&interaction, response).await;
        self.count().await
    }

    /// In time, or not at all: the answer finds its way without the deferral too.
    async fn respond(&self, interaction: &Interaction, response: InteractionAnswer) {
        const IN_TIME: Duration = Duration::from_secs(3);
        let left = IN_TIME.saturating_sub(self.clock.now().since(interaction.created_at()));
        let body = response.to_json();
        let responding = self.rest.respond(interaction.id, &interaction.token, &body);
        match tokio::time::timeout(left, responding).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "an interaction of discord could not be answered at once");
            }
            Err(_) => tracing::warn!("an interaction of discord was answered too late"),
        }
    }

    fn job(&self, event: &Event) -> Option<NewJob> {
        let job = self.config.jobs.job(event).ok().filter(|job| job.check().is_ok());
        if job.is_none() {
            // Nothing that Discord sends is so long; it would stand in the way of everything after
            // it.
            tracing::error!(key = event.dedupe_key(), "an event of discord is no job, and is skipped");
        }
        job
    }

    async fn catch_up(
        &mut self,
        channel: Id,
        guild: Option<Id>,
        messages: Vec<WireMessage>,
        complete: bool,
    ) -> Result<(), ListenError> {
        let last = messages.last().map(|message| message.id);
        // What is fetched does not name the server of its channel.
        let admitted = messages.into_iter().filter_map(|wire| {
            self.admit(WireMessage { guild_id: wire.guild_id.or(guild), ..wire }).map(Event::Message)
        });
        let jobs: Vec<NewJob> = admitted.filter_map(|event| self.job(&event)).collect();
        metrics::counter!("livos_discord_caught_up_total").increment(jobs.len() as u64);
        let before = self.position();
        if let Some(last) = last {
            self.progress.read(channel, Mark { message: last, guild });
            self.progress.caught_up_to(channel, last);
        }
        if complete {
            self.progress.caught_up(channel);
        }
        // The page is read once all of it is in.
        let steps = jobs.into_iter().map(|job| (Some(job), before.clone()));
        let steps = steps.chain([(None, self.position())]).collect();
        self.advance(steps).await
    }

    /// Enqueues, and moves the cursor behind it.
    async fn save(&mut self, job: Option<NewJob>) -> Result<(), ListenError> {
        let position = self.position();
        self.advance(vec![(job, position)]).await?;
        self.unsaved = 0;
        Ok(())
    }

    fn position(&self) -> Bytes {
        // A value of maps, texts and numbers is always JSON.
        serde_json::to_vec(&self.progress).unwrap_or_default().into()
    }

    /// Takes all steps, however long that takes: a queue that is full holds the gateway back.
    async fn advance(&self, mut steps: Vec<(Option<NewJob>, Bytes)>) -> Result<(), ListenError> {
        let mut backoff = Backoff::new(self.config.retry, rand::random());
        loop {
            let advance = Advance::new(&self.cursor, self.fence);
            let advance = steps.iter().cloned().fold(advance, |advance, (job, at)| advance.step(job, at));
            match self.queue.advance(self.clock.now(), advance).await {
                Ok(Advanced::Stale { .. }) => return Err(ListenError::TakenOver),
                Ok(Advanced::Moved { steps: taken, .. }) if taken >= steps.len() => return Ok(()),
                Ok(Advanced::Moved { steps: taken, .. }) => {
                    steps.drain(..taken);
                    tracing::warn!(waiting = steps.len(), "the queue is full, and discord's gateway waits");
                }
                Err(error) if error.is_temporary() => tracing::error!(%error, "what came from discord waits"),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Where the progress of a bot lies.
pub(super) fn cursor(config: &ListenerConfig) -> String {
    format!("discord/{}", config.name)
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
            let whole = messages.len() < Rest::PAGE;
            if last_page && !whole {
                tracing::warn!(%channel, "a channel of discord missed more than is fetched");
            }
            let complete = whole || last_page;
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
