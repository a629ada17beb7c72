//! The twin by the published protocol, spoken raw over HTTP/1.1.

use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use super::*;

const GMAIL: &str = "https://www.googleapis.com/auth/gmail.modify";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of that verifier, as RFC 7636 publishes both.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn twin(config: Config) -> Google {
    Google::new(Config { epoch_ms: Some(1_800_000_000_000), ..config })
}

async fn send(twin: &Google, request: http::request::Builder, body: &str) -> (u16, HeaderMap, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
    let driver = tokio::spawn(connection);
    let request =
        request.header("host", "twin").body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    driver.abort();
    (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(twin: &Google, path: &str) -> (u16, HeaderMap, String) {
    send(twin, Request::get(path), "").await
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn post(twin: &Google, path: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let (status, _, body) = send(twin, request, &form(pairs)).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// Consents, and answers the query of the callback.
async fn consent(twin: &Google, change: &[(&str, &str)]) -> Form {
    let mut pairs = vec![
        ("client_id", "twin-client.apps.googleusercontent.com"),
        ("redirect_uri", "https://app.example/callback?x=1"),
        ("response_type", "code"),
        ("scope", "openid email https://www.googleapis.com/auth/gmail.modify"),
        ("state", "s t&te"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("prompt", "consent"),
    ];
    pairs.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
    pairs.extend(change);
    let (status, headers, _) = get(twin, &format!("/o/oauth2/v2/auth?{}", form(&pairs))).await;
    assert_eq!(status, 302);
    let location = headers[header::LOCATION].to_str().unwrap();
    let query = location.strip_prefix("https://app.example/callback?x=1&").unwrap();
    Form::parse(query.as_bytes())
}

async fn exchange(twin: &Google, code: &str, change: &[(&str, &str)]) -> (u16, Value) {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "https://app.example/callback?x=1"),
        ("code_verifier", VERIFIER),
        ("client_id", "twin-client.apps.googleusercontent.com"),
        ("client_secret", "GOCSPX-twin-secret"),
    ];
    pairs.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
    pairs.extend(change);
    post(twin, "/token", &pairs).await
}

async fn refresh(twin: &Google, token: &str) -> (u16, Value) {
    exchange(twin, "", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

#[tokio::test(start_paused = true)]
async fn a_code_gives_tokens_once_and_its_second_use_ends_them() {
    let twin = twin(Config::default());
    let query = consent(&twin, &[]).await;
    assert_eq!((query.text("state"), query.text("iss")), ("s t&te", ISSUER));
    let (status, tokens) = exchange(&twin, query.text("code"), &[]).await;
    assert_eq!(
        (status, &tokens["expires_in"], &tokens["token_type"]),
        (200, &json!(3_599), &json!("Bearer"))
    );
    let access = format!("/tokeninfo?access_token={}", tokens["access_token"].as_str().unwrap());
    let (status, _, info) = get(&twin, &access).await;
    assert!(status == 200 && info.contains("anna@example.com") && info.contains(GMAIL), "{info}");
    assert_eq!(exchange(&twin, query.text("code"), &[]).await.1["error"], "invalid_grant");
    assert_eq!(get(&twin, &access).await.0, 400);
    assert_eq!(refresh(&twin, tokens["refresh_token"].as_str().unwrap()).await.1["error"], "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn a_code_is_bound_to_its_client_its_redirect_and_its_verifier_for_ten_minutes() {
    let twin = twin(Config::default());
    let table = [
        ("code_verifier", "another", 400, "invalid_grant"),
        ("redirect_uri", "https://app.example/other", 400, "invalid_grant"),
        ("code", "4/0Aguess", 400, "invalid_grant"),
        ("client_secret", "guess", 401, "invalid_client"),
        ("client_id", "another", 401, "invalid_client"),
        ("grant_type", "password", 400, "unsupported_grant_type"),
    ];
    for (name, value, status, error) in table {
        let query = consent(&twin, &[]).await;
        let (found, body) = exchange(&twin, query.text("code"), &[(name, value)]).await;
        assert_eq!((found, &body["error"]), (status, &json!(error)), "{name}");
    }
    let query = consent(&twin, &[]).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(exchange(&twin, query.text("code"), &[]).await.0, 400);
    // Credentials may come as basic authentication too.
    let query = consent(&twin, &[]).await;
    let basic = "Basic dHdpbi1jbGllbnQuYXBwcy5nb29nbGV1c2VyY29udGVudC5jb206R09DU1BYLXR3aW4tc2VjcmV0";
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", basic);
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", query.text("code")),
        ("redirect_uri", "https://app.example/callback?x=1"),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(send(&twin, request, &form(&pairs)).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_second_consent_without_its_prompt_gives_no_refresh_token() {
    let twin = twin(Config::default());
    let token = async |change: &[(&str, &str)]| {
        let query = consent(&twin, change).await;
        exchange(&twin, query.text("code"), &[]).await.1["refresh_token"].is_string()
    };
    assert!(token(&[("prompt", "select_account")]).await, "the first");
    assert!(!token(&[("prompt", "select_account")]).await, "the second");
    assert!(token(&[]).await, "with its prompt");
    assert!(!token(&[("access_type", "online")]).await, "for access while the user is there");
}

#[tokio::test(start_paused = true)]
async fn a_grant_dies_in_every_known_way_and_says_so_as_google_does() {
    for death in Death::ALL {
        let twin = twin(Config::default());
        let token = twin.grant("anna@example.com", &[GMAIL]);
        assert_eq!(refresh(&twin, &token).await.0, 200);
        twin.end_grants(Some("ben@example.com"), death);
        assert_eq!(refresh(&twin, &token).await.0, 200, "somebody else's");
        twin.end_grants(Some("anna@example.com"), death);
        let (status, body) = refresh(&twin, &token).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
        let rapt = death == Death::SessionControl;
        assert_eq!(body["error_subtype"] == "invalid_rapt", rapt, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn consents_end_by_the_clock() {
    const DAY: u64 = 24 * 3600;
    let testing = Config { publishing: Publishing::Testing, ..Config::default() };
    let timed = Config { grant_lifetime: Some(Duration::from_secs(3 * DAY)), ..Config::default() };
    for (config, scope, step, steps) in [
        (testing.clone(), GMAIL, DAY, 7),
        (timed, GMAIL, DAY, 3),
        (Config::default(), GMAIL, 183 * DAY, 1),
        // Identity alone lasts in testing too, as long as it is used.
        (testing, "openid", 100 * DAY, u64::MAX),
    ] {
        let twin = twin(config);
        let token = twin.grant("anna@example.com", &[scope]);
        for day in 1..=6 {
            tokio::time::advance(Duration::from_secs(step)).await;
            let (status, body) = refresh(&twin, &token).await;
            assert_eq!(status == 200, day < steps, "{scope} {day}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_refresh_token_ends_the_first() {
    let twin = twin(Config::default());
    let first = twin.grant("anna@example.com", &[GMAIL]);
    (0..99).for_each(|_| {
        twin.grant("anna@example.com", &[GMAIL]);
    });
    twin.grant("ben@example.com", &[GMAIL]);
    assert_eq!((refresh(&twin, &first).await.0, twin.stats().live_refresh_tokens), (200, 101));
    twin.grant("anna@example.com", &[GMAIL]);
    assert_eq!((refresh(&twin, &first).await.0, twin.stats().live_refresh_tokens), (400, 101));
}

#[tokio::test(start_paused = true)]
async fn rotation_replaces_a_token_and_a_strict_one_punishes_the_old() {
    for (rotation, survives) in [(Rotation::Gentle, true), (Rotation::Strict, false)] {
        let twin = twin(Config { rotation, ..Config::default() });
        let old = twin.grant("anna@example.com", &[GMAIL]);
        let (_, body) = refresh(&twin, &old).await;
        let new = body["refresh_token"].as_str().unwrap().to_owned();
        assert_ne!(new, old);
        assert_eq!(refresh(&twin, &old).await.0 == 200, survives);
        assert_eq!(refresh(&twin, &new).await.0 == 200, survives, "the whole grant is gone");
    }
    let twin = twin(Config::default());
    let token = twin.grant("anna@example.com", &[GMAIL]);
    assert!(refresh(&twin, &token).await.1["refresh_token"].is_null(), "Google's way");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_all_grants_of_the_account() {
    let twin = twin(Config::default());
    let (one, other) =
        (twin.grant("anna@example.com", &[GMAIL]), twin.grant("anna@example.com", &["openid"]));
    let ben = twin.grant("ben@example.com", &[GMAIL]);
    assert_eq!(post(&twin, "/revoke", &[("token", &one)]).await.0, 200);
    for (token, status) in [(&one, 400), (&other, 400), (&ben, 200)] {
        assert_eq!(refresh(&twin, token).await.0, status);
    }
    assert_eq!(post(&twin, "/revoke", &[("token", &one)]).await.0, 400, "it knows it no more");
}

#[tokio::test(start_paused = true)]
async fn answers_go_wrong_as_ordered() {
    let twin = twin(Config::default());
    let token = twin.grant("anna@example.com", &[GMAIL]);
    let answer = async |answer: Answer| {
        twin.answer_next(answer);
        refresh(&twin, &token).await
    };
    assert_eq!(answer(Answer::Error("invalid_client".into())).await.0, 401);
    assert_eq!(answer(Answer::Error("temporarily_unavailable".into())).await.0, 503);
    assert!(answer(Answer::HalfJson).await.1.is_string());
    assert!(answer(Answer::Page).await.1.as_str().unwrap().starts_with("<!doctype"));
    assert_eq!(answer(Answer::Empty).await.1, "");
    assert_eq!(answer(Answer::TextLifetime).await.1["expires_in"], "3599");
    assert!(answer(Answer::NoLifetime).await.1["expires_in"].is_null());
    assert_eq!(answer(Answer::Lifetime(7)).await.1["expires_in"], 7);
    assert!(answer(Answer::NewRefreshToken).await.1["refresh_token"].is_string());
    let before = Instant::now();
    assert_eq!(answer(Answer::Slow(Duration::from_secs(9))).await.0, 200);
    assert_eq!(before.elapsed(), Duration::from_secs(9));
    twin.answer_next(Answer::Mute);
    assert!(tokio::time::timeout(Duration::from_secs(3_600), refresh(&twin, &token)).await.is_err());
    twin.refuse(1, Refusal::status(503).header("retry-after", "9"));
    assert_eq!(
        refresh(&twin, &token).await,
        (503, json!({ "error": "internal_failure", "error_description": "Backend Error" }))
    );
}

/// Whether a key of the published set made the signature.
fn is_signed(keys: &Value, token: &str) -> bool {
    let decode =
        |text: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let head: Value = serde_json::from_slice(&decode(signed.split('.').next().unwrap())).unwrap();
    assert_eq!(head["alg"], "RS256");
    let keys = keys["keys"].as_array().unwrap();
    keys.iter().find(|key| key["kid"] == head["kid"]).is_some_and(|key| {
        let (n, e) = (decode(key["n"].as_str().unwrap()), decode(key["e"].as_str().unwrap()));
        let public = RsaPublicKeyComponents { n, e };
        public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(signature)).is_ok()
    })
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_and_the_previous_one_stays_published() {
    let twin = twin(Config::default());
    let mut tokens = Vec::new();
    for rotation in 0..5 {
        tokens.push(twin.push_token("https://livos.example/push", "push@project.iam.gserviceaccount.com"));
        let (_, headers, keys) = get(&twin, "/oauth2/v3/certs").await;
        assert!(headers[header::CACHE_CONTROL].to_str().unwrap().contains("max-age="));
        let keys: Value = serde_json::from_str(&keys).unwrap();
        for (signed, token) in tokens.iter().enumerate().rev().take(3) {
            assert_eq!(is_signed(&keys, token), signed + 1 >= rotation, "{signed} after {rotation}");
        }
        twin.rotate_keys();
    }
    assert_eq!(twin.stats().key_fetches, 5);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_meets_googles_own_words() {
    let twin = twin(Config::default());
    let access = twin.access_token("anna@example.com", &[GMAIL]);
    let ask = async |token: &str| {
        let request = Request::get("/v1/userinfo").header("authorization", format!("Bearer {token}"));
        let (status, headers, body) = send(&twin, request, "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        (status, headers.contains_key("www-authenticate"), body["error"]["errors"][0]["reason"].clone())
    };
    assert_eq!(ask("guess").await, (401, true, json!("authError")));
    assert_eq!(ask(&access).await, (403, false, json!("insufficientPermissions")), "Gmail is not identity");
    tokio::time::advance(Duration::from_secs(3_599)).await;
    assert_eq!(ask(&access).await.0, 401, "its hour is over");
}

#[tokio::test(start_paused = true)]
async fn orders_come_from_another_process() {
    let twin = twin(Config::default());
    let order = async |name: &str, body: Value| {
        let (status, _, answer) =
            send(&twin, Request::post(format!("/twin/{name}")), &body.to_string()).await;
        (status, serde_json::from_str::<Value>(&answer).unwrap())
    };
    let (_, granted) = order("grant", json!({ "account": "anna@example.com", "scopes": [GMAIL] })).await;
    let token = granted["refresh_token"].as_str().unwrap();
    let answers =
        json!({ "answers": ["empty", { "error": "invalid_client" }, { "lifetime": 5 }, { "slow_ms": 1 }] });
    assert_eq!(order("answers", answers).await.0, 200);
    assert_eq!(refresh(&twin, token).await.1, "");
    assert_eq!(refresh(&twin, token).await.0, 401);
    assert_eq!(refresh(&twin, token).await.1["expires_in"], 5);
    assert_eq!(order("end", json!({ "how": "password_changed" })).await.0, 200);
    order("answers", json!({ "answers": [] })).await;
    assert_eq!(refresh(&twin, token).await.1["error"], "invalid_grant");
    order("consents", json!({ "consents": ["deny", { "as": "ben@example.com" }] })).await;
    assert_eq!(consent(&twin, &[]).await.text("error"), "access_denied");
    let (_, signed) = order("sign", json!({ "claims": { "sub": "1" } })).await;
    assert!(is_signed(&twin.key_set(), signed["token"].as_str().unwrap()));
    let before = twin.now_ms();
    order("clock", json!({ "skew_ms": 5_000 })).await;
    assert_eq!(twin.now_ms() - before, 5_000);
    for (name, nonsense) in
        [("end", json!({ "how": "fire" })), ("answers", json!({ "answers": ["fire"] })), ("dance", json!({}))]
    {
        assert_eq!(order(name, nonsense).await.0, 404, "{name}");
    }
    assert_eq!(twin.stats().total_connections, twin.figures()["total_connections"].as_u64().unwrap());
}
