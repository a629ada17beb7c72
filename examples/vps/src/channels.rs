//! Chat apps in which people talk to the agent: what they write, or say in a voice note, becomes a
//! durable job, and the job an answer in the same chat.
//!
//! Whoever is let in by the channel's policy talks to the agent. A stranger in private is told how
//! to pair, at most once an hour, and pairs by sending a code that `pairing` issued. All others are
//! left without an answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream};
use livos_core::{
    backoff::{Backoff, BackoffConfig},
    conversation::{self, Finish, Inbound, Reply, ReplyControl, ReplyError, ReplyErrorKind, ReplyEvent},
    drain::DrainSignal,
    queue::{Job, JobKind, KindPolicy, Outcome},
    store::{Family, Lifetime, Put},
    supervise::Supervisor,
    time::{Clock, SystemClock},
};
use livos_integrations::{
    pairing::{Access, Arrival, ChannelName, PairingCode, PairingState, Policy, Sender},
    sender::{DeliverConfig, Outbox, Outlet, deliver},
};
use tower::{BoxError, ServiceExt, service_fn};

use crate::{
    app::Responder,
    config::{Admission, ChatApp, Config},
    discord::Discord,
    durable::{Durable, Jobs},
    notes::{Heard, Notes, VoiceNote},
    pairing::{Desk, PAIRED},
    telegram::Telegram,
};

/// How often a stranger is told how to pair. An hour: a person who reads it once knows, and a
/// program that writes on is not worth an answer.
const TELL_EVERY: Duration = Duration::from_secs(3600);
/// Strangers who were told how to pair.
pub const TOLD: Family = Family::new(
    "pairing",
    "told",
    Lifetime::For(TELL_EVERY),
    "a stranger was told how to pair, and by which job",
);
/// All that a stranger is told: nothing about whose server this is.
const HOW_TO_PAIR: &str =
    "I don't know you yet. If you were given a pairing code, such as K7MP-2XWD, send it here.";

/// What whoever is let in is told by `/help`, and by `/start`, which Telegram sends when somebody
/// opens the chat.
const HELP: &str = "Write to me, or send me a voice note, and I answer. In a group, mention me or answer one of my messages.";
/// What `/help` is described by where the app lists its commands.
pub const ABOUT_HELP: &str = "What I can do";

/// Something that somebody wrote, on its way to a decision.
pub struct Said {
    /// The same for every attempt of the job, and for no other one.
    pub name: String,
    /// Who, by the provider's id.
    pub sender: String,
    /// What the sender calls itself.
    pub label: String,
    /// In which group, by the provider's id.
    pub group: Option<String>,
    /// Whether it mentions the agent or answers it.
    pub mentioned: bool,
    /// The text, in its conversation; the speaker is not decided yet.
    pub inbound: Inbound,
    /// Whether it is a command that asks what the agent can do.
    pub asks_for_help: bool,
    /// What was said in a voice note besides.
    pub note: Option<VoiceNote>,
    /// Where an answer goes.
    pub outlet: Box<dyn Outlet>,
}

/// A chat app with a bot in it.
pub trait App: Send + Sync {
    /// Its name in pairings, in the log and in metrics.
    fn name(&self) -> &'static str;
    /// The kind of its jobs.
    fn kind(&self) -> JobKind;
    /// Whom it lets in.
    fn policy(&self) -> &Policy;
    /// Makes jobs of what people write, in a task of the supervisor, until the drain. `holder` is
    /// this process's name among those that share the queue.
    fn listen(
        &self,
        durable: &Durable,
        holder: &str,
        supervisor: &Supervisor,
        drain: &DrainSignal,
    ) -> Result<(), BoxError>;
    /// Makes its commands known where people type a slash; answers whether others were known.
    fn register(&self) -> BoxFuture<'static, Result<bool, NotRegistered>>;
    /// What was said in a job; nothing where nobody said anything to be answered. The error is what
    /// becomes of the job.
    fn read<'a>(&'a self, lease: &'a Job) -> BoxFuture<'a, Result<Option<Said>, Outcome>>;
    /// The private chat with somebody, for news.
    fn reach<'a>(&'a self, sender: &'a str) -> BoxFuture<'a, Result<Box<dyn Outlet>, BoxError>>;
}

/// Why an app's commands are not known.
pub struct NotRegistered {
    /// What happened.
    pub error: BoxError,
    /// Whether it may pass.
    pub is_temporary: bool,
    /// How long the provider asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl NotRegistered {
    /// It will not pass.
    pub fn for_good(error: BoxError) -> Self {
        Self { error, is_temporary: false, retry_after: None }
    }
}

