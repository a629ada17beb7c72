//! What spares every configuration the same lines.

/// Writes the `with_*` methods of a configuration, one for each field that is named. A field of
/// type `impl Into<String>` takes any text.
///
/// A `#[non_exhaustive]` struct cannot be written as a literal in another crate: these methods are
/// how it is set there.
#[doc(hidden)]
#[macro_export]
macro_rules! with_fields {
    ($config:ident { $($with:ident => $field:ident: $type:ty),+ $(,)? }) => {
        impl $config {
            $(
                #[doc = concat!("Sets [`", stringify!($config), "::", stringify!($field), "`].")]
                #[must_use]
                #[allow(clippy::useless_conversion)]
                pub fn $with(mut self, $field: $type) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}
