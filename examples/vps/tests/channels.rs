//! Chat apps, as people and an operator meet them through the built server, with the providers'
//! twins on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{Answer, SOON, Server, attempts, once, refusing_model, turns, twin, wait_for};
use livos_twins::{Twin, discord, telegram, tones};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Two people.
const ANNA: i64 = 7;
const BEN: i64 = 8;
const HELLO: &str = "hello";
/// How the simulated model ends its answer to that.
const ANSWER: &str = "a little arithmetic.";
const HOW_TO_PAIR: &str = "If you were given a pairing code";

fn telegram() -> (Runtime, telegram::Telegram, String) {
    // How fast one may write is the client's own test.
    twin(|| telegram::Telegram::new(telegram::Config { floods: false, ..Default::default() }))
}

/// With a file of its own, which outlives a server.
fn configured(app: &str, url: &str, token: &str, more: &str, folder: &Path) -> String {
    format!(
        "[{app}]\nurl = \"{url}\"\ntoken = \"{token}\"\n{more}\n[secrets]\nkey_file = \"{}\"\n",
        folder.join("livos.keys").display()
    )
}

const TOKEN: &str = "4242:a-token-for-a-simulated-server";

fn start(config: &str, folder: &Path) -> Server {
    Server::start_with(config, &[("LIVOS_STORE", folder.join("livos.redb").to_str().unwrap())])
}

/// Somebody at a Telegram twin, or a group there.
struct Person<'a>(&'a telegram::Telegram, i64);

impl Person<'_> {
    fn heard(&self) -> Vec<String> {
        self.0.written(self.1).into_iter().map(|message| message.text).collect()
    }

    /// Says something, and is answered with this in a message of its own.
    fn is_told(&self, text: &str, wanted: &str) {
        let before = self.heard().len();
        self.0.say(self.1, text);
        once(before, wanted, || self.heard());
    }
}

/// How many messages ended in this way.
fn messages(server: &Server, access: &str, count: u32) {
    let wanted = format!("livos_chat_messages_total{{channel=\"telegram\",access=\"{access}\"}} {count}");
    server.metrics_when(|metrics| metrics.contains(&wanted));
}

fn issue(server: &Server, rights: &str) -> Answer {
    let body = json!({ "channel": "telegram", "rights": rights }).to_string();
    server.authorized("POST", "/v1/pairing/codes", &[("content-type", "application/json")], &body)
}

fn code(server: &Server, rights: &str) -> String {
    let issued = issue(server, rights);
    assert_eq!(issued.status, 201, "{}", issued.body);
    assert!(issued.json()["expires_at_ms"].as_i64().unwrap() > 0);
    issued.json()["code"].as_str().unwrap().to_owned()
}

fn devices(server: &Server) -> Vec<Value> {
    let shown = server.authorized("GET", "/v1/pairing", &[], "");
    assert_eq!(shown.status, 200, "{}", shown.body);
    shown.json()["devices"].as_array().unwrap().clone()
}

