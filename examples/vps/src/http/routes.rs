//! Routes by who may call them.

use axum::Router;

/// The routes of one feature, by who may call them.
#[derive(Debug, Default)]
pub struct Routes {
    /// For anyone: each route checks its caller itself, or gives nothing away.
    pub open: Router,
    /// For a session or the bearer token.
    pub protected: Router,
}

impl Routes {
    pub fn open(open: Router) -> Self {
        Self { open, ..Self::default() }
    }

    /// Routes behind the login.
    pub fn protected(protected: Router) -> Self {
        Self { protected, ..Self::default() }
    }

    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { open: self.open.merge(other.open), protected: self.protected.merge(other.protected) }
    }
}
