//! The one driver: it connects a [`Machine`] to the clock, and its caller connects it to the world.
//!
//! A caller loops over `select!` with [`Drive::next`] in one arm and its sockets and channels in
//! the others. It has no `if` about the domain: what to do comes out of the machine, and what
//! happened goes in.
//!
//! ```
//! # use livos_core::{drive::Drive, machine::Machine, keep_alive::*};
//! # async fn example(mut commands: tokio::sync::mpsc::Receiver<()>) {
//! let mut keep_alive = Drive::new(KeepAlive::new(KeepAliveConfig::default()));
//! loop {
//!     tokio::select! {
//!         output = keep_alive.next() => match output {
//!             KeepAliveOutput::SendPing => { /* write a ping to the socket */ }
//!             KeepAliveOutput::PeerDead => break,
//!         },
//!         Some(()) = commands.recv() => keep_alive.input(KeepAliveInput::Sent),
//!         else => break,
//!     }
//! }
//! # }
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    machine::Machine,
    time::{Clock, Timestamp},
};

/// A machine on the runtime's clock. Follows tokio's paused time in tests.
#[derive(Debug)]
pub struct Drive<M> {
    machine: M,
}

impl<M: Machine<Time = Instant>> Drive<M> {
    /// Drives `machine`.
    pub fn new(machine: M) -> Self {
        Self { machine }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Tells the machine that something happened now.
    pub fn input(&mut self, input: M::Input) {
        self.machine.handle_input(now(), input);
    }

    /// An output that is already waiting, without waiting for a deadline.
    pub fn poll_output(&mut self) -> Option<M::Output> {
        self.machine.poll_output()
    }

    /// The next output: drains what is waiting, else sleeps to the machine's deadline and asks
    /// again. Waits forever while there is neither output nor deadline. Cancel safe: nothing is
    /// lost when the future is dropped.
    pub async fn next(&mut self) -> M::Output {
        loop {
            if let Some(output) = self.machine.poll_output() {
                return output;
            }
            match self.machine.poll_timeout() {
                Some(deadline) => {
                    tokio::time::sleep_until(deadline.into()).await;
                    self.machine.handle_timeout(now());
                }
                None => std::future::pending().await,
            }
        }
    }
}

/// The longest sleep of a [`WallDrive`]. A minute: the wall clock may be set, and a deadline that
/// came nearer is then met within that time.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A machine on the wall clock, for what is persisted or promised by a provider. Sleeps by the
/// runtime's clock, and asks the wall clock what time it is whenever it wakes.
pub struct WallDrive<M> {
    machine: M,
    clock: Arc<dyn Clock>,
}

impl<M: Machine<Time = Timestamp>> WallDrive<M> {
    /// Drives `machine` by this clock.
    pub fn new(machine: M, clock: Arc<dyn Clock>) -> Self {
        Self { machine, clock }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Tells the machine that something happened now.
    pub fn input(&mut self, input: M::Input) {
        self.machine.handle_input(self.clock.now(), input);
    }

    /// An output that is already waiting, without waiting for a deadline.
    pub fn poll_output(&mut self) -> Option<M::Output> {
        self.machine.poll_output()
    }

    /// The next output, as [`Drive::next`]. Cancel safe.
    pub async fn next(&mut self) -> M::Output {
        loop {
            if let Some(output) = self.machine.poll_output() {
                return output;
            }
            let Some(deadline) = self.machine.poll_timeout() else { std::future::pending().await };
            let left = deadline.since(self.clock.now());
            if !left.is_zero() {
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            }
            self.machine.handle_timeout(self.clock.now());
        }
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for WallDrive<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WallDrive").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// The runtime's clock as a standard instant.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Answers each input after a second.
    #[derive(Default)]
    struct Echo {
        due: Option<(Instant, u32)>,
        out: Option<u32>,
    }

    impl Machine for Echo {
        type Input = u32;
        type Output = u32;
        type Time = Instant;

        fn handle_input(&mut self, now: Instant, input: u32) {
            self.due = Some((now + Duration::from_secs(1), input));
        }

        fn handle_timeout(&mut self, now: Instant) {
            if let Some((_, input)) = self.due.take_if(|(due, _)| *due <= now) {
                self.out = Some(input);
            }
        }

        fn poll_output(&mut self) -> Option<u32> {
            self.out.take()
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.due.map(|(due, _)| due)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_comes_at_its_deadline_even_when_the_wait_was_dropped_before() {
        let mut echo = Drive::new(Echo::default());
        let start = now();
        echo.input(7);
        assert!(tokio::time::timeout(Duration::from_millis(300), echo.next()).await.is_err());
        assert_eq!(echo.next().await, 7);
        assert_eq!(now() - start, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_output_or_deadline_it_waits_for_ever() {
        let mut echo = Drive::new(Echo::default());
        assert!(tokio::time::timeout(Duration::from_secs(3600), echo.next()).await.is_err());
    }
}
