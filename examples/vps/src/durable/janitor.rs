//! The repeated job that frees what has expired and reports keys that nothing will ever remove.

use std::{sync::Arc, time::Duration};

use livos_core::{
    queue::{Cadence, Job, JobKind, KindPolicy, Outcome, Repeat},
    seal::SealedStore,
    store::{self, Store},
    time::{Clock, SystemClock},
};
use tower::{BoxError, service_fn};

use super::{
    families::Families,
    jobs::{Jobs, Kinds},
    open::Durable,
    secrets,
};

const KIND: JobKind = JobKind::from_static("janitor");
/// Two at one time would read everything twice for nothing.
const POLICY: KindPolicy = KindPolicy::DEFAULT.with_concurrency(1);
const EVERY: Duration = Duration::from_secs(3600);

/// Keeps the store in order.
pub struct Janitor;

impl Janitor {
    /// The kind of its job.
    pub fn kinds() -> Kinds {
        [(KIND, POLICY)].into()
    }

    /// Its job, which sweeps these families.
    pub fn jobs(durable: &Durable, families: Families) -> Jobs {
        let (store, secrets, families) =
            (Arc::clone(&durable.store), durable.secrets.clone(), Arc::new(families));
        let work =
            service_fn(move |_: Job| sweep(Arc::clone(&store), secrets.clone(), Arc::clone(&families)));
        Jobs::default().on(KIND, work).repeat(Repeat::new("janitor", KIND, "", Cadence::Every(EVERY)))
    }
}

async fn sweep(
    store: Arc<dyn Store>,
    secrets: SealedStore,
    families: Arc<Families>,
) -> Result<Outcome, BoxError> {
    let report = store::sweep(&*store, SystemClock.now(), &families.all).await?;
    tracing::info!(
        keys = report.keys,
        freed = report.freed,
        immortal = report.immortal_total,
        "swept the store"
    );
    secrets::reseal(&secrets, &families.sealed).await?;
    Ok(Outcome::Done)
}
