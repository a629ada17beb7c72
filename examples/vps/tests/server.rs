//! The built server as its operators and clients meet it: a process, real sockets, bad input,
//! signals.
//!
//! Providers are the twins inside the process, answering at once; where one must fail, its address
//! leads nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{io::Write, net::TcpListener, process::Stdio};

use common::{Answer, Server, TOKEN, bare, close_code, next_json, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[test]
fn nothing_but_health_answers_a_stranger() {
    let server = Server::start("");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/index.html"),
        ("GET", "/metrics"),
        ("GET", "/v1/voice"),
        ("POST", "/v1/chat"),
        ("GET", "/no/such/page"),
        ("DELETE", "/v1/chat"),
    ] {
        assert_eq!(server.request(method, path, &[], "").status, 401, "{method} {path}");
    }
    assert_eq!(server.get("/healthz").status, 200);
    let ready = server.ready();
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)), "{}", ready.body);
}

#[test]
fn a_token_in_a_query_string_opens_nothing_but_the_first_login() {
    let server = Server::start("");
    let login = server.get(&server.login);
    assert_eq!(login.status, 303);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(server.get(&server.login).status, 401, "a second time");
    assert_eq!(server.request("GET", "/metrics", &[("cookie", &cookie)], "").status, 200);
    let token = cookie.split_once('=').unwrap().1;
    for path in [
        format!("/metrics?token={TOKEN}"),
        format!("/?token={token}"),
        format!("/login?token={TOKEN}"),
        format!("/login?token={token}"),
        "/login".to_owned(),
        "/login?token=%ff".to_owned(),
    ] {
        assert_eq!(server.get(&path).status, 401, "{path}");
    }
    let basic = server.request("GET", "/metrics", &[("authorization", &format!("Basic {TOKEN}"))], "");
    assert_eq!(basic.status, 401);
}

#[test]
fn a_voice_socket_needs_its_own_origin() {
    let server = Server::start("");
    let login = server.get(&server.login);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = format!("http://{}", server.address);
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let with =
        |more: &[(&str, &str)]| server.request("GET", "/v1/voice", &[&upgrade, more].concat(), "").status;
    assert_eq!(with(&[("cookie", &cookie), ("origin", &own)]), 101);
    assert_eq!(with(&[("cookie", &cookie), ("origin", "https://evil.example")]), 403);
    assert_eq!(with(&[("cookie", &cookie), ("origin", "null")]), 403);
    assert_eq!(with(&[("cookie", &cookie)]), 403);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(with(&[("authorization", &bearer)]), 101);
    assert_eq!(with(&[("authorization", &bearer), ("origin", "https://evil.example")]), 403);
    let plain = server.authorized("GET", "/v1/voice", &[], "");
    assert_eq!(plain.status, 426);
}

