//! Twilio: HMAC-SHA1 over the URL as Twilio calls it and the parameters of the form, as base64 in
//! `X-Twilio-Signature`.
//!
//! <https://www.twilio.com/docs/usage/security#validating-requests>. The URL is configured, because behind a proxy the server can't know it; the query is the
//! request's own. Twilio writes the port or leaves it out, so both are tried. A body that is no
//! form is covered only by the `bodySHA256` of the signed query: without that it is refused. No
//! time is signed. Names and values are signed without anything between them (`Digits=1234` and
//! `Digits1=234` sign the same), so read only the parameters you expect. Two requests with the same
//! URL and parameters are one delivery, as a voice menu that is answered twice alike would be;
//! those want an answer at once anyway, and not a queue.

use ::hmac::{Hmac, Mac as _};
use bytes::Bytes;
use http::{HeaderName, Method, Uri, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};
use percent_encoding::percent_decode;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::webhook::{
    check::Check,
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, Keys},
    policy::{MONTH, ProviderAnswer, ProviderPolicy},
    verifier::{Opened, Verifier},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");
static IDEMPOTENCY: HeaderName = HeaderName::from_static("i-twilio-idempotency-token");

/// Verifies what Twilio sends to one URL.
#[derive(Debug, Clone)]
pub struct Twilio {
    keys: Keys<Hmac<Sha1>>,
    /// The URL without its query, in each spelling of its port.
    urls: Vec<String>,
}

impl Twilio {
    /// By any of these auth tokens, for the URL that is configured at Twilio, such as
    /// `https://agent.example/hooks/twilio`; its query is taken from each request.
    pub fn new(tokens: impl IntoIterator<Item = Secret>, url: &str) -> Result<Self, InvalidSecret> {
        let urls =
            spellings(url).ok_or(InvalidSecret::Malformed("the URL is not http or https, with a host"))?;
        Ok(Self { keys: Keys::text(tokens)?, urls })
    }
}

/// The URL as it was given, without a port, and with the port that goes without saying.
fn spellings(url: &str) -> Option<Vec<String>> {
    let uri: Uri = url.parse().ok()?;
    let default = match uri.scheme_str()? {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let host = authority.host();
    let with = |authority: &str| format!("{scheme}://{authority}{}", uri.path());
    let mut urls = Vec::new();
    for url in [with(authority.as_str()), with(host), with(&format!("{host}:{default}"))] {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Some(urls)
}

type Parameter = (Vec<u8>, Vec<u8>);

/// The parameters of a form, decoded once, as bytes: what is not text signs as what it is.
fn parameters(form: &[u8]) -> Vec<Parameter> {
    let decode = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaced).collect::<Vec<u8>>()
    };
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let mut half = || halves.next().map(decode).unwrap_or_default();
        (half(), half())
    });
    let mut parameters: Vec<Parameter> = decoded.collect();
    parameters.sort();
    // Twilio signs a repeated value of one name once.
    parameters.dedup();
    parameters
}

/// The one `bodySHA256` of a query; an error where there are two, or it is not one.
fn body_hash(query: &str) -> Result<Option<[u8; 32]>, VerifyError> {
    let mut all = query.split('&').filter_map(|pair| pair.strip_prefix("bodySHA256="));
    let Some(digits) = all.next() else { return Ok(None) };
    match (wire::hex(digits), all.next()) {
        (Some(hash), None) => Ok(Some(hash)),
        _ => Err(VerifyError::Body("its bodySHA256 is malformed or stands twice")),
    }
}

/// What names it where Twilio gives no token: what it is about, and how that stands.
fn name(parameters: &[Parameter]) -> Option<String> {
    let field = |name: &str| {
        let found = parameters.iter().find(|(field, _)| field == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let about = ["MessageSid", "CallSid", "SmsSid"].iter().find_map(|name| field(name))?;
    let status = ["MessageStatus", "CallStatus", "SmsStatus"].iter().find_map(|name| field(name));
    Some(status.map_or(about.clone(), |status| format!("{about}:{status}")))
}

impl Verifier for Twilio {
    /// Accepted with an empty TwiML document: what comes of the message is sent later, through the
    /// API.
    fn policy(&self) -> ProviderPolicy {
        let twiml = r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#;
        ProviderPolicy::new("twilio")
            .with_retention(MONTH)
            .with_get()
            .with_accepted(ProviderAnswer::body("text/xml", twiml))
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let signature = wire::base64::<20>(wire::one(headers, &SIGNATURE)?)
            .ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let query = request.uri.query().unwrap_or_default();
        let (hash, form) = (body_hash(query)?, wire::is_form(headers));
        let get = request.method == Method::GET;
        let token = wire::optional(headers, &IDEMPOTENCY)?.map(str::to_owned);
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // A MAC for each key and each spelling of the URL.
        let macs: Vec<Hmac<Sha1>> =
            self.urls.iter().flat_map(|url| self.keys.begin(&[url.as_bytes(), query.as_bytes()])).collect();
        Ok(Check::new(move |body: Bytes| {
            let parameters = match hash {
                Some(hash) if bool::from(Sha256::digest(&body).as_slice().ct_eq(&hash)) => Vec::new(),
                Some(_) => return Err(VerifyError::WrongSignature),
                None if body.is_empty() => Vec::new(),
                None if form && !get => parameters(&body),
                None => return Err(VerifyError::Body("it is no form, and the query has no bodySHA256")),
            };
            let signed: Vec<u8> =
                parameters.iter().flat_map(|(name, value)| [&name[..], value].concat()).collect();
            let macs = macs.into_iter().map(|mac| mac.chain_update(&signed)).collect();
            if !keys::any_signed(macs, &[signature]) {
                return Err(VerifyError::WrongSignature);
            }
            let id = token.or_else(|| name(&parameters));
            let delivery = Delivery::by_body("twilio", id, body).same_by(query, signed);
            Ok(delivery.with_content_type(content_type))
        })
        .into())
    }
}
