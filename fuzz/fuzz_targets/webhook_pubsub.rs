//! Pushes of Pub/Sub: a token that Google signed, and a body that it does not cover.
#![no_main]

use std::{convert::Infallible, sync::LazyLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use livos_fuzz::{
    message::Message,
    peer,
    webhooks::{Endpoint, NOW, Signature, URL, text},
};
use livos_integrations::webhook::{
    PubSub, PubSubConfig,
    jwks::{Jwks, JwksConfig},
};

/// Of the twin's endpoint.
const EMAIL: &str = "push@twin.iam.gserviceaccount.com";

/// What the twin's subscription sent: one token an hour, and each is valid for an hour.
static TOKENS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let old: &[u8] = include_bytes!("../corpus/webhook_pubsub/pubsub-old");
    [old, include_bytes!("../corpus/webhook_pubsub/pubsub-right")].map(|sent| {
        let sent = Message::read(sent);
        text(&sent.headers, "authorization").trim_start_matches("Bearer ").to_owned()
    })
});

static VERIFIER: LazyLock<PubSub> = LazyLock::new(|| {
    let keys = Message::read(include_bytes!("../corpus/webhook_jwks/google")).body;
    let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let keys = Response::new(Full::new(keys.clone()));
        async move { Ok::<_, Infallible>(keys) }
    });
    let keys = Jwks::new(JwksConfig::default(), livos_core::http::HttpClient::new(http));
    peer::run(keys.prepare(NOW, "test-key-1".into()));
    PubSub::new(PubSubConfig::new(URL, EMAIL), keys).expect("a configuration")
});

fuzz_target!(|data: &[u8]| {
    Endpoint {
        verifier: &*VERIFIER,
        secrets: &TOKENS.each_ref().map(String::as_str),
        header: "authorization",
        sign: &|_, _| TOKENS.clone().map(|token| Signature::after("Bearer ", token)).into(),
    }
    .check(data);
});
