//! What every archive must do. A backend is run through it by its own tests: those here, and those
//! of third parties.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // It is a test, for others to call.

use std::sync::Arc;

use super::{MOST_DAYS, UsageArchive};
use crate::{
    time::{Timestamp, UtcDay},
    usage::{Amounts, DayUsage, Metric, Tally},
    user::UserId,
};

/// A day in November 2026.
fn day(number: i64) -> UtcDay {
    Timestamp::from_unix_ms(1_793_491_200_000).day().plus_days(number - 1)
}

fn user(name: &str) -> UserId {
    UserId::try_from(name).expect("a valid id")
}

fn usage(name: &str, day: UtcDay, turns: u64, tokens: u64, estimated: u64) -> DayUsage {
    let counted = Amounts::of(Metric::Turns, turns).with(Metric::OutputTokens, tokens);
    let estimated = Amounts::of(Metric::OutputTokens, estimated);
    DayUsage { user: user(name), day, tally: Tally { counted, estimated } }
}

/// Runs an empty archive through the contract. Panics where it is broken.
pub async fn check(archive: Arc<dyn UsageArchive>) {
    assert_eq!(day(1).to_string(), "2026-11-01");
    let all = async |name: &str| archive.days(&user(name), day(-400), day(400)).await.expect("days");
    assert_eq!(all("anna").await, [], "an empty archive");
    archive.keep(&[]).await.expect("nothing to keep");

    let first = [
        usage("anna", day(30), 3, 100, 0),
        usage("anna", day(1), 1, 10, 4),
        usage("bob", day(1), 7, 70, 0),
        usage("anna", day(31), 4, u64::try_from(i64::MAX).expect("positive"), 0),
        usage("anna", day(-200), 9, 90, 0),
    ];
    archive.keep(&first).await.expect("keep");
    let sorted = [&first[4], &first[1], &first[0], &first[3]].map(Clone::clone);
    assert_eq!(all("anna").await, sorted, "in order of days, across months and years");
    assert_eq!(all("bob").await, first[2..3]);

    archive.keep(&first).await.expect("the same again");
    assert_eq!(all("anna").await, sorted, "a day that is kept twice counts once");
    let parts = [usage("anna", day(1), 2, 5, 1), usage("anna", day(1), 0, 8, 0)];
    archive.keep(&parts).await.expect("keep");
    let expected = usage("anna", day(1), 2, 10, 4);
    assert_eq!(all("anna").await[1], expected, "the larger of each figure stays");

    let anna = user("anna");
    let within = |first, last| archive.days(&anna, first, last);
    assert_eq!(
        within(day(1), day(30)).await.expect("days"),
        [expected, first[0].clone()],
        "both ends belong to it"
    );
    assert_eq!(within(day(2), day(29)).await.expect("days"), []);
    assert_eq!(within(day(30), day(1)).await.expect("days"), [], "a time that ends before it begins");
    let ages = within(day(-1_000_000), day(-200)).await.expect("days");
    assert_eq!(ages, first[4..5], "a very long time is bounded");
    let before = within(day(-1_000_000), day(-200 + MOST_DAYS)).await.expect("days");
    assert!(!before.contains(&first[4]), "to its latest part");
    contention(&archive).await;
}

/// Many processes archive the same days at one time.
async fn contention(archive: &Arc<dyn UsageArchive>) {
    let calls = (0..8u64).map(|caller| {
        let archive = Arc::clone(archive);
        tokio::spawn(async move {
            let days: Vec<_> = (1..=10).map(|n| usage("crowd", day(n), caller, 5, 0)).collect();
            archive.keep(&days).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("a caller").expect("keep");
    }
    let kept = archive.days(&user("crowd"), day(1), day(10)).await.expect("days");
    let expected: Vec<_> = (1..=10).map(|n| usage("crowd", day(n), 7, 5, 0)).collect();
    assert_eq!(kept, expected);
}
