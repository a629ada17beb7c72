//! The driver: it connects the machine to a WebSocket, to the durable side and to the clock, and
//! spawns nothing.

use std::{collections::VecDeque, fmt, future::pending, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::Uri;
use livos_core::{
    drain::DrainSignal,
    drive::{Drive, now},
    queue::{Queue, QueueError},
    store::{Guard, Store, Tenure, Waiting},
    time::Clock,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{BoxError, Service};

use super::{
    GatewayInput, GatewayOutput, Incoming, ListenError, Stop,
    config::ListenerConfig,
    intake::{Done, Intake, Step, cursor, fetch},
    machine::Gateway,
    socket::{Connector, Received, Socket, boxed, retry_after},
    wire::{self, Content, Payload},
};
use crate::discord::{Id, Rest, RestError};

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

    /// Listens until the drain, or until Discord or the queue refuses for good, or another process
    /// takes the bot over. Dropping the future cuts the connection; the session is resumed by the
    /// next one that runs.
    pub async fn run(self, drain: DrainSignal) -> Result<(), ListenError> {
        let cursor = cursor(&self.config);
        let guard = Guard::new(Arc::clone(&self.store), &cursor, &self.config.holder, self.config.guard)?;
        let (queue, clock) = (Arc::clone(&self.queue), self.clock.clone());
        let above = || async {
            let cursor = queue.cursor(&cursor).await?;
            Ok::<_, QueueError>(cursor.map_or(0, |cursor| cursor.fence))
        };
        let mut told = false;
        let waiting = |waiting| match waiting {
            Waiting::Taken { holder, .. } => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(holder, "another process listens at discord's gateway");
                }
            }
            Waiting::Failed { reason } => {
                tracing::warn!(reason, "discord's gateway can't be claimed yet");
            }
        };
        let listen = |tenure| self.listen(tenure, drain.clone());
        guard.hold(&clock, &drain, above, waiting, listen).await.unwrap_or(Ok(()))
    }

    /// Listens while the guard is held.
    async fn listen(self, tenure: Tenure, drain: DrainSignal) -> Result<(), ListenError> {
        let Self { config, connector, rest, queue, clock, .. } = self;
        let intake = Intake::load(Arc::clone(&config), rest.clone(), queue, clock, tenure.fence()).await?;
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
            () = tenure.lost() => return Err(ListenError::TakenOver),
        };
        run.finish().await;
        ended
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
