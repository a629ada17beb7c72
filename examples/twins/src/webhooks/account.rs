//! What a provider knows of one endpoint, and how it signs for it.

use std::{convert::Infallible, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{self, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};

use super::Provider;
use crate::random::Random;

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Keys for tests only, made for this file.
const RSA_KEYS: [&str; 2] =
    [include_str!("test_only_rsa_key_1.pem"), include_str!("test_only_rsa_key_2.pem")];
/// How long a token of Pub/Sub is valid.
const TOKEN_SECONDS: u64 = 3600;

/// One endpoint, as its provider knows it.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who sends.
    pub provider: Provider,
    /// Where to.
    pub url: String,
    secret: Vec<u8>,
    /// Which of the two RSA keys signs.
    pub rsa_key: usize,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id of it.
    pub id: String,
    /// The body, before what the provider adds when it sends.
    pub body: Bytes,
}

impl Account {
    /// An endpoint at this URL, with secrets from this seed.
    pub fn new(provider: Provider, url: impl Into<String>, seed: u64) -> Self {
        let mut secret = vec![0; 32];
        Random::derive(seed, provider.name(), 0).fill(&mut secret);
        Self { provider, url: url.into(), secret, rsa_key: 0 }
    }

    /// What the provider shows to who configures the endpoint: a secret, or a public key. Empty for
    /// Pub/Sub, see [`Account::email`] and [`jwks`].
    pub fn credential(&self) -> String {
        match self.provider {
            Provider::Stripe | Provider::Standard | Provider::Svix | Provider::GitLab => {
                format!("whsec_{}", STANDARD.encode(&self.secret))
            }
            Provider::StandardEd25519 => format!("whpk_{}", STANDARD.encode(self.public_key())),
            Provider::DiscordInteractions | Provider::DiscordEvents => hex(&self.public_key()),
            Provider::PubSub => String::new(),
            _ => hex(&self.secret),
        }
    }

    /// The account that Pub/Sub signs with.
    pub fn email(&self) -> String {
        "push@twin.iam.gserviceaccount.com".to_owned()
    }

    /// The `n`-th thing that happens there.
    pub fn event(&self, n: u64) -> Event {
        let (id, json) = match self.provider {
            Provider::GitHub
            | Provider::Shopify
            | Provider::Linear
            | Provider::GitLab
            | Provider::GitLabToken => {
                let id = Random::derive(n, self.provider.name(), 1).uuid().to_string();
                (id, json!({ "action": "opened", "number": n, "title": format!("Issue {n}") }))
            }
            Provider::Stripe => {
                let id = format!("evt_{n:024}");
                (id.clone(), json!({ "id": id, "object": "event", "type": "invoice.paid", "created": n }))
            }
            Provider::Standard | Provider::StandardEd25519 | Provider::Svix => {
                (format!("msg_{n:024}"), json!({ "type": "user.created", "data": { "n": n } }))
            }
            Provider::Slack => {
                let id = format!("Ev{n:09}");
                let event = json!({ "type": "message", "text": format!("hello {n}") });
                (
                    id.clone(),
                    json!({ "type": "event_callback", "team_id": "T1", "event_id": id, "event": event }),
                )
            }
            Provider::DiscordInteractions => {
                let id = format!("11{n:016}");
                (id.clone(), json!({ "id": id, "type": 2, "token": "t", "data": { "name": "ask" } }))
            }
            Provider::DiscordEvents => {
                let event = json!({ "type": "APPLICATION_AUTHORIZED", "timestamp": "2026-11-24T07:00:00", "data": { "n": n } });
                (
                    format!("event-{n}"),
                    json!({ "version": 1, "application_id": "1", "type": 1, "event": event }),
                )
            }
            Provider::Twilio => {
                let id = format!("SM{n:032x}");
                let form = format!(
                    "MessageSid={id}&From=%2B15550001111&To=%2B15550002222&Body=hello+%26+{n}&Media="
                );
                return Event { id, body: form.into() };
            }
            Provider::TwilioJson => (format!("EV{n:032x}"), json!({ "n": n })),
            Provider::Telegram => {
                let message = json!({ "message_id": n, "text": "hello" });
                (n.to_string(), json!({ "update_id": n, "message": message }))
            }
            Provider::PubSub => {
                let data =
                    STANDARD.encode(json!({ "emailAddress": "me@example.com", "historyId": n }).to_string());
                let message = json!({ "data": data, "messageId": n.to_string(), "message_id": n.to_string(), "publishTime": "2026-11-24T07:00:00Z" });
                (n.to_string(), json!({ "message": message, "subscription": "projects/p/subscriptions/s" }))
            }
        };
        Event { id, body: pretty(&json).into() }
    }

