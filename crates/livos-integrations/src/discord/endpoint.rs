//! The interactions endpoint: signed posts become the same jobs as at the gateway.

use std::{sync::Arc, time::Duration};

use livos_core::{
    queue::{NewJob, Queue},
    time::Clock,
};

use super::{
    event::{Event, Interaction},
    jobs::JobConfig,
};
use crate::webhook::{self, Delivery, Enqueue, Intake, InvalidSecret, VerifyConfig};

/// How long the queue may take. 2 s of the 3 s that Discord waits; the rest is the network's.
const PATIENCE: Duration = Duration::from_secs(2);

/// The endpoint of a bot whose portal names an interactions URL, by any of these public keys of its
/// application.
///
/// A post is verified, enqueued and deferred within Discord's three seconds; the agent answers
/// later, through a [`super::DiscordOutlet`]. The user reads that the queue is full if it is.
pub fn interactions<C: Clock + Clone, S: AsRef<str>>(
    keys: impl IntoIterator<Item = S>,
    config: JobConfig,
    queue: Arc<dyn Queue>,
    clock: C,
) -> Result<Intake<C>, InvalidSecret> {
    let mut verifier = webhook::Discord::interactions(keys)?;
    if config.ephemeral {
        verifier = verifier.with_ephemeral_answers();
    }
    let enqueue = Enqueue::by(queue, clock.clone(), move |_, delivery| job(&config, delivery));
    let bounds = VerifyConfig::default().with_enqueue_timeout(PATIENCE);
    Ok(webhook::intake_by(Arc::new(verifier), clock, enqueue, bounds))
}

/// The job of the gateway's. An interaction of a form that is not known yet is kept as it came, for
/// its worker to report.
fn job(config: &JobConfig, delivery: &Delivery) -> NewJob {
    let known = Interaction::parse(delivery.body()).map(Event::Interaction);
    known.and_then(|event| config.job(&event)).unwrap_or_else(|_| {
        NewJob::new(config.kind.clone(), delivery.body().clone())
            .deduped_by(delivery.key(), config.remembered)
    })
}
