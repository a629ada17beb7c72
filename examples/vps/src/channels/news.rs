//! What the owner should hear of without having asked: a durable job, which tells it in every chat
//! of the owner's once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use livos_core::{
    conversation::{Reply, ReplyError},
    http::describe,
    queue::{Enqueued, Job, JobKind, NewJob, Outcome, Queue},
    time::{Clock, SystemClock},
};
use livos_integrations::{
    pairing::{Device, Rights, Standing},
    sender::{DeliverConfig, Outbox, deliver},
};
use tower::{BoxError, service_fn};

use super::desk::Desk;
use crate::durable::{Durable, Jobs};

/// The kind of these jobs.
pub const KIND: JobKind = JobKind::from_static("owner.news");
/// How long the name of an event is known, so that who tells it again after a crash tells it once.
/// A day.
const KNOWN: Duration = Duration::from_secs(86_400);
/// The longest news, in characters.
const LONGEST: usize = 500;

/// Tells the owner. Cloning shares the queue.
#[derive(Clone)]
pub struct News {
    queue: Arc<dyn Queue>,
}

impl News {
    /// By jobs in this queue.
    pub fn new(queue: Arc<dyn Queue>) -> Self {
        Self { queue }
    }

    /// Has the owner told. An event with a name is told once within a day.
    pub async fn tell(&self, text: &str, event: Option<String>) -> Result<(), BoxError> {
        let text: String = text.chars().take(LONGEST).collect();
        let job = NewJob::new(KIND, Bytes::from(text));
        let job = match event {
            Some(event) => job.deduped_by(event, KNOWN),
            None => job,
        };
        match self.queue.enqueue(SystemClock.now(), job).await? {
            Enqueued::Full { depth } => Err(format!("the queue is full, with {depth} jobs").into()),
            _ => Ok(()),
        }
    }
}

/// The work on these jobs.
pub fn jobs(desk: &Desk, durable: &Durable) -> Jobs {
    let (desk, outbox) = (desk.clone(), Outbox::new(Arc::clone(&durable.store), SystemClock));
    Jobs::default().on(KIND, service_fn(move |lease| work(lease, desk.clone(), outbox.clone())))
}

async fn work(lease: Job, desk: Desk, outbox: Outbox) -> Result<Outcome, BoxError> {
    let Ok(text) = std::str::from_utf8(&lease.payload) else {
        return Ok(Outcome::Dead { reason: "its payload is no text".into() });
    };
    let state = desk.state().await?;
    let owner =
        |device: &&Device| device.rights == Rights::Owner && matches!(device.standing, Standing::Paired);
    let mut again = Outcome::Done;
    let mut chats = 0;
    for device in state.devices().iter().filter(owner) {
        chats += 1;
        match tell(&lease, device, text, &desk, &outbox).await {
            Outcome::Done => {}
            // The others are told all the same, and a further attempt tells only who was not.
            retry @ Outcome::Retry { .. } => again = retry,
            other => tracing::warn!(to = %device.sender, ?other, "the owner can't be told there"),
        }
    }
    if chats == 0 {
        tracing::warn!("there is news for the owner, and no chat that is paired with the owner's rights");
    }
    Ok(again)
}

async fn tell(lease: &Job, device: &Device, text: &str, desk: &Desk, outbox: &Outbox) -> Outcome {
    let Some(app) = desk.apps().get(device.sender.channel()) else {
        return Outcome::Dead { reason: format!("{} is not configured", device.sender.channel()) };
    };
    let outlet = match app.reach(device.sender.id()).await {
        Ok(outlet) => outlet,
        Err(error) => return Outcome::Retry { after: None, reason: describe(&*error) },
    };
    let name = format!("news/{}/{}", lease.id, device.sender);
    let say = || async { Ok::<_, ReplyError>(Reply::from_text(text.to_owned())) };
    let told = deliver(&*outlet, outbox, &name, DeliverConfig::default(), say).await;
    told.map_or_else(|error| error.outcome(lease), |()| Outcome::Done)
}
