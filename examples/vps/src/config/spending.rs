//! What may be used, and how it is shown.

use livos_core::{budget::Period, secret::Secret, usage::Prices};
use serde::Deserialize;

/// What may be used, by UTC day, by UTC week and in any five hours; zero means no limit. All limits
/// begin anew at midnight UTC, of the day or of Monday; what was used five hours ago leaves the
/// window. The defaults for a day stop a runaway, and are more than a person talks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
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

impl Default for Budget {
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

impl Budget {
    /// The allowance of each period.
    pub fn periods(&self) -> [(Period, Allowance); 3] {
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
pub struct Usage {
    /// The time zone in which instants are shown, by its IANA name; a request may ask for another.
    /// It limits nothing: days are those of UTC.
    pub zone: String,
    /// A PostgreSQL database that keeps finished days, such as
    /// `postgres://livos:…@localhost/livos`; `LIVOS_ARCHIVE` overrides it. Without it they are kept
    /// in the store.
    pub archive: Option<Secret>,
    /// What providers take, in place of the list prices of `livos_core::usage::Prices` or beside
    /// them.
    pub prices: Prices,
}

impl Default for Usage {
    fn default() -> Self {
        Self { zone: "UTC".into(), archive: None, prices: Prices::default() }
    }
}
