//! The shape of a decision: inputs and `now` go in, outputs and the next deadline come out.
//!
//! A machine owns no socket, clock, task, channel, lock or source of randomness, so every dialogue
//! with it is a plain test with a hand-made `now`. The one driver in [`crate::drive`] connects any
//! machine to the world.
//!
//! # The law
//!
//! 1. Mutate once (`handle_input` or `handle_timeout`), then drain: call `poll_output` until it
//!    answers `None`.
//! 2. A drain terminates: with no new input, `poll_output` answers `None` after finitely many
//!    calls.
//! 3. After `handle_timeout(now)` and a drain, `poll_timeout` is `None` or later than `now`.
//! 4. `handle_timeout` before the deadline changes nothing.

/// A pure state machine. See the module's law.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use livos_core::machine::Machine;
///
/// /// Asks for a save once nothing has changed for a second.
/// #[derive(Default)]
/// struct Debounce {
///     due: Option<Instant>,
///     save: bool,
/// }
///
/// impl Machine for Debounce {
///     type Input = ();
///     type Output = ();
///     type Time = Instant;
///
///     fn handle_input(&mut self, now: Instant, (): ()) {
///         self.due = Some(now + Duration::from_secs(1));
///     }
///
///     fn handle_timeout(&mut self, now: Instant) {
///         if self.due.is_some_and(|due| due <= now) {
///             *self = Self { due: None, save: true };
///         }
///     }
///
///     fn poll_output(&mut self) -> Option<()> {
///         std::mem::take(&mut self.save).then_some(())
///     }
///
///     fn poll_timeout(&self) -> Option<Instant> {
///         self.due
///     }
/// }
///
/// let mut machine = Debounce::default();
/// machine.handle_input(Instant::now(), ());
/// assert_eq!(machine.poll_output(), None);
/// let due = machine.poll_timeout().unwrap();
/// machine.handle_timeout(due);
/// assert_eq!((machine.poll_output(), machine.poll_timeout()), (Some(()), None));
/// ```
pub trait Machine {
    /// What may happen to it.
    type Input;
    /// What it asks of its driver.
    type Output;
    /// `Instant` for behaviour in memory, `Timestamp` for what is persisted or promised by a
    /// provider.
    type Time: Copy + Ord;

    /// Something happened.
    fn handle_input(&mut self, now: Self::Time, input: Self::Input);
    /// The deadline that `poll_timeout` named may have come.
    fn handle_timeout(&mut self, now: Self::Time);
    /// The next thing to do, in order.
    fn poll_output(&mut self) -> Option<Self::Output>;
    /// When `handle_timeout` wants to be called, if no input comes before.
    fn poll_timeout(&self) -> Option<Self::Time>;
}
