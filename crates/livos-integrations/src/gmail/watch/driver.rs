//! Does what [`WatchRenewal`] says: asks Gmail, enqueues, persists, tells.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use livos_core::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    machine::Machine,
    queue::{Outcome, Queue},
    store::{InvalidKey, Key, Store},
    time::{Clock, Timestamp},
};
use tokio::sync::Notify;

use super::{
    InvalidWatch, MailboxAccess, WatchAlert, WatchConfig, WatchInput, WatchOutput, WatchRenewal, WatchState,
    state,
    sync::{Look, failure},
};
use crate::gmail::{Gmail, GmailError, GmailErrorKind, HistoryId, Notification, call::random};

/// The longest sleep. A minute: a clock that was set back, or a machine that slept, is noticed
/// then.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// What a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// Something is wrong.
    Alert(WatchAlert),
    /// It is over.
    Recovered(WatchAlert),
}

/// Watches one mailbox. Any number of processes may watch the same: they share the cursor.
///
/// ```
/// # use livos_core::{drain::DrainSignal, queue::Queue, store::Store, time::SystemClock};
/// # use livos_integrations::gmail::{Gmail, Told, WatchConfig, Watcher};
/// # use std::sync::Arc;
/// # async fn example(gmail: Gmail, queue: Arc<dyn Queue>, store: Arc<dyn Store>, drain: DrainSignal) -> Result<(), Box<dyn std::error::Error>> {
/// let address = gmail.profile().await?.address;
/// let tell = |told: Told| tracing::warn!(?told, "gmail");
/// let config = WatchConfig::push("projects/my-project/topics/gmail");
/// let watcher = Watcher::new(gmail, &address, queue, store, SystemClock, tell, config)?;
/// let handle = watcher.handle();
/// // In the endpoint of the push: `handle.notify(&Notification::from_pubsub(&body)?)`.
/// // After a new consent: `handle.consented()`.
/// watcher.run(drain).await;
/// # Ok(())
/// # }
/// ```
pub struct Watcher<C> {
    gmail: Gmail,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    clock: C,
    tell: Arc<dyn Fn(Told) + Send + Sync>,
    config: WatchConfig,
    key: Key,
    handle: WatchHandle,
}

/// What others tell a [`Watcher`], from any task. Clones are the same.
#[derive(Debug, Clone)]
pub struct WatchHandle {
    account: Arc<str>,
    board: Arc<Board>,
    access: MailboxAccess,
}

/// Where it is told: kept as what is yet to be done, so that telling never waits and nothing piles
/// up.
#[derive(Debug, Default)]
struct Board {
    told: Mutex<Signals>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Signals {
    token_died: bool,
    consented: bool,
    /// The furthest place that a push named.
    notified: Option<HistoryId>,
}

impl WatchHandle {
    /// A push came; false where it is of another mailbox. Never waits.
    pub fn notify(&self, notification: &Notification) -> bool {
        if notification.address.to_lowercase() != *self.account {
            return false;
        }
        self.tell(|told| told.notified = told.notified.max(Some(notification.history_id)));
        true
    }

    /// The user consented again.
    pub fn consented(&self) {
        self.tell(|told| told.consented = true);
    }

    /// Somebody found that the grant is gone ([`GmailError::is_token_dead`]).
    pub fn token_died(&self) {
        self.tell(|told| told.token_died = true);
    }

    /// What a failed call means to the job that made it. A grant that is gone is told here too; the
    /// job waits for the consent, with those behind it. A message that is gone by now is nobody's
    /// job any more.
    pub fn failed(&self, error: &GmailError) -> Outcome {
        let retry = Outcome::Retry { after: error.retry_after(), reason: error.to_string() };
        match error.kind() {
            GmailErrorKind::TokenDead => {
                self.token_died();
                retry
            }
            GmailErrorKind::NotFound => Outcome::Done,
            GmailErrorKind::Rejected | GmailErrorKind::TooLarge => {
                Outcome::Dead { reason: error.to_string() }
            }
            _ => retry,
        }
    }

    /// Whether jobs may be worked on.
    pub fn access(&self) -> &MailboxAccess {
        &self.access
    }

    fn tell(&self, tell: impl FnOnce(&mut Signals)) {
        tell(&mut self.board.told.lock().unwrap_or_else(PoisonError::into_inner));
        self.board.bell.notify_one();
    }

    /// What was told since it was last asked.
    fn told(&self) -> impl Iterator<Item = WatchInput> + use<> {
        let told = std::mem::take(&mut *self.board.told.lock().unwrap_or_else(PoisonError::into_inner));
        let died = told.token_died.then_some(WatchInput::TokenDied);
        let consented = told.consented.then_some(WatchInput::Consented);
        let notified = told.notified.map(|history_id| WatchInput::Notified { history_id });
        [died, consented, notified].into_iter().flatten()
    }
}

/// The watch can't be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnwatchableMailbox {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] InvalidWatch),
    /// The address can't name a key.
    #[error("the address of the mailbox can't name a key")]
    Address(#[from] InvalidKey),
}

impl<C: Clock> Watcher<C> {
    /// Watches the mailbox of `address`. `tell` hears what a person must know, and must not block.
    pub fn new(
        gmail: Gmail,
        address: &str,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        clock: C,
        tell: impl Fn(Told) + Send + Sync + 'static,
        config: WatchConfig,
    ) -> Result<Self, UnwatchableMailbox> {
        config.validate()?;
        let account: Arc<str> = address.to_lowercase().into();
        let key = state::FAMILY.key(&account)?;
        let handle = WatchHandle { account, board: Arc::default(), access: MailboxAccess::default() };
        Ok(Self { gmail, queue, store, clock, tell: Arc::new(tell), config, key, handle })
    }

