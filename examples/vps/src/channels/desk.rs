//! Who is paired, and who is told about it.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use livos_core::{
    http::describe,
    seal::{SealedError, SealedStore},
    secret::Secret,
    store::{Family, Lifetime, Put, Store},
    supervise::Supervisor,
    time::{Clock, SystemClock},
};
use livos_integrations::pairing::{
    ChannelName, PairingCode, PairingConfig, PairingDesk, PairingInput, PairingOutput, PairingState, Rights,
    Sender,
};
use tokio::sync::OnceCell;
use tower::BoxError;
use uuid::Uuid;

use super::{
    app::Apps,
    texts::{PAIRED, headline, refused},
};
use crate::durable::Durable;

/// The key that makes stored hashes of codes useless without it.
pub const KEY: Family = Family::new(
    "pairing",
    "key",
    Lifetime::Forever { reason: "codes that wait are checked with it" },
    "the key of pairing codes, sealed",
);

/// Pairing in this deployment. Cloning shares it.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    desk: OnceCell<PairingDesk>,
    store: Arc<dyn Store>,
    secrets: SealedStore,
    config: PairingConfig,
    apps: Apps,
    supervisor: Supervisor,
}

impl Desk {
    /// Opens it; the first start makes its key. A store that is away does not keep the server from
    /// starting, and is asked again when somebody writes.
    pub async fn open(
        approval: bool,
        apps: Apps,
        durable: &Durable,
        supervisor: &Supervisor,
    ) -> Result<Self, BoxError> {
        let mut config = PairingConfig::default();
        config.approval = approval;
        let desk = Self(Arc::new(Inner {
            desk: OnceCell::new(),
            store: Arc::clone(&durable.store),
            secrets: durable.secrets.clone(),
            config,
            apps,
            supervisor: supervisor.clone(),
        }));
        match desk.inner().await {
            Err(error) if error.downcast_ref().is_some_and(SealedError::is_temporary) => {
                tracing::warn!(%error, "the key of pairing can't be read yet; nobody is answered until it is");
            }
            opened => drop(opened?),
        }
        Ok(desk)
    }

    /// The apps in which people pair.
    pub fn apps(&self) -> &Apps {
        &self.0.apps
    }

    /// The store behind it.
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Who is paired now.
    pub async fn state(&self) -> Result<PairingState, BoxError> {
        Ok(self.inner().await?.state(SystemClock.now()).await?)
    }

    /// Redeems a code, tells the others, and answers what to tell its sender.
    pub async fn redeem(&self, sender: Sender, label: String, code: PairingCode) -> Result<String, BoxError> {
        let now = SystemClock.now();
        let input = PairingInput::Redeem { sender, label, code };
        let outputs = self.inner().await?.apply(now, input).await?;
        let told = outputs.iter().find_map(|output| match output {
            PairingOutput::Paired(_) => Some(PAIRED.to_owned()),
            PairingOutput::AwaitingApproval(_) => {
                Some("The code is right, and the owner is asked to let you in.".to_owned())
            }
            PairingOutput::Refused(refusal) => Some(refused(now, *refusal)),
            _ => None,
        });
        self.spread(outputs.iter().filter(|output| !matches!(output, PairingOutput::Paired(_))));
        Ok(told.unwrap_or_default())
    }

    async fn inner(&self) -> Result<&PairingDesk, BoxError> {
        let Inner { desk, store, secrets, config, .. } = &*self.0;
        desk.get_or_try_init(|| async {
            Ok(PairingDesk::new(Arc::clone(store), key(secrets).await?, *config)?)
        })
        .await
    }

    /// Issues a code that pairs its sender in this channel.
    pub async fn issue(&self, channel: ChannelName, rights: Rights) -> Result<Vec<PairingOutput>, BoxError> {
        Ok(self.inner().await?.issue(SystemClock.now(), channel, rights).await?)
    }

    /// Decides for the operator, and tells everybody who is to be told.
    pub async fn decide(&self, input: PairingInput) -> Result<Vec<PairingOutput>, BoxError> {
        let outputs = self.inner().await?.apply(SystemClock.now(), input).await?;
        self.spread(outputs.iter());
        Ok(outputs)
    }

    /// Sends news to their chats, in a task of its own: nobody waits for somebody else's provider.
    /// What can't be sent is logged.
    fn spread<'a>(&self, outputs: impl Iterator<Item = &'a PairingOutput>) {
        let now = SystemClock.now();
        let news = outputs.filter_map(|output| match output {
            PairingOutput::Notify { to, news } => Some((to.clone(), headline(now, news)?)),
            PairingOutput::Paired(device) => Some((device.sender.clone(), PAIRED.to_owned())),
            _ => None,
        });
        let news: Vec<_> = news.collect();
        if news.is_empty() {
            return;
        }
        let desk = self.clone();
        self.0.supervisor.spawn("pairing news", async move {
            for (to, text) in news {
                if let Err(error) = desk.tell(&to, &text).await {
                    tracing::warn!(%to, text, error = describe(&*error), "news of pairing did not arrive");
                }
            }
        });
    }

    async fn tell(&self, to: &Sender, text: &str) -> Result<(), BoxError> {
        let app = self.0.apps.get(to.channel()).ok_or("this channel is not configured")?;
        let outlet = app.reach(to.id()).await?;
        outlet.post(text, &Uuid::now_v7().simple().to_string()).await?;
        Ok(())
    }
}

/// The key, made where there is none.
async fn key(secrets: &SealedStore) -> Result<Secret, BoxError> {
    let (now, name) = (SystemClock.now(), KEY.key("codes")?);
    if secrets.get(now, &name).await?.is_none() {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let made = Secret::new(URL_SAFE_NO_PAD.encode(random));
        if let Put::Written(_) = secrets.put_if(now, &name, made.clone(), None).await? {
            return Ok(made);
        }
        // Another process was quicker, and its key counts.
    }
    let kept = secrets.get(now, &name).await?.and_then(|kept| kept.secret.to_text());
    Ok(kept.ok_or("the key of pairing is damaged: remove it from the store, and pair with new codes")?)
}
