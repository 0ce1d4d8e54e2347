//! Limits, quotas, times to live, erasing, importing, encodings.

use proptest::prelude::*;

use super::*;

#[test]
fn arguments_beyond_a_limit_are_refused_and_change_nothing() {
    let (memory, namespace) = fresh();
    let mut call = memory.begin(&namespace, Some("a"), NOW);
    let scope = Scope::Subject;
    let long = vec![7; MAX_VALUE_BYTES + 1];
    assert_eq!(call.recall(scope, b""), Err(OperationError::Key(0)));
    assert_eq!(call.recall(scope, &long[..257]), Err(OperationError::Key(257)));
    assert_eq!(
        call.remember(scope, b"k", &long, 9),
        Err(OperationError::Value(MAX_VALUE_BYTES + 1))
    );
    for ttl in [0, MAX_TTL_SECONDS + 1] {
        assert_eq!(call.remember(scope, b"k", b"v", ttl), Err(OperationError::Ttl(ttl)));
    }
    for window in [0, MAX_WINDOW_SECONDS + 1] {
        let error = Err(OperationError::Window(window));
        assert_eq!(call.tally(scope, b"k", window), error);
        assert_eq!(call.count(scope, b"k", window), error);
        assert_eq!(call.tally_distinct(scope, b"k", b"m", window), error);
        assert_eq!(call.count_distinct(scope, b"k", window), error);
    }
    let member = call.tally_distinct(scope, b"k", &long[..MAX_MEMBER_BYTES + 1], 9);
    assert_eq!(member, Err(OperationError::Member(MAX_MEMBER_BYTES + 1)));
    assert!(call.reads().is_empty() && call.finish().unwrap().is_empty());
    let mut nobody = memory.begin(&namespace, None, NOW);
    assert_eq!(nobody.recall(scope, b"k"), Err(OperationError::NoSubject));
    assert_eq!(nobody.tally(Scope::Shared, b"k", 9), Ok(1));
}

#[test]
fn a_call_reads_and_writes_a_bounded_amount() {
    let (memory, namespace) = fresh();
    call(&memory, &namespace, "a", NOW, |call| {
        call.remember(Scope::Subject, b"k", &[1; MAX_VALUE_BYTES], 9).unwrap();
    });
    let mut call = memory.begin(&namespace, Some("a"), NOW);
    for _ in 0..15 {
        call.recall(Scope::Subject, b"k").unwrap();
    }
    assert_eq!(call.recall(Scope::Subject, b"k"), Err(OperationError::Reads));
    assert_eq!(call.reads().len(), 15);
    let Answer::Value(Some((value, 0))) = &call.reads()[0].answer else { panic!() };
    assert_eq!(value.len(), MAX_VALUE_BYTES);
    // A tally that could not be answered is not made.
    let mut tallied = 0;
    while call.tally(Scope::Subject, b"n", 9).is_ok() {
        tallied += 1;
    }
    assert_eq!(call.tally(Scope::Subject, b"n", 9), Err(OperationError::Reads));
    commit(&memory, &call.finish().unwrap());
    let mut call = memory.begin(&namespace, Some("a"), NOW);
    assert_eq!(call.count(Scope::Subject, b"n", 9), Ok(tallied));
    let full = (0..=20).find_map(|key| {
        let done = call.remember(Scope::Subject, &[key], &[1; MAX_VALUE_BYTES], 9);
        done.err().map(|error| (key, error))
    });
    assert_eq!(full, Some((14, OperationError::CellFull)));
    let mut call = memory.begin(&namespace, Some("b"), NOW);
    for key in 0..64_u8 {
        call.tally(Scope::Shared, &[key], 9).unwrap();
    }
    assert_eq!(call.tally(Scope::Shared, &[64], 9), Err(OperationError::Cells));
    assert!(call.finish().unwrap().encode().len() < 20_000);
    let mut call = memory.begin(&namespace, Some("b"), NOW);
    let error = (0..300_u16)
        .find_map(|key| call.remember(Scope::Subject, &key.to_be_bytes(), b"", 9).err());
    assert_eq!(error, Some(OperationError::CellFull));
    let mut call = memory.begin(&namespace, Some("c"), NOW);
    let error = (0..).find_map(|_| call.remember(Scope::Subject, b"k", &[1; 4000], 9).err());
    assert_eq!(error, Some(OperationError::Writes));
}

