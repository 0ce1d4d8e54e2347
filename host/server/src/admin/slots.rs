//! Places for the admin listener's connections, and which of them ends when there are too many.
//!
//! Invariant: a connection always gets a place at once, and at most [`MAX_ADMIN_CONNECTIONS`] have
//! one. The oldest that has not sent its request ends first, then the oldest that still reads a
//! page, and only then one that asks whether the host lives or is ready. So clients that send
//! nothing, or read slowly, cannot keep a supervisor or a load balancer from its answer.

use crate::config::MAX_ADMIN_CONNECTIONS;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// All places.
#[derive(Clone, Default)]
pub struct AdminSlots {
    slots: Rc<RefCell<SlotTable>>,
}

/// One connection's place; free again when dropped.
pub struct AdminSlot {
    number: u64,
    ended: Rc<Notify>,
    taken: Rc<RefCell<SlotTable>>,
}

/// The stages of a connection, in the order in which they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its request has not come.
    Head,
    /// It gets a page.
    Page,
    /// It asked for `/health` or `/ready`.
    Probe,
}

#[derive(Default)]
struct SlotTable {
    next: u64,
    by_age: BTreeMap<u64, (Phase, Rc<Notify>)>,
}

impl AdminSlots {
    /// A place for one more. Where there is none, another connection ends.
    pub fn acquire(&self) -> AdminSlot {
        let mut taken = self.slots.borrow_mut();
        if taken.by_age.len() >= MAX_ADMIN_CONNECTIONS {
            // Of equals the oldest: that is the first.
            let first = taken.by_age.iter().min_by_key(|(_, (phase, _))| *phase);
            if let Some(number) = first.map(|(number, _)| *number)
                && let Some((_, ended)) = taken.by_age.remove(&number)
            {
                ended.notify_one();
            }
        }
        let (number, ended) = (taken.next, Rc::new(Notify::new()));
        taken.next += 1;
        taken.by_age.insert(number, (Phase::Head, Rc::clone(&ended)));
        AdminSlot { number, ended, taken: Rc::clone(&self.slots) }
    }
}

impl AdminSlot {
    /// The connection's request has come.
    pub fn set(&self, phase: Phase) {
        if let Some((now, _)) = self.taken.borrow_mut().by_age.get_mut(&self.number) {
            *now = phase;
        }
    }

    /// Completes when the connection has to end.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for AdminSlot {
    fn drop(&mut self) {
        self.taken.borrow_mut().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn has_to_end(place: &AdminSlot) -> bool {
        timeout(Duration::ZERO, place.ended()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_sent_nothing_ends_first_and_who_asks_for_health_last() {
        let places = AdminSlots::default();
        let all: Vec<_> = (0..MAX_ADMIN_CONNECTIONS).map(|_| places.acquire()).collect();
        all[0].set(Phase::Probe);
        all[1].set(Phase::Page);
        for place in &all[4..] {
            place.set(Phase::Probe);
        }
        let mut later = Vec::new();
        for ends in [2, 3, 1, 0, 4] {
            let further = places.acquire();
            further.set(Phase::Probe);
            later.push(further);
            for (number, place) in all.iter().enumerate() {
                assert_eq!(has_to_end(place).await, number == ends, "{number} when {ends}");
            }
        }
        drop(all);
        assert_eq!(places.slots.borrow().by_age.len(), later.len());
        drop(later);
        assert!(places.slots.borrow().by_age.is_empty());
    }
}