    /// The request that brings this event, signed at `now` after 1970.
    pub fn request(&self, event: &Event, now: Duration) -> Request<Body> {
        let mut url = self.url.clone();
        let mut body = event.body.clone();
        let time = now.as_secs().to_string();
        if self.provider == Provider::Linear {
            body = stamp(&body, now).into();
        }
        if self.provider == Provider::TwilioJson {
            let hash = digest::digest(&digest::SHA256, &body);
            url = format!("{url}?bodySHA256={}", hex(hash.as_ref()));
        }
        let kind = match self.provider {
            Provider::Twilio => "application/x-www-form-urlencoded",
            _ => "application/json",
        };
        let mut headers = self.signature(event, &url, &body, &time);
        headers.push(("content-type", kind.to_owned()));
        let mut request = Request::new(Full::new(body).boxed_unsync());
        *request.method_mut() = http::Method::POST;
        if let Ok(uri) = url.parse() {
            *request.uri_mut() = uri;
        }
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        request
    }

    fn signature(&self, event: &Event, url: &str, body: &[u8], time: &str) -> Vec<(&'static str, String)> {
        let (id, text) = (event.id.clone(), hex(&self.secret));
        let keyed = |key: &[u8], parts: &[&[u8]]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, &parts.concat()).as_ref().to_vec()
        };
        let standard = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let v1 = || format!("v1,{}", STANDARD.encode(keyed(&self.secret, &standard)));
        match self.provider {
            Provider::GitHub => vec![
                ("x-hub-signature-256", format!("sha256={}", hex(&keyed(text.as_bytes(), &[body])))),
                ("x-github-delivery", id),
                ("x-github-event", "issues".into()),
            ],
            Provider::Stripe => {
                let key = self.credential();
                let v1 = hex(&keyed(key.as_bytes(), &[time.as_bytes(), b".", body]));
                vec![("stripe-signature", format!("t={time},v1={v1},v0={}", "0".repeat(64)))]
            }
            Provider::Standard => vec![
                ("webhook-id", id.clone()),
                ("webhook-timestamp", time.into()),
                ("webhook-signature", v1()),
            ],
            Provider::StandardEd25519 => vec![
                ("webhook-id", id.clone()),
                ("webhook-timestamp", time.into()),
                ("webhook-signature", format!("v1a,{}", STANDARD.encode(self.ed25519(&standard.concat())))),
            ],
            Provider::Svix => {
                vec![("svix-id", id.clone()), ("svix-timestamp", time.into()), ("svix-signature", v1())]
            }
            Provider::GitLab => vec![
                ("webhook-id", id.clone()),
                ("idempotency-key", id.clone()),
                ("webhook-timestamp", time.into()),
                ("webhook-signature", v1()),
                ("x-gitlab-event", "Push Hook".into()),
            ],
            Provider::GitLabToken => vec![
                ("x-gitlab-token", text),
                ("webhook-id", id.clone()),
                ("idempotency-key", id.clone()),
                ("webhook-timestamp", time.into()),
                ("x-gitlab-event", "Push Hook".into()),
            ],
            Provider::Slack => {
                let signature = keyed(text.as_bytes(), &[b"v0:", time.as_bytes(), b":", body]);
                vec![
                    ("x-slack-signature", format!("v0={}", hex(&signature))),
                    ("x-slack-request-timestamp", time.into()),
                ]
            }
            Provider::DiscordInteractions | Provider::DiscordEvents => vec![
                ("x-signature-ed25519", hex(&self.ed25519(&[time.as_bytes(), body].concat()))),
                ("x-signature-timestamp", time.into()),
            ],
            Provider::Twilio | Provider::TwilioJson => {
                vec![("x-twilio-signature", self.twilio(url, body)), ("i-twilio-idempotency-token", id)]
            }
            Provider::Shopify => vec![
                ("x-shopify-hmac-sha256", STANDARD.encode(keyed(text.as_bytes(), &[body]))),
                ("x-shopify-topic", "orders/create".into()),
                ("x-shopify-shop-domain", "twin.myshopify.com".into()),
                ("x-shopify-api-version", "2026-10".into()),
                ("x-shopify-webhook-id", id),
            ],
            Provider::Linear => vec![
                ("linear-signature", hex(&keyed(text.as_bytes(), &[body]))),
                ("linear-delivery", id),
                ("linear-event", "Issue".into()),
                ("linear-timestamp", format!("{time}000")),
            ],
            Provider::Telegram => vec![("x-telegram-bot-api-secret-token", text)],
            Provider::PubSub => vec![("authorization", format!("Bearer {}", self.token(time)))],
        }
    }

    fn twilio(&self, url: &str, body: &[u8]) -> String {
        let mut signed = url.to_owned();
        if self.provider == Provider::Twilio {
            // The twin writes its forms itself, in plain text.
            let decode = |text: &str| text.replace('+', " ").replace("%2B", "+").replace("%26", "&");
            let form = String::from_utf8_lossy(body);
            let mut pairs: Vec<(String, String)> = form
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect();
            pairs.sort();
            pairs.iter().for_each(|(name, value)| signed.extend([name.as_str(), value]));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hex(&self.secret).as_bytes());
        STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
    }

    /// The token of the hour in which `time` lies: Pub/Sub uses one for many messages.
    fn token(&self, time: &str) -> String {
        let now: u64 = time.parse().unwrap_or_default();
        let issued = now - now % (TOKEN_SECONDS / 2);
        let header = json!({ "alg": "RS256", "kid": kid(self.rsa_key), "typ": "JWT" });
        let claims = json!({
            "aud": self.url, "azp": "1", "email": self.email(), "email_verified": true, "exp": issued + TOKEN_SECONDS, "iat": issued,
            "iss": "https://accounts.google.com", "sub": "1",
        });
        jwt(&header, &claims, self.rsa_key)
    }

    fn ed25519(&self, message: &[u8]) -> Vec<u8> {
        self.key_pair().map(|pair| pair.sign(message).as_ref().to_vec()).unwrap_or_default()
    }

    fn public_key(&self) -> Vec<u8> {
        self.key_pair().map(|pair| pair.public_key().as_ref().to_vec()).unwrap_or_default()
    }

    fn key_pair(&self) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.secret).ok()
    }
}

