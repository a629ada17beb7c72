//! Dialogues with the machine, in hand-made time.

use std::time::Duration;

use livos_core::{machine::Machine, testing::check_law, time::Timestamp};
use proptest::prelude::*;

use super::{WatchInput as In, WatchOutput as Out, *};
use crate::gmail::HistoryId;

const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn config() -> WatchConfig {
    let mut config = WatchConfig::push("projects/p/topics/t");
    config.backoff.jitter = 0.0;
    config
}

fn machine(state: WatchState) -> WatchRenewal {
    WatchRenewal::new(config(), state, 1)
}

fn synced(cursor: u64, new: usize) -> In {
    In::Synced(Synced { cursor: HistoryId(cursor), new, rest: Remaining::Nothing, skipped: false })
}

fn armed(seconds: u64) -> In {
    In::Armed { expires_at: at(seconds).plus(Duration::from_secs(7 * DAY)) }
}

fn notified(id: u64) -> In {
    In::Notified { history_id: HistoryId(id) }
}

const DOWN: WatchFailure = WatchFailure::Temporary { retry_after: None };

/// Plays a dialogue, checks the invariants, and returns each output other than the persisted state,
/// with the second it came at.
fn play(machine: &mut WatchRenewal, dialogue: impl IntoIterator<Item = (u64, In)>) -> Vec<(u64, Out)> {
    let said = check_law(machine, dialogue.into_iter().map(|(second, input)| (at(second), input)));
    let second = |time: Timestamp| time.since(START).as_secs();
    said.into_iter()
        .filter(|(_, out)| !matches!(out, Out::Persist(_)))
        .map(|(time, out)| (second(time), out))
        .collect()
}

/// Started, armed and looked at.
fn sound() -> WatchRenewal {
    let mut machine = machine(WatchState::default());
    let said = play(&mut machine, [(0, In::Started), (0, synced(10, 0)), (0, armed(0))]);
    assert_eq!(said, [(0, Out::Sync(SyncReason::Start)), (0, Out::Renew)]);
    machine
}

#[test]
fn a_mailbox_is_polled_every_five_minutes_and_its_watch_renewed_daily() {
    let mut machine = sound();
    let said = play(&mut machine, (1..=3).map(|n| (n * 5 * MINUTE, synced(10, 0))));
    assert_eq!(said, [300, 600, 900].map(|second| (second, Out::Sync(SyncReason::Poll))));
    let said = play(&mut machine, [(DAY - 1, In::ClockSetBack), (DAY, In::ClockSetBack)]);
    assert_eq!(said.last(), Some(&(DAY, Out::Renew)));
    assert_eq!(machine.state().renew_at, Some(at(DAY)));
    play(&mut machine, [(DAY + 5, armed(DAY + 5))]);
    assert_eq!(
        (machine.state().renew_at, machine.state().expires_at),
        (Some(at(2 * DAY + 5)), Some(at(8 * DAY + 5)))
    );
}

#[test]
fn on_day_six_where_that_is_set() {
    let mut config = config();
    config.renew_after = WatchConfig::DAY_SIX;
    let mut machine = WatchRenewal::new(config, WatchState::default(), 1);
    play(&mut machine, [(0, In::Started), (0, synced(10, 0)), (0, armed(0))]);
    let said = play(&mut machine, [(6 * DAY, In::ClockSetBack)]);
    let renewals: Vec<u64> =
        said.iter().filter(|(_, out)| *out == Out::Renew).map(|(second, _)| *second).collect();
    assert_eq!(renewals, [6 * DAY]);
}

#[test]
fn a_failing_renewal_is_told_once_until_it_recovers_and_mail_is_polled_for_meanwhile() {
    let mut machine = machine(WatchState::default());
    let mut dialogue = vec![(0, In::Started), (0, synced(10, 0))];
    // 10, 20, 40, 80 s and so on, up to 15 minutes.
    for second in [0, 10, 30, 70, 150] {
        dialogue.push((second, In::ArmFailed(DOWN)));
    }
    let said = play(&mut machine, dialogue);
    let alerts: Vec<_> = said.iter().filter(|(_, out)| matches!(out, Out::Alert(_))).collect();
    assert_eq!(alerts, [&(0, Out::Alert(WatchAlert::RenewalFailing))]);
    assert_eq!(said.iter().filter(|(_, out)| *out == Out::Renew).count(), 5);
    let said = play(&mut machine, [(300, synced(10, 0)), (310, armed(310)), (320, In::ArmFailed(DOWN))]);
    assert_eq!(
        said,
        [
            (300, Out::Sync(SyncReason::Poll)),
            (310, Out::Renew),
            (310, Out::Recovered(WatchAlert::RenewalFailing)),
            (320, Out::Alert(WatchAlert::RenewalFailing)),
        ]
    );
}

