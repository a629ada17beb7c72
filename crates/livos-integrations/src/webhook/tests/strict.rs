//! What could be read in two ways is not read.

use super::*;

/// A right request of this provider, with one header changed.
async fn with(
    provider: Provider,
    name: &'static str,
    change: impl Fn(&str) -> String,
) -> Result<Verified<Delivery>, VerifyError> {
    let endpoint =
        Endpoint::all().await.into_iter().find(|endpoint| endpoint.provider() == provider).unwrap();
    let (mut head, body) = request(&endpoint.account, 1, None).await;
    let value = change(head.headers[name].to_str().unwrap());
    head.headers.insert(name, value.parse().unwrap());
    endpoint.verifier.verify(at(NOW), &head, body).await
}

#[tokio::test]
async fn encodings_other_than_the_providers_are_refused() {
    type Case = (Provider, &'static str, fn(&str) -> String);
    let cases: [Case; 14] = [
        (Provider::GitHub, "x-hub-signature-256", |value| value.replace("sha256=", "sha1=")),
        (Provider::GitHub, "x-hub-signature-256", |value| value.replace("sha256=", "")),
        (Provider::GitHub, "x-hub-signature-256", |value| value[..70].to_owned()),
        (Provider::GitHub, "x-hub-signature-256", |value| format!("{value}00")),
        (Provider::GitHub, "x-github-delivery", |_| String::new()),
        (Provider::GitHub, "x-github-delivery", |_| "x".repeat(300)),
        (Provider::Shopify, "x-shopify-hmac-sha256", |value| value.trim_end_matches('=').to_owned()),
        (Provider::Shopify, "x-shopify-hmac-sha256", |value| format!("{value}=")),
        (Provider::Linear, "linear-signature", |value| format!("sha256={value}")),
        (Provider::Slack, "x-slack-signature", |value| value.replace("v0=", "v1=")),
        (Provider::Slack, "x-slack-request-timestamp", |value| format!("+{value}")),
        (Provider::DiscordInteractions, "x-signature-timestamp", |value| format!("0{value}")),
        (Provider::Twilio, "x-twilio-signature", |value| value.trim_end_matches('=').to_owned()),
        (Provider::PubSub, "authorization", |value| value.replace("Bearer ", "Basic ")),
    ];
    for (provider, name, change) in cases {
        let error = with(provider, name, change).await.unwrap_err();
        assert!(matches!(error, VerifyError::Malformed(_)), "{provider:?} {name}: {error}");
    }
}

#[tokio::test]
async fn hexadecimal_digits_may_be_in_either_case() {
    let upper = |value: &str| value.to_uppercase().replace("SHA256=", "sha256=");
    assert!(with(Provider::GitHub, "x-hub-signature-256", upper).await.is_ok());
    assert!(with(Provider::Linear, "linear-signature", upper).await.is_ok());
}

#[tokio::test]
async fn stripe_counts_only_version_one_and_one_time() {
    let name = "stripe-signature";
    let with = async |change: fn(&str) -> String| with(Provider::Stripe, name, change).await;
    assert!(with(|value| format!("v1={},{value}", "0".repeat(64))).await.is_ok(), "one of several is enough");
    assert!(with(|value| format!("v1=junk,{value}")).await.is_ok(), "a malformed one spoils no other");
    assert!(with(|value| value.replace("v1=", "v0=")).await.is_err(), "a downgrade");
    assert!(with(|value| format!("{value},t=1800000000")).await.is_err(), "two times");
    assert!(with(|value| value.replace("t=1800000000,", "")).await.is_err(), "no time");
    assert!(with(|value| format!("{}{value}", "v1=junk,".repeat(20))).await.is_err(), "too many");
    assert!(with(|value| value.replace(',', ", ")).await.is_err(), "white space");
}

#[tokio::test]
async fn standard_webhooks_never_mixes_versions_or_families() {
    let name = "webhook-signature";
    let shared = async |change: fn(&str) -> String| with(Provider::Standard, name, change).await;
    assert!(
        shared(|value| format!("v1,junk v2,AAAA {value} v1a,AAAA")).await.is_ok(),
        "one of several is enough"
    );
    assert!(shared(|value| value.replace("v1,", "v1a,")).await.is_err());
    assert!(shared(|value| value.replace("v1,", "")).await.is_err());
    assert!(shared(|value| format!("{}{value}", "v1,junk ".repeat(20))).await.is_err(), "too many");
    let public = async |change: fn(&str) -> String| with(Provider::StandardEd25519, name, change).await;
    assert!(public(|value| format!("v1,junk {value}")).await.is_ok());
    assert!(public(|value| value.replace("v1a,", "v1,")).await.is_err());
    // A public key is no shared secret, even where somebody signs with its text.
    let account = Account::new(Provider::StandardEd25519, URL, 1);
    let public_key = account.credential().replace("whpk_", "whsec_");
    assert!(
        StandardWebhooks::new([Secret::new(public_key)]).is_ok(),
        "32 bytes of base64 are a secret, if one says so"
    );
    assert_eq!(
        StandardWebhooks::new([Secret::new("whsk_AAAA")])
            .err()
            .map(|error| error.to_string().contains("Ed25519")),
        Some(true)
    );
    // Svix: the id of one family and the signature of the other are no delivery.
    let endpoint = Account::new(Provider::Svix, URL, 1);
    let (mut head, body) = request(&endpoint, 1, None).await;
    let signature = head.headers.remove("svix-signature").unwrap();
    head.headers.insert("webhook-signature", signature);
    let verifier = Svix::new([Secret::new(endpoint.credential())]).unwrap();
    let error = verifier.verify(at(NOW), &head, body).await.unwrap_err();
    assert!(matches!(error, VerifyError::Missing(name) if name == "svix-signature"));
}

#[tokio::test]
async fn an_id_with_a_dot_can_not_be_cut_elsewhere() {
    let account = Account::new(Provider::Standard, URL, 1);
    let event = webhooks::Event { id: "msg.1".into(), body: "{}".into() };
    let (head, _) = account.request(&event, NOW).into_parts();
    let verifier = StandardWebhooks::new([Secret::new(account.credential())]).unwrap();
    let error = verifier.verify(at(NOW), &head, "{}".into()).await.unwrap_err();
    assert!(matches!(error, VerifyError::Malformed(name) if name == "webhook-id"));
}

#[tokio::test]
async fn a_digit_of_discords_time_can_not_move_into_the_body() {
    let account = Account::new(Provider::DiscordInteractions, URL, 1);
    let (mut head, body) = request(&account, 1, None).await;
    let verifier = Discord::interactions([account.credential()]).unwrap();
    head.headers.insert("x-signature-timestamp", "180000000".parse().unwrap());
    let moved = Bytes::from([b"0".as_slice(), &body].concat());
    let error = verifier.verify(at(NOW), &head, moved).await.unwrap_err();
    assert_eq!(verifier.policy().refusal(&error), StatusCode::UNAUTHORIZED, "{error}");
}

#[tokio::test]
async fn a_right_plain_secret_does_not_stand_in_for_gitlabs_signature() {
    let signing = Account::new(Provider::GitLab, URL, 1);
    let (mut head, body) = request(&signing, 1, None).await;
    head.headers.remove("webhook-signature");
    head.headers.insert("x-gitlab-token", signing.credential().parse().unwrap());
    let verifier = GitLab::signed([Secret::new(signing.credential())]).unwrap();
    assert!(matches!(verifier.verify(at(NOW), &head, body).await, Err(VerifyError::Missing(_))));
}

#[tokio::test]
async fn twilio_covers_every_body_or_refuses_it() {
    let json = Account::new(Provider::TwilioJson, URL, 1);
    let verifier = Twilio::new([Secret::new(json.credential())], URL).unwrap();
    let (mut head, body) = request(&json, 1, None).await;
    let hash = head.uri.query().unwrap().to_owned();
    for query in [String::new(), "?bodySHA256=00".into(), format!("?{hash}&{hash}")] {
        head.uri = format!("{URL}{query}").parse().unwrap();
        let error = verifier.verify(at(NOW), &head, body.clone()).await.unwrap_err();
        assert!(matches!(error, VerifyError::Body(_)), "{query}: {error}");
    }
    // A repeated value signs once, whatever the order of the parameters.
    let form = Account::new(Provider::Twilio, URL, 1);
    let (head, body) = request(&form, 1, None).await;
    let mut pairs: Vec<&[u8]> = body.split(|byte| *byte == b'&').collect();
    pairs.reverse();
    pairs.push(pairs[0]);
    let shuffled = Bytes::from(pairs.join(&b'&'));
    let verifier = Twilio::new([Secret::new(form.credential())], URL).unwrap();
    let (one, other) =
        (verifier.verify(at(NOW), &head, body).await, verifier.verify(at(NOW), &head, shuffled).await);
    assert_eq!(one.unwrap().key(), other.unwrap().key(), "and is the same delivery");
}

#[test]
fn a_verifier_that_anybody_could_satisfy_is_not_made() {
    type Make = fn(Vec<Secret>) -> Option<InvalidSecret>;
    let makers: [(&str, Make); 11] = [
        ("github", |secrets| GitHub::new(secrets).err()),
        ("stripe", |secrets| Stripe::new(secrets).err()),
        ("standard", |secrets| StandardWebhooks::new(secrets).err()),
        ("svix", |secrets| Svix::new(secrets).err()),
        ("slack", |secrets| Slack::new(secrets).err()),
        ("twilio", |secrets| Twilio::new(secrets, URL).err()),
        ("shopify", |secrets| Shopify::new(secrets).err()),
        ("gitlab", |secrets| GitLab::signed(secrets).err()),
        ("gitlab token", |secrets| GitLab::token(secrets).err()),
        ("linear", |secrets| Linear::new(secrets).err()),
        ("telegram", |secrets| Telegram::new(secrets).err()),
    ];
    let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (name, make) in makers {
        let with = |secrets: &[&str]| make(secrets.iter().map(|secret| Secret::new(*secret)).collect());
        assert!(with(&[good]).is_none(), "{name}");
        assert_eq!(with(&[]), Some(InvalidSecret::None), "{name}");
        assert_eq!(with(&[good, ""]), Some(InvalidSecret::Blank), "{name}");
        assert_eq!(with(&["  \n"]), Some(InvalidSecret::Blank), "{name}");
        assert!(matches!(with(&[&format!("{good}\n")]), Some(InvalidSecret::Malformed(_))), "{name}");
        assert_eq!(with(&[good; 5]), Some(InvalidSecret::TooMany), "{name}");
    }
    for malformed in ["whsec_", "whsec_AAAA", "whsec_not base64", "whpk_AAAA", "whsk_AAAA"] {
        let made = StandardWebhooks::new([Secret::new(malformed)]);
        assert!(matches!(made, Err(InvalidSecret::Malformed(_))), "{malformed}");
    }
    assert!(matches!(Telegram::new([Secret::new("a b")]), Err(InvalidSecret::Malformed(_))));
    assert!(matches!(Twilio::new([Secret::new("t")], "agent.example"), Err(InvalidSecret::Malformed(_))));
}

#[test]
fn a_key_of_small_order_is_not_taken() {
    let identity = format!("01{}", "00".repeat(31));
    let zero = "00".repeat(32);
    for weak in [identity.as_str(), &zero, "zz", &"ff".repeat(32)] {
        assert!(matches!(Discord::interactions([weak]), Err(InvalidSecret::Malformed(_))), "{weak}");
    }
}

#[tokio::test]
async fn a_configured_scheme_verifies_what_it_says() {
    let mut config = HmacConfig::new("acme", "x-acme-signature");
    (config.prefix, config.encoding) = ("sig=".into(), Encoding::Base64);
    (config.id_header, config.timestamp_header) = (Some("x-acme-id".into()), Some("x-acme-time".into()));
    config.signed = "{id}.{timestamp}.{body}".into();
    // The vector of Standard Webhooks under other names.
    config.base64_secrets = true;
    let verifier = Hmac::new(config, [Secret::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).unwrap();
    let head = |id: &str, time: &str| {
        let signature = "sig=g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let request = Request::post("/").header("x-acme-signature", signature).header("x-acme-id", id);
        request.header("x-acme-time", time).body(()).unwrap().into_parts().0
    };
    let now = Timestamp::from_unix_ms(1_614_265_330_000);
    let verify =
        |id: &str, time: &str, body: &'static str| verifier.verify(now, &head(id, time), body.into());
    let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
    let delivery = verify(id, "1614265330", body).await.unwrap();
    assert_eq!((delivery.provider(), delivery.key()), ("acme", format!("id:{id}")));
    assert_eq!(verify("other", "1614265330", body).await, Err(VerifyError::WrongSignature));
    assert_eq!(verify(id, "1614260000", body).await, Err(VerifyError::OutsideWindow));
    assert!(matches!(verify("a.b", "1614265330", body).await, Err(VerifyError::Malformed(_))));
}