/// Signs a token with one of the two keys, whatever it says.
pub fn jwt(header: &Value, claims: &Value, key: usize) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = rsa(key).map(|pair| {
        let mut signature = vec![0; pair.public().modulus_len()];
        let _ =
            pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        signature
    });
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

fn kid(key: usize) -> String {
    format!("test-key-{}", key + 1)
}

fn rsa(key: usize) -> Option<RsaKeyPair> {
    let pem = RSA_KEYS.get(key)?.lines().filter(|line| !line.starts_with("-----"));
    let der = STANDARD.decode(pem.collect::<String>()).ok()?;
    RsaKeyPair::from_pkcs8(&der).ok()
}

/// The public halves of these RSA keys (0 and 1), as the provider publishes them.
pub fn jwks(keys: &[usize]) -> Value {
    let entry = |key: &usize| {
        let public = PublicKeyComponents::<Vec<u8>>::from(rsa(*key)?.public());
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        Some(json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid(*key), "n": n, "e": e }))
    };
    json!({ "keys": keys.iter().filter_map(entry).collect::<Vec<_>>() })
}

/// Linear puts the time of sending into the body.
fn stamp(body: &[u8], now: Duration) -> String {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    value["webhookTimestamp"] = json!(u64::try_from(now.as_millis()).unwrap_or_default());
    value.to_string()
}

/// With line breaks, as Stripe writes it: printing it again would break a signature.
fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
