//! One agent in chat apps, against simulated providers: `cargo run -p livos-chat-bots`.
//!
//! What people say becomes jobs of one durable queue; a worker takes each to the agent and the
//! answer to its chat. A channel is a function: what listens, what answers a job, and somebody to
//! talk to. For a real bot, give [`telegram()`] or [`discord::channel`] a configuration with its
//! token and the provider's address.

mod discord;

use std::{collections::BTreeMap, convert::Infallible, io::Write, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use livos_agent::{
    Agent, AgentConfig,
    model::anthropic::{Anthropic, AnthropicConfig},
};
use livos_core::{
    conversation::Speaker,
    drain::{Drain, DrainSignal},
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Job, JobKind, Outcome, Queue, QueueConfig, Worker, WorkerConfig},
    secret::Secret,
    store::{EmbeddedStore, Store},
    time::SystemClock,
    user::UserId,
};
use livos_integrations::{
    sender::{DeliverConfig, Outbox, deliver},
    telegram::{
        self, Bot, BotCommand, IncomingMessage, Poller, PollerConfig, TelegramConfig, TelegramOutlet,
    },
};
use livos_twins::{Twin, anthropic, serve, telegram as telegram_twin};
use tokio::{net::TcpListener, task::JoinSet};
use tower::{BoxError, ServiceExt, service_fn};

/// Who may talk to the agent. Numbers, never names.
const OWNER: i64 = 7;

/// What the channels share.
#[derive(Clone)]
struct House {
    agent: Agent<Anthropic>,
    queue: Arc<dyn Queue>,
    store: Arc<dyn Store>,
    outbox: Outbox,
    drain: DrainSignal,
}

/// What answers the jobs of a kind.
type Answer = Arc<dyn Fn(Job) -> BoxFuture<'static, Outcome> + Send + Sync>;
/// A simulated person: says something, and sees what the bot wrote.
type Person = (Box<dyn Fn(&str) + Send>, Box<dyn Fn() -> Vec<String> + Send>);
type Channel = (JobKind, Answer, Person);

/// Listens to Telegram, and answers there.
async fn telegram(house: &House, tasks: &mut JoinSet<()>) -> Result<Channel, BoxError> {
    let twin = telegram_twin::Telegram::new(telegram_twin::Config::default());
    let mut config = TelegramConfig::new(Secret::new("4242:a-token-for-a-simulated-server"));
    config.base_url = listen(twin.clone(), tasks).await?.parse()?;
    let bot = Bot::over_tls(config)?;
    bot.register_commands(&[BotCommand::new("new", "Begin a new conversation")?]).await?;
    let (queue, store, outbox) = (Arc::clone(&house.queue), Arc::clone(&house.store), house.outbox.clone());
    let poller = Poller::new(bot.clone(), queue, store, SystemClock, PollerConfig::default())?;
    let drain = house.drain.clone();
    tasks.spawn(async move {
        let _ = poller.run(drain).await;
    });
    let (me, agent) = (bot.me().await?, house.agent.clone());
    let answer: Answer = Arc::new(move |lease| {
        let (bot, me, agent, outbox) = (bot.clone(), me.clone(), agent.clone(), outbox.clone());
        Box::pin(async move {
            let update = match telegram::update(&lease.payload) {
                Ok(update) => update,
                Err(error) => return Outcome::Dead { reason: error.to_string() },
            };
            let Some(said) = IncomingMessage::of(&update, &me) else { return Outcome::Done };
            let known = said.from.as_ref().is_some_and(|person| person.id == OWNER);
            if !known || !said.addressed || said.text.trim().is_empty() {
                return Outcome::Done;
            }
            let inbound = match said.inbound(bot.id(), Speaker::Owner, UserId::owner()) {
                Ok(inbound) => inbound,
                Err(error) => return Outcome::Dead { reason: error.to_string() },
            };
            let (outlet, name) = (TelegramOutlet::answering(bot, &said), format!("telegram/{}", said.update));
            let ask = || agent.oneshot(inbound);
            match deliver(&outlet, &outbox, &name, DeliverConfig::default(), ask).await {
                Ok(()) => Outcome::Done,
                Err(error) => error.outcome(&lease),
            }
        })
    });
    let (ears, eyes) = (twin.clone(), twin);
    let say = Box::new(move |text: &str| {
        ears.say(OWNER, text);
    });
    let see = Box::new(move || eyes.written(OWNER).into_iter().map(|message| message.text).collect());
    Ok((telegram::KIND, answer, (say, see)))
}

/// Serves a simulated provider on loopback, and answers its address.
async fn listen<T: Twin>(twin: T, tasks: &mut JoinSet<()>) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tasks.spawn(serve::listen(listener, twin, std::future::pending()));
    Ok(address)
}

/// Lets people say `script` in every channel, and answers what was said and written.
async fn app(script: &[&str]) -> Result<Vec<(String, String)>, BoxError> {
    let (mut tasks, drain) = (JoinSet::new(), Drain::new());
    let signal = drain.signal();
    let mut model = AnthropicConfig::new(Secret::new("no-key"));
    let twin = anthropic::Anthropic::new(anthropic::Config::default());
    model.base_url = listen(twin, &mut tasks).await?.parse()?;
    // In memory, for a demonstration; `Embedded::open` keeps everything over restarts.
    let file = Embedded::in_memory(EmbeddedConfig::default())?;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(file.clone()));
    let house = House {
        agent: Agent::new(Anthropic::over_tls(model)?, AgentConfig::default()),
        queue: Arc::new(EmbeddedQueue::new(file, QueueConfig::default())),
        outbox: Outbox::new(Arc::clone(&store), SystemClock),
        store,
        drain: signal.clone(),
    };
    // Another channel is another function.
    let channels = [telegram(&house, &mut tasks).await?, discord::channel(&house, &mut tasks).await?];
    let (answers, people): (BTreeMap<JobKind, Answer>, Vec<Person>) =
        channels.into_iter().map(|(kind, answer, person)| ((kind, answer), person)).unzip();
    let service = service_fn(move |lease: Job| {
        let answer = answers.get(&lease.kind).cloned();
        async move {
            Ok::<_, Infallible>(match answer {
                Some(answer) => answer(lease).await,
                None => Outcome::Dead { reason: "nobody answers this kind".into() },
            })
        }
    });
    let worker = Worker::new(Arc::clone(&house.queue), service, SystemClock, WorkerConfig::default());
    tasks.spawn(worker.run(signal));
    let mut talk = Vec::new();
    for ((say, see), text) in people.iter().flat_map(|person| script.iter().map(move |text| (person, text))) {
        let before = see().len();
        say(text);
        while see().len() == before || house.queue.depth().await?.total() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        talk.push(((*text).to_owned(), see().split_off(before).join("\n")));
    }
    drain.begin();
    Ok(talk)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for (said, written) in app(&["hello", "what is two plus three", "tell me a story"]).await? {
        writeln!(std::io::stdout(), "you: {said}\nbot: {written}\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_is_answered_where_they_asked() {
        let talk = tokio::time::timeout(Duration::from_secs(30), app(&["hello", "what is two plus three"]));
        let written: Vec<String> =
            talk.await.unwrap().unwrap().into_iter().map(|(_, written)| written).collect();
        assert_eq!(written.len(), 4);
        for written in written.chunks(2) {
            assert!(written[0].starts_with("Hello"), "{written:?}");
            assert!(written[1].starts_with("That makes five."), "{written:?}");
        }
    }
}
