//! The meter that draws portions from the store.

use std::sync::atomic::Ordering;

use super::{map::MapStore, *};
use crate::budget::{Meter, NotAdmitted};

const PORTION: u64 = 1_000;

fn config() -> DrawConfig {
    let price = VoicePrice { hour: Some(288_000), million_characters: Some(30_000_000) };
    DrawConfig { audio: Duration::from_millis(PORTION), characters: PORTION, price, ..DrawConfig::default() }
}

fn characters(stop: u64) -> Limits {
    Limits::default().with(Period::Day, Unit::Characters, Limit::stop_at(stop))
}

/// So much that nothing comes near it.
fn ample() -> Limits {
    characters(PORTION * 1_000).with(Period::Day, Unit::AudioMs, Limit::stop_at(PORTION * 1_000))
}

fn in_virtual_time(limits: Limits) -> Setting {
    Setting { store: Arc::new(MapStore::default()), ..Setting::new(limits) }
}

/// Spends `amount` once it is admitted, or answers the limit in its way.
async fn admitted(meter: &Meter, unit: Unit, amount: u64) -> Result<(), NotAdmitted> {
    loop {
        let topped_up = meter.topped_up();
        match meter.spend(unit, amount) {
            Err(NotAdmitted::NotYet(_)) => topped_up.await,
            other => return other.map(drop),
        }
    }
}

