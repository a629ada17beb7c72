//! Usage over a store in memory, by several processes, with a clock that is stepped.

mod archiving;
mod drawing;
mod map;
mod model;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    budget::{Level, Limit, Period, Unit},
    embedded::{Embedded, EmbeddedConfig},
    store::{EmbeddedStore, Store},
    time::{Clock, ManualClock, Timestamp},
    user::UserId,
};

/// A Friday in 2027, at eight in the morning UTC; a server that keeps its own time must not have
/// reached it.
const START: Timestamp = crate::store::contract::START;
const HOUR: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(600);

fn in_memory() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap()))
}

/// Processes that share a store and a clock.
struct Setting {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    limits: Limits,
}

impl Setting {
    fn new(limits: Limits) -> Self {
        Self { store: in_memory(), clock: Arc::new(ManualClock::new(START)), limits }
    }

    /// A process. What it leaves to its bookkeeper is not done before the test says so: until then
    /// it has crashed.
    fn process(&self) -> (Usage, Bookkeeper) {
        let config =
            UsageConfig { limits: self.limits.clone(), hold_lifetime: LIFETIME, ..UsageConfig::default() };
        Usage::with_clock(Arc::clone(&self.store), config, Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn go_back(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap();
        self.clock.set(Timestamp::from_unix_ms(self.clock.now().unix_ms() - ms));
    }
}

fn archiver<A: UsageArchive + 'static>(setting: &Setting, archive: &Arc<A>) -> Archiver {
    let archive = Arc::clone(archive) as Arc<dyn UsageArchive>;
    Archiver::with_clock(Arc::clone(&setting.store), archive, Arc::clone(&setting.clock) as Arc<dyn Clock>)
}

fn owner() -> UserId {
    UserId::owner()
}

fn tokens(amount: u64) -> Amounts {
    Amounts::of(Metric::OutputTokens, amount)
}

fn daily(stop: u64) -> Limits {
    Limits::default().with(Period::Day, Unit::Tokens, Limit::stop_at(stop))
}

/// Tokens of the day, the week and the window, and those set aside.
async fn figures(usage: &Usage) -> ([u64; 3], u64) {
    let report = usage.report(&owner()).await.unwrap();
    (report.periods.map(|period| period.tally.counted.unit(Unit::Tokens)), report.held.unit(Unit::Tokens))
}

async fn spend(usage: &Usage, amount: u64) {
    let (hold, _) = usage.reserve(&owner(), tokens(amount)).await.unwrap();
    hold.settle(Tally::reported(tokens(amount))).await.unwrap();
}

async fn refused(usage: &Usage, amount: u64) -> (Period, Timestamp) {
    match usage.reserve(&owner(), tokens(amount)).await {
        Err(UsageError::Exhausted(exhausted)) => (exhausted.period, exhausted.resets_at),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stop_is_enforced_before_the_money_is_spent_and_across_processes() {
    let setting = Setting::new(daily(100));
    let ((one, _one), (other, _other)) = (setting.process(), setting.process());
    let (first, level) = one.reserve(&owner(), tokens(60)).await.unwrap();
    assert_eq!(level, Level::Ok);
    let (second, level) = other.reserve(&owner(), tokens(40)).await.unwrap();
    assert_eq!(level, Level::Warn);
    assert_eq!(refused(&one, 1).await, (Period::Day, START.day().next().start()));
    assert_eq!(figures(&other).await, ([0; 3], 100));
    first.settle(Tally::reported(tokens(50))).await.unwrap();
    second.release().await.unwrap();
    assert_eq!(figures(&one).await, ([50; 3], 0));
    spend(&other, 50).await;
    refused(&one, 1).await;
    let stranger = UserId::try_from("stranger").unwrap();
    assert!(one.reserve(&stranger, tokens(100)).await.is_ok(), "another user has another budget");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_one_time_as_many_are_admitted_as_the_limit_holds() {
    race(&Setting::new(daily(100))).await;
}

/// Two hundred callers of four processes want one token each, where a hundred are left.
async fn race(setting: &Setting) {
    let processes: Vec<_> = (0..4).map(|_| setting.process()).collect();
    let calls: Vec<_> = (0..200usize)
        .map(|n| {
            let usage = processes[n % 4].0.clone();
            tokio::spawn(async move { usage.reserve(&owner(), tokens(1)).await })
        })
        .collect();
    let mut holds = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok((hold, _)) => holds.push(hold),
            Err(UsageError::Exhausted(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(holds.len(), 100);
    // Half of them did nothing; what they give back is won by others, while the rest settles.
    let calls: Vec<_> = holds
        .into_iter()
        .enumerate()
        .map(|(n, hold)| {
            let usage = processes[n % 4].0.clone();
            tokio::spawn(async move {
                match n % 2 {
                    0 => hold.settle(Tally::reported(tokens(1))).await.map(|_| 1).unwrap(),
                    _ => {
                        hold.release().await.unwrap();
                        let Ok((hold, _)) = usage.reserve(&owner(), tokens(1)).await else { return 0 };
                        hold.settle(Tally::reported(tokens(1))).await.unwrap();
                        1
                    }
                }
            })
        })
        .collect();
    let mut spent = 0;
    for call in calls {
        spent += call.await.unwrap();
    }
    // What is being settled is seen twice for a moment, so some may be refused; never is too much
    // admitted, and the rest is there afterwards.
    assert!((50..=100).contains(&spent), "{spent}");
    for _ in spent..100 {
        spend(&processes[0].0, 1).await;
    }
    refused(&processes[1].0, 1).await;
    assert_eq!(figures(&processes[0].0).await, ([100; 3], 0));
}

#[tokio::test]
async fn what_a_crashed_process_set_aside_comes_back_and_what_it_settles_late_is_counted() {
    let setting = Setting::new(daily(100));
    let ((crashed, _never_runs), (usage, _books)) = (setting.process(), setting.process());
    drop(crashed.reserve(&owner(), tokens(100)).await.unwrap());
    let (late, _) = {
        setting.pass(LIFETIME / 2);
        refused(&usage, 1).await;
        setting.pass(LIFETIME / 2);
        usage.reserve(&owner(), tokens(100)).await.unwrap()
    };
    setting.pass(LIFETIME);
    spend(&usage, 30).await;
    late.settle(Tally::reported(tokens(100))).await.unwrap();
    assert_eq!(figures(&usage).await, ([130; 3], 0), "what was used is the truth, whatever was set aside");
    refused(&usage, 1).await;
}

#[tokio::test]
async fn a_hold_that_is_dropped_is_released_and_one_that_is_booked_is_counted_without_waiting() {
    let setting = Setting::new(daily(100));
    let (usage, mut books) = setting.process();
    let (first, _) = usage.reserve(&owner(), tokens(60)).await.unwrap();
    let (second, _) = usage.reserve(&owner(), tokens(40)).await.unwrap();
    drop(first);
    second.book(Tally::estimate(tokens(10)));
    assert_eq!(figures(&usage).await.1, 100, "not before the bookkeeper comes");
    books.catch_up().await;
    assert_eq!(figures(&usage).await, ([10; 3], 0));
    let weak = Arc::downgrade(usage.shared());
    drop(usage);
    // It ends by itself once nobody can leave it anything.
    tokio::time::timeout(HOUR, books.run()).await.unwrap();
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn a_reservation_across_midnight_counts_on_both_days_and_is_booked_on_the_second() {
    let setting = Setting::new(daily(100));
    let (usage, _books) = setting.process();
    let midnight = START.day().next().start();
    setting.clock.set(Timestamp::from_unix_ms(midnight.unix_ms() - 1000));
    spend(&usage, 40).await;
    let (hold, _) = usage.reserve(&owner(), tokens(60)).await.unwrap();
    assert_eq!(refused(&usage, 1).await.1, midnight);
    setting.clock.set(midnight);
    assert_eq!(figures(&usage).await, ([0, 40, 40], 60));
    assert_eq!(refused(&usage, 41).await.1, midnight.day().next().start());
    let (other, _) = usage.reserve(&owner(), tokens(40)).await.unwrap();
    hold.settle(Tally::reported(tokens(60))).await.unwrap();
    other.release().await.unwrap();
    assert_eq!(figures(&usage).await, ([60, 100, 100], 0));
}

#[tokio::test]
async fn a_clock_that_is_stepped_gives_no_budget_twice() {
    let setting = Setting::new(daily(100));
    let (usage, _books) = setting.process();
    spend(&usage, 100).await;
    setting.go_back(HOUR);
    refused(&usage, 1).await;
    // Forward by days and back again: the day's counters are where they were.
    setting.pass(5 * 24 * HOUR);
    spend(&usage, 100).await;
    refused(&usage, 1).await;
    setting.go_back(5 * 24 * HOUR);
    refused(&usage, 1).await;
    // A day back is another day, with a budget of its own, once.
    setting.go_back(24 * HOUR);
    spend(&usage, 100).await;
    setting.pass(24 * HOUR);
    setting.go_back(24 * HOUR);
    refused(&usage, 1).await;
}

#[tokio::test]
async fn a_hold_made_in_the_future_does_not_block_for_longer_than_any_other() {
    let setting = Setting::new(daily(100));
    let (usage, _never_runs) = setting.process();
    setting.pass(HOUR);
    drop(usage.reserve(&owner(), tokens(100)).await.unwrap());
    setting.go_back(HOUR);
    refused(&usage, 1).await;
    // The next write gives it its end by the present clock.
    let (nothing, _) = usage.reserve(&owner(), Amounts::of(Metric::Turns, 1)).await.unwrap();
    setting.pass(LIFETIME);
    spend(&usage, 100).await;
    drop(nothing);
}

#[tokio::test]
async fn the_window_gives_back_what_was_spent_after_five_hours() {
    let limits = Limits::default().with(Period::Window, Unit::Tokens, Limit::stop_at(100));
    let setting = Setting::new(limits);
    let (usage, _books) = setting.process();
    spend(&usage, 60).await;
    setting.pass(2 * HOUR);
    spend(&usage, 40).await;
    let (period, leaves) = refused(&usage, 1).await;
    assert_eq!((period, leaves), (Period::Window, START.plus(5 * HOUR + SLOT)));
    setting.clock.set(Timestamp::from_unix_ms(leaves.unix_ms() - 1));
    refused(&usage, 1).await;
    setting.clock.set(leaves);
    spend(&usage, 60).await;
    assert_eq!(refused(&usage, 1).await.1, START.plus(7 * HOUR + SLOT));
    assert_eq!(figures(&usage).await.0, [160, 160, 100]);
    setting.pass(5 * HOUR + SLOT);
    assert_eq!(figures(&usage).await.0, [160, 160, 0]);
}

#[tokio::test]
async fn the_week_begins_on_monday_and_its_limit_outlasts_the_day() {
    let setting = Setting::new(daily(100).with(Period::Week, Unit::Tokens, Limit::stop_at(150)));
    let (usage, _books) = setting.process();
    let monday = START.day().monday().plus_days(7).start();
    spend(&usage, 100).await;
    setting.pass(24 * HOUR);
    assert_eq!(refused(&usage, 51).await, (Period::Week, monday));
    spend(&usage, 50).await;
    setting.clock.set(monday);
    spend(&usage, 100).await;
    assert_eq!(figures(&usage).await.0, [100, 100, 100]);
}

#[tokio::test]
async fn counters_expire_when_nobody_needs_them_any_more() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    spend(&usage, 5).await;
    let keys = async || {
        let found = setting.store.scan(setting.clock.now(), "livos:usage:", None, 100).await.unwrap();
        let parts = found.iter().map(|found| found.key.split(':').nth(2).unwrap().to_owned());
        parts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys().await, "day holds week window");
    for (hours, left) in [(2, "day week window"), (12, "day week"), (48, "week"), (14 * 24, "")] {
        setting.clock.set(START.plus(hours * HOUR));
        assert_eq!(keys().await, left, "after {hours} h");
    }
    while setting.store.collect(setting.clock.now(), 100).await.unwrap() > 0 {}
    let every = setting.store.scan(START, "", None, 100).await.unwrap();
    assert_eq!(every, [], "nothing without a lifetime");
}

#[tokio::test]
async fn an_estimate_is_marked_until_it_is_corrected_and_stands_once_its_day_is_over() {
    let setting = Setting::new(daily(100));
    let (usage, _books) = setting.process();
    let (hold, _) = usage.reserve(&owner(), tokens(50)).await.unwrap();
    let booking = hold.settle(Tally::estimate(tokens(30).with(Metric::MicroDollars, 9))).await.unwrap();
    let today = async || usage.report(&owner()).await.unwrap().periods[0].tally;
    let estimate = tokens(30).with(Metric::MicroDollars, 9);
    assert_eq!(today().await, Tally { counted: estimate, estimated: estimate });
    let reported = tokens(20).with(Metric::InputTokens, 5).with(Metric::MicroDollars, 7);
    assert!(usage.correct(booking, reported).await.unwrap());
    assert_eq!(today().await, Tally { counted: reported, estimated: Amounts::default() });
    assert_eq!(figures(&usage).await.0, [25; 3], "in every period");

    let old = usage.record(&owner(), Tally::estimate(tokens(1))).await.unwrap();
    setting.pass(24 * HOUR);
    assert!(!usage.correct(old, tokens(0)).await.unwrap());
    let again = usage.record(&owner(), Tally::reported(tokens(4))).await.unwrap();
    assert!(usage.correct(again, tokens(3)).await.unwrap(), "what was reported may be reported better");
    assert_eq!(today().await, Tally { counted: tokens(3), estimated: Amounts::default() });
}

#[tokio::test]
async fn one_user_has_so_many_holds_and_no_more() {
    let setting = Setting::new(Limits::default());
    let config = UsageConfig { most_holds: 2, ..UsageConfig::default() };
    let (usage, _books) =
        Usage::with_clock(Arc::clone(&setting.store), config, Arc::clone(&setting.clock) as Arc<dyn Clock>);
    let holds = [
        usage.reserve(&owner(), tokens(1)).await.unwrap(),
        usage.reserve(&owner(), tokens(1)).await.unwrap(),
    ];
    assert!(matches!(usage.reserve(&owner(), tokens(1)).await, Err(UsageError::TooMany(2))));
    drop(holds);
}

#[tokio::test]
async fn a_report_says_how_far_each_limit_is_used_up() {
    let setting =
        Setting::new(daily(100).with(Period::Week, Unit::MicroDollars, Limit { warn: 10, stop: 1000 }));
    let (usage, _books) = setting.process();
    usage.record(&owner(), Tally::reported(tokens(70).with(Metric::MicroDollars, 9))).await.unwrap();
    let (_hold, _) = usage.reserve(&owner(), tokens(30).with(Metric::MicroDollars, 1)).await.unwrap();
    let report = usage.report(&owner()).await.unwrap();
    let limits: Vec<_> = report
        .limits
        .iter()
        .map(|limit| (limit.period, limit.unit, limit.spent, limit.held, limit.left(), limit.standing()))
        .collect();
    assert_eq!(
        limits,
        [
            (Period::Day, Unit::Tokens, 70, 30, 0, "stop"),
            (Period::Week, Unit::MicroDollars, 9, 1, 990, "warn"),
        ]
    );
    assert_eq!(report.periods[0].since, START.day().start());
    assert_eq!(report.periods[1].since, START.day().monday().start());
}

#[tokio::test]
async fn what_stands_in_the_store_and_is_not_ours_is_an_error_that_names_its_key() {
    let setting = Setting::new(daily(100));
    let (usage, _books) = setting.process();
    let key = super::ledger::HOLDS.key("owner").unwrap();
    setting.store.put(START, &key, "gibberish".into()).await.unwrap();
    let error = usage.reserve(&owner(), tokens(1)).await.unwrap_err();
    assert!(error.to_string().contains("livos:usage:holds:owner"), "{error}");
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_across_processes_that_share_a_redis() {
    use crate::{
        redis::{Redis, RedisConfig},
        store::RedisStore,
        testing::RedisServer,
    };
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let mut setting = Setting::new(daily(100));
    setting.store = Arc::new(RedisStore::new(Redis::new(RedisConfig::new(server.url())).unwrap()));
    race(&setting).await;
}
