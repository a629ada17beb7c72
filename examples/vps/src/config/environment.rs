//! Environment variables that override the file.

use livos_core::secret::Secret;

/// Looks up environment variables. An empty variable counts as unset.
#[derive(Clone, Copy)]
pub struct Environment<'e>(&'e dyn Fn(&str) -> Option<String>);

impl<'e> Environment<'e> {
    /// Reads variables with `lookup`, which is `std::env::var` except in tests.
    pub fn new(lookup: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self(lookup)
    }

    /// The value of a variable.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Replaces a setting with the variable's value, if the variable is set.
    pub fn text(&self, setting: &mut Option<String>, name: &str) {
        if let Some(value) = self.var(name) {
            *setting = Some(value);
        }
    }

    /// Replaces a secret with the variable's value, if the variable is set.
    pub fn secret(&self, setting: &mut Option<Secret>, name: &str) {
        if let Some(value) = self.var(name) {
            *setting = Some(Secret::new(value));
        }
    }
}