/// Spends characters one by one, as fast as the keeper lets it, until they are refused for good.
async fn spend_all(meter: &Meter) -> u64 {
    let (mut spent, mut refusals) = (0, 0);
    while refusals < 20 {
        match meter.spend(Unit::Characters, 1) {
            Ok(_) => (spent, refusals) = (spent + 1, 0),
            Err(_) => refusals += 1,
        }
        // The keeper has its turn, and at a refusal its time.
        tokio::task::yield_now().await;
        if refusals > 0 {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
    }
    spent
}

#[tokio::test(start_paused = true)]
async fn two_processes_spend_the_whole_budget_and_nothing_beyond_it() {
    let setting = in_virtual_time(characters(10_500));
    let ((one, one_books), (other, other_books)) = (setting.process(), setting.process());
    let (first, first_keeper) = one.meter(owner(), config()).await.unwrap();
    let (second, second_keeper) = other.meter(owner(), config()).await.unwrap();
    let running = [
        tokio::spawn(first_keeper.run()),
        tokio::spawn(second_keeper.run()),
        tokio::spawn(one_books.run()),
        tokio::spawn(other_books.run()),
    ];
    let spending = tokio::spawn(async move { spend_all(&second).await });
    let spent = spend_all(&first).await + spending.await.unwrap();
    assert_eq!(spent, 10_500);
    let report = one.report(&owner()).await.unwrap();
    assert_eq!(report.periods[0].tally.counted.get(Metric::TtsCharacters), spent);
    // The money is that of the whole, not the sum of rounded parts: one micro-dollar of rounding
    // for each process at the most.
    let cost = report.periods[0].tally.counted.get(Metric::MicroDollars);
    assert!((spent * 30..=spent * 30 + 2).contains(&cost), "{cost}");
    drop((first, one, other));
    for task in running {
        task.await.unwrap();
    }
    let (usage, _) = setting.process();
    let report = usage.report(&owner()).await.unwrap();
    assert!(report.held.is_zero(), "{:?}", report.held);
}

#[tokio::test(start_paused = true)]
async fn what_was_spent_last_is_counted_and_the_rest_given_back() {
    let setting = in_virtual_time(ample());
    let (usage, mut books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let portion = Amounts::of(Metric::SttMs, PORTION).with(Metric::TtsCharacters, PORTION);
    let held = usage.report(&owner()).await.unwrap().held;
    assert_eq!(held, portion.with(Metric::MicroDollars, config().price.cost(&portion)));
    let (hold, _) = meter.reserve(Unit::AudioMs, 400).unwrap();
    meter.spend(Unit::Characters, 7).unwrap();
    let running = tokio::spawn(keeper.run());
    meter.settle(hold, 350);
    drop(meter);
    running.await.unwrap();
    books.catch_up().await;
    let report = usage.report(&owner()).await.unwrap();
    let used = Amounts::of(Metric::SttMs, 350).with(Metric::TtsCharacters, 7);
    assert_eq!(report.periods[0].tally.counted, used.with(Metric::MicroDollars, 28 + 210));
    assert!(report.held.is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_money_stops_the_voice_as_well() {
    // A character costs 30 micro-dollars.
    let limits = Limits::default().with(Period::Day, Unit::MicroDollars, Limit::stop_at(30_000));
    let setting = in_virtual_time(limits);
    let (usage, _books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let held = usage.report(&owner()).await.unwrap().held.get(Metric::MicroDollars);
    assert!((1..=7_500).contains(&held), "{held}: three quarters are left to others");
    let running = tokio::spawn(keeper.run());
    let spent = spend_all(&meter).await;
    assert!((950..1_000).contains(&spent), "{spent}: the rest is set aside for audio");
    let counted = usage.report(&owner()).await.unwrap().periods[0].tally.counted;
    assert_eq!(counted.get(Metric::MicroDollars), 30 * spent);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_new_day_gives_an_empty_meter_new_funds() {
    let setting = in_virtual_time(characters(PORTION));
    let (usage, _books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let running = tokio::spawn(keeper.run());
    assert_eq!(spend_all(&meter).await, PORTION);
    let Err(NotAdmitted::Exhausted(refused)) = meter.spend(Unit::Characters, 1) else {
        panic!("it is spent")
    };
    assert_eq!(refused.resets_at, START.day().next().start());
    setting.pass(24 * HOUR);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(meter.spend(Unit::Characters, 1).is_ok());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_quiet_meter_keeps_its_portion_and_a_crashed_one_loses_it() {
    let setting = in_virtual_time(characters(PORTION));
    let ((usage, _books), (other, _other_books)) = (setting.process(), setting.process());
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let running = tokio::spawn(keeper.run());
    // A quarter of what is left, and the rest is others'.
    let portion = PORTION / 4;
    let held = async || other.report(&owner()).await.unwrap().held.get(Metric::TtsCharacters);
    for _ in 0..10 {
        setting.pass(LIFETIME / 2);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(held().await, portion);
    }
    running.abort();
    let _ = running.await;
    setting.pass(LIFETIME);
    assert_eq!(held().await, 0);
    drop(meter);
}

#[tokio::test]
async fn a_store_that_fails_gives_no_meter() {
    let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(file.clone()));
    let config_of_usage = UsageConfig { limits: ample(), ..UsageConfig::default() };
    let (usage, _books) = Usage::new(store, config_of_usage);
    file.close().await;
    assert!(matches!(usage.meter(owner(), config()).await, Err(UsageError::Store(_))));
    let error = usage.reserve(&owner(), tokens(1)).await.unwrap_err();
    let told = error.into_reply_error(START);
    assert_eq!(told.kind(), crate::conversation::ReplyErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_fails_a_meter_spends_what_it_has_and_no_longer_than_it_may() {
    let store = Arc::new(MapStore::default());
    let setting = Setting { store: Arc::clone(&store) as Arc<dyn Store>, ..Setting::new(ample()) };
    let (usage, _books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let running = tokio::spawn(keeper.run());
    let wait = || tokio::time::sleep(Duration::from_secs(6));
    store.fails.store(true, Ordering::SeqCst);
    meter.spend(Unit::Characters, 600).unwrap();
    wait().await;
    assert!(meter.spend(Unit::Characters, 300).is_ok());
    assert_eq!(
        meter.spend(Unit::Characters, 101),
        Err(NotAdmitted::NotYet(Unit::Characters)),
        "nothing is topped up, and no limit is reached"
    );
    store.fails.store(false, Ordering::SeqCst);
    wait().await;
    let counted = usage.report(&owner()).await.unwrap().periods[0].tally.counted;
    assert_eq!(counted.get(Metric::TtsCharacters), 900, "what was spent meanwhile is counted once");
    assert!(meter.spend(Unit::Characters, PORTION).is_ok());
    wait().await;
    store.fails.store(true, Ordering::SeqCst);
    setting.pass(LIFETIME);
    meter.spend(Unit::Characters, 1).unwrap();
    wait().await;
    assert!(meter.spend(Unit::Characters, 1).is_err(), "its hold is over, and others may have what was left");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_the_store_could_not_count_is_counted_once_it_can() {
    let store = Arc::new(MapStore::default());
    let setting = Setting { store: Arc::clone(&store) as Arc<dyn Store>, ..Setting::new(Limits::default()) };
    let (usage, books) = setting.process();
    let (hold, _) = usage.reserve(&owner(), tokens(10)).await.unwrap();
    let running = tokio::spawn(books.run());
    store.fails.store(true, Ordering::SeqCst);
    hold.book(Tally::reported(tokens(7)));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    store.fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(figures(&usage).await, ([7; 3], 0));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_everything_is_admitted_at_once_and_nothing_is_set_aside() {
    let setting = in_virtual_time(characters(10));
    let (usage, _books) = setting.process();
    let free = DrawConfig { price: VoicePrice::default(), ..config() };
    let (meter, keeper) = usage.meter(owner(), free).await.unwrap();
    // Two hundred people begin to speak before the keeper runs for the first time.
    let holds: Vec<_> = (0..200).map(|_| meter.reserve(Unit::AudioMs, PORTION).unwrap().0).collect();
    assert_eq!(usage.report(&owner()).await.unwrap().held.get(Metric::SttMs), 0);
    let running = tokio::spawn(keeper.run());
    holds.into_iter().for_each(|hold| meter.settle(hold, PORTION));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let report = usage.report(&owner()).await.unwrap();
    assert_eq!(report.periods[0].tally.counted.get(Metric::SttMs), 200 * PORTION);
    assert_eq!(report.held.get(Metric::SttMs), 0);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_money_bounds_what_costs_money() {
    let limits = Limits::default().with(Period::Day, Unit::MicroDollars, Limit::stop_at(100_000));
    let setting = in_virtual_time(limits);
    let (usage, _books) = setting.process();
    let (meter, _keeper) = usage.meter(owner(), config()).await.unwrap();
    assert!(meter.reserve(Unit::AudioMs, 100 * PORTION).is_err());
}

#[tokio::test(start_paused = true)]
async fn many_who_begin_at_once_wait_for_a_top_up_and_none_is_refused() {
    let setting = in_virtual_time(ample());
    let (usage, _books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let running = tokio::spawn(keeper.run());
    let began = tokio::time::Instant::now();
    let speakers = (0..200).map(|_| {
        let meter = meter.clone();
        tokio::spawn(async move { admitted(&meter, Unit::AudioMs, PORTION / 2).await })
    });
    for speaker in speakers.collect::<Vec<_>>() {
        speaker.await.unwrap().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_can_be_spent_at_once_although_a_portion_is_only_a_quarter_of_it() {
    let setting = in_virtual_time(characters(PORTION));
    let (usage, _books) = setting.process();
    let (meter, keeper) = usage.meter(owner(), config()).await.unwrap();
    let running = tokio::spawn(keeper.run());
    assert_eq!(meter.spend(Unit::Characters, PORTION - 10), Err(NotAdmitted::NotYet(Unit::Characters)));
    assert!(admitted(&meter, Unit::Characters, PORTION - 10).await.is_ok());
    assert!(matches!(admitted(&meter, Unit::Characters, 11).await, Err(NotAdmitted::Exhausted(_))));
    assert!(admitted(&meter, Unit::Characters, 10).await.is_ok());
    running.abort();
}
