//! Webhooks, as their senders and an operator meet them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{SOON, Server, attempts, bare, refusing_model, turns, wait_for};
use livos_twins::{
    Twin,
    webhooks::{Account, Provider},
};

const CONFIG: &str = r#"
[[webhooks]]
name = "repo"
provider = "github"
secrets = ["an old secret", "SECRET"]
"#;

/// What GitHub sends, as headers and a body.
fn signed(account: &Account, n: u64) -> (Vec<(String, String)>, String) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let event = account.event(n);
    let request = account.request(&event, now);
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (headers.collect(), String::from_utf8(event.body.to_vec()).unwrap())
}

fn post(server: &Server, path: &str, account: &Account, n: u64) -> u16 {
    let (headers, body) = signed(account, n);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    server.request("POST", path, &headers, &body).status
}

#[test]
fn a_delivery_is_worked_on_once_and_a_forged_one_never() {
    let account = Account::new(Provider::GitHub, "", 1);
    let server = Server::start(&CONFIG.replace("SECRET", &account.credential()));
    for n in [1, 1, 2] {
        assert_eq!(post(&server, "/hooks/repo", &account, n), 200);
    }
    assert_eq!(post(&server, "/hooks/repo", &Account::new(Provider::GitHub, "", 2), 3), 401);
    assert_eq!(
        post(&server, "/hooks/other", &account, 1),
        401,
        "nothing is there, and a stranger is not told"
    );
    server.metrics_when(|metrics| metrics.contains("livos_webhook_worked_total{provider=\"github\"} 2"));
    wait_for("the work is booked on the endpoint", || turns(&server, "hook:repo") == 2);
    assert_eq!(turns(&server, "owner"), 0, "who sends deliveries does not spend what is the owner's");
    let log = server.stop();
    assert_eq!(log.matches("the agent worked on a delivery").count(), 2, "{log}");
}

/// With this model, and one delivery.
fn with_model(url: &str) -> Server {
    let account = Account::new(Provider::GitHub, "", 1);
    let config = format!("{SOON}{CONFIG}").replace("SECRET", &account.credential());
    let model = [("ANTHROPIC_BASE_URL", url), ("ANTHROPIC_API_KEY", "a-key")];
    let server = Server::start_with(&config, &model);
    assert_eq!(post(&server, "/hooks/repo", &account, 1), 200);
    server
}

#[test]
fn a_delivery_outlives_a_busy_model_and_a_refused_key() {
    for status in [529, 401] {
        let (_runtime, model, url) = refusing_model(status);
        let server = with_model(&url);
        // A job has ten attempts; none of these counts.
        let metrics = server.metrics_when(|metrics| attempts(metrics, "webhook.repo", "wait") > 12);
        assert_eq!(attempts(&metrics, "webhook.repo", "dead"), 0, "{status}: {metrics}");
        assert!(!metrics.contains("livos_webhook_worked_total"), "{status}: {metrics}");
        model.host().clear_faults();
        server.metrics_when(|metrics| metrics.contains("livos_webhook_worked_total{provider=\"github\"} 1"));
        server.stop();
    }
}

#[test]
fn a_delivery_that_the_model_refuses_is_dead_after_three_attempts() {
    let (_runtime, _model, url) = refusing_model(400);
    let server = with_model(&url);
    let metrics = server.metrics_when(|metrics| attempts(metrics, "webhook.repo", "dead") == 1);
    assert_eq!(attempts(&metrics, "webhook.repo", "retry"), 2, "{metrics}");
    server.stop();
}

#[test]
fn a_webhook_that_would_not_protect_keeps_the_server_from_starting() {
    let table = [
        (CONFIG.replace("SECRET", ""), "webhooks, repo: a secret of a webhook is blank"),
        (CONFIG.replace("secrets", "url = \"x\"\n# "), "webhooks, repo: a webhook needs a secret"),
        (CONFIG.replace("\"repo\"", "\"a/b\""), "webhooks: the name \"a/b\""),
        (format!("{CONFIG}{CONFIG}"), "webhooks: two have the name \"repo\""),
    ];
    for (config, expected) in table {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("livos.toml");
        std::fs::write(&file, config).unwrap();
        let output = bare().arg("--config").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
        assert!(!said.contains("an old secret"));
    }
}
