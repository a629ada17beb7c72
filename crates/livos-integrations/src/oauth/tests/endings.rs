//! Dialogues about the end of a grant: what a person is told, and what wins over what.

use super::{process::Process, *};

#[test]
fn failing_for_an_hour_is_told_once() {
    let mut process = Process::connected(config());
    let mut said = process.wait(30 * MINUTE);
    let mut alerts = Vec::new();
    for _ in 0..60 {
        if said.pop().is_some_and(|said| said.starts_with("raise")) {
            alerts.push(process.now);
            said = process.input(GrantInput::Raised);
        } else {
            said = process.input(GrantInput::RefreshFailed(unavailable()));
        }
        if said.is_empty() {
            said = process.wait(5 * MINUTE);
        }
    }
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].since(START) >= 90 * MINUTE && alerts[0].since(START) < 100 * MINUTE, "{alerts:?}");
}

#[test]
fn a_refused_client_is_told_once_and_keeps_the_grant() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    let refused = || GrantInput::RefreshFailed(EndpointError::Refused("invalid_client".into()));
    let said = process.input(refused());
    assert_eq!(said, ["raise: the provider refuses this client (invalid_client): check its id and secret"]);
    process.input(GrantInput::Raised);
    assert_eq!((process.state(), process.gets().as_str()), (GrantState::Misconfigured, "a1"));
    for _ in 0..4 {
        assert_eq!(process.wait(15 * MINUTE), ["refresh with r1"]);
        assert_eq!(process.input(refused()), [""; 0]);
    }
    assert_eq!(process.gets(), "the provider refuses this client: invalid_client");
    assert_eq!(process.wait(15 * MINUTE), ["refresh with r1"]);
    process.input(GrantInput::Refreshed(tokens("a2", None)));
    assert_eq!((process.state(), process.gets().as_str()), (GrantState::Fresh, "a2"));
}

#[test]
fn a_refused_token_forces_one_refresh_and_not_one_for_each_refusal() {
    let mut process = Process::connected(config());
    process.wait(5 * MINUTE);
    assert_eq!(process.input(GrantInput::Rejected { serial: 1 }), ["refresh with r1"]);
    assert_eq!(process.gets(), "wait");
    for _ in 0..99 {
        assert_eq!(process.input(GrantInput::Rejected { serial: 1 }), [""; 0]);
    }
    process.input(GrantInput::Refreshed(tokens("a2", None)));
    assert_eq!(process.input(GrantInput::Rejected { serial: 1 }), [""; 0], "that one is replaced already");
    assert_eq!(process.gets(), "a2");
    // An API that refuses whatever it is shown is not a reason to refresh for each request.
    process.wait(SECOND);
    assert_eq!(process.input(GrantInput::Rejected { serial: 2 }), [""; 0]);
    assert_eq!(process.gets(), "a2");
    assert_eq!(process.wait(59 * SECOND), ["refresh with r1"]);
}

#[test]
fn the_end_of_a_consent_in_testing_is_told_two_days_ahead_and_once() {
    let mut testing = config();
    testing.consent_lifetime = Some(7 * DAY);
    let mut process = Process::connected(testing);
    let mut alerts = Vec::new();
    let mut said = Vec::new();
    while process.now.since(START) < 7 * DAY {
        let alert =
            said.iter().any(|said: &String| said.starts_with("raise: the consent ends at 2027-01-22"));
        if alert {
            alerts.push(process.now.since(START));
        }
        said = match said.first() {
            Some(_) if alert => process.input(GrantInput::Raised),
            Some(_) => process.input(GrantInput::Refreshed(tokens("a", None))),
            None => process.wait(10 * MINUTE),
        };
    }
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(alerts[0] >= 5 * DAY && alerts[0] < 5 * DAY + HOUR, "{alerts:?}");
    assert_eq!(process.machine.status().consent_ends_at, Some(START.plus(7 * DAY)));
}

