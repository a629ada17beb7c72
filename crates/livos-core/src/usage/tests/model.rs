//! Random histories of several processes with a clock that is stepped, against lists that are added
//! up from the front.

use proptest::prelude::*;

use super::*;
use crate::{testing::matrix, usage::archive::StoreArchive};

/// A step of a history. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Step {
    Reserve { process: usize, user: usize, amount: u64 },
    Settle { hold: usize, used: u64, estimated: bool },
    Release { hold: usize },
    Crash { hold: usize },
    Record { user: usize, amount: u64 },
    Pass(u64),
    Back(u64),
    Archive,
}

const USERS: usize = 2;
const LIMITS: [(Period, u64); 3] = [(Period::Day, 100), (Period::Week, 220), (Period::Window, 60)];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2usize, 0..USERS, 1..40u64).prop_map(|(process, user, amount)| Step::Reserve { process, user, amount }),
        5 => (any::<usize>(), 0..50u64, any::<bool>())
            .prop_map(|(hold, used, estimated)| Step::Settle { hold, used, estimated }),
        1 => any::<usize>().prop_map(|hold| Step::Release { hold }),
        2 => any::<usize>().prop_map(|hold| Step::Crash { hold }),
        1 => (0..USERS, 1..20u64).prop_map(|(user, amount)| Step::Record { user, amount }),
        3 => (0..900u64).prop_map(Step::Pass),
        2 => (900..20_000u64).prop_map(Step::Pass),
        1 => (0..10_000u64).prop_map(Step::Back),
        1 => Just(Step::Archive),
    ]
}

/// So many tokens at this time, and whether they are an estimate.
#[derive(Debug, Clone, Copy)]
struct Spending {
    at: Timestamp,
    user: usize,
    amount: u64,
    estimated: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Aside {
    id: u64,
    until: Timestamp,
    amount: u64,
}

#[derive(Debug, Default)]
struct Model {
    spendings: Vec<Spending>,
    /// Of each user, and when they were last written.
    asides: [(Vec<Aside>, Timestamp); USERS],
}

impl Model {
    fn spent(&self, now: Timestamp, user: usize, period: Period, only_estimates: bool) -> u64 {
        let slot = |at: Timestamp| at.unix_ms() / 600_000;
        let within = |at: Timestamp| match period {
            Period::Day => at.day() == now.day(),
            Period::Week => at.day().monday() == now.day().monday(),
            Period::Window => (slot(now) - 30..=slot(now) + 30).contains(&slot(at)),
        };
        let counts = |spending: &&Spending| {
            spending.user == user && within(spending.at) && (spending.estimated || !only_estimates)
        };
        self.spendings.iter().filter(counts).map(|spending| spending.amount).sum()
    }

    /// What is set aside, as a reader sees it.
    fn aside(&self, now: Timestamp, user: usize) -> Vec<Aside> {
        let (asides, written) = &self.asides[user];
        if written.plus(2 * HOUR) <= now {
            return Vec::new();
        }
        let living = asides.iter().filter(|aside| aside.until > now).cloned();
        living.map(|aside| Aside { until: aside.until.min(now.plus(LIFETIME)), ..aside }).collect()
    }

    fn held(&self, now: Timestamp, user: usize) -> u64 {
        self.aside(now, user).iter().map(|aside| aside.amount).sum()
    }

    /// The period whose limit refuses, if one does.
    fn reserve(&mut self, now: Timestamp, user: usize, id: u64, amount: u64) -> Option<Period> {
        let mut asides = self.aside(now, user);
        let held: u64 = asides.iter().map(|aside| aside.amount).sum();
        for (period, stop) in LIMITS {
            if self.spent(now, user, period, false) + held + amount > stop {
                return Some(period);
            }
        }
        asides.push(Aside { id, until: now.plus(LIFETIME), amount });
        self.asides[user] = (asides, now);
        None
    }