#[test]
fn a_quota_binds_each_scope_alone_and_exactly_where_calls_race() {
    let (memory, _) = fresh();
    let subject = ScopeQuota { bytes: 5_000, entries: 5 };
    let quota = Quota { subject, shared: ScopeQuota { bytes: 1_000_000, entries: 3 } };
    let namespace = memory.namespace(&name("small"), quota).unwrap();
    let mut one = memory.begin(&namespace, Some("a"), NOW);
    for key in 0..3_u8 {
        one.tally(Scope::Shared, &[key], 9).unwrap();
    }
    assert_eq!(one.tally(Scope::Shared, &[3], 9), Err(OperationError::Quota(Scope::Shared)));
    one.remember(Scope::Subject, b"k", &[1; 3000], 9).unwrap();
    let mut other = memory.begin(&namespace, Some("b"), NOW);
    other.remember(Scope::Subject, b"k", &[1; 3000], 9).unwrap();
    commit(&memory, &one.finish().unwrap());
    assert_eq!(memory.validate(&other.finish().unwrap()), Err(Conflict::Quota));
    let mut again = memory.begin(&namespace, Some("b"), NOW);
    let full = again.remember(Scope::Subject, b"k", &[1; 3000], 9);
    assert_eq!(full, Err(OperationError::Quota(Scope::Subject)));
    // A value may be replaced by one of the same size, and what is forgotten gives room.
    call(&memory, &namespace, "a", NOW, |call| {
        call.remember(Scope::Subject, b"k", &[2; 3000], 9).unwrap();
    });
    call(&memory, &namespace, "a", NOW, |call| call.forget(Scope::Subject, b"k").unwrap());
    assert_eq!(memory.usage(&namespace).subject, (0, 0), "nothing is left of an empty cell");
    call(&memory, &namespace, "b", NOW, |call| {
        call.remember(Scope::Subject, b"k", &[1; 3000], 9).unwrap();
    });
    let usage = memory.usage(&namespace);
    assert_eq!((usage.subject.1, usage.shared.1), (1, 3));
    assert!((3000..3400).contains(&usage.subject.0), "{usage:?}");
}

#[test]
fn usage_returns_to_nothing() {
    let (memory, namespace) = fresh();
    for subject in ["a", "b"] {
        call(&memory, &namespace, subject, NOW, |call| {
            call.remember(Scope::Subject, b"k", &[1; 500], 60).unwrap();
            call.tally(Scope::Subject, b"k", 60).unwrap();
            call.tally_distinct(Scope::Shared, b"k", b"m", 60).unwrap();
        });
    }
    commit(&memory, &memory.erase_subject("north", "b"));
    assert_eq!(memory.usage(&namespace).cells, 2);
    // Expired things go with the flushes that follow.
    let later = NOW + 62_000;
    let expired: u64 = (0..512).map(|_| memory.flush(later).unwrap().expired).sum();
    assert_eq!((expired, memory.usage(&namespace)), (2, Usage::default()));
}

#[test]
fn a_value_ends_with_its_time() {
    let (memory, namespace) = fresh();
    call(&memory, &namespace, "a", NOW, |call| {
        call.remember(Scope::Subject, b"k", b"v", 60).unwrap();
    });
    for (now, expected) in [(NOW + 59_999, Some(b"v".to_vec())), (NOW + 60_000, None)] {
        let mut call = memory.begin(&namespace, Some("a"), now);
        assert_eq!(call.recall(Scope::Subject, b"k"), Ok(expected));
        // That it has expired, or was swept meanwhile, is no conflict.
        (0..512).for_each(|_| assert_eq!(memory.flush(now).unwrap().applied, 1));
        memory.validate(&call.finish().unwrap()).unwrap();
    }
}

