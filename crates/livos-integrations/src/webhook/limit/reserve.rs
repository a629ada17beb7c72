//! Places for bodies of sources that are over their limit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// A bounded number of bodies that are read at one time. A newcomer to a full reserve takes the
/// place of the body that has been coming in for the longest time: bodies that never end cannot
/// keep out one that is there at once.
#[derive(Debug)]
pub(super) struct Reserve {
    most: usize,
    places: Mutex<VecDeque<oneshot::Sender<()>>>,
}

impl Reserve {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), places: Mutex::default() }
    }

    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let (hold, lost) = oneshot::channel();
        let mut places = self.places();
        if places.len() >= self.most {
            places.pop_front();
        }
        places.push_back(hold);
        Place { reserve: Arc::clone(self), lost }
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the reserve, given up when dropped.
pub(in super::super) struct Place {
    reserve: Arc<Reserve>,
    lost: oneshot::Receiver<()>,
}

impl Place {
    /// Ends when a newcomer takes the place.
    pub(in super::super) async fn lost(&mut self) {
        // Nothing is ever sent: the channel ends when the reserve drops its half.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lost.close();
        self.reserve.places().retain(|hold| !hold.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_takes_the_oldest_place_of_a_full_reserve() {
        let reserve = Arc::new(Reserve::new(2));
        let (mut first, second) = (reserve.enter(), reserve.enter());
        drop(second);
        let mut third = reserve.enter();
        assert_eq!(first.lost.try_recv(), Err(oneshot::error::TryRecvError::Empty), "a place was free");
        let _fourth = reserve.enter();
        first.lost().await;
        assert_eq!(third.lost.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop((first, third));
        assert_eq!(reserve.places().len(), 1);
    }
}
