//! HMAC-SHA256 as many smaller providers do it: the names of the headers, the encoding and what is
//! signed are configuration.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};

use crate::webhook::{
    check::{Check, MacJudge},
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, HmacSha256, Keys},
    policy::{MONTH, ProviderPolicy, TOLERANCE, WEEK},
    verifier::{Opened, Verifier},
    wire,
};

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Hexadecimal digits, in either case.
    #[default]
    Hex,
    /// Base64 in the standard alphabet, with its padding.
    Base64,
}

/// What a provider signs, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HmacConfig {
    /// Its name in logs and jobs.
    pub provider: String,
    /// Where the signature is.
    pub signature_header: String,
    /// What stands before the signature in its header. Nothing: the bare digits are the most common
    /// form.
    pub prefix: String,
    /// How the signature is written. In hexadecimal digits, as most do.
    pub encoding: Encoding,
    /// Where the id of a delivery is. Nowhere: then the body names it.
    pub id_header: Option<String>,
    /// Where the time in seconds since 1970 is. Nowhere: then nothing is known of a delivery's age.
    pub timestamp_header: Option<String>,
    /// What is signed: text with `{id}`, `{timestamp}`, and `{body}` at its end. `{body}`, the form
    /// that needs no documentation.
    pub signed: String,
    /// How far the time may be off. [`TOLERANCE`].
    pub tolerance: Duration,
    /// Whether secrets are base64 of the key. They are text, because most providers take them so.
    pub base64_secrets: bool,
}

impl HmacConfig {
    /// The body alone is signed, in hexadecimal digits in this header.
    pub fn new(provider: impl Into<String>, signature_header: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            signature_header: signature_header.into(),
            prefix: String::new(),
            encoding: Encoding::default(),
            id_header: None,
            timestamp_header: None,
            signed: "{body}".to_owned(),
            tolerance: TOLERANCE,
            base64_secrets: false,
        }
    }
}

/// No verifier can be made of this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHmac {
    /// A secret is wrong.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
    /// A name is no name of a header.
    #[error("{0:?} is no name of a header")]
    Header(String),
    /// The text does not say what is signed.
    #[error("what is signed: {0}")]
    Signed(&'static str),
}

/// Verifies a configured HMAC-SHA256.
#[derive(Debug, Clone)]
pub struct Hmac {
    provider: String,
    keys: Keys<HmacSha256>,
    signature_header: HeaderName,
    prefix: String,
    encoding: Encoding,
    id_header: Option<HeaderName>,
    timestamp_header: Option<HeaderName>,
    parts: Vec<Part>,
    tolerance: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Timestamp,
}