#[test]
fn each_broken_rule_has_its_error_and_its_close_code() {
    let server = Server::start("");
    let hello = json!({ "type": "hello", "version": 1, "input_rate": 16000, "output_rate": 24000 });
    let text = |value: Value| Message::text(value.to_string());
    let mut newer = hello.clone();
    newer["version"] = json!(2);
    let mut odd_rate = hello.clone();
    odd_rate["input_rate"] = json!(44100);
    let hello = text(hello);
    let cases: Vec<(&str, Vec<Message>, &str, u16)> = vec![
        ("audio first", vec![Message::binary(vec![0; 640])], "expected_hello", 4400),
        ("another message first", vec![text(json!({ "type": "stop" }))], "expected_hello", 4400),
        ("no JSON", vec![Message::text("{\"type\":")], "malformed", 4400),
        ("an unknown type", vec![hello.clone(), text(json!({ "type": "dance" }))], "malformed", 4400),
        ("a newer version", vec![text(newer)], "unsupported_version", 4406),
        ("an odd rate", vec![text(odd_rate)], "unsupported_format", 4406),
        ("hello again", vec![hello.clone(), hello.clone()], "already_open", 4400),
        ("half a sample", vec![hello.clone(), Message::binary(vec![0; 641])], "odd_audio", 4400),
        ("a huge message", vec![hello.clone(), Message::binary(vec![0; 2_000_000])], "too_large", 1009),
        ("a long text", vec![hello.clone(), Message::text(" ".repeat(20_000))], "too_large", 1009),
        (
            "audio without end",
            [vec![hello.clone()], vec![Message::binary(vec![0; 96_000]); 12]].concat(),
            "too_fast",
            4429,
        ),
    ];
    for (what, messages, code, close) in cases {
        let mut socket = server.voice();
        for message in messages {
            // The server may have closed before the last message of a flood.
            let _ = socket.send(message);
        }
        let error = until(&mut socket, |message| message["type"] == "error")
            .unwrap_or_else(|| panic!("{what}: no error"));
        assert_eq!((&error["code"], &error["fatal"]), (&json!(code), &json!(true)), "{what}");
        assert_eq!(close_code(&mut socket), Some(close), "{what}");
    }
    // What is only out of order is told and forgiven.
    let mut socket = server.voice();
    socket.send(hello).unwrap();
    socket.send(text(json!({ "type": "release", "at_ms": 0 }))).unwrap();
    let error = until(&mut socket, |message| message["type"] == "error").unwrap();
    assert_eq!((&error["code"], &error["fatal"]), (&json!("out_of_order"), &json!(false)));
    socket.send(text(json!({ "type": "ping", "at_ms": 5 }))).unwrap();
    assert_eq!(until(&mut socket, |message| message["type"] == "pong").unwrap()["at_ms"], 5.0);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_spoken_question_is_answered_in_a_voice() {
    let server = Server::start("");
    let mut socket = server.ask_aloud();
    let (mut loudest, mut seen) = (0, Vec::new());
    let waterfall = loop {
        match socket.read().expect("the session goes on") {
            Message::Binary(audio) => {
                let samples = audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                loudest = samples.map(i16::unsigned_abs).chain([loudest]).max().unwrap();
            }
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                seen.push(message["type"].as_str().unwrap().to_owned());
                match seen.last().unwrap().as_str() {
                    "transcript" => assert_ne!(message["text"], ""),
                    "waterfall" => break message,
                    _ => {}
                }
            }
            _ => {}
        }
    };
    let parts: f64 =
        waterfall["parts"].as_array().unwrap().iter().map(|part| part["ms"].as_f64().unwrap()).sum();
    let whole = waterfall["sent_ms"].as_f64().unwrap() - waterfall["from_ms"].as_f64().unwrap();
    assert!((parts - whole).abs() < 0.01, "{parts} {whole}");
    assert!(seen.contains(&"transcript".into()) && seen.contains(&"speech_start".into()), "{seen:?}");
    let said = until(&mut socket, |message| message["type"] == "words").unwrap();
    assert_ne!(said["words"], json!([]));
    // The first chunk may be a fade-in; the answer as a whole is heard.
    while loudest < 1000 {
        if let Message::Binary(audio) = socket.read().expect("more audio") {
            let samples = audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
            loudest = samples.map(i16::unsigned_abs).chain([loudest]).max().unwrap();
        }
    }
    socket.send(Message::text(json!({ "type": "bye" }).to_string())).unwrap();
    assert_eq!(close_code(&mut socket), Some(1000));
    // What a session takes, it gives back.
    let metrics = server.metrics_when(|metrics| metrics.contains("livos_voice_sessions 0"));
    for name in ["livos_voice_turn_seconds", "livos_voice_answer_seconds"] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{metrics}");
    }
}

#[test]
fn a_configured_sentence_is_said_before_an_answer_that_is_late() {
    // An answer that is not there at once is late.
    let server = Server::start("[voice]\nopeners = [\"One moment.\"]\nopener_after = \"0ms\"\n");
    let mut socket = server.ask_aloud();
    let waterfall = until(&mut socket, |message| message["type"] == "waterfall").unwrap();
    assert_eq!(waterfall["opener"], "One moment.");
    server.metrics_when(|metrics| metrics.contains("livos_voice_openers_total 1"));
}