/// The apps by their names in pairings.
pub type Apps = BTreeMap<ChannelName, Arc<dyn App>>;

/// The apps that are configured. Nothing is asked of a provider yet.
pub fn apps(config: &Config) -> Result<Apps, BoxError> {
    let telegram = Telegram::open(&config.telegram)?.map(|app| Arc::new(app) as Arc<dyn App>);
    let discord = Discord::open(&config.discord)?.map(|app| Arc::new(app) as Arc<dyn App>);
    let apps = telegram.into_iter().chain(discord);
    apps.map(|app| Ok((ChannelName::try_from(app.name())?, app))).collect()
}

/// The kinds of jobs that the apps make. Only the worker's own bound limits them: somebody waits
/// for each.
pub fn kinds(apps: &Apps) -> BTreeMap<JobKind, KindPolicy> {
    apps.values().map(|app| (app.kind(), KindPolicy::DEFAULT)).collect()
}

/// The policy that the configuration names.
pub fn policy(config: &ChatApp) -> Policy {
    match config.policy {
        Admission::Pairing => Policy::Pairing,
        Admission::AllowList => Policy::AllowList(config.allow.iter().cloned().collect()),
        Admission::Open => Policy::Open,
        Admission::Closed => Policy::Closed,
    }
}

/// Has every app listen. Processes that share a Redis take turns under names of their own; one
/// alone goes on under its old name at once.
pub fn listen(
    apps: &Apps,
    durable: &Durable,
    config: &Config,
    supervisor: &Supervisor,
    drain: &DrainSignal,
) -> Result<(), BoxError> {
    let holder = match config.redis.url {
        Some(_) => format!("livos-{}", uuid::Uuid::now_v7().simple()),
        None => "livos".to_owned(),
    };
    apps.values().try_for_each(|app| {
        supervisor.spawn("commands of a chat app", register(Arc::clone(app), drain.clone()));
        app.listen(durable, &holder, supervisor, drain)
    })
}

/// Registers an app's commands, until it is done, can't be done or is no longer wanted. People can
/// talk to the agent without them.
async fn register(app: Arc<dyn App>, drain: DrainSignal) {
    let mut backoff = Backoff::new(BackoffConfig::default(), rand::random());
    let registering = async {
        loop {
            match app.register().await {
                Ok(changed) => {
                    return tracing::debug!(channel = app.name(), changed, "commands are registered");
                }
                Err(NotRegistered { error, is_temporary: true, retry_after }) => {
                    tracing::debug!(
                        channel = app.name(),
                        error = crate::explain(&*error),
                        "commands are not registered yet"
                    );
                    tokio::time::sleep(backoff.next_delay().max(retry_after.unwrap_or_default())).await;
                }
                Err(NotRegistered { error, .. }) => {
                    return tracing::warn!(
                        channel = app.name(),
                        error = crate::explain(&*error),
                        "commands can't be registered"
                    );
                }
            }
        }
    };
    tokio::select! {
        () = registering => {}
        () = drain.draining() => {}
    }
}

/// The work on the jobs of all apps.
pub fn jobs(jobs: Jobs, desk: &Desk, durable: &Durable, responder: &Responder, notes: &Notes) -> Jobs {
    let outbox = Outbox::new(Arc::clone(&durable.store), SystemClock);
    desk.apps().iter().fold(jobs, |jobs, (channel, app)| {
        let door = Arc::new(Door {
            channel: channel.clone(),
            app: Arc::clone(app),
            desk: desk.clone(),
            outbox: outbox.clone(),
            responder: responder.clone(),
            notes: notes.clone(),
        });
        jobs.on(app.kind(), service_fn(move |lease| Arc::clone(&door).work(lease)))
    })
}

/// What stands between an app and the agent.
struct Door {
    channel: ChannelName,
    app: Arc<dyn App>,
    desk: Desk,
    outbox: Outbox,
    responder: Responder,
    notes: Notes,
}