impl Hmac {
    /// By any of these secrets.
    pub fn new(config: HmacConfig, secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidHmac> {
        let header = |name: &String| {
            HeaderName::try_from(name.as_str()).map_err(|_| InvalidHmac::Header(name.clone()))
        };
        let keys = if config.base64_secrets {
            Keys::read(keys::expose(secrets), |text| {
                let key = STANDARD.decode(text).map_err(|_| InvalidSecret::Malformed("it is not base64"))?;
                if key.is_empty() { Err(InvalidSecret::Blank) } else { keys::mac(&key) }
            })?
        } else {
            Keys::text(secrets)?
        };
        let parts = parts(&config.signed).map_err(InvalidHmac::Signed)?;
        let (id_header, timestamp_header) = (&config.id_header, &config.timestamp_header);
        if parts.contains(&Part::Id) && id_header.is_none() {
            return Err(InvalidHmac::Signed("it has an {id}, and no header holds one"));
        }
        if parts.contains(&Part::Timestamp) != timestamp_header.is_some() {
            return Err(InvalidHmac::Signed(
                "a time counts if it is signed: {timestamp} and its header go together",
            ));
        }
        Ok(Self {
            keys,
            signature_header: header(&config.signature_header)?,
            id_header: id_header.as_ref().map(header).transpose()?,
            timestamp_header: timestamp_header.as_ref().map(header).transpose()?,
            parts,
            provider: config.provider,
            prefix: config.prefix,
            encoding: config.encoding,
            tolerance: config.tolerance,
        })
    }
}

/// Reads what is signed before the body. Two values need text between them, else a digit could move
/// from one to the other.
fn parts(signed: &str) -> Result<Vec<Part>, &'static str> {
    let mut rest = signed.strip_suffix("{body}").ok_or("it must end with {body}")?;
    let mut parts = Vec::new();
    while let Some(at) = rest.find('{') {
        let (text, after) = rest.split_at(at);
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let (name, after) = after.split_once('}').ok_or("a brace is not closed")?;
        let part = match name {
            "{id" => Part::Id,
            "{timestamp" => Part::Timestamp,
            _ => return Err("it knows {id}, {timestamp} and {body}"),
        };
        if parts.contains(&part) {
            return Err("a value stands twice");
        }
        parts.push(part);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    let is_text = |part: &Part| matches!(part, Part::Text(_));
    if parts.windows(2).any(|pair| !is_text(&pair[0]) && !is_text(&pair[1])) {
        return Err("two values need text between them");
    }
    if parts.last().is_some_and(|part| !is_text(part)) {
        return Err("the body needs text before it");
    }
    Ok(parts)
}

impl Verifier for Hmac {
    fn policy(&self) -> ProviderPolicy {
        let retention = if self.timestamp_header.is_some() { WEEK } else { MONTH };
        ProviderPolicy::new(self.provider.clone()).with_retention(retention)
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let encoded = wire::one(headers, &self.signature_header)?.strip_prefix(self.prefix.as_str());
        let signature = encoded.and_then(|text| match self.encoding {
            Encoding::Hex => wire::hex(text),
            Encoding::Base64 => wire::base64(text),
        });
        let signature = signature.ok_or_else(|| VerifyError::Malformed(self.signature_header.clone()))?;
        let id = self.id_header.as_ref().map(|name| wire::id(headers, name)).transpose()?;
        let time = self.timestamp_header.as_ref();
        let time = time.map(|name| wire::timely(headers, name, now, self.tolerance)).transpose()?;
        let mut signed: Vec<&[u8]> = Vec::with_capacity(self.parts.len());
        for (n, part) in self.parts.iter().enumerate() {
            let value = match part {
                Part::Text(text) => text.as_str(),
                Part::Timestamp => time.map(|(text, _)| text).unwrap_or_default(),
                Part::Id => id.unwrap_or_default(),
            };
            // An id that holds the text after it could be cut elsewhere under the same signature.
            if let (Part::Id, Some(Part::Text(after)), Some(name)) =
                (part, self.parts.get(n + 1), &self.id_header)
                && value.contains(after.as_str())
            {
                return Err(VerifyError::Malformed(name.clone()));
            }
            signed.push(value.as_bytes());
        }
        let (provider, id) = (self.provider.clone(), id.map(str::to_owned));
        let (id_is_signed, signed_at) = (self.parts.contains(&Part::Id), time.map(|(_, time)| time));
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let read = move |body: Bytes| {
            let delivery = match id {
                Some(id) if id_is_signed => Delivery::by_id(provider, id, body),
                id => Delivery::by_body(provider, id, body),
            };
            let delivery = delivery.with_content_type(content_type);
            Ok(match signed_at {
                Some(time) => delivery.with_signed_at(time),
                None => delivery,
            })
        };
        Ok(Check::new(MacJudge::new(self.keys.begin(&signed), vec![signature], read)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read_strictly() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parts("{body}"), Ok(vec![]));
        assert_eq!(parts("v1:{timestamp}:{body}"), Ok(vec![text("v1:"), Part::Timestamp, text(":")]));
        assert_eq!(
            parts("{id}.{timestamp}.{body}"),
            Ok(vec![Part::Id, text("."), Part::Timestamp, text(".")])
        );
        let bad =
            ["", "{timestamp}", "{body}{id}", "{timestamp}{body}", "{id}{timestamp}.{body}", "{url}.{body}"];
        for bad in bad.iter().chain(&["{id}.{id}.{body}", "{id.{body}"]) {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_that_would_not_protect_is_refused() {
        let with = |change: fn(&mut HmacConfig)| {
            let mut config = HmacConfig::new("acme", "x-acme-signature");
            change(&mut config);
            Hmac::new(config, [Secret::new("secret")]).err()
        };
        assert_eq!(with(|_| {}), None);
        assert!(matches!(with(|config| config.signed = "{id}.{body}".into()), Some(InvalidHmac::Signed(_))));
        assert!(matches!(
            with(|config| config.timestamp_header = Some("x-time".into())),
            Some(InvalidHmac::Signed(_))
        ));
        assert!(matches!(
            with(|config| config.signature_header = "a b".into()),
            Some(InvalidHmac::Header(_))
        ));
        let base64 = |config: &mut HmacConfig| config.base64_secrets = true;
        assert!(matches!(with(base64), Some(InvalidHmac::Secret(InvalidSecret::Malformed(_)))));
    }
}