#[test]
fn namespaces_do_not_see_each_other_and_erasing_reaches_all_of_a_tenant() {
    let (memory, _) = fresh();
    let open = |tenant: &str, plugin: &str, space: &str| {
        let name = NamespaceName::new(tenant, plugin, space).unwrap();
        memory.namespace(&name, Quota::default()).unwrap()
    };
    let spaces = [
        open("north", "risk", "live"),
        open("north", "risk", "candidate"),
        open("north", "sod", "live"),
        open("south", "risk", "live"),
    ];
    for (number, space) in spaces.iter().enumerate() {
        call(&memory, space, "a", NOW, |call| {
            assert_eq!(call.recall(Scope::Subject, b"k"), Ok(None));
            assert_eq!(call.tally(Scope::Shared, b"k", 9), Ok(1));
            call.remember(Scope::Subject, b"k", &[number as u8], 9).unwrap();
        });
    }
    let mut running = memory.begin(&spaces[0], Some("a"), NOW);
    running.tally(Scope::Subject, b"n", 9).unwrap();
    let running = running.finish().unwrap();
    let mut timed_out = memory.begin(&spaces[0], Some("a"), NOW);
    timed_out.tally(Scope::Subject, b"n", 9).unwrap();
    timed_out.remember(Scope::Subject, b"k", b"x", 9).unwrap();
    timed_out.recall(Scope::Subject, b"other").unwrap();
    let timed_out = timed_out.tallies_only().unwrap();
    // Erasing is visible from its place on, before it is durable.
    let position = memory.applied();
    memory.stage(position, &memory.erase_subject("north", "a")).unwrap();
    let values = || {
        spaces
            .each_ref()
            .map(|space| memory.begin(space, Some("a"), NOW).recall(Scope::Subject, b"k").unwrap())
    };
    assert_eq!(values(), [None, None, None, Some(vec![3])]);
    // A call that would bring the old key back conflicts; tallies have a key of their own.
    assert_eq!(memory.validate(&running), Err(Conflict::KeyDestroyed));
    memory.abandon_from(position);
    assert_eq!(values()[0], Some(vec![0]));
    memory.validate(&running).unwrap();
    memory.apply(position, &memory.erase_subject("north", "a")).unwrap();
    assert_eq!(memory.validate(&running), Err(Conflict::KeyDestroyed));
    commit(&memory, &timed_out);
    let mut call = memory.begin(&spaces[0], Some("a"), NOW);
    assert_eq!(call.count(Scope::Subject, b"n", 9), Ok(1));
    assert_eq!(call.recall(Scope::Subject, b"k"), Ok(None));
    assert_eq!(call.count(Scope::Shared, b"k", 9), Ok(1), "the shared scope has no subject");
}

#[test]
fn a_place_that_was_given_up_is_not_mistaken_for_the_next_of_its_number() {
    let (memory, namespace) = fresh();
    let write = |value: u8| {
        let mut call = memory.begin(&namespace, Some("a"), NOW);
        call.remember(Scope::Subject, b"k", &[value], 9).unwrap();
        call.finish().unwrap()
    };
    memory.stage(5, &write(1)).unwrap();
    let mut call = memory.begin(&namespace, Some("a"), NOW);
    assert_eq!(call.recall(Scope::Subject, b"k"), Ok(Some(vec![1])));
    let reading = call.finish().unwrap();
    call.remember(Scope::Subject, b"other", &[1], 9).unwrap();
    let changes = call.finish().unwrap();
    memory.validate(&changes).unwrap();
    memory.abandon_from(5);
    memory.validate(&reading).unwrap();
    memory.stage(5, &write(2)).unwrap();
    assert_eq!(memory.validate(&changes), Err(Conflict::Abandoned));
    let order = memory.stage(5, &write(3)).unwrap_err();
    assert_eq!(order, StageError::OutOfOrder { position: 5, last: 5 });
    memory.confirm(5);
    assert_eq!((memory.applied(), memory.waiting()), (6, 0));
    assert!(memory.apply(5, &write(3)).is_err());
    memory.confirm_before(9);
    assert_eq!(memory.applied(), 9);
}

