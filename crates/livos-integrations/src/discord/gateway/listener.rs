//! The driver: it connects the machine to a WebSocket, to the durable side and to the clock, and
//! spawns nothing.

use std::{collections::VecDeque, fmt, future::pending, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::Uri;
use livos_core::{
    backoff::BackoffConfig,
    drain::DrainSignal,
    drive::{Drive, now},
    queue::Queue,
    store::{Claim, Guard, Store},
    time::Clock,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{BoxError, Service};

use super::{
    GatewayConfig, GatewayInput, GatewayOutput, IdentifyLimits, Incoming, ListenError, Presence, Stop,
    intake::{Done, Intake, Step, cursor, fetch},
    machine::Gateway,
    socket::{Connector, Received, Socket, boxed, retry_after},
    wire::{self, Content, Payload},
};
use crate::discord::{Groups, Id, JobConfig, Rest, RestError};

/// How a bot listens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The bot's name in the queue and the store. `bot`; a second bot over the same ones needs
    /// another.
    pub name: String,
    /// The name of this process. `listener`. Of those that listen for one bot, one is connected and
    /// the others wait; one that is started again under its name, after a kill for instance, does
    /// not wait for itself. Processes that run side by side need different names.
    pub holder: String,
    /// How long the bot is this process's without a word of it. 30 s: how long another waits after
    /// a kill.
    pub guard: Duration,
    /// What Discord tells. 4,609: servers, messages in them, and direct messages. Without the
    /// privileged intent for content (32,768), messages of a server are empty unless they mention
    /// the bot, which is what [`Groups::Addressed`] wants anyway.
    pub intents: u32,
    /// How the connection is kept.
    pub gateway: GatewayConfig,
    /// How many sessions may be begun.
    pub identify: IdentifyLimits,
    /// Which messages of servers become jobs.
    pub groups: Groups,
    /// How jobs are made.
    pub jobs: JobConfig,
    /// What the bot shows of itself once a session began.
    pub presence: Option<Presence>,
    /// Where the gateway is, until Discord says it over HTTP.
    pub url: String,
    /// How long connecting and both handshakes may take together. 10 s: nobody waits for it.
    pub handshake_timeout: Duration,
    /// Bytes of the longest event. 16 MiB: the picture of a very large server.
    pub max_message: usize,
    /// Events that wait while the queue is slow. 1,000; beyond, the connection is given up and
    /// Discord keeps what follows, to replay it.
    pub backlog: usize,
    /// How old a message may be that is fetched after an outage. 24 h: an answer later than that
    /// surprises more than it helps.
    pub catch_up_age: Duration,
    /// Pages of a hundred messages that are fetched of one channel after an outage. 20.
    pub catch_up_pages: u32,
    /// The waits before a durable step or a page is tried again.
    pub retry: BackoffConfig,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "bot".into(),
            holder: "listener".into(),
            guard: Duration::from_secs(30),
            intents: 4609,
            gateway: GatewayConfig::default(),
            identify: IdentifyLimits::default(),
            groups: Groups::default(),
            jobs: JobConfig::default(),
            presence: None,
            url: "wss://gateway.discord.gg".into(),
            handshake_timeout: Duration::from_secs(10),
            max_message: 16 << 20,
            backlog: 1000,
            catch_up_age: Duration::from_secs(24 * 3600),
            catch_up_pages: 20,
            retry: BackoffConfig::default(),
        }
    }
}

/// Listens at the gateway and enqueues what comes, until a drain.
pub struct Listener<C> {
    config: Arc<ListenerConfig>,
    connector: Connector,
    rest: Rest,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    clock: C,
}