#[test]
fn a_stranger_pairs_with_a_code_is_remembered_and_is_a_stranger_again_once_revoked() {
    let (_runtime, twin, url) = telegram();
    let folder = tempfile::tempdir().unwrap();
    let config = configured("telegram", &url, TOKEN, "", folder.path());
    let (anna, ben) = (Person(&twin, ANNA), Person(&twin, BEN));

    let server = start(&config, folder.path());
    anna.is_told(HELLO, HOW_TO_PAIR);
    twin.say(ANNA, "why don't you talk to me?");
    messages(&server, "stranger", 2);
    anna.is_told("ZZZZ-ZZZZ", "4 more times");
    assert_eq!(anna.heard().len(), 2, "how to pair is told once an hour");
    let owners = code(&server, "owner");
    // As a link to the bot brings it.
    anna.is_told(&format!("/start {}", owners.to_lowercase()), "You are paired");
    anna.is_told("/help", "send me a voice note");
    assert_eq!(twin.commands()[0]["command"], "help");
    // The agent answers.
    anna.is_told(HELLO, ANSWER);
    // A code is good for one.
    ben.is_told(&owners, "This code is wrong, was used before");
    let known = devices(&server);
    let [device] = known.as_slice() else { panic!("{known:?}") };
    assert_eq!(
        (&device["sender"], &device["rights"], &device["standing"]),
        (&json!("7"), &json!("owner"), &json!("paired"))
    );
    let log = server.stop();
    assert!(!log.contains(&owners) && !log.contains(TOKEN), "{log}");

    let server = start(&config, folder.path());
    assert_eq!(devices(&server), known, "a restart forgets nobody");
    anna.is_told(HELLO, ANSWER);
    let before = anna.heard().len();
    ben.is_told(&code(&server, "paired"), "You are paired");
    once(before, "on telegram was paired, as device 2", || anna.heard());
    let bens = ben.heard().len();
    assert_eq!(server.authorized("DELETE", "/v1/pairing/devices/1", &[], "").status, 204);
    once(bens, "The pairing of", || ben.heard());
    twin.say(ANNA, HELLO);
    messages(&server, "stranger", 1);
    // The other one stays.
    let owners = turns(&server, "owner");
    ben.is_told(HELLO, ANSWER);
    wait_for("a paired person's answer is booked on that person", || turns(&server, "telegram:8") == 1);
    assert_eq!(turns(&server, "owner"), owners, "and not on the owner");
    assert_eq!(anna.heard().len(), before + 1, "she was told how to pair less than an hour ago");
    assert_eq!(server.authorized("DELETE", "/v1/pairing/devices", &[], "").status, 204);
    assert_eq!(devices(&server), Vec::<Value>::new());
    server.stop();
}

/// A Telegram bot for everybody, with this model.
fn open_to_all(telegram: &str, model: &str, folder: &Path) -> Server {
    let config = configured("telegram", telegram, TOKEN, "policy = \"open\"", folder);
    let model = [("ANTHROPIC_BASE_URL", model), ("ANTHROPIC_API_KEY", "a-key")];
    Server::start_with(&format!("{config}{SOON}"), &model)
}

#[test]
fn a_person_is_told_once_that_the_model_refused_and_is_answered_afterwards() {
    const REFUSED: &str = "I could not answer that: the model refused the request.";
    let (_runtime, twin, url) = telegram();
    let (_models, model, model_url) = refusing_model(400);
    let folder = tempfile::tempdir().unwrap();
    let (server, anna) = (open_to_all(&url, &model_url, folder.path()), Person(&twin, ANNA));
    anna.is_told(HELLO, REFUSED);
    let metrics = server.metrics_when(|metrics| attempts(metrics, "telegram", "dead") == 1);
    assert_eq!(attempts(&metrics, "telegram", "retry"), 2, "{metrics}");
    model.host().clear_faults();
    anna.is_told(HELLO, ANSWER);
    let told = anna.heard();
    assert_eq!(told.iter().filter(|text| *text == REFUSED).count(), 1, "{told:?}");
    server.stop();
}

#[test]
fn a_person_is_told_once_to_wait_for_a_model_that_is_away_and_gets_every_answer() {
    const AWAY: &str = "The model is not reachable just now. I will answer as soon as it is back.";
    let (_runtime, twin, url) = telegram();
    let (_models, model, model_url) = refusing_model(529);
    let folder = tempfile::tempdir().unwrap();
    let (server, anna) = (open_to_all(&url, &model_url, folder.path()), Person(&twin, ANNA));
    anna.is_told(HELLO, AWAY);
    twin.say(ANNA, HELLO);
    let waits = |metrics: &str| attempts(metrics, "telegram", "wait");
    let so_far = server.metrics_when(|metrics| waits(metrics) > 12);
    server.metrics_when(|metrics| waits(metrics) > waits(&so_far) + 20);
    assert_eq!(anna.heard(), [AWAY], "not for each question, and not for each attempt");
    model.host().clear_faults();
    let answers = || anna.heard().iter().filter(|text| text.contains(ANSWER)).count();
    wait_for("both questions are answered", || answers() == 2);
    server.stop();
}

