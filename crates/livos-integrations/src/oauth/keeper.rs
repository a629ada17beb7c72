//! Keeps one grant fresh: connects its machine to the store, the provider, the clock and the
//! person, and its callers to the machine.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use livos_core::{
    drive::WallDrive,
    seal::{SealedError, SealedStore},
    store::{Family, InvalidKey, Key, Lifetime, Put},
    time::{Clock, Timestamp},
};
use tokio::sync::{mpsc, oneshot, watch};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use super::{
    AccessToken, Expected, GrantInput, GrantLifecycle, GrantOutput, GrantStatus, LifecycleConfig, Notice,
    Record, TokenAccess, TokenEndpoint, TokenError, Tokens,
};

/// The grants, by their id.
pub const GRANTS: Family = Family::new(
    "oauth",
    "grant",
    Lifetime::Forever { reason: "a grant lasts until the provider or the user ends it" },
    "the tokens of a grant, sealed, and how it stands",
);

/// Which grant is kept, and how.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeeperConfig {
    /// The id of the grant in the store, such as `google/anna@example.com`.
    pub id: String,
    /// The page of this server on which a person can consent again. Alerts link to it.
    pub consent_link: String,
    /// How the grant is kept fresh.
    pub lifecycle: LifecycleConfig,
    /// How long the store may take for one step. 10 s: a disk or a server that takes longer has
    /// failed.
    pub store_timeout: Duration,
    /// How long telling a person may take. 30 s: a chat provider answers within that, or fails.
    pub alert_timeout: Duration,
    /// Callers that may wait for one refresh. 1024: more is a runaway.
    pub most_waiting: usize,
}

impl KeeperConfig {
    /// A grant with this id, and the page where a person consents again.
    pub fn new(id: impl Into<String>, consent_link: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            consent_link: consent_link.into(),
            lifecycle: LifecycleConfig::default(),
            store_timeout: Duration::from_secs(10),
            alert_timeout: Duration::from_secs(30),
            most_waiting: 1024,
        }
    }
}

/// A keeper can't be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// The id of the grant can't stand in a key.
    #[error("the id of the grant can't be used")]
    Id(#[from] InvalidKey),
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// A refresh, or telling a person, may take longer than the lease: two processes would be at it
    /// at one time.
    #[error("the lease is shorter than what it covers may take")]
    ShortLease,
}

/// Commands that wait for the keeper's attention. It looks at them at once, so few ever do.
const COMMANDS: usize = 64;

/// Opens a grant: answers where tokens come from, and the driver that must be polled for anything
/// to happen.
///
/// Any number of keepers in any number of processes may keep the same grant over the same store:
/// one of them refreshes. `alerts` is told what a person should hear; when it fails, it is told
/// again.
///
/// The driver ends when every [`TokenSource`] was dropped and all that it knows is in the store.
/// Dropping it before that loses nothing that was saved; the next process takes over a refresh that
/// was under way.
pub fn open<A>(
    config: KeeperConfig,
    store: SealedStore,
    endpoint: TokenEndpoint,
    clock: Arc<dyn Clock>,
    alerts: A,
) -> Result<(TokenSource, impl Future<Output = ()> + Send + 'static), KeeperError>
where
    A: Service<Notice, Response = ()> + Clone + Send + Sync + 'static,
    A::Error: Into<BoxError>,
    A::Future: Send + 'static,
{
    let key = GRANTS.key(&config.id)?;
    let covered = 2 * config.store_timeout + endpoint.timeout().max(config.alert_timeout);
    if covered > config.lifecycle.lease {
        return Err(KeeperError::ShortLease);
    }
    let mut holder = [0; 8];
    getrandom::fill(&mut holder).map_err(|_| KeeperError::Randomness)?;
    let machine = GrantLifecycle::new(config.lifecycle.clone(), u64::from_be_bytes(holder));
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let (shown, watching) = watch::channel(Shown { token: None, status: machine.status() });
    let source = TokenSource {
        id: config.id.as_str().into(),
        commands,
        shown: watching,
        clock: Arc::clone(&clock),
        tolerance: config.lifecycle.clock_tolerance,
    };
    let keeper = Keeper {
        drive: WallDrive::new(machine, Arc::clone(&clock)),
        world: World {
            key,
            config,
            store,
            endpoint,
            clock,
            alerts: BoxCloneSyncService::new(alerts.map_err(Into::into)),
        },
        commands: receiver,
        shown,
        effects: FuturesUnordered::new(),
        waiting: Vec::new(),
        settling: Vec::new(),
        noting: Vec::new(),
    };
    Ok((source, keeper.run()))
}

/// What everybody may see without asking the keeper.
#[derive(Debug, Clone)]
struct Shown {
    token: Option<AccessToken>,
    status: GrantStatus,
}

#[derive(Debug)]
enum Command {
    Want(oneshot::Sender<Result<AccessToken, TokenError>>),
    Rejected(u64, oneshot::Sender<()>),
    Grant(Tokens, oneshot::Sender<bool>),
    Disconnect(oneshot::Sender<bool>),
}

/// Where access tokens of one grant come from. Cloning shares the grant.
#[derive(Clone)]
pub struct TokenSource {
    id: Arc<str>,
    commands: mpsc::Sender<Command>,
    shown: watch::Receiver<Shown>,
    clock: Arc<dyn Clock>,
    tolerance: Duration,
}

impl TokenSource {
    /// The grant's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A token that is good now; waits for the one refresh where there is none. Cancel safe: the
    /// refresh goes on.
    pub async fn token(&self) -> Result<AccessToken, TokenError> {
        let now = self.clock.now();
        let shown = self.shown.borrow().token.clone();
        if let Some(token) = shown.filter(|token| token.is_good(now, self.tolerance)) {
            return Ok(token);
        }
        let (answer, answered) = oneshot::channel();
        self.send(Command::Want(answer)).await?;
        answered.await.map_err(|_| TokenError::Closed)?
    }

    /// An API refused this token: another one is got, once for all who say so. Once this has
    /// returned, nobody is given the refused one any more.
    pub async fn rejected(&self, token: &AccessToken) -> Result<(), TokenError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Rejected(token.serial(), answer)).await?;
        answered.await.map_err(|_| TokenError::Closed)
    }

    /// Takes what a consent gave over. True when it is in the store; false when the store failed,
    /// and it is kept in memory until the store works.
    pub async fn grant(&self, tokens: Tokens) -> Result<bool, TokenError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Grant(tokens, answer)).await?;
        answered.await.map_err(|_| TokenError::Closed)
    }

    /// Gives the grant back. True when that is in the store; the provider is told after that, and
    /// told again until it listens.
    pub async fn disconnect(&self) -> Result<bool, TokenError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Disconnect(answer)).await?;
        answered.await.map_err(|_| TokenError::Closed)
    }

    /// How the grant stands.
    pub fn status(&self) -> GrantStatus {
        self.shown.borrow().status.clone()
    }

    /// Waits until the status is another one, and answers it; none when the keeper has ended.
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<GrantStatus> {
        let before = self.shown.borrow_and_update().status.clone();
        let shown = self.shown.wait_for(|shown| shown.status != before).await.ok()?;
        Some(shown.status.clone())
    }

    async fn send(&self, command: Command) -> Result<(), TokenError> {
        self.commands.send(command).await.map_err(|_| TokenError::Closed)
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("id", &self.id).finish_non_exhaustive()
    }
}

