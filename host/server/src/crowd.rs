//! Everybody who is connected: how many there may be, and who gives way when there are too many.
//!
//! Invariant: whoever has not proven itself on its connection gives way to whoever comes, the oldest first; whoever has, keeps its place. So
//! strangers who connect and say nothing, or say it slowly, cannot keep a platform out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::tls::Peer;

/// All connections.
pub struct Crowd {
    room: Arc<Semaphore>,
    /// Those that may have to give way, in the order in which they came.
    strangers: Mutex<VecDeque<Weak<Guest>>>,
    most: usize,
}

/// One connection; gives its place back when dropped.
pub struct Guest {
    proven: AtomicBool,
    asked_to_go: Notify,
    peer: OnceLock<Peer>,
    _place: OwnedSemaphorePermit,
}

impl Crowd {
    /// Room for this many.
    pub fn new(most: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(most)), strangers: Mutex::default(), most }
    }

    /// A place for one more: at once where there is one, else as soon as somebody has given way or left.
    pub async fn enter(&self) -> Option<Arc<Guest>> {
        let place = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.make_room();
                Arc::clone(&self.room).acquire_owned().await.ok()?
            }
        };
        let guest = Arc::new(Guest {
            proven: AtomicBool::new(false),
            asked_to_go: Notify::new(),
            peer: OnceLock::new(),
            _place: place,
        });
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that left are forgotten in good time.
        if strangers.len() >= self.most.saturating_mul(2) {
            strangers.retain(|guest| guest.upgrade().is_some_and(|guest| !guest.is_proven()));
        }
        strangers.push_back(Arc::downgrade(&guest));
        Some(guest)
    }

    /// Asks the one to go that has been here longest without proving itself.
    fn make_room(&self) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(guest) = strangers.pop_front() {
            if let Some(guest) = guest.upgrade().filter(|guest| !guest.is_proven()) {
                tracing::debug!("connections are full: the oldest stranger gives way");
                // Remembered, should it not listen yet.
                guest.asked_to_go.notify_one();
                return;
            }
        }
    }
}

impl Guest {
    /// A call on this connection was proven to be its caller's.
    pub fn prove(&self) {
        // Written once, so that a busy connection's calls only read.
        if !self.is_proven() {
            self.proven.store(true, Ordering::Release);
        }
    }

    /// Whether a call on this connection was proven to be its caller's.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Comes to an end when the connection must give way.
    pub async fn asked_to_go(&self) {
        self.asked_to_go.notified().await;
    }

    /// Says by which certificate the client is known.
    pub fn known_by(&self, peer: Peer) {
        // Said once, by the handshake.
        drop(self.peer.set(peer));
    }

    /// The client's certificate, where it showed one.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn goes(guest: &Guest) -> bool {
        timeout(Duration::from_millis(1), guest.asked_to_go()).await.is_ok()
    }

    #[tokio::test]
    async fn strangers_give_way_oldest_first_and_the_proven_stay() {
        let crowd = Crowd::new(3);
        let (proven, second, third) = (
            crowd.enter().await.unwrap(),
            crowd.enter().await.unwrap(),
            crowd.enter().await.unwrap(),
        );
        proven.prove();
        assert!(
            timeout(Duration::from_millis(5), crowd.enter()).await.is_err(),
            "nobody has left yet"
        );
        assert!(!goes(&proven).await && goes(&second).await && !goes(&third).await);
        drop(second);
        let fourth = crowd.enter().await.unwrap();
        third.prove();
        fourth.prove();
        assert!(
            timeout(Duration::from_millis(5), crowd.enter()).await.is_err(),
            "all have proven themselves"
        );
        drop(third);
        assert!(crowd.enter().await.is_some());
        for _ in 0..100 {
            drop(crowd.enter().await);
        }
        assert!(crowd.strangers.lock().unwrap().len() <= 7, "those that left are forgotten");
    }
}