#[test]
fn access_for_a_time_is_told_of_from_the_providers_answer() {
    let mut timed = tokens("a1", Some("r1"));
    timed.refresh_lifetime = Some(DAY);
    let mut process = Process::new(config());
    let said = process.input(GrantInput::Granted(timed));
    assert_eq!(
        said,
        [
            "raise: the consent ends at 2027-01-16 08:00 UTC; consent again before, or publish the app where it is in testing"
        ]
    );
}

#[test]
fn a_grant_that_nobody_could_refresh_for_five_months_is_told_of() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    process.input(GrantInput::RefreshFailed(unavailable()));
    // The server was off, and the provider is still out of reach.
    process.now = START.plus(160 * DAY);
    let mut later = process.restarted();
    assert_eq!(later.said, ["refresh with r1"], "it tries before it warns");
    later.said.clear();
    let mut said = later.input(GrantInput::RefreshFailed(unavailable()));
    assert!(said[0].starts_with("raise: access could not be renewed since"), "{said:?}");
    said = later.input(GrantInput::Raised);
    assert_eq!(
        said,
        ["raise: access was not renewed for long; the provider will end it at 2027-07-17 08:00 UTC"]
    );
    assert_eq!(later.input(GrantInput::Raised), [""; 0]);
}

#[test]
fn the_hundredth_consent_is_seen_coming() {
    let mut process = Process::new(config());
    let mut alerts = 0;
    for _ in 0..100 {
        let said = process.input(GrantInput::Granted(tokens("a", Some("r"))));
        process.wait(SECOND);
        if !said.is_empty() {
            assert!(said[0].starts_with("raise: "), "{said:?}");
            alerts += 1;
            process.input(GrantInput::Raised);
        }
    }
    assert_eq!(alerts, 11, "from the ninetieth on");
}

#[test]
fn a_token_that_nothing_renews_is_used_to_its_end() {
    let mut process = Process::new(config());
    process.input(GrantInput::Granted(tokens("a1", None)));
    assert_eq!(process.wait(58 * MINUTE), [""; 0]);
    assert_eq!(process.gets(), "a1");
    let said = process.wait(2 * MINUTE);
    assert!(said[0].contains("its token is over and there is none to renew it with"), "{said:?}");

    // Some providers give tokens that live until they are revoked.
    let mut endless = tokens("a1", None);
    endless.lifetime = None;
    let mut process = Process::new(config());
    process.input(GrantInput::Granted(endless));
    assert_eq!((process.wait(100 * DAY), process.gets().as_str()), (vec![], "a1"));
    assert!(process.input(GrantInput::Rejected { serial: 1 })[0].starts_with("raise"));
}

#[test]
fn a_consent_during_a_refresh_wins_whatever_comes_of_the_refresh() {
    let outcomes = [
        GrantInput::Refreshed(tokens("old", Some("old"))),
        GrantInput::RefreshFailed(EndpointError::InvalidGrant(None)),
        GrantInput::RefreshFailed(unavailable()),
    ];
    for outcome in outcomes {
        let mut process = Process::connected(config());
        process.wait(30 * MINUTE);
        process.input(GrantInput::Granted(tokens("b1", Some("s1"))));
        assert_eq!(process.input(outcome), [""; 0]);
        assert_eq!((process.gets().as_str(), process.state()), ("b1", GrantState::Fresh));
        assert_eq!(process.wait(30 * MINUTE), ["refresh with s1"]);
    }
}

#[test]
fn a_disconnection_is_written_down_before_the_provider_is_told_and_told_until_it_listens() {
    let mut process = Process::connected(config());
    assert_eq!(process.input(GrantInput::Disconnect), ["revoke r1"]);
    assert_eq!(process.gets(), "access needs a new consent: it was disconnected");
    let mut restarted = process.restarted();
    assert_eq!(std::mem::take(&mut restarted.said), ["revoke r1"], "a crash repeats it");
    process.input(GrantInput::Revoked(Err(unavailable())));
    assert_eq!(process.wait(2 * SECOND), ["revoke r1"]);
    process.input(GrantInput::Revoked(Ok(())));
    assert_eq!(process.wait(DAY), [""; 0]);
    let (record, _) = process.stored.unwrap();
    assert!(!record.to_secret().expose().contains("r1"), "nothing of it is kept");
}

