//! Dialogues with pairing, and a week of guessing.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // The property test runner uses them.

use std::time::Duration;

use livos_core::testing::check_law;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

fn at(seconds: u64) -> Timestamp {
    START.plus(SECOND * u32::try_from(seconds).unwrap())
}

fn telegram() -> ChannelName {
    "telegram".try_into().unwrap()
}

fn sender(id: &str) -> Sender {
    Sender::new(telegram(), id).unwrap()
}

fn pairing(config: PairingConfig) -> Pairing {
    config.check().unwrap();
    Pairing::new(config, Secret::new("the server's key"), PairingState::default())
}

/// Says something, and answers all that comes of it but the state to store, which stands before
/// everything else.
fn say(pairing: &mut Pairing, now: Timestamp, input: PairingInput) -> Vec<PairingOutput> {
    pairing.handle_input(now, input);
    let mut outputs: Vec<_> = std::iter::from_fn(|| pairing.poll_output()).collect();
    let stored = outputs.iter().filter(|output| matches!(output, PairingOutput::Persist(_))).count();
    let first = matches!(outputs.first(), Some(PairingOutput::Persist(_)));
    assert!(stored <= 1 && (stored == 0 || first), "{outputs:?}");
    outputs.retain(|output| !matches!(output, PairingOutput::Persist(_)));
    outputs
}

fn issue(pairing: &mut Pairing, now: Timestamp, seed: u8, rights: Rights) -> PairingCode {
    let entropy = std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(91).wrapping_add(seed));
    let issued = say(pairing, now, PairingInput::Issue { channel: telegram(), rights, entropy });
    let [PairingOutput::Issued { code, .. }] = issued.as_slice() else { panic!("{issued:?}") };
    PairingCode::parse(code).unwrap()
}

fn redeem(pairing: &mut Pairing, now: Timestamp, who: &str, code: &PairingCode) -> Vec<PairingOutput> {
    let code = code.clone();
    say(pairing, now, PairingInput::Redeem { sender: sender(who), label: who.to_owned(), code })
}

fn wrong() -> PairingCode {
    PairingCode::parse("ZZZZZZZZ").unwrap()
}

