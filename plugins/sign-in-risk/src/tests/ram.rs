//! The host's memory and tables in RAM, with the bounds of the contract.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

use portcullis_guest::Attribute;

use crate::world::{Found, Scope, World};

/// The owner (`None`: shared) and the key.
type Key = (Option<String>, String);

/// Values with the second in which they end.
type Values = BTreeMap<Key, (Vec<u8>, u32)>;

#[derive(Clone, Default)]
pub(super) struct Ram {
    now: Cell<u32>,
    subject: RefCell<Option<String>>,
    values: RefCell<Values>,
    /// The times that were added, ascending.
    tallies: RefCell<BTreeMap<Key, Vec<u32>>>,
    /// Members with the last time that each was added.
    members: RefCell<BTreeMap<Key, BTreeMap<String, u32>>>,
    /// Table and key to rows; the key of a network is its beginning.
    tables: BTreeMap<(String, String), Vec<Attribute>>,
    pub stale: Cell<bool>,
    pub calls: Cell<u32>,
}

impl Ram {
    /// Begins a call: of whom, and when.
    pub fn begin(&self, subject: Option<&str>, now: u32) {
        self.subject.replace(subject.map(str::to_owned));
        self.now.set(now);
        self.calls.set(0);
    }

    /// With a row of a table.
    pub fn with_row(mut self, table: &str, key: &str, columns: &[(&str, &str)]) -> Self {
        let columns = columns.iter().map(|(name, value)| Attribute::text(name, value)).collect();
        self.tables.insert((table.to_owned(), key.to_owned()), columns);
        self
    }

    /// Everything that is remembered.
    pub fn memory(&self) -> (Values, BTreeMap<Key, usize>, BTreeMap<Key, Vec<String>>) {
        let tallies = self.tallies.borrow();
        let members = self.members.borrow();
        (
            self.values.borrow().clone(),
            tallies.iter().map(|(key, times)| (key.clone(), times.len())).collect(),
            members.iter().map(|(key, all)| (key.clone(), all.keys().cloned().collect())).collect(),
        )
    }

    /// The stored value of a person.
    pub fn value(&self, person: &str, key: &str) -> Option<Vec<u8>> {
        let key = (Some(person.to_owned()), key.to_owned());
        self.values.borrow().get(&key).map(|(value, _)| value.clone())
    }

    /// Sets the stored value of a person.
    pub fn set(&self, person: &str, key: &str, value: &[u8]) {
        let key = (Some(person.to_owned()), key.to_owned());
        self.values.borrow_mut().insert(key, (value.to_vec(), u32::MAX));
    }

    fn key(&self, scope: Scope, key: &str) -> Key {
        assert!(key.len() <= 256, "the key `{key}` is too long");
        self.calls.set(self.calls.get() + 1);
        let owner = match scope {
            Scope::Shared => None,
            Scope::Subject => {
                let subject = self.subject.borrow().clone();
                Some(subject.expect("a call without a subject has no memory of one"))
            }
        };
        (owner, key.to_owned())
    }
}

impl World for Ram {
    fn recall(&self, scope: Scope, key: &str) -> Option<Vec<u8>> {
        let values = self.values.borrow();
        let (value, end) = values.get(&self.key(scope, key))?;
        (*end > self.now.get()).then(|| value.clone())
    }

    fn remember(&self, scope: Scope, key: &str, value: &[u8], ttl_seconds: u32) {
        assert!(value.len() <= 4_096, "the value of `{key}` is too long");
        let end = self.now.get().saturating_add(ttl_seconds);
        self.values.borrow_mut().insert(self.key(scope, key), (value.to_vec(), end));
    }

    fn forget(&self, scope: Scope, key: &str) {
        let key = self.key(scope, key);
        self.values.borrow_mut().remove(&key);
        self.tallies.borrow_mut().remove(&key);
        self.members.borrow_mut().remove(&key);
    }

    fn count(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        let from = self.now.get().saturating_sub(window_seconds);
        let tallies = self.tallies.borrow();
        let Some(times) = tallies.get(&self.key(scope, key)) else { return 0 };
        (times.len() - times.partition_point(|time| *time < from)) as u32
    }

    fn tally(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        let now = self.now.get();
        self.tallies.borrow_mut().entry(self.key(scope, key)).or_default().push(now);
        self.count(scope, key, window_seconds)
    }

    fn count_distinct(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        let from = self.now.get().saturating_sub(window_seconds);
        let members = self.members.borrow();
        let Some(members) = members.get(&self.key(scope, key)) else { return 0 };
        members.values().filter(|time| **time >= from).count() as u32
    }

    fn tally_distinct(&self, scope: Scope, key: &str, member: &str, window_seconds: u32) -> u32 {
        let now = self.now.get();
        let mut members = self.members.borrow_mut();
        let members = members.entry(self.key(scope, key)).or_default();
        let from = now.saturating_sub(window_seconds);
        members.retain(|_, time| *time >= from);
        members.insert(member.to_owned(), now);
        members.len() as u32
    }

    fn lookup(&self, table: &str, key: &str) -> Found {
        self.calls.set(self.calls.get() + 1);
        let is_address = key.parse::<IpAddr>().is_ok();
        let rows = self.tables.iter().filter(|((name, start), _)| {
            name == table && if is_address { key.starts_with(start.as_str()) } else { key == start }
        });
        Found {
            rows: rows.map(|(_, columns)| columns.clone()).collect(),
            version: "0".repeat(64),
            stale: self.stale.get(),
        }
    }
}
