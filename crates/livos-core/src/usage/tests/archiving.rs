//! Finished days find their way into the archive, once, whatever fails on the way.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::time::UtcDay;
use crate::usage::archive::{ArchiveError, StoreArchive, contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_in_the_store_keeps_the_contract() {
    contract::check(Arc::new(StoreArchive::new(in_memory()))).await;
}

/// Crashes at the call of this number: before it keeps the first of the days, after it has kept
/// some, or after all of them.
struct Crashing {
    archive: StoreArchive,
    calls: AtomicUsize,
    at: usize,
}

#[async_trait]
impl UsageArchive for Crashing {
    async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError> {
        for part in 0..=days.len() {
            if self.calls.fetch_add(1, Ordering::SeqCst) == self.at {
                return Err(ArchiveError::Contended);
            }
            self.archive.keep(days.get(part..=part).unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn days(&self, user: &UserId, first: UtcDay, last: UtcDay) -> Result<Vec<DayUsage>, ArchiveError> {
        self.archive.days(user, first, last).await
    }
}

async fn archived(archive: &dyn UsageArchive) -> Vec<(String, u64)> {
    let days = archive.days(&owner(), START.day().plus_days(-30), START.day().plus_days(30)).await.unwrap();
    days.iter().map(|day| (day.day.to_string(), day.tally.counted.unit(Unit::Tokens))).collect()
}

fn date(days: i64) -> String {
    START.day().plus_days(days).to_string()
}

#[tokio::test]
async fn a_crash_anywhere_in_a_round_counts_nothing_twice_and_misses_nothing() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    for day in 0..4 {
        spend(&usage, 10 + day).await;
        setting.pass(24 * HOUR);
    }
    let expected: Vec<_> = (0..4).map(|day| (date(day), 10 + day.unsigned_abs())).collect();
    let mut crashes = 0;
    for at in 0.. {
        let archive =
            Arc::new(Crashing { archive: StoreArchive::new(in_memory()), calls: AtomicUsize::new(0), at });
        let archiver = archiver(&setting, &archive);
        if archiver.round(setting.clock.now()).await.is_ok() {
            assert_eq!(archived(&*archive).await, expected);
            break;
        }
        crashes += 1;
        archiver.round(setting.clock.now()).await.unwrap();
        assert_eq!(archived(&*archive).await, expected, "after a crash at {at}");
    }
    assert!(crashes > 5, "{crashes}");
}

#[tokio::test]
async fn days_that_were_missed_are_archived_for_two_weeks_and_the_present_day_is_not() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    let archive = Arc::new(StoreArchive::new(in_memory()));
    let archiver = archiver(&setting, &archive);
    spend(&usage, 1).await;
    setting.pass(24 * HOUR);
    spend(&usage, 2).await;
    // The server was off for eleven days: the hashes of the days are gone, that of the week is not.
    setting.pass(11 * 24 * HOUR);
    spend(&usage, 3).await;
    archiver.round(setting.clock.now()).await.unwrap();
    assert_eq!(archived(&*archive).await, [(date(0), 1), (date(1), 2)]);
    spend(&usage, 4).await;
    setting.pass(24 * HOUR);
    archiver.round(setting.clock.now()).await.unwrap();
    assert_eq!(archived(&*archive).await, [(date(0), 1), (date(1), 2), (date(12), 7)]);
}

#[tokio::test]
async fn a_day_that_was_archived_too_early_is_put_right() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    let archive = Arc::new(StoreArchive::new(in_memory()));
    let archiver = archiver(&setting, &archive);
    spend(&usage, 1).await;
    // The clock was a day ahead.
    archiver.round(START.plus(24 * HOUR)).await.unwrap();
    spend(&usage, 2).await;
    setting.pass(24 * HOUR);
    archiver.round(setting.clock.now()).await.unwrap();
    assert_eq!(archived(&*archive).await, [(date(0), 3)]);
}

#[tokio::test]
async fn more_users_than_one_page_are_archived_with_their_estimates() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    let users: Vec<UserId> = (0..450).map(|n| UserId::try_from(format!("user-{n}")).unwrap()).collect();
    for user in &users {
        usage.record(user, Tally::estimate(tokens(7))).await.unwrap();
    }
    setting.pass(24 * HOUR);
    let archive = Arc::new(StoreArchive::new(in_memory()));
    let archiver = archiver(&setting, &archive);
    archiver.round(setting.clock.now()).await.unwrap();
    let day = START.day();
    for user in users {
        let kept = archive.days(&user, day, day).await.unwrap();
        let tally = Tally { counted: tokens(7), estimated: tokens(7) };
        assert_eq!(kept, [DayUsage { user, day, tally }]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_archiver_goes_on_after_a_failure_and_ends_with_the_drain() {
    let setting = Setting::new(Limits::default());
    let (usage, _books) = setting.process();
    spend(&usage, 5).await;
    setting.pass(24 * HOUR);
    let archive =
        Arc::new(Crashing { archive: StoreArchive::new(in_memory()), calls: AtomicUsize::new(0), at: 0 });
    let archiver = archiver(&setting, &archive);
    let drain = crate::drain::Drain::new();
    let signal = drain.signal();
    let running = tokio::spawn(archiver.run(signal));
    while archived(&*archive).await.is_empty() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(archived(&*archive).await, [(date(0), 5)]);
    drain.begin();
    running.await.unwrap();
}

#[cfg(feature = "postgres")]
mod in_postgres {
    use super::*;
    use crate::{secret::Secret, testing::PostgresServer, usage::archive::PostgresArchive};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_archive_in_postgres_keeps_the_contract_and_is_read_by_sql() {
        let folder = tempfile::tempdir().unwrap();
        let server = PostgresServer::start(folder.path());
        let archive = Arc::new(PostgresArchive::new(&server.address()).unwrap());
        contract::check(Arc::clone(&archive) as Arc<dyn UsageArchive>).await;
        let sum =
            "SELECT sum(amount) FROM livos_usage_days WHERE user_id = 'crowd' AND metric = 'output_tokens'";
        assert_eq!(server.sql(sum), "50");
        assert_eq!(server.sql("SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE application_name = 'livos'"), "1");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_crashes_between_and_in_rounds_costs_no_day_and_none_counts_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = PostgresServer::start(folder.path());
        let setting = Setting::new(Limits::default());
        let (usage, _books) = setting.process();
        let archive = Arc::new(PostgresArchive::new(&server.address()).unwrap());
        let archiver = archiver(&setting, &archive);
        let mut expected = Vec::new();
        for day in 0..4 {
            spend(&usage, 10).await;
            expected.push((date(day), 10));
            setting.pass(24 * HOUR);
            let (now, round) = (setting.clock.now(), archiver.clone());
            let running = tokio::spawn(async move { round.round(now).await });
            server.kill();
            let outcome = running.await.unwrap();
            if let Err(error) = &outcome {
                assert!(matches!(error, ArchiveError::Postgres(error) if error.is_temporary()), "{error:?}");
            }
            server.restart();
            // The connection that was lost is found out and made again.
            archiver.round(now).await.unwrap();
            assert_eq!(archived(&*archive).await, expected);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_wrong_with_a_server_is_said_without_its_password() {
        for address in ["", "nonsense", "postgres://", "redis://127.0.0.1", "postgres://u:hunter2@h:port/x"] {
            let error = PostgresArchive::new(&Secret::new(address)).unwrap_err();
            assert!(!error.is_temporary() && !error.to_string().contains("hunter2"), "{address}: {error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = PostgresServer::start(folder.path());
        server.sql("CREATE ROLE weak LOGIN PASSWORD 'hunter2'");
        let address = server.address();
        let of = |user: &str, database: &str| {
            let address = address.expose().replace("livos@", user).replace("/postgres", database);
            PostgresArchive::new(&Secret::new(address)).unwrap()
        };
        let (nobody, nowhere, weak) =
            (of("nobody@", "/postgres"), of("livos@", "/absent"), of("weak:hunter2@", "/postgres"));
        let fail = async |archive: &PostgresArchive| {
            let error = archive.days(&owner(), START.day(), START.day()).await.unwrap_err();
            let ArchiveError::Postgres(error) = error else { panic!("{error}") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
            (error.is_temporary(), error.to_string())
        };
        let (temporary, said) = fail(&nobody).await;
        assert!(!temporary && said.contains("nobody"), "{said}");
        let (temporary, said) = fail(&nowhere).await;
        assert!(!temporary && said.contains("absent"), "{said}");
        let (temporary, said) = fail(&weak).await;
        assert!(!temporary && said.contains("42501"), "a user who may not make the table: {said}");
        server.kill();
        let (temporary, said) = fail(&of("livos@", "/postgres")).await;
        assert!(temporary, "{said}");
    }
}
