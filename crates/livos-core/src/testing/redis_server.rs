//! A real Redis server of a test's own, on a free port, with a folder that is gone with it.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // It belongs to tests.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::secret::Secret;

/// A running `redis-server`, killed when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: std::path::PathBuf,
    options: Vec<String>,
}

/// How long a server may take to answer. It takes some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

impl RedisServer {
    /// Starts one in this folder with these further options, as on its command line. Without
    /// options it keeps nothing on the disk.
    ///
    /// # Panics
    ///
    /// Where there is no `redis-server`, or it does not come up.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { child: None, port: 0, folder: folder.to_owned(), options };
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        server.port = free.expect("a free port").port();
        server.restart();
        server
    }

    /// The options of a server that has written to the disk what it answers.
    pub const DURABLE: [&'static str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

    /// Its address.
    pub fn url(&self) -> Secret {
        Secret::new(format!("redis://127.0.0.1:{}", self.port))
    }

    /// Starts it again on the same port and in the same folder, after [`RedisServer::kill`].
    pub fn restart(&mut self) {
        self.launch();
        self.wait();
    }

    /// Waits until it answers, after [`RedisServer::launch`].
    pub fn wait(&self) {
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < PATIENCE, "redis-server did not come up in {PATIENCE:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same without waiting for it.
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// The same with further options for this once.
    pub fn launch_with(&mut self, options: &[&str]) {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(&self.folder)
            .args(&self.options)
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server is needed: apt-get install redis-server"));
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in mid-air: its sockets stay open, and nothing is answered.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("a running server");
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Whether it answers a ping; a server that is still loading its file does not count.
    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<[u8; 5]> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        // One that wants a password is there.
        ask().is_ok_and(|answer| matches!(&answer, b"+PONG" | b"-NOAU"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // One that stands still would not die of anything else.
        self.kill();
    }
}
