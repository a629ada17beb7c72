//! Reads what token endpoints answer: tokens, or why there are none.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, UNIX_EPOCH};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, StatusCode, header};
use livos_core::{
    http::retry_after,
    secret::Secret,
    time::{Clock, SystemClock, Timestamp},
};
use serde::Deserialize;

use super::{EndpointError, Tokens, grant::Account};

/// The longest token that is taken. Google's are 2 KiB at the most; a header of more than 8 KiB is
/// refused by many servers.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest error code that is shown.
const MAX_CODE: usize = 64;
/// Stands for a text where an error code should be.
const NO_CODE: &str = "(no error code)";
/// The longest lifetime that is believed: ten years. It keeps sums of times in their range.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Fields that are of another type than they should be count as absent, all but the token itself:
/// what matters is whether there is one.
#[derive(Deserialize)]
struct Wire {
    access_token: Option<Secret>,
    token_type: Option<Loose<String>>,
    refresh_token: Option<Loose<Secret>>,
    expires_in: Option<Loose<Seconds>>,
    refresh_token_expires_in: Option<Loose<Seconds>>,
    scope: Option<Loose<String>>,
    id_token: Option<Loose<Secret>>,
    error: Option<ErrorName>,
    error_subtype: Option<Loose<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose<T> {
    Fits(T),
    Other(serde::de::IgnoredAny),
}

impl<T> Loose<T> {
    fn fits(self) -> Option<T> {
        match self {
            Self::Fits(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

/// Some servers send the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn duration(self) -> Option<Duration> {
        let seconds = match self {
            Self::Number(number) => number,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok().map(|lifetime| lifetime.min(MAX_LIFETIME))
    }
}

/// A name by the standard, or an object as Google's APIs write errors.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorName {
    Name(String),
    Object { status: Option<Loose<String>> },
    Other(serde::de::IgnoredAny),
}

/// Reads an answer of a token endpoint. Never panics, whatever the bytes; an error names nothing
/// but the provider's own error code.
pub fn read_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Tokens, EndpointError> {
    let wire: Option<Wire> = serde_json::from_slice(body).ok();
    let unavailable = |what: String| EndpointError::Unavailable {
        what,
        retry_after: retry_after(headers, SystemClock.now()),
    };
    if matches!(status.as_u16(), 408 | 429 | 500..) {
        return Err(unavailable(format!("it answered {}", status.as_u16())));
    }
    let Some(wire) = wire else {
        return Err(unavailable(format!(
            "it answered {} and something that is no JSON of tokens",
            status.as_u16()
        )));
    };
    if let Some(error) = wire.error {
        return Err(refusal(error, wire.error_subtype.and_then(Loose::fits), unavailable));
    }
    if !status.is_success() {
        return Err(unavailable(format!("it answered {} without an error code", status.as_u16())));
    }
    let Some(access_token) = wire.access_token.filter(is_token) else {
        return Err(unavailable("its answer has no access token".into()));
    };
    let kind = wire.token_type.and_then(Loose::fits);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(EndpointError::Refused("token_type is not bearer".into()));
    }
    let seconds = |field: Option<Loose<Seconds>>| field.and_then(Loose::fits).and_then(Seconds::duration);
    let mut tokens = Tokens::new(access_token);
    tokens.refresh_token = wire.refresh_token.and_then(Loose::fits).filter(is_token);
    tokens.lifetime = seconds(wire.expires_in);
    tokens.refresh_lifetime = seconds(wire.refresh_token_expires_in).filter(|lifetime| !lifetime.is_zero());
    let scope = wire.scope.and_then(Loose::fits).unwrap_or_default();
    tokens.scopes = scope.split_whitespace().map(str::to_owned).collect();
    tokens.account = wire.id_token.and_then(Loose::fits).and_then(|token| account(token.expose()));
    tokens.server_time = date(headers, header::DATE);
    Ok(tokens)
}

fn refusal(
    error: ErrorName,
    subtype: Option<String>,
    unavailable: impl Fn(String) -> EndpointError,
) -> EndpointError {
    let name = match error {
        ErrorName::Name(name) => name,
        ErrorName::Object { status } => status.and_then(Loose::fits).unwrap_or_default(),
        ErrorName::Other(_) => String::new(),
    };
    let unknown = |name: &str| unavailable(format!("it answered {name}"));
    match name.as_str() {
        "invalid_grant" => EndpointError::InvalidGrant(subtype.map(|subtype| error_code(&subtype))),
        "internal_failure"
        | "server_error"
        | "temporarily_unavailable"
        | "rate_limit_exceeded"
        | "slow_down"
        | "UNAVAILABLE"
        | "INTERNAL"
        | "RESOURCE_EXHAUSTED" => unknown(&name),
        "" => unknown("with an unknown error"),
        _ => EndpointError::Refused(error_code(&name)),
    }
}

/// An error code of a provider, as it is. Nothing is made a code by leaving out what does not
/// belong in one: a text could hold anything, also what the provider was asked with.
pub(super) fn error_code(text: &str) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_code = (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(fits);
    if is_code { text } else { NO_CODE }.to_owned()
}

/// Whether it can stand in a header.
fn is_token(token: &Secret) -> bool {
    let bytes = token.expose().as_bytes();
    !bytes.is_empty() && bytes.len() <= MAX_TOKEN && bytes.iter().all(u8::is_ascii_graphic)
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(i64::try_from(since.as_millis()).ok()?))
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Claims {
    sub: String,
    email: Option<Loose<String>>,
}

/// Who an ID token is about. Its signature is not checked: it came from the provider itself, over
/// TLS, in answer to our own request (OpenID Connect Core, 3.1.3.7), and decides nothing but
/// whether the account is another one.
fn account(token: &str) -> Option<Account> {
    let claims = BASE64.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(Account { subject: claims.sub, email: claims.email.and_then(Loose::fits) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn read(status: u16, body: &str) -> Result<Tokens, EndpointError> {
        read_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn lifetimes_come_as_numbers_as_text_or_not_at_all() {
        let table = [
            ("3599", Some(3_599)),
            ("\"3599\"", Some(3_599)),
            ("3599.5", Some(3_599)),
            ("null", None),
            ("-1", None),
            ("\"soon\"", None),
            ("[]", None),
            ("1e300", None),
            ("999999999999", Some(MAX_LIFETIME.as_secs())),
        ];
        for (expires_in, seconds) in table {
            let tokens =
                read(200, &format!(r#"{{"access_token": "a", "expires_in": {expires_in}}}"#)).unwrap();
            assert_eq!(tokens.lifetime.map(|lifetime| lifetime.as_secs()), seconds, "{expires_in}");
        }
        assert_eq!(read(200, r#"{"access_token": "a"}"#).unwrap().lifetime, None);
    }

    #[test]
    fn each_answer_says_whose_matter_it_is() {
        let gone = |subtype: Option<&str>| EndpointError::InvalidGrant(subtype.map(str::to_owned));
        let refused = |name: &str| EndpointError::Refused(name.into());
        let table = [
            (
                400,
                r#"{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}"#,
                gone(None),
            ),
            (
                400,
                r#"{"error": "invalid_grant", "error_subtype": "invalid_rapt"}"#,
                gone(Some("invalid_rapt")),
            ),
            (401, r#"{"error": "invalid_client"}"#, refused("invalid_client")),
            (400, r#"{"error": "admin_policy_enforced"}"#, refused("admin_policy_enforced")),
            (403, r#"{"error": {"code": 403, "status": "PERMISSION_DENIED"}}"#, refused("PERMISSION_DENIED")),
            // As GitHub answers.
            (200, r#"{"error": "invalid_grant"}"#, gone(None)),
            (200, r#"{"access_token": "a", "token_type": "mac"}"#, refused("token_type is not bearer")),
        ];
        for (status, body, expected) in table {
            assert_eq!(read(status, body).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_temporary() {
        let table = [
            (500, r#"{"error": "internal_failure"}"#),
            (503, "<html>"),
            (429, r#"{"error": "invalid_grant"}"#),
            (400, r#"{"error": "temporarily_unavailable"}"#),
            (400, "<html>a portal</html>"),
            (302, ""),
            (200, ""),
            (200, "{}"),
            (200, "[]"),
            (200, r#"{"access_token": ""}"#),
            (200, r#"{"access_token": 5}"#),
            (200, "{\"access_token\": \"two\\r\\nlines\"}"),
            (200, r#"{"access_token": "ya29"#),
            (400, r#"{"error": 7}"#),
        ];
        for (status, body) in table {
            let error = read(status, body).unwrap_err();
            assert!(matches!(error, EndpointError::Unavailable { .. }), "{status} {body}: {error:?}");
        }
        let long = format!(r#"{{"access_token": "{}"}}"#, "a".repeat(MAX_TOKEN + 1));
        assert!(read(200, &long).is_err());
    }

    #[test]
    fn a_provider_may_say_when_to_come_back_in_seconds_or_by_date() {
        let asked = |pairs: &[(&'static str, &str)]| match read_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &headers(pairs),
            b"",
        )
        .unwrap_err()
        {
            EndpointError::Unavailable { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        let date = ("date", "Tue, 24 Nov 2026 07:00:00 GMT");
        assert_eq!(asked(&[("retry-after", "17")]), Some(Duration::from_secs(17)));
        assert_eq!(
            asked(&[date, ("retry-after", "Tue, 24 Nov 2026 07:00:30 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(asked(&[("retry-after", "Sat, 01 Jan 2000 00:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        let tokens = read_answer(StatusCode::OK, &headers(&[date]), br#"{"access_token": "a"}"#).unwrap();
        assert_eq!(tokens.server_time.map(Timestamp::unix_ms), Some(1_795_503_600_000));
    }

    #[test]
    fn an_error_shows_no_token_and_no_control_character() {
        let error =
            read(400, "{\"error\": \"bad\\u001b[31m\\n\u{1f600}thing\", \"refresh_token\": \"r-123\"}")
                .unwrap_err();
        assert_eq!(error, EndpointError::Refused(NO_CODE.into()));
        let tokens = read(200, r#"{"access_token": "a-123", "refresh_token": "r-123"}"#).unwrap();
        assert!(!format!("{tokens:?}").contains("123"), "{tokens:?}");
    }

    #[test]
    fn the_account_is_read_from_the_id_token() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64.encode(claims));
        let body = |id: String| format!(r#"{{"access_token": "a", "id_token": "{id}"}}"#);
        let tokens = read(200, &body(token(r#"{"sub": "12", "email": "a@b.c"}"#))).unwrap();
        let account = tokens.account.unwrap();
        assert_eq!((account.subject.as_str(), account.email.as_deref()), ("12", Some("a@b.c")));
        for other in ["", "e30", "e30.%%.x", &token("{}"), &token("7")] {
            assert!(read(200, &body(other.to_owned())).unwrap().account.is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100u16..1000, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        }
    }
}
