//! The machine's law, whatever happens in whatever order.

use livos_core::testing::check_law;
use proptest::prelude::*;

use super::*;

fn any_tokens() -> impl Strategy<Value = Tokens> {
    let lifetime = prop_oneof![Just(None), (0u64..100_000).prop_map(Some)];
    (lifetime, any::<bool>(), prop::option::of(0u64..1_000_000)).prop_map(|(lifetime, refresh, ends)| {
        let mut tokens = tokens("a", refresh.then_some("r"));
        tokens.lifetime = lifetime.map(Duration::from_secs);
        tokens.refresh_lifetime = ends.map(Duration::from_secs);
        tokens
    })
}

fn any_error() -> impl Strategy<Value = EndpointError> {
    prop_oneof![
        Just(EndpointError::InvalidGrant(None)),
        Just(EndpointError::Refused("invalid_client".into())),
        prop::option::of(0u64..100_000).prop_map(|seconds| EndpointError::Unavailable {
            what: "a test".into(),
            retry_after: seconds.map(Duration::from_secs),
        }),
    ]
}

fn any_input() -> impl Strategy<Value = GrantInput> {
    prop_oneof![
        3 => Just(GrantInput::Loaded { found: None }),
        1 => Just(GrantInput::Unreadable),
        10 => (1u64..9).prop_map(|version| GrantInput::Saved { version }),
        2 => Just(GrantInput::Conflict),
        3 => Just(GrantInput::StoreFailed),
        2 => Just(GrantInput::Wanted),
        2 => (0u64..9).prop_map(|serial| GrantInput::Rejected { serial }),
        6 => any_tokens().prop_map(GrantInput::Refreshed),
        4 => any_error().prop_map(GrantInput::RefreshFailed),
        3 => any_tokens().prop_map(GrantInput::Granted),
        1 => Just(GrantInput::Disconnect),
        1 => any_error().prop_map(|error| GrantInput::Revoked(Err(error))),
        1 => Just(GrantInput::Revoked(Ok(()))),
        3 => Just(GrantInput::Raised),
        1 => Just(GrantInput::RaiseFailed),
    ]
}

proptest! {
    #[test]
    fn any_history_keeps_the_law(steps in prop::collection::vec((0u64..4_000_000, any_input()), 0..120), holder: u64) {
        let mut at = START;
        let dialogue: Vec<_> = steps.into_iter().map(|(milliseconds, input)| {
            at = at.plus(Duration::from_millis(milliseconds));
            (at, input)
        }).collect();
        let said = check_law(&mut GrantLifecycle::new(LifecycleConfig::google_testing(), holder), dialogue);
        // At any time at most one thing is under way, and each ends with an input.
        prop_assert!(said.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn a_clock_that_jumps_makes_nothing_panic(steps in prop::collection::vec((any::<i64>(), any_input()), 0..60)) {
        let mut machine = GrantLifecycle::new(LifecycleConfig::google_testing(), 1);
        for (ms, input) in steps {
            let now = Timestamp::from_unix_ms(ms);
            machine.handle_input(now, input);
            drain(&mut machine);
            machine.handle_timeout(now);
            drain(&mut machine);
            let _ = (machine.access(now), machine.status(), machine.is_saved(), machine.poll_timeout());
        }
    }
}
