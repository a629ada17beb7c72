//! Traces as a collector receives them: OTLP over HTTP, read here from the bytes by the published
//! field numbers.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
};

use common::{Server, TOKEN};

/// A field of a protobuf message: its number, and its bytes where it has some.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first().expect("a varint");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a varint without end")
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                let value = varint(&mut message);
                found.push((tag >> 3, value.to_string().into_bytes()));
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        let (value, rest) = message.split_at(length);
        message = rest;
        found.push((tag >> 3, value.to_vec()));
    }
    found
}

/// All values at a path of field numbers.
fn at(message: &[u8], path: &[u64]) -> Vec<Vec<u8>> {
    let Some((first, rest)) = path.split_first() else { return vec![message.to_vec()] };
    fields(message)
        .iter()
        .filter(|(number, _)| number == first)
        .flat_map(|(_, value)| at(value, rest))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The attributes of a resource or a span, of which each is a key (1) and a value (2) of some kind.
fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let all = at(message, &[field]);
    let pairs = all.iter().map(|pair| {
        let value = fields(&at(pair, &[2])[0]).remove(0).1;
        (text(&at(pair, &[1])[0]), text(&value))
    });
    pairs.collect()
}

/// A collector; answers its address, and what it received: the head of a request and its body.
fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, received)
}

#[test]
fn a_collector_receives_each_request_as_a_span_and_no_secret() {
    let (address, received) = collector();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=collector-key"),
        ("DEEPGRAM_API_KEY", "k-secret-k"),
        ("DEEPGRAM_URL", "ws://127.0.0.1:1"),
    ];
    let server = Server::start_with("", &variables);
    assert_eq!(server.get(&server.login).status, 303);
    let token = server.login.split_once('=').unwrap().1.to_owned();
    let json = [("content-type", "application/json")];
    server.authorized("POST", "/v1/chat", &json, r#"{"text":"what is two plus three"}"#);
    drop(server.open_voice());
    server.metrics_when(|metrics| metrics.contains("livos_voice_sessions 0"));
    let log = server.stop();
    assert!(!log.contains("a panic"), "{log}");
    let (mut spans, mut ids) = (Vec::new(), Vec::new());
    for (head, body) in received.try_iter() {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf") && head.contains("x-key: collector-key"),
            "{head}"
        );
        for secret in ["k-secret-k", TOKEN, &token] {
            assert!(!String::from_utf8_lossy(&body).contains(secret), "{secret} was sent");
        }
        // resource_spans 1: resource 1 with attributes 1, and scope_spans 2 with spans 2.
        for resource in at(&body, &[1, 1]) {
            assert_eq!(attributes(&resource, 1)["service.name"], "livos-vps");
        }
        for span in at(&body, &[1, 2, 2]) {
            ids.extend(at(&span, &[1]));
            spans.push((text(&at(&span, &[5])[0]), attributes(&span, 9)));
        }
    }
    assert!(!ids.is_empty() && ids.iter().all(|id| id.len() == 16 && id.iter().any(|byte| *byte != 0)));
    let request = |method: &str, path: &str, status: &str| {
        spans.iter().any(|(name, attributes)| {
            let has = |key: &str, value: &str| attributes.get(key).is_some_and(|found| found == value);
            name == "request" && has("method", method) && has("path", path) && has("status", status)
        })
    };
    assert!(request("GET", "/login", "303") && request("POST", "/v1/chat", "200"), "{spans:?}");
    assert!(request("GET", "/v1/voice", "101"), "{spans:?}");
    assert!(spans.iter().any(|(name, _)| name == "voice session"), "{spans:?}");
}

#[test]
fn a_collector_that_is_away_holds_up_nothing() {
    let often = [("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let server = Server::start_with("[telemetry]\nendpoint = \"http://127.0.0.1:1\"\n", &often);
    for _ in 0..20 {
        assert_eq!(server.get("/healthz").status, 200);
    }
    server.metrics_when(|metrics| metrics.contains("livos_traces_exports_total{outcome=\"failed\"}"));
    let log = server.stop();
    assert_eq!(log.matches("the collector takes no traces").count(), 1, "{log}");
    assert!(log.contains("stopped") && !log.contains("a panic"), "{log}");
}