struct Keeper {
    drive: WallDrive<GrantLifecycle>,
    world: World,
    commands: mpsc::Receiver<Command>,
    shown: watch::Sender<Shown>,
    effects: FuturesUnordered<BoxFuture<'static, GrantInput>>,
    waiting: Vec<oneshot::Sender<Result<AccessToken, TokenError>>>,
    settling: Vec<oneshot::Sender<bool>>,
    noting: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut open = true;
        loop {
            self.settle();
            if !open && self.effects.is_empty() && !self.drive.machine().status().unsaved {
                return;
            }
            tokio::select! {
                Some(input) = self.effects.next(), if !self.effects.is_empty() => self.drive.input(input),
                output = self.drive.next() => self.effects.push(self.world.act(output)),
                command = self.commands.recv(), if open => match command {
                    Some(command) => self.obey(command),
                    None => open = false,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Want(answer) => {
                let most = self.world.config.most_waiting;
                if self.waiting.len() >= most {
                    // Some of them may have gone.
                    self.waiting.retain(|waiting| !waiting.is_closed());
                }
                if self.waiting.len() < most {
                    self.waiting.push(answer);
                    self.drive.input(GrantInput::Wanted);
                } else {
                    let _ = answer.send(Err(TokenError::Busy));
                }
            }
            Command::Rejected(serial, answer) => {
                self.noting.push(answer);
                self.drive.input(GrantInput::Rejected { serial });
            }
            Command::Grant(tokens, answer) => {
                self.settling.push(answer);
                self.drive.input(GrantInput::Granted(tokens));
            }
            Command::Disconnect(answer) => {
                self.settling.push(answer);
                self.drive.input(GrantInput::Disconnect);
            }
        }
    }

    /// Runs the machine's outputs, publishes its state, wakes waiting callers.
    fn settle(&mut self) {
        while let Some(output) = self.drive.poll_output() {
            self.effects.push(self.world.act(output));
        }
        let machine = self.drive.machine();
        let (access, status, saved) =
            (machine.access(self.world.clock.now()), machine.status(), machine.is_saved());
        let (token, answer) = match access {
            TokenAccess::Ready(token) => (Some(token.clone()), Some(Ok(token))),
            TokenAccess::Refused(error) => (None, Some(Err(error))),
            TokenAccess::Wait => (None, None),
        };
        self.show(token, status);
        // A caller that is answered already sees the published state.
        answer_all(&mut self.noting, &());
        if let Some(saved) = saved {
            answer_all(&mut self.settling, &saved);
        }
        if let Some(answer) = answer {
            answer_all(&mut self.waiting, &answer);
        }
    }

    fn show(&self, token: Option<AccessToken>, status: GrantStatus) {
        self.shown.send_if_modified(|shown| {
            let serial = |token: &Option<AccessToken>| token.as_ref().map(AccessToken::serial);
            let same = serial(&shown.token) == serial(&token) && shown.status == status;
            if shown.status.state != status.state {
                tracing::info!(grant = self.world.config.id, state = ?status.state, "the grant stands differently");
            }
            *shown = Shown { token, status };
            !same
        });
    }
}

/// Callers that stopped waiting are skipped.
fn answer_all<T: Clone>(waiting: &mut Vec<oneshot::Sender<T>>, answer: &T) {
    for one in waiting.drain(..) {
        let _ = one.send(answer.clone());
    }
}

/// What the machine's outputs act on.
struct World {
    key: Key,
    config: KeeperConfig,
    store: SealedStore,
    endpoint: TokenEndpoint,
    clock: Arc<dyn Clock>,
    alerts: BoxCloneSyncService<Notice, (), BoxError>,
}

impl World {
    /// Does what the machine asks, and answers what came of it. Each ends within its time.
    fn act(&self, output: GrantOutput) -> BoxFuture<'static, GrantInput> {
        match output {
            GrantOutput::Load => self.stored(load(self.store.clone(), self.clock.now(), self.key.clone())),
            GrantOutput::Save { record, expected } => {
                let (store, now, key) = (self.store.clone(), self.clock.now(), self.key.clone());
                self.stored(save(store, now, key, record, expected))
            }
            GrantOutput::Refresh { refresh_token } => {
                let (endpoint, id) = (self.endpoint.clone(), self.config.id.clone());
                async move {
                    let refreshed = endpoint.refresh(&refresh_token).await;
                    let result = if refreshed.is_ok() { "ok" } else { "failed" };
                    metrics::counter!("livos_oauth_refreshes_total", "result" => result).increment(1);
                    match refreshed {
                        Ok(tokens) => GrantInput::Refreshed(tokens),
                        Err(error) => {
                            tracing::warn!(grant = id, %error, "a refresh failed");
                            GrantInput::RefreshFailed(error)
                        }
                    }
                }
                .boxed()
            }
            GrantOutput::Revoke { token } => {
                let endpoint = self.endpoint.clone();
                async move { GrantInput::Revoked(endpoint.revoke(&token).await) }.boxed()
            }
            GrantOutput::Raise(alert) => {
                let config = &self.config;
                let notice =
                    Notice { grant: config.id.clone(), alert, consent_link: config.consent_link.clone() };
                tracing::warn!(grant = notice.grant, alert = %notice.alert, "a person should hear this");
                metrics::counter!("livos_oauth_alerts_total").increment(1);
                let told = tokio::time::timeout(config.alert_timeout, self.alerts.clone().oneshot(notice));
                async move {
                    match told.await {
                        Ok(Ok(())) => GrantInput::Raised,
                        Ok(Err(error)) => {
                            tracing::error!(error, "a person could not be told");
                            GrantInput::RaiseFailed
                        }
                        Err(_) => GrantInput::RaiseFailed,
                    }
                }
                .boxed()
            }
        }
    }

