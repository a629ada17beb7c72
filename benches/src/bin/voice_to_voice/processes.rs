//! The server and the twins, each in a process of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::arguments::Args;

/// The bearer token of the server under test.
pub const TOKEN: &str = "a-token-for-this-bench-only";

/// A child process, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The simulated providers.
pub struct Twins {
    _process: Running,
    pub addresses: Value,
}

impl Twins {
    pub fn start(args: &Args, profile: &str) -> Self {
        let mut child = Command::new(args.program("livos-twins"))
            .args(["--deepgram", "127.0.0.1:0", "--cartesia", "127.0.0.1:0", "--anthropic", "127.0.0.1:0"])
            .args([
                "--profile",
                profile,
                "--seed",
                &args.seed.to_string(),
                "--hearing",
                "script",
                "--voice",
                "tones",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("livos-twins starts");
        let line = first_line(&mut child, |line| line.starts_with('{'));
        Self {
            _process: Running(child),
            addresses: serde_json::from_str(&line).expect("livos-twins prints its addresses"),
        }
    }

    /// How many requests the model's twin has taken.
    pub fn model_requests(&self) -> f64 {
        let address = self.addresses["anthropic"].as_str().unwrap_or_default().trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).expect("the twin accepts");
        stream
            .write_all(b"GET /twin/stats HTTP/1.1\r\nhost: twin\r\nconnection: close\r\n\r\n")
            .expect("the twin reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("the twin answers");
        let body = response.split_once("\r\n\r\n").expect("a head and a body").1;
        let figures: Value = serde_json::from_str(body).expect("JSON");
        figures["requests"].as_f64().expect("a number")
    }
}

/// The server under test.
pub struct Server {
    _process: Running,
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start(args: &Args, twins: &Value) -> Self {
        let address = |name: &str| twins[name].as_str().expect("an address for each twin").to_owned();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("livos.toml");
        let openers = r#"voice.openers = ["Hmm.", "Let me see.", "One moment."]"#;
        let openers = if args.openers { openers } else { "" };
        std::fs::write(&file, openers).expect("a file of its own");
        let mut child = Command::new(args.program("livos-vps"))
            .arg("--config")
            .arg(&file)
            .env("LIVOS_LISTEN", "127.0.0.1:0")
            .env("LIVOS_TOKEN", TOKEN)
            .env("LIVOS_STORE", ":memory:")
            .env("RUST_LOG", "error")
            .env("DEEPGRAM_URL", address("deepgram"))
            .env("CARTESIA_URL", address("cartesia"))
            .env("ANTHROPIC_BASE_URL", address("anthropic"))
            .env("DEEPGRAM_API_KEY", "twin")
            .env("CARTESIA_API_KEY", "twin")
            .env("ANTHROPIC_API_KEY", "twin")
            .stdout(Stdio::piped())
            .spawn()
            .expect("livos-vps starts");
        let line = first_line(&mut child, |line| line.contains("http://"));
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
        Self { _process: Running(child), address: host, _folder: folder }
    }
}

/// The first line that `wanted` accepts; the rest is drained so that the child never blocks on a
/// full pipe.
fn first_line(child: &mut Child, wanted: impl Fn(&str) -> bool) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line =
        lines.by_ref().map_while(Result::ok).find(|line| wanted(line)).expect("a line with the addresses");
    std::thread::spawn(move || lines.for_each(drop));
    line
}
