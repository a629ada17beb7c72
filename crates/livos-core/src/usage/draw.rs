//! A meter for what is spent too often to ask the store each time: a portion is set aside in the
//! store, spent here, and topped up.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Amounts, Metric, Tally, UsageError,
    entry::Entry,
    handle::Usage,
    limits::{Draw, Granted},
    price::VoicePrice,
};
use crate::{
    budget::{Drawn, Glance, Meter, Unit},
    time::Timestamp,
    user::UserId,
};

/// How speech is drawn from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrawConfig {
    /// Audio set aside at one time, at the least. 2 minutes: with sixteen speakers at once there
    /// are some seconds to top it up. More is set aside while more is spent.
    pub audio: Duration,
    /// Characters set aside at one time, at the least. 16,000: a quarter of an hour of speech, and
    /// more than one answer hands over at once.
    pub characters: u64,
    /// How often what was spent is counted in the store, at the latest. 5 s: what a crashed process
    /// is not charged for.
    pub every: Duration,
    /// What it costs.
    pub price: VoicePrice,
}

crate::with_fields!(DrawConfig {
    with_audio => audio: Duration,
    with_characters => characters: u64,
    with_every => every: Duration,
    with_price => price: VoicePrice,
});

impl Default for DrawConfig {
    fn default() -> Self {
        Self {
            audio: Duration::from_secs(120),
            characters: 16_000,
            every: Duration::from_secs(5),
            price: VoicePrice::default(),
        }
    }
}

/// What is drawn, and as what it is counted.
const DRAWN: [(Unit, Metric); 2] =
    [(Unit::AudioMs, Metric::SttMs), (Unit::Characters, Metric::TtsCharacters)];

impl Usage {
    /// A meter that spends `user`'s audio and characters, and the [`Keeper`] that must be run
    /// with it.
    ///
    /// The meter is asked for every clause and every second of audio, and never waits; the keeper
    /// holds a portion of the budget in the store for it, tops it up and counts what was spent. So
    /// a stop holds across processes, and each process keeps one portion from all other work while
    /// it runs: a quarter of what is left of every limit at the most, so that portions become
    /// smaller towards the stop. A portion that is used up before the keeper could top it up is not
    /// a limit: the meter then says [`NotAdmitted::NotYet`](crate::budget::NotAdmitted::NotYet).
    ///
    /// What no limit bounds is admitted at once and only counted: nothing is set aside for it.
    /// Units other than audio and characters are admitted and not counted.
    ///
    /// Returns once the first portion is there or refused, which the meter then says. While the
    /// store is away a limited meter has nothing to spend; a store that fails for good is an error.
    pub async fn meter(&self, user: UserId, config: DrawConfig) -> Result<(Meter, Keeper), UsageError> {
        let shared = Arc::new(Drawn::default());
        let (meter, gone) = Meter::drawn(Arc::clone(&shared));
        let mut target = Amounts::default();
        for (unit, metric) in DRAWN {
            let costs_money = config.price.cost(&Amounts::of(metric, u64::from(u32::MAX))) > 0;
            if self.shared().bounds(unit, costs_money) {
                target = target.with(metric, portion(&config, unit));
            } else {
                shared.with(|purse| purse.lift_limit(unit));
            }
        }
        let mut keeper = Keeper {
            usage: self.clone(),
            target,
            user,
            id: uuid::Uuid::new_v4().simple().to_string(),
            config,
            shared,
            gone,
            total: Amounts::default(),
            dry: false,
            renewed_at: self.now(),
        };
        match keeper.top_up().await {
            Err(UsageError::Store(error)) if error.is_temporary() => {
                tracing::error!(%error, "the voice has no budget until the store is there");
            }
            topped_up => topped_up?,
        }
        Ok((meter, keeper))
    }
}

/// Keeps a drawn meter in funds. See [`Usage::meter`].
#[must_use = "a meter runs dry unless its keeper runs"]
pub struct Keeper {
    usage: Usage,
    user: UserId,
    id: String,
    config: DrawConfig,
    shared: Arc<Drawn>,
    /// What is to be at hand after a top-up; nothing of what has no limit.
    target: Amounts,
    /// Ends when the last meter is gone.
    gone: mpsc::Receiver<()>,
    /// Everything that was counted so far, whose price is booked by differences so that rounding
    /// does not add up.
    total: Amounts,
    /// There was nothing more to be had when it last asked.
    dry: bool,
    renewed_at: Timestamp,
}

impl Keeper {
    /// Works until the last clone of its meter is gone, then counts the rest and gives back what
    /// was not spent. If it is dropped instead, what was not spent comes back when its hold ends.
    pub async fn run(mut self) {
        let mut failed = false;
        loop {
            tokio::select! {
                gone = self.gone.recv() => if gone.is_none() { break },
                () = due(&self.shared, &self.target, self.config.every, failed || self.dry) => {}
            }
            failed = match self.top_up().await {
                Ok(()) => false,
                Err(error) => {
                    tracing::error!(%error, user = %self.user, "the voice's budget could not be topped up; it is tried again");
                    true
                }
            };
        }
        let (used, _) = self.look();
        let (user, id) = (self.user.clone(), self.id.clone());
        self.usage.leave(Entry::Over { user, id, used: Tally::reported(self.priced(&used)) });
    }