    fn end(&mut self, now: Timestamp, user: usize, id: u64) {
        let mut asides = self.aside(now, user);
        if let Some(place) = asides.iter().position(|aside| aside.id == id) {
            asides.remove(place);
            self.asides[user] = (asides, now);
        }
    }
}

async fn play(mut setting: Setting, prefix: &str, steps: Vec<Step>) {
    for (period, stop) in LIMITS {
        setting.limits = setting.limits.clone().with(period, Unit::Tokens, Limit::stop_at(stop));
    }
    let users: [UserId; USERS] = std::array::from_fn(|n| UserId::try_from(format!("{prefix}{n}")).unwrap());
    let processes = [setting.process(), setting.process()];
    let (mut model, mut holds) = (Model::default(), Vec::<(Hold, usize, u64)>::new());
    let archive = Arc::new(StoreArchive::new(Arc::clone(&setting.store)));
    let archiver = archiver(&setting, &archive);
    for (number, step) in steps.into_iter().enumerate() {
        let (at, now) = (format!("step {number}, {step:?}"), setting.clock.now());
        match step {
            Step::Reserve { process, user, amount } => {
                let id = number as u64;
                let reserved = processes[process].0.reserve(&users[user], tokens(amount)).await;
                match (reserved, model.reserve(now, user, id, amount)) {
                    (Ok((hold, _)), None) => holds.push((hold, user, id)),
                    (Err(UsageError::Exhausted(exhausted)), Some(period)) => {
                        assert_eq!(exhausted.period, period, "{at}");
                        assert!(exhausted.resets_at > now, "{at}");
                    }
                    (reserved, expected) => panic!("{at}: {reserved:?}, not {expected:?}"),
                }
            }
            Step::Settle { hold, used, estimated } if !holds.is_empty() => {
                let (hold, user, id) = holds.swap_remove(hold % holds.len());
                let used_up =
                    if estimated { Tally::estimate(tokens(used)) } else { Tally::reported(tokens(used)) };
                hold.settle(used_up).await.unwrap();
                model.spendings.push(Spending { at: now, user, amount: used, estimated });
                model.end(now, user, id);
            }
            Step::Release { hold } if !holds.is_empty() => {
                let (hold, user, id) = holds.swap_remove(hold % holds.len());
                hold.release().await.unwrap();
                model.end(now, user, id);
            }
            Step::Crash { hold } if !holds.is_empty() => {
                let place = hold % holds.len();
                // Nobody runs the bookkeeper, so nobody hears of it.
                drop(holds.swap_remove(place));
            }
            Step::Settle { .. } | Step::Release { .. } | Step::Crash { .. } => {}
            Step::Record { user, amount } => {
                processes[0].0.record(&users[user], Tally::reported(tokens(amount))).await.unwrap();
                model.spendings.push(Spending { at: now, user, amount, estimated: false });
            }
            Step::Pass(seconds) => setting.pass(Duration::from_secs(seconds)),
            Step::Back(seconds) => setting.go_back(Duration::from_secs(seconds)),
            Step::Archive => {
                archiver.round(now).await.unwrap();
            }
        }
        let now = setting.clock.now();
        for (user, id) in users.iter().enumerate() {
            let report = processes[number % 2].0.report(id).await.unwrap();
            for usage in report.periods {
                let (spent, estimated) = (usage.tally.counted, usage.tally.estimated);
                assert_eq!(
                    spent.unit(Unit::Tokens),
                    model.spent(now, user, usage.period, false),
                    "{at}, {usage:?}"
                );
                if usage.period != Period::Window {
                    let expected = model.spent(now, user, usage.period, true);
                    assert_eq!(estimated.unit(Unit::Tokens), expected, "{at}, {usage:?}");
                }
            }
            assert_eq!(report.held.unit(Unit::Tokens), model.held(now, user), "{at}");
        }
    }
    // Every day is in the archive in the end, however often it was archived in between.
    let last = setting.clock.now().day().plus_days(1);
    archiver.round(last.start()).await.unwrap();
    for (user, id) in users.iter().enumerate() {
        let kept = archive.days(id, START.day().plus_days(-10), last).await.unwrap();
        let kept: Vec<_> = kept.iter().map(|day| (day.day, day.tally.counted.unit(Unit::Tokens))).collect();
        let mut expected = std::collections::BTreeMap::new();
        for spending in model.spendings.iter().filter(|spending| spending.user == user && spending.amount > 0)
        {
            *expected.entry(spending.at.day()).or_insert(0) += spending.amount;
        }
        // What lies ahead of a clock that was set back is not finished.
        expected.retain(|day, _| *day < last);
        assert_eq!(kept, expected.into_iter().collect::<Vec<_>>());
    }
}

#[cfg(feature = "redis")]
#[test]
fn any_history_of_usage_in_redis_is_that_of_the_model() {
    use crate::{
        redis::{Redis, RedisConfig},
        store::RedisStore,
        testing::RedisServer,
    };
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
    let number = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(matrix(100) as u32));
    let histories = prop::collection::vec(step(), 1..40);
    let played = runner.run(&histories, |steps| {
        number.set(number.get() + 1);
        let mut setting = Setting::new(Limits::default());
        setting.store = Arc::new(RedisStore::new(redis.clone()));
        let _: () = runtime.block_on(play(setting, &format!("{}-", number.get()), steps));
        Ok(())
    });
    played.unwrap();
}

fn play_in(store: Arc<dyn Store>, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(play(Setting { store, ..Setting::new(Limits::default()) }, "user-", steps));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(matrix(100) as u32))]

    #[test]
    fn any_history_of_usage_in_the_embedded_store_is_that_of_the_model(steps in prop::collection::vec(step(), 1..60)) {
        play_in(in_memory(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(matrix(1500) as u32))]

    #[test]
    fn any_history_of_usage_is_that_of_the_model(steps in prop::collection::vec(step(), 1..80)) {
        play_in(Arc::new(super::map::MapStore::default()), steps);
    }
}
