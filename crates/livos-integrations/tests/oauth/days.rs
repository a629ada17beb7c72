//! Thirty days of two processes, with failures at random.

use std::time::Duration;

use livos_core::{testing::matrix, time::Timestamp};
use livos_integrations::oauth::{Alert, GrantState};
use livos_twins::{
    Fault, Refusal, Target, Twin as _, When,
    google::{Answer, Config},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::world::{DAY, MINUTE, Process, SECOND, START, World};

/// One thing goes wrong, for some minutes at the most.
async fn mishap(world: &World, processes: &mut [Process; 2], random: &mut SmallRng) {
    let answers = [
        Answer::Error("internal_failure".into()),
        Answer::Error("invalid_client".into()),
        Answer::HalfJson,
        Answer::Page,
        Answer::Empty,
        Answer::TextLifetime,
        Answer::NoLifetime,
        Answer::Lifetime(60),
        Answer::NewRefreshToken,
        Answer::Slow(8 * SECOND),
        Answer::Mute,
        Answer::Lost,
    ];
    match random.random_range(0..7) {
        0 | 1 => {
            for _ in 0..random.random_range(1..4) {
                world.twin.answer_next(answers[random.random_range(0..answers.len())].clone());
            }
        }
        2 => {
            let status = [429, 500, 503][random.random_range(0..3)];
            world.twin.refuse(random.random_range(1..5), Refusal::status(status).header("retry-after", "20"));
        }
        3 => {
            let faults =
                [Fault::Drop(When::Received(1)), Fault::Stall(When::Now), Fault::HalfMessage(When::Now)];
            let fault = faults[random.random_range(0..faults.len())].clone();
            world.twin.inject_into(Target::Next(random.random_range(1..4)), fault);
        }
        4 => {
            world.store.set_fails(true);
            tokio::time::sleep(Duration::from_secs(random.random_range(1..600))).await;
            world.store.set_fails(false);
        }
        5 => {
            // Killed and started again, at any point of what it was doing.
            let which = random.random_range(0..2);
            processes[which].keeper.abort();
            tokio::time::sleep(Duration::from_secs(random.random_range(0..120))).await;
            processes[which] = world.process();
        }
        _ => {
            let step = random.random_range(-400_000..400_000);
            world.clock.set(Timestamp::from_unix_ms(world.now().unix_ms() + step));
        }
    }
}

/// The whole matrix; one month takes some seconds.
const MONTHS: u64 = 5;

#[tokio::test(start_paused = true)]
async fn thirty_days_of_bad_luck_lose_no_grant_and_alarm_nobody() {
    for seed in 0..matrix(MONTHS) {
        let mut random = SmallRng::seed_from_u64(seed);
        let world = World::new(Config { seed, ..Config::default() });
        let mut processes = [world.process(), world.process()];
        world.connect(&processes[0]).await;
        let began = tokio::time::Instant::now();
        let (mut asked, mut without, mut longest, mut since) = (0u32, 0u32, Duration::ZERO, None);
        while began.elapsed() < 30 * DAY {
            if random.random_bool(0.25) {
                mishap(&world, &mut processes, &mut random).await;
            }
            tokio::time::sleep(Duration::from_secs(random.random_range(60..1_200))).await;
            // What the test itself asks the twin meets no fault.
            let process = &processes[random.random_range(0..2)];
            asked += 1;
            match process.source.token().await {
                Ok(token) => {
                    world.twin.host().clear_faults();
                    assert!(world.is_good(token.secret()).await, "a token that is handed out is good");
                    since = None;
                }
                Err(error) => {
                    assert!(!matches!(process.source.status().state, GrantState::NeedsConsent(_)), "{error}");
                    without += 1;
                    let began = *since.get_or_insert_with(tokio::time::Instant::now);
                    longest = longest.max(began.elapsed());
                }
            }
        }
        // Things calm down.
        world.twin.host().clear_faults();
        world.twin.clear_answers();
        tokio::time::sleep(40 * MINUTE).await;
        for process in &processes {
            let token = process.source.token().await.unwrap();
            assert!(world.is_good(token.secret()).await);
            assert_eq!(process.source.status().state, GrantState::Fresh);
        }
        let stats = world.twin.stats();
        assert_eq!(stats.invalid_grants, 0, "no refresh with a token that is none");
        assert!(stats.refreshed >= 30 * 24 * 2, "every half hour: {stats:?}");
        assert!(stats.refreshed < 30 * 24 * 2 * 2, "and not by each process: {stats:?}");
        let alarms =
            world.alerts().into_iter().filter(|alert| !matches!(alert, Alert::Misconfigured(_))).count();
        assert_eq!(alarms, 0, "{:?}", world.alerts());
        assert!(asked > 3_500 && without * 100 < asked, "{without} of {asked} got none");
        assert!(longest < 60 * MINUTE, "{longest:?}");
        assert!(
            world.now() > START.plus(29 * DAY) && world.store.writes() < 20_000,
            "{}",
            world.store.writes()
        );
    }
}
