//! Telegram as a channel, by long polling.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    conversation::Speaker,
    drain::DrainSignal,
    queue::{Job, JobKind, Outcome},
    time::SystemClock,
};
use livos_integrations::{
    pairing::Policy,
    sender::Outlet,
    telegram::{
        self, AttachedFile, AttachmentKind, Bot, BotCommand, FetchError, IncomingMessage, Media, Poller,
        PollerConfig, TelegramConfig, TelegramOutlet, User,
    },
};
use livos_voice::stt::Recording;
use tokio::sync::OnceCell;
use tower::BoxError;

use super::{
    app::{ABOUT_HELP, ChatApp, NotRegistered, Said},
    config::ChatAppSection,
    notes::{self, NotFetched, VoiceNote},
    payer,
};
use crate::{durable::Durable, feature::Task};

pub struct Telegram {
    bot: Bot,
    /// Who it is, once it was asked.
    me: OnceCell<User>,
    kind: JobKind,
    policy: Policy,
}

impl Telegram {
    /// The bot that is configured; none without a token.
    pub fn open(config: &ChatAppSection) -> Result<Option<Self>, BoxError> {
        let Some(token) = &config.token else { return Ok(None) };
        let mut settings = TelegramConfig::new(token.clone());
        if let Some(url) = &config.url {
            settings.base_url = url.trim_end_matches('/').parse()?;
        }
        let (bot, kind) = (Bot::over_tls(settings)?, telegram::KIND);
        Ok(Some(Self { bot, me: OnceCell::new(), kind, policy: config.policy() }))
    }

    async fn said(&self, lease: &Job) -> Result<Option<Said>, Outcome> {
        let dead = |reason: String| Outcome::Dead { reason };
        let update = telegram::update(&lease.payload).map_err(|error| dead(error.to_string()))?;
        let me = self.me.get_or_try_init(|| self.bot.me()).await;
        let me =
            me.map_err(|error| Outcome::Retry { after: error.retry_after(), reason: error.to_string() })?;
        let Some(mut said) = IncomingMessage::of(&update, me) else { return Ok(None) };
        let mut asks_for_help = false;
        if let Some(command) = &said.command {
            asks_for_help = ["start", "help"].contains(&command.name.as_str());
            // A link to the bot may carry a pairing code, and comes as `/start CODE`.
            if command.name == "start" && !command.arguments.is_empty() {
                said.text = command.arguments.clone();
            }
        }
        let Some(person) = said.from.as_ref().filter(|person| !person.is_bot) else { return Ok(None) };
        let note = said.attachment.as_ref().and_then(|file| self.note(file));
        if said.text.trim().is_empty() && note.is_none() {
            return Ok(None);
        }
        // Trusted with nothing until the policy has decided.
        let guests = payer::guests(self.name()).map_err(|error| dead(error.to_string()))?;
        let inbound = said.inbound(self.bot.id(), Speaker::GroupMember, guests);
        Ok(Some(Said {
            name: format!("telegram/{}/{}", self.bot.id(), said.update),
            sender: person.id.to_string(),
            label: person.name.clone(),
            group: said.group.then(|| said.chat.to_string()),
            mentioned: said.addressed,
            inbound: inbound.map_err(|error| dead(error.to_string()))?,
            asks_for_help,
            note,
            outlet: Box::new(TelegramOutlet::answering(self.bot.clone(), &said)),
        }))
    }

    /// The file, where somebody spoke it.
    fn note(&self, file: &AttachedFile) -> Option<VoiceNote> {
        if !matches!(file.kind, AttachmentKind::Voice | AttachmentKind::Audio) {
            return None;
        }
        let length = file.seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let (bot, file) = (self.bot.clone(), file.clone());
        let fetch = move || {
            async move {
                match bot.fetch(&file, notes::MAX_BYTES as u64).await {
                    Ok(Media { bytes, mime, .. }) => Ok(Recording { bytes, mime }),
                    Err(FetchError::TooLarge { .. }) => Err(NotFetched::TooLarge),
                    Err(FetchError::Telegram(error)) if error.is_temporary() => {
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

impl ChatApp for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn kind(&self) -> JobKind {
        self.kind.clone()
    }

    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn listen(&self, durable: &Durable, holder: &str, drain: &DrainSignal) -> Result<Task, BoxError> {
        let mut config = PollerConfig::default();
        config.holder = holder.to_owned();
        // What was edited was answered before, and nothing here makes buttons.
        config.allowed_updates = vec!["message".to_owned()];
        let (queue, store) = (Arc::clone(&durable.queue), Arc::clone(&durable.store));
        let poller = Arc::new(Poller::new(self.bot.clone(), queue, store, SystemClock, config)?);
        let signal = drain.clone();
        Ok(Task::until_drain("telegram", move || {
            let (poller, signal) = (Arc::clone(&poller), signal.clone());
            // The poller has logged why it can't go on.
            async move { drop(poller.run(signal).await) }
        }))
    }

    fn register(&self) -> BoxFuture<'static, Result<bool, NotRegistered>> {
        let bot = self.bot.clone();
        async move {
            let help = BotCommand::new("help", ABOUT_HELP);
            let help = help.map_err(|error| NotRegistered::for_good(error.into()))?;
            bot.register_commands(&[help]).await.map_err(|error| NotRegistered {
                is_temporary: error.is_temporary(),
                retry_after: error.retry_after(),
                error: error.into(),
            })
        }
        .boxed()
    }

    fn read<'a>(&'a self, lease: &'a Job) -> BoxFuture<'a, Result<Option<Said>, Outcome>> {
        self.said(lease).boxed()
    }

    fn reach<'a>(&'a self, sender: &'a str) -> BoxFuture<'a, Result<Box<dyn Outlet>, BoxError>> {
        // The private chat with a person has the person's number.
        let outlet = sender.parse().map(|chat| TelegramOutlet::new(self.bot.clone(), chat, false));
        async move { Ok(Box::new(outlet?) as Box<dyn Outlet>) }.boxed()
    }
}