#[test]
fn an_approval_lets_in_who_came_with_a_code() {
    let (_runtime, twin, url) = telegram();
    let folder = tempfile::tempdir().unwrap();
    let config = configured("telegram", &url, TOKEN, "[pairing]\napproval = true", folder.path());
    let (server, anna) = (start(&config, folder.path()), Person(&twin, ANNA));
    anna.is_told(&code(&server, "paired"), "the owner is asked");
    // Not yet.
    anna.is_told(HELLO, HOW_TO_PAIR);
    assert_eq!(devices(&server)[0]["standing"], "awaiting_approval");
    let approve = || server.authorized("POST", "/v1/pairing/devices/1/approve", &[], "");
    assert_eq!(approve().status, 204);
    once(2, "You are paired", || anna.heard());
    anna.is_told(HELLO, ANSWER);
    let again = approve();
    assert_eq!((again.status, &again.json()["kind"]), (404, &json!("unknown_device")));
    server.stop();
}

#[test]
fn the_routes_of_pairing_are_the_operator_s_and_say_why_not() {
    let (_runtime, _twin, url) = telegram();
    let folder = tempfile::tempdir().unwrap();
    let server = start(&configured("telegram", &url, TOKEN, "", folder.path()), folder.path());
    for (method, path) in [
        ("GET", "/v1/pairing"),
        ("POST", "/v1/pairing/codes"),
        ("POST", "/v1/pairing/devices/1/approve"),
        ("DELETE", "/v1/pairing/devices/1"),
        ("DELETE", "/v1/pairing/devices"),
    ] {
        assert_eq!(server.request(method, path, &[], "").status, 401, "{method} {path}");
    }
    (0..3).for_each(|_| drop(code(&server, "paired")));
    let full = issue(&server, "paired");
    assert_eq!((full.status, &full.json()["kind"]), (429, &json!("too_many_codes")));
    assert!(full.json()["retry_after_ms"].as_u64().is_some_and(|wait| (1..=300_000).contains(&wait)));
    let json = [("content-type", "application/json")];
    for (body, kind) in [
        (json!({ "channel": "discord", "rights": "paired" }), "unknown_channel"),
        (json!({ "channel": "telegram", "rights": "root" }), "rejected"),
        (json!({ "channel": "telegram" }), "rejected"),
    ] {
        let answer = server.authorized("POST", "/v1/pairing/codes", &json, &body.to_string());
        assert_eq!((answer.status, answer.json()["kind"].as_str()), (422, Some(kind)), "{body}");
    }
    for id in ["99", "x"] {
        let answer = server.authorized("DELETE", &format!("/v1/pairing/devices/{id}"), &[], "");
        assert_eq!((answer.status, &answer.json()["kind"]), (404, &json!("unknown_device")), "{id}");
    }
    server.stop();
}

