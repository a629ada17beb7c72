//! Pub/Sub: what the token has to say, and how its keys are had.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::*;
use crate::webhook::jwks::{Jwks, JwksConfig, Lookup};

fn account() -> Account {
    Account::new(Provider::PubSub, URL, 1)
}

fn claims() -> Value {
    let now = NOW.as_secs();
    json!({
        "aud": URL, "email": account().email(), "email_verified": true, "iss": "https://accounts.google.com", "iat": now - 10, "exp": now + 3590,
        "sub": "1",
    })
}

/// A request with a token of these parts.
fn head(header: &Value, claims: &Value) -> Parts {
    let token = webhooks::jwt(header, claims, 0);
    Request::post("/").header("authorization", format!("Bearer {token}")).body(()).unwrap().into_parts().0
}

const BODY: &str =
    r#"{"message":{"data":"e30","message_id":"7"},"subscription":"projects/p/subscriptions/s"}"#;

#[tokio::test]
async fn everything_that_the_token_says_is_checked() {
    let verifier = PubSub::new(PubSubConfig::new(URL, account().email()), keys().await).unwrap();
    let right = json!({ "alg": "RS256", "kid": "test-key-1" });
    let check = async |header: &Value, claims: &Value| {
        let verified = verifier.verify(at(NOW), &head(header, claims), BODY.into()).await;
        verified.map(|delivery| delivery.id().to_owned())
    };
    assert_eq!(check(&right, &claims()).await.unwrap(), "projects/p/subscriptions/s/7");
    let now = NOW.as_secs();
    let wrong: [(&str, Value); 17] = [
        ("iss", json!("https://accounts.evil.example")),
        ("iss", Value::Null),
        ("aud", json!("https://agent.example/Hook")),
        ("aud", json!([URL])),
        ("aud", json!("")),
        ("email", json!("push@evil.iam.gserviceaccount.com")),
        ("email", Value::Null),
        ("email_verified", json!(false)),
        ("email_verified", json!("true")),
        ("email_verified", Value::Null),
        ("exp", json!(now - 61)),
        ("exp", json!(now - 20)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("iat", json!(now + 61)),
        ("iat", json!(i64::MAX)),
        ("nbf", json!(now + 61)),
    ];
    for (name, value) in wrong {
        let mut claims = claims();
        claims[name] = value;
        let error = check(&right, &claims).await.unwrap_err();
        assert!(matches!(error, VerifyError::WrongClaim(_)), "{name}: {error}");
    }
    let mut short = claims();
    short["aud"] = json!(URL);
    short["iss"] = json!("accounts.google.com");
    assert!(check(&right, &short).await.is_ok(), "Google's library takes this issuer too");
    for header in [
        json!({ "alg": "none", "kid": "test-key-1" }),
        json!({ "alg": "HS256", "kid": "test-key-1" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "RS256", "kid": "test-key-1", "crit": ["x"] }),
    ] {
        assert!(matches!(check(&header, &claims()).await, Err(VerifyError::Malformed(_))), "{header}");
    }
}

#[tokio::test]
async fn a_bare_message_is_named_by_its_headers() {
    let verifier = PubSub::new(PubSubConfig::new(URL, account().email()), keys().await).unwrap();
    let mut head = head(&json!({ "alg": "RS256", "kid": "test-key-1" }), &claims());
    head.headers.insert("x-goog-pubsub-message-id", "9".parse().unwrap());
    head.headers.insert("x-goog-pubsub-subscription-name", "projects/p/subscriptions/s".parse().unwrap());
    let delivery = verifier.verify(at(NOW), &head, "anything".into()).await.unwrap();
    assert_eq!(delivery.id(), "projects/p/subscriptions/s/9");
}

/// A server of keys that counts, takes its time, and can fail.
#[derive(Clone, Default)]
struct Server {
    fetches: Arc<AtomicU32>,
    failing: Arc<AtomicU32>,
    published: Arc<AtomicUsize>,
}

impl Server {
    fn keys(&self) -> Jwks {
        let server = self.clone();
        Jwks::new(
            JwksConfig::default(),
            livos_core::http::HttpClient::new(tower::service_fn(move |_: Request<Full<Bytes>>| {
                server.clone().answer()
            })),
        )
    }

    async fn answer(self) -> Result<Response<Full<Bytes>>, Infallible> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if self.failing.load(Ordering::SeqCst) > 0 {
            let broken = Response::builder().status(500).body(Full::default());
            return Ok(broken.unwrap());
        }
        let published: Vec<usize> = (0..=self.published.load(Ordering::SeqCst)).collect();
        Ok(Response::new(Full::new(Bytes::from(webhooks::jwks(&published).to_string()))))
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn is_found(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Found(_))
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_share_one_fetch() {
    let server = Server::default();
    let keys = server.keys();
    let asking = (0..100).map(|_| {
        tokio::spawn({
            let keys = keys.clone();
            async move { keys.prepare(at(NOW), "test-key-1".into()).await }
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    assert!(is_found(&keys.lookup(at(NOW), "test-key-1")));
    assert_eq!(server.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_hangs_up_cuts_off_nobodys_fetch() {
    let server = Server::default();
    let keys = server.keys();
    let hasty =
        tokio::time::timeout(Duration::from_millis(10), keys.prepare(at(NOW), "test-key-1".into())).await;
    assert!(hasty.is_err());
    keys.prepare(at(NOW), "test-key-1".into()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(is_found(&keys.lookup(at(NOW), "test-key-1")));
    assert_eq!(server.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_and_old_keys_go_on() {
    let server = Server::default();
    let keys = server.keys();
    keys.prepare(at(NOW), "test-key-1".into()).await;
    server.failing.store(1, Ordering::SeqCst);
    let later = at(NOW + Duration::from_secs(2 * 3600));
    assert_eq!(keys.lookup(later, "test-key-1"), Lookup::Fetch);
    keys.prepare(later, "test-key-1".into()).await;
    assert!(is_found(&keys.lookup(later, "test-key-1")), "stale, and better than none");
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_costs_one_fetch_and_no_delivery() {
    let server = Server::default();
    let verifier = PubSub::new(PubSubConfig::new(URL, account().email()), server.keys()).unwrap();
    let mut account = account();
    let mut now = NOW;
    for key in [0, 0, 1, 1] {
        (account.rsa_key, now) = (key, now + Duration::from_secs(120));
        server.published.store(key, Ordering::SeqCst);
        let event = account.event(1);
        let (head, _) = account.request(&event, now).into_parts();
        assert!(verifier.verify(at(now), &head, event.body).await.is_ok(), "with key {key}");
    }
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_could_not_be_right_causes_no_fetch() {
    let server = Server::default();
    let verifier = PubSub::new(PubSubConfig::new(URL, account().email()), server.keys()).unwrap();
    for n in 0..100 {
        let mut claims = claims();
        claims["email"] = json!(format!("stranger-{n}@evil.example"));
        let head = head(&json!({ "alg": "RS256", "kid": format!("key-{n}") }), &claims);
        assert_eq!(verifier.verify(at(NOW), &head, BODY.into()).await, Err(VerifyError::WrongClaim("email")));
    }
    assert_eq!(server.fetches(), 0);
}
