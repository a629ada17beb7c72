//! The key families that the janitor knows.

use livos_core::store::Family;

/// Key families in the store. Keys of any other family are reported by the janitor.
#[derive(Debug, Default, Clone)]
pub struct Families {
    pub all: Vec<Family>,
    /// Those whose values are sealed, to be sealed again when there is a newer key.
    pub sealed: Vec<Family>,
}

impl Families {
    /// The families of the core.
    pub fn of_the_core() -> Self {
        Self::plain(livos_core::families())
    }

    /// Families whose values are not sealed.
    pub fn plain(families: impl Into<Vec<Family>>) -> Self {
        Self { all: families.into(), sealed: Vec::new() }
    }

    /// Adds families whose values are sealed.
    #[must_use]
    pub fn with_sealed(mut self, families: &[Family]) -> Self {
        self.all.extend(families);
        self.sealed.extend(families);
        self
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.all.extend(other.all);
        self.sealed.extend(other.sealed);
        self
    }
}
