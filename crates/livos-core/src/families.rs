//! All families of keys that this crate keeps in a store.

use crate::store::Family;

/// The families of this crate. A program adds its own, for [`sweep`](crate::store::sweep) and for
/// the table of keys in its documentation.
pub fn families() -> Vec<Family> {
    let families: &[&[Family]] = &[
        &[crate::store::GUARDS],
        #[cfg(feature = "redis")]
        &crate::queue::FAMILIES,
        #[cfg(feature = "usage")]
        &crate::usage::FAMILIES,
    ];
    families.concat()
}
