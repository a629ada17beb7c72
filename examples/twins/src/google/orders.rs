//! What an operator can tell the twin from another process: `POST /twin/{order}` with a body in
//! JSON.
//!
//! | order | body | what it does |
//! | --- | --- | --- |
//! | `end` | `{"how": "revoked" \| "expired" \| "idle" \| "pushed_out" \| "password_changed" \| "account_deleted" \| "session_control" \| "reused", "account": "…"}` | ends the grants of an account, or of all |
//! | `answers` | `{"answers": ["half_json", "page", "empty", "text_lifetime", "no_lifetime", "no_refresh_token", "new_refresh_token", "mute", "lost", {"error": "…"}, {"lifetime": 60}, {"slow_ms": 500}]}` | what goes wrong with the next answers of the token endpoint, in the place of what was ordered before |
//! | `consents` | `{"consents": ["allow", "deny", {"without": ["…"]}, {"as": "…"}]}` | what the user does next |
//! | `grant` | `{"account": "…", "scopes": ["…"]}` | gives a refresh token without a browser |
//! | `keys` | `{}` | signs with the next key |
//! | `sign` | `{"claims": {…}}`, or `{"audience": "…", "service_account": "…"}` for a push | gives a signed token |
//! | `clock` | `{"skew_ms": n}` | sets the twin's clock apart |

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Consent, Death, Google};
use crate::connection::lock;

/// Does what it says and answers what came of it; nothing for what is no order.
pub(super) fn obey(google: &Google, order: &str, described: &Value) -> Option<Value> {
    match order {
        "end" => {
            let how = described["how"].as_str()?;
            let how = Death::ALL.into_iter().find(|death| death.name() == how)?;
            google.end_grants(described["account"].as_str(), how);
        }
        "answers" => {
            let answers = described["answers"].as_array()?.iter().map(answer).collect::<Option<_>>()?;
            lock(&google.0.state).answers = answers;
        }
        "consents" => {
            let consents = described["consents"].as_array()?.iter().map(consent).collect::<Option<_>>()?;
            lock(&google.0.state).consents = consents;
        }
        "grant" => {
            let scopes = texts(&described["scopes"])?;
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            return Some(json!({ "refresh_token": google.grant(described["account"].as_str()?, &scopes) }));
        }
        "keys" => google.rotate_keys(),
        "sign" if described["claims"].is_object() => {
            return Some(json!({ "token": google.sign(&described["claims"]) }));
        }
        "sign" => {
            let (audience, account) =
                (described["audience"].as_str()?, described["service_account"].as_str()?);
            return Some(json!({ "token": google.push_token(audience, account) }));
        }
        "clock" => google.set_skew(described["skew_ms"].as_i64()?),
        _ => return None,
    }
    Some(json!({}))
}

fn answer(described: &Value) -> Option<Answer> {
    if let Some(error) = described["error"].as_str() {
        return Some(Answer::Error(error.to_owned()));
    }
    if let Some(slow) = described["slow_ms"].as_u64() {
        return Some(Answer::Slow(Duration::from_millis(slow)));
    }
    if let Some(seconds) = described["lifetime"].as_u64() {
        return Some(Answer::Lifetime(seconds));
    }
    Some(match described.as_str()? {
        "half_json" => Answer::HalfJson,
        "page" => Answer::Page,
        "empty" => Answer::Empty,
        "text_lifetime" => Answer::TextLifetime,
        "no_lifetime" => Answer::NoLifetime,
        "no_refresh_token" => Answer::NoRefreshToken,
        "new_refresh_token" => Answer::NewRefreshToken,
        "mute" => Answer::Mute,
        "lost" => Answer::Lost,
        _ => return None,
    })
}

fn consent(described: &Value) -> Option<Consent> {
    if !described["without"].is_null() {
        return texts(&described["without"]).map(Consent::Without);
    }
    if let Some(email) = described["as"].as_str() {
        return Some(Consent::As(email.to_owned()));
    }
    match described.as_str()? {
        "allow" => Some(Consent::Allow),
        "deny" => Some(Consent::Deny),
        _ => None,
    }
}

fn texts(described: &Value) -> Option<Vec<String>> {
    described.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}