#[test]
fn a_typed_message_is_answered_piece_by_piece_and_bad_ones_are_told_why() {
    let server = Server::start("");
    let json = [("content-type", "application/json")];
    let answer = server.authorized("POST", "/v1/chat", &json, r#"{"text":"what is two plus three"}"#);
    assert_eq!(answer.status, 200);
    let events: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((events.first(), events.last()), (Some(&"start"), Some(&"done")), "{}", answer.body);
    assert!(events.contains(&"text") && events.contains(&"usage"), "{events:?}");
    let long = format!(r#"{{"text":"{}"}}"#, "a".repeat(40_000));
    let huge = format!(r#"{{"text":"{}"}}"#, "a".repeat(400_000));
    for (method, headers, body, status) in [
        ("POST", &json[..], "{", 400),
        ("POST", &json, r#"{"text":"hi","tone":"kind"}"#, 422),
        ("POST", &json, r#"{"text":"  "}"#, 422),
        ("POST", &json, r#"{"text":"hi","conversation":"no spaces here"}"#, 422),
        ("POST", &json, &long, 422),
        ("POST", &json, &huge, 413),
        ("POST", &[("content-type", "text/plain")], r#"{"text":"hi"}"#, 415),
        ("GET", &[], "", 405),
    ] {
        let answer = server.authorized(method, "/v1/chat", headers, body);
        let shown: String = body.chars().take(40).collect();
        assert_eq!(answer.status, status, "{method} {shown}: {}", answer.body);
        if status != 405 {
            assert_eq!(answer.json()["kind"], "rejected", "{shown}");
        }
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_named_and_the_rest_goes_on() {
    let server =
        Server::start_with("", &[("DEEPGRAM_URL", "ws://127.0.0.1:1"), ("DEEPGRAM_API_KEY", "k-secret-k")]);
    let ready = server.ready();
    assert_eq!(ready.status, 503);
    let states = ready.json();
    assert_eq!(states["dependencies"]["speech_to_text"]["state"], "down", "{states}");
    assert_eq!(states["dependencies"]["model"]["state"], "ready", "{states}");
    assert_eq!(server.get("/healthz").status, 200);
    // A typed question needs no recogniser.
    let mut socket = server.open_voice();
    socket.send(Message::text(json!({ "type": "text", "text": "hello" }).to_string())).unwrap();
    // The other providers may not be connected yet, and say so too.
    let told = until(&mut socket, |message| {
        message["type"] == "connection" && message["provider"] == "speech to text"
    });
    assert_eq!(told.unwrap()["connected"], false);
    assert!(until(&mut socket, |message| message["type"] == "reply").is_some());
    let log = server.stop();
    assert!(!log.contains("k-secret-k"), "{log}");
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Server::start("");
    server.authorized("POST", "/v1/chat", &[("content-type", "application/json")], r#"{"text":"hello"}"#);
    let metrics = server.metrics_when(|metrics| metrics.contains("livos_dependency_ready"));
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(name.starts_with("livos_"), "{line}");
    }
}

#[test]
fn a_signal_in_the_middle_of_an_answer_ends_the_process_in_order() {
    let server = Server::start("[server]\ndrain_timeout = \"3 s\"\n");
    let mut socket = server.open_voice();
    socket
        .send(Message::text(json!({ "type": "text", "text": "tell me a long story" }).to_string()))
        .unwrap();
    until(&mut socket, |message| message["type"] == "speech_start").unwrap();
    let stopping = std::thread::spawn(move || server.terminate());
    let error = until(&mut socket, |message| message["type"] == "error").expect("the client is told");
    assert_eq!(error["code"], "draining");
    assert_eq!(close_code(&mut socket), Some(1001));
    let (status, log) = stopping.join().unwrap();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn while_draining_no_new_session_begins_and_readiness_says_so() {
    let server = Server::start("[server]\ndrain_timeout = \"4 s\"\n");
    let mut socket = server.open_voice();
    socket
        .send(Message::text(json!({ "type": "text", "text": "tell me a long story" }).to_string()))
        .unwrap();
    until(&mut socket, |message| message["type"] == "speech_start").unwrap();
    // A connection from before the drain is still answered.
    let mut kept = server.connect();
    server.signal("TERM");
    until(&mut socket, |message| message["type"] == "error").expect("the drain has begun");
    let late = common::exchange(
        &mut kept,
        &format!("GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address),
    );
    if let Some(late) = late {
        assert_eq!((late.status, &late.json()["draining"]), (503, &json!(true)));
    }
    assert!(server.wait().0.success());
}

#[test]
fn what_is_wrong_in_the_configuration_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livos.toml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        ("[deepgram]\nmodle = \"nova-3\"", &[], &["modle", "model", "line 2"]),
        ("[sever]\n", &[], &["sever", "server"]),
        ("[server]\ntoken = \"hunter2\"", &[], &["server.token", "16"]),
        ("this is no toml", &[], &["line 1"]),
        ("[server]\ndrain_timeout = \"soon\"", &[], &["250ms", "line 2"]),
        ("[cartesia]\nurl = \"ws://example.org\"", &[], &["cartesia.url", "wss://"]),
        ("", &[("LIVOS_LISTEN", "8420")], &["8420", "127.0.0.1:8420"]),
        ("", &[("LIVOS_LISTEN", &taken)], &[&taken]),
    ];
    for (text, variables, needles) in cases {
        std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = bare();
        command
            .env_remove("LIVOS_TOKEN")
            .arg("--config")
            .arg(&file)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        for needle in needles {
            assert!(said.contains(needle), "{text}: {said} does not say {needle}");
        }
        assert!(!said.contains("panicked") && !said.contains("hunter2"), "{said}");
        assert!(output.stdout.is_empty(), "{text}");
    }
    let missing = bare().arg("--config").arg(folder.path().join("absent.toml")).output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("absent.toml"));
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn what_is_killed_in_the_middle_starts_again_at_the_same_address() {
    let server = Server::start("");
    let address = server.address.clone();
    let mut socket = server.open_voice();
    socket
        .send(Message::text(json!({ "type": "text", "text": "tell me a long story" }).to_string()))
        .unwrap();
    until(&mut socket, |message| message["type"] == "speech_start").unwrap();
    server.signal("KILL");
    assert!(!server.wait().0.success());
    let again = Server::start_with("", &[("LIVOS_LISTEN", &address)]);
    assert_eq!(again.address, address);
    assert!(next_json(&mut again.open_voice()).is_some());
    let ready: Answer = again.ready();
    assert_eq!(ready.status, 200);
}
