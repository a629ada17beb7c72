//! Opening the ledger of usage.

use std::sync::Arc;

use livos_core::{
    budget::Meter,
    drain::DrainSignal,
    store::Store,
    supervise::Supervisor,
    usage::{Archiver, DrawConfig, Usage, UsageArchive, UsageConfig, Zone},
    user::UserId,
};
use tower::BoxError;

use super::{
    config::AccountsConfig,
    prices::{Models, PriceList},
};

/// Counts, limits and prices. Cloning shares them.
#[derive(Clone)]
pub struct Accounts {
    pub usage: Usage,
    /// The owner's voice budget.
    pub meter: Meter,
    pub archive: Arc<dyn UsageArchive>,
    /// The time zone in which instants are shown.
    pub zone: Zone,
    /// What the configured models cost.
    pub prices: PriceList,
}

/// Counts in this store from now on.
pub async fn open(
    config: &AccountsConfig,
    models: Models,
    store: Arc<dyn Store>,
    supervisor: &Supervisor,
    drain: &DrainSignal,
) -> Result<Accounts, BoxError> {
    let mut usage = UsageConfig::default();
    usage.limits = config.budget.limits();
    let (usage, bookkeeper) = Usage::new(Arc::clone(&store), usage);
    supervisor.spawn("usage bookkeeper", bookkeeper.run());

    let archive = config.usage.archive(Arc::clone(&store))?;
    let (archiver, signal) = (Archiver::new(store, Arc::clone(&archive)), drain.clone());
    supervisor
        .spawn_restarting("usage archiver", drain.clone(), move || archiver.clone().run(signal.clone()));

    let prices = PriceList::new(config.usage.prices.clone(), models);
    let mut draw = DrawConfig::default();
    draw.price = prices.voice();
    let (meter, keeper) = usage.meter(UserId::owner(), draw).await?;
    supervisor.spawn("voice budget", keeper.run());
    if config.budget.limits_money() {
        for model in prices.unpriced() {
            tracing::warn!(
                model,
                "money is limited, but the price of this model is unknown: set it under [usage.prices]"
            );
        }
    }
    Ok(Accounts { usage, meter, archive, zone: config.usage.zone.clone(), prices })
}
