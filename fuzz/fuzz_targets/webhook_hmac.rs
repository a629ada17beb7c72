//! A configured HMAC: the id and the time in headers, the signature behind a prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, base64, secret, sha256, standard_key, standard_signed};
use livos_integrations::webhook::{Encoding, Hmac, HmacConfig};

/// Of the twin's endpoint, without what is before the base64.
const SECRET: &str = "8R3PNvDNdoXyWWAsMlNmp7edpVqdOSKl377LL6odCCQ=";

fuzz_target!(|data: &[u8]| {
    let mut config = HmacConfig::new("standard", "webhook-signature");
    (config.prefix, config.encoding) = ("v1,".into(), Encoding::Base64);
    config.id_header = Some("webhook-id".into());
    config.timestamp_header = Some("webhook-timestamp".into());
    config.signed = "{id}.{timestamp}.{body}".into();
    config.base64_secrets = true;
    let verifier = Hmac::new(config, secret(SECRET)).expect("a configuration");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "webhook-signature",
        sign: &|head, body| {
            let signed = standard_signed(&head.headers, "webhook", body);
            vec![Signature::after("v1,", base64(&sha256(&standard_key(SECRET), &[&signed])))]
        },
    }
    .check(data);
});
