//! Finds keys that nothing will ever remove: they have no lifetime, and their family does not live
//! forever (I-03).

use super::{Family, Key, Lifetime, Store, StoreError};
use crate::time::Timestamp;

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Keys that were examined.
    pub keys: u64,
    /// Keys that expired and were freed.
    pub freed: usize,
    /// Keys without a lifetime that should have one, or whose family is unknown; at most
    /// [`SweepReport::MOST`].
    pub immortal: Vec<String>,
    /// How many such keys there are, also beyond that bound.
    pub immortal_total: u64,
}

impl SweepReport {
    /// The most keys that a report names.
    pub const MOST: usize = 100;
}

/// Examines every key and frees the expired ones. `families` are all that the program uses.
///
/// Works in pages, so that other work goes on in between. Keys without a lifetime are counted in
/// `livos_store_immortal_keys` and logged.
pub async fn sweep(
    store: &dyn Store,
    now: Timestamp,
    families: &[Family],
) -> Result<SweepReport, StoreError> {
    const PAGE: usize = 500;
    let forever: Vec<String> = families
        .iter()
        .filter(|family| matches!(family.lifetime(), Lifetime::Forever { .. }))
        .map(Family::prefix)
        .collect();
    let mut report = SweepReport::default();
    loop {
        let freed = store.collect(now, PAGE).await?;
        report.freed += freed;
        if freed < PAGE {
            break;
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = store.scan(now, Key::NAMESPACE, after.as_deref(), PAGE).await?;
        report.keys += page.len() as u64;
        for found in &page {
            let may = found.expires.is_some() || forever.iter().any(|prefix| found.key.starts_with(prefix));
            if !may {
                report.immortal_total += 1;
                if report.immortal.len() < SweepReport::MOST {
                    report.immortal.push(found.key.clone());
                }
            }
        }
        if page.len() < PAGE {
            break;
        }
        after = page.into_iter().next_back().map(|last| last.key);
    }
    metrics::gauge!("livos_store_immortal_keys").set(report.immortal_total as f64);
    if report.immortal_total > 0 {
        tracing::warn!(total = report.immortal_total, first = ?report.immortal.first(), "keys without a lifetime");
    }
    Ok(report)
}
