//! What holds for every provider, against a sender that shares no code with the verifiers.

mod google;
mod strict;
mod vectors;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full};
use livos_core::{secret::Secret, time::Timestamp};
use livos_twins::webhooks::{self, Account, Mischief, Provider, Sender};
use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const URL: &str = "https://agent.example/hook";

fn at(time: Duration) -> Timestamp {
    Timestamp::default().plus(time)
}

/// Google's keys, already fetched.
async fn keys() -> jwks::Jwks {
    let document = Bytes::from(webhooks::jwks(&[0]).to_string());
    let server = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let document = document.clone();
        async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(document))) }
    });
    let keys = jwks::Jwks::new(jwks::JwksConfig::default(), livos_core::http::HttpClient::new(server));
    keys.prepare(at(NOW), "test-key-1".into()).await;
    keys
}

/// The verifier of an account's endpoint, with other secrets in addition to its own.
fn verifier(account: &Account, keys: &jwks::Jwks) -> Arc<dyn Verifier> {
    let other = Account::new(account.provider, URL, 99).credential();
    let both = [other, account.credential()];
    let secrets = both.iter().map(|secret| Secret::new(secret.as_str()));
    match account.provider {
        Provider::GitHub => Arc::new(GitHub::new(secrets).unwrap()),
        Provider::Stripe => Arc::new(Stripe::new(secrets).unwrap()),
        Provider::Standard | Provider::StandardEd25519 => Arc::new(StandardWebhooks::new(secrets).unwrap()),
        Provider::Svix => Arc::new(Svix::new(secrets).unwrap()),
        Provider::Slack => Arc::new(Slack::new(secrets).unwrap()),
        Provider::DiscordInteractions => Arc::new(Discord::interactions(&both).unwrap()),
        Provider::DiscordEvents => Arc::new(Discord::events(&both).unwrap()),
        Provider::Twilio | Provider::TwilioJson => Arc::new(Twilio::new(secrets, URL).unwrap()),
        Provider::Shopify => Arc::new(Shopify::new(secrets).unwrap()),
        Provider::GitLab => Arc::new(GitLab::signed(secrets).unwrap()),
        Provider::GitLabToken => Arc::new(GitLab::token(secrets).unwrap()),
        Provider::Linear => Arc::new(Linear::new(secrets).unwrap()),
        Provider::Telegram => Arc::new(Telegram::new(secrets).unwrap()),
        Provider::PubSub => {
            let config = PubSubConfig::new(URL, account.email());
            Arc::new(PubSub::new(config, keys.clone()).unwrap())
        }
    }
}