#[test]
fn two_bindings_of_one_plugin_in_one_record() {
    let (memory, namespace) = fresh();
    let changes = || {
        let mut call = memory.begin(&namespace, Some("a"), NOW);
        call.tally(Scope::Subject, b"n", 9).unwrap();
        call.finish().unwrap()
    };
    let mut both = changes();
    both.merge(changes()).unwrap();
    let frame = both.encode();
    commit(&memory, &both);
    assert_eq!(memory.begin(&namespace, Some("a"), NOW).count(Scope::Subject, b"n", 9), Ok(2));
    memory.apply(1, &memory.read_changes(&frame).unwrap()).unwrap();
    memory.stage(2, &both).unwrap();
    assert_eq!(memory.begin(&namespace, Some("a"), NOW).count(Scope::Subject, b"n", 9), Ok(6));
    let mut many = changes();
    let error = (0..10_000).find_map(|_| many.merge(changes()).err()).unwrap();
    assert!(matches!(error, ChangesError::TooLarge { bytes } if bytes > MAX_CHANGES_BYTES));
    assert!(SealedChanges::parse(&many.encode()).is_ok());
}

#[test]
fn many_items_are_imported_at_once_or_all_that_is_wrong_is_named() {
    let (memory, namespace) = fresh();
    let item = |owner: ImportOwner, key: &[u8], what| ImportItem { owner, key: key.to_vec(), what };
    let value = |value: &[u8], expires_at| ImportWhat::Value { value: value.to_vec(), expires_at };
    let mut items = Vec::new();
    for number in 0..1000_u32 {
        let subject = || ImportOwner::Subject(format!("user {number}"));
        items.push(item(subject(), b"device", value(&[7; 300], NOW + 60_000)));
        let (at, window, amount) = (NOW - 5000, 600, number + 1);
        items.push(item(subject(), b"n", ImportWhat::Events { at, window, amount }));
        let member = number.to_be_bytes().to_vec();
        items.push(item(ImportOwner::Shared, b"net", ImportWhat::Member { member, at, window }));
    }
    items.push(item(ImportOwner::Shared, b"old", value(b"v", NOW)));
    let pieces = memory.import(&namespace, &items, NOW).unwrap();
    assert!(pieces.len() > 10, "{}", pieces.len());
    for piece in &pieces {
        assert!(piece.encode().len() <= MAX_CHANGES_BYTES);
        commit(&memory, &memory.read_changes(&piece.encode()).unwrap());
    }
    let mut call = memory.begin(&namespace, Some("user 41"), NOW);
    assert_eq!(call.recall(Scope::Subject, b"device"), Ok(Some(vec![7; 300])));
    assert_eq!(call.count(Scope::Subject, b"n", 600), Ok(42));
    let members = f64::from(call.count_distinct(Scope::Shared, b"net", 600).unwrap());
    assert!((750.0..1250.0).contains(&members), "{members}");
    assert_eq!(memory.usage(&namespace).cells, 1001);
    let wrong = [
        item(ImportOwner::Shared, b"", value(b"v", NOW + 1)),
        item(ImportOwner::Shared, b"k", value(b"v", NOW + 1)),
        item(ImportOwner::Shared, b"k", value(&[0; MAX_VALUE_BYTES + 1], NOW + 1)),
        item(ImportOwner::Shared, b"k", value(b"v", u64::MAX)),
        item(ImportOwner::Shared, b"k", ImportWhat::Events { at: 1, window: 0, amount: 1 }),
    ];
    let error = memory.import(&namespace, &wrong, NOW).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("4 of the items cannot be imported: item 0: the key has 0 bytes")
    );
    let ImportError::Items(items) = error else { panic!() };
    assert_eq!(items.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2, 3, 4]);
}

