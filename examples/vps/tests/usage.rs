//! What was used is counted and shown, and what may not be used any more is refused before anybody
//! is asked for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Stdio;

use common::{Answer, Server, bare, once, twin, until, wait_for};
use livos_twins::telegram;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn usage(server: &Server, query: &str) -> Answer {
    server.authorized("GET", &format!("/v1/usage{query}"), &[], "")
}

/// The usage, once it fulfils `wanted`: what nobody waits for is counted a moment later.
fn usage_when(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let limit = std::time::Instant::now() + common::PATIENCE;
    loop {
        let usage = usage(server, "").json();
        if wanted(&usage) {
            return usage;
        }
        assert!(std::time::Instant::now() < limit, "{usage}");
        std::thread::yield_now();
    }
}

fn chat(server: &Server) -> Answer {
    let json = [("content-type", "application/json")];
    server.authorized("POST", "/v1/chat", &json, r#"{"text":"what is two plus three"}"#)
}

fn limit<'a>(usage: &'a Value, unit: &str) -> &'a Value {
    let limits = usage["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["unit"] == unit && limit["period"] == "day").unwrap()
}

#[test]
fn a_typed_question_is_counted_and_shown_on_the_clock_of_the_reader() {
    let server = Server::start("[usage]\nzone = \"Asia/Kolkata\"\n");
    let answer = chat(&server);
    let reported = answer.body.lines().filter_map(|line| line.strip_prefix("data: {")).next_back();
    assert_eq!(answer.status, 200, "{reported:?}");
    let shown =
        usage_when(&server, |usage| usage["today"]["used"]["turns"] == 1 && usage["held"]["turns"] == 1);
    for period in ["today", "week", "window"] {
        let used = &shown[period]["used"];
        assert!(
            used["input_tokens"].as_u64().unwrap() + used["cache_write_tokens"].as_u64().unwrap() > 0,
            "{shown}"
        );
        assert!(used["output_tokens"].as_u64().unwrap() > 0, "{shown}");
        assert!(used["micro_dollars"].as_u64().unwrap() > 0, "{shown}");
        assert!(used["characters"].as_u64().unwrap() > 22, "{shown}");
    }
    assert_eq!(shown["today"]["estimated"]["output_tokens"], 0, "the twin reported it");
    // Besides the next answer the voice's portion is set aside.
    assert_eq!(shown["held"]["stt_seconds"], 120.0);
    assert!(shown["simulated"].as_array().unwrap().len() == 3, "{shown}");
    assert_eq!(shown["unpriced"], json!(["sonic-3.5"]), "no list price is known for it");

    let resets = |usage: &Value| (usage["zone"].clone(), usage["today"]["resets_at"].clone());
    let (zone, at) = resets(&shown);
    let (utc, local) = (at["utc"].as_str().unwrap(), at["local"].as_str().unwrap());
    assert_eq!(zone, "Asia/Kolkata");
    assert!(utc.ends_with("T00:00:00+00:00") && local.ends_with("T05:30:00+05:30"), "{utc} {local}");
    let (zone, at) = resets(&usage(&server, "?zone=Europe/Berlin").json());
    assert_eq!(
        (&zone, &at["utc"]),
        (&json!("Europe/Berlin"), &json!(utc)),
        "another clock, the same instant"
    );
    let local = at["local"].as_str().unwrap();
    assert!(local.ends_with("T01:00:00+01:00") || local.ends_with("T02:00:00+02:00"), "{local}");
    let week = shown["week"]["since"]["utc"].as_str().unwrap();
    assert!(week <= utc && week.ends_with("T00:00:00+00:00"), "{week}");

    let days = server.authorized("GET", "/v1/usage/days?from=2026-01-01&to=2026-12-31", &[], "");
    assert_eq!((days.status, days.json()), (200, json!({ "days": [] })), "today is not finished");
    server.stop();
}

#[test]
fn what_a_stranger_uses_is_not_the_owners() {
    const STRANGER: i64 = 7;
    let (_runtime, telegram, url) =
        twin(|| telegram::Telegram::new(telegram::Config { floods: false, ..Default::default() }));
    let bot = format!("[telegram]\nurl = \"{url}\"\ntoken = \"4242:a-token-for-a-simulated-server\"\n");
    let server = Server::start(&format!("{bot}policy = \"open\"\n"));
    let owners = || usage(&server, "").json()["today"]["used"]["output_tokens"].as_u64().unwrap();
    chat(&server);
    wait_for("the owner's answer is counted", || owners() > 0);
    let once_asked = owners();
    telegram.say(STRANGER, "hello");
    let told = || telegram.written(STRANGER).into_iter().map(|message| message.text).collect();
    once(0, "a little arithmetic.", told);
    chat(&server);
    wait_for("the second answer is counted", || owners() > once_asked);
    assert_eq!(owners(), 2 * once_asked, "only the owner's own answers");
    server.stop();
}

