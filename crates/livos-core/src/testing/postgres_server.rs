//! A real PostgreSQL server of a test's own, on a free port, with a folder that is gone with it.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // It belongs to tests.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::secret::Secret;

/// A running `postgres`, stopped when it is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    programs: PathBuf,
}

/// How long a server may take to answer. It takes some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// The user `nobody` of Debian: the server refuses to run as root.
const NOBODY: u32 = 65_534;

impl PostgresServer {
    /// Makes a database cluster in this folder, which it makes its own, and starts a server on it.
    ///
    /// # Panics
    ///
    /// Where PostgreSQL is not installed, or it does not come up.
    pub fn start(folder: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let mut server = Self { child: None, port, folder: folder.to_owned(), programs: programs() };
        if is_root() {
            chown(folder, Some(NOBODY), Some(NOBODY)).expect("a folder of its own");
        }
        let initdb =
            ["--username=livos", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", "data"];
        let made = server.program("initdb").args(initdb).output().expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.restart();
        server
    }

    /// Its address.
    pub fn address(&self) -> Secret {
        Secret::new(format!("postgres://livos@127.0.0.1:{}/postgres", self.port))
    }

    /// Starts it again on the same port and in the same folder, after [`PostgresServer::kill`].
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let options = ["-D", "data", "-p", &port, "-h", "127.0.0.1", "-k", ""];
        self.child = Some(self.program("postgres").args(options).spawn().expect("postgres"));
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < PATIENCE, "postgres did not come up in {PATIENCE:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a crash would: connections break, nothing is written any more, and the next start
    /// recovers.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Killed itself, it would leave its children behind; this signal is its own way of
            // dying at once.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// Runs SQL as an operator would, by `psql`; answers what it printed.
    pub fn sql(&self, statement: &str) -> String {
        let port = self.port.to_string();
        let options = ["-h", "127.0.0.1", "-p", &port, "-U", "livos", "-d", "postgres", "-Atc", statement];
        let said = self.program("psql").args(options).stdout(Stdio::piped()).output().expect("psql");
        assert!(said.status.success(), "psql: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    fn answers(&self) -> bool {
        let port = self.port.to_string();
        let asked =
            self.program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "livos"]).status();
        asked.is_ok_and(|status| status.success())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.folder).env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

/// Where Debian puts the programs of its newest PostgreSQL; they are not on the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.map(|version| version.path()).filter(|path| path.join("bin/initdb").exists());
    let newest = found.max_by_key(number).expect("postgresql is needed: apt-get install postgresql");
    newest.join("bin")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}