#[test]
fn gmails_own_wait_and_lasting_failures_are_waited_for() {
    let wait = |failure| {
        let mut machine = machine(WatchState::default());
        play(&mut machine, [(0, In::Started), (0, synced(10, 0)), (0, In::ArmFailed(failure))]);
        machine.state().renew_at.unwrap().since(START).as_secs()
    };
    assert_eq!(wait(WatchFailure::Temporary { retry_after: Some(Duration::from_secs(77)) }), 77);
    assert_eq!(wait(WatchFailure::Temporary { retry_after: Some(Duration::from_secs(DAY)) }), HOUR);
    assert_eq!(wait(WatchFailure::Lasting), HOUR);
}

#[test]
fn the_expiry_is_verified_every_hour() {
    let state = WatchState {
        renew_at: Some(at(30 * DAY)),
        expires_at: Some(at(12 * HOUR + 90 * MINUTE)),
        ..WatchState::default()
    };
    let mut machine = machine(state);
    // The time of the next renewal is that of a clock which was ahead.
    let said = play(&mut machine, [(0, In::Started), (1, synced(10, 0)), (3 * HOUR, In::ClockSetBack)]);
    let renewals: Vec<u64> =
        said.iter().filter(|(_, out)| *out == Out::Renew).map(|(second, _)| *second).collect();
    assert_eq!(renewals, [2 * HOUR]);
    let said =
        play(&mut machine, [(3 * HOUR, In::ArmFailed(WatchFailure::Lasting)), (3 * DAY, In::ClockSetBack)]);
    let expired: Vec<u64> = said
        .iter()
        .filter(|(_, out)| *out == Out::Alert(WatchAlert::WatchExpired))
        .map(|(second, _)| *second)
        .collect();
    assert_eq!(expired, [14 * HOUR]);
}

#[test]
fn a_watch_that_expired_while_nobody_ran_is_armed_at_once() {
    let state = WatchState { renew_at: Some(at(HOUR)), expires_at: Some(at(0)), ..WatchState::default() };
    let said = play(&mut machine(state), [(0, In::Started)]);
    assert_eq!(said, [(0, Out::Sync(SyncReason::Start)), (0, Out::Renew)]);
}

#[test]
fn a_restart_keeps_the_time_of_the_next_renewal() {
    let state = sound().state().clone();
    let said = play(&mut machine(state), [(HOUR, In::Started), (HOUR, synced(10, 0))]);
    assert_eq!(said, [(HOUR, Out::Sync(SyncReason::Start))]);
}

#[test]
fn a_push_is_looked_at_once_and_an_old_or_repeated_one_not_at_all() {
    let mut machine = sound();
    let said = play(
        &mut machine,
        [
            (10, notified(11)),
            // Under way: however many come, one more look.
            (11, notified(12)),
            (11, notified(12)),
            (11, notified(9)),
            (12, synced(11, 1)),
            (13, synced(12, 1)),
            (14, notified(12)),
            (15, notified(3)),
        ],
    );
    assert_eq!(said, [(10, Out::Sync(SyncReason::Push)), (12, Out::Sync(SyncReason::Push))]);
}

#[test]
fn a_push_that_is_ahead_of_the_history_is_looked_for_once_more_and_not_for_ever() {
    let mut machine = sound();
    let said = play(
        &mut machine,
        [(10, notified(u64::MAX)), (10, synced(10, 0)), (20, synced(10, 0)), (200, notified(5))],
    );
    assert_eq!(said, [(10, Out::Sync(SyncReason::Push)), (20, Out::Sync(SyncReason::Push))]);
}

#[test]
fn mail_of_which_no_push_tells_arms_the_watch_anew_and_is_told() {
    let mut machine = sound();
    let said = play(&mut machine, (1..=3).map(|n| (n * 300, synced(10 + n, 1))));
    assert_eq!(said.last(), Some(&(900, Out::Alert(WatchAlert::PushSilent))));
    let said = play(&mut machine, [(901, armed(901)), (902, notified(14)), (902, synced(14, 1))]);
    let rest = [Out::Renew, Out::Recovered(WatchAlert::PushSilent), Out::Sync(SyncReason::Push)];
    assert_eq!(said.into_iter().map(|(_, out)| out).collect::<Vec<_>>(), rest);
    // One push in between, and it is not silent.
    let quiet = play(
        &mut machine,
        [(1202, synced(15, 1)), (1502, synced(16, 1)), (1503, notified(16)), (1802, synced(17, 1))],
    );
    assert!(!quiet.iter().any(|(_, out)| matches!(out, Out::Alert(_))), "{quiet:?}");
}