fn refused(outputs: &[PairingOutput]) -> Refusal {
    match outputs.last() {
        Some(PairingOutput::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_code_pairs_one_sender_and_all_devices_are_told() {
    let mut pairing = pairing(PairingConfig::default());
    let first = issue(&mut pairing, at(0), 1, Rights::Owner);
    assert!(matches!(redeem(&mut pairing, at(10), "anna", &first).as_slice(), [PairingOutput::Paired(_)]));
    assert_eq!(pairing.state().rights(&sender("anna")), Some(Rights::Owner));

    let second = issue(&mut pairing, at(20), 2, Rights::Paired);
    let outputs = redeem(&mut pairing, at(30), "ben", &second);
    let [PairingOutput::Paired(ben), PairingOutput::Notify { to, news }] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    assert_eq!((to, news), (&sender("anna"), &News::Paired(ben.clone())));
    assert_eq!(pairing.state().rights(&sender("ben")), Some(Rights::Paired));
    for code in [&first, &second] {
        assert!(
            matches!(refused(&redeem(&mut pairing, at(40), "mallory", code)), Refusal::Wrong { .. }),
            "a code is for one use"
        );
    }
}

#[test]
fn a_code_is_over_after_its_time_and_when_the_clock_is_set_back_before_it() {
    for late in [300, 301, 100_000] {
        let mut pairing = pairing(PairingConfig::default());
        let code = issue(&mut pairing, at(0), 1, Rights::Paired);
        assert_eq!(refused(&redeem(&mut pairing, at(late), "anna", &code)), Refusal::Wrong { left: 4 });
    }
    let mut pairing = pairing(PairingConfig::default());
    let code = issue(&mut pairing, at(1000), 1, Rights::Paired);
    assert_eq!(refused(&redeem(&mut pairing, at(999), "anna", &code)), Refusal::Wrong { left: 4 });
    let code = issue(&mut pairing, at(1000), 2, Rights::Paired);
    assert!(matches!(redeem(&mut pairing, at(1299), "anna", &code)[..], [PairingOutput::Paired(_)]));
}

#[test]
fn a_code_for_another_channel_is_spent_and_counts_as_a_guess() {
    let mut pairing = pairing(PairingConfig::default());
    let code = issue(&mut pairing, at(0), 1, Rights::Paired);
    let discord = Sender::new("discord".try_into().unwrap(), "anna").unwrap();
    let input = PairingInput::Redeem { sender: discord, label: String::new(), code: code.clone() };
    assert_eq!(refused(&say(&mut pairing, at(1), input)), Refusal::OtherChannel);
    assert_eq!(refused(&redeem(&mut pairing, at(2), "anna", &code)), Refusal::Wrong { left: 4 });
}

#[test]
fn five_guesses_lock_a_sender_out_for_an_hour_whatever_it_types() {
    let mut pairing = pairing(PairingConfig::default());
    let owner = issue(&mut pairing, at(0), 9, Rights::Owner);
    redeem(&mut pairing, at(0), "owner", &owner);
    let code = issue(&mut pairing, at(0), 1, Rights::Paired);
    for left in (1..=4).rev() {
        assert_eq!(refused(&redeem(&mut pairing, at(1), "mallory", &wrong())), Refusal::Wrong { left });
    }
    let until = at(3602);
    let outputs = redeem(&mut pairing, at(2), "mallory", &wrong());
    let told = PairingOutput::Notify {
        to: sender("owner"),
        news: News::LockedOut { sender: sender("mallory"), until },
    };
    assert_eq!(outputs, [told, PairingOutput::Refused(Refusal::Wrong { left: 0 })]);
    let locked = Refusal::Locked { until };
    assert_eq!(refused(&redeem(&mut pairing, at(3), "mallory", &code)), locked, "even with the right code");
    // Another sender is not hindered, and the code was not spent.
    assert!(matches!(redeem(&mut pairing, at(4), "anna", &code)[0], PairingOutput::Paired(_)));
    assert_eq!(refused(&redeem(&mut pairing, at(3601), "mallory", &wrong())), locked);
    assert_eq!(refused(&redeem(&mut pairing, at(3602), "mallory", &wrong())), Refusal::Wrong { left: 4 });
}

#[test]
fn guesses_are_forgotten_one_by_one_after_an_hour() {
    let mut pairing = pairing(PairingConfig::default());
    for (now, left) in [(0, 4), (1800, 3), (3599, 2), (3600, 2), (5400, 2)] {
        let answered = refused(&redeem(&mut pairing, at(now), "anna", &wrong()));
        assert_eq!(answered, Refusal::Wrong { left }, "at {now}");
    }
}

#[test]
fn a_clock_that_jumps_neither_frees_a_sender_nor_locks_it_for_ever() {
    let mut pairing = pairing(PairingConfig::default());
    for _ in 0..5 {
        redeem(&mut pairing, at(100_000), "mallory", &wrong());
    }
    let answered = refused(&redeem(&mut pairing, at(0), "mallory", &wrong()));
    assert_eq!(answered, Refusal::Locked { until: at(3600) }, "an hour from the new present on");
    assert_eq!(refused(&redeem(&mut pairing, at(3600), "mallory", &wrong())), Refusal::Wrong { left: 4 });
}

#[test]
fn a_thousand_senders_get_no_further_than_the_channel_allows() {
    let mut pairing = pairing(PairingConfig::default());
    let code = issue(&mut pairing, at(0), 1, Rights::Paired);
    for guess in 0..100 {
        assert!(matches!(
            refused(&redeem(&mut pairing, at(1), &format!("bot{guess}"), &wrong())),
            Refusal::Wrong { .. }
        ));
    }
    let held = Refusal::ChannelHeld { until: at(3601) };
    assert_eq!(refused(&redeem(&mut pairing, at(2), "anna", &code)), held);
    // The owner's hand still opens the door.
    let admit = PairingInput::Admit { sender: sender("anna"), label: "Anna".into(), rights: Rights::Paired };
    assert!(matches!(say(&mut pairing, at(3), admit)[0], PairingOutput::Paired(_)));
    assert!(matches!(refused(&redeem(&mut pairing, at(3601), "ben", &wrong())), Refusal::Wrong { .. }));
}

#[test]
fn only_so_many_codes_wait_on_a_channel() {
    let mut pairing = pairing(PairingConfig::default());
    for seed in 0..3 {
        issue(&mut pairing, at(u64::from(seed)), seed, Rights::Paired);
    }
    let ask = |channel: &str| PairingInput::Issue {
        channel: channel.try_into().unwrap(),
        rights: Rights::Paired,
        entropy: [9; ENTROPY],
    };
    let full = Refusal::TooManyCodes { until: at(300) };
    assert_eq!(refused(&say(&mut pairing, at(5), ask("telegram"))), full);
    assert!(matches!(say(&mut pairing, at(5), ask("discord"))[0], PairingOutput::Issued { .. }));
    assert!(matches!(say(&mut pairing, at(300), ask("telegram"))[0], PairingOutput::Issued { .. }));
}

#[test]
fn where_the_owner_approves_a_right_code_is_not_enough() {
    let mut pairing = pairing(PairingConfig { approval: true, ..PairingConfig::default() });
    let admit = PairingInput::Admit { sender: sender("owner"), label: String::new(), rights: Rights::Owner };
    say(&mut pairing, at(0), admit);
    let code = issue(&mut pairing, at(0), 1, Rights::Paired);
    let outputs = redeem(&mut pairing, at(1), "anna", &code);
    let [PairingOutput::AwaitingApproval(anna), PairingOutput::Notify { to, news }] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((to, news), (&sender("owner"), &News::Asks(anna.clone())));
    assert_eq!(pairing.state().rights(&sender("anna")), None);
    assert!(matches!(say(&mut pairing, at(2), PairingInput::Approve(anna.id))[0], PairingOutput::Paired(_)));
    assert_eq!(pairing.state().rights(&sender("anna")), Some(Rights::Paired));
    let twice = say(&mut pairing, at(3), PairingInput::Approve(anna.id));
    assert_eq!(refused(&twice), Refusal::UnknownDevice);

    // Nobody answers: the sender is forgotten.
    let code = issue(&mut pairing, at(10), 2, Rights::Paired);
    redeem(&mut pairing, at(11), "ben", &code);
    assert_eq!(pairing.state().devices().len(), 3);
    pairing.handle_timeout(at(3611));
    assert_eq!(pairing.state().devices().len(), 2);
}

#[test]
fn one_pairing_is_ended_or_all_of_them() {
    let mut pairing = pairing(PairingConfig::default());
    for (seed, who) in (0u8..).zip(["anna", "ben", "cleo"]) {
        let code = issue(&mut pairing, at(0), seed, Rights::Paired);
        redeem(&mut pairing, at(0), who, &code);
    }
    let ben = pairing.state().devices()[1].clone();
    let outputs = say(&mut pairing, at(1), PairingInput::Revoke(ben.id));
    let told: Vec<_> = ["anna", "cleo"]
        .map(|who| PairingOutput::Notify { to: sender(who), news: News::Revoked(ben.clone()) })
        .into();
    assert_eq!(outputs, told);
    assert_eq!(pairing.state().rights(&sender("ben")), None);
    let code = issue(&mut pairing, at(2), 7, Rights::Paired);
    say(&mut pairing, at(3), PairingInput::RevokeAll);
    assert_eq!(pairing.state().devices(), []);
    assert!(matches!(refused(&redeem(&mut pairing, at(4), "dora", &code)), Refusal::Wrong { .. }));
}

#[test]
fn rights_grow_by_a_new_code_and_never_shrink() {
    let mut pairing = pairing(PairingConfig::default());
    for (seed, rights, paired) in [
        (1, Rights::Paired, true),
        (2, Rights::Paired, false),
        (3, Rights::Owner, true),
        (4, Rights::Paired, false),
    ] {
        let code = issue(&mut pairing, at(0), seed, rights);
        let outputs = redeem(&mut pairing, at(1), "anna", &code);
        assert_eq!(matches!(outputs[0], PairingOutput::Paired(_)), paired, "{outputs:?}");
    }
    assert_eq!(pairing.state().rights(&sender("anna")), Some(Rights::Owner));
    assert_eq!(pairing.state().devices().len(), 1);
}

#[test]
fn a_restart_forgives_no_guess_and_forgets_no_device() {
    let mut before = pairing(PairingConfig::default());
    let code = issue(&mut before, at(0), 1, Rights::Paired);
    redeem(&mut before, at(1), "anna", &code);
    (0..5).for_each(|_| drop(redeem(&mut before, at(2), "mallory", &wrong())));
    let stored = serde_json::to_vec(before.state()).unwrap();
    let state: PairingState = serde_json::from_slice(&stored).unwrap();
    let mut after = Pairing::new(PairingConfig::default(), Secret::new("the server's key"), state);
    assert_eq!(after.state().rights(&sender("anna")), Some(Rights::Paired));
    assert!(matches!(refused(&redeem(&mut after, at(3), "mallory", &wrong())), Refusal::Locked { .. }));
}

/// Guesses 30 times a second for a week, with as many codes waiting as ever may, and answers how
/// many codes were compared with a guess: each of them is a chance of 1 in 2^40.
fn guess_for_a_week(senders: u32) -> u64 {
    const GUESSES: u64 = 30 * 7 * 24 * 3600;
    let config = PairingConfig::default();
    let mut pairing = pairing(config);
    let senders: Vec<_> = (0..senders).map(|n| sender(&format!("bot{n}"))).collect();
    let (mut compared, mut turn) = (0, senders.iter().cycle());
    let mut issued: u64 = 0;
    let mut renewed = None;
    for guess in 0..GUESSES {
        let now = START.plus(Duration::from_millis(guess * 1000 / 30));
        // The owner asks for new codes as soon as the old ones are over.
        if renewed.is_none_or(|at: Timestamp| now.since(at) >= config.code_lifetime) {
            renewed = Some(now);
            for _ in 0..config.pending {
                issued += 1;
                let mut entropy = [0x5a; ENTROPY];
                entropy[..8].copy_from_slice(&issued.to_be_bytes());
                let input = PairingInput::Issue { channel: telegram(), rights: Rights::Paired, entropy };
                assert!(matches!(say(&mut pairing, now, input)[..], [PairingOutput::Issued { .. }]));
            }
        }
        let sender = turn.next().unwrap().clone();
        let input = PairingInput::Redeem { sender, label: String::new(), code: wrong() };
        pairing.handle_input(now, input);
        while let Some(output) = pairing.poll_output() {
            if let PairingOutput::Refused(Refusal::Wrong { .. }) = output {
                compared += config.pending as u64;
            }
        }
    }
    compared
}

#[test]
fn a_week_of_guessing_has_less_than_one_chance_in_a_million() {
    for senders in [1, 1000] {
        let compared = guess_for_a_week(senders);
        let expected = compared as f64 / 2f64.powi(40);
        println!(
            "{senders} senders: {compared} codes compared with a guess, {expected:.1e} expected successes"
        );
        assert!(compared > 0 && expected < 1e-6, "{expected}");
    }
}

fn input() -> impl Strategy<Value = PairingInput> {
    let names = || prop::sample::select(vec!["anna", "ben", "cleo"]);
    let code = prop::sample::select(vec!["ZZZZZZZZ", "22222222", "33333333"]);
    let rights = prop::sample::select(vec![Rights::Paired, Rights::Owner]);
    prop_oneof![
        (rights.clone(), 0u8..3).prop_map(|(rights, seed)| PairingInput::Issue {
            channel: telegram(),
            rights,
            entropy: [seed; ENTROPY]
        }),
        (names(), code).prop_map(|(who, code)| PairingInput::Redeem {
            sender: sender(who),
            label: who.to_owned(),
            code: PairingCode::parse(code).unwrap()
        }),
        (names(), rights).prop_map(|(who, rights)| PairingInput::Admit {
            sender: sender(who),
            label: who.to_owned(),
            rights
        }),
        (0u64..6).prop_map(|id| PairingInput::Approve(DeviceId(id))),
        (0u64..6).prop_map(|id| PairingInput::Revoke(DeviceId(id))),
        Just(PairingInput::RevokeAll),
    ]
}

proptest! {
    #[test]
    fn any_dialogue_keeps_the_law_and_its_bounds(
        dialogue in prop::collection::vec((0u64..2000, input()), 0..60),
        approval in any::<bool>(),
    ) {
        let config = PairingConfig { approval, channel_attempts: 10, devices: 2, ..PairingConfig::default() };
        let mut pairing = pairing(config);
        let mut now = START;
        let dialogue: Vec<_> = dialogue
            .into_iter()
            .map(|(wait, input)| {
                now = now.plus(SECOND * u32::try_from(wait).unwrap());
                (now, input)
            })
            .collect();
        check_law(&mut pairing, dialogue);
        let state = pairing.state();
        prop_assert!(state.devices.len() <= 2 && state.pending.len() <= 3 && state.guesses.len() <= 20);
        let known: std::collections::BTreeSet<_> = state.devices.iter().map(|device| &device.sender).collect();
        prop_assert_eq!(known.len(), state.devices.len(), "no sender is there twice");
    }
}
