//! The owner's mailbox through the built server, with the twins of Google, Gmail and Telegram on
//! loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{Server, consent, once, twin, wait_for};
use livos_twins::{gmail, google, telegram};
use serde_json::json;

const ANNA: i64 = 7;
const ADDRESS: &str = "anna@example.com";
const AUDIENCE: &str = "https://livos.example.org/hooks/gmail";
const PUSHER: &str = "pusher@my-project.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/gmail.modify";

fn mailbox(google: &google::Google) -> gmail::Gmail {
    let google = google.clone();
    gmail::Gmail::new(gmail::Config {
        address: ADDRESS.into(),
        door: Some(gmail::Door::new(move |headers| google.caller(headers, &[SCOPE]).map(drop))),
        ..gmail::Config::default()
    })
}

fn configured(google: &str, gmail: &str, telegram: &str, folder: &Path) -> String {
    let known = google::Config::default();
    format!(
        "[google]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nurl = \"{google}\"\n\
         [gmail]\nwatch = true\ntopic = \"projects/my-project/topics/gmail\"\nurl = \"{gmail}\"\n\
         [telegram]\nurl = \"{telegram}\"\ntoken = \"4242:a-token-for-a-simulated-server\"\n\
         [[webhooks]]\nname = \"gmail\"\nprovider = \"gmail\"\naudience = \"{AUDIENCE}\"\nemail = \"{PUSHER}\"\n\
         [secrets]\nkey_file = \"{}\"\n",
        known.client_id,
        known.client_secret,
        folder.join("livos.keys").display()
    )
}

/// What Pub/Sub posts: that something happened in the mailbox. Gmail's own pushes are dropped
/// beyond one a second.
fn push(server: &Server, mailbox: &gmail::Gmail, number: u32, token: &str) -> u16 {
    let said = json!({ "emailAddress": ADDRESS, "historyId": mailbox.history_id() });
    let said = STANDARD.encode(said.to_string());
    let body = json!({
        "message": { "data": said, "messageId": number.to_string(), "publishTime": "2026-11-24T08:00:00Z" },
        "subscription": "projects/my-project/subscriptions/livos",
    });
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    server.request("POST", "/hooks/gmail", &headers, &body.to_string()).status
}

#[test]
fn the_owner_is_told_of_each_mail_once_and_once_of_the_end_of_access() {
    // Half of a token's life goes by before the keeper asks for another, and hears that access has
    // ended.
    let lifetime = Duration::from_secs(24);
    let (_google_runtime, google, google_url) =
        twin(|| google::Google::new(google::Config { access_lifetime: lifetime, ..Default::default() }));
    let (_mail_runtime, mailbox, mail_url) = twin(|| mailbox(&google));
    let (_chat_runtime, chat, chat_url) =
        twin(|| telegram::Telegram::new(telegram::Config { floods: false, ..Default::default() }));
    let folder = tempfile::tempdir().unwrap();
    let config = configured(&google_url, &mail_url, &chat_url, folder.path());
    let server = Server::start_with(&config, &[]);
    let heard = || -> Vec<String> { chat.written(ANNA).into_iter().map(|message| message.text).collect() };
    let told = |wanted: &str| heard().iter().filter(|text| text.contains(wanted)).count();

    let body = json!({ "channel": "telegram", "rights": "owner" }).to_string();
    let issued =
        server.authorized("POST", "/v1/pairing/codes", &[("content-type", "application/json")], &body);
    chat.say(ANNA, issued.json()["code"].as_str().unwrap());
    once(0, "You are paired", heard);
    assert!(mailbox.stats().calls.is_empty(), "nothing is asked without access: {:?}", mailbox.stats());
    assert_eq!(consent(&server).status, 200);
    wait_for("the mailbox is watched", || mailbox.watch_expires_ms().is_some());

    let token = google.push_token(AUDIENCE, PUSHER);
    mailbox.deliver_text("bob@example.org", "Lunch *today*?", "A secret recipe.");
    let forged = push(&server, &mailbox, 1, &google.push_token(AUDIENCE, "stranger@example.org"));
    assert!([401, 403].contains(&forged), "{forged}");
    assert!(push(&server, &mailbox, 1, &token) < 300);
    once(0, "Mail from bob@example.org: Lunch today?", heard);
    assert!(push(&server, &mailbox, 2, &token) < 300, "it tells nothing new");
    mailbox.deliver_text("carl@example.org", "", "Hello");
    assert!(push(&server, &mailbox, 3, &token) < 300);
    once(0, "Mail from carl@example.org: no subject", heard);
    assert_eq!((told("Lunch today?"), told("secret")), (1, 0));

    google.end_grants(None, google::Death::Revoked);
    google.forget_access_tokens();
    mailbox.deliver_text("dora@example.org", "While you were away", "Hello");
    assert!(push(&server, &mailbox, 4, &token) < 300);
    once(0, "access has ended and needs a new consent", heard);
    assert_eq!(told("While you were away"), 0);
    // Nothing is lost meanwhile.
    assert_eq!(consent(&server).status, 200);
    once(0, "Mail from dora@example.org: While you were away", heard);
    assert_eq!(told("needs a new consent"), 1);
    let log = server.stop();
    assert!(!log.contains("Lunch") && !log.contains("ya29"), "{log}");
}

#[test]
fn a_watch_that_could_not_work_keeps_the_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livos.toml");
    let client = "[google]\nclient_id = \"x\"\nclient_secret = \"y\"\n";
    let bot = "[telegram]\ntoken = \"4242:a-token-for-a-simulated-server\"\n";
    let hook = "[[webhooks]]\nname = \"gmail\"\nprovider = \"gmail\"\naudience = \"a\"\nemail = \"b\"\n";
    let topic = "[gmail]\nwatch = true\ntopic = \"projects/p/topics/t\"\n";
    for (config, wanted) in [
        ("[gmail]\nwatch = true\n".to_owned(), "[google]"),
        (format!("{client}[gmail]\nwatch = true\n"), "[telegram]"),
        (format!("{client}{bot}[gmail]\ntopic = \"projects/p/topics/t\"\n"), "watch"),
        (format!("{client}{bot}{topic}"), "[[webhooks]]"),
        (format!("{client}{bot}[gmail]\nwatch = true\n{hook}"), "topic"),
    ] {
        std::fs::write(&file, &config).unwrap();
        let output = common::bare().arg("--config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("gmail.") && said.contains(wanted),
            "{config}: {said}"
        );
    }
}