    fn stored(
        &self,
        step: impl Future<Output = Result<GrantInput, SealedError>> + Send + 'static,
    ) -> BoxFuture<'static, GrantInput> {
        let (id, step) = (self.config.id.clone(), tokio::time::timeout(self.config.store_timeout, step));
        async move {
            let error: BoxError = match step.await {
                Ok(Ok(input)) => return input,
                Ok(Err(error)) => error.into(),
                Err(late) => late.into(),
            };
            metrics::counter!("livos_oauth_store_failures_total").increment(1);
            tracing::error!(grant = id, error, "the store of a grant failed");
            GrantInput::StoreFailed
        }
        .boxed()
    }
}

async fn load(store: SealedStore, now: Timestamp, key: Key) -> Result<GrantInput, SealedError> {
    match store.get(now, &key).await {
        Ok(None) => Ok(GrantInput::Loaded { found: None }),
        Ok(Some(entry)) => Ok(match Record::parse(entry.secret.expose()) {
            Some(record) => GrantInput::Loaded { found: Some((record, entry.version)) },
            None => GrantInput::Unreadable,
        }),
        // What is there does not open: the key is gone, or the bytes were changed. The store itself
        // works.
        Err(SealedError::Seal { .. }) => Ok(GrantInput::Unreadable),
        Err(error) => Err(error),
    }
}

async fn save(
    store: SealedStore,
    now: Timestamp,
    key: Key,
    record: Record,
    expected: Expected,
) -> Result<GrantInput, SealedError> {
    let version = match expected {
        Expected::Nothing => None,
        Expected::Version(version) => Some(version),
        Expected::Anything => {
            let version = store.put(now, &key, record.to_secret()).await?;
            return Ok(GrantInput::Saved { version });
        }
    };
    match store.put_if(now, &key, record.to_secret(), version).await? {
        Put::Written(version) => Ok(GrantInput::Saved { version }),
        Put::Conflict(_) => Ok(GrantInput::Conflict),
    }
}