impl<C> fmt::Debug for Listener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<C: Clock + Clone> Listener<C> {
    /// A listener that opens its sockets with this connector: from an address to a byte stream,
    /// after TLS where the address is `wss`.
    pub fn new<S, I>(
        config: ListenerConfig,
        connector: S,
        rest: Rest,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        clock: C,
    ) -> Self
    where
        S: Service<Uri, Response = I> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self { config: Arc::new(config), connector: boxed(connector), rest, queue, store, clock }
    }

    /// A listener over rustls with the Mozilla roots; in the clear where the address says `ws`.
    #[cfg(feature = "tls")]
    pub fn over_tls(
        config: ListenerConfig,
        rest: Rest,
        queue: Arc<dyn Queue>,
        store: Arc<dyn Store>,
        clock: C,
    ) -> Result<Self, BoxError> {
        Ok(Self::new(config, super::socket::over_tls()?, rest, queue, store, clock))
    }

    /// Listens until the drain, or until Discord, the queue or the store refuses for good. Dropping
    /// the future cuts the connection; the session is resumed by the next one that runs.
    pub async fn run(self, drain: DrainSignal) -> Result<(), ListenError> {
        let Self { config, connector, rest, queue, store, clock } = self;
        let guard = Guard::new(store, &cursor(&config), &config.holder, config.guard)?;
        let above = queue.cursor(&cursor(&config)).await?.map_or(0, |cursor| cursor.fence);
        let fence = tokio::select! {
            fence = claim(&guard, above, &clock) => fence?,
            () = drain.draining() => return Ok(()),
        };
        let intake = Intake::load(Arc::clone(&config), rest.clone(), queue, clock.clone(), fence).await?;
        let gateway = Gateway::new(config.gateway, intake.progress.session.clone(), rand::random());
        let url = config.url.clone();
        let mut run = Run {
            config,
            connector,
            rest,
            gateway: Drive::new(gateway),
            stage: Stage::Apart,
            work: Work::Idle(Box::new(intake)),
            backlog: VecDeque::new(),
            queued: None,
            fetching: None,
            pages: (None, 0),
            fetch_at: None,
            me: None,
            url,
        };
        let ended = tokio::select! {
            ended = run.listen(drain) => ended,
            lost = keep(&guard, fence, &clock) => Err(lost),
        };
        run.finish().await;
        if let Err(error) = guard.release(clock.now(), fence).await {
            tracing::warn!(%error, "another process has to wait for discord's gateway");
        }
        ended
    }
}

/// Waits until no other process listens for the bot; answers the fence.
async fn claim<C: Clock>(guard: &Guard, above: u64, clock: &C) -> Result<u64, ListenError> {
    const ASK_AGAIN: Duration = Duration::from_secs(5);
    let mut told = false;
    loop {
        match guard.claim(clock.now(), above).await? {
            Claim::Held { fence } => return Ok(fence),
            Claim::Taken { holder, .. } => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(holder, "another process listens at discord's gateway");
                }
                tokio::time::sleep(ASK_AGAIN.min(guard.lifetime())).await;
            }
        }
    }
}

/// Holds the guard, and ends when it is lost. A store that fails for now loses nothing: the fence
/// keeps out whoever was taken over from.
async fn keep<C: Clock>(guard: &Guard, fence: u64, clock: &C) -> ListenError {
    loop {
        tokio::time::sleep(guard.lifetime() / 3).await;
        match guard.keep(clock.now(), fence).await {
            Ok(Claim::Held { .. }) => {}
            Ok(Claim::Taken { .. }) => return ListenError::TakenOver,
            Err(error) => tracing::warn!(%error, "the guard of discord's gateway could not be kept"),
        }
    }
}

