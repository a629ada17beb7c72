//! The feature: the grant, and the watch of the mailbox.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::queue::{Job, KindPolicy};
use livos_integrations::{
    gmail::{self, MailJob},
    oauth,
};
use tower::{BoxError, service_fn};

use super::{config::GoogleConfig, grant::Grant, mailbox::Mailbox, routes};
use crate::{
    channels::News,
    config::{ConfigError, Document},
    durable::{Families, Jobs, Kinds},
    feature::{Feature, Parts, Services, Task},
};

/// A Google account, and its mailbox.
pub struct Google(GoogleConfig);

impl Google {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        GoogleConfig::read(document).map(Self)
    }

    /// The address of a stand-in for Google, if one is configured.
    pub fn stand_in(&self) -> Option<&str> {
        self.0.google.url.as_deref()
    }

    fn opened(self, services: &Services) -> Result<Parts, BoxError> {
        let Self(config) = self;
        let durable = &services.durable;
        let news = config.tells.then(|| News::new(Arc::clone(&durable.queue)));
        let opened = Grant::open(&config.google, &services.base, durable.secrets.clone(), news.clone())?;
        let Some((grant, keeper)) = opened else { return Ok(Parts::default()) };
        let mut parts = Parts { routes: routes::routes(&grant), tasks: vec![keeper], ..Parts::default() };
        if let Some(news) = news.filter(|_| config.gmail.watch) {
            let mailbox = Mailbox::new(&config.gmail, grant.tokens, durable, news)?;
            if let Some(kind) = config.pushes {
                let pushes = mailbox.pushes();
                let handler = service_fn(move |lease: Job| pushes.clone().work(lease));
                parts.jobs = Jobs::default().on(kind, handler);
            }
            let drain = services.drain.clone();
            parts.tasks.push(Task::until_drain("mailbox", move || mailbox.clone().run(drain.clone())));
        }
        Ok(parts)
    }
}

impl Feature for Google {
    /// The mailbox has a worker of its own for mails, because it rests while there is no access.
    fn kinds(&self) -> Kinds {
        [(MailJob::kind(), KindPolicy::DEFAULT)].into()
    }

    fn families(&self) -> Families {
        Families::plain(gmail::FAMILIES).with_sealed(&[oauth::GRANTS, oauth::PENDING])
    }

    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        std::future::ready(self.opened(services)).boxed()
    }
}
