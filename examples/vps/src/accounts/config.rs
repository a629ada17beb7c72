//! The sections `[budget]` and `[usage]`.

use std::sync::Arc;

use livos_core::{
    budget::{Limit, Period, Unit},
    secret::Secret,
    store::Store,
    usage::{
        Limits, Prices, UsageArchive, Zone,
        archive::{ArchiveError, PostgresArchive, StoreArchive},
    },
};
use serde::{Deserialize, Deserializer, de};

use crate::config::{ConfigError, Document, Environment, Section};

/// What may be used, and how usage is shown.
pub struct AccountsConfig {
    pub budget: BudgetSection,
    /// How usage is shown, priced and kept.
    pub usage: UsageSection,
}

impl AccountsConfig {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        Ok(Self { budget: document.section()?, usage: document.section()? })
    }
}

/// What may be used, by UTC day, by UTC week and in any five hours; zero means no limit. Limits
/// start again at midnight UTC, of the day or of Monday; usage older than five hours leaves the
/// window. The defaults for a day stop a runaway, and are more than a person talks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSection {
    /// Minutes of audio sent to speech to text in a day.
    pub speech_minutes: u64,
    /// Characters sent to text to speech in a day.
    pub voice_characters: u64,
    /// Tokens read and written by the model in a day.
    pub tokens: u64,
    /// US cents for all of it in a day, by the prices under `[usage.prices]`.
    pub cents: u64,
    /// A warning is logged from this share of a limit on. 80: there is time to do something about
    /// it.
    pub warn_percent: u64,
    /// The same for a week, without limits by default.
    pub week: Allowance,
    /// The same for any five hours, without limits by default.
    pub window: Allowance,
}

impl Default for BudgetSection {
    fn default() -> Self {
        Self {
            speech_minutes: 240,
            voice_characters: 200_000,
            tokens: 5_000_000,
            cents: 1_000,
            warn_percent: 80,
            week: Allowance::default(),
            window: Allowance::default(),
        }
    }
}

impl BudgetSection {
    /// The limits of each period, by unit.
    pub fn limits(&self) -> Limits {
        const MICRO_DOLLARS_IN_A_CENT: u64 = 10_000;
        let mut limits = Limits::default();
        for (period, allowance) in self.periods() {
            for (unit, stop) in [
                (Unit::AudioMs, allowance.speech_minutes.saturating_mul(60_000)),
                (Unit::Characters, allowance.voice_characters),
                (Unit::Tokens, allowance.tokens),
                (Unit::MicroDollars, allowance.cents.saturating_mul(MICRO_DOLLARS_IN_A_CENT)),
            ] {
                let warn = (u128::from(stop) * u128::from(self.warn_percent) / 100) as u64;
                if stop > 0 {
                    limits = limits.with(period, unit, Limit { warn, stop });
                }
            }
        }
        limits
    }

    fn periods(&self) -> [(Period, Allowance); 3] {
        let day = Allowance {
            speech_minutes: self.speech_minutes,
            voice_characters: self.voice_characters,
            tokens: self.tokens,
            cents: self.cents,
        };
        [(Period::Day, day), (Period::Week, self.week.clone()), (Period::Window, self.window.clone())]
    }

    /// Whether money is limited.
    pub fn limits_money(&self) -> bool {
        self.periods().iter().any(|(_, allowance)| allowance.cents > 0)
    }
}

impl Section for BudgetSection {
    const NAME: &'static str = "budget";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.warn_percent > 100 {
            return Err(ConfigError::of("budget.warn_percent", "at most 100"));
        }
        Ok(())
    }
}

/// What may be used over some time; zero means no limit.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// Minutes of audio sent to speech to text.
    pub speech_minutes: u64,
    /// Characters sent to text to speech.
    pub voice_characters: u64,
    /// Tokens read and written by the model.
    pub tokens: u64,
    /// US cents.
    pub cents: u64,
}

/// How usage is shown, priced and kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageSection {
    /// The time zone in which instants are shown, by its IANA name; a request may ask for another.
    /// It limits nothing: days are those of UTC.
    #[serde(deserialize_with = "zone")]
    pub zone: Zone,
    /// A PostgreSQL database that keeps finished days, such as
    /// `postgres://livos:…@localhost/livos`; `LIVOS_ARCHIVE` overrides it. Without it they are kept
    /// in the store.
    pub archive: Option<Secret>,
    /// What providers charge. Overrides and extends the list prices of `livos_core::usage::Prices`.
    pub prices: Prices,
}

impl Default for UsageSection {
    fn default() -> Self {
        Self { zone: Zone::utc(), archive: None, prices: Prices::default() }
    }
}

impl Section for UsageSection {
    const NAME: &'static str = "usage";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.archive, "LIVOS_ARCHIVE");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let archive = self.archive.as_ref().map(PostgresArchive::new).transpose();
        archive.map(drop).map_err(|error| ConfigError::of("usage.archive (LIVOS_ARCHIVE)", error))
    }
}

impl UsageSection {
    /// Where finished days are kept.
    pub fn archive(&self, store: Arc<dyn Store>) -> Result<Arc<dyn UsageArchive>, ArchiveError> {
        Ok(match &self.archive {
            Some(address) => Arc::new(PostgresArchive::new(address)?),
            None => Arc::new(StoreArchive::new(store)),
        })
    }
}

fn zone<'de, D: Deserializer<'de>>(from: D) -> Result<Zone, D::Error> {
    Zone::find(&String::deserialize(from)?).map_err(de::Error::custom)
}
