//! The parameters of a call, wherever they stand: in the query, in a form, or in JSON.

use serde_json::{Map, Value};

use super::failure::Failure;

/// Parameters by name. In forms all are text, and structures are JSON in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    pub(super) fn parse(query: &str, kind: &str, body: &[u8]) -> Result<Self, Failure> {
        let mut all = form(query);
        if kind.starts_with("application/json") && !body.is_empty() {
            match serde_json::from_slice(body) {
                Ok(Value::Object(object)) => all.extend(object),
                _ => return Err(Failure::bad("can't parse JSON object: expected an object")),
            }
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            all.extend(form(&String::from_utf8_lossy(body)));
        } else if kind.starts_with("multipart/") {
            return Err(Failure::bad("this twin takes no uploads"));
        }
        Ok(Self(all))
    }

    pub(super) fn of(object: Map<String, Value>) -> Self {
        Self(object)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A number, or a text that is one.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.to_lowercase().as_str(), "true" | "yes" | "1"),
            Some(value) => value.as_i64() == Some(1),
            None => false,
        }
    }

    /// A structure, or a text that holds one.
    pub(super) fn json(&self, name: &str) -> Option<Value> {
        match self.0.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            value => Some(value.clone()),
        }
    }
}

fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), Value::String(decode(value)))
        })
        .collect()
}

pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
