//! Dialogues with one process.

use super::{process::Process, *};

#[test]
fn a_grant_that_was_never_given_needs_a_consent_and_has_a_token_after_it() {
    let mut process = Process::new(config());
    assert_eq!(process.gets(), "access needs a new consent: nobody consented yet");
    assert_eq!(process.state(), GrantState::NeedsConsent(Ending::NeverGiven));
    assert_eq!(process.input(GrantInput::Granted(tokens("a1", Some("r1")))), [""; 0]);
    assert_eq!((process.gets().as_str(), process.state()), ("a1", GrantState::Fresh));
    assert_eq!(process.restarted().gets(), "a1", "it is in the store");
}

#[test]
fn a_token_is_refreshed_every_half_hour_although_it_lives_for_longer() {
    let mut process = Process::connected(config());
    for (serial, minute) in [(2, 30), (3, 60), (4, 90)] {
        assert_eq!(process.wait(30 * MINUTE - SECOND), [""; 0], "minute {minute}");
        assert_eq!(
            process.wait(SECOND),
            ["refresh with r1"],
            "the old refresh token stays, since no new one comes"
        );
        assert_eq!(process.state(), GrantState::Refreshing);
        process.input(GrantInput::Refreshed(tokens(&format!("a{serial}"), None)));
        assert_eq!(process.gets(), format!("a{serial}"));
        assert_eq!(process.machine.status().serial, serial);
    }
    let status = process.machine.status();
    assert_eq!((status.refreshed_at, status.attempted_at), (Some(process.now), Some(process.now)));
    assert_eq!(status.age(process.now.plus(MINUTE)), Some(MINUTE));
}

#[test]
fn a_short_lived_token_is_refreshed_before_its_end() {
    let mut short_lived = tokens("a1", Some("r1"));
    short_lived.lifetime = Some(20 * MINUTE);
    let mut process = Process::new(config());
    process.input(GrantInput::Granted(short_lived));
    assert_eq!(process.wait(15 * MINUTE - SECOND), [""; 0]);
    assert_eq!(process.wait(SECOND), ["refresh with r1"], "five minutes before");
    let mut tiny = tokens("a2", None);
    tiny.lifetime = Some(MINUTE);
    process.input(GrantInput::Refreshed(tiny));
    assert_eq!(process.wait(30 * SECOND), ["refresh with r1"], "half of its life before");
    let mut none = tokens("a3", None);
    none.lifetime = Some(Duration::ZERO);
    process.input(GrantInput::Refreshed(none));
    assert_eq!(process.wait(29 * MINUTE), [""; 0], "zero is no lifetime");
}

#[test]
fn a_new_token_is_in_the_store_before_anybody_gets_it() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    process.machine.handle_input(process.now, GrantInput::Refreshed(tokens("a2", Some("r2"))));
    let outputs = drain(&mut process.machine);
    assert!(matches!(outputs[..], [GrantOutput::Save { .. }]), "{outputs:?}");
    assert_eq!(process.gets(), "a1", "the old one is still good");
    assert_eq!(
        gets(&process.machine, process.now.plus(30 * MINUTE)),
        "wait",
        "and then they wait for the write"
    );
    process.machine.handle_input(process.now, GrantInput::Saved { version: 3 });
    assert_eq!(process.gets(), "a2");
}

#[test]
fn a_rotated_refresh_token_is_used_from_then_on() {
    let mut process = Process::connected(config());
    for (used, given) in [("r1", "r2"), ("r2", "r3")] {
        assert_eq!(process.wait(30 * MINUTE), [format!("refresh with {used}")]);
        process.input(GrantInput::Refreshed(tokens("a", Some(given))));
    }
    assert_eq!(process.restarted().wait(30 * MINUTE), ["refresh with r3"]);
}

#[test]
fn a_store_that_fails_after_a_refresh_loses_nothing() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    process.store_works = false;
    process.input(GrantInput::Refreshed(tokens("a2", Some("r2"))));
    assert_eq!((process.gets().as_str(), process.machine.status().unsaved), ("a2", true));
    assert_eq!(process.wait(40 * MINUTE), [""; 0], "nothing new is begun before that is written");
    process.store_works = true;
    assert_eq!(process.wait(31 * SECOND), ["refresh with r2"], "and then it goes on");
    assert!(!process.machine.status().unsaved);
    assert_eq!(process.restarted().machine.status().serial, 2);
}

#[test]
fn a_store_that_fails_after_a_consent_loses_nothing() {
    let mut process = Process::new(config());
    process.store_works = false;
    process.input(GrantInput::Granted(tokens("a1", Some("r1"))));
    assert_eq!((process.gets().as_str(), process.machine.is_saved()), ("a1", Some(false)));
    process.input(GrantInput::Granted(tokens("b1", Some("s1"))));
    process.store_works = true;
    process.wait(MINUTE);
    assert_eq!((process.gets().as_str(), process.machine.is_saved()), ("b1", Some(true)));
    assert_eq!(process.restarted().gets(), "b1");

    // The store could not even be read yet.
    let mut process = Process::new(config()).restarted();
    process.machine = GrantLifecycle::new(config(), 3);
    process.store_works = false;
    process.settle();
    process.input(GrantInput::Granted(tokens("a1", Some("r1"))));
    assert_eq!((process.machine.is_saved(), process.machine.status().unsaved), (Some(false), true));
    process.store_works = true;
    process.wait(MINUTE);
    assert_eq!(process.restarted().gets(), "a1");
}

