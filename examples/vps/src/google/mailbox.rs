//! The owner's mailbox, watched for as long as there is access to it: of each mail that comes into
//! the inbox the owner is told in a chat.
//!
//! Pushes are a webhook of the provider `gmail`; a poll finds what they miss, and is all there is
//! without a topic.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use livos_core::{
    backoff::Backoff,
    drain::DrainSignal,
    http::describe,
    queue::{Job, Outcome, Queue, Worker, WorkerConfig},
    store::Store,
    time::SystemClock,
};
use livos_integrations::{
    gmail::{Gmail, GmailConfig, LabelId, MailJob, Notification, Told, WatchConfig, WatchHandle, Watcher},
    oauth::{BearerLayer, GrantState, TokenError, TokenSource},
    webhook::Received,
};
use tower::{BoxError, Layer, service_fn};

use super::config::GmailSection;
use crate::{channels::News, durable::Durable, http};

/// Mails that are looked at at one time. Gmail answers a few calls of one user, and the queue has
/// other work.
const CONCURRENCY: usize = 2;
/// Mail that is nothing new to the owner, or nothing at all.
const QUIET: [&str; 4] = ["SPAM", "TRASH", "SENT", "DRAFT"];

#[derive(Clone)]
pub struct Mailbox {
    gmail: Gmail,
    tokens: TokenSource,
    config: WatchConfig,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    news: News,
    pushes: Pushes,
}

/// Where pushes go: to the watch of this process, while there is one. A push that finds none is no
/// loss, because the mailbox is looked at before a watch begins.
#[derive(Clone, Default)]
pub struct Pushes(Arc<Mutex<Option<WatchHandle>>>);

impl Pushes {
    fn lead_to(&self, watch: Option<WatchHandle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// The work on the job of a push.
    pub async fn work(self, lease: Job) -> Result<Outcome, BoxError> {
        let read = Received::from_payload(&lease.payload).map_err(BoxError::from);
        let read = read.and_then(|received| Ok(Notification::from_pubsub(&received.body)?));
        let notification = match read {
            Ok(notification) => notification,
            Err(error) => return Ok(Outcome::Dead { reason: error.to_string() }),
        };
        let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = watch.is_some_and(|watch| watch.notify(&notification));
        tracing::debug!(known, "gmail pushed");
        Ok(Outcome::Done)
    }
}

impl Mailbox {
    /// The mailbox that these tokens open. Nothing is asked of Gmail yet.
    pub fn new(
        config: &GmailSection,
        tokens: TokenSource,
        durable: &Durable,
        news: News,
    ) -> Result<Self, BoxError> {
        let mut client = GmailConfig::default();
        if let Some(url) = &config.url {
            client.base_url = url.trim_end_matches('/').parse()?;
        }
        let host = client.base_url.authority().map(ToString::to_string);
        let http = BearerLayer::new(tokens.clone(), host).layer(livos_core::http::HttpClient::new::<
            http::Https,
            _,
            _,
        >(http::client()?));
        let gmail = Gmail::new(client, livos_core::http::HttpClient::new::<_, bytes::Bytes, _>(http))?
            .with_token_death(|error| matches!(error.downcast_ref(), Some(TokenError::NeedsConsent(_))));
        let watch = config.topic.as_ref().map_or_else(WatchConfig::poll, WatchConfig::push);
        let (queue, store) = (Arc::clone(&durable.queue), Arc::clone(&durable.store));
        Ok(Self { gmail, tokens, config: watch, queue, store, news, pushes: Pushes::default() })
    }

    /// Where its pushes go.
    pub fn pushes(&self) -> Pushes {
        self.pushes.clone()
    }