#[test]
fn a_full_queue_is_left_alone_and_told_by_nobody() {
    let mut machine = sound();
    let full =
        In::Synced(Synced { cursor: HistoryId(10), new: 3, rest: Remaining::QueueFull, skipped: false });
    let said = play(&mut machine, [(300, full), (331, In::ClockSetBack)]);
    assert_eq!(said, [(300, Out::Sync(SyncReason::Poll)), (330, Out::Sync(SyncReason::Rest))]);
}

#[test]
fn what_one_look_does_not_take_the_next_does_at_once() {
    let more = In::Synced(Synced { cursor: HistoryId(10), new: 3, rest: Remaining::More, skipped: true });
    let said = play(&mut sound(), [(300, more)]);
    let rest = [
        (300, Out::Sync(SyncReason::Poll)),
        (300, Out::Alert(WatchAlert::MailSkipped)),
        (300, Out::Sync(SyncReason::Rest)),
    ];
    assert_eq!(said, rest);
}

#[test]
fn looks_that_fail_are_told_after_the_third() {
    let mut machine = sound();
    let fails = [300, 310, 330, 370].map(|second| (second, In::SyncFailed(DOWN)));
    let said = play(&mut machine, fails);
    assert_eq!(said.iter().position(|(_, out)| *out == Out::Alert(WatchAlert::SyncFailing)), Some(3));
    let said = play(&mut machine, [(450, synced(11, 0))]);
    assert_eq!(said.last(), Some(&(450, Out::Recovered(WatchAlert::SyncFailing))));
    assert_eq!(play(&mut sound(), [(300, In::SyncFailed(WatchFailure::Lasting))]).len(), 2);
}

#[test]
fn a_grant_that_is_gone_ends_everything_with_one_word() {
    for died in
        [In::SyncFailed(WatchFailure::TokenDead), In::ArmFailed(WatchFailure::TokenDead), In::TokenDied]
    {
        let mut machine = sound();
        let said = play(&mut machine, [(10, died), (11, In::TokenDied), (12, notified(99))]);
        assert_eq!(said, [(10, Out::Disable), (10, Out::Alert(WatchAlert::ConsentNeeded))]);
        // Tried every hour, without a word and without a renewal.
        let hours = (0..48).map(|n| (10 + HOUR + n * HOUR, In::SyncFailed(WatchFailure::TokenDead)));
        let said = play(&mut machine, hours);
        assert!(
            said.iter().all(|(_, out)| *out == Out::Sync(SyncReason::Probe)) && said.len() == 48,
            "{said:?}"
        );
        let restarted = WatchRenewal::new(config(), machine.state().clone(), 2);
        let (at, mut machine) = (3 * DAY, restarted);
        let said = play(
            &mut machine,
            [(at, In::Started), (at, In::SyncFailed(WatchFailure::TokenDead)), (at + 5, In::Consented)],
        );
        let probe = |second| (second, Out::Sync(SyncReason::Probe));
        assert_eq!(said, [(at, Out::Disable), probe(at), probe(at + 5)]);
        let said = play(&mut machine, [(at + 6, synced(20, 4)), (at + 7, armed(at + 7))]);
        let back = [Out::Enable, Out::Recovered(WatchAlert::ConsentNeeded), Out::Renew];
        assert_eq!(said.into_iter().map(|(_, out)| out).collect::<Vec<_>>(), back);
        assert!(!machine.state().consent_lost && machine.state().raised.is_empty());
    }
}

#[test]
fn a_consent_that_comes_while_the_grant_is_tried_is_tried_too() {
    let mut machine = sound();
    play(&mut machine, [(10, In::TokenDied), (20, In::Consented)]);
    let said = play(&mut machine, [(21, In::Consented), (22, In::SyncFailed(WatchFailure::TokenDead))]);
    assert_eq!(said, [(22, Out::Sync(SyncReason::Probe))]);
}

