//! What systemd is told: that the server is ready, what it does, that it lives, that it stops.
//!
//! A service of `Type=notify` counts as started when it says so, and one with `WatchdogSec=` is
//! killed and restarted when it stops saying that it lives. Without a service manager nothing is
//! sent and nothing fails.
//!
//! ```
//! use livos_core::supervise::notify::Notifier;
//!
//! // What the program finds in the variable NOTIFY_SOCKET.
//! let manager = Notifier::new(None)?;
//! manager.ready("listening on 127.0.0.1:8420");
//! manager.stopping("draining");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{ffi::OsStr, io, sync::Arc};

/// Speaks to the service manager. Cloning shares the socket.
///
/// What can't be sent is logged and forgotten: a server does not fail because somebody does not
/// listen.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<platform::Socket>>);

impl Notifier {
    /// Speaks to the datagram socket of this address: a path, or an abstract name that begins with
    /// `@` (Linux). None for nobody. Nothing is sent yet, so a socket that nobody reads is no
    /// error.
    pub fn new(address: Option<&OsStr>) -> Result<Self, NotifyError> {
        let Some(address) = address.filter(|address| !address.is_empty()) else { return Ok(Self(None)) };
        let socket = platform::Socket::open(address).map_err(|error| NotifyError {
            address: address.to_string_lossy().into_owned(),
            source: Arc::new(error),
        })?;
        Ok(Self(Some(Arc::new(socket))))
    }

    /// Whether there is anybody to speak to.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Ready to serve. The status is one line for people, as in `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send("READY=1", Some(status));
    }

    /// About to end: the drain has begun.
    pub fn stopping(&self, status: &str) {
        self.send("STOPPING=1", Some(status));
    }

    /// What goes on, for people.
    pub fn status(&self, status: &str) {
        self.send("", Some(status));
    }

    /// Alive. See [`watchdog::feed`](super::watchdog::feed), which says so for as long as it is
    /// true.
    pub fn alive(&self) {
        self.send("WATCHDOG=1", None);
    }

    fn send(&self, state: &str, status: Option<&str>) {
        let Some(socket) = &self.0 else { return };
        // A line ends an assignment: a status must not begin another.
        let status = status.map(|status| format!("STATUS={}", status.replace(['\n', '\r', '\0'], " ")));
        let lines: Vec<&str> =
            [Some(state), status.as_deref()].into_iter().flatten().filter(|line| !line.is_empty()).collect();
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
    }
}

/// The service manager's socket can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the service manager's socket {address:?} can't be used")]
pub struct NotifyError {
    address: String,
    #[source]
    source: Arc<io::Error>,
}

#[cfg(unix)]
mod platform {
    use std::{
        ffi::OsStr,
        io,
        os::unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    };

    #[derive(Debug)]
    pub struct Socket {
        socket: UnixDatagram,
        address: SocketAddr,
    }

    impl Socket {
        pub fn open(address: &OsStr) -> io::Result<Self> {
            let address = match address.as_bytes() {
                [b'/', ..] => SocketAddr::from_pathname(address)?,
                [b'@', name @ ..] => from_abstract_name(name)?,
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "neither a path nor an abstract name",
                    ));
                }
            };
            let socket = UnixDatagram::unbound()?;
            // A manager that does not read must not hold up the server.
            socket.set_nonblocking(true)?;
            Ok(Self { socket, address })
        }

        pub fn send(&self, message: &[u8]) -> io::Result<()> {
            self.socket.send_to_addr(message, &self.address).map(|_| ())
        }
    }

    #[cfg(target_os = "linux")]
    fn from_abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
        <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
    }

    #[cfg(not(target_os = "linux"))]
    fn from_abstract_name(_: &[u8]) -> io::Result<SocketAddr> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "abstract names are of Linux"))
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{ffi::OsStr, io};

    #[derive(Debug)]
    pub enum Socket {}

    impl Socket {
        pub fn open(_: &OsStr) -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "there are no Unix sockets here"))
        }

        pub fn send(&self, _: &[u8]) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
pub(super) mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    pub fn received(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 4096];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// A service manager at a path of the file system.
    pub fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str())).unwrap();
        (folder, socket, notifier)
    }

    #[test]
    fn a_manager_hears_each_state_as_one_datagram() {
        let (_folder, socket, notifier) = manager();
        assert!(notifier.is_heard());
        notifier.ready("listening on [::1]:1\nWATCHDOG=trigger");
        notifier.alive();
        notifier.status("2 sessions");
        notifier.stopping("draining");
        let all: Vec<_> = std::iter::from_fn(|| received(&socket)).collect();
        let ready = "READY=1\nSTATUS=listening on [::1]:1 WATCHDOG=trigger";
        assert_eq!(all, [ready, "WATCHDOG=1", "STATUS=2 sessions", "STOPPING=1\nSTATUS=draining"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_heard_too() {
        use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        let name = format!("livos-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}")))).unwrap().ready("up");
        assert_eq!(received(&socket).as_deref(), Some("READY=1\nSTATUS=up"));
    }

    #[test]
    fn nobody_and_somebody_who_is_gone_do_no_harm_and_nonsense_is_told() {
        for nobody in [None, Some(OsStr::new(""))] {
            let notifier = Notifier::new(nobody).unwrap();
            notifier.ready("x");
            assert!(!notifier.is_heard());
        }
        let (folder, socket, notifier) = manager();
        drop((folder, socket));
        notifier.ready("to nobody");
        let error = Notifier::new(Some(OsStr::new("vsock:2:1234"))).unwrap_err();
        assert!(error.to_string().contains("vsock:2:1234"), "{error}");
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (_folder, _socket, notifier) = manager();
        (0..10_000).for_each(|_| notifier.alive());
    }
}