#[test]
fn no_refresh_begins_that_could_not_be_written_down() {
    let mut process = Process::connected(config());
    process.store_works = false;
    assert_eq!(process.wait(50 * MINUTE), [""; 0]);
    assert_eq!(process.gets(), "a1", "the token is good to its end");
    process.wait(10 * MINUTE);
    assert_eq!(process.gets(), "no access token for now: the store of the grant fails");
    process.store_works = true;
    assert_eq!(process.wait(31 * SECOND), ["refresh with r1"]);
}

#[test]
fn an_ended_grant_is_told_once_and_never_asked_for_again() {
    let subtype = Some("invalid_rapt".to_owned());
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    let said = process.input(GrantInput::RefreshFailed(EndpointError::InvalidGrant(subtype.clone())));
    assert_eq!(
        said,
        ["raise: access has ended and needs a new consent: the provider ended it (invalid_rapt)"]
    );
    assert_eq!(process.input(GrantInput::Raised), [""; 0]);
    assert_eq!(process.state(), GrantState::NeedsConsent(Ending::InvalidGrant(subtype)));
    for _ in 0..100 {
        assert_eq!(process.input(GrantInput::Wanted), [""; 0]);
        assert_eq!(process.wait(HOUR), [""; 0]);
    }
    assert_eq!(process.restarted().wait(DAY), [""; 0], "after a restart neither");
    process.input(GrantInput::Granted(tokens("b1", Some("s1"))));
    assert_eq!(process.gets(), "b1");
    assert_eq!(process.wait(30 * MINUTE), ["refresh with s1"]);
}

#[test]
fn an_alert_that_did_not_come_through_is_raised_again_also_after_a_restart() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    let first = process.input(GrantInput::RefreshFailed(EndpointError::InvalidGrant(None)));
    assert_eq!(process.input(GrantInput::RaiseFailed), [""; 0], "not at once");
    assert_eq!(process.wait(2 * SECOND), first);
    // Killed here: another process waits for the lease to end, and raises it.
    let mut other = process.restarted();
    assert_eq!(other.wait(103 * SECOND), [""; 0]);
    assert_eq!(other.wait(2 * SECOND), first);
    assert_eq!(other.input(GrantInput::Raised), [""; 0]);
    assert_eq!(other.wait(DAY), [""; 0]);
}

#[test]
fn a_temporary_failure_ends_nothing_and_waits_grow() {
    let mut process = Process::connected(config());
    process.wait(30 * MINUTE);
    for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        process.input(GrantInput::RefreshFailed(unavailable()));
        assert_eq!(process.state(), GrantState::Failing);
        assert_eq!(process.wait(seconds * SECOND - Duration::from_millis(1)), [""; 0], "{seconds}");
        assert_eq!(process.wait(Duration::from_millis(1)), ["refresh with r1"]);
        assert_eq!(process.gets(), "a1", "the token is good to its end");
    }
    assert_eq!(process.machine.status().failures, 10);
    process.input(GrantInput::Refreshed(tokens("a2", None)));
    let status = process.machine.status();
    assert_eq!((status.state, status.failures, status.last_failure), (GrantState::Fresh, 0, None));
}

#[test]
fn a_provider_that_asks_for_time_gets_it_within_reason() {
    for (asked, waited) in [(1, 2), (90, 90), (86_400, 3_600)] {
        let mut process = Process::connected(config());
        process.wait(30 * MINUTE);
        let retry_after = Some(Duration::from_secs(asked));
        let busy = EndpointError::Unavailable { what: "busy".into(), retry_after };
        process.input(GrantInput::RefreshFailed(busy));
        assert_eq!(process.wait(waited * SECOND - Duration::from_millis(1)), [""; 0]);
        assert_eq!(process.wait(Duration::from_millis(1)), ["refresh with r1"]);
    }
}

#[test]
fn callers_are_told_why_there_is_no_token_and_when_to_come_back() {
    let mut process = Process::connected(config());
    process.wait(55 * MINUTE);
    let busy = EndpointError::Unavailable { what: "503".into(), retry_after: Some(10 * MINUTE) };
    process.input(GrantInput::RefreshFailed(busy));
    process.wait(6 * MINUTE);
    let TokenAccess::Refused(error) = process.machine.access(process.now) else {
        panic!("the token is over")
    };
    assert_eq!((error.is_temporary(), error.retry_after()), (true, Some(4 * MINUTE)));
}