/// The connection.
enum Stage {
    Apart,
    Opening(BoxFuture<'static, Result<Box<Socket>, BoxError>>),
    Open(Box<Socket>),
}

enum StageEvent {
    Opened(Result<Box<Socket>, BoxError>),
    Received(Received),
}

impl Stage {
    /// Cancel safe.
    async fn next(&mut self) -> StageEvent {
        match self {
            Self::Apart => pending().await,
            Self::Opening(opening) => StageEvent::Opened(opening.await),
            Self::Open(socket) => StageEvent::Received(socket.next().await),
        }
    }
}

/// The durable side, and what its step came to.
type Stepped<C> = (Box<Intake<C>>, Result<Done, ListenError>);

/// The durable side: it does one step at a time, and takes itself along.
enum Work<C> {
    Idle(Box<Intake<C>>),
    Busy(BoxFuture<'static, Stepped<C>>),
    /// Between the two, for no longer than an assignment takes.
    Moving,
}

struct Run<C> {
    config: Arc<ListenerConfig>,
    connector: Connector,
    rest: Rest,
    gateway: Drive<Gateway>,
    stage: Stage,
    work: Work<C>,
    backlog: VecDeque<Step>,
    /// The last event that was put there, and its session.
    queued: Option<(Arc<str>, u64)>,
    fetching: Option<BoxFuture<'static, Result<Step, RestError>>>,
    /// The channel that is being fetched, and how many pages of it were.
    pages: (Option<Id>, u32),
    /// After a page that failed: not before then.
    fetch_at: Option<std::time::Instant>,
    /// The bot's user, where a session just began.
    me: Option<Id>,
    url: String,
}

impl<C: Clock> Run<C> {
    async fn listen(&mut self, drain: DrainSignal) -> Result<(), ListenError> {
        let mut draining = false;
        self.gateway.input(GatewayInput::Start);
        loop {
            self.start_work();
            self.start_fetch();
            let fetch_at = self.fetch_at.unwrap_or_else(now);
            tokio::select! {
                biased;
                () = drain.draining(), if !draining => {
                    draining = true;
                    self.gateway.input(GatewayInput::Drain);
                }
                output = self.gateway.next() => {
                    if let Some(stop) = self.obey(output).await {
                        return match stop {
                            Stop::Drained => Ok(()),
                            Stop::Fatal(fatal) => Err(ListenError::Refused(fatal)),
                        };
                    }
                }
                done = busy(&mut self.work) => self.done(done?),
                event = self.stage.next() => self.hear(event),
                page = fetched(&mut self.fetching) => self.fetched(page),
                () = tokio::time::sleep_until(fetch_at.into()), if self.fetch_at.is_some() => self.fetch_at = None,
            }
        }
    }

    /// Does what the machine says.
    async fn obey(&mut self, output: GatewayOutput) -> Option<Stop> {
        match output {
            GatewayOutput::ReserveIdentify => self.backlog.push_back(Step::Reserve),
            GatewayOutput::Connect { resume_url } => self.connect(resume_url.as_deref()),
            GatewayOutput::Send(command) => self.send(&command).await,
            GatewayOutput::Close { code } => {
                if let Stage::Open(socket) = std::mem::replace(&mut self.stage, Stage::Apart) {
                    socket.close(code).await;
                }
            }
            GatewayOutput::Began(session) => {
                metrics::counter!("livos_discord_sessions_total").increment(1);
                tracing::info!("a session of discord began");
                let me = self.me.take().unwrap_or(Id::new(0));
                self.backlog.push_back(Step::Began { session, me });
                if let Some(presence) = self.config.presence.clone() {
                    self.gateway.input(GatewayInput::Show(presence));
                }
            }
            GatewayOutput::Resumed => {
                metrics::counter!("livos_discord_resumes_total").increment(1);
                tracing::info!("the session of discord was resumed");
            }
            GatewayOutput::Forgot => {
                tracing::warn!("the session of discord is over");
                self.backlog.push_back(Step::Forgot);
            }
            GatewayOutput::Wait { delay } => {
                tracing::info!(?delay, "discord's gateway will be connected again");
            }
            GatewayOutput::Stop(stop) => return Some(stop),
        }
        None
    }

    fn connect(&mut self, resume_url: Option<&str>) {
        let secure = self.config.url.starts_with("wss:");
        let opening = address(resume_url.unwrap_or(&self.url), secure).map(|address| {
            let (timeout, longest) = (self.config.handshake_timeout, self.config.max_message);
            Socket::open(self.connector.clone(), address, timeout, longest)
        });
        self.stage = Stage::Opening(Box::pin(async { opening?.await.map(Box::new) }));
    }

