//! Commands on their way to a provider: paid for before they are sent, and in order.

use std::{
    collections::VecDeque,
    future::Future,
    time::{Duration, Instant},
};

use livos_core::{
    budget::{Meter, NotAdmitted},
    drive,
};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    meter::{AudioMeter, admit_characters},
    stt::SttCommand,
    tts::TtsCommand,
};

/// How long a command waits for the budget to be topped up. A top-up takes milliseconds; after this
/// time the store of the budget is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pays for the commands of one provider.
pub(super) trait Payer<C> {
    /// Pays for a command that is sent at once.
    fn pay(&mut self, command: &C) -> Result<(), NotAdmitted>;
    /// See [`Meter::topped_up`].
    fn topped_up(&self) -> impl Future<Output = ()> + Send + 'static;
}

impl Payer<SttCommand> for AudioMeter {
    fn pay(&mut self, command: &SttCommand) -> Result<(), NotAdmitted> {
        match command {
            SttCommand::Audio(frame) => self.admit(frame.duration()),
            _ => Ok(()),
        }
    }

    fn topped_up(&self) -> impl Future<Output = ()> + Send + 'static {
        self.meter().topped_up()
    }
}

impl Payer<TtsCommand> for Meter {
    fn pay(&mut self, command: &TtsCommand) -> Result<(), NotAdmitted> {
        match command {
            TtsCommand::Speak { text, .. } => admit_characters(self, text),
            _ => Ok(()),
        }
    }

    fn topped_up(&self) -> impl Future<Output = ()> + Send + 'static {
        Self::topped_up(self)
    }
}

/// The commands for one provider: the channel to it, and what waits for room or for the budget.
pub(super) struct Outlet<C, P> {
    pub(super) commands: mpsc::Sender<C>,
    pub(super) waiting: VecDeque<C>,
    payer: Option<P>,
    /// Since when the first command waits for the budget.
    dry_since: Option<Instant>,
}

impl<C, P: Payer<C>> Outlet<C, P> {
    /// Nothing is paid for without a `payer`.
    pub(super) fn new(commands: mpsc::Sender<C>, payer: Option<P>) -> Self {
        Self { commands, waiting: VecDeque::new(), payer, dry_since: None }
    }

    /// Sends a command at once, or answers it if it has to wait. An error is a limit that is
    /// reached.
    pub(super) fn offer(&mut self, command: C) -> Result<Option<C>, NotAdmitted> {
        if !self.waiting.is_empty() {
            return Ok(Some(command));
        }
        match self.commands.try_reserve() {
            Err(TrySendError::Closed(())) => Ok(None),
            Err(TrySendError::Full(())) => Ok(Some(command)),
            Ok(permit) => match self.payer.as_mut().map_or(Ok(()), |payer| payer.pay(&command)) {
                Ok(()) => {
                    permit.send(command);
                    Ok(None)
                }
                Err(NotAdmitted::NotYet(_)) => Ok(Some(command)),
                Err(refused) => Err(refused),
            },
        }
    }