#[test]
fn there_are_not_more_namespaces_than_the_limit() {
    let (memory, _) = fresh();
    let open = |number: usize| memory.namespace(&name(&format!("p{number}")), Quota::default());
    assert!((1..MAX_NAMESPACES).all(|number| open(number).is_ok()));
    assert!(open(MAX_NAMESPACES).is_err() && open(3).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_come_back_and_changed_ones_are_refused(
        keys in prop::collection::vec((any::<bool>(), 0_u8..5), 1..12),
        place: prop::sample::Index,
        bit in 0_u8..8,
    ) {
        let (memory, namespace) = fresh();
        let mut call = memory.begin(&namespace, Some("a"), NOW);
        for (shared, key) in keys {
            let scope = if shared { Scope::Shared } else { Scope::Subject };
            call.remember(scope, &[key], b"value", 9).unwrap();
            call.tally_distinct(scope, &[key], b"member", 9).unwrap();
        }
        let mut changes = call.finish().unwrap();
        changes.merge(memory.erase_subject("north", "b")).unwrap();
        let frame = changes.encode();
        prop_assert!(frame.len() <= changes.encoded_len());
        let again = memory.read_changes(&frame).unwrap();
        prop_assert_eq!(again.encode(), frame.clone());
        prop_assert_eq!(SealedChanges::parse(&frame).unwrap().encode(), frame.clone());
        let mut damaged = frame.clone();
        let at = place.index(frame.len());
        damaged[at] ^= 1 << bit;
        if let Ok(parsed) = SealedChanges::parse(&damaged) {
            prop_assert_eq!(parsed.encode(), damaged.clone());
            // Only the erasure at the end is not authenticated here; the log's frame is.
            let erasure = frame.len() - (16 + 1 + "north".len());
            prop_assert!(memory.read_changes(&damaged).is_err() || at >= erasure);
        }
        prop_assert!(SealedChanges::parse(&frame[..at]).is_err());
        let other = SymmetricKey::from_bytes([1; 32]);
        let (other, _) = Memory::with_backend(Box::new(RamView::default()), &other).unwrap();
        prop_assert!(other.read_changes(&frame).is_err());
    }

    #[test]
    fn any_bytes_are_parsed_without_harm(mut bytes: Vec<u8>) {
        let _ = SealedChanges::parse(&bytes);
        bytes.insert(0, 1);
        if let Ok(parsed) = SealedChanges::parse(&bytes) {
            prop_assert_eq!(parsed.encode(), bytes);
        }
    }
}

#[test]
fn what_a_call_writes_is_told_in_order_with_its_answers_and_never_printed() {
    let (memory, namespace) = fresh();
    let mut call = memory.begin(&namespace, Some("a"), NOW);
    call.recall(Scope::Subject, b"device").unwrap();
    call.remember(Scope::Subject, b"device", b"cart 7", 60).unwrap();
    assert!(call.remember(Scope::Subject, b"device", b"cart 7", 0).is_err());
    assert_eq!(call.tally(Scope::Subject, b"sign-ins", 600), Ok(1));
    assert_eq!(call.tally_distinct(Scope::Shared, b"192.0.2.1", b"noor", 60), Ok(1));
    call.forget(Scope::Subject, b"device").unwrap();
    let write = |scope, key: &[u8], change, reads_before| {
        let key = key.to_vec();
        Write { scope, key, change, reads_before }
    };
    let distinct = WriteChange::TallyDistinct { member: b"noor".to_vec(), window: 60 };
    let remembered = WriteChange::Remember { value: b"cart 7".to_vec(), ttl: 60 };
    let expected = [
        write(Scope::Subject, b"device", remembered, 1),
        write(Scope::Subject, b"sign-ins", WriteChange::Tally { window: 600 }, 1),
        write(Scope::Shared, b"192.0.2.1", distinct, 2),
        write(Scope::Subject, b"device", WriteChange::Forget, 3),
    ];
    // Not `assert_eq!`: its failure would print nothing of use.
    assert!(call.writes() == expected, "{} writes", call.writes().len());
    let tallies: Vec<_> = call.writes().iter().map(|write| write.change.is_tally()).collect();
    assert_eq!(tallies, [false, true, true, false]);
    assert_eq!(format!("{:?}", call.writes()).matches("a write [redacted]").count(), 4);
    let read = call.reads().get(call.writes()[1].reads_before).map(|read| read.key.clone());
    assert_eq!(read.as_deref(), Some(&b"sign-ins"[..]), "the answer of the tally");
}