    /// Watches until the drain.
    pub async fn run(self, drain: DrainSignal) {
        let mut backoff = self.backoff();
        loop {
            let Some(address) = self.address(&drain).await else { return };
            if let Err(error) = self.watch(&address, &drain).await {
                tracing::error!(error = describe(&*error), "the mailbox can't be watched");
                tokio::select! {
                    () = drain.draining() => {}
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
            }
            if drain.is_draining() {
                return;
            }
        }
    }

    /// Waits as those of the watch: a provider that is down for long is not asked often.
    fn backoff(&self) -> Backoff {
        Backoff::new(self.config.backoff, rand::random())
    }

    /// Whose mailbox it is, once there is access; none when the drain began before.
    async fn address(&self, drain: &DrainSignal) -> Option<String> {
        let (mut tokens, mut backoff) = (self.tokens.clone(), self.backoff());
        let asking = async {
            loop {
                match self.gmail.profile().await {
                    Ok(profile) => return Some(profile.address),
                    Err(error) if error.is_token_dead() => drop(tokens.changed().await?),
                    Err(error) => {
                        tracing::warn!(%error, "gmail is not there yet");
                        let wait = backoff.next_delay().max(error.retry_after().unwrap_or_default());
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            status = tokens.changed() => drop(status?),
                        }
                    }
                }
            }
        };
        tokio::select! {
            address = asking => address,
            () = drain.draining() => None,
        }
    }

    /// Watches this mailbox until the drain, or until the owner connects another account.
    async fn watch(&self, address: &str, drain: &DrainSignal) -> Result<(), BoxError> {
        let (queue, store) = (Arc::clone(&self.queue), Arc::clone(&self.store));
        // It logs what it tells, and the end of the grant is told by the keeper of it.
        let watcher = Watcher::new(
            self.gmail.clone(),
            address,
            Arc::clone(&queue),
            store,
            SystemClock,
            |_: Told| {},
            self.config.clone(),
        )?;
        tracing::info!(push = self.config.topic.is_some(), "the mailbox is watched");
        let handle = watcher.handle();
        self.pushes.lead_to(Some(handle.clone()));
        let clerk = Clerk { gmail: self.gmail.clone(), news: self.news.clone(), watch: handle.clone() };
        let working = handle.access().while_open(drain.clone(), |drain| {
            let clerk = clerk.clone();
            let mut config = WorkerConfig::default();
            (config.kinds, config.concurrency) = (vec![MailJob::kind()], CONCURRENCY);
            Worker::new(
                Arc::clone(&queue),
                service_fn(move |lease| clerk.clone().work(lease)),
                SystemClock,
                config,
            )
            .run(drain)
        });
        tokio::select! {
            _ = async { tokio::join!(watcher.run(drain.clone()), working) } => {}
            () = self.other_account(&handle) => tracing::info!("another account is connected"),
        }
        self.pushes.lead_to(None);
        Ok(())
    }

    /// Tells the watch of each new token, until one is for another account. Where Gmail refused the
    /// last one, the watch rests until it hears of another.
    async fn other_account(&self, watch: &WatchHandle) {
        let mut tokens = self.tokens.clone();
        let mut before = tokens.status();
        while let Some(status) = tokens.changed().await {
            if before.account.is_some() && status.account.is_some() && before.account != status.account {
                return;
            }
            if status.state == GrantState::Fresh
                && (before.state, before.refreshed_at) != (GrantState::Fresh, status.refreshed_at)
            {
                watch.consented();
            }
            let account = status.account.clone().or(before.account);
            before = status;
            before.account = account;
        }
        // The keeper has ended: so does everything, soon.
        std::future::pending::<()>().await;
    }
}

#[derive(Clone)]
struct Clerk {
    gmail: Gmail,
    news: News,
    watch: WatchHandle,
}

impl Clerk {
    async fn work(self, lease: Job) -> Result<Outcome, Infallible> {
        let Ok(job) = MailJob::from_payload(&lease.payload) else {
            return Ok(Outcome::Dead { reason: "its payload is no mail".into() });
        };
        let summary = match self.gmail.summary(&job.message).await {
            Ok(summary) => summary,
            Err(error) => return Ok(self.watch.failed(&error)),
        };
        if summary.labels.iter().any(|label: &LabelId| QUIET.contains(&label.as_str())) {
            return Ok(Outcome::Done);
        }
        let event = format!("mail/{}/{}", job.account, job.message);
        Ok(match self.news.tell(&summary.headline(), Some(event)).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry { after: None, reason: error.to_string() },
        })
    }
}
