//! Discord as a channel, by the gateway.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    conversation::Speaker,
    drain::DrainSignal,
    http::describe,
    queue::{Job, JobKind, Outcome},
    time::SystemClock,
};
use livos_integrations::{
    discord::{
        Attachment, CommandOption, DiscordOutlet, Event, InteractionKind, JobConfig, Listener,
        ListenerConfig, OptionKind, Rest, RestConfig, SlashCommand,
    },
    pairing::Policy,
    sender::Outlet,
};
use livos_voice::stt::Recording;
use tower::BoxError;

use super::{
    app::{ABOUT_HELP, ChatApp, NotRegistered, Said},
    config::ChatAppSection,
    notes::{self, NotFetched, VoiceNote},
    payer,
};
use crate::{durable::Durable, feature::Task};

/// The command with a question.
const ASK: &str = "ask";
/// The command that asks what the agent can do.
const HELP: &str = "help";

pub struct Discord {
    rest: Rest,
    /// Where the gateway of a stand-in is.
    gateway: Option<String>,
    policy: Policy,
}

impl Discord {
    /// The bot that is configured; none without a token.
    pub fn open(config: &ChatAppSection) -> Result<Option<Self>, BoxError> {
        let Some(token) = &config.token else { return Ok(None) };
        let mut settings = RestConfig::new(token.clone());
        let url = config.url.as_deref().map(|url| url.trim_end_matches('/'));
        if let Some(url) = url {
            settings.base_url = format!("{url}/api/v10").parse()?;
            settings.file_hosts.extend(settings.base_url.host().map(str::to_owned));
        }
        // `http` becomes `ws`, and `https` becomes `wss`.
        let gateway = url.and_then(|url| url.strip_prefix("http")).map(|rest| format!("ws{rest}"));
        let rest = Rest::over_tls(settings)?;
        Ok(Some(Self { rest, gateway, policy: config.policy() }))
    }

    fn said(&self, lease: &Job) -> Result<Option<Said>, BoxError> {
        let event = Event::from_bytes(&lease.payload)?;
        // Trusted with nothing until the policy has decided.
        let mut inbound = event.inbound(Speaker::GroupMember, payer::guests(self.name())?)?;
        let command = match &event {
            Event::Interaction(used) if used.kind == InteractionKind::Command => Some(used),
            _ => None,
        };
        if let Some((_, question)) =
            command.filter(|used| used.name == ASK).and_then(|used| used.options.first())
        {
            inbound.text.clone_from(question);
        }
        let note = match &event {
            Event::Message(message) => message.attachments.iter().find_map(|file| self.note(file)),
            _ => None,
        };
        if inbound.text.trim().is_empty() && note.is_none() {
            return Ok(None);
        }
        let (group, mentioned) = match &event {
            Event::Message(message) => (message.guild, message.addressed),
            Event::Interaction(interaction) => (interaction.guild, true),
            _ => return Ok(None),
        };
        let author = event.author();
        Ok(Some(Said {
            name: format!("discord/{}", event.dedupe_key()),
            sender: author.id.to_string(),
            label: author.name.clone(),
            group: group.map(|group| group.to_string()),
            mentioned,
            inbound,
            asks_for_help: command.is_some_and(|used| used.name == HELP),
            note,
            outlet: Box::new(DiscordOutlet::answering(self.rest.clone(), SystemClock, &event)),
        }))
    }

    /// The file, where somebody spoke it.
    fn note(&self, file: &Attachment) -> Option<VoiceNote> {
        let mime = file.content_type.clone().filter(|_| file.is_audio())?;
        let length = file.duration_secs.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let (rest, url, size) = (self.rest.clone(), file.url.clone(), file.size);
        let fetch = move || {
            async move {
                if size > notes::MAX_BYTES as u64 {
                    return Err(NotFetched::TooLarge);
                }
                match rest.download(&url, notes::MAX_BYTES).await {
                    Ok(bytes) => Ok(Recording { bytes, mime }),
                    Err(error) if error.is_temporary() => {
                        let after = error.retry_after();
                        Err(NotFetched::Failed(error.into(), after))
                    }
                    Err(error) => Err(NotFetched::Gone(error.into())),
                }
            }
            .boxed()
        };
        Some(VoiceNote { length, fetch: Box::new(fetch) })
    }
}

impl ChatApp for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn kind(&self) -> JobKind {
        JobConfig::default().kind
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn listen(&self, durable: &Durable, holder: &str, drain: &DrainSignal) -> Result<Task, BoxError> {
        let mut config = ListenerConfig::default();
        config.holder = holder.to_owned();
        if let Some(gateway) = &self.gateway {
            config.url.clone_from(gateway);
        }
        let (rest, signal) = (self.rest.clone(), drain.clone());
        let (queue, store) = (Arc::clone(&durable.queue), Arc::clone(&durable.store));
        Ok(Task::until_drain("discord", move || {
            let (config, rest, signal) = (config.clone(), rest.clone(), signal.clone());
            let listener =
                Listener::over_tls(config, rest, Arc::clone(&queue), Arc::clone(&store), SystemClock);
            async move {
                let ended: Result<(), BoxError> = match listener {
                    Ok(listener) => listener.run(signal).await.map_err(BoxError::from),
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    tracing::error!(error = describe(&*error), "discord is not listened to");
                }
            }
        }))
    }

    fn register(&self) -> BoxFuture<'static, Result<bool, NotRegistered>> {
        let rest = self.rest.clone();
        let question = CommandOption::new("question", "What you want to know", OptionKind::Text);
        let ask = SlashCommand::new(ASK, "Ask me something").with_option(question.required());
        let commands = [ask, SlashCommand::new(HELP, ABOUT_HELP)];
        async move {
            let registered = match rest.application().await {
                Ok(application) => rest.register_commands(application, &commands).await,
                Err(error) => Err(error),
            };
            registered.map_err(|error| NotRegistered {
                is_temporary: error.is_temporary(),
                retry_after: error.retry_after(),
                error: error.into(),
            })
        }
        .boxed()
    }

    fn read<'a>(&'a self, lease: &'a Job) -> BoxFuture<'a, Result<Option<Said>, Outcome>> {
        let said = self.said(lease).map_err(|error| Outcome::Dead { reason: error.to_string() });
        std::future::ready(said).boxed()
    }

    fn reach<'a>(&'a self, sender: &'a str) -> BoxFuture<'a, Result<Box<dyn Outlet>, BoxError>> {
        async move {
            let channel = self.rest.direct_channel(sender.parse()?).await?;
            let outlet = DiscordOutlet::channel(self.rest.clone(), SystemClock, channel);
            Ok(Box::new(outlet) as Box<dyn Outlet>)
        }
        .boxed()
    }
}
