//! New login links for the operator, over a socket that only this user can open.
//!
//! The store is locked while the server runs, so `livos-vps token` asks the server itself.

use std::{path::Path, sync::Arc, time::Instant};

use tower::BoxError;

use super::auth::Auth;

/// Writes a new login link to everyone who connects to the socket at `path`, until it is dropped.
#[cfg(unix)]
pub fn offer_links(
    path: &Path,
    auth: Arc<Auth>,
    base: String,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    use std::os::unix::fs::PermissionsExt;
    use tokio::{io::AsyncWriteExt, net::UnixListener};

    // A socket of a process that was killed is in the way. The store's lock makes sure that no
    // other process is running.
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let line = match auth.issue_link(Instant::now()) {
                Ok(token) => format!("{base}/login?token={token}\n"),
                Err(error) => {
                    tracing::error!(%error, "no randomness for a login link");
                    continue;
                }
            };
            // The client may have gone.
            let _ = stream.write_all(line.as_bytes()).await;
        }
    })
}

/// Asks the running server for a new login link.
#[cfg(unix)]
pub async fn ask_for_link(path: &Path) -> Result<String, BoxError> {
    use tokio::{io::AsyncReadExt, net::UnixStream};

    let connected = UnixStream::connect(path).await;
    let mut stream =
        connected.map_err(|error| format!("no server answers at {}: {error}", path.display()))?;
    let mut link = String::new();
    stream.read_to_string(&mut link).await?;
    Ok(link)
}
