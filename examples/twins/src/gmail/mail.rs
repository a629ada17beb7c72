//! The structure of a mail (RFC 5322 and RFC 2045), as far as `format=full` shows it: headers,
//! parts, decoded bodies.

use base64::{Engine as _, engine::general_purpose};

/// Parts are taken apart to this depth; what is deeper stays one body.
const DEEPEST: usize = 20;

/// A mail, or a part of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// As `0.1`; empty for the mail itself.
    pub id: String,
    pub headers: Vec<(String, String)>,
    pub mime_type: String,
    pub filename: String,
    pub body: Vec<u8>,
    pub parts: Vec<Part>,
}

impl Part {
    pub fn parse(raw: &[u8]) -> Self {
        Self::at(raw, String::new(), 0)
    }

    fn at(raw: &[u8], id: String, depth: usize) -> Self {
        let (head, body) = split_head(raw);
        let mut part = Self { id, headers: headers(&head), ..Self::default() };
        let kind = part.header("Content-Type").unwrap_or("text/plain").to_owned();
        part.mime_type = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let disposition = part.header("Content-Disposition").unwrap_or_default();
        part.filename =
            parameter(disposition, "filename").or_else(|| parameter(&kind, "name")).unwrap_or_default();
        match parameter(&kind, "boundary")
            .filter(|_| part.mime_type.starts_with("multipart/") && depth < DEEPEST)
        {
            Some(boundary) => {
                part.parts = pieces(body, &boundary)
                    .iter()
                    .enumerate()
                    .map(|(n, piece)| {
                        let id = if part.id.is_empty() { n.to_string() } else { format!("{}.{n}", part.id) };
                        Self::at(piece, id, depth + 1)
                    })
                    .collect();
            }
            None => part.body = decoded(body, part.header("Content-Transfer-Encoding").unwrap_or_default()),
        }
        part
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first text in it.
    pub fn text(&self) -> String {
        if self.parts.is_empty() && self.mime_type.starts_with("text/") {
            return String::from_utf8_lossy(&self.body).into_owned();
        }
        self.parts.iter().map(Self::text).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// The part of this id.
    pub fn find(&self, id: &str) -> Option<&Self> {
        if self.id == id { Some(self) } else { self.parts.iter().find_map(|part| part.find(id)) }
    }

    pub fn is_attachment(&self) -> bool {
        self.parts.is_empty() && (!self.filename.is_empty() || !self.mime_type.starts_with("text/"))
    }
}

fn split_head(raw: &[u8]) -> (String, &[u8]) {
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return (String::from_utf8_lossy(&raw[..at]).into_owned(), &raw[end..]);
        }
        at = end;
    }
    (String::from_utf8_lossy(raw).into_owned(), &[])
}

fn headers(head: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.lines() {
        match line.split_once(':') {
            _ if line.starts_with([' ', '\t']) => {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
            Some((name, value)) => headers.push((name.trim_end().to_owned(), value.trim().to_owned())),
            None => {}
        }
    }
    headers
}

/// A parameter of a structured header, without quotes.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|one| {
        let (known, value) = one.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// What stands between the lines of a boundary.
fn pieces<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
    let (mut pieces, mut start, mut at) = (Vec::new(), None, 0);
    let without_break =
        |piece: &'a [u8]| piece.strip_suffix(b"\r\n").or(piece.strip_suffix(b"\n")).unwrap_or(piece);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii_end();
        if trimmed == open.as_bytes() || trimmed == close.as_bytes() {
            if let Some(start) = start {
                pieces.push(without_break(&body[start..at]));
            }
            start = (trimmed == open.as_bytes()).then_some(at + line.len());
            if start.is_none() {
                return pieces;
            }
        }
        at += line.len();
    }
    pieces.extend(start.map(|start| &body[start..]));
    pieces
}

fn decoded(body: &[u8], encoding: &str) -> Vec<u8> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => {
            let packed: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            general_purpose::STANDARD.decode(&packed).unwrap_or_else(|_| body.to_vec())
        }
        "quoted-printable" => quoted_printable(body),
        _ => body.to_vec(),
    }
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            plain.push(*first);
        } else if let Some(next) = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n")) {
            rest = next;
        } else {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => {
                    plain.push(byte);
                    rest = &after[2..];
                }
                None => plain.push(b'='),
            }
        }
    }
    plain
}
