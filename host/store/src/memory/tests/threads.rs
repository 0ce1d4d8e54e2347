//! Many threads at once: no count and no update is lost.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

const THREADS: u64 = 8;
const CALLS: u64 = 400;

/// A transaction goes with its call from thread to thread.
const fn goes_between_threads<T: Send + Sync + 'static>() {}
const _: () = goes_between_threads::<Memory>();
const _: () = goes_between_threads::<Namespace>();
const _: () = goes_between_threads::<Transaction>();
const _: () = goes_between_threads::<Changes>();

#[test]
fn counters_are_exact_and_no_update_is_lost() {
    let view = FailingView::default();
    let memory = view.open().0;
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    // The log: a place for each record, and its frame.
    let log = Mutex::new(Vec::new());
    let (conflicts, start) = (AtomicU64::new(0), Barrier::new(THREADS as usize));
    let work = |thread: u64| {
        start.wait();
        for round in 0..CALLS {
            loop {
                let mut call = memory.begin(&namespace, Some("one"), NOW);
                let stored = call.recall(Scope::Subject, b"sum").unwrap();
                let sum = stored.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
                call.remember(Scope::Subject, b"sum", &(sum + 1).to_be_bytes(), DAY).unwrap();
                call.tally(Scope::Shared, b"192.0.2.1", 600).unwrap();
                let member = [thread as u8, (round % 50) as u8];
                call.tally_distinct(Scope::Shared, b"192.0.2.1", &member, 600).unwrap();
                let changes = call.finish().unwrap();
                let appended = memory.sequence(&changes, || {
                    let mut log = log.lock().unwrap();
                    log.push(changes.encode());
                    Ok::<_, ()>((log.len() as u64 - 1, log.len() as u64))
                });
                match appended {
                    Ok(end) => {
                        // Another thread may have confirmed more already.
                        memory.confirm_before(end);
                        break;
                    }
                    Err(SequenceError::Conflict(Conflict::Changed)) => {
                        conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            if round % 40 == thread {
                memory.flush(NOW).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || work(thread));
        }
    });
    let check = |memory: &Memory, namespace: &Namespace| {
        let mut call = memory.begin(namespace, Some("one"), NOW);
        let sum = call.recall(Scope::Subject, b"sum").unwrap().unwrap();
        assert_eq!(u64::from_be_bytes(sum.try_into().unwrap()), THREADS * CALLS);
        assert_eq!(
            u64::from(call.count(Scope::Shared, b"192.0.2.1", 600).unwrap()),
            THREADS * CALLS
        );
        assert_eq!(call.count_distinct(Scope::Shared, b"192.0.2.1", 600).unwrap(), 8 * 50);
    };
    check(&memory, &namespace);
    assert_eq!(memory.waiting(), 0);
    // And the same from what was stored, with the rest of the log.
    let (again, opened) = view.open();
    for (position, frame) in log.lock().unwrap().iter().enumerate().skip(opened.applied as usize) {
        again.apply(position as u64, &again.read_changes(frame).unwrap()).unwrap();
    }
    check(&again, &again.namespace(&name("risk"), Quota::default()).unwrap());
}