#[test]
fn a_disconnection_during_a_refresh_is_not_taken_for_done_before_it_is_written() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    process.input(GrantInput::Disconnect);
    assert_eq!(process.machine.is_saved(), None);
    assert_eq!(process.input(GrantInput::Refreshed(tokens("a2", None))), ["revoke r1"]);
    assert_eq!(process.machine.is_saved(), Some(true));
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_an_old_token() {
    let mut process = Process::connected(config());
    process.wait(10 * MINUTE);
    process.now = Timestamp::from_unix_ms(START.unix_ms() - 86_400_000);
    assert_eq!(process.input(GrantInput::Wanted), ["refresh with r1"]);
    process.input(GrantInput::Refreshed(tokens("a2", None)));
    assert_eq!(process.gets(), "a2");
    assert_eq!(process.wait(30 * MINUTE), ["refresh with r1"]);
}

#[test]
fn a_clock_that_was_set_forward_only_costs_a_refresh() {
    let mut process = Process::connected(config());
    process.now = START.plus(365 * DAY);
    process.machine.handle_timeout(process.now);
    process.settle();
    assert_eq!(process.said.last().map(String::as_str), Some("refresh with r1"));
}

#[test]
fn the_providers_clock_is_compared_with_ours() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    let mut answer = tokens("a2", None);
    answer.server_time = Some(process.now.plus(7 * MINUTE));
    process.input(GrantInput::Refreshed(answer));
    assert_eq!(process.machine.status().clock_skew_ms, Some(420_000));
    assert_eq!(
        process.gets(),
        "a2",
        "lifetimes count from our own request, whatever the provider's clock says"
    );
}

#[test]
fn a_record_that_does_not_open_is_told_once_and_stays_as_it_is_until_a_consent() {
    let mut process = Process::connected(config());
    let kept = process.stored.clone();
    let mut machine = GrantLifecycle::new(config(), 9);
    assert!(matches!(drain(&mut machine)[..], [GrantOutput::Load]));
    machine.handle_input(START, GrantInput::Unreadable);
    let said: Vec<String> = drain(&mut machine).iter().map(short).collect();
    assert_eq!(
        said,
        ["raise: access has ended and needs a new consent: what was stored of it can't be read"]
    );
    machine.handle_input(START, GrantInput::Raised);
    for minute in 1..10 {
        let now = START.plus(minute * MINUTE);
        machine.handle_timeout(now);
        assert!(matches!(drain(&mut machine)[..], [GrantOutput::Load]), "it looks again, and writes nothing");
        machine.handle_input(now, GrantInput::Unreadable);
    }
    assert_eq!(machine.status().state, GrantState::NeedsConsent(Ending::Unreadable));
    // The key came back.
    let now = START.plus(10 * MINUTE);
    machine.handle_timeout(now);
    drain(&mut machine);
    machine.handle_input(now, GrantInput::Loaded { found: kept });
    assert_eq!(gets(&machine, now), "a1");

    // Or it did not, and somebody consents.
    process.machine = machine;
    let mut machine = GrantLifecycle::new(config(), 9);
    drain(&mut machine);
    machine.handle_input(START, GrantInput::Unreadable);
    drain(&mut machine);
    machine.handle_input(START, GrantInput::Raised);
    machine.handle_input(START, GrantInput::Granted(tokens("b1", Some("s1"))));
    let outputs = drain(&mut machine);
    assert!(matches!(outputs[..], [GrantOutput::Save { expected: Expected::Anything, .. }]), "{outputs:?}");
    machine.handle_input(START, GrantInput::Saved { version: 7 });
    assert_eq!(gets(&machine, START), "b1");
}