#[test]
fn what_is_said_is_persisted_before_and_crossed_out_after() {
    let mut machine = sound();
    machine.handle_input(at(10), In::TokenDied);
    let said: Vec<Out> = std::iter::from_fn(|| machine.poll_output()).collect();
    let alert = said.iter().position(|out| matches!(out, Out::Alert(_))).unwrap();
    let Out::Persist(before) = &said[alert - 1] else { panic!("{said:?}") };
    let Out::Persist(after) = &said[alert + 1] else { panic!("{said:?}") };
    assert!(before.pending.contains(&WatchAlert::ConsentNeeded) && before.consent_lost);
    assert!(after.pending.is_empty() && after.raised.contains(&WatchAlert::ConsentNeeded));
    // A crash between the two says it again.
    let said = play(&mut WatchRenewal::new(config(), before.clone(), 1), [(20, In::Started)]);
    assert!(said.contains(&(20, Out::Alert(WatchAlert::ConsentNeeded))), "{said:?}");
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_for_long() {
    let mut machine = sound();
    let back = Timestamp::from_unix_ms(START.unix_ms() - 30 * 86_400_000);
    machine.handle_input(back, In::ClockSetBack);
    assert_eq!(machine.poll_timeout(), Some(back.plus(Duration::from_secs(300))));
    machine.handle_timeout(back.plus(Duration::from_secs(DAY)));
    let said: Vec<Out> = std::iter::from_fn(|| machine.poll_output()).collect();
    assert!(said.contains(&Out::Renew) && said.contains(&Out::Sync(SyncReason::Poll)), "{said:?}");
}

#[test]
fn polling_alone_never_renews() {
    let mut config = WatchConfig::poll();
    config.backoff.jitter = 0.0;
    let mut machine = WatchRenewal::new(config, WatchState::default(), 1);
    let said = play(&mut machine, [(0, In::Started), (0, synced(1, 0)), (3 * DAY, In::ClockSetBack)]);
    assert!(said.iter().all(|(_, out)| matches!(out, Out::Sync(_))), "{said:?}");
}

#[test]
fn a_state_is_read_back_and_an_older_one_too() {
    let mut machine = sound();
    machine.handle_input(at(10), In::TokenDied);
    let json = serde_json::to_string(machine.state()).unwrap();
    assert_eq!(&serde_json::from_str::<WatchState>(&json).unwrap(), machine.state());
    assert_eq!(serde_json::from_str::<WatchState>("{}").unwrap(), WatchState::default());
}

#[test]
fn a_configuration_that_would_lose_mail_is_refused() {
    let refused = |change: fn(&mut WatchConfig)| {
        let mut config = WatchConfig::push("projects/p/topics/t");
        change(&mut config);
        config.validate().is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|config| config.topic = Some("t".into())));
    assert!(refused(|config| config.renew_after = Duration::from_secs(7 * DAY)));
    assert!(refused(|config| config.renew_after = Duration::ZERO));
    assert!(refused(|config| config.poll_every = Duration::ZERO));
    assert!(refused(|config| config.remembered = config.lookback));
}

fn any_failure() -> impl Strategy<Value = WatchFailure> {
    prop_oneof![
        Just(DOWN),
        (0u64..10_000).prop_map(|s| WatchFailure::Temporary { retry_after: Some(Duration::from_secs(s)) }),
        Just(WatchFailure::Lasting),
        Just(WatchFailure::TokenDead),
    ]
}

fn any_input() -> impl Strategy<Value = In> {
    let rest = prop_oneof![Just(Remaining::Nothing), Just(Remaining::More), Just(Remaining::QueueFull)];
    prop_oneof![
        Just(In::Started),
        (0u64..20 * DAY).prop_map(|second| In::Armed { expires_at: at(second) }),
        any_failure().prop_map(In::ArmFailed),
        (0u64..50).prop_map(notified),
        (0u64..50, 0usize..3, rest, any::<bool>()).prop_map(|(id, new, rest, skipped)| In::Synced(Synced {
            cursor: HistoryId(id),
            new,
            rest,
            skipped
        })),
        any_failure().prop_map(In::SyncFailed),
        Just(In::TokenDied),
        Just(In::Consented),
        Just(In::ClockSetBack),
    ]
}

proptest! {
    #[test]
    fn no_dialogue_breaks_the_law_or_leaves_the_mailbox_alone(steps in proptest::collection::vec((0u64..5000, any_input()), 0..60)) {
        let mut machine = machine(WatchState::default());
        let mut second = 0;
        let dialogue: Vec<_> = std::iter::once((0, In::Started))
            .chain(steps.into_iter().map(|(step, input)| {
                second += step;
                (second, input)
            }))
            .collect();
        let said = play(&mut machine, dialogue);
        let mut told = std::collections::BTreeSet::new();
        for (_, out) in said {
            match out {
                Out::Alert(WatchAlert::MailSkipped) => {}
                Out::Alert(alert) => prop_assert!(told.insert(alert), "told twice: {:?}", alert),
                Out::Recovered(alert) => prop_assert!(told.remove(&alert), "recovered from nothing: {:?}", alert),
                _ => {}
            }
        }
        // Whatever happened, something is waited for.
        let due = machine.poll_timeout();
        let under_way = format!("{machine:?}").contains("UnderWay");
        prop_assert!(due.is_some() || under_way);
        prop_assert!(due.is_none_or(|due| due.since(at(second)) <= Duration::from_secs(DAY)));
    }
}
