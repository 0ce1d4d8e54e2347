//! Tables and memory for native tests, one of each a thread.
//!
//! Invariant: what a plugin sees here is what the host would give it, apart from errors of
//! counting: counts are exact here, and a host may count a little too long. Time is the call's. For
//! tests only, so it panics where the host would fail the call.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::bindings::portcullis::policy::memory::Scope;
use crate::bindings::portcullis::policy::reference::{Row, SubjectMatch, SubjectRows, TableRows};
use crate::{Attribute, Call};

/// A table for tests.
#[derive(Clone, Default)]
pub struct TestTable {
    rows: Vec<(Key, Row)>,
    subjects: BTreeMap<String, Vec<usize>>,
    stale: bool,
}

impl TestTable {
    /// A table without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row below a key. A key such as `10.0.0.0/8` is a network: every address in it finds
    /// the row, unless a longer prefix has rows too.
    pub fn row(mut self, key: &str, columns: impl IntoIterator<Item = Attribute>) -> Self {
        self.rows.push((Key::of(key), Row { columns: columns.into_iter().collect() }));
        self
    }

    /// Makes the last row one of this subject's.
    pub fn of_subject(mut self, id: &str) -> Self {
        assert!(!self.rows.is_empty(), "there is no row yet");
        self.subjects.entry(id.to_owned()).or_default().push(self.rows.len() - 1);
        self
    }

    /// Makes it older than it may be.
    pub fn stale(mut self) -> Self {
        self.stale = true;
        self
    }
}

/// Gives this thread's plugins a table, in the place of an earlier one of that name.
pub fn set_table(name: &str, table: TestTable) {
    WORLD.with_borrow_mut(|world| world.tables.insert(name.to_owned(), table));
}

/// Takes away this thread's tables and memory.
pub fn reset() {
    WORLD.take();
}

/// Makes the following host functions part of this call: its subject and its time.
/// [`decide`](super::decide) and [`find`](super::find) do so.
pub fn enter(call: &Call) {
    WORLD.with_borrow_mut(|world| {
        world.now = call.received;
        world.subject = call.subject.as_ref().and_then(|subject| subject.id.clone());
    });
}

#[derive(Default)]
struct World {
    now: u64,
    subject: Option<String>,
    tables: BTreeMap<String, TestTable>,
    values: BTreeMap<Place, (u64, Vec<u8>)>,
    /// By place, and whether it counts different members.
    counters: BTreeMap<(Place, bool), Vec<(u64, String)>>,
}

/// The subject, where it is a subject's, and the key.
type Place = (Option<String>, String);

#[derive(Clone)]
enum Key {
    Text(String),
    Network(IpAddr, u8),
}

impl Key {
    fn of(text: &str) -> Self {
        let network = || {
            let (address, bits) = text.split_once('/')?;
            Some((address.parse().ok()?, bits.parse().ok()?))
        };
        network().map_or_else(|| Self::Text(text.to_owned()), |(at, bits)| Self::Network(at, bits))
    }

    /// How well it fits: `None` where it does not.
    fn fit(&self, key: &str) -> Option<u8> {
        match self {
            Self::Text(text) => (text == key).then_some(0),
            Self::Network(network, bits) => {
                let (network, width) = number(*network);
                let (address, same) = number(key.parse().ok()?);
                let shift = u32::from(width.checked_sub(*bits)?);
                let equal = network.checked_shr(shift) == address.checked_shr(shift);
                (width == same && equal).then_some(*bits)
            }
        }
    }
}

impl World {
    fn place(&self, scope: Scope, key: &str) -> Place {
        assert!((1..=256).contains(&key.len()), "a key has 1 to 256 bytes");
        let subject = match scope {
            Scope::Shared => None,
            Scope::Subject => {
                let subject = self.subject.clone();
                Some(subject.unwrap_or_else(|| panic!("the call has no subject to remember")))
            }
        };
        (subject, key.to_owned())
    }

    fn table(&self, name: &str) -> &TestTable {
        self.tables.get(name).unwrap_or_else(|| panic!("there is no table `{name}` in this test"))
    }

    fn count(
        &mut self,
        scope: Scope,
        key: &str,
        window_seconds: u32,
        distinct: bool,
        member: Option<&str>,
    ) -> u32 {
        let (now, place) = (self.now, self.place(scope, key));
        let added = self.counters.entry((place, distinct)).or_default();
        added.extend(member.map(|member| (now, member.to_owned())));
        let within = |at: u64| at <= now && now - at < u64::from(window_seconds) * 1_000;
        let counted = added.iter().filter(|(at, _)| within(*at));
        let counted = match distinct {
            true => counted.map(|(_, member)| member).collect::<BTreeSet<_>>().len(),
            false => counted.count(),
        };
        u32::try_from(counted).unwrap_or(u32::MAX)
    }
}

/// The host functions of `reference`.
pub(crate) mod reference {
    use super::{SubjectMatch, SubjectRows, TableRows, VERSION, WORLD};

    pub(crate) fn lookup(table: &str, key: &str) -> TableRows {
        WORLD.with_borrow(|world| {
            let table = world.table(table);
            let best = table.rows.iter().filter_map(|(known, _)| known.fit(key)).max();
            let fits = table
                .rows
                .iter()
                .filter(|(known, _)| known.fit(key).is_some_and(|fit| Some(fit) == best));
            let rows = fits.map(|(_, row)| row.clone()).collect();
            TableRows { rows, version: VERSION.to_owned(), stale: table.stale }
        })
    }

