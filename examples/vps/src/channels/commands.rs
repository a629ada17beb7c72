//! Making a chat app's commands known.

use std::sync::Arc;

use livos_core::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    http::describe,
};

use super::app::{ChatApp, NotRegistered};

/// Registers an app's commands, until it is done, can't be done or is no longer wanted. People can
/// talk to the agent without them.
pub async fn register(app: Arc<dyn ChatApp>, drain: DrainSignal) {
    let mut backoff = Backoff::new(BackoffConfig::default(), rand::random());
    let registering = async {
        loop {
            match app.register().await {
                Ok(changed) => {
                    return tracing::debug!(channel = app.name(), changed, "commands are registered");
                }
                Err(NotRegistered { error, is_temporary: true, retry_after }) => {
                    tracing::debug!(
                        channel = app.name(),
                        error = describe(&*error),
                        "commands are not registered yet"
                    );
                    tokio::time::sleep(backoff.next_delay().max(retry_after.unwrap_or_default())).await;
                }
                Err(NotRegistered { error, .. }) => {
                    return tracing::warn!(
                        channel = app.name(),
                        error = describe(&*error),
                        "commands can't be registered"
                    );
                }
            }
        }
    };
    tokio::select! {
        () = registering => {}
        () = drain.draining() => {}
    }
}