    async fn send(&mut self, command: &super::Command) {
        let Stage::Open(socket) = &mut self.stage else { return };
        let (token, intents) = (&self.rest.config().token, self.config.intents);
        match wire::encode(command, token, intents) {
            Ok(text) => {
                if !socket.send(text).await {
                    self.lost(None);
                }
            }
            // A presence of the configuration's; everything else is short.
            Err(error) => tracing::error!(%error, "a payload is not sent to discord"),
        }
    }

    fn hear(&mut self, event: StageEvent) {
        match event {
            StageEvent::Opened(Ok(socket)) => {
                self.stage = Stage::Open(socket);
                self.gateway.input(GatewayInput::Opened);
            }
            StageEvent::Opened(Err(error)) => {
                tracing::warn!(error, "discord's gateway could not be opened");
                self.stage = Stage::Apart;
                self.gateway.input(GatewayInput::NotOpened { retry_after: retry_after(&error) });
            }
            StageEvent::Received(Received::Lost(code)) => self.lost(code),
            StageEvent::Received(Received::Text(text)) => match wire::parse(&text) {
                Ok(Some(payload)) => self.payload(payload),
                Ok(None) => {}
                Err(error) => {
                    // What was said is not known, so it has to be said again.
                    tracing::error!(%error, "discord's gateway is not understood");
                    self.lost(None);
                }
            },
        }
    }

    fn lost(&mut self, code: Option<u16>) {
        tracing::info!(?code, "the connection to discord's gateway is lost");
        self.stage = Stage::Apart;
        self.gateway.input(GatewayInput::Lost { code });
    }

    fn payload(&mut self, Payload { incoming, content }: Payload) {
        if let Content::Ready { me } = content {
            self.me = Some(me);
        }
        let sequence = match incoming {
            Incoming::Dispatch { sequence } | Incoming::Resumed { sequence } => Some(sequence),
            _ => None,
        };
        self.gateway.input(GatewayInput::Message(incoming));
        let session = self.gateway.machine().session().map(|session| Arc::clone(&session.id));
        if let (Some(sequence), Some(session)) = (sequence, session) {
            self.push_event(session, sequence, content);
        }
    }

    fn push_event(&mut self, session: Arc<str>, sequence: u64, content: Content) {
        // What waits here since before the connection was lost is replayed as well.
        if self.queued.as_ref().is_some_and(|(known, last)| *known == session && sequence <= *last) {
            return;
        }
        if let (Content::Nothing, Some(Step::Event { content: Content::Nothing, sequence: last, .. })) =
            (&content, self.backlog.back_mut())
        {
            *last = sequence;
            self.queued = Some((session, sequence));
            return;
        }
        if self.backlog.len() >= self.config.backlog {
            tracing::warn!(
                waiting = self.backlog.len(),
                "events of discord come faster than they are stored"
            );
            return self.gateway.input(GatewayInput::Overwhelmed);
        }
        self.queued = Some((Arc::clone(&session), sequence));
        self.backlog.push_back(Step::Event { session, sequence, content });
    }

    fn start_work(&mut self) {
        if !matches!(self.work, Work::Idle(_)) {
            return;
        }
        let Some(step) = self.backlog.pop_front() else { return };
        if let Work::Idle(mut intake) = std::mem::replace(&mut self.work, Work::Moving) {
            self.work = Work::Busy(Box::pin(async move {
                let done = intake.step(step).await;
                (intake, done)
            }));
        }
    }

    fn done(&mut self, done: Done) {
        let input = match done {
            Done::Allowed { url } => {
                self.url = url.unwrap_or_else(|| std::mem::take(&mut self.url));
                GatewayInput::IdentifyAllowed
            }
            Done::Denied { wait } => GatewayInput::IdentifyDenied { wait },
            Done::Refused(fatal) => GatewayInput::Refused(fatal),
            Done::Processed { session, sequence } => GatewayInput::Processed { session, sequence },
            Done::Persisted => return,
        };
        self.gateway.input(input);
    }