#[test]
fn nothing_starts_where_nothing_is_configured_and_a_setting_without_effect_is_refused() {
    let server = Server::start("[telegram]\npolicy = \"open\"\n");
    assert_eq!(server.authorized("GET", "/v1/pairing", &[], "").status, 404);
    server.stop();
    for (config, expected) in [
        ("[telegram]\nallow = [\"7\"]\n", "telegram.allow: is only read if policy is \"allow_list\""),
        ("[discord]\npolicy = \"opne\"\n", "line 2: "),
        ("[telegram]\ntokn = \"4242:secret-secret\"\n", "the nearest known one is `token`"),
        ("[telegram]\ntoken = \"secret-secret\"\n", "the token is not of the form"),
        ("[discord]\nurl = \"http://example.com\"\n", "discord.url: http:// is for loopback only"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("livos.toml");
        std::fs::write(&file, config).unwrap();
        let output = common::bare().arg("--config").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
        assert!(!said.contains("secret-secret"), "{said}");
    }
}

/// A group that the bot is in.
const GROUP: i64 = -1_001_234;

/// Somebody writes into the group.
fn say_in_group(twin: &telegram::Telegram, person: i64, text: &str) {
    const NAME: &str = "@livos_twin_bot";
    let mut message = twin.message(person, text);
    message["chat"] = json!({ "id": GROUP, "type": "supergroup", "title": "Friends" });
    if text.starts_with(NAME) {
        message["entities"] = json!([{ "type": "mention", "offset": 0, "length": NAME.len() }]);
    }
    twin.push(json!({ "message": message }));
}

#[test]
fn each_policy_answers_whom_it_says_in_private_and_in_a_group() {
    let listed = format!("policy = \"allow_list\"\nallow = [\"{GROUP}\"]");
    // What a stranger is told in private; and whether it is answered in the group where it names
    // the bot.
    for (policy, private, group) in [
        ("", Some(HOW_TO_PAIR), false),
        (listed.as_str(), Some(HOW_TO_PAIR), true),
        ("policy = \"open\"", Some(ANSWER), true),
        ("policy = \"closed\"", None, false),
    ] {
        let (_runtime, twin, url) = telegram();
        let folder = tempfile::tempdir().unwrap();
        let server = start(&configured("telegram", &url, TOKEN, policy, folder.path()), folder.path());
        twin.say(BEN, HELLO);
        say_in_group(&twin, BEN, HELLO);
        say_in_group(&twin, BEN, "@livos_twin_bot hello");
        let ignored = 1 + u32::from(private.is_none()) + u32::from(!group);
        messages(&server, "ignored", ignored);
        let [in_private, in_group] = [BEN, GROUP].map(|chat| Person(&twin, chat));
        if let Some(private) = private {
            once(0, private, || in_private.heard());
        }
        if group {
            once(0, ANSWER, || in_group.heard());
        }
        // A drain ends what was begun.
        server.stop();
        let counts = [in_private.heard().len(), in_group.heard().len()];
        assert_eq!(counts, [usize::from(private.is_some()), usize::from(group)], "{policy}");
    }
}

#[test]
fn whoever_is_paired_is_answered_in_a_group_that_names_the_bot() {
    let (_runtime, twin, url) = telegram();
    let folder = tempfile::tempdir().unwrap();
    let server = start(&configured("telegram", &url, TOKEN, "", folder.path()), folder.path());
    Person(&twin, ANNA).is_told(&code(&server, "owner"), "You are paired");
    let group = Person(&twin, GROUP);
    say_in_group(&twin, ANNA, "nobody asked the agent");
    say_in_group(&twin, ANNA, "@livos_twin_bot hello");
    once(0, ANSWER, || group.heard());
    // A code is for the private chat: here all would read it.
    let code = code(&server, "paired");
    say_in_group(&twin, BEN, &format!("@livos_twin_bot {code}"));
    messages(&server, "ignored", 2);
    assert_eq!((group.heard().len(), devices(&server).len()), (1, 1));
    server.stop();
}

#[test]
fn discord_answers_whom_the_list_names_and_tells_others_how_to_pair() {
    let (_runtime, twin, url) = twin(|| discord::Discord::new(discord::Config::default()));
    let folder = tempfile::tempdir().unwrap();
    let more = format!("policy = \"allow_list\"\nallow = [\"{}\"]", discord::ANNA);
    let server = start(&configured("discord", &url, "bot-token", &more, folder.path()), folder.path());
    // What is said to a bot before its first session, nobody hears.
    wait_for("the gateway is reached", || twin.connected_sessions() > 0);
    let (annas, bens) = (twin.direct_channel(discord::ANNA), twin.direct_channel(discord::BEN));
    twin.say(annas, discord::ANNA, HELLO);
    once(0, ANSWER, || twin.said_by_bot(annas));
    twin.say(bens, discord::BEN, HELLO);
    once(0, HOW_TO_PAIR, || twin.said_by_bot(bens));
    wait_for("two commands are registered", || twin.commands().len() == 2);
    let answered = |id, wanted: &str| {
        let told = || twin.interaction(id).into_iter().filter_map(|used| used.original).collect();
        once(0, wanted, told);
    };
    answered(twin.command(annas, discord::ANNA, "ask", &[("question", HELLO)]), ANSWER);
    answered(twin.command(annas, discord::ANNA, "help", &[]), "send me a voice note");
    let place = twin.store_file(annas, "voice-message.ogg", recording());
    let spoken = json!({
        "flags": 1 << 13,
        "attachments": [{
            "id": "77", "filename": "voice-message.ogg", "content_type": "audio/ogg", "size": 9,
            "url": format!("{url}{place}"), "proxy_url": format!("{url}{place}"), "duration_secs": 1.0, "waveform": "AAA=",
        }],
    });
    let before = twin.said_by_bot(annas).len();
    twin.write(annas, discord::ANNA, "", spoken);
    once(before, HEARD, || twin.said_by_bot(annas));
    server.stop();
}

/// A second of sound, in which the simulated recogniser hears its first sentence: a question for
/// the time.
fn recording() -> Vec<u8> {
    let buzz: Vec<i16> = (0..16_000).map(|n| if n % 40 < 20 { 9_000 } else { -9_000 }).collect();
    tones::wav(&buzz, 16_000)
}

/// How the simulated model answers that.
const HEARD: &str = "You said: What time is it";

/// Somebody speaks instead of writing.
fn speak(twin: &telegram::Telegram, person: i64, path: &str, bytes: Vec<u8>, seconds: u32) {
    let mut voice = twin.add_file(path, bytes);
    voice["duration"] = json!(seconds);
    voice["mime_type"] = json!("audio/ogg");
    let mut message = twin.message(person, "");
    message.as_object_mut().unwrap().remove("text");
    message["voice"] = voice;
    twin.push(json!({ "message": message }));
}

#[test]
fn a_voice_note_is_heard_and_answered_once_its_sender_is_known() {
    let (_runtime, twin, url) = telegram();
    let folder = tempfile::tempdir().unwrap();
    let budget = "[budget]\nspeech_minutes = 1";
    let config = configured("telegram", &url, TOKEN, budget, folder.path());
    let (server, anna) = (start(&config, folder.path()), Person(&twin, ANNA));
    speak(&twin, ANNA, "voice/0.oga", recording(), 1);
    once(0, HOW_TO_PAIR, || anna.heard());
    assert_eq!(twin.calls("getFile"), 0, "a stranger's note is not fetched");
    anna.is_told(&code(&server, "owner"), "You are paired");
    let spoken = |path: &str, bytes, seconds, wanted: &str| {
        let before = anna.heard().len();
        speak(&twin, ANNA, path, bytes, seconds);
        once(before, wanted, || anna.heard());
    };
    spoken("voice/1.oga", recording(), 1, HEARD);
    spoken("voice/2.oga", vec![0; 100], 1, "I can't play that voice note");
    spoken("voice/3.oga", recording(), 301, "Five minutes are the most");
    let mut silent = recording();
    silent[44..].fill(0);
    spoken("voice/4.oga", silent, 1, "I heard no words");
    spoken("voice/5.oga", recording(), 59, "the limit for it is reached");
    wait_for("two recordings of a second are counted", || {
        server.authorized("GET", "/v1/usage", &[], "").json()["today"]["used"]["stt_seconds"] == 2.0
    });
    server.stop();
}
