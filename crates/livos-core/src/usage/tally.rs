//! What was used, and how much of it is known.

use super::Amounts;
use crate::{time::UtcDay, user::UserId};

/// What was used, and how much of it is an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// All that was used.
    pub counted: Amounts,
    /// How much of that nobody reported.
    #[serde(default, skip_serializing_if = "Amounts::is_zero")]
    pub estimated: Amounts,
}

impl Tally {
    /// As the provider reported it.
    pub fn reported(used: Amounts) -> Self {
        Self { counted: used, estimated: Amounts::default() }
    }

    /// As we estimate it, because nobody reported it.
    pub fn estimate(used: Amounts) -> Self {
        Self { counted: used, estimated: used }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self { counted: self.counted.plus(&other.counted), estimated: self.estimated.plus(&other.estimated) }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self { counted: self.counted.max(&other.counted), estimated: self.estimated.max(&other.estimated) }
    }
}

/// What one user used on one UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayUsage {
    /// The user who pays.
    pub user: UserId,
    /// The day on which it was settled.
    pub day: UtcDay,
    /// Everything of that day.
    pub tally: Tally,
}
