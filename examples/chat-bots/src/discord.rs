//! Discord as a channel: the gateway, slash commands, and answers in direct messages.

use std::sync::Arc;

use livos_core::{conversation::Speaker, queue::Outcome, secret::Secret, time::SystemClock, user::UserId};
use livos_integrations::{
    discord::{
        CommandOption, DiscordOutlet, Event, JobConfig, Listener, ListenerConfig, OptionKind, Rest,
        RestConfig, SlashCommand,
    },
    sender::{DeliverConfig, deliver},
};
use livos_twins::discord::{ANNA, Config, Discord};
use tokio::task::JoinSet;
use tower::{BoxError, ServiceExt};

use crate::{Answer, Channel, House, listen};

/// Listens to Discord, and answers there.
pub async fn channel(house: &House, tasks: &mut JoinSet<()>) -> Result<Channel, BoxError> {
    let twin = Discord::new(Config::default());
    let mut config = RestConfig::new(Secret::new("bot-token"));
    let address = listen(twin.clone(), tasks).await?;
    config.base_url = format!("{address}/api/v10").parse()?;
    let rest = Rest::over_tls(config)?;
    let question = CommandOption::new("question", "What you want to know", OptionKind::Text).required();
    let commands = [SlashCommand::new("ask", "Ask the agent something").with_option(question)];
    rest.register_commands(rest.application().await?, &commands).await?;
    let (queue, store) = (Arc::clone(&house.queue), Arc::clone(&house.store));
    let mut config = ListenerConfig::default();
    config.url = address.replace("http", "ws");
    let listener = Listener::over_tls(config, rest.clone(), queue, store, SystemClock)?;
    let drain = house.drain.clone();
    tasks.spawn(async move {
        let _ = listener.run(drain).await;
    });
    while twin.connected_sessions() == 0 {
        // What is said to a bot before its first session, nobody hears.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (agent, outbox) = (house.agent.clone(), house.outbox.clone());
    let answer: Answer = Arc::new(move |lease| {
        let (rest, agent, outbox) = (rest.clone(), agent.clone(), outbox.clone());
        Box::pin(async move {
            let event = match Event::from_bytes(&lease.payload) {
                Ok(event) => event,
                Err(error) => return Outcome::Dead { reason: error.to_string() },
            };
            // Who may talk to the agent: numbers, never names.
            if event.author().id.number() != ANNA {
                return Outcome::Done;
            }
            let inbound = match event.inbound(Speaker::Owner, UserId::owner()) {
                Ok(inbound) => inbound,
                Err(error) => return Outcome::Dead { reason: error.to_string() },
            };
            let outlet = DiscordOutlet::answering(rest, SystemClock, &event);
            let name = format!("discord/{}", event.dedupe_key());
            match deliver(&outlet, &outbox, &name, DeliverConfig::default(), || agent.oneshot(inbound)).await
            {
                Ok(()) => Outcome::Done,
                Err(error) => error.outcome(&lease),
            }
        })
    });
    let place = twin.direct_channel(ANNA);
    let (ears, eyes) = (twin.clone(), twin);
    let say = Box::new(move |text: &str| {
        ears.say(place, ANNA, text);
    });
    let see = Box::new(move || eyes.said_by_bot(place));
    Ok((JobConfig::default().kind, answer, (say, see)))
}
