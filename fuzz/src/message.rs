//! HTTP messages as text, so that a corpus can be read: lines of `name: value`, an empty line, and
//! the body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request::Parts};

/// A message of a fuzzer: what can't stand in one is left out.
#[derive(Debug, Default)]
pub struct Message {
    /// `:status`; 200 where there is none.
    pub status: StatusCode,
    /// `:method`; `POST` where there is none.
    pub method: Method,
    /// `:query`; empty where there is none.
    pub query: String,
    /// The header lines.
    pub headers: HeaderMap,
    /// What follows the empty line.
    pub body: Bytes,
}

impl Message {
    /// Reads any bytes.
    pub fn read(data: &[u8]) -> Self {
        let end = data.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
        let body = Bytes::copy_from_slice(body);
        let mut message = Self { method: Method::POST, body, ..Self::default() };
        for line in head.split(|byte| *byte == b'\n') {
            message.line(line);
        }
        message
    }

    fn line(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().skip(1).position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..=colon], line[colon + 2..].trim_ascii());
        match name {
            b":status" => {
                self.status = StatusCode::from_bytes(value).unwrap_or_default();
            }
            b":method" => self.method = Method::from_bytes(value).unwrap_or(Method::POST),
            b":query" => self.query = String::from_utf8_lossy(value).into_owned(),
            _ => {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                {
                    self.headers.append(name, value);
                }
            }
        }
    }

    /// The head of a request.
    pub fn request(&self) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method.clone();
        head.headers = self.headers.clone();
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        head.uri = format!("/hook{query}").parse().unwrap_or_default();
        head
    }
}