    /// Counts what was spent, and fills the purse up as far as the limits allow.
    async fn top_up(&mut self) -> Result<(), UsageError> {
        let (used, draw) = self.look();
        let lifetime = self.usage.shared().hold_lifetime();
        let age = self.usage.now().since(self.renewed_at);
        if used.is_zero() && draw.more.is_zero() && age < lifetime / 3 {
            return Ok(());
        }
        let renewed = self.count_and_renew(used, draw).await;
        match &renewed {
            Ok(()) => self.renewed_at = self.usage.now(),
            // Its hold is over: others may have what it had.
            Err(_) if age >= lifetime => {
                self.shared.with(|purse| DRAWN.into_iter().for_each(|(unit, _)| purse.forfeit(unit)));
            }
            Err(_) => {}
        }
        renewed
    }

    async fn count_and_renew(&mut self, used: Amounts, draw: Draw) -> Result<(), UsageError> {
        let (shared, price) = (Arc::clone(self.usage.shared()), self.config.price);
        if let Err(error) = shared.book(&self.user, Tally::reported(self.priced(&used))).await {
            self.shared.with(|purse| {
                DRAWN.into_iter().for_each(|(unit, metric)| purse.put_back(unit, used.get(metric)));
            });
            return Err(error);
        }
        self.total = self.total.plus(&used);
        let granted = shared.renew(&self.user, &self.id, draw, |amounts| price.cost(amounts)).await?;
        self.dry = !granted.refusals.is_empty() && granted.amounts.is_zero();
        self.put_into_purse(&granted, &draw);
        self.shared.topped_up.notify_waiters();
        Ok(())
    }

    fn put_into_purse(&self, granted: &Granted, draw: &Draw) {
        self.shared.with(|purse| {
            for (unit, metric) in DRAWN {
                let amount = granted.amounts.get(metric);
                purse.grant(unit, amount, amount < draw.more.get(metric));
            }
            for (metric, exhausted) in &granted.refusals {
                DRAWN.iter().filter(|(_, drawn)| drawn == metric).for_each(|(unit, _)| {
                    tracing::warn!(unit = unit.name(), %exhausted, "the voice's budget is used up");
                    purse.refuse(*unit, *exhausted);
                });
            }
        });
    }

    /// What was spent since it last looked, and what is to be drawn.
    fn look(&mut self) -> (Amounts, Draw) {
        let (mut used, mut keep) = (Amounts::default(), Amounts::default());
        let (mut needed, mut more) = (Amounts::default(), Amounts::default());
        for (unit, metric) in DRAWN {
            let glance = self.shared.with(|purse| purse.look(unit));
            used = used.with(metric, glance.used);
            if self.target.get(metric) == 0 {
                continue;
            }
            let target = target(portion(&self.config, unit), glance);
            let at_hand = self.shared.with(|purse| purse.keep_at_most(unit, target));
            self.target = self.target.with(metric, target);
            keep = keep.with(metric, at_hand);
            needed = needed.with(metric, glance.needed);
            more = more.with(metric, target.saturating_sub(at_hand));
        }
        (used, Draw { keep, needed, more })
    }

    /// With what it adds to the price of everything so far.
    fn priced(&self, used: &Amounts) -> Amounts {
        let price = self.config.price;
        let added = price.cost(&self.total.plus(used)).saturating_sub(price.cost(&self.total));
        used.with(Metric::MicroDollars, added)
    }
}

fn portion(config: &DrawConfig, unit: Unit) -> u64 {
    match unit {
        Unit::AudioMs => u64::try_from(config.audio.as_millis()).unwrap_or(u64::MAX).max(1),
        _ => config.characters.max(1),
    }
}

/// What should be at hand: a portion, and twice what was spent and is needed since the last look,
/// so that many who begin at once are waited for once.
fn target(portion: u64, glance: Glance) -> u64 {
    portion.max(glance.used.saturating_add(glance.needed).saturating_mul(2))
}

/// Resolves when less than half of what should be at hand is left of something, unless asking more
/// often would not help; in any case after `every`.
async fn due(shared: &Drawn, target: &Amounts, every: Duration, in_vain: bool) {
    let tick = tokio::time::sleep(every);
    let low = async {
        loop {
            shared.spent.notified().await;
            let is_low =
                |(unit, metric)| shared.with(|purse| purse.is_below(unit, target.get(metric).div_ceil(2)));
            if !in_vain && DRAWN.into_iter().any(is_low) {
                return;
            }
        }
    };
    tokio::select! {
        () = tick => {}
        () = low => {}
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("user", &self.user).finish_non_exhaustive()
    }
}
