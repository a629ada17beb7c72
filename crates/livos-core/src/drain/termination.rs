//! The signals by which a service manager or an operator ends the process.

/// The signals that ask the process to end: SIGTERM and SIGINT on Unix, Ctrl-C elsewhere. From the
/// moment it is made they no longer kill the process by themselves, so make it before anybody
/// is told that the process is ready, and exit at once when a second one comes.
#[derive(Debug)]
pub struct Termination {
    #[cfg(unix)]
    signals: [(&'static str, tokio::signal::unix::Signal); 2],
}

#[cfg(unix)]
impl Termination {
    /// Listens from now on. Must be called inside a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (term, int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { signals: [("SIGTERM", term), ("SIGINT", int)] })
    }

    /// Waits for the next one and returns its name. Cancel safe.
    pub async fn next(&mut self) -> std::io::Result<&'static str> {
        let [(term_name, term), (int_name, int)] = &mut self.signals;
        Ok(tokio::select! {
            _ = term.recv() => *term_name,
            _ = int.recv() => *int_name,
        })
    }
}

#[cfg(not(unix))]
impl Termination {
    /// Listens once `next` is called.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one and returns its name.
    pub async fn next(&mut self) -> std::io::Result<&'static str> {
        tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
    }
}