/// The request of one delivery.
async fn request(account: &Account, n: u64, mischief: Option<Mischief>) -> (Parts, Bytes) {
    let mut sender = Sender::new(account.clone());
    sender.deliver(NOW, account.event(n), mischief);
    let (head, body) = sender.poll(NOW).unwrap().request.into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

struct Endpoint {
    account: Account,
    verifier: Arc<dyn Verifier>,
}

impl Endpoint {
    async fn all() -> Vec<Self> {
        let keys = keys().await;
        let endpoint = |provider| {
            let account = Account::new(provider, URL, 1);
            let verifier = verifier(&account, &keys);
            Self { account, verifier }
        };
        Provider::ALL.into_iter().map(endpoint).collect()
    }

    async fn receive(&self, n: u64, mischief: Option<Mischief>) -> Result<Verified<Delivery>, VerifyError> {
        let (head, body) = request(&self.account, n, mischief).await;
        self.verifier.verify(at(NOW), &head, body).await
    }

    fn provider(&self) -> Provider {
        self.account.provider
    }
}

#[tokio::test]
async fn what_a_provider_sends_is_verified_under_any_active_secret() {
    for endpoint in Endpoint::all().await {
        let (one, other) =
            (endpoint.receive(1, None).await.unwrap(), endpoint.receive(2, None).await.unwrap());
        assert_ne!((one.id(), one.key()), (other.id(), other.key()), "{:?}", endpoint.provider());
        assert_eq!(endpoint.receive(1, None).await.unwrap().key(), one.key(), "{:?}", endpoint.provider());
        assert!(!one.is_answered_at_once());
    }
}

#[tokio::test]
async fn what_another_account_signed_is_refused() {
    for endpoint in Endpoint::all().await {
        let mut stranger = Account::new(endpoint.provider(), URL, 2);
        stranger.rsa_key = 1;
        let (head, body) = request(&stranger, 1, None).await;
        let error = endpoint.verifier.verify(at(NOW), &head, body).await.unwrap_err();
        let unauthorized = endpoint.verifier.policy().refusal(&error) == StatusCode::UNAUTHORIZED;
        let keys = matches!(error, VerifyError::KeysUnavailable { .. });
        assert!(unauthorized || keys, "{:?}: {error}", endpoint.provider());
        assert_eq!(error.fault() == Fault::Here, keys);
    }
}

#[tokio::test]
async fn a_tampered_delivery_is_refused_and_the_error_holds_no_secret() {
    for endpoint in Endpoint::all().await {
        let (right, _) = request(&endpoint.account, 1, None).await;
        let error = endpoint.receive(1, Some(Mischief::WrongSignature)).await.unwrap_err();
        assert_eq!(
            endpoint.verifier.policy().refusal(&error),
            StatusCode::UNAUTHORIZED,
            "{:?}: {error}",
            endpoint.provider()
        );
        let said = format!("{error} {error:?}");
        let credential = endpoint.account.credential();
        assert!(credential.is_empty() || !said.contains(&credential));
        for (_, value) in right.headers.iter().filter(|(_, value)| value.len() > 20) {
            assert!(!said.contains(value.to_str().unwrap()), "{:?}: {said}", endpoint.provider());
        }
    }
}

#[tokio::test]
async fn a_proof_that_stands_twice_is_refused() {
    for endpoint in Endpoint::all().await {
        let error = endpoint.receive(1, Some(Mischief::TwiceSigned)).await.unwrap_err();
        assert!(matches!(error, VerifyError::Repeated(_)), "{:?}: {error}", endpoint.provider());
    }
}

/// Providers that sign the time.
fn signs_time(provider: Provider) -> bool {
    let timed = [
        Provider::Stripe,
        Provider::Standard,
        Provider::StandardEd25519,
        Provider::Svix,
        Provider::Slack,
        Provider::GitLab,
        Provider::Linear,
    ];
    timed.contains(&provider)
}

#[tokio::test]
async fn a_signed_time_counts_in_both_directions_up_to_the_edge() {
    for endpoint in Endpoint::all().await.into_iter().filter(|endpoint| signs_time(endpoint.provider())) {
        let (edge, beyond) = (Duration::from_secs(300), Duration::from_secs(301));
        for mischief in [Mischief::Old(edge), Mischief::Early(edge)] {
            assert!(endpoint.receive(1, Some(mischief)).await.is_ok(), "{:?}", endpoint.provider());
        }
        for mischief in [Mischief::Old(beyond), Mischief::Early(beyond)] {
            let error = endpoint.receive(1, Some(mischief)).await.unwrap_err();
            assert_eq!(error, VerifyError::OutsideWindow, "{:?}", endpoint.provider());
        }
    }
}

#[tokio::test]
async fn a_captured_delivery_under_a_new_id_is_a_duplicate() {
    for endpoint in Endpoint::all().await {
        let first = endpoint.receive(1, None).await.unwrap();
        let replayed = endpoint.receive(1, Some(Mischief::Replay)).await.unwrap();
        assert_eq!(replayed.key(), first.key(), "{:?}", endpoint.provider());
        let unsigned = [Provider::GitHub, Provider::Shopify, Provider::Linear, Provider::Twilio];
        if unsigned.contains(&endpoint.provider()) {
            assert_ne!(replayed.id(), first.id(), "{:?}", endpoint.provider());
        }
    }
}

#[tokio::test]
async fn a_retry_that_is_signed_again_is_a_duplicate() {
    for endpoint in Endpoint::all().await {
        let (first, later) =
            (endpoint.receive(1, None).await.unwrap(), Mischief::Old(Duration::from_secs(60)));
        assert_eq!(
            endpoint.receive(1, Some(later)).await.unwrap().key(),
            first.key(),
            "{:?}",
            endpoint.provider()
        );
    }
}

#[tokio::test]
async fn a_body_may_be_cut_anywhere() {
    for endpoint in Endpoint::all().await {
        let (head, body) = request(&endpoint.account, 1, None).await;
        let whole = endpoint.verifier.verify(at(NOW), &head, body.clone()).await.unwrap();
        for size in [1, 7, 64] {
            let mut check = endpoint.verifier.open(at(NOW), &head).unwrap().ready().await.unwrap();
            body.chunks(size).for_each(|chunk| check.update(Bytes::copy_from_slice(chunk)));
            assert_eq!(check.finish().unwrap(), whole, "{:?}", endpoint.provider());
        }
    }
}

#[tokio::test]
async fn no_header_may_be_left_out_unless_it_proves_nothing() {
    let hints = [
        "content-type",
        "x-github-event",
        "x-gitlab-event",
        "linear-event",
        "linear-timestamp",
        "i-twilio-idempotency-token",
        "idempotency-key",
    ];
    for endpoint in Endpoint::all().await {
        let (head, body) = request(&endpoint.account, 1, None).await;
        for name in head.headers.keys() {
            let (mut without, _) = Request::new(()).into_parts();
            (without.headers, without.uri) = (head.headers.clone(), head.uri.clone());
            without.method = head.method.clone();
            without.headers.remove(name);
            let verified = endpoint.verifier.verify(at(NOW), &without, body.clone()).await.is_ok();
            // A plain secret is the whole proof, and a form has to be called one.
            let rest = endpoint.provider() == Provider::GitLabToken && name.as_str().starts_with("webhook-");
            let form = endpoint.provider() == Provider::Twilio && name == "content-type";
            let optional = (hints.contains(&name.as_str()) || rest) && !form;
            assert_eq!(verified, optional, "{:?} without {name}", endpoint.provider());
        }
    }
}

#[tokio::test]
async fn greetings_are_answered_in_the_providers_words() {
    let answer = |delivery: &Delivery| {
        assert!(delivery.is_answered_at_once());
        let answer = delivery.answer().unwrap().to_response();
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
    };
    let keys = keys().await;
    let greet = async |provider, body: &'static str| {
        let account = Account::new(provider, URL, 1);
        let event = webhooks::Event { id: "1".into(), body: body.into() };
        let (mut head, _) = account.request(&event, NOW).into_parts();
        if provider == Provider::GitHub {
            head.headers.insert("x-github-event", "ping".parse().unwrap());
        }
        let verifier = verifier(&account, &keys);
        let delivery = verifier.verify(at(NOW), &head, body.into()).await.unwrap();
        answer(&delivery)
    };
    let challenge = r#"{"token":"x","challenge":"3eZbrw1a","type":"url_verification"}"#;
    assert_eq!(greet(Provider::Slack, challenge).await, (200, "3eZbrw1a".into()));
    assert_eq!(
        greet(Provider::DiscordInteractions, r#"{"id":"1","type":1}"#).await,
        (200, r#"{"type":1}"#.into())
    );
    assert_eq!(greet(Provider::DiscordEvents, r#"{"type":0}"#).await, (204, String::new()));
    assert_eq!(greet(Provider::GitHub, r#"{"zen":"Keep it simple."}"#).await, (200, String::new()));
}

#[tokio::test]
async fn every_answer_is_one_that_its_provider_takes() {
    for endpoint in Endpoint::all().await {
        let delivery = endpoint.receive(1, None).await.unwrap();
        let policy = endpoint.verifier.policy();
        let answer = delivery.answer().unwrap_or(&policy.accepted).to_response();
        assert!(endpoint.provider().takes(answer.status()), "{:?}", endpoint.provider());
    }
}

#[tokio::test]
async fn an_authentic_body_that_can_not_be_read_is_taken_and_known_by_its_bytes() {
    let keys = keys().await;
    for provider in [Provider::Stripe, Provider::Slack, Provider::Telegram, Provider::PubSub] {
        let account = Account::new(provider, URL, 1);
        let event = webhooks::Event { id: "1".into(), body: Bytes::from_static(b"\xff\xfe{") };
        let (head, _) = account.request(&event, NOW).into_parts();
        let delivery = verifier(&account, &keys).verify(at(NOW), &head, event.body.clone()).await.unwrap();
        assert!(delivery.key().starts_with("sha256:"), "{provider:?}: {}", delivery.key());
    }
}

fn any_headers() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    prop::collection::vec((0usize..64, prop::collection::vec(any::<u8>(), 0..90)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A right delivery with some headers overwritten or doubled by anything, and a body with
    /// anything in it: never a panic, and never verified unless the body is the one that was
    /// signed.
    #[test]
    fn nothing_that_comes_in_makes_a_verifier_panic_or_err(
        which in 0..Provider::ALL.len(),
        changes in any_headers(),
        append: bool,
        body in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::all().await.swap_remove(which);
            let (mut head, signed) = request(&endpoint.account, 1, None).await;
            let names: Vec<_> = head.headers.keys().cloned().collect();
            for (n, value) in changes {
                let name = &names[n % names.len()];
                if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                    if append { head.headers.append(name, value); } else { head.headers.insert(name, value); }
                }
            }
            let sent = body.clone().map_or_else(|| signed.clone(), Bytes::from);
            let shared = [Provider::Telegram, Provider::GitLabToken, Provider::PubSub];
            let verified = endpoint.verifier.verify(at(NOW), &head, sent.clone()).await;
            if !shared.contains(&endpoint.provider()) && sent != signed {
                assert!(verified.is_err(), "{:?}", endpoint.provider());
            }
        });
    }
}
