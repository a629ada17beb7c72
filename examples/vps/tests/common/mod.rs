//! A server process, and clients as plain as they can be: none of them shares code with it.

#![allow(dead_code)] // Each file of tests uses a part of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use livos_twins::{
    Twin,
    anthropic::{self, Anthropic},
    fault::Refusal,
    serve,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::IntoClientRequest};

/// The bearer token of every server in these tests.
pub const TOKEN: &str = "a-token-for-tests-only";
/// Nothing here takes this long; what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program with an environment that no developer's keys leak into.
pub fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livos-vps"));
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("LIVOS_LISTEN", "127.0.0.1:0").env("LIVOS_TOKEN", TOKEN);
    // A test that starts more than one server names a file.
    command.env("LIVOS_STORE", ":memory:").current_dir(std::env::temp_dir());
    command
}

/// A running server.
pub struct Server {
    /// Host and port.
    pub address: String,
    /// Path and query of the login link.
    pub login: String,
    child: Mutex<Child>,
    log: Mutex<Option<JoinHandle<String>>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// With this configuration, and twins that answer at once.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// With more environment.
    pub fn start_with(config: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("livos.toml");
        let twins = "[twins]\nprofile = \"zero\"\nhearing = \"script\"\nvoice = \"tones\"\n";
        std::fs::write(&file, format!("{config}\n{twins}")).unwrap();
        let mut command = bare();
        command.env("LIVOS_STORE", folder.path().join("livos.redb"));
        command.arg("--config").arg(&file).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some((_, url)) = line.trim().split_once("http://") else {
            panic!("the server did not start: {line} {}", log.join().unwrap())
        };
        let (address, login) = url.split_once('/').unwrap();
        Self {
            address: address.to_owned(),
            login: format!("/{login}"),
            child: Mutex::new(child),
            log: Mutex::new(Some(log)),
            _folder: folder,
        }
    }