    /// To tell it of pushes and consents, and to ask it whether jobs may be worked on.
    pub fn handle(&self) -> WatchHandle {
        self.handle.clone()
    }

    /// Watches until the drain. Cancel safe: dropped at any point, it goes on from there the next
    /// time.
    pub async fn run(self, drain: DrainSignal) {
        tokio::select! {
            biased;
            () = drain.draining() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(self) {
        let mut machine = WatchRenewal::new(self.config.clone(), self.load().await, random());
        let mut last = self.clock.now();
        machine.handle_input(last, WatchInput::Started);
        loop {
            self.perform(&mut machine).await;
            let sleep =
                machine.poll_timeout().map_or(MAX_SLEEP, |at| at.since(self.clock.now()).min(MAX_SLEEP));
            tokio::select! {
                biased;
                () = self.handle.board.bell.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            let before = std::mem::replace(&mut last, self.clock.now());
            let clock = (last < before).then_some(WatchInput::ClockSetBack);
            for input in clock.into_iter().chain(self.handle.told()) {
                machine.handle_input(self.clock.now(), input);
                self.perform(&mut machine).await;
            }
            machine.handle_timeout(self.clock.now());
        }
    }

    /// Does what the machine says, in order, until it says no more.
    async fn perform(&self, machine: &mut WatchRenewal) {
        let mut waiting: VecDeque<WatchOutput> = VecDeque::new();
        loop {
            waiting.extend(std::iter::from_fn(|| machine.poll_output()));
            let Some(output) = waiting.pop_front() else { return };
            if let Some(input) = self.act(output).await {
                machine.handle_input(self.clock.now(), input);
            }
        }
    }

    async fn act(&self, output: WatchOutput) -> Option<WatchInput> {
        match output {
            WatchOutput::Persist(state) => self.persist(&state).await,
            WatchOutput::Renew => return Some(self.renew().await),
            WatchOutput::Sync(_) => return Some(self.sync().await),
            WatchOutput::Alert(alert) => {
                tracing::error!(account = %self.handle.account, "{alert}");
                metrics::counter!("livos_gmail_alerts_total").increment(1);
                (self.tell)(Told::Alert(alert));
            }
            WatchOutput::Recovered(alert) => {
                tracing::info!(account = %self.handle.account, ?alert, "it is over");
                (self.tell)(Told::Recovered(alert));
            }
            WatchOutput::Disable => self.handle.access.set(false),
            WatchOutput::Enable => self.handle.access.set(true),
        }
        None
    }

    async fn renew(&self) -> WatchInput {
        let topic = self.config.topic.as_deref().unwrap_or_default();
        match self.gmail.watch(topic, self.config.label.as_ref()).await {
            Ok(armed) => {
                metrics::gauge!("livos_gmail_watch_expires_unix_seconds")
                    .set(armed.expires_at.unix_ms() as f64 / 1000.0);
                WatchInput::Armed { expires_at: armed.expires_at }
            }
            Err(error) => {
                tracing::warn!(account = %self.handle.account, %error, "the watch of a mailbox could not be renewed");
                metrics::counter!("livos_gmail_failed_renewals_total").increment(1);
                WatchInput::ArmFailed(failure(&error))
            }
        }
    }

    async fn sync(&self) -> WatchInput {
        let look = Look {
            gmail: &self.gmail,
            queue: &*self.queue,
            store: &*self.store,
            clock: &self.clock,
            config: &self.config,
            account: &self.handle.account,
        };
        match look.look().await {
            Ok(synced) => WatchInput::Synced(synced),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(account = %self.handle.account, %error, cause, "a mailbox could not be looked at");
                metrics::counter!("livos_gmail_failed_syncs_total").increment(1);
                WatchInput::SyncFailed(error.failure())
            }
        }
    }

    /// What was remembered. Without a store there is neither a cursor nor a queue, so it is waited
    /// for.
    async fn load(&self) -> WatchState {
        let entry = self.until_stored(|now| self.store.get(now, &self.key)).await;
        let read = entry.map(|entry| serde_json::from_slice(&entry.value));
        read.and_then(|read| {
            read.inspect_err(|error| tracing::error!(%error, "the state of a watch can't be read")).ok()
        })
        .unwrap_or_default()
    }

    async fn persist(&self, state: &WatchState) {
        match serde_json::to_vec(state) {
            Ok(value) => {
                let value = Bytes::from(value);
                self.until_stored(|now| self.store.put(now, &self.key, value.clone())).await;
            }
            Err(error) => tracing::error!(%error, "the state of a watch can't be written"),
        }
    }

    async fn until_stored<T, F>(&self, mut operation: impl FnMut(Timestamp) -> F) -> T
    where
        F: Future<Output = Result<T, livos_core::store::StoreError>>,
    {
        let mut backoff = Backoff::new(BackoffConfig::default(), random());
        loop {
            match operation(self.clock.now()).await {
                Ok(done) => return done,
                Err(error) => {
                    tracing::error!(account = %self.handle.account, %error, "a watch waits for its store");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}

impl<C> fmt::Debug for Watcher<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("account", &self.handle.account)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