    /// Fetches a page of what a channel missed, when nothing else is to be done.
    fn start_fetch(&mut self) {
        let Work::Idle(intake) = &self.work else { return };
        let idle = self.fetching.is_none() && self.fetch_at.is_none() && self.backlog.is_empty();
        let Some((channel, mark)) =
            intake.progress.next_behind().filter(|_| idle && self.gateway.machine().is_live())
        else {
            return;
        };
        if self.pages.0 != Some(channel) {
            self.pages = (Some(channel), 0);
        }
        let last_page = self.pages.1 + 1 >= self.config.catch_up_pages;
        let oldest = intake.clock.now().unix_ms()
            - i64::try_from(self.config.catch_up_age.as_millis()).unwrap_or(i64::MAX);
        let oldest = Id::at(livos_core::time::Timestamp::from_unix_ms(oldest));
        self.fetching = Some(Box::pin(fetch(self.rest.clone(), channel, mark, oldest, last_page)));
    }

    fn fetched(&mut self, page: Result<Step, RestError>) {
        self.fetching = None;
        match page {
            Ok(step) => {
                self.pages.1 += 1;
                if matches!(step, Step::Past { complete: true, .. }) {
                    // The next gap of the same channel has its own pages.
                    self.pages = (None, 0);
                }
                self.backlog.push_front(step);
            }
            Err(error) => {
                let wait = error.retry_after().unwrap_or_default().max(self.config.retry.longest);
                tracing::warn!(%error, ?wait, "what a channel of discord missed is fetched later");
                self.fetch_at = Some(now() + wait);
            }
        }
    }

    /// Lets the step that runs end, and writes down what was only counted; within a short time,
    /// because all of it can be repeated.
    async fn finish(mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let finishing = async {
            if let Work::Busy(busy) = &mut self.work {
                let (intake, _) = busy.await;
                self.work = Work::Idle(intake);
            }
            if let Work::Idle(intake) = &mut self.work
                && let Err(error) = intake.flush().await
            {
                tracing::warn!(%error, "the last events of discord will be replayed");
            }
        };
        let _ = tokio::time::timeout(PATIENCE, finishing).await;
    }
}

/// The end of the step that runs. Cancel safe.
async fn busy<C>(work: &mut Work<C>) -> Result<Done, ListenError> {
    let Work::Busy(step) = work else { return pending().await };
    let (intake, done) = step.await;
    *work = Work::Idle(intake);
    done
}

async fn fetched(
    fetching: &mut Option<BoxFuture<'static, Result<Step, RestError>>>,
) -> Result<Step, RestError> {
    match fetching {
        Some(fetching) => fetching.await,
        None => pending().await,
    }
}

/// The address with the version and the encoding that are spoken here. Text without compression: a
/// personal agent hears little. The token is sent there, so that no answer of anybody's may lead
/// from TLS into the clear.
fn address(url: &str, secure: bool) -> Result<Uri, BoxError> {
    let uri: Uri = url.parse()?;
    if secure && uri.scheme_str() != Some("wss") {
        return Err("the address of the gateway is not secure".into());
    }
    let path = match uri.path() {
        "" => "/",
        path => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}?v=10&encoding=json").parse()?);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_version_and_encoding_whatever_it_named_before() {
        let check = |url: &str| address(url, true).unwrap().to_string();
        assert_eq!(check("wss://gateway.discord.gg"), "wss://gateway.discord.gg/?v=10&encoding=json");
        assert_eq!(check("wss://g.test/?compress=zlib-stream"), "wss://g.test/?v=10&encoding=json");
        assert!(address("not an address", false).is_err());
        assert!(address("ws://g.test/", true).is_err() && address("ws://g.test/", false).is_ok());
    }
}
