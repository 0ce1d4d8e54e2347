//! Crashes between the steps of a flush, and rows that are ahead of the place that is stored.

use super::*;

const SUBJECTS: u64 = 9000;

fn tally_all(memory: &Memory, namespace: &Namespace) -> Vec<Vec<u8>> {
    let tally = |subject: u64| {
        let mut call = memory.begin(namespace, Some(&format!("user {subject}")), NOW);
        call.tally(Scope::Subject, b"sign-ins", 600).unwrap();
        let changes = call.finish().unwrap();
        commit(memory, &changes);
        changes.encode()
    };
    (0..SUBJECTS).map(tally).collect()
}

fn counts(memory: &Memory, namespace: &Namespace) -> Vec<u32> {
    let count = |subject: u64| {
        let mut call = memory.begin(namespace, Some(&format!("user {subject}")), NOW);
        call.count(Scope::Subject, b"sign-ins", 600).unwrap()
    };
    (0..SUBJECTS).map(count).collect()
}

/// Applies the rest of the log to what was stored.
fn reopen(view: &FailingView, log: &[Vec<u8>]) -> (Memory, Namespace) {
    let (memory, opened) = view.open();
    for (position, frame) in log.iter().enumerate().skip(opened.applied as usize) {
        memory.apply(position as u64, &memory.read_changes(frame).unwrap()).unwrap();
    }
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    (memory, namespace)
}

#[test]
fn a_crash_after_any_batch_of_a_flush_loses_and_doubles_nothing() {
    for commits in 0..=3 {
        let view = FailingView::default();
        let memory = view.open().0;
        let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
        let log = tally_all(&memory, &namespace);
        view.fail_after(Some(commits));
        assert_eq!(memory.flush(NOW).is_err(), commits < 3);
        view.fail_after(None);
        let (again, space) = reopen(&view, &log);
        assert_eq!(counts(&again, &space), vec![1; SUBJECTS as usize], "{commits}");
        // The next flush of the first one writes all that this one did not.
        if commits < 3 {
            memory.flush(NOW).unwrap();
            let (last, opened) = view.open();
            assert_eq!((opened.applied, opened.cells), (SUBJECTS, SUBJECTS));
            let space = last.namespace(&name("risk"), Quota::default()).unwrap();
            assert_eq!(counts(&last, &space), vec![1; SUBJECTS as usize]);
        }
    }
}

#[test]
fn calls_go_on_during_a_flush_and_are_not_applied_twice() {
    let view = FailingView::default();
    let memory = view.open().0;
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    let log = Arc::new(Mutex::new(tally_all(&memory, &namespace)));
    let hook = {
        let (memory, namespace, log) = (memory.clone(), namespace.clone(), Arc::clone(&log));
        // Between the first batch and the second: one more for each, and one subject is erased.
        move || {
            let more = tally_all(&memory, &namespace);
            let mut log = log.lock().unwrap();
            log.extend(more);
            let erase = memory.erase_subject("north", "user 5");
            commit(&memory, &erase);
            log.push(erase.encode());
            let mut call = memory.begin(&namespace, Some("user 5"), NOW);
            call.tally(Scope::Subject, b"sign-ins", 600).unwrap();
            let changes = call.finish().unwrap();
            commit(&memory, &changes);
            log.push(changes.encode());
        }
    };
    view.faults.lock().unwrap().hook = Some(Box::new(hook));
    assert_eq!(memory.flush(NOW).unwrap().applied, SUBJECTS);
    let mut expected = vec![2; SUBJECTS as usize];
    expected[5] = 1;
    assert_eq!(counts(&memory, &namespace), expected);
    let log = log.lock().unwrap();
    let (again, space) = reopen(&view, &log);
    assert_eq!(counts(&again, &space), expected);
    memory.flush(NOW).unwrap();
    let (again, space) = reopen(&view, &log);
    assert_eq!(counts(&again, &space), expected);
}

#[test]
fn two_writers_of_one_view_are_told() {
    let view = FailingView::default();
    let (one, other) = (view.open().0, view.open().0);
    for memory in [&one, &other] {
        let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
        call(memory, &namespace, "a", NOW, |call| call.tally(Scope::Subject, b"k", 9).unwrap());
    }
    one.flush(NOW).unwrap();
    let error = other.flush(NOW).unwrap_err();
    assert!(error.to_string().contains("another process writes it"), "{error}");
}