    pub(crate) fn lookup_subject(table: &str) -> SubjectRows {
        WORLD.with_borrow(|world| {
            let table = world.table(table);
            let known = world.subject.as_ref().and_then(|subject| table.subjects.get(subject));
            let known = known.map(Vec::as_slice).unwrap_or_default();
            let rows: Vec<_> =
                known.iter().filter_map(|row| Some(table.rows.get(*row)?.1.clone())).collect();
            let matched = if rows.is_empty() { SubjectMatch::None } else { SubjectMatch::One };
            SubjectRows { matched, rows, version: VERSION.to_owned(), stale: table.stale }
        })
    }
}

/// The host functions of `memory`.
pub(crate) mod memory {
    use super::{Scope, WORLD};

    pub(crate) fn recall(scope: Scope, key: &str) -> Option<Vec<u8>> {
        WORLD.with_borrow(|world| {
            let (until, value) = world.values.get(&world.place(scope, key))?;
            (world.now < *until).then(|| value.clone())
        })
    }

    pub(crate) fn remember(scope: Scope, key: &str, value: &[u8], ttl_seconds: u32) {
        assert!(value.len() <= 4_096, "a value has at most 4,096 bytes");
        WORLD.with_borrow_mut(|world| {
            let place = world.place(scope, key);
            let until = world.now.saturating_add(u64::from(ttl_seconds) * 1_000);
            world.values.insert(place, (until, value.to_vec()));
        });
    }

    pub(crate) fn forget(scope: Scope, key: &str) {
        WORLD.with_borrow_mut(|world| {
            let place = world.place(scope, key);
            world.values.remove(&place);
        });
    }

    pub(crate) fn count(scope: Scope, key: &str, window: u32) -> u32 {
        WORLD.with_borrow_mut(|world| world.count(scope, key, window, false, None))
    }

    pub(crate) fn tally(scope: Scope, key: &str, window: u32) -> u32 {
        WORLD.with_borrow_mut(|world| world.count(scope, key, window, false, Some("")))
    }

    pub(crate) fn count_distinct(scope: Scope, key: &str, window: u32) -> u32 {
        WORLD.with_borrow_mut(|world| world.count(scope, key, window, true, None))
    }

    pub(crate) fn tally_distinct(scope: Scope, key: &str, member: &str, window: u32) -> u32 {
        WORLD.with_borrow_mut(|world| world.count(scope, key, window, true, Some(member)))
    }
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The version of every table of a test.
const VERSION: &str = "test";

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory, reference, testing};

    #[test]
    fn tables_are_found_by_key_by_network_and_by_subject() {
        let ward = |name| [Attribute::text("ward", name)];
        let wards = TestTable::new().row("4711", ward("north")).of_subject("u1");
        set_table("roster", wards.row("4711", ward("south")));
        let found = reference::lookup("roster", "4711");
        let wards: Vec<_> = found.rows.iter().filter_map(|row| row.text("ward")).collect();
        assert_eq!(wards, ["north", "south"]);
        assert!(reference::lookup("roster", "4712").rows.is_empty());

        enter(&testing::call("okta.token").subject("u1").build());
        let known = reference::lookup_subject("roster");
        assert_eq!((known.matched, known.rows.len()), (SubjectMatch::One, 1));
        enter(&testing::call("okta.token").subject("u2").build());
        assert_eq!(reference::lookup_subject("roster").matched, SubjectMatch::None);

        let networks = TestTable::new().row("10.0.0.0/8", ward("all"));
        set_table("networks", networks.row("10.1.0.0/16", ward("one")).stale());
        let ward_at = |ip| {
            let found = reference::lookup("networks", ip);
            Some(found.rows.first()?.text("ward")?.into_owned())
        };
        assert_eq!(ward_at("10.1.2.3").as_deref(), Some("one"));
        assert_eq!(ward_at("10.2.2.3").as_deref(), Some("all"));
        assert_eq!(ward_at("11.2.2.3"), None);
        assert_eq!(ward_at("::1"), None);
        assert!(reference::lookup("networks", "10.1.2.3").stale);
        reset();
    }

    #[test]
    fn memory_is_a_subjects_own_or_shared_and_ends() {
        let at = |id: &str, millis| {
            enter(&testing::call("okta.token").subject(id).received(millis).build())
        };
        at("u1", 1_000);
        memory::remember(Scope::Subject, "last", b"x", 10);
        assert_eq!(memory::tally(Scope::Shared, "tries", 60), 1);
        assert_eq!(memory::tally_distinct(Scope::Shared, "who", "u1", 60), 1);
        at("u2", 2_000);
        assert_eq!(memory::recall(Scope::Subject, "last"), None);
        assert_eq!(memory::tally(Scope::Shared, "tries", 60), 2);
        assert_eq!(memory::tally_distinct(Scope::Shared, "who", "u1", 60), 1);
        assert_eq!(memory::tally_distinct(Scope::Shared, "who", "u2", 60), 2);
        assert_eq!(memory::count_distinct(Scope::Shared, "who", 60), 2);
        assert_eq!(memory::count_distinct(Scope::Subject, "who", 60), 0);
        at("u1", 10_999);
        assert_eq!(memory::recall(Scope::Subject, "last").as_deref(), Some(&b"x"[..]));
        at("u1", 11_000);
        assert_eq!(memory::recall(Scope::Subject, "last"), None);
        at("u1", 61_500);
        assert_eq!(memory::count(Scope::Shared, "tries", 60), 1, "the first is over");
        assert_eq!(memory::count(Scope::Shared, "tries", 61), 2, "in a longer window it is not");
        memory::remember(Scope::Shared, "tries", b"x", 10);
        memory::forget(Scope::Shared, "tries");
        assert_eq!(memory::recall(Scope::Shared, "tries"), None);
        assert_eq!(memory::count(Scope::Shared, "tries", 60), 1, "counters run out by themselves");
        reset();
    }
}