    /// A TCP connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "connection") {
            head.push_str("connection: close\r\n");
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        exchange(&mut self.connect(), &format!("{head}\r\n{body}")).expect("an answer")
    }

    /// Without a credential.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    /// With the bearer token.
    pub fn authorized(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        self.request(method, path, &[&[("authorization", bearer.as_str())], headers].concat(), body)
    }

    /// `/readyz`, once every provider was probed.
    pub fn ready(&self) -> Answer {
        let limit = Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/readyz");
            if !answer.body.contains("\"unknown\"") || limit < Instant::now() {
                return answer;
            }
            std::thread::yield_now();
        }
    }

    /// `/metrics`, once they fulfil `wanted`.
    pub fn metrics_when(&self, wanted: impl Fn(&str) -> bool) -> String {
        let limit = Instant::now() + PATIENCE;
        loop {
            let metrics = self.authorized("GET", "/metrics", &[], "").body;
            if wanted(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < limit, "{metrics}");
            std::thread::yield_now();
        }
    }

    /// A voice socket on which nothing was said.
    pub fn voice(&self) -> WebSocket<TcpStream> {
        let mut request = format!("ws://{}/v1/voice", self.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        tungstenite::client(request, self.connect()).unwrap().0
    }

    /// A voice session in which something was just said.
    pub fn ask_aloud(&self) -> WebSocket<TcpStream> {
        let mut socket = self.open_voice();
        socket.send(Message::text(json!({ "type": "press", "at_ms": 0 }).to_string())).unwrap();
        for frame in sine(1.2).chunks(640) {
            socket.send(Message::binary(frame.to_vec())).unwrap();
        }
        socket.send(Message::text(json!({ "type": "release", "at_ms": 0 }).to_string())).unwrap();
        socket
    }

    /// A voice session by push to talk.
    pub fn open_voice(&self) -> WebSocket<TcpStream> {
        let mut socket = self.voice();
        let hello = json!({ "type": "hello", "version": 1, "input_rate": 16000, "output_rate": 24000 });
        socket.send(Message::text(hello.to_string())).unwrap();
        until(&mut socket, |message| message["type"] == "ready").expect("a session");
        socket
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for its end; answers its status and its log.
    pub fn wait(&self) -> (ExitStatus, String) {
        let limit = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < limit, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let log = self.log.lock().unwrap().take().map(|log| log.join().unwrap());
        (status, log.unwrap_or_default())
    }

    /// Ends it in order.
    pub fn terminate(&self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it in order; answers its log.
    pub fn stop(&self) -> String {
        let (status, log) = self.terminate();
        assert!(status.success(), "{status} {log}");
        assert!(!log.contains("did not end in time"), "{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// An answer by HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, put together where it came in chunks.
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends a request and reads the answer; none when the server has closed.
pub fn exchange(stream: &mut TcpStream, request: &str) -> Option<Answer> {
    // A server that refuses a body need not read it to its end.
    let _ = stream.write_all(request.as_bytes());
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, body: String::new(), headers };
    if status == 101 {
        return Some(answer);
    }
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).unwrap();
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    } else {
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        body.resize(length, 0);
        reader.read_exact(&mut body).unwrap();
    }
    answer.body = String::from_utf8(body).unwrap();
    Some(answer)
}

/// The next text message; none once the socket is closed.
pub fn next_json(socket: &mut WebSocket<TcpStream>) -> Option<Value> {
    loop {
        match socket.read().ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// The next text message of this kind.
pub fn until(socket: &mut WebSocket<TcpStream>, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    std::iter::from_fn(|| next_json(socket)).find(wanted)
}

/// The code with which the server closes.
pub fn close_code(socket: &mut WebSocket<TcpStream>) -> Option<u16> {
    loop {
        if let Message::Close(frame) = socket.read().ok()? {
            return frame.map(|frame| u16::from(frame.code));
        }
    }
}

/// A tone of so many seconds at 16 kHz: the scripted twin hears that somebody spoke.
pub fn sine(seconds: f64) -> Vec<u8> {
    let sample = |n: u32| (f64::from(n) * 440.0 * std::f64::consts::TAU / 16_000.0).sin() * 8_000.0;
    (0..(seconds * 16_000.0) as u32).flat_map(|n| (sample(n) as i16).to_le_bytes()).collect()
}

/// A twin on a free port, its address as `http://host:port`, and the runtime that it lives in.
pub fn twin<T: Twin + Clone>(make: impl FnOnce() -> T) -> (Runtime, T, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (twin, address) = runtime.block_on(async {
        let twin = make();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve::listen(listener, twin.clone(), std::future::pending()));
        (twin, address)
    });
    (runtime, twin, format!("http://{address}"))
}

/// What a browser does with the link to the consent: goes to Google, and answers where it is sent
/// back to.
fn browse(location: &str) -> String {
    let (host, path) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = exchange(&mut TcpStream::connect(host).unwrap(), &request).unwrap();
    assert_eq!(answer.status, 302);
    let back = answer.header("location").unwrap();
    back.split_once("/oauth").map(|(_, path)| format!("/oauth{path}")).unwrap()
}

/// Begins a consent with these cookies: where Google sends the browser back to, and the cookie that
/// it has by then.
pub fn begin_consent(server: &Server, cookies: &[(&str, &str)]) -> (String, String) {
    let start = server.authorized("GET", "/oauth/google/start", cookies, "");
    assert_eq!(start.status, 303, "{}", start.body);
    let cookie = start.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (browse(start.header("location").unwrap()), cookie)
}

/// The owner consents.
pub fn consent(server: &Server) -> Answer {
    let (back, cookie) = begin_consent(server, &[]);
    server.request("GET", &back, &[("cookie", &cookie)], "")
}

/// Waits until a message after the first `before` of them has this text in it: an answer is shown
/// before it is whole.
pub fn once(before: usize, wanted: &str, written: impl Fn() -> Vec<String>) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let found = written();
        if found.iter().skip(before).any(|text| text.contains(wanted)) {
            return;
        }
        assert!(Instant::now() < limit, "{wanted:?} is awaited after {before} messages: {found:?}");
        std::thread::yield_now();
    }
}

/// Waits until this holds.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

/// The turns that are booked on a user today.
pub fn turns(server: &Server, user: &str) -> u64 {
    let shown = server.authorized("GET", &format!("/v1/usage?user={user}"), &[], "");
    shown.json()["today"]["used"]["turns"].as_u64().unwrap_or_default()
}

/// Probes an outage often.
pub const SOON: &str = "[queue]\noutage_first = \"10ms\"\noutage_longest = \"20ms\"\n";

/// A model that refuses every request with this status until its faults are cleared.
pub fn refusing_model(status: u16) -> (Runtime, Anthropic, String) {
    let (runtime, model, url) = twin(|| Anthropic::new(anthropic::Config::default()));
    model.refuse(u32::MAX, Refusal::status(status));
    (runtime, model, url)
}

/// How many attempts of jobs of kinds that begin so ended in this way.
pub fn attempts(metrics: &str, kind: &str, outcome: &str) -> u64 {
    let (kind, outcome) = (format!("kind=\"{kind}"), format!("outcome=\"{outcome}\""));
    let lines = metrics.lines().filter(|line| line.starts_with("livos_queue_attempts_total{"));
    let lines = lines.filter(|line| line.contains(&kind) && line.contains(&outcome));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
