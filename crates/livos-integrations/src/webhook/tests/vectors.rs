//! The examples that providers publish.

use super::*;

fn head(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn check(verifier: &impl Verifier, now: i64, head: &Parts, body: &'static str) -> String {
    let verified =
        |body: &str| verifier.verify(Timestamp::from_unix_ms(now * 1000), head, body.to_owned().into());
    let other = verified(&format!("{body}?")).await.unwrap_err();
    assert!(matches!(other, VerifyError::WrongSignature), "{other}");
    verified(body).await.unwrap().id().to_owned()
}

#[tokio::test]
async fn github() {
    let verifier = GitHub::new([Secret::new("It's a Secret to Everybody")]).unwrap();
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let head = head("/", &[("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e")]);
    assert_eq!(check(&verifier, 0, &head, "Hello, World!").await, "72d3162e");
}

#[tokio::test]
async fn standard_webhooks() {
    let keys =
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="];
    let signatures = [
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ];
    for (key, signature) in keys.iter().zip(signatures) {
        let verifier = StandardWebhooks::new([Secret::new(*key)]).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let headers =
            [("webhook-id", id), ("webhook-timestamp", "1614265330"), ("webhook-signature", signature)];
        assert_eq!(
            check(&verifier, 1_614_265_330, &head("/", &headers), r#"{"test": 2432232314}"#).await,
            id
        );
    }
}

#[tokio::test]
async fn slack() {
    let verifier = Slack::new([Secret::new("8f742231b10e8888abcd99yyyzzz85a5")]).unwrap();
    let headers = [
        ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ("x-slack-request-timestamp", "1531420618"),
    ];
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar\
                &user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com\
                %2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let id = "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    assert_eq!(check(&verifier, 1_531_420_618, &head("/", &headers), body).await, id);
}

#[tokio::test]
async fn twilio_with_and_without_a_port() {
    let token = || [Secret::new("12345")];
    let headers = [
        ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let head = head("/myapp.php?foo=1&bar=2", &headers);
    let body =
        "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    for url in [
        "https://mycompany.com/myapp.php",
        "https://mycompany.com:443/myapp.php",
        "https://mycompany.com:8443/myapp.php",
    ] {
        assert_eq!(
            check(&Twilio::new(token(), url).unwrap(), 0, &head, body).await,
            "CA1234567890ABCDE",
            "{url}"
        );
    }
    let other = Twilio::new(token(), "https://mycompany.com/other.php").unwrap();
    assert_eq!(
        other.verify(Timestamp::default(), &head, body.into()).await,
        Err(VerifyError::WrongSignature)
    );
}