/// What a message is answered with.
enum Answer {
    Agent(Box<Inbound>),
    Redeem(PairingCode),
    Sentence(&'static str),
}

impl Door {
    async fn work(self: Arc<Self>, lease: Job) -> Result<Outcome, BoxError> {
        let mut said = match self.app.read(&lease).await {
            Ok(Some(said)) => said,
            Ok(None) => return Ok(Outcome::Done),
            Err(outcome) => return Ok(outcome),
        };
        let sender = Sender::new(self.channel.clone(), said.sender.as_str())?;
        let state = self.desk.state().await?;
        let arrival = Arrival { sender: &sender, group: said.group.as_deref(), mentioned: said.mentioned };
        let access = self.app.policy().decide(&state, arrival);
        let Some(answer) = self.answer(access, &state, &sender, &said, &lease).await? else {
            return Ok(Outcome::Done);
        };
        let note = said.note.take();
        // Asked only where no earlier attempt got the whole answer: a code is not redeemed twice,
        // and a voice note not heard again.
        let ask = || async {
            match answer {
                Answer::Agent(inbound) => self.ask(*inbound, note).await,
                Answer::Sentence(text) => Ok(sentence(text.to_owned())),
                Answer::Redeem(code) => {
                    let told = self.desk.redeem(sender.clone(), said.label.clone(), code).await;
                    told.map(sentence).map_err(|error| {
                        ReplyError::new(ReplyErrorKind::Unavailable, "the code could not be checked")
                            .with_source(error)
                    })
                }
            }
        };
        let delivered = deliver(&*said.outlet, &self.outbox, &said.name, DeliverConfig::default(), ask).await;
        Ok(delivered.map_or_else(|error| error.outcome(), |()| Outcome::Done))
    }

    async fn ask(&self, mut inbound: Inbound, note: Option<VoiceNote>) -> Result<Reply, ReplyError> {
        if let Some(note) = note {
            match self.notes.hear(note, &inbound.user).await? {
                Heard::Words(words) if inbound.text.trim().is_empty() => inbound.text = words,
                Heard::Words(words) => inbound.text = format!("{}\n\n{words}", inbound.text),
                Heard::Nothing(why) => return Ok(sentence(why.to_owned())),
            }
        }
        self.responder.clone().oneshot(inbound).await
    }

    /// What the message is answered with; nothing where it is not.
    async fn answer(
        &self,
        access: Access,
        state: &PairingState,
        sender: &Sender,
        said: &Said,
        lease: &Job,
    ) -> Result<Option<Answer>, BoxError> {
        let code = PairingCode::parse(&said.inbound.text);
        let (outcome, answer) = match (access, code) {
            (Access::Ignored, _) => ("ignored", None),
            // An earlier attempt redeemed it, and ended before it said so.
            (Access::Granted(_), Some(_)) if lease.attempt > 1 && paired_since(state, sender, lease) => {
                ("paired", Some(Answer::Sentence(PAIRED)))
            }
            (Access::Granted(_), _) if said.asks_for_help => ("granted", Some(Answer::Sentence(HELP))),
            (Access::Granted(speaker), _) => {
                ("granted", Some(Answer::Agent(Box::new(said.inbound.clone().from_speaker(speaker)))))
            }
            (Access::NeedsPairing, Some(code)) => ("code", Some(Answer::Redeem(code))),
            (Access::NeedsPairing, None) => {
                let tell = self.tells(sender, &said.name).await?;
                ("stranger", tell.then_some(Answer::Sentence(HOW_TO_PAIR)))
            }
        };
        metrics::counter!("livos_chat_messages_total", "channel" => self.app.name(), "access" => outcome)
            .increment(1);
        Ok(answer)
    }

    /// Whether this job is the one that tells the sender how to pair in this hour. The first one
    /// is, and a further attempt of it.
    async fn tells(&self, sender: &Sender, job: &str) -> Result<bool, BoxError> {
        let (now, key) = (SystemClock.now(), TOLD.key(&sender.to_string())?);
        let store = self.desk.store();
        Ok(match store.put_if(now, &key, job.to_owned().into(), None).await? {
            Put::Written(_) => true,
            Put::Conflict(_) => store.get(now, &key).await?.is_some_and(|told| told.value == job.as_bytes()),
        })
    }
}

fn paired_since(state: &PairingState, sender: &Sender, lease: &Job) -> bool {
    state.devices().iter().any(|device| device.sender == *sender && device.since >= lease.enqueued_at)
}

/// One sentence of the server's own as a reply.
pub fn sentence(text: String) -> Reply {
    /// Remembers nothing.
    struct Forgetful;
    impl ReplyControl for Forgetful {
        fn commit(&mut self) {}
        fn heard(&mut self, _: conversation::Heard) {}
    }
    let events = [ReplyEvent::Text(text), ReplyEvent::Finished(Finish::Complete)];
    Reply::new(stream::iter(events.map(Ok)), Forgetful)
}