#[test]
fn what_is_no_zone_and_no_date_is_told_so() {
    let server = Server::start("");
    for (path, needle) in [
        ("/v1/usage?zone=Mars/Olympus", "there is no time zone \"Mars/Olympus\""),
        ("/v1/usage?zone=", "an IANA name is needed, such as Europe/Berlin"),
        ("/v1/usage?zone=..%2F..%2Fetc%2Fpasswd", "there is no time zone"),
        ("/v1/usage?zone=%ff", ""),
        ("/v1/usage?tz=UTC", "zone"),
        ("/v1/usage/days?from=yesterday", "a day is a date such as 2026-11-23"),
        ("/v1/usage/days?to=2026-02-30", "a day is a date"),
    ] {
        let answer = server.authorized("GET", path, &[], "");
        assert_eq!((answer.status, &answer.json()["kind"]), (400, &json!("rejected")), "{path}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(needle), "{path}: {message}");
    }
    assert_eq!(server.get("/v1/usage").status, 401);
    assert_eq!(server.get("/v1/usage/days").status, 401);
}

/// Asks until it is refused; answers how often it was answered, and the refusal.
fn chat_until_refused(server: &Server) -> (u64, Value) {
    for answered in 0..100 {
        let answer = chat(server);
        if answer.status != 200 {
            assert_eq!(answer.status, 429, "{}", answer.body);
            return (answered, answer.json());
        }
        // A refusal inside the stream is one as well.
        let events = answer.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let refusal = events
            .map(|data| serde_json::from_str::<Value>(data).unwrap())
            .find(|data| data["kind"] == "limit");
        if let Some(refusal) = refusal {
            return (answered, refusal);
        }
        usage_when(server, |usage| {
            usage["today"]["used"]["turns"] == answered + 1 && usage["held"]["turns"] == 0
        });
    }
    panic!("a hundred answers and no refusal");
}

#[test]
fn tokens_and_money_are_refused_before_they_are_spent() {
    for (budget, unit) in [("tokens = 1500\ncents = 0", "tokens"), ("tokens = 0\ncents = 1", "micro_dollars")]
    {
        let server =
            Server::start(&format!("[budget]\n{budget}\nwarn_percent = 50\nvoice_characters = 10\n"));
        let (answered, refusal) = chat_until_refused(&server);
        assert!(answered > 0, "{unit}: the first question fits");
        assert!(refusal["message"].as_str().unwrap().contains(unit), "{refusal}");
        let wait = refusal["retry_after_ms"].as_u64().unwrap();
        assert!(wait <= 24 * 3600 * 1000, "{wait}");
        let shown = usage(&server, "").json();
        let limit = limit(&shown, unit);
        assert!(
            limit["spent"].as_u64() <= limit["stop"].as_u64() && limit["spent"].as_u64() > Some(0),
            "{limit}"
        );
        assert_eq!(shown["today"]["used"]["turns"], answered);
    }
}

#[test]
fn a_spoken_question_is_counted_in_seconds_and_characters() {
    let server = Server::start("[usage.prices.text_to_speech]\n\"sonic-3.5\" = 30_000_000\n");
    let mut socket = server.ask_aloud();
    until(&mut socket, |message| message["type"] == "words").unwrap();
    let shown = usage_when(&server, |usage| {
        let used = &usage["today"]["used"];
        used["stt_seconds"].as_f64() >= Some(1.0)
            && used["tts_characters"].as_u64() > Some(0)
            && used["turns"].as_u64() > Some(0)
    });
    let used = &shown["today"]["used"];
    assert!(used["stt_seconds"].as_f64().unwrap() < 10.0, "{used}");
    let spoken = used["tts_characters"].as_u64().unwrap() * 30;
    assert!(used["micro_dollars"].as_u64().unwrap() > spoken, "{used}");
    assert_eq!(shown["unpriced"], json!([]));
}

#[test]
fn what_was_used_is_known_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("livos.redb");
    let start = || Server::start_with("", &[("LIVOS_STORE", store.to_str().unwrap())]);
    let server = start();
    assert_eq!(chat(&server).status, 200);
    let before = usage_when(&server, |usage| usage["week"]["used"]["turns"] == 1);
    server.signal("KILL");
    assert!(!server.wait().0.success());
    let after = usage(&start(), "").json();
    assert_eq!(after["week"]["used"], before["week"]["used"]);
}

#[test]
fn a_voice_without_a_budget_is_told_so() {
    let server = Server::start("[budget]\nvoice_characters = 5\n");
    let mut socket = server.open_voice();
    let question = json!({ "type": "text", "text": "tell me a long story" });
    socket.send(Message::text(question.to_string())).unwrap();
    let error = until(&mut socket, |message| message["type"] == "error").expect("it is told");
    assert_eq!(error["code"], "budget_exhausted", "{error}");
}

#[test]
fn what_is_wrong_in_its_configuration_is_named() {
    for (text, environment, needles) in [
        ("[usage]\nzone = \"Berlin\"", None, &["line 2", "Berlin", "Europe/Berlin"][..]),
        ("[usage.prices.models.\"x\"]\nimput = 1", None, &["imput", "input", "line 2"]),
        ("[usage.prices]\nvoice = 1", None, &["voice", "text_to_speech"]),
        ("[budget]\nwarn_percent = 101", None, &["budget.warn_percent"]),
        ("[budget.week]\ncent = 1", None, &["cent", "cents"]),
        ("[budget]\ncents = -1", None, &["line 2"]),
        ("", Some(("LIVOS_ARCHIVE", "mysql://u:hunter2@h/x")), &["PostgreSQL"]),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut command = bare();
        command
            .arg("--config")
            .arg(file.path())
            .envs(environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        for needle in needles {
            assert!(said.contains(needle), "{text}: {said} does not say {needle}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}
