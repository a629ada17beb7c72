//! Any answer of the server of a provider's keys: some keys or none, which verify what they sign
//! and nothing else, and no further request within a minute.
#![no_main]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use livos_fuzz::{
    message::Message,
    peer,
    webhooks::{NOW, URL},
};
use livos_integrations::webhook::{
    PubSub, PubSubConfig, Verifier, VerifyError,
    jwks::{Jwks, JwksConfig, Lookup},
};

/// Of the twin's endpoint.
const EMAIL: &str = "push@twin.iam.gserviceaccount.com";
const KID: &str = "test-key-1";

fuzz_target!(|data: &[u8]| {
    let said = Message::read(data);
    let asked = Arc::new(AtomicU32::new(0));
    let (server, count) = (said.body.clone(), asked.clone());
    let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::new(server.clone()));
        (*response.status_mut(), *response.headers_mut()) = (said.status, said.headers.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let keys = Jwks::new(JwksConfig::default(), livos_core::http::HttpClient::new(http));
    let verifier = PubSub::new(PubSubConfig::new(URL, EMAIL), keys.clone()).expect("a configuration");
    let push = Message::read(include_bytes!("../corpus/webhook_pubsub/pubsub-right"));
    let head = push.request();
    let verified = peer::run(async {
        let first = verifier.verify(NOW, &head, push.body.clone()).await;
        for other in ["", "another"] {
            keys.prepare(NOW, other.into()).await;
        }
        let again = verifier.verify(NOW, &head, push.body.clone()).await;
        assert_eq!(first.is_ok(), again.is_ok(), "{first:?}, and then {again:?}");
        again
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one request a minute, whatever it brought");
    match (keys.lookup(NOW, KID), verified) {
        (Lookup::Found(_), Ok(_) | Err(VerifyError::WrongSignature)) => {}
        (Lookup::Unknown, Err(VerifyError::WrongClaim(_))) => {}
        (Lookup::Unavailable { .. }, Err(VerifyError::KeysUnavailable { .. })) => {}
        (lookup, verified) => panic!("{lookup:?}, and yet {verified:?}"),
    }
});
