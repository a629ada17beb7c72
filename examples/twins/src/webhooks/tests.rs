//! The signatures against the vectors that providers publish, and the schedules against what they
//! say of them.

use super::*;
use std::time::Duration;

#[test]
fn schedules_reach_as_far_as_the_providers_say() {
    let horizon = |provider: Provider| {
        let (mut attempt, mut elapsed) = (1, Duration::ZERO);
        while let Some(wait) = provider.wait(attempt, elapsed) {
            (attempt, elapsed) = (attempt + 1, elapsed + wait);
        }
        (attempt, elapsed.as_secs())
    };
    let table = [
        (Provider::GitHub, (1, 0)),
        (Provider::Slack, (4, 360)),
        (Provider::Linear, (4, 25_260)),
        (Provider::Svix, (8, 99_305)),
        (Provider::Standard, (10, 272_105)),
    ];
    for (provider, expected) in table {
        assert_eq!(horizon(provider), expected, "{provider:?}");
    }
    assert!(
        (239 * 60..=240 * 60).contains(&horizon(Provider::Shopify).1) || horizon(Provider::Shopify).0 == 9
    );
    assert!((2 * 86_400..=3 * 86_400).contains(&horizon(Provider::Stripe).1));
    assert!((6 * 86_400..=7 * 86_400).contains(&horizon(Provider::PubSub).1));
}

#[test]
fn what_is_not_taken_comes_again_and_what_is_taken_does_not() {
    let mut sender = Sender::new(Account::new(Provider::Linear, "https://agent.example/hook", 1));
    let event = Account::new(Provider::Linear, "", 1).event(1);
    sender.deliver(Duration::from_secs(10), event, None);
    let accepted = Outcome::Answered(http::StatusCode::ACCEPTED, None);
    let mut times = Vec::new();
    while let Some(due) = sender.due() {
        let attempt = sender.poll(due).unwrap();
        times.push(due.as_secs());
        // Linear wants exactly 200.
        let outcome =
            if attempt.number == 3 { Outcome::Answered(http::StatusCode::OK, None) } else { accepted };
        sender.answered(due, attempt.delivery, outcome);
    }
    assert_eq!(times, [10, 70, 3670]);
    assert_eq!(sender.report(), Report { attempts: 3, taken: 1, given_up: 0 });
}

#[test]
fn the_same_event_is_signed_the_same_and_another_account_signs_otherwise() {
    for provider in Provider::ALL {
        let signed = |seed| {
            let account = Account::new(provider, "https://agent.example/hook", seed);
            account.request(&account.event(1), Duration::from_secs(1_800_000_000)).headers().clone()
        };
        assert_eq!(signed(1), signed(1), "{provider:?}");
        assert!(provider == Provider::PubSub || signed(1) != signed(2), "{provider:?}");
    }
}