    /// Sends the first command that waits, once there is room for it and it is paid for; pending
    /// while none waits. Cancel safe. An error is a limit that is reached, or a budget that was not
    /// topped up in time; the command still waits.
    pub(super) async fn forward(&mut self) -> Result<(), NotAdmitted> {
        loop {
            if self.waiting.is_empty() {
                return std::future::pending().await;
            }
            // Made before paying, so that no top-up is missed.
            let topped_up = self.payer.as_ref().map(Payer::topped_up);
            let Ok(permit) = self.commands.reserve().await else {
                self.waiting.clear();
                continue;
            };
            let paid = self.waiting.front().zip(self.payer.as_mut()).map_or(Ok(()), |(c, p)| p.pay(c));
            let Err(refused) = paid else {
                self.dry_since = None;
                if let Some(command) = self.waiting.pop_front() {
                    permit.send(command);
                }
                return Ok(());
            };
            let (NotAdmitted::NotYet(_), Some(topped_up)) = (refused, topped_up) else { return Err(refused) };
            drop(permit);
            let until = *self.dry_since.get_or_insert_with(drive::now) + PATIENCE;
            if tokio::time::timeout_at(until.into(), topped_up).await.is_err() {
                self.dry_since = None;
                return Err(refused);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use livos_core::budget::{Exhausted, Period, Unit};
    use livos_core::time::Timestamp;
    use tokio::sync::Notify;

    use super::*;

    /// Has money for some commands, and learns of more by a bell.
    struct Purse {
        left: u32,
        end: Option<Exhausted>,
        bell: Arc<Notify>,
    }

    impl Payer<&'static str> for Purse {
        fn pay(&mut self, command: &&'static str) -> Result<(), NotAdmitted> {
            if *command == "free" {
                return Ok(());
            }
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| self.end.map_or(NotAdmitted::NotYet(Unit::AudioMs), NotAdmitted::Exhausted))?;
            Ok(())
        }

        fn topped_up(&self) -> impl Future<Output = ()> + Send + 'static {
            Arc::clone(&self.bell).notified_owned()
        }
    }

    fn outlet(left: u32) -> (Outlet<&'static str, Purse>, mpsc::Receiver<&'static str>, Arc<Notify>) {
        let ((commands, sent), bell) = (mpsc::channel(8), Arc::new(Notify::new()));
        let purse = Purse { left, end: None, bell: Arc::clone(&bell) };
        (Outlet::new(commands, Some(purse)), sent, bell)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_paid_for_yet_waits_and_holds_back_what_follows_it() {
        let (mut outlet, mut sent, bell) = outlet(1);
        assert_eq!(outlet.offer("one"), Ok(None));
        for command in ["two", "free"] {
            let waits = outlet.offer(command).unwrap();
            outlet.waiting.extend(waits);
        }
        assert_eq!((sent.try_recv(), sent.try_recv().is_err()), (Ok("one"), true));
        let topping_up = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            bell.notify_waiters();
        };
        let forwarding = async {
            // Cancelled by what else happens in a session, it begins again.
            assert!(tokio::time::timeout(Duration::from_secs(1), outlet.forward()).await.is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
            outlet.payer.as_mut().unwrap().left = 1;
            assert_eq!(outlet.forward().await, Ok(()));
            assert_eq!(outlet.forward().await, Ok(()));
        };
        tokio::join!(topping_up, forwarding);
        assert_eq!((sent.try_recv(), sent.try_recv()), (Ok("two"), Ok("free")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_is_not_topped_up_is_waited_for_within_a_bound() {
        let (mut outlet, _sent, bell) = outlet(0);
        outlet.waiting.push_back("one");
        let began = tokio::time::Instant::now();
        let ringing = async {
            loop {
                tokio::time::sleep(Duration::from_secs(3)).await;
                bell.notify_waiters();
            }
        };
        tokio::select! {
            () = ringing => {}
            forwarded = outlet.forward() => {
                assert_eq!(forwarded, Err(NotAdmitted::NotYet(Unit::AudioMs)));
            }
        }
        assert_eq!(began.elapsed(), PATIENCE, "a top-up that brings too little does not renew the wait");
    }

    #[tokio::test]
    async fn a_limit_is_an_error_at_once_wherever_it_is_met() {
        let (mut outlet, mut sent, _bell) = outlet(0);
        let end =
            Exhausted { unit: Unit::AudioMs, period: Period::Day, resets_at: Timestamp::from_unix_ms(0) };
        outlet.payer.as_mut().unwrap().end = Some(end);
        assert_eq!(outlet.offer("one"), Err(NotAdmitted::Exhausted(end)));
        assert_eq!(outlet.offer("free"), Ok(None));
        outlet.waiting.push_back("one");
        assert_eq!(outlet.forward().await, Err(NotAdmitted::Exhausted(end)));
        assert_eq!((sent.try_recv(), sent.try_recv().is_err()), (Ok("free"), true));
    }
}
