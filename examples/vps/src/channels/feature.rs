//! The feature: the configured chat apps, the pairing desk, and news for the owner.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    queue::{Job, KindPolicy},
    time::SystemClock,
};
use livos_integrations::{
    pairing::{self, ChannelName},
    sender::{self, Outbox},
};
use tower::{BoxError, service_fn};
use uuid::Uuid;

use super::{
    app::{Apps, ChatApp},
    commands,
    config::ChannelsConfig,
    desk::{self, Desk},
    discord::Discord,
    door::{self, Door},
    news,
    notes::Notes,
    routes,
    telegram::Telegram,
};
use crate::{
    config::{ConfigError, Document},
    durable::{Families, Kinds},
    feature::{Feature, Parts, Services, Task},
    http::Routes,
};

/// Chat apps, pairing, and news for the owner.
pub struct Channels {
    apps: Apps,
    approval: bool,
}

impl Channels {
    /// Reads its sections. Nothing is asked of a provider yet.
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        let config = ChannelsConfig::read(document)?;
        let opened = || -> Result<Apps, BoxError> {
            let telegram = Telegram::open(&config.telegram)?.map(|app| Arc::new(app) as Arc<dyn ChatApp>);
            let discord = Discord::open(&config.discord)?.map(|app| Arc::new(app) as Arc<dyn ChatApp>);
            let apps = telegram.into_iter().chain(discord);
            apps.map(|app| Ok((ChannelName::try_from(app.name())?, app))).collect()
        };
        let apps = opened().map_err(|error| ConfigError(error.to_string()))?;
        Ok(Self { apps, approval: config.pairing.approval })
    }

    async fn opened(self, services: &Services) -> Result<Parts, BoxError> {
        if self.apps.is_empty() {
            return Ok(Parts::default());
        }
        let durable = &services.durable;
        let desk = Desk::open(self.approval, self.apps, durable, &services.supervisor).await?;
        let mut jobs = news::jobs(&desk, durable);
        let providers = &services.providers;
        let notes = Notes::new(
            Arc::clone(&providers.transcriber),
            services.accounts.usage.clone(),
            providers.transcriber_price,
        );
        let outbox = Outbox::new(Arc::clone(&durable.store), SystemClock);
        for (channel, app) in desk.apps() {
            let door = Arc::new(Door {
                channel: channel.clone(),
                app: Arc::clone(app),
                desk: desk.clone(),
                outbox: outbox.clone(),
                responder: providers.responder.clone(),
                notes: notes.clone(),
            });
            jobs = jobs.on(app.kind(), service_fn(move |lease: Job| Arc::clone(&door).work(lease)));
        }
        let tasks = tasks(desk.apps(), services)?;
        Ok(Parts { routes: Routes::protected(routes::routes(desk)), jobs, tasks })
    }
}

/// For each app, one task that listens and one that makes its commands known.
fn tasks(apps: &Apps, services: &Services) -> Result<Vec<Task>, BoxError> {
    // Processes that share a Redis take turns under names of their own. A process alone keeps its
    // name, so that it goes on at once after a restart.
    let holder = match services.durable.is_shared() {
        true => format!("livos-{}", Uuid::now_v7().simple()),
        false => "livos".to_owned(),
    };
    let mut tasks = Vec::new();
    for app in apps.values() {
        let registering = commands::register(Arc::clone(app), services.drain.clone());
        tasks.push(Task::once("commands of a chat app", registering));
        tasks.push(app.listen(&services.durable, &holder, &services.drain)?);
    }
    Ok(tasks)
}

impl Feature for Channels {
    /// Only the worker's own bound limits them: somebody waits for each.
    fn kinds(&self) -> Kinds {
        let apps = self.apps.values().map(|app| app.kind());
        apps.chain([news::KIND]).map(|kind| (kind, KindPolicy::DEFAULT)).collect()
    }

    fn families(&self) -> Families {
        let plain = [&pairing::FAMILIES[..], &[door::TOLD, door::WAITING], &sender::FAMILIES];
        Families::plain(plain.concat()).with_sealed(&[desk::KEY])
    }

    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        self.opened(services).boxed()
    }
}
