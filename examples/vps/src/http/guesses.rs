//! The limit on guesses of a token.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Wrong tokens of one client in one window. 20: a person mistypes a few times, a program that
/// guesses makes thousands.
const ALLOWED: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Clients that are remembered. Beyond that, the oldest window is forgotten.
const MAX_CLIENTS: usize = 4096;

/// Counts wrong tokens by client.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<BTreeMap<IpAddr, (Instant, u32)>>);

impl Guesses {
    /// How long this client must wait before another token of it is looked at.
    pub fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, wrong) = clients.get(&client)?;
        let left = WINDOW.saturating_sub(now.saturating_duration_since(*since));
        (*wrong >= ALLOWED && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong token, and logs the first of a window and the last that is looked at.
    pub fn wrong(&self, client: IpAddr, now: Instant) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            let oldest = clients.iter().min_by_key(|(_, (since, _))| *since).map(|(client, _)| *client);
            oldest.map(|oldest| clients.remove(&oldest));
        }
        let window = clients.entry(client).or_insert((now, 0));
        if now.saturating_duration_since(window.0) >= WINDOW {
            *window = (now, 0);
        }
        window.1 += 1;
        match window.1 {
            1 => tracing::warn!(%client, "a wrong token or login link"),
            ALLOWED => tracing::warn!(%client, "too many wrong tokens: no more are looked at for a minute"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_guesses_waits_for_the_next_window_and_no_other_does() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let [guesser, other] = [1, 2].map(|n| IpAddr::from([192, 0, 2, n]));
        for _ in 0..ALLOWED {
            assert_eq!(guesses.wait(guesser, start), None);
            guesses.wrong(guesser, start);
        }
        assert_eq!(guesses.wait(guesser, start), Some(WINDOW));
        assert_eq!(guesses.wait(other, start), None);
        assert_eq!(guesses.wait(guesser, start + WINDOW), None);
        guesses.wrong(guesser, start + WINDOW);
        assert_eq!(guesses.wait(guesser, start + WINDOW), None, "a new window");
    }
}
